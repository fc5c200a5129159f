"""Checkpoints and run folders with a fault, and the one line that each gets, with its exit code."""

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from running import config, train

from mlpkit.cli.main import run as command
from mlpkit.config.config import to_dict
from mlpkit.folders import checkpoint, trust
from mlpkit.folders.checkpoint import Checkpoint
from mlpkit.folders.header import parts_of
from mlpkit.folders.run_folder import RunFolder
from mlpkit.system.tensor_file import TensorFile, encode

RUN = "outputs/mine"
LAST = f"{RUN}/checkpoints/last.safetensors"
CUT = "damaged (cut off, or its header is wrong); use another checkpoint"
OTHER = "not a checkpoint of mlpkit (a .safetensors file from a run folder)"
PREDICT = ("predict", RUN, "--checkpoint", "last", "--values", "0,1")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    train(
        folder, f"run.dir={folder / 'mine'}", "dataset=moons", "trainer.epochs=2", "model.hidden=[4]",
        "run.plots=false", "run.tensorboard=false",
    )  # fmt: skip
    return folder / "mine"


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run of moons, in the working directory as outputs/mine."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made, RUN)
    found = RunFolder(Path(RUN))
    found.best.unlink()
    found.config.write_text(found.config.read_text().replace(str(made.parent), "outputs"))
    return found


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> str:
    """Run a command line that must fail with a code; return the one line that it says."""
    assert command(list(arguments)) == code
    printed, line = capsys.readouterr()
    assert printed == ""
    assert line.startswith("mlpkit: ") and line.endswith("\n")
    assert line[:-1].isprintable()
    return line.removeprefix("mlpkit: ").removesuffix("\n")


def whole(folder: RunFolder) -> Checkpoint:
    return checkpoint.load(folder.last, checkpoint.KINDS)


def write(folder: RunFolder, stored: Checkpoint, **changes: object) -> None:
    checkpoint.save(folder.last, replace(stored, state=replace(stored.state, **changes)))


def forge(folder: RunFolder, **parts: object) -> None:
    """Change parts of the header and make the digest right again: an attacker can count too."""
    with TensorFile(folder.last) as file:
        before = parts_of(file.metadata)
        tensors = {name: file.read(name) for name in file.entries}
    folder.last.write_bytes(checkpoint.encode_parts({**before, **parts}, tensors))


def changed(folder: RunFolder, **sections: object) -> dict[str, object]:
    """Return the run's config with keys of sections changed, as model={"hidden": [8]}."""
    plain = to_dict(whole(folder).config)
    return {
        **plain,
        **{name: {**plain[name], **new} if isinstance(new, dict) else new for name, new in sections.items()},
    }


def flip(folder: RunFolder, place: int) -> None:
    content = bytearray(folder.last.read_bytes())
    content[place] ^= 4
    folder.last.write_bytes(content)


def tensors_replaced(folder: RunFolder, **model: torch.Tensor) -> None:
    stored = whole(folder)
    write(folder, stored, model={**stored.state.model, **model})


SIGNATURE = {
    "task": "binary", "features": ["x1", "x2"], "input_shape": [2], "targets": ["moon"],
    "classes": ["upper", "lower"],
}  # fmt: skip
UNREAD = "its header cannot be read ({}); use another checkpoint"
GO = "its config and its input schema do not go together"
WRONG = "tensors are missing, extra, misshapen or mistyped"

