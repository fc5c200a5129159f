"""Whatever is wrong with a file given to predict gets one line that says the way out, and exit code 65."""

import io
import os
import pickle
import re
import struct
import sys
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import Refused
from PIL import Image
from running import mlpkit

Content = str | bytes

PLAIN = "is not a plain number such as 0.5"
FINITE = "is not a finite float32 (at most 3.4028235e+38)"
FILL_IN = "no value; fill it in or remove the row"
EXAMPLE = '{"x1": 0.5, "x2": 0.5}'
KEEP = "remove them and keep x1, x2 (the target moon may stay)"
UNREAD = "columns that the model does not read"
TOO_LONG = "cannot be read (File name too long)"
if sys.version_info >= (3, 14):  # whose `Path.is_file` does not say why there is no file
    TOO_LONG = "no such file; check the path"


def write(path: Path, content: Content) -> None:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def predict(refused: Refused, run: Path, name: str) -> str:
    return refused("predict", str(run), "--input", name, code=65)


# --------------------------------------------------------------------------------------------- csv

AS_TEXT = "; tables are read from stdin, as text: name the file instead"

CSV: dict[str, tuple[Content, str]] = {
    "empty": ("", ": empty; write a line with x1, x2 and the rows"),
    "blank lines": ("\n\n", ": empty; write a line with x1, x2 and the rows"),
    "only a header": ("x1,x2\n", ": no rows below the column names; add a line for each"),
    "a header and blank lines": ("x1,x2\n\n\n", ": no rows below the column names; add a line for each"),
    "a column missing": ("x1,x3\n1,2\n", ": columns missing: x2; it has x1, x3, the model reads x1, x2"),
    "a column extra": ("x1,x2,x3\n1,2,3\n", f": {UNREAD}: x3; {KEEP}"),
    "a column without name": ("x1,,x2\n1,2,3\n", f": {UNREAD}: ''; {KEEP}"),
    "many columns": (
        "x1,x2," + ",".join(f"c{i}" for i in range(100)),
        f": {UNREAD}: c0, c1, c2, …, c99; {KEEP}",
    ),
    "a column twice": ("x1,x2,x1\n1,2,3\n", ": the column 'x1' appears twice; keep one of them"),
    "another case": ("X1,X2\n1,2\n", ": columns missing: x1, x2; it has X1, X2, the model reads x1, x2"),
    "semicolons": (
        "x1;x2\n1;2\n",
        ": columns missing: x1, x2; it has x1;x2, the model reads x1, x2; put commas between the columns",
    ),
    "semicolons and decimal commas": (
        "x1;x2\n0,3;0,5\n",
        ": columns missing: x1, x2; it has x1;x2, the model reads x1, x2; put commas between the columns",
    ),
    "tabs": (
        "x1\tx2\n1\t2\n",
        ": columns missing: x1, x2; it has 'x1\\tx2', the model reads x1, x2; put commas between the columns",
    ),
    "a newline in a name": (
        'x1,"a\nb"\n1,2\n',
        ": columns missing: x2; it has x1, 'a\\nb', the model reads x1, x2",
    ),
    "an escape in a name": (
        "x1,\x1b[31m\n1,2\n",
        ": columns missing: x2; it has x1, '\\x1b[31m', the model reads x1, x2",
    ),
    "no names": ("1,2,3\n", ": 3 unnamed columns; the model reads x1, x2"),
    "a short row": ("x1,x2\n1,2\n3\n", ":3: 1 value for 2 columns; correct or remove the row"),
    "a long row": ("x1,x2\n1,2\n\n1,2,3\n", ":4: 3 values for 2 columns; correct or remove the row"),
    "a short row without names": ("2,1\n3\n", ":2: 1 value for 2 columns; correct or remove the row"),
    "a trailing comma": ("x1,x2\n1,2,\n", ":2: 3 values for 2 columns; correct or remove the row"),
    "Latin-1": (b"x1,x2\n\xe9,1\n", ": not UTF-8 at byte 6; save it as UTF-8 text"),
    "UTF-16": ("x1,x2\n1,2\n".encode("utf-16"), ": not UTF-8 at byte 0; save it as UTF-8 text"),
    "NUL": ("x1,x2\n1,2\0\n", ": holds a NUL byte, which no text has; save it as UTF-8 text"),
    "an open quote": (
        'x1,x2\n1,2\n"1,2\n',
        ":3: not valid csv (unexpected end of data); correct it",
    ),
    "a quote inside": (
        'x1,x2\n"1"2,2\n',
        ":2: not valid csv (',' expected after '\"'); correct it",
    ),
    "a huge field": (
        f"x1,x2\n1,{'9' * 200_000}\n",
        ":2: not valid csv (field larger than field limit (131072)); correct it",
    ),
    "a value missing": ("x1,x2\n1,\n", f":2: column x2: {FILL_IN}"),
    "a blank value": ("x1,x2\n1,2\n ,2\n", f":3: column x1: {FILL_IN}"),
    "NA": ("x1,x2\n1,NA\n", f":2: column x2: 'NA' {PLAIN}"),
    "inf": ("x1,x2\n1,inf\n", f":2: column x2: 'inf' {PLAIN}"),
    "-Infinity": ("x1,x2\n1,-Infinity\n", f":2: column x2: '-Infinity' {PLAIN}"),
    "nan": ("x1,x2\n1,nan\n", f":2: column x2: 'nan' {PLAIN}"),
    "1e400": ("x1,x2\n1,1e400\n", f":2: column x2: 1e400 {FINITE}"),
    "-1e39": ("x1,x2\n1,-1e39\n", f":2: column x2: -1e39 {FINITE}"),
    "1_000": ("x1,x2\n1,1_000\n", f":2: column x2: '1_000' {PLAIN}"),
    "full-width digits": ("x1,x2\n1,１２\n", f":2: column x2: '１２' {PLAIN}"),
    "Arabic digits": ("x1,x2\n1,٣\n", f":2: column x2: '٣' {PLAIN}"),
    "hexadecimal": ("x1,x2\n1,0x10\n", f":2: column x2: '0x10' {PLAIN}"),
    "a decimal comma": ('x1,x2\n"1,5",2\n', f":2: column x1: '1,5' {PLAIN}"),
    "a minus sign": ("x1,x2\n−1,2\n", f":2: column x1: '−1' {PLAIN}"),
    "true": ("x1,x2\ntrue,2\n", f":2: column x1: 'true' {PLAIN}"),
    "an escape": ("x1,x2\n1,\x1b[31m\n", f":2: column x2: '\\x1b[31m' {PLAIN}"),
    "after blank lines": ("x1,x2\n1,2\n\n\n3,4\nx,5\n", f":6: column x1: 'x' {PLAIN}"),
    "after a quoted newline": ('x1,x2\n"1\n",2\nx,5\n', f":4: column x1: 'x' {PLAIN}"),
    "after CRLF": ("x1,x2\r\n1,2\r\nx,5\r\n", f":3: column x1: 'x' {PLAIN}"),
    "a page of a website": (
        "<html>\n",
        ": columns missing: x1, x2; it has <html>, the model reads x1, x2",
    ),
}

