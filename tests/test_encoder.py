"""The encoder of tables does what scikit-learn's estimators do, and is plain data."""

import datetime
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from mlpkit.data import encode as encoding
from mlpkit.data.arrow_table import normalize
from mlpkit.data.column_settings import ColumnSettings
from mlpkit.data.column_values import RawColumn
from mlpkit.data.columns import ColumnKind, infer_columns
from mlpkit.data.encode import Encoded, encode
from mlpkit.data.encoder import (
    CategoryColumn,
    DateColumn,
    DateFeature,
    Linear,
    NumberColumn,
    Quantile,
    TableEncoder,
)
from mlpkit.data.fit_encoder import fit_encoder
from mlpkit.data.input_schema import InputSchema
from mlpkit.errors import ConfigError, DataError

NOTHING: dict[str, ColumnSettings] = {}


def where(row: int) -> str:
    return f"t.csv:{row + 2}"


def raw(table: pa.Table) -> list[RawColumn]:
    table = normalize(table, ("",), "t.csv")
    return [RawColumn(name, table[name], "t.csv", where) for name in table.column_names]


def kinds_of(table: pa.Table, settings: dict[str, ColumnSettings] = NOTHING) -> list[ColumnKind]:
    return infer_columns(raw(table), settings, np.arange(table.num_rows))


def fit(table: pa.Table, standardize: bool = True, **settings: ColumnSettings) -> TableEncoder:
    return fit_encoder(raw(table), kinds_of(table, settings), settings, "standard" if standardize else "none")


def apply(encoder: TableEncoder, table: pa.Table) -> Encoded:
    return encode(encoder, normalize(table, ("",), "t.csv"), "t.csv", where)


def numbers(rows: int = 500) -> NDArray[np.float64]:
    draw = np.random.default_rng(0)
    values = draw.lognormal(3, 1, rows)
    values[draw.random(rows) < 0.1] = np.nan
    return values


SCALERS: dict[str, Any] = {
    "standard": StandardScaler(),
    "robust": RobustScaler(),
    "minmax": MinMaxScaler(),
    "quantile": QuantileTransformer(n_quantiles=256, output_distribution="normal", subsample=None),
}


@pytest.mark.parametrize("missing", ["median", "mean"])
@pytest.mark.parametrize("scale", SCALERS)
def test_numbers_are_scaled_as_scikit_learn_does(scale: str, missing: str) -> None:
    """Imputed first, and scaled then; rows that are not fitted on as well."""
    values = numbers()
    train, other = values[:300], np.append(values[300:], [-1e6, 1e6])
    settings = ColumnSettings.model_validate({"scale": scale, "missing": missing})
    encoder = fit(pa.table({"x": train}), x=settings)
    imputer, scaler = SimpleImputer(strategy=missing), SCALERS[scale]
    scaler.fit(imputer.fit_transform(train[:, None]))
    for part in (train, other):
        found = apply(encoder, pa.table({"x": part})).values
        wanted = scaler.transform(imputer.transform(part[:, None]))[:, 0]
        np.testing.assert_allclose(found[:, 0], wanted.astype(np.float32), rtol=2e-6, atol=2e-6)
        assert (found[:, 1] == np.isnan(part)).all()
    assert encoder.features() == ("x", "x missing")


def test_smooth_clip_is_robust_and_bounded() -> None:
    values = numbers()
    known = np.append(values[~np.isnan(values)], [1e9])
    for scale in ("smooth_clip", "auto"):
        settings = {"x": ColumnSettings.model_validate({"scale": scale})}
        table = pa.table({"x": known})
        encoder = fit_encoder(raw(table), kinds_of(table, settings), settings, "smooth_clip")
        v = RobustScaler().fit_transform(known[:, None])[:, 0]
        found = apply(encoder, pa.table({"x": known})).values[:, 0]
        np.testing.assert_allclose(found, v / np.sqrt(1 + (v / 3) ** 2), rtol=2e-6, atol=2e-6)
        assert np.abs(found).max() == pytest.approx(3, abs=1e-3)


@pytest.mark.parametrize("scale", ["robust", "smooth_clip"])
def test_robust_scales_without_quartiles_apart_use_the_standard_deviation(scale: str) -> None:
    mostly = pa.table({"x": [0.0] * 19 + [20.5]})
    found = apply(fit(mostly, x=ColumnSettings.model_validate({"scale": scale})), mostly).values[:, 0]
    v = 20.5 / np.std([0.0] * 19 + [20.5])
    assert found.tolist() == [0.0] * 19 + [pytest.approx(v if scale == "robust" else v / np.hypot(1, v / 3))]