FILES: dict[str, tuple[Callable[[RunFolder], object], str]] = {
    "empty": (lambda f: f.last.write_bytes(b""), CUT),
    "text": (lambda f: f.last.write_bytes(b"hello, world"), OTHER),
    "a pickle": (lambda f: f.last.write_bytes(pickle.dumps({"model": [1.0]})), OTHER),
    "a .pt file": (lambda f: torch.save({"a": torch.zeros(2)}, f.last), OTHER),
    "a header of 10 GB": (lambda f: f.last.write_bytes(struct.pack("<Q", 10 * 2**30) + b"{}"), OTHER),
    "a header of nothing": (lambda f: f.last.write_bytes(struct.pack("<Q", 0) + b"{}"), OTHER),
    "brackets": (lambda f: f.last.write_bytes(struct.pack("<Q", 90_000) + b"[" * 90_000), OTHER),
    "another's safetensors": (
        lambda f: f.last.write_bytes(encode({"format": "pt"}, {"a": np.zeros(1, np.float32)})),
        OTHER,
    ),
    "cut in the header": (lambda f: os.truncate(f.last, 300), CUT),
    "cut by a byte": (
        lambda f: os.truncate(f.last, f.last.stat().st_size - 1),
        "damaged (cut off, or its header is wrong); use another checkpoint",
    ),
    "a byte more": (
        lambda f: f.last.write_bytes(f.last.read_bytes() + b"\0"),
        "damaged (cut off, or its header is wrong); use another checkpoint",
    ),
    "a flipped bit": (
        lambda f: flip(f, -3),
        "damaged (its SHA-256 does not match); use another checkpoint",
    ),
    "a folder": (lambda f: (f.last.unlink(), f.last.mkdir()), "not a regular file"),
    "a pipe": (lambda f: (f.last.unlink(), os.mkfifo(f.last)), "not a regular file"),
    "a device": (lambda f: (f.last.unlink(), f.last.symlink_to("/dev/zero")), "not a regular file"),
    "a newer format": (
        lambda f: forge(f, format=6),
        "format 6 is newer than this mlpkit's 5; upgrade mlpkit",
    ),
    "a format that is text": (lambda f: forge(f, format="2"), UNREAD.format("int")),
    "a config that is a list": (
        lambda f: forge(f, config=[]),
        "its config is not valid: a config must be a mapping of keys",
    ),
    "a key that is not known": (
        lambda f: forge(f, config=changed(f, model={"_target_": "os.system"})),
        "its config is not valid: model._target_: unknown key; model=mlp has members, hidden, activation, "
        "dropout, dropout_kind, embedding, embedding_frequencies, embedding_std, embedding_width, norm, "
        "bias, input_scale, input_scale_lr",
    ),
    "a rate that is none": (
        lambda f: forge(f, config=changed(f, optimizer={"lr": float("nan")})),
        "its config is not valid: optimizer.lr=nan: must be a finite number > 0 or auto (learning rate; "
        'default "auto")',
    ),
    "a million million parameters": (
        lambda f: forge(f, config=changed(f, model={"hidden": [65_536] * 100})),
        "its config asks for 425,208,512,513 parameters; mlpkit takes up to 500,000,000",
    ),
    "another model": (
        lambda f: forge(f, config=changed(f, model={"hidden": [5]})),
        f"9 {WRONG}: model/layers.0.bias, model/layers.0.weight, model/layers.2.weight, "
        "optimizer/layers.0.bias/exp_avg, optimizer/layers.0.bias/exp_avg_sq",
    ),
    "a model of another task": (
        lambda f: forge(f, config=changed(f, model={"name": "linear", "bias": True})),
        "its config is not valid: model.activation: unknown key; model=linear has members, bias; "
        "model=mlp, tabm have it",
    ),
    "a task that goes with no classes": (
        lambda f: forge(f, signature={**SIGNATURE, "classes": []}),
        UNREAD.format("InputSchema"),
    ),
    "a name with a control character": (
        lambda f: forge(f, signature={**SIGNATURE, "features": ["\x1b[31m", "x2"]}),
        UNREAD.format("InputSchema features.0"),
    ),
    "a name that appears twice": (
        lambda f: forge(f, signature={**SIGNATURE, "features": ["x1", "x1"]}),
        UNREAD.format("InputSchema"),
    ),
    "a shape of another size": (
        lambda f: forge(f, signature={**SIGNATURE, "input_shape": [3]}),
        UNREAD.format("InputSchema"),
    ),
    "an unknown task": (
        lambda f: forge(f, signature={**SIGNATURE, "task": "\x1b[31m"}),
        UNREAD.format("InputSchema task"),
    ),
    "more columns than the model has": (
        lambda f: forge(f, signature={**SIGNATURE, "features": ["a", "b", "c"], "input_shape": [3]}),
        f"3 {WRONG}: model/layers.0.weight, optimizer/layers.0.weight/exp_avg, "
        "optimizer/layers.0.weight/exp_avg_sq",
    ),
    "progress that is text": (lambda f: forge(f, progress="1"), UNREAD.format("Progress")),
    "progress that runs backwards": (
        lambda f: forge(f, progress={"step": -1}),
        UNREAD.format("Progress step"),
    ),
    "scores that are words": (
        lambda f: forge(f, scores={"val": {"loss": "low"}}),
        UNREAD.format("dict[str,dict[str,float]] val.loss"),
    ),
    "a tensor missing": (
        lambda f: write(f, whole(f), model={}),
        f"4 {WRONG}: model/layers.0.bias, model/layers.0.weight, model/layers.2.bias, model/layers.2.weight",
    ),
    "a tensor too many": (
        lambda f: tensors_replaced(f, **{"\x1b[31mextra": torch.zeros(1)}),
        f"1 {WRONG}: 'model/\\x1b[31mextra'",
    ),
    "a tensor misshapen": (
        lambda f: tensors_replaced(f, **{"layers.0.bias": torch.zeros(5)}),
        f"1 {WRONG}: model/layers.0.bias",
    ),
    "a tensor of integers": (
        lambda f: tensors_replaced(f, **{"layers.0.bias": torch.zeros(4, dtype=torch.int64)}),
        f"1 {WRONG}: model/layers.0.bias",
    ),
}