# -------------------------------------------------------------------------------------------- json

JSON: dict[str, tuple[Content, str]] = {
    "empty": ("", ": not valid JSON (Expecting value: line 1 column 1 (char 0)); correct it"),
    "open": ('[{"x1":1,', ": not valid JSON (Expecting property name enclosed in double quotes: "
             "line 1 column 10 (char 9)); correct it"),
    "more after it": ("[] x", ": not valid JSON (Extra data: line 1 column 4 (char 3)); correct it"),
    "deep": ("[" * 100_000, ": not valid JSON (nested too deep); correct it"),
    "no rows": ("[]", f": no rows; write a list of objects such as {EXAMPLE}"),
    "no values": ('{"x1": [], "x2": []}', ": no rows below the column names; add a line for each"),
    "a number": ("5", f": row 1: 5.0 is not a row; write it like {EXAMPLE}"),
    "a text": ('"x\\u001b"', f": row 1: 'x\\x1b' is not a row; write it like {EXAMPLE}"),
    "null": ("null", f": row 1: null is not a row; write it like {EXAMPLE}"),
    "a flat list": ("[1, 2]", f": row 1: 1.0 is not a row; write it like {EXAMPLE}"),
    "a short list": ("[[1, 2], [3]]", f": row 2: [3.0] is not a row; write it like {EXAMPLE}"),
    "nothing in it": ("{}", ": columns missing: x1, x2; it has none, the model reads x1, x2"),
    "a column missing": ('[{"x1":1,"y":2}]', ": columns missing: x2; it has x1, y, the model reads x1, x2"),
    "a column extra": ('[{"x1":1,"x2":2,"q\\n":3}]', f": {UNREAD}: 'q\\n'; {KEEP}"),
    "a column twice": (
        '[{"x1":1,"x1":5,"x2":2}]',
        ": not valid JSON (the key 'x1' appears twice); correct it",
    ),
    "other columns": ('[{"x1":1,"x2":2},{"x1":1}]', ": row 2: has the keys x1, but the first row has x1, x2"),
    "columns of different rows": (
        '{"x1":{"0":1,"1":2},"x2":{"0":2}}',
        ": its columns have different rows; give each as many values",
    ),
    "a split table with a short row": (
        '{"columns":["x1","x2"],"data":[[1,2],[3]]}',
        ": row 2: [3.0] is not a list of 2 values",
    ),
    "a split table with a column twice": (
        '{"columns":["x1","x1"],"data":[[1,2]]}',
        ": a column appears twice; keep one of them",
    ),
    "numbered columns of pandas": (
        '{"0":{"0":1},"1":{"0":2}}',
        ": columns missing: x1, x2; it has 0, 1, the model reads x1, x2",
    ),
    "ragged columns": (
        '{"x1":[1,2],"x2":[2]}',
        ": its columns have different lengths; give each as many values",
    ),
    "NaN": ('[{"x1":NaN,"x2":1}]', f": row 1: column x1: nan {FINITE}"),
    "Infinity": ('[{"x1":1,"x2":-Infinity}]', f": row 1: column x2: -inf {FINITE}"),
    "1e400": ('[{"x1":1e400,"x2":1}]', f": row 1: column x1: inf {FINITE}"),
    "10**9999": ('[{"x1":1' + "0" * 9999 + ',"x2":1}]', f": row 1: column x1: inf {FINITE}"),
    "a null": ('[[1,2],[null,2]]', f": row 2: column x1: {FILL_IN}"),
    "an empty text": ('[["",2]]', f": row 1: column x1: {FILL_IN}"),
    "a word": ('[{"x1":"a","x2":2}]', f": row 1: column x1: 'a' {PLAIN}"),
    "a surrogate": ('[{"x1":"\\ud800","x2":2}]', f": row 1: column x1: '\\ud800' {PLAIN}"),
    "true": ('[{"x1":true,"x2":2}]', f": row 1: column x1: true {PLAIN}"),
    "a list": ('[{"x1":[1],"x2":2}]', f": row 1: column x1: [1.0] {PLAIN}"),
    "NUL": ('[{"x1":1,"x2":2}]\0', ": holds a NUL byte, which no text has; save it as UTF-8 text"),
    "Latin-1": (b'[{"x1":"\xe9"}]', ": not UTF-8 at byte 8; save it as UTF-8 text"),
}  # fmt: skip

