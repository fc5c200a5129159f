"""Any bytes given as a json or jsonl file are read as rows, or refused in a line."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.damage import damaged
from fuzz.inputs import SIGNATURES, check
from fuzz.real_configs import TEXTS, VALUES
from mlpkit.data.input_schema import InputSchema

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.floats(0, 1) | st.integers(0, 1)
ODD = st.sampled_from(
    ["[" * 2000, "9" * 5000, '"\\ud800"', '{"x": 1, "x": 2}', "NaN", "-Infinity", "1e400", "\0"]
)


@st.composite
def documents(draw: st.DrawFn, input_schema: InputSchema) -> str:
    """Draw rows as lists, objects or columns, in one document or a line each, mostly of numbers."""
    names = [*input_schema.features, *draw(st.sampled_from([(), (), input_schema.targets, ("extra",)]))]
    value = draw(st.sampled_from([NUMBERS, NUMBERS, NUMBERS | VALUES]))
    if draw(st.integers(0, 5)) == 0:
        names[draw(st.integers(0, len(names) - 1))] = draw(TEXTS)
    forms = [
        st.lists(st.fixed_dictionaries(dict.fromkeys(names, value)), max_size=3),
        st.lists(st.lists(value, min_size=len(names), max_size=len(names)), max_size=3),
        st.fixed_dictionaries({name: st.lists(value, min_size=2, max_size=2) for name in names}),
        st.lists(st.fixed_dictionaries(dict.fromkeys(names, value)) | VALUES, max_size=3),
        VALUES,
    ]
    content = draw(draw(st.sampled_from(forms)))
    escaped = draw(st.booleans())
    if isinstance(content, list) and draw(st.booleans()):
        return "\n".join(json.dumps(row, ensure_ascii=escaped) for row in content)
    return json.dumps(content, ensure_ascii=escaped)


@st.composite
def contents(draw: st.DrawFn, input_schema: InputSchema) -> bytes:
    """Draw the bytes of rows, whole, damaged, or with something odd put in."""
    text = draw(documents(input_schema))
    way = draw(st.sampled_from(("whole", "damaged", "odd")))
    if way == "odd":
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(ODD) + text[place:]
    content = text.encode("utf-8", "surrogatepass")
    return draw(damaged(content)) if way == "damaged" else content


@given(data=st.data(), input_schema=st.sampled_from(SIGNATURES), ending=st.sampled_from(("json", "jsonl")))
def test_rows(data: st.DataObject, input_schema: InputSchema, ending: str, tmp_path: Path) -> None:
    check(tmp_path / f"in.{ending}", data.draw(contents(input_schema)), input_schema)


@pytest.mark.parametrize("twice", ["", ', "x0": 0'])
def test_many_columns(twice: str, tmp_path: Path) -> None:
    """This was once quadratic."""
    columns = ", ".join(f'"x{i}": 0' for i in range(20_000))
    check(tmp_path / "in.json", f"{{{columns}{twice}}}".encode(), SIGNATURES[0])