@pytest.mark.parametrize("fault", FILES)
@pytest.mark.parametrize("arguments", [PREDICT, ("resume", RUN), ("inspect", LAST)], ids=lambda a: a[0])
def test_a_checkpoint(
    fault: str, arguments: tuple[str, ...], folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    if fault == "a folder" and arguments[0] == "inspect":
        pytest.skip("where a file is named, a folder of that name is looked into as a run")
    spoil, problem = FILES[fault]
    spoil(folder)
    before = sorted(Path().rglob("*"))
    assert said(capsys, *arguments, code=65) == f"{LAST}: {problem}"
    assert sorted(Path().rglob("*")) == before


def place(folder: RunFolder, **progress: int) -> None:
    stored = whole(folder)
    write(folder, stored, progress=replace(stored.state.progress, **progress))


RESUMED: dict[str, tuple[Callable[[RunFolder], object], int, str]] = {
    "a step beyond its epoch": (
        lambda f: place(f, step=9),
        65,
        f"{LAST}: step 9 is not in epoch 2, batch 0; resume from another checkpoint",
    ),
    "a batch beyond its epoch": (
        lambda f: place(f, epoch=1, batch=5),
        65,
        f"{LAST}: step 2 is not in epoch 1, batch 5; resume from another checkpoint",
    ),
    "a best epoch to come": (
        lambda f: place(f, best_epoch=7),
        65,
        f"{LAST}: step 2 is not in epoch 2, batch 0; resume from another checkpoint",
    ),
    "rows that were not seen": (
        lambda f: place(f, epoch=1, batch=1, best_epoch=1, best_step=1),
        65,
        f"{LAST}: the running epoch has seen 300 rows, and the checkpoint holds another number of losses; "
        "resume from another checkpoint",
    ),
    "the best weights missing": (
        lambda f: place(f, best_epoch=1, best_step=1),
        65,
        f"{LAST}: the best weights are missing; resume from another checkpoint",
    ),
    "the optimizer missing": (
        lambda f: write(f, whole(f), optimizer={}),
        65,
        f"{LAST}: the optimizer's tensors are missing; resume from another checkpoint",
    ),
    "NaN in the weights": (
        lambda f: tensors_replaced(f, **{"layers.2.bias": torch.tensor([float("nan")])}),
        65,
        f"{LAST}: model/layers.2.bias holds values that are not finite; resume from an older checkpoint",
    ),
    "no config": (
        lambda f: f.config.unlink(),
        65,
        f"{RUN}: not a run folder (it has no config.yaml), which this command needs",
    ),
    "an empty config": (
        lambda f: f.config.write_text(""),
        2,
        f"{RUN}/config.yaml: empty; write a mapping of keys, such as `seed: 0`",
    ),
    "a config that runs code": (
        lambda f: f.config.write_text("seed: !!python/object/apply:os.system [id]\n"),
        2,
        f"{RUN}/config.yaml:1: the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed; a "
        "config is plain data",
    ),
    "a config that asks the environment": (
        lambda f: f.config.write_text(f.config.read_text().replace("root: outputs", "root: ${oc.env:HOME}")),
        2,
        "run.root='${oc.env:HOME}': only ${other.key} can be filled in; write the value",
    ),
    "a link in place of the metrics": (
        lambda f: (f.metrics.unlink(), f.metrics.symlink_to("/etc/hostname")),
        65,
        f"{RUN}/metrics.jsonl: may lead out of the run; put a file of its own there",
    ),
    "a link in place of the checkpoints": (
        lambda f: (f.last.parent.rename("elsewhere"), f.last.parent.symlink_to(Path("elsewhere").resolve())),
        65,
        f"{RUN}/checkpoints: may lead out of the run; put a folder of its own there",
    ),
    "a pipe in place of the log": (
        lambda f: (f.log.unlink(), os.mkfifo(f.log)),
        65,
        f"{RUN}/train.log: may lead out of the run; put a file of its own there",
    ),
    "data that must be fetched": (
        lambda f: None,
        2,
        "dataset.n=50: a run goes on as it began; only device, trainer.epochs, trainer.threads, "
        "trainer.processes, trainer.engine, trainer.matmul, trainer.compile, trainer.time_limit, "
        "trainer.checkpoint_every, trainer.keep_last, trainer.log_every, run.loggers, run.metrics, "
        "run.histograms, run.plots, run.film, run.progress may change",
    ),
}


@pytest.mark.parametrize("fault", RESUMED)
def test_a_run_to_go_on_with(fault: str, folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, code, problem = RESUMED[fault]
    spoil(folder)
    before = sorted(Path().rglob("*"))
    more = ("dataset.n=50",) if fault == "data that must be fetched" else ("trainer.epochs=3",)
    assert said(capsys, "resume", RUN, *more, code=code) == problem
    assert sorted(Path().rglob("*")) == before


def test_nan_is_warned_of_where_it_is_only_read(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors_replaced(folder, **{"layers.2.bias": torch.tensor([float("nan")])})
    assert command(list(PREDICT)) == 0
    assert capsys.readouterr().err == (
        f"warning: {LAST}: layers.2.bias holds values that are not finite; the predictions mean nothing\n"
    )


@pytest.mark.parametrize("arguments", [("evaluate", LAST), ("plot", RUN, "--checkpoint", "last")])
@pytest.mark.parametrize("dataset", [{"n": 10**7}, {"name": "sum", "n": 10_000, "terms": 2000}])
def test_a_dataset_that_a_checkpoint_makes_huge(
    dataset: dict[str, object],
    arguments: tuple[str, ...],
    folder: RunFolder,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The second is a sum of many terms, in a checkpoint whose inputs are those of the moons."""
    forge(folder, config=changed(folder, dataset=dataset))
    assert said(capsys, *arguments, code=65) == (
        f"{LAST}: its dataset draws 20,000,000 numbers; --allow-large takes them"
    )


def test_a_large_model_is_opened_on_request(
    folder: RunFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "LARGEST_MODEL", 16)
    assert said(capsys, *PREDICT, code=65) == (
        f"{LAST}: its config asks for 17 parameters; --allow-large takes them"
    )
    assert command([*PREDICT, "--allow-large"]) == 0


def test_a_foreign_checkpoint_does_not_fetch_data(
    folder: RunFolder, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its config may say download=true and name any folder: neither is obeyed."""
    network = config("dataset=mnist", "model=logistic", f"dataset.root={tmp_path / 'nothing'}")
    input_schema = {
        "task": "multiclass", "features": [f"pixel{i}" for i in range(784)], "input_shape": [28, 28],
        "targets": ["label"], "classes": list("0123456789"),
    }  # fmt: skip
    stored = whole(folder)
    weights = {"layers.0.weight": torch.zeros(10, 784), "layers.0.bias": torch.zeros(10)}
    scaling = {"scaling.mean": torch.zeros(784), "scaling.std": torch.ones(784)}
    from pydantic import TypeAdapter

    from mlpkit.data.input_schema import InputSchema

    read = TypeAdapter(InputSchema).validate_json(json.dumps(input_schema))
    write(
        folder, Checkpoint(network, read, stored.state), model={**weights, **scaling}, optimizer={}, best={}
    )
    place = tmp_path / "nothing"
    assert said(capsys, "evaluate", LAST, code=65).startswith(
        f"dataset=mnist: no files under {place}; only train fetches them; put train-images-idx3-ubyte, "
    )
    assert not place.exists()
