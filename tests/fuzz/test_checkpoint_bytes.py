"""Any bytes given as a checkpoint make a model that predicts, or are refused in a line."""

import contextlib
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuzz.damage import damaged
from fuzz.real_configs import TEXTS, VALUES, changed_configs
from fuzz.refusal import taken
from mlpkit.analysis.predict import Predictor, load_predictor
from mlpkit.config import nested
from mlpkit.errors import DataError
from mlpkit.folders.header import KEY

RUNS = ("line", "moons")
KINDS = {"F32": "torch.float32", "F64": "torch.float64", "I64": "torch.int64"}
JSON = st.recursive(
    VALUES,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(TEXTS, below, max_size=3),
    max_leaves=6,
)
ODD_JSON = st.sampled_from(
    [
        *("", "{", "NaN", "1e999", "-1", "9" * 5000, "[" * 30_000, "\0", "\ud800", '"\ud800"'),
        *('"\\ud800"', "\x1b[31m"),
        *('{"\\ud800": 1}', '{"val": {"\\ud800": 1}}', '{"a": 1, "a": 2}', '{"val": {"loss": NaN}}'),
        *('"' + "x" * 5000,),
    ]
)
ENTRIES = {
    "dtype": st.sampled_from([*KINDS, "F16", "BF16", "U8", "BOOL", "F8_E4M3", "x", "\ud800", None, 1, []]),
    "shape": st.lists(st.integers(-1, 4), max_size=4)
    | st.sampled_from([[2**40, 2**40], [0, 2**62], [1.0], None, 2]),
    "data_offsets": st.lists(st.integers(-1, 64), max_size=3)
    | st.sampled_from([[0, 2**63], [0, 0], None, [True, 4]]),
}


@pytest.fixture(scope="session")
def contents(trained: dict[str, Path]) -> dict[str, bytes]:
    """The checkpoints of two tiny runs."""
    return {name: min((trained[name] / "checkpoints").glob("*.safetensors")).read_bytes() for name in RUNS}


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header of a safetensors file and the bytes after it."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(header: dict[str, Any], values: bytes) -> bytes:
    """Return a safetensors file, with the SHA-256 that mlpkit would write where there can be one."""
    with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError, RecursionError):  # it has none
        parts = json.loads(header["__metadata__"][KEY]) | {"sha256": ""}
        parts["sha256"] = digest(json.dumps(parts), header, values)
        header["__metadata__"][KEY] = json.dumps(parts)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + values


def digest(text: str, header: dict[str, Any], values: bytes) -> str:
    """Return the SHA-256 of the metadata and the tensors, as the checkpoint's format has it."""
    found = hashlib.sha256(text.encode())
    for name in sorted(header.keys() - {"__metadata__"}):
        entry = header[name]
        start, stop = entry["data_offsets"]
        found.update(f"{name}\0{KINDS[entry['dtype']]}\0{entry['shape']}\0".encode() + values[start:stop])
    return found.hexdigest()


@st.composite
def forged(draw: st.DrawFn, content: bytes) -> bytes:
    """Draw a checkpoint with odd values in its header, and a SHA-256 that does not give it away."""
    header, values = split(content)
    metadata = {name: json.dumps(part) for name, part in json.loads(header["__metadata__"][KEY]).items()}
    for _ in range(draw(st.integers(0, 2))):
        part = draw(st.sampled_from(sorted(metadata)))
        way = draw(st.sampled_from(("key", "key", "key", "whole", "text", "remove", "config")))
        if way == "config":
            metadata["config"] = json.dumps(draw(changed_configs()))
        elif way == "remove":
            metadata.pop(part)
        elif way == "whole":
            metadata[part] = json.dumps(draw(JSON))
        elif way == "text":
            metadata[part] = draw(ODD_JSON)
        else:
            metadata[part] = with_odd_key(draw, metadata[part])
    pairs = ", ".join(f"{json.dumps(name)}: {part}" for name, part in metadata.items())
    header["__metadata__"][KEY] = f"{{{pairs}}}"
    if draw(st.booleans()):
        name = draw(st.sampled_from(sorted(header)))
        way = draw(st.sampled_from(("field", "field", "rename", "copy", "remove", "whole")))
        if way == "field" and name != "__metadata__":
            field = draw(st.sampled_from(sorted(ENTRIES)))
            header[name][field] = draw(ENTRIES[field])
        elif way in ("rename", "copy"):
            header[draw(TEXTS | st.sampled_from(["model/x", "optimizer/x", "epoch/x", "best/x"]))] = header[
                name
            ]
            if way == "rename":
                header.pop(name)
        elif way == "remove":
            header.pop(name)
        else:
            header[name] = draw(JSON)
    if draw(st.booleans()):
        start = draw(st.integers(0, len(values)))
        values = values[:start] + draw(st.binary(min_size=4, max_size=4)) + values[start + 4 :]
    return join(header, values)


def with_odd_key(draw: st.DrawFn, text: Any) -> Any:
    """Return JSON text with a key set or removed, where it is an object's."""
    try:
        data = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return text
    if not isinstance(data, dict) or not data:
        return json.dumps(draw(JSON))
    key = draw(st.sampled_from([*dict(nested.items(data)), *data]))
    try:
        changed = nested.replace(data, key, draw(JSON)) if draw(st.booleans()) else nested.remove(data, key)
    except KeyError:  # a key with a dot of its own
        return text
    return json.dumps(changed)


def check(path: Path, content: bytes) -> None:
    """Check that the content is read as a model that predicts, or refused."""
    path.write_bytes(content)
    threads = torch.get_num_threads()
    loaded = taken(DataError, lambda: load_predictor(path))
    torch.set_num_threads(threads)
    if loaded is None:
        return
    predictor, _ = loaded
    assert isinstance(predictor, Predictor)
    predictions = predictor.predict(torch.zeros(2, len(predictor.input_schema.features)))
    assert len(predictions.values) == 2


@given(content=st.binary() | st.binary().map(lambda text: struct.pack("<Q", len(text)) + text))
def test_any_bytes(content: bytes, tmp_path: Path) -> None:
    check(tmp_path / "a.safetensors", content)


@given(data=st.data(), name=st.sampled_from(RUNS))
def test_a_damaged_checkpoint(
    data: st.DataObject, name: str, contents: dict[str, bytes], tmp_path: Path
) -> None:
    check(tmp_path / "a.safetensors", data.draw(damaged(contents[name])))


@pytest.mark.long
@given(data=st.data(), name=st.sampled_from(RUNS))
def test_a_forged_checkpoint(
    data: st.DataObject, name: str, contents: dict[str, bytes], tmp_path: Path
) -> None:
    check(tmp_path / "a.safetensors", data.draw(forged(contents[name])))


def test_a_checkpoint_as_it_is(contents: dict[str, bytes], tmp_path: Path) -> None:
    """What the forger changes nothing in is a checkpoint still."""
    for content in contents.values():
        (tmp_path / "a.safetensors").write_bytes(join(*split(content)))
        load_predictor(tmp_path / "a.safetensors")
