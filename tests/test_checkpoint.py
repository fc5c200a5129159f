"""A checkpoint holds what it was given, and says so when it has been damaged."""

import pickle
import random
import struct
from pathlib import Path

import pytest
import torch
from running import config

from mlpkit.analysis.predict import load_predictor
from mlpkit.config.config import FORMAT
from mlpkit.data.input_schema import InputSchema
from mlpkit.errors import DataError
from mlpkit.folders import checkpoint
from mlpkit.folders.checkpoint import Checkpoint
from mlpkit.folders.state import Progress, State

SIGNATURE = InputSchema("regression", ("x1", "x2"), (2,), ("y",))

OPTIMIZER = {
    f"layers.0.{name}/{slot}": torch.full(shape if slot != "step" else (), 2.0)
    for name, shape in (("weight", (1, 2)), ("bias", (1,)))
    for slot in ("step", "exp_avg", "exp_avg_sq")
}


@pytest.fixture
def stored() -> Checkpoint:
    return Checkpoint(
        config=config("dataset=sum", "model=linear"),
        input_schema=SIGNATURE,
        state=State(
            progress=Progress(epoch=3, step=7),
            scores={"val": {"loss": 0.25}},
            model={"layers.0.weight": torch.tensor([[0.5, -1.0]]), "layers.0.bias": torch.tensor([0.125])},
            optimizer=OPTIMIZER,
        ),
        fingerprint="abc",
    )


def problem(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_predictor(path)
    return str(caught.value)


def test_round_trip(stored: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, stored)
    loaded = checkpoint.load(path, checkpoint.KINDS)
    assert (loaded.config, loaded.input_schema) == (stored.config, stored.input_schema)
    assert (loaded.state.progress, loaded.state.scores) == (stored.state.progress, stored.state.scores)
    assert loaded.fingerprint == "abc"
    tensors, expected = loaded.state.tensors(), stored.state.tensors()
    assert tensors.keys() == expected.keys()
    for name in expected:
        assert tensors[name].dtype == expected[name].dtype
        assert torch.equal(tensors[name], expected[name])
    assert checkpoint.load(path).state.tensors().keys() == {f"model/{name}" for name in stored.state.model}
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_the_header_alone_has_config_and_scores(stored: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, stored)
    header = checkpoint.read_header(path)
    assert header.config == stored.config
    assert header.state == State(stored.state.progress, {"val": {"loss": 0.25}})
    assert header.input_schema.features == ("x1", "x2")


def test_every_flipped_bit_is_noticed(stored: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, stored)
    content = path.read_bytes()
    draw = random.Random(0)
    tensors = 8 * (8 + struct.unpack("<Q", content[:8])[0])
    places = [draw.randrange(8 * len(content)) for _ in range(150)] + list(
        range(tensors, 8 * len(content), 5)
    )
    for place in places:
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        message = problem(path)
        assert message.startswith(f"{path}: ") and "\n" not in message


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 500, -1, -8])
def test_truncated(stored: Checkpoint, tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, stored)
    content = path.read_bytes()
    path.write_bytes(content[:length])
    assert problem(path).startswith(f"{path}: ")


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    wrong = f"{path}: not a checkpoint of mlpkit (a .safetensors file from a run folder)"
    from safetensors.torch import save

    for content in (
        b"",
        b"hello",
        pickle.dumps({"a": 1}),
        struct.pack("<Q", 10 * 2**30) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 40_000) + b"[" * 40_000,
        save({"a": torch.zeros(2)}),
    ):
        path.write_bytes(content)
        assert problem(path) == wrong
    assert problem(tmp_path) == f"{tmp_path}: not a regular file"


def test_a_newer_format(stored: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    newest = max(FORMAT, checkpoint.EXTENDED)
    monkeypatch.setattr(checkpoint, "FORMAT", newest + 1)
    checkpoint.save(path, stored)
    monkeypatch.undo()
    assert (
        problem(path) == f"{path}: format {newest + 1} is newer than this mlpkit's {newest}; upgrade mlpkit"
    )


def test_tensors_that_are_not_the_configs(stored: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    cases = {
        "layers.0.bias": {"layers.0.weight": torch.zeros(1, 2)},
        "extra": {**stored.state.model, "extra": torch.zeros(1)},
        "layers.0.weight": {**stored.state.model, "layers.0.weight": torch.zeros(2, 1)},
    }
    for name, model in cases.items():
        changed = Checkpoint(stored.config, SIGNATURE, State(stored.state.progress, {}, model))
        checkpoint.save(path, changed)
        assert problem(path) == f"{path}: 1 tensors are missing, extra, misshapen or mistyped: model/{name}"


def test_a_config_of_another_task(stored: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    moons = InputSchema("binary", ("x1", "x2"), (2,), ("moon",), ("upper", "lower"))
    checkpoint.save(
        path, Checkpoint(stored.config, moons, State(stored.state.progress, {}, stored.state.model))
    )
    assert problem(path).startswith(
        f"{path}: its config and its input schema do not go together (model=linear: "
    )


def test_a_save_that_fails_leaves_the_old_file(stored: Checkpoint, tmp_path: Path) -> None:
    from mlpkit.errors import WriteError

    path = tmp_path / "folder" / "a.safetensors"
    (tmp_path / "folder").write_text("a file where the folder would be")
    with pytest.raises(WriteError) as caught:
        checkpoint.save(path, stored)
    assert str(caught.value).startswith(f"{path}: cannot write ")
    assert (tmp_path / "folder").read_text() == "a file where the folder would be"
