"""The file of a checkpoint against the safetensors library, both ways, and what is refused of a header."""

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray
from running import config, train

from mlpkit.errors import DataError
from mlpkit.folders import checkpoint
from mlpkit.folders.run_folder import RunFolder
from mlpkit.system.tensor_file import LARGEST_HEADER, TensorFile, encode, read_metadata

OLD = Path(__file__).with_name("format-3.safetensors")  # of an older mlpkit

VALUES: dict[str, NDArray[Any]] = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array(7.5, dtype=np.float64),
    "c": np.array([1, -2], dtype=np.int64),
    "empty": np.zeros((0, 3), dtype=np.float32),
}
KINDS = {"float32": "F32", "float64": "F64", "int64": "I64"}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(encode({"ü": "ü"}, VALUES))
    with TensorFile(path) as file:
        assert file.metadata == read_metadata(path) == {"ü": "ü"}
        assert {name: (e.kind, e.shape) for name, e in file.entries.items()} == {
            name: (KINDS[str(values.dtype)], values.shape) for name, values in VALUES.items()
        }
        for name, values in VALUES.items():
            read = file.read(name)
            assert (read.dtype, read.shape) == (values.dtype, values.shape)
            assert np.array_equal(read, values)


def test_a_checkpoint_is_a_safetensors_file(tmp_path: Path) -> None:
    folder = train(tmp_path, "dataset=moons", "trainer.epochs=2", "run.plots=false", "run.tensorboard=false")
    stored = checkpoint.load(folder.last, checkpoint.KINDS).state.tensors()
    read = safetensors.numpy.load_file(folder.last)
    assert read.keys() == stored.keys()
    assert all(np.array_equal(read[name], stored[name].numpy()) for name in read)
    with safetensors.safe_open(folder.last, framework="np") as file:
        (text,) = file.metadata().values()
    assert json.loads(text)["config"]["model"] == config("dataset=moons").model.model_dump(mode="json")


def test_equal_states_give_equal_bytes(trained: dict[str, Path], tmp_path: Path) -> None:
    """The library writes several metadata in another order each time."""
    path = tmp_path / "a.safetensors"
    stored = checkpoint.load(RunFolder(trained["moons"]).last, checkpoint.KINDS)
    contents = set()
    for _ in range(10):
        checkpoint.save(path, stored)
        contents.add(path.read_bytes())
    assert contents == {RunFolder(trained["moons"]).last.read_bytes()}


def test_an_older_checkpoint_is_loaded(tmp_path: Path) -> None:
    """Its header has a text for each part, and its SHA-256 is over these."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(OLD.read_bytes())
    stored = checkpoint.load(path, checkpoint.KINDS)
    assert (stored.state.progress.step, stored.config.model.name) == (2, "mlp")
    read = safetensors.numpy.load_file(OLD)
    tensors = stored.state.tensors()
    assert read.keys() == tensors.keys()
    assert all(np.array_equal(read[name], tensors[name].numpy()) for name in read)
    before = path.read_bytes()
    checkpoint.save(path, stored)
    assert path.read_bytes() != before
    again = checkpoint.load(path, checkpoint.KINDS)
    assert (again.config, again.input_schema, again.fingerprint) == (
        stored.config,
        stored.input_schema,
        stored.fingerprint,
    )
    for change in (before.replace(b"0.125", b"0.124", 1), before[:-1] + b"\x7f"):
        path.write_bytes(change)
        with pytest.raises(DataError, match="its SHA-256 does not match"):
            checkpoint.load(path)


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    """Opening a pipe would wait until somebody writes to it."""
    path = tmp_path / "a.safetensors"
    os.mkfifo(path)
    with pytest.raises(DataError) as caught:
        TensorFile(path)
    assert str(caught.value) == f"{path}: not a regular file"


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
SIZES = "damaged (cut off, or its header is wrong); use another checkpoint"
OTHER = "not a checkpoint of mlpkit (a .safetensors file from a run folder)"


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ({"a": ENTRY, "b": ENTRY}, SIZES),  # they overlap
        ({"a": {**ENTRY, "data_offsets": [8, 16]}}, SIZES),  # bytes that belong to none
        ({"a": {**ENTRY, "data_offsets": [0, 16]}}, SIZES),
        ({"a": {**ENTRY, "data_offsets": [8, 0]}}, SIZES),
        ({"a": {**ENTRY, "data_offsets": [-8, 0]}}, SIZES),
        ({"a": {**ENTRY, "data_offsets": [0.0, 8.0]}}, SIZES),
        ({"a": {**ENTRY, "data_offsets": [0, 8, 8]}}, SIZES),
        ({"a": {**ENTRY, "data_offsets": "08"}}, SIZES),
        ({"a": {**ENTRY, "data_offsets": [False, 8]}}, SIZES),
        ({"a": {**ENTRY, "shape": [3]}}, SIZES),
        ({"a": {**ENTRY, "shape": [-2]}}, SIZES),
        ({"a": {**ENTRY, "shape": [1, 1, 1, 1, 2]}}, SIZES),
        ({"a": {**ENTRY, "shape": None}}, SIZES),
        ({"a": {**ENTRY, "shape": [2**62, 2**62]}}, SIZES),
        ({"a": {**ENTRY, "dtype": "F16", "shape": [4]}}, SIZES),
        ({"a": {**ENTRY, "dtype": ["F32"]}}, SIZES),
        ({"a": {**ENTRY, "more": 1}}, SIZES),
        ({"a": []}, SIZES),
        ({"a": ENTRY, "__metadata__": {"x": 1}}, OTHER),
        ({"a": ENTRY, "__metadata__": None}, OTHER),
        ({}, SIZES),
    ],
)
def test_a_header_that_lies(tensors: dict[str, object], problem: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    text = json.dumps({"__metadata__": {"x": "y"}, **tensors}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(DataError) as caught:
        TensorFile(path)
    assert str(caught.value) == f"{path}: {problem}"


def test_a_header_is_not_read_beyond_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", LARGEST_HEADER + 1))
        stream.truncate(LARGEST_HEADER * 2)
    with pytest.raises(DataError) as caught:
        TensorFile(path)
    assert str(caught.value) == f"{path}: {OTHER}"