def test_two_values_become_minus_one_and_one() -> None:
    table = pa.table({"x": ["a", "b", "a", "b"], "y": ["yes", "no", "no", "yes"], "z": ["u", "v", "w", "u"]})
    encoder = fit_encoder(raw(table), kinds_of(table), {}, "standard", signed=True)
    other = pa.table({"x": ["a", "b", "c"], "y": ["no", "yes", "perhaps"], "z": ["u", "v", "w"]})
    found = apply(encoder, other).values
    assert found.tolist() == [[-1, -1, 1, 0, 0], [1, 1, 0, 1, 0], [0, 0, 0, 0, 1]]
    again = TypeAdapter(TableEncoder).validate_json(json.dumps(encoder.to_dict()))
    assert apply(again, other).values.tolist() == found.tolist()
    assert "signed" not in str(fit(table).to_dict())  # older versions can read it


def test_log_is_symmetric_and_standardised() -> None:
    values = np.array([-100.0, -1.0, 0.0, 1.0, 5.5, 1e6])
    found = apply(fit(pa.table({"x": values}), x=ColumnSettings(scale="log")), pa.table({"x": values})).values
    wanted = np.sign(values) * np.log1p(np.abs(values))
    np.testing.assert_allclose(found[:, 0], StandardScaler().fit_transform(wanted[:, None])[:, 0], rtol=1e-6)


def test_categories_are_one_hot_as_scikit_learn_does() -> None:
    words = ["b", "a", "c", "a", "b", "c", "c", "d"]
    encoder = fit(pa.table({"x": words}))
    estimator = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(np.array(words)[:, None])
    other = [*words, "never"]
    found = apply(encoder, pa.table({"x": other}))
    assert (found.values == estimator.transform(np.array(other)[:, None])).all()
    assert encoder.features() == ("x=a", "x=b", "x=c", "x=d")
    assert [str(odd) for odd in found.issues] == ["column x: 1 not seen in training, such as 'never'"]


def test_rare_and_missing_categories() -> None:
    words = ["a"] * 5 + ["b"] * 4 + ["c", None, None]
    table = pa.table({"x": words})
    encoder = fit(table, x=ColumnSettings(min_count=2))
    assert encoder.features() == ("x=a", "x=b", "x other", "x missing")
    found = apply(encoder, pa.table({"x": ["a", "b", "c", None, "new"]}))
    assert found.values.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 1, 0]]
    assert (found.issues[0].missing, found.issues[0].unseen) == (1, 2)
    assert fit(table, x=ColumnSettings(max_levels=1)).features() == ("x=a", "x other", "x missing")


def test_two_categories_are_one_feature_and_neither_is_in_the_middle() -> None:
    encoder = fit(pa.table({"x": ["m", "f", "m"]}))
    assert encoder.features() == ("x=m",)
    assert apply(encoder, pa.table({"x": ["f", "m", "q", None]})).values[:, 0].tolist() == [0, 1, 0.5, 0.5]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, 2, 3]),
        pa.array([1.0, 2.0, 3.0]),
        pa.array([" 1", "2.0", "3 "]),
        pa.array(["1", "2", "3"]),
    ],
)
def test_a_value_is_the_same_however_it_was_read(column: pa.Array) -> None:
    """A column of integers is one of decimals where a value is missing, and of texts where one is `n/a`."""
    settings = {"code": ColumnSettings(type="category"), "amount": ColumnSettings(type="number")}
    train = pa.table({"code": [1, 2, 3], "amount": [1, 2, 3]})
    encoder = fit(train, **settings)
    found = apply(encoder, pa.table({"code": column, "amount": column}))
    assert (found.values == apply(encoder, train).values).all()
    assert found.issues == ()


def test_booleans_in_all_spellings() -> None:
    encoder = fit(pa.table({"x": ["yes", "no", None, "yes"]}))
    assert encoder.features() == ("x", "x missing")
    for column in (["Y", "n"], ["TRUE", "False"], [True, False], [1, 0], [1.0, 0.0], ["t", "F"]):
        assert apply(encoder, pa.table({"x": column})).values.tolist() == [[1, 0], [0, 0]]
    found = apply(encoder, pa.table({"x": ["maybe", None]}))
    assert found.values.tolist() == [[0.5, 0], [0.5, 1]]
    assert (found.issues[0].missing, found.issues[0].unseen) == (1, 1)


