"""The encoder of a table as ONNX operators: named raw columns in, features out."""

from collections.abc import Sequence

import numpy as np

from mlpkit.data.column_values import NO, YES
from mlpkit.data.encode import FARTHEST
from mlpkit.data.encoder import (
    BooleanColumn,
    CategoryColumn,
    Column,
    DateColumn,
    Log,
    NumberColumn,
    Quantile,
    Scale,
    SmoothClip,
    TableEncoder,
)
from mlpkit.deploy.normal_quantile import NORMAL_QUANTILE
from mlpkit.deploy.numpy_encoder import ISO_DATE
from mlpkit.deploy.onnx_graph import DOUBLE, FLOAT, INT64, STRING, Graph

MISSING, UNSEEN = -2, -1  # codes of texts
FINE = 1e-4  # in standard deviations: a column whose numbers float32 rounds by more is read as float64


def needs_double(spec: Column) -> bool:
    """Whether float32 rounds the numbers of a column too much, as it does for 1700000000 ± 1."""
    if not isinstance(spec, NumberColumn) or isinstance(spec.scale, Log):
        return False
    if isinstance(spec.scale, Quantile):
        low, high = spec.scale.values[0], spec.scale.values[-1]
        return max(abs(low), abs(high)) * 2.0**-24 > FINE * (high - low)
    return abs(spec.scale.shift) * 2.0**-24 > FINE * spec.scale.divide_by


def input_type(spec: Column) -> str:
    """Return the type of a column's input, in NumPy's words."""
    if not isinstance(spec, NumberColumn):
        return "str"
    return "float64" if needs_double(spec) else "float32"


def encode_columns(graph: Graph, encoder: TableEncoder, missing: Sequence[str]) -> str:
    """Add the inputs and what encodes them; return the features (rows, features), float32.

    A value that mlpkit refuses becomes NaN.
    """
    kinds = {"str": STRING, "float32": FLOAT, "float64": DOUBLE}
    parts: list[str] = []
    for spec in encoder.columns:
        raw = graph.read(spec.column, kinds[input_type(spec)], 1)
        parts += _Column(graph, raw, missing).features(spec)
    return graph.cast(graph.add("Concat", *parts, axis=1), FLOAT)


class _Column:
    """One raw column (rows, 1)."""

    def __init__(self, graph: Graph, raw: str, missing: Sequence[str]) -> None:
        self.graph, self.raw, self.texts_of_missing = graph, raw, missing

    def features(self, spec: Column) -> list[str]:
        """Return its features, float64."""
        if isinstance(spec, NumberColumn):
            return self._number(spec)
        if isinstance(spec, DateColumn):
            return self._date(spec)
        graph = self.graph
        if isinstance(spec, BooleanColumn):
            code = self._code(dict.fromkeys(_spellings(NO), 0) | dict.fromkeys(_spellings(YES), 1))
            found = [self._single(code, spec.signed)]
            refused = [graph.add("Equal", code, graph.integer(MISSING))] if spec.refuses_missing else []
        else:
            code = self._code(_with_aliases(spec.levels))
            found = self._one_hot(spec, code)
            refused = [
                graph.add("Equal", code, graph.integer(MISSING if what == "missing" else UNSEEN))
                for what in spec.refuses
            ]
        if refused:
            found[0] = graph.add("Where", graph.any(refused), graph.double(np.nan), found[0])
        flag = graph.add("Equal", code, graph.integer(MISSING))
        return [*found, graph.cast(flag, DOUBLE)] if spec.flags_missing else found

    def _code(self, known: dict[str, int]) -> str:
        """Return the code of each text."""
        codes = dict.fromkeys(self.texts_of_missing, MISSING) | known
        return self.graph.add(
            "LabelEncoder",
            self.raw,
            domain="ai.onnx.ml",
            keys_strings=list(codes),
            values_int64s=list(codes.values()),
            default_int64=UNSEEN,
        )

    def _single(self, code: str, signed: bool) -> str:
        """Return 0 or 1, or ½ for neither; signed: -1, 1 or 0."""
        graph = self.graph
        is_neither = graph.add("Less", code, graph.integer(0))
        single = graph.add("Where", is_neither, graph.double(0.5), graph.cast(code, DOUBLE))
        twice = graph.add("Mul", single, graph.double(2.0))
        return graph.add("Sub", twice, graph.double(1.0)) if signed else single

    def _one_hot(self, spec: CategoryColumn, code: str) -> list[str]:
        if spec.is_single:
            return [self._single(code, spec.signed)]
        graph = self.graph
        found = [graph.cast(graph.add("Equal", code, graph.integer([[*range(len(spec.levels))]])), DOUBLE)]
        if spec.has_other:
            unseen = graph.add("Equal", code, graph.integer(UNSEEN))
            other = unseen if spec.flags_missing else graph.add("Less", code, graph.integer(0))
            found.append(graph.cast(other, DOUBLE))
        return found

    def _number(self, spec: NumberColumn) -> list[str]:
        graph = self.graph
        value = graph.cast(self.raw, DOUBLE)
        missing = graph.add("IsNaN", value)
        if spec.fill is not None:
            value = graph.add("Where", missing, graph.double(spec.fill), value)
        found = [scaled(graph, value, spec.scale)]
        return [*found, graph.cast(missing, DOUBLE)] if spec.flags_missing else found

    def _date(self, spec: DateColumn) -> list[str]:
        graph = self.graph
        code = self._code({})
        missing = graph.add("Equal", code, graph.integer(MISSING))
        valid = graph.add("RegexFullMatch", self.raw, pattern=ISO_DATE.pattern)
        text = graph.add("Where", valid, self.raw, graph.texts([["1970-01-01"]]))
        parts = _date_parts(graph, text)
        otherwise = graph.double(np.nan)
        if not spec.refuses_missing:  # the mean of the training rows
            otherwise = graph.add("Where", missing, graph.double(0.0), otherwise)
        found = [
            graph.add("Where", valid, scaled(graph, parts[part.name], part.scale), otherwise)
            for part in spec.parts
        ]
        return [*found, graph.cast(missing, DOUBLE)] if spec.flags_missing else found