JSONL: dict[str, tuple[Content, str]] = {
    "empty": ("\n", f": no rows; write a list of objects such as {EXAMPLE}"),
    "a broken line": (
        '{"x1":1,"x2":2}\n\n{"x1":3\n',
        ":3: not valid JSON (Expecting ',' delimiter: line 1 column 8 (char 7)); correct it",
    ),
    "a word": ("[1,2]\nxx\n", ":2: not valid JSON (Expecting value: line 1 column 1 (char 0)); correct it"),
    "a number": ("[1,2]\n5\n", f":2: 5.0 is not a row; write it like {EXAMPLE}"),
    "a list of objects": (
        '[{"x1":1,"x2":2}]\n',
        f':1: [{{"x1": 1.0, "x2": 2.0}}] is not a row; write it like {EXAMPLE}',
    ),
    "other columns": (
        '{"x1":1,"x2":2}\n{"x1":1,"x3":2}\n',
        ":2: has the keys x1, x3, but the first row has x1, x2",
    ),
    "a bad value": ('{"x1":1,"x2":2}\n\n{"x1":1,"x2":"a"}\n', f":3: column x2: 'a' {PLAIN}"),
    "a line separator in a text": ('{"x1":1,"x2":"\u2028"}\n', f":1: column x2: {FILL_IN}"),
}

