"""Any bytes given as a csv file are read as rows, or refused in a line."""

from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.damage import damaged
from fuzz.inputs import SIGNATURES, check
from mlpkit.data.input_schema import InputSchema

COLUMNS = sorted(
    {name for input_schema in SIGNATURES for name in (*input_schema.features, *input_schema.targets)}
)
NUMBERS = st.floats().map(str) | st.integers().map(str) | st.floats(0, 1).map(str) | st.just("0.5")
ODD = st.sampled_from(
    [
        *("", " ", "1_000", "１", "nan", "inf", "1e400", "3.4028236e38", "1e-400", "0x10", "+.5"),
        *("1.", ".", "-", "true"),
        *('"', '""', '"1"', '"a\nb"', "'1'", "\0", "\r", "\n", "\r\n", ";", "\t", "\x1b[31m"),
        *("\u2028", "\ufeff", "x"),
        *("9" * 5000, "x" * 90, "y" * 90, "x" * 5000, "x" * 200_000, '"' + "1," * 100),
    ]
)
cells = NUMBERS | ODD | st.sampled_from(COLUMNS) | st.text(max_size=10)


@st.composite
def tables(draw: st.DrawFn, input_schema: InputSchema) -> str:
    """Draw a table that the model could read, but for some cells, rows or columns."""
    header = draw(st.permutations(list(input_schema.features)))
    header = header + draw(st.sampled_from([[], [], list(input_schema.targets), ["extra"], header[:1]]))
    cell = draw(st.sampled_from([NUMBERS, NUMBERS, cells]))
    rows = draw(st.lists(st.lists(cell, min_size=len(header), max_size=len(header)), max_size=4))
    lines = [*draw(st.sampled_from([[header], [header], [], [header, header]])), *rows]
    if draw(st.integers(0, 3)) == 0:
        lines.insert(draw(st.integers(0, len(lines))), draw(st.lists(cells, max_size=8)))
    comma, end = (
        draw(st.sampled_from([",", ",", ", ", ";"])),
        draw(st.sampled_from(["\n", "\n", "\r\n", "\r"])),
    )
    return draw(st.sampled_from(["", "", "\ufeff"])) + end.join(comma.join(line) for line in lines)


@st.composite
def contents(draw: st.DrawFn, input_schema: InputSchema) -> bytes:
    """Draw the bytes of a table, whole or damaged."""
    content = draw(tables(input_schema)).encode("utf-8", "surrogatepass")
    return draw(damaged(content)) if draw(st.booleans()) else content


@given(data=st.data(), input_schema=st.sampled_from(SIGNATURES))
def test_a_table(data: st.DataObject, input_schema: InputSchema, tmp_path: Path) -> None:
    check(tmp_path / "in.csv", data.draw(contents(input_schema)), input_schema)


@example(content=b"x\n" + b"1" * 20_000 + b"x", input_schema=SIGNATURES[0])  # once quadratic
@example(content=b",".join(b"x%d" % i for i in range(20_000)), input_schema=SIGNATURES[0])  # once quadratic
@example(
    content=b",".join(letter * 100 for letter in (b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h")),
    input_schema=SIGNATURES[1],
)
@given(content=st.binary() | st.text().map(str.encode), input_schema=st.sampled_from(SIGNATURES))
def test_any_bytes(content: bytes, input_schema: InputSchema, tmp_path: Path) -> None:
    check(tmp_path / "in.csv", content, input_schema)
