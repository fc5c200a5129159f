"""The C code from a struct of raw columns to features."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from mlpkit.data.encoder import (
    BooleanColumn,
    CategoryColumn,
    Column,
    DateColumn,
    Log,
    NumberColumn,
    Quantile,
    SmoothClip,
)
from mlpkit.deploy.c_text import as_comment, double_array, text_array
from mlpkit.deploy.portable import Portable

MOST_FIELDS = 200  # a model with more features reads one array

KEYWORDS = """
alignas alignof and asm auto bitand bitor bool break case catch char class compl concept const consteval
constexpr constinit continue decltype default delete do double else enum explicit export extern false float
for friend goto if inline int linux long mutable namespace new noexcept not nullptr operator or private
protected public register requires restrict return short signed sizeof static struct switch template this
throw true try typedef typeid typename typeof union unix unsigned using virtual void volatile while xor NULL
NAN INFINITY
"""


def field_names(model: Portable) -> dict[str, str]:
    """Return the field of each raw column; empty if one array holds all features."""
    schema = model.schema
    if schema.encoder is None and (schema.is_image or len(schema.features) > MOST_FIELDS):
        return {}
    found: dict[str, str] = {}
    for column in schema.columns:
        field = re.sub(r"[^A-Za-z0-9_]+", "_", column).strip("_") or "column"
        field = f"_{field}" if field[0].isdigit() else f"{field}_" if field in KEYWORDS.split() else field
        field = f"c{field}" if field.startswith("_") else field
        taken = set(found.values())
        found[column] = next(text for text in _numbered(field) if text not in taken)
    return found


def _numbered(field: str) -> Iterator[str]:
    yield field
    yield from (f"{field}_{number}" for number in range(2, 1_000_000))


def input_fields(model: Portable, fields: dict[str, str]) -> Iterator[str]:
    """Yield the fields of the struct of raw columns."""
    if not fields:
        yield f"    float x[{model.widths[0]}];"
        return
    encoder = model.schema.encoder
    specs: Iterable[Column | str] = model.schema.features if encoder is None else encoder.columns
    for spec, (column, field) in zip(specs, fields.items(), strict=True):
        if isinstance(spec, str):
            yield f"    double {field}; /* {as_comment(column)} */"
        elif isinstance(spec, NumberColumn):
            missing = "" if spec.fill is None else "; NAN if missing"
            yield f"    double {field}; /* {as_comment(column)}{missing} */"
        elif isinstance(spec, CategoryColumn):
            levels = ", ".join(f'"{level}"' for level in spec.levels[:8])
            more = ", ..." if len(spec.levels) > 8 else ""
            yield f"    const char *{field}; /* {as_comment(f'{column}: {levels}{more}')}; NULL if missing */"
        else:
            kind = (
                "yes or no"
                if isinstance(spec, BooleanColumn)
                else "such as 2024-01-31 or 2024-01-31T10:05:00"
            )
            yield f"    const char *{field}; /* {as_comment(column)}, {kind}; NULL if missing */"


def encoder(model: Portable, name: str, fields: dict[str, str]) -> Iterator[str]:
    """Yield the constants, and the function from the struct to the features."""
    lines: list[str] = []
    if model.schema.encoder is not None:
        place = 0
        for number, spec in enumerate(model.schema.encoder.columns):
            yield from _column_constants(spec, name, number)
            value = f"in->{fields[spec.column]}"
            lines += _encode_column(spec, name, number, value, place)
            place += len(spec.features())
    elif fields:
        lines = [
            line
            for place, field in enumerate(fields.values())
            for line in (f"v = in->{field};", *_keep("v", place, place))
        ]
    else:
        lines = [
            f"for (i = 0; i < {model.widths[0]}; i++) {{",
            "    if (!(fabs((double)in->x[i]) <= 3.4028234663852886e38)) return i + 1;",
            "    x[i] = in->x[i];",
            "}",
        ]
    declared = [f"{kind};" for kind, used in _locals(lines) if used]
    inner = "\n".join(f"    {line}" for line in [*declared, *lines, "return 0;"])
    yield f"static inline int {name}_encode(const struct {name}_input *in, float *x) {{\n{inner}\n}}"


def _locals(lines: list[str]) -> Iterator[tuple[str, bool]]:
    text = "\n".join(lines)
    for kind, variable in (("double v", "v"), ("int missing", "missing"), ("int i", "i")):
        yield kind, re.search(rf"\b{variable}\b", text) is not None
    yield "long days = 0, seconds = 0, year = 0", "&days" in text
    yield "int month = 0, day = 0", "&days" in text


def _column_constants(spec: Column, name: str, number: int) -> Iterator[str]:
    if isinstance(spec, CategoryColumn):
        yield text_array(f"{name}_levels_{number}", spec.levels)
    elif isinstance(spec, NumberColumn) and isinstance(spec.scale, Quantile):
        yield double_array(f"{name}_known_{number}", spec.scale.values)
    elif isinstance(spec, DateColumn):
        for part in spec.parts:
            if isinstance(part.scale, Quantile):
                yield double_array(f"{name}_known_{number}_{part.name}", part.scale.values)


def _encode_column(spec: Column, name: str, number: int, value: str, place: int) -> list[str]:
    """Return the lines that encode a column into features from a place on."""
    refused, lines = f"return {number + 1};", []
    if isinstance(spec, NumberColumn):
        lines += [f"v = {value};", "missing = isnan(v) ? 1 : 0;"] if spec.flags_missing else [f"v = {value};"]
        lines += [f"if (isnan(v)) {refused if spec.fill is None else f'v = {spec.fill!r};'}"]
        lines += [f"if (!(fabs(v) <= 3.4028234663852886e38)) {refused}"]
        lines += [f"v = {_scaled('v', spec.scale, name, f'{number}')};", *_keep("v", place, number)]
        place += 1
    else:
        lines.append(f"missing = {name}_is_missing({value});")
        refuses = "missing" in spec.refuses if isinstance(spec, CategoryColumn) else spec.refuses_missing
        lines += [f"if (missing) {refused}"] if refuses else []
    if isinstance(spec, BooleanColumn):
        lines.append(f"x[{place}] = missing ? 0.5f : (float){name}_boolean({value});")
        lines += [f"x[{place}] = 2.0f * x[{place}] - 1.0f;"] if spec.signed else []
        place += 1
    elif isinstance(spec, CategoryColumn):
        count = len(spec.levels)
        lines.append(f"i = missing ? -1 : {name}_find({value}, {name}_levels_{number}, {count});")
        lines += [f"if (i < 0 && !missing) {refused}"] if "unknown" in spec.refuses else []
        if spec.is_single:
            lines.append(f"x[{place}] = i < 0 ? 0.5f : (float)i;")
            lines += [f"x[{place}] = 2.0f * x[{place}] - 1.0f;"] if spec.signed else []
            place += 1
        else:
            lines.append(f"memset(x + {place}, 0, {count} * sizeof *x);")
            lines.append(f"if (i >= 0) x[{place} + i] = 1.0f;")
            place += count
        if spec.has_other:
            lines.append(f"x[{place}] = i < 0{' && !missing' if spec.flags_missing else ''} ? 1.0f : 0.0f;")
            place += 1
    elif isinstance(spec, DateColumn):
        lines.append(f"if (!missing && !{name}_date({value}, &days, &seconds)) {refused}")
        lines.append(f"{name}_civil(days, &year, &month, &day);")
        for part in spec.parts:
            scaled = _scaled(PARTS[part.name], part.scale, name, f"{number}_{part.name}")
            lines += [f"v = missing ? 0.0 : {scaled};", *_keep("v", place, number)]
            place += 1
    if spec.flags_missing:
        lines.append(f"x[{place}] = (float)missing;")
    return lines


PARTS = {
    "days": "(double)days + (double)seconds / 86400.0",
    "year": "(double)year",
    "month": "(double)month",
    "day": "(double)day",
    "weekday": "(double)(((days + 3) % 7 + 7) % 7)",
    "hour": "(double)(seconds / 3600)",
}


def _keep(value: str, place: int, number: int) -> list[str]:
    return [
        f"if (!(fabs({value}) <= 3.4028234663852886e38)) return {number + 1};",
        f"x[{place}] = (float){value};",
    ]


def _scaled(value: str, scale: Any, name: str, key: str) -> str:
    if isinstance(scale, Quantile):
        known = f"{name}_known_{key}"
        return f"{name}_normal_quantile({name}_share({value}, {known}, {len(scale.values)}))"
    value = f"{name}_signed_log({value})" if isinstance(scale, Log) else value
    linear = f"({value} - {_double(scale.shift)}) / {scale.divide_by!r}"
    return f"{name}_smooth_clip({linear})" if isinstance(scale, SmoothClip) else linear


def _double(number: float) -> str:
    return f"({number!r})" if number < 0 else repr(number)