@pytest.mark.parametrize(
    "known",
    [
        [1.5, 2.5, 4.0, 3.0, None],
        ["yes", "no", "yes", "no", None],
        ["a", "b", "c", "a", None],
        [*(datetime.date(year, 2, 2) for year in (1960, 1980, 2000, 2020)), None],
    ],
)
def test_a_column_without_any_value_is_encoded_as_missing_values_are(known: list[object]) -> None:
    """Its type is null: in a data frame of None, and in JSON."""
    encoder, whole = fit(pa.table({"x": known})), apply(fit(pa.table({"x": known})), pa.table({"x": known}))
    found = apply(encoder, pa.table({"x": pa.nulls(1)}))
    assert found.values[0].tolist() == whole.values[-1].tolist()
    assert found.issues[0].missing == 1


def test_dates_become_parts() -> None:
    draw = np.random.default_rng(1)
    dates = [
        datetime.datetime(2020, 1, 1) + datetime.timedelta(hours=int(hours))
        for hours in draw.integers(-500_000, 50_000, 200)
    ]
    names = ("year", "month", "day", "weekday", "hour", "days")
    encoder = TableEncoder((DateColumn("when", tuple(DateFeature(name, Linear()) for name in names)),))
    begin = datetime.datetime(1970, 1, 1)
    wanted = [
        [d.year, d.month, d.day, d.weekday(), d.hour, (d - begin) / datetime.timedelta(days=1)] for d in dates
    ]
    spelled = {
        "timestamp": pa.array(dates, pa.timestamp("us")),
        "ISO 8601": pa.array([d.isoformat() for d in dates]),
        "with a space": pa.array([d.isoformat(" ", "minutes") for d in dates]),
    }
    for column in spelled.values():
        found = apply(encoder, pa.table({"when": column})).values
        np.testing.assert_allclose(found, np.array(wanted, np.float32), rtol=1e-6)
    german = replace(encoder.columns[0], format="%d.%m.%Y %H:%M")
    column = pa.array([d.strftime("%d.%m.%Y %H:%M") for d in dates])
    found = apply(TableEncoder((german,)), pa.table({"when": column})).values
    np.testing.assert_allclose(found, np.array(wanted, np.float32), rtol=1e-6)


def test_a_missing_date_is_the_mean_of_the_training_rows() -> None:
    table = pa.table({"when": pa.array([datetime.date(2020, 1, day) for day in (1, 2, 3)] + [None])})
    encoder = fit(table, when=ColumnSettings(parts=("days",)))
    assert encoder.features() == ("when days", "when missing")
    found = apply(encoder, table).values
    assert found[3].tolist() == [0, 1]
    assert found[1].tolist() == [0, 0]


def test_an_encoder_is_json() -> None:
    table = pa.table(
        {
            "a": numbers(), "b": numbers(), "q": numbers(), "c": ["x", "y", None, "z"] * 125,
            "t": ["yes", "no"] * 250, "d": [datetime.date(2020, 1, 1 + i % 28) for i in range(500)],
        }
    )  # fmt: skip
    encoder = fit(table, b=ColumnSettings(scale="log"), q=ColumnSettings(scale="quantile"))
    features = encoder.features()
    schema = InputSchema("binary", features, (len(features),), ("y",), ("no", "yes"), encoder)
    again = TypeAdapter(InputSchema).validate_json(json.dumps(schema.to_dict()))
    assert again == schema
    assert again.encoder is not None
    assert apply(again.encoder, table).values.tobytes() == apply(encoder, table).values.tobytes()


NUMBER = {"kind": "number", "column": "x", "fill": 0.0, "scale": {"kind": "linear"}}


