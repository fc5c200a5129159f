"""The file of a checkpoint against the safetensors library, both ways, and what is refused of a header."""

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from running import config, train

from mlpkit.errors import DataError
from mlpkit.files.tensor_file import LARGEST_HEADER, TensorFile, encode
from mlpkit.runs import checkpoint

VALUES = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array(7.5, dtype=np.float64),
    "c": np.array([1, -2], dtype=np.int64),
    "empty": np.zeros((0, 3), dtype=np.float32),
}
KINDS = {"float32": "F32", "float64": "F64", "int64": "I64"}
TENSORS = {name: (KINDS[str(v.dtype)], v.shape, v.tobytes()) for name, v in VALUES.items()}


def test_the_library_reads_what_is_written_here(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(encode({"format": "2", "ü": "ü"}, TENSORS))
    with safetensors.safe_open(path, framework="np") as file:
        assert file.metadata() == {"format": "2", "ü": "ü"}
    read = safetensors.numpy.load_file(path)
    assert read.keys() == VALUES.keys()
    for name, values in VALUES.items():
        assert (read[name].dtype, read[name].shape) == (values.dtype, values.shape)
        assert np.array_equal(read[name], values)


def test_what_the_library_writes_is_read_here(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.numpy.save_file(VALUES, path, metadata={"x": "y"})
    with TensorFile(path) as file:
        assert file.metadata == {"x": "y"}
        assert {name: (e.kind, e.shape) for name, e in file.entries.items()} == {
            name: (kind, shape) for name, (kind, shape, _) in TENSORS.items()
        }
        for name, (_, _, content) in TENSORS.items():
            assert b"".join(file.read(name)) == content


def test_a_checkpoint_is_a_safetensors_file(tmp_path: Path) -> None:
    folder = train(tmp_path, "dataset=moons", "trainer.epochs=2", "run.plots=false", "run.tensorboard=false")
    stored = checkpoint.load(folder.last, checkpoint.KINDS).state.tensors()
    read = safetensors.numpy.load_file(folder.last)
    assert read.keys() == stored.keys()
    assert all(np.array_equal(read[name], stored[name].numpy()) for name in read)
    with safetensors.safe_open(folder.last, framework="np") as file:
        assert json.loads(file.metadata()["config"])["model"] == config("dataset=moons").model.model_dump(
            mode="json"
        )


def test_equal_arguments_give_equal_bytes() -> None:
    backwards = dict(reversed(TENSORS.items()))
    assert encode({"x": "1", "y": "2"}, TENSORS) == encode({"y": "2", "x": "1"}, backwards)


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    """Opening a pipe would wait until somebody writes to it."""
    path = tmp_path / "a.safetensors"
    os.mkfifo(path)
    with pytest.raises(DataError) as caught:
        TensorFile(path)
    assert str(caught.value) == f"{path}: not a regular file"


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
SIZES = "damaged (its tensors do not fill the file); use another checkpoint"
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
        ({"a": {**ENTRY, "shape": [1, 1, 2]}}, SIZES),
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