# ------------------------------------------------------------------------------------------ arrays


def npy(array: object, allow_pickle: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(array), allow_pickle=allow_pickle)
    return stream.getvalue()


def npz(**arrays: object) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **{name: np.asarray(array) for name, array in arrays.items()})
    return stream.getvalue()


def header(shape: object, kind: str = "<f8", body: bytes = b"") -> bytes:
    text = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text + body


def archive(*members: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return stream.getvalue()


def broken(reason: str) -> str:
    """Return the message for a file that numpy cannot read; … stands for numpy's own words."""
    return f": not a readable array file (…{reason}…); save the arrays again"


def claiming(size: int, content: bytes) -> bytes:
    """Return an .npz whose directory says that its member unpacks to so many bytes."""
    true = len(header((1, 2))) + 16
    return content.replace(struct.pack("<I", true), struct.pack("<I", size))


OBJECTS = np.array([[1, "a"]], dtype=object)
ONE = npz(inputs=[[1.0, 2.0]])
FLIPPED = bytearray(npz(inputs=np.zeros((100, 2))))
FLIPPED[300] ^= 255

ARRAYS: dict[str, tuple[bytes, str]] = {
    "empty.npy": (b"", broken("EOF")),
    "text.npy": (
        b"0.5,1.5\n",
        broken("magic string"),
    ),
    "objects.npy": (
        npy(OBJECTS, allow_pickle=True),
        broken("Python objects"),
    ),
    "claimed objects.npy": (
        header((1, 2), "|O", pickle.dumps(OBJECTS)),
        broken("Python objects"),
    ),
    "code as header.npy": (
        b'\x93NUMPY\x01\0\x14\0{"a":__import__("os")',
        broken("EOF"),
    ),
    "half a header.npy": (
        npy([[1.0, 2.0]])[:60],
        broken("EOF"),
    ),
    "truncated.npy": (
        npy(np.zeros((100, 2)))[:-1],
        broken("file size"),
    ),
    "huge.npy": (
        header((10**12, 2)),
        broken("file size"),
    ),
    "more after it.npy": (
        npy([[1.0, 2.0]]) + b"x",
        ": has bytes left over after its array; save the array again",
    ),
    "words.npy": (npy([["a", "b"]]), ": holds <U1, not numbers; convert it to float32"),
    "booleans.npy": (npy([[True, False]]), ": holds bool, not numbers; convert it to float32"),
    "complex.npy": (npy([[1j, 2]]), ": holds complex128, not numbers; convert it to float32"),
    "dates.npy": (
        npy(np.zeros((1, 2), "M8[D]")),
        ": holds datetime64[D], not numbers; convert it to float32",
    ),
    "wide.npy": (npy(np.zeros((2, 3))), ": has shape (2, 3), the model reads (rows, 2); reshape it"),
    "a number.npy": (npy(1.0), ": has shape (), the model reads (rows, 2); reshape it"),
    "no rows.npy": (npy(np.zeros((0, 2))), ": no rows; give at least one"),
    "nan.npy": (npy([[1, 2], [1, np.nan]]), f": row 2: column x2: nan {FINITE}"),
    "inf.npy": (npy([[-np.inf, 2]]), f": row 1: column x1: -inf {FINITE}"),
    "1e39.npy": (npy([[1, 1e39]]), f": row 1: column x2: 1e+39 {FINITE}"),
    "empty.npz": (b"", broken("not a zip file")),
    "a pickle.npz": (pickle.dumps([1, 2]), broken("not a zip file")),
    "truncated.npz": (ONE[:-20], broken("not a zip file")),
    "flipped.npz": (bytes(FLIPPED), broken("CRC")),
    "no array.npz": (npz(), ": holds no array; save one with numpy.savez(file, inputs=…)"),
    "a text file.npz": (
        archive(("a.txt", b"hello world")),
        broken("magic string"),
    ),
    "objects.npz": (
        archive(("inputs.npy", npy(OBJECTS, allow_pickle=True))),
        broken("allow_pickle=False"),
    ),
    "a column missing.npz": (
        npz(x1=[1.0], y=[1.0]),
        ": columns missing: x2; it has x1, y, the model reads x1, x2",
    ),
    "a column twice.npz": (
        archive(("x1.npy", npy([1.0])), ("x2.npy", npy([1.0])), ("x1", npy([1.0]))),
        ": the column 'x1' appears twice; keep one of them",
    ),
    "ragged.npz": (
        npz(x1=[1.0, 2], x2=[1.0]),
        ": its columns must be 1-dimensional arrays of the same length",
    ),
    "tables.npz": (
        npz(x1=np.zeros((2, 2)), x2=np.zeros((2, 2))),
        ": its columns must be 1-dimensional arrays of the same length",
    ),
    "a claim too large.npz": (
        claiming(1 << 31, ONE),
        ": 2147483648 bytes when unpacked, at most 1073741824; split it",
    ),
    "a huge array.npz": (
        archive(("inputs.npy", header((10**15, 2)))),
        broken("Unable to allocate 14.2 PiB"),
    ),
}  # fmt: skip

# ---------------------------------------------------------------------------------------- pictures

DAMAGED = ": not a PNG, JPEG, BMP or WebP picture, or a damaged one; save it again"
READS = "the model reads grayscale 8×8"
GRAYSCALE = f"{READS}; save it as 8-bit grayscale"


def picture(mode: str = "L", size: tuple[int, int] = (8, 8), kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size, 0).save(stream, kind)
    return stream.getvalue()


def png(width: int, height: int, pixels: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


PICTURES: dict[str, tuple[Content, str]] = {
    "large.png": (picture(size=(28, 28)), f": 28×28 pixels, {READS}; resize it"),
    "flat.jpg": (picture(size=(8, 4), kind="JPEG"), f": 8×4 pixels, {READS}; resize it"),
    "rgb.png": (picture("RGB"), f": mode RGB, {GRAYSCALE}"),
    "rgba.png": (picture("RGBA"), f": mode RGBA, {GRAYSCALE}"),
    "palette.png": (picture("P"), f": mode P, {GRAYSCALE}"),
    "alpha.png": (picture("LA"), f": mode LA, {GRAYSCALE}"),
    "16 bit.png": (picture("I;16"), f": mode I;16, {GRAYSCALE}"),
    "cmyk.jpeg": (picture("CMYK", kind="JPEG"), f": mode CMYK, {GRAYSCALE}"),
    "gif.png": (picture(kind="GIF"), DAMAGED),
    "text.png": ("hello", DAMAGED),
    "empty.png": ("", DAMAGED),
    "no pixels.png": (png(8, 8), DAMAGED),
    "some pixels.png": (png(8, 8, b"\0" * 20), DAMAGED),
    "no size.png": (png(0, 0), DAMAGED),
    "bomb.png": (png(100_000, 100_000), f": far too many pixels, {READS}; resize it"),
    "small bomb.png": (png(13_000, 10_000), f": far too many pixels, {READS}; resize it"),
    "picture.gif": (
        picture(kind="GIF"),
        ": unknown kind of file '.gif'; known are "
        ".csv, .json, .jsonl, .npy, .npz, .png, .jpg, .jpeg, .bmp, .webp",
    ),
    "picture": (picture(), ": unknown kind of file '(no ending)'; known are "
                ".csv, .json, .jsonl, .npy, .npz, .png, .jpg, .jpeg, .bmp, .webp"),
    "picture.csv": (picture(), ": not UTF-8 at byte 0; save it as UTF-8 text"),
    "picture.npy": (npy(np.zeros((3, 28, 28))),
                    ": has shape (3, 28, 28), the model reads (rows, 64) or (rows, 8, 8); reshape it"),
}  # fmt: skip

TEXTS = [
    *((f"{name}.csv", *row) for name, row in CSV.items()),
    *((f"{name}.json", *row) for name, row in JSON.items()),
    *((f"{name}.jsonl", *row) for name, row in JSONL.items()),
]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("name", "content", "message"), TEXTS, ids=[name for name, *_ in TEXTS])
def test_a_text(
    name: str, content: Content, message: str, refused: Refused, trained: dict[str, Path], tmp_path: Path
) -> None:
    write(tmp_path / name, content)
    assert predict(refused, trained["moons"], name) == name + message


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ARRAYS)
def test_an_array(name: str, refused: Refused, trained: dict[str, Path], tmp_path: Path) -> None:
    content, message = ARRAYS[name]
    write(tmp_path / name, content)
    started = time.process_time()
    said = predict(refused, trained["moons"], name)
    assert re.fullmatch(re.escape(name + message).replace("…", ".*"), said)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture(name: str, refused: Refused, trained: dict[str, Path], tmp_path: Path) -> None:
    content, message = PICTURES[name]
    write(tmp_path / name, content)
    assert predict(refused, trained["digits"], name) == name + message


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_cut_anywhere(
    kind: str, refused: Refused, trained: dict[str, Path], tmp_path: Path
) -> None:
    whole = picture(kind=kind)
    for length in range(0, len(whole) - 20, 7 if kind == "PNG" else 40):
        write(tmp_path / "cut.png", whole[:length])
        assert predict(refused, trained["digits"], "cut.png") == f"cut.png{DAMAGED}"