@pytest.mark.parametrize(
    "columns",
    [
        [],
        [NUMBER, NUMBER],
        [{**NUMBER, "column": "\x1b[2J"}],
        [{**NUMBER, "column": "x" * 201}],
        [{**NUMBER, "fill": 1e999}],
        [{**NUMBER, "extra": 1}],
        [{**NUMBER, "kind": "other"}],
        [{**NUMBER, "scale": {"kind": "linear", "divide_by": 0.0}}],
        [{**NUMBER, "scale": {"kind": "quantile", "values": [1.0, 0.0]}}],
        [{**NUMBER, "scale": {"kind": "quantile", "values": [0.0] * 1001}}],
        [{"kind": "category", "column": "x", "levels": []}],
        [{"kind": "category", "column": "x", "levels": ["a", "a"]}],
        [{"kind": "category", "column": "x", "levels": [str(i) for i in range(10_001)]}],
        [{"kind": "date", "column": "x", "parts": [{"name": "century", "scale": {"kind": "linear"}}]}],
    ],
)
def test_a_foreign_encoder_is_checked(columns: list[object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(TableEncoder).validate_json(json.dumps({"columns": columns}))


def test_an_encoder_must_make_the_features() -> None:
    encoder = TableEncoder((NumberColumn("x", 0.0, Linear()),))
    with pytest.raises(ValidationError, match="the encoder has another number of features"):
        InputSchema("regression", ("x", "y"), (2,), ("z",), (), encoder)


def test_names_of_features_are_printable_and_differ() -> None:
    levels = ("a\nb", "a\\nb", "l" * 500, "l" * 501)
    encoder = TableEncoder((CategoryColumn("x", levels), NumberColumn("x=l", 0.0, Linear())))
    names = encoder.features()
    assert len(set(names)) == len(names) == encoder.width
    assert all(name.isprintable() and len(name) <= 200 for name in names)


@pytest.mark.parametrize(
    ("column", "settings", "line"),
    [
        (["1", "x1"], {"type": "number"}, "t.csv:3: column x: 'x1' is not a plain number such as 0.5"),
        (["1", "1e400"], {"type": "number"}, "t.csv:3: column x: 1e400 is not a finite float32"),
        ([1.0, float("inf")], {}, "t.csv:3: column x: inf is not a finite float32"),
        (
            ["2020-01-01", "1.2.2020"],
            {"type": "date"},
            "t.csv:3: column x: '1.2.2020' is not a date such as 2024-01-31",
        ),
        (
            [1, None, 3],
            {"missing": "refuse"},
            "t.csv:3: column x: no value, and dataset.columns.x.missing=refuse",
        ),
        (["a", "b", "c"], {"scale": "log"}, "dataset.columns.x.scale: only for a number, but the column is"),
        ([1.5, 2.5], {"min_count": 2}, "dataset.columns.x.min_count: only for a category, but"),
        (["a", "b", "c"], {"min_count": 9}, "dataset.columns.x.min_count=9: no value occurs in so many"),
    ],
)
def test_what_cannot_be_fitted_is_said(column: list[object], settings: dict[str, Any], line: str) -> None:
    with pytest.raises((ConfigError, DataError)) as caught:
        fit(pa.table({"x": column}), x=ColumnSettings.model_validate(settings))
    assert str(caught.value).startswith(line)


def test_what_cannot_be_encoded_is_said() -> None:
    encoder = fit(pa.table({"x": [1, 2, 4], "c": ["a", "b", "c"]}), c=ColumnSettings(unknown="refuse"))
    for table, line in (
        ({"x": [1]}, "t.csv: columns missing: c; it has x; add them (a value may be left empty)"),
        ({"x": [1, 2], "c": ["a", "q"]}, "t.csv:3: column c: 'q' is none of a, b, c"),
        (
            {"x": ["1", "two"], "c": ["a", "a"]},
            "t.csv:3: column x: 'two' is not a plain number such as 0.5; correct it, leave it empty, or "
            "name it in dataset.missing",
        ),
        (
            {"x": [datetime.date(2024, 1, 1)], "c": ["a"]},
            "t.csv: column x: has type date32[day]; it must hold numbers",
        ),
    ):
        with pytest.raises(DataError) as caught:
            apply(encoder, pa.table(table))
        assert str(caught.value) == line


def test_equal_quantiles_are_in_the_middle_of_their_shares() -> None:
    """As in scikit-learn: three of four rows are 0, so 0 stands for the share 3/8."""
    encoder = TableEncoder((NumberColumn("x", 0.0, Quantile((0.0, 0.0, 0.0, 0.0, 1.0))),))
    found = apply(encoder, pa.table({"x": [0.0]})).values[0, 0]
    assert found == pytest.approx(-0.3186, abs=1e-4)


def test_rows_are_encoded_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same features to the bit, what is odd counted over all of them, and errors at their rows."""
    draw = np.random.default_rng(0)
    train = pa.table(
        {
            "number": numbers(),
            "city": draw.choice(["Oslo", "Paris", "Rome"], 500),
            "day": np.datetime64("2024-01-01") + draw.integers(0, 900, 500).astype("timedelta64[D]"),
        }
    )
    encoder = fit(train, number=ColumnSettings(scale="quantile"))
    city = [*train["city"].to_pylist()[:498], "Lima", "Bonn"]
    table = train.set_column(1, "city", pa.array(city))
    whole = apply(encoder, table)
    monkeypatch.setattr(encoding, "PORTION", 7)
    parts = apply(encoder, table)
    assert parts.values.tobytes() == whole.values.tobytes()
    assert parts.issues == whole.issues
    assert [str(odd) for odd in parts.issues] == [
        f"column number: {np.isnan(numbers()).sum()} missing",
        "column city: 2 not seen in training, such as 'Lima'",
    ]
    bad = table.set_column(0, "number", pa.array(["1"] * 100 + ["x"] * 400))
    with pytest.raises(DataError, match=r"^t.csv:102: column number: 'x' is not a plain number"):
        apply(encoder, bad)