def _spellings(words: frozenset[str]) -> list[str]:
    plain = [*words, "1.0"] if "1" in words else [*words, "0.0"]
    return sorted({spelled for word in plain for spelled in (word, word.upper(), word.capitalize())})


def _with_aliases(levels: Sequence[str]) -> dict[str, int]:
    """Return the place of each level; 3.0 is the level 3 as well."""
    aliases = {f"{level}.0": place for place, level in enumerate(levels) if level.lstrip("-").isdigit()}
    return aliases | {level: place for place, level in enumerate(levels)}


def scaled(graph: Graph, value: str, scale: Scale) -> str:
    """Return scaled numbers (rows, 1), as `mlpkit.data.encode.scaled`."""
    if isinstance(scale, Quantile):
        quantile = _normal_quantile(graph, _share(graph, value, scale))
        # NaN and infinity stay what they are, so that such a row is refused.
        return graph.add("Add", quantile, graph.add("Mul", value, graph.double(0.0)))
    if isinstance(scale, Log):
        size = graph.add("Log", graph.add("Add", graph.add("Abs", value), graph.double(1.0)))
        value = graph.add("Mul", graph.add("Sign", value), size)
    shifted = graph.add("Sub", value, graph.double(scale.shift))
    linear = graph.add("Div", shifted, graph.double(scale.divide_by))
    if not isinstance(scale, SmoothClip):
        return linear
    square = graph.add("Add", graph.add("Mul", linear, linear), graph.double(9.0))
    return graph.add("Div", graph.add("Mul", linear, graph.double(3.0)), graph.add("Sqrt", square))


def _share(graph: Graph, value: str, scale: Quantile) -> str:
    """Return the share of training rows below each value: each step between two quantiles adds its part."""
    known = np.asarray(scale.values)
    widths = np.diff(known)
    above = graph.add("Sub", value, graph.double([known[:-1]]))
    parts = graph.add("Div", above, graph.double([np.where(widths > 0, widths, 1)]))
    parts = graph.add("Clip", parts, graph.double(0.0), graph.double(1.0))
    if (widths == 0).any():  # equal quantiles: a value that is the same gets the middle of them
        half = graph.add("Mul", graph.add("Sign", above), graph.double(0.5))
        steps = graph.add("Add", half, graph.double(0.5))
        parts = graph.add("Where", graph.constant([widths > 0], bool), parts, steps)
    total = graph.add("ReduceSum", parts, graph.integer([1]), keepdims=1)
    return graph.add("Div", total, graph.double(len(widths)))


def _normal_quantile(graph: Graph, share: str) -> str:
    """Return Φ⁻¹ of shares (Wichura's AS 241), within ±FARTHEST."""

    def ratio(kind: str, x: str) -> str:
        found = []
        for factors in (NORMAL_QUANTILE[kind], NORMAL_QUANTILE[f"{kind}_by"]):
            total = graph.double(factors[0])
            for factor in factors[1:]:
                total = graph.add("Add", graph.add("Mul", total, x), graph.double(factor))
            found.append(total)
        return graph.add("Div", *found)

    share = graph.add("Clip", share, graph.double(1e-300), graph.double(1 - 1e-16))
    q = graph.add("Sub", share, graph.double(0.5))
    square = graph.add("Sub", graph.double(0.180625), graph.add("Mul", q, q))
    middle = graph.add("Mul", q, ratio("middle", square))
    least = graph.add("Min", share, graph.add("Sub", graph.double(1.0), share))
    r = graph.add("Sqrt", graph.add("Neg", graph.add("Log", least)))
    near = ratio("near", graph.add("Sub", r, graph.double(1.6)))
    far = ratio("far", graph.add("Sub", r, graph.double(5.0)))
    tail = graph.add("Where", graph.add("LessOrEqual", r, graph.double(5.0)), near, far)
    tail = graph.add("Mul", graph.add("Sign", q), graph.add("Min", tail, graph.double(FARTHEST)))
    is_middle = graph.add("LessOrEqual", graph.add("Abs", q), graph.double(0.425))
    return graph.add("Where", is_middle, middle, tail)