def test_a_picture_for_a_table(refused: Refused, trained: dict[str, Path], tmp_path: Path) -> None:
    write(tmp_path / "a.png", picture())
    message = "a.png: a picture, but the model reads the columns x1, x2; give a table"
    assert predict(refused, trained["moons"], "a.png") == message


def test_folders(refused: Refused, trained: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "note.txt").write_text("")
    (folder / "sub.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    message = "folder: a folder without a .png, .jpg, .jpeg, .bmp, .webp file; put pictures into it"
    assert predict(refused, trained["digits"], "folder") == message
    write(folder / "a.png", picture())
    write(folder / "b.png", b"damaged")
    assert predict(refused, trained["digits"], "folder") == f"folder/b.png{DAMAGED}"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none.csv", "none.csv: no such file; check the path"),
        ("pipe.csv", "pipe.csv: not a regular file; - reads stdin"),
        ("/dev/zero", "/dev/zero: not a regular file; - reads stdin"),
        ("loop.csv", "loop.csv: a link that leads to no file; mend the link"),
        ("dangling.csv", "dangling.csv: a link that leads to no file; mend the link"),
        ("pip.csv", "pip.csv: no such file; did you mean pipe.csv?"),
        ("y" * 300, f"{'y' * 300}: {TOO_LONG}"),
    ],
)
def test_what_is_no_file(
    source: str, message: str, refused: Refused, trained: dict[str, Path], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    (tmp_path / "dangling.csv").symlink_to("nothing")
    assert predict(refused, trained["moons"], source) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "stdin: empty; write a line with x1, x2 and the rows"),
        ("x1,x2\n1,2\nx,4\n", f"stdin:3: column x1: 'x' {PLAIN}"),
        ('[{"x1":1,"x2":null}]', f"stdin: row 1: column x2: {FILL_IN}"),
        (
            '{"x1":1,"x2":2}\n{"x1":3\n',
            "stdin:2: not valid JSON (Expecting ',' delimiter: line 1 column 8 (char 7)); correct it",
        ),
        ('{"x1":1', "stdin: not valid JSON (Expecting ',' delimiter: line 1 column 8 (char 7)); correct it"),
        (b"\xff\xfe", "stdin: not UTF-8 at byte 0; save it as UTF-8 text"),
        (b"\x89PNG\r\n", f"stdin: a PNG picture{AS_TEXT}"),
        (b"\xff\xd8\xff\xe0", f"stdin: a JPEG picture{AS_TEXT}"),
        (b"\x93NUMPY\x01", f"stdin: a NumPy array{AS_TEXT}"),
        (b"PK\x03\x04", f"stdin: an archive of NumPy arrays{AS_TEXT}"),
    ],
)
def test_stdin(
    content: Content,
    message: str,
    refused: Refused,
    trained: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = io.BytesIO(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(raw))
    assert predict(refused, trained["moons"], "-") == message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("1", "1: 1 value, the model reads 2: x1, x2"),
        ("", "'': 1 value, the model reads 2: x1, x2"),
        ("1,2,3", "1,2,3: 3 values, the model reads 2: x1, x2"),
        ("1;2", "1;2: 1 value, the model reads 2: x1, x2"),
        ("1,a", f"1,a: column x2: 'a' {PLAIN}"),
        (",1", f",1: column x1: {FILL_IN}"),
        ("1,nan", f"1,nan: column x2: 'nan' {PLAIN}"),
        ("1e400,1", f"1e400,1: column x1: 1e400 {FINITE}"),
        ("1_0,1", f"1_0,1: column x1: '1_0' {PLAIN}"),
        ("１,1", f"１,1: column x1: '１' {PLAIN}"),
        ("1,2\n3,4", "'1,2\\n3,4': 3 values, the model reads 2: x1, x2"),
        ("\x1b[31m,1", f"'\\x1b[31m,1': column x1: '\\x1b[31m' {PLAIN}"),
    ],
)
def test_values(values: str, message: str, refused: Refused, trained: dict[str, Path]) -> None:
    said = refused("predict", str(trained["moons"]), "--values", values, code=65)
    assert said == f"--values={message}"


def test_nothing_is_written_when_the_input_is_bad(
    refused: Refused, trained: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text("x1,x2\n1,2\n1,\n")
    (tmp_path / "old.csv").write_text("what was there")
    for name in ("new.csv", "old.csv"):
        arguments = ("--input", "in.csv", "--output", name)
        said = refused("predict", str(trained["moons"]), *arguments, code=65)
        assert said == f"in.csv:3: column x2: {FILL_IN}"
    assert (tmp_path / "old.csv").read_text() == "what was there"


def test_as_a_user_sees_it(trained: dict[str, Path], tmp_path: Path) -> None:
    write(tmp_path / "bomb.npz", claiming(1 << 31, ONE))
    done = mlpkit("predict", str(trained["moons"]), "--input", "bomb.npz", cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (65, "")
    assert done.stderr == ("mlpkit: bomb.npz: 2147483648 bytes when unpacked, at most 1073741824; split it\n")
