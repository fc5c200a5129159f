"""Any bytes given as a npy or npz file are read as rows, or refused in a line."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.damage import damaged
from fuzz.inputs import SIGNATURES, check
from mlpkit.data.input_schema import InputSchema

NAMES = sorted({f"{name}.npy" for input_schema in SIGNATURES for name in input_schema.features})
TYPES = [
    *(
        "f4",
        "f8",
        "f2",
        ">f4",
        "u1",
        "i8",
        "u8",
        "?",
        "c8",
        "g",
        "O",
        "M8[s]",
        "m8[D]",
        "S3",
        "U2",
        "V4",
        "f",
        "a5",
    ),
    *("f4,f4", "(2,)f8", "", "x", "|", "\x1b[31m", "x" * 2000),
]
DESCRIPTIONS = st.sampled_from(TYPES).map(repr) | st.sampled_from(
    [
        *("None", "1", "[]", "[('a', '<f8')]", "[('a\\nb', '<f4'), ('c', 'u1')]", "('<f8', (2,))"),
        *("'<f8', 1", "'\\d'"),
        *("[" + ", ".join(f"('column{i}', 'f8')" for i in range(300)) + "]", "1_0if 1else 0"),
        *("[" * 300,),
    ]
)
MEMBERS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
SIZES = st.integers(0, 7) | st.sampled_from([-1, 10**6, 2**31, 2**40, 2**63, 10**30])
SHAPES = st.lists(SIZES, max_size=3).map(tuple).map(repr) | st.sampled_from(
    ["(1L, 2L)", "(True, 2)", "(1.0, 2)", "2", "None", str((1,) * 64), str((0,) * 33), "(0, 10**18)"]
)


@st.composite
def arrays(draw: st.DrawFn, input_schema: InputSchema) -> bytes:
    """Draw an array file, mostly one that the model could read."""
    rows, features = draw(st.integers(0, 3)), len(input_schema.features)
    shape = draw(
        st.sampled_from([(rows, features), (rows, *input_schema.input_shape), (rows,), (), (1,) * 40])
    )
    kind = draw(
        st.sampled_from(["f4", "f8", "u1", "i8", ">f8", "g", "?", "M8[s]", "U2", "V4", "f4,u1", "c8"])
    )
    content = bytearray(draw(st.binary(max_size=64)) or b"\0")
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    array = np.frombuffer((bytes(content) * (size // len(content) + 1))[:size], kind).reshape(shape)
    if draw(st.booleans()) and array.dtype.kind in "fui":
        array = np.full(shape, draw(st.sampled_from([0, 1])), kind)
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    return stream.getvalue()


@st.composite
def made(draw: st.DrawFn) -> bytes:
    """Draw an array file whose header may say anything."""
    order = draw(st.sampled_from(["False", "True", "None", "0"]))
    header = f"{{'descr': {draw(DESCRIPTIONS)}, 'fortran_order': {order}, 'shape': {draw(SHAPES)}, }}"
    text = header.encode() + draw(st.sampled_from([b"\n", b"", b" ,", b"\n" * 40]))
    version = draw(st.sampled_from([1, 1, 1, 2, 3, 4, 0]))
    length = struct.pack(
        "<H" if version == 1 else "<I", len(text) + draw(st.sampled_from([0, 0, 0, 1, -1, 9]))
    )
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + draw(st.binary(max_size=64))


def npy(input_schema: InputSchema) -> st.SearchStrategy[bytes]:
    """Return array files, whole, damaged and made up."""
    return arrays(input_schema) | arrays(input_schema).flatmap(damaged) | made() | st.binary()


@st.composite
def npz(draw: st.DrawFn, input_schema: InputSchema) -> bytes:
    """Draw an archive of such files, whole or damaged."""
    columns = [f"{name}.npy" for name in input_schema.features]
    names = draw(
        st.sampled_from([["inputs.npy"], ["a.npy"], columns]) | st.lists(st.sampled_from(NAMES) | MEMBERS)
    )
    packed = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packed) as archive:
        for name in dict.fromkeys(names):
            information = zipfile.ZipInfo(name)
            information.compress_type = packed
            archive.writestr(information, draw(npy(input_schema)))
    content = stream.getvalue()
    return draw(damaged(content)) if draw(st.booleans()) else content


def header(text: str) -> bytes:
    """Return the start of an array file with that header."""
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    "content",
    [
        # What numpy or Python warns of: a header of Python 2's, an odd escape in one, a number too large.
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (1L, 1L), }") + bytes(8),
        header("{'descr': '\\d', 'fortran_order': False, 'shape': (1, 1), }") + bytes(8),
        header("{'descr': '<f16', 'fortran_order': False, 'shape': (1, 1), }") + b"\1" * 16,
        # What is not numbers, with many names.
        header(
            f"{{'descr': {[(f'c{i}', 'u1') for i in range(300)]}, 'fortran_order': False, 'shape': (1,), }}"
        )
        + bytes(300),
    ],
    ids=["python 2", "escape", "too large", "names"],
)
def test_an_array_that_was_not_refused_in_a_line(content: bytes, tmp_path: Path) -> None:
    check(tmp_path / "in.npy", content, SIGNATURES[0])


def test_columns_that_do_not_go_together(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.savez(stream, x1=np.zeros(2), x2=np.zeros(2, "M8[s]"))
    check(tmp_path / "in.npz", stream.getvalue(), SIGNATURES[1])


@given(data=st.data(), input_schema=st.sampled_from(SIGNATURES))
def test_one_array(data: st.DataObject, input_schema: InputSchema, tmp_path: Path) -> None:
    check(tmp_path / "in.npy", data.draw(npy(input_schema)), input_schema)


@given(data=st.data(), input_schema=st.sampled_from(SIGNATURES))
def test_an_archive(data: st.DataObject, input_schema: InputSchema, tmp_path: Path) -> None:
    check(tmp_path / "in.npz", data.draw(npz(input_schema)), input_schema)