def _date_parts(graph: Graph, text: str) -> dict[str, str]:
    """Return the components (rows, 1) of dates in ISO 8601, float64."""

    def split(value: str, more: str, delimiter: str, count: int) -> list[str]:
        """Split a text, to which more is added first so that there are always enough parts."""
        longer = graph.add("StringConcat", value, graph.texts([[more]])) if more else value
        settings = {"delimiter": delimiter} if delimiter else {}
        parts, _ = graph.add_many("StringSplit", longer, count=2, **settings)
        return [graph.add("Gather", parts, graph.integer(place), axis=2) for place in range(count)]

    def number(value: str) -> str:
        return graph.cast(value, INT64)

    def integer(kind: str, left: str, right: int) -> str:
        return graph.add(kind, left, graph.integer(right))

    year_text, month_text, rest = split(text, "", "-", 3)
    day_text, after_t = split(rest, "T", "T", 2)
    both = graph.add("StringConcat", graph.add("StringConcat", day_text, graph.texts([[" "]])), after_t)
    day_text, time = split(both, " 0:0:0", "", 2)
    hour_text, minute_text, second_text = split(time, ":0:0", ":", 3)
    for delimiter in (".", "Z", "+"):
        (second_text,) = split(second_text, delimiter, delimiter, 1)
    year, month, day = number(year_text), number(month_text), number(day_text)
    seconds = graph.add(
        "Add",
        integer("Mul", number(hour_text), 3600),
        graph.add("Add", integer("Mul", number(minute_text), 60), number(second_text)),
    )
    days = graph.add("Add", _days(graph, year, month, day), integer("Div", seconds, 86400))
    seconds = integer("Mod", seconds, 86400)
    year, month, day = _civil(graph, days)
    whole = {
        "year": year,
        "month": month,
        "day": day,
        "weekday": integer("Mod", integer("Add", days, 3), 7),
        "hour": integer("Div", seconds, 3600),
    }
    share = graph.add("Div", graph.cast(seconds, DOUBLE), graph.double(86400.0))
    exact = {"days": graph.add("Add", graph.cast(days, DOUBLE), share)}
    return exact | {name: graph.cast(value, DOUBLE) for name, value in whole.items()}


ERA, SHIFT = 146097, 719468  # days of 400 years, and from 0000-03-01 to 1970-01-01


def _days(graph: Graph, year: str, month: str, day: str) -> str:
    """Return the days since 1970-01-01 (Howard Hinnant's algorithm), 400 years later to stay positive."""

    def integer(kind: str, left: str, right: int) -> str:
        return graph.add(kind, left, graph.integer(right))

    early = graph.cast(graph.add("Less", month, graph.integer(3)), INT64)
    year = graph.add("Sub", integer("Add", year, 400), early)
    era, of_era = integer("Div", year, 400), integer("Mod", year, 400)
    from_march = integer("Mod", integer("Add", month, 9), 12)
    of_year = integer("Div", integer("Add", integer("Mul", from_march, 153), 2), 5)
    leaps = graph.add("Sub", integer("Div", of_era, 4), integer("Div", of_era, 100))
    parts = [integer("Mul", era, ERA), integer("Mul", of_era, 365), leaps, of_year, day]
    total = parts[0]
    for part in parts[1:]:
        total = graph.add("Add", total, part)
    return integer("Sub", total, ERA + SHIFT + 1)


def _civil(graph: Graph, days: str) -> tuple[str, str, str]:
    """Return the year, the month and the day of days since 1970-01-01."""

    def integer(kind: str, left: str, right: int) -> str:
        return graph.add(kind, left, graph.integer(right))

    shifted = integer("Add", days, SHIFT + ERA)
    era, of_era = integer("Div", shifted, ERA), integer("Mod", shifted, ERA)
    corrected = graph.add("Sub", of_era, integer("Div", of_era, 1460))
    corrected = graph.add("Add", corrected, integer("Div", of_era, 36524))
    corrected = graph.add("Sub", corrected, integer("Div", of_era, 146096))
    years = integer("Div", corrected, 365)
    leaps = graph.add("Sub", integer("Div", years, 4), integer("Div", years, 100))
    of_year = graph.add("Sub", of_era, graph.add("Add", integer("Mul", years, 365), leaps))
    from_march = integer("Div", integer("Add", integer("Mul", of_year, 5), 2), 153)
    before = integer("Div", integer("Add", integer("Mul", from_march, 153), 2), 5)
    day = integer("Add", graph.add("Sub", of_year, before), 1)
    month = integer("Add", integer("Mod", integer("Add", from_march, 2), 12), 1)
    early = graph.cast(graph.add("Less", month, graph.integer(3)), INT64)
    year = graph.add("Add", graph.add("Add", years, integer("Mul", era, 400)), early)
    return integer("Sub", year, 400), month, day
