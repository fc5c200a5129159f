"""`mlpkit importance`: permutation importance of raw columns, as scikit-learn and a closed form have it."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tables
import torch
from conftest import Refused
from exporting import Models
from running import train
from sklearn.inspection import permutation_importance as of_sklearn

from mlpkit.analysis.importance import features_of_columns, permutation_importance
from mlpkit.analysis.predict import Predictor, load_predictor
from mlpkit.cli.main import run as command
from mlpkit.data.dataset import Split
from mlpkit.data.encoder import Linear, NumberColumn
from mlpkit.errors import ConfigError

QUICK = ("run.plots=false", "run.loggers=[]")


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear model of y = 3 a + b + 0 c, from independent columns of variance 1."""
    root, random = tmp_path_factory.mktemp("linear"), np.random.default_rng(0)
    rows = random.normal(size=(600, 3))
    y = rows @ (3, 1, 0) + random.normal(size=600)
    text = "a,b,c,y\n" + "".join(f"{a},{b},{c},{z}\n" for (a, b, c), z in zip(rows, y, strict=True))
    (root / "rows.csv").write_text(text)
    return train(
        root, *tables.of(root / "rows.csv", target="y"), "model=linear", "trainer.epochs=60", *QUICK
    ).path


def test_the_drops_are_those_of_the_closed_form_and_of_sklearn(linear: Path) -> None:
    predictor, _ = load_predictor(linear / "checkpoints/best.safetensors")
    x = torch.randn(3000, 3, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(3000, 1, generator=torch.Generator().manual_seed(2))
    y = x @ torch.tensor([[3.0], [1.0], [0.0]]) + noise
    inputs = (x - predictor_shift(predictor)) / predictor_scale(predictor)
    score, value, found = permutation_importance(predictor, Split(inputs, y), repeats=20)
    assert score == "r2" and value == pytest.approx(10 / 11, abs=0.02)
    # Shuffling a column of weight w and variance 1 adds 2 w² to the mean squared error; the variance is 11.
    by_name = {each.column: each for each in found}
    for name, weight in (("a", 3), ("b", 1), ("c", 0)):
        each = by_name[name]
        assert each.drop == pytest.approx(2 * weight**2 / 11, abs=0.06)
        assert each.low <= 2 * weight**2 / 11 <= each.high or each.drop == pytest.approx(0, abs=1e-3)
    assert [each.column for each in found][:2] == ["a", "b"]

    class Estimator:
        def fit(self) -> None: ...

        def score(self, rows: Any, true: Any) -> float:
            errors = predictor.outputs(torch.from_numpy(rows)).numpy() - true
            return float(1 - (errors**2).sum() / ((true - true.mean()) ** 2).sum())

    expected = of_sklearn(Estimator(), inputs.numpy(), y.numpy(), n_repeats=20, random_state=0)
    np.testing.assert_allclose([by_name[n].drop for n in "abc"], expected.importances_mean, atol=0.02)


def test_draws_without_a_class_are_left_out(trained: dict[str, Path]) -> None:
    predictor, _ = load_predictor(trained["moons"] / "checkpoints/best.safetensors")
    rare = Split(torch.rand(20, 2), (torch.arange(20) == 0).long())
    _, _, found = permutation_importance(predictor, rare, "roc_auc")
    assert all(each.low < each.drop < each.high for each in found)


@pytest.mark.long
def test_the_interval_is_as_wide_as_the_estimates_of_other_rows_spread(linear: Path) -> None:
    predictor, _ = load_predictor(linear / "checkpoints/best.safetensors")
    random = torch.Generator().manual_seed(3)
    drops, halves = [], []
    for _ in range(80):
        x, noise = torch.randn(300, 3, generator=random), torch.randn(300, 1, generator=random)
        y = x @ torch.tensor([[3.0], [1.0], [0.0]]) + noise
        inputs = (x - predictor_shift(predictor)) / predictor_scale(predictor)
        found = {each.column: each for each in permutation_importance(predictor, Split(inputs, y))[2]}
        drops.append([found["a"].drop, found["b"].drop])
        halves.append([(found[name].high - found[name].low) / 2 for name in "ab"])
    spread = 1.96 * np.std(drops, axis=0, ddof=1)
    assert np.mean(halves, axis=0) == pytest.approx(spread, rel=0.4)


def predictor_shift(predictor: Predictor) -> torch.Tensor:
    """Return the shift of each column in its encoder."""
    return torch.tensor([scale.shift for scale in scales(predictor)])


def predictor_scale(predictor: Predictor) -> torch.Tensor:
    """Return the divisor of each column in its encoder."""
    return torch.tensor([scale.divide_by for scale in scales(predictor)])


def scales(predictor: Predictor) -> list[Linear]:
    """Return the scales of the columns in its encoder."""
    encoder = predictor.input_schema.encoder
    assert encoder is not None
    return [
        column.scale
        for column in encoder.columns
        if isinstance(column, NumberColumn) and isinstance(column.scale, Linear)
    ]


@pytest.mark.long
def test_the_interval_holds_the_drop_of_other_rows(linear: Path) -> None:
    """In 100 splits of 100 rows the 95 % interval should miss the true drop in some 5."""
    predictor, _ = load_predictor(linear / "checkpoints/best.safetensors")
    shift, scale = predictor_shift(predictor), predictor_scale(predictor)
    random = torch.Generator().manual_seed(5)

    def drawn(rows: int) -> Split:
        x = torch.randn(rows, 3, generator=random)
        y = x @ torch.tensor([[3.0], [1.0], [0.0]]) + torch.randn(rows, 1, generator=random)
        return Split((x - shift) / scale, y)

    (true,) = (e.drop for e in permutation_importance(predictor, drawn(20_000))[2] if e.column == "b")
    held = 0
    for _ in range(100):
        (each,) = (e for e in permutation_importance(predictor, drawn(100))[2] if e.column == "b")
        held += each.low <= true <= each.high
    assert 88 <= held <= 100


def test_raw_columns_not_features(models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = models.run("scales")
    schema = load_predictor(run / "checkpoints/best.safetensors")[0].input_schema
    groups = features_of_columns(schema)
    assert list(groups) == list(schema.columns) and len(groups) < len(schema.features)
    assert sorted(i for s in groups.values() for i in range(s.start, s.stop)) == list(
        range(len(schema.features))
    )
    for column, features in groups.items():
        assert all(name.startswith(column) for name in schema.features[features])
    target = tmp_path / "importance.csv"
    assert (
        command(["importance", str(run), "--score", "roc_auc", "--repeats", "3", "--output", str(target)])
        == 0
    )
    with target.open() as stream:
        rows = list(csv.DictReader(stream))
    assert sorted(row["column"] for row in rows) == sorted(schema.columns)
    drops = [float(row["drop"]) for row in rows]
    assert drops == sorted(drops, reverse=True)
    capsys.readouterr()
    assert command(["importance", str(run), "--split", "val", "--repeats", "2"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("val, ") and len(printed) == 1 + len(schema.columns)
    picture = tmp_path / "importance.png"
    assert command(["importance", str(run), "--repeats", "2", "--output", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_look_at_the_test_rows_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = train(Path("outputs"), "dataset=moons", "model=logistic", "trainer.epochs=1", *QUICK).path
    looks = Path("outputs/test-looks.jsonl")
    before = looks.read_text().count("\n") if looks.exists() else 0
    assert command(["importance", str(run), "--split", "val"]) == 0
    assert (looks.read_text().count("\n") if looks.exists() else 0) == before
    assert command(["importance", str(run)]) == 0
    assert looks.read_text().count("\n") == before + 1


def test_what_is_refused(trained: dict[str, Path], refused: Refused) -> None:
    assert "reads pictures" in refused("importance", str(trained["digits"]), code=2)
    line = refused("importance", str(trained["moons"]), "--split", "val", "--score", "acuracy", code=2)
    assert (
        line.startswith("--score=acuracy: must be a score of binary: ") and "did you mean accuracy?" in line
    )
    assert refused("importance", str(trained["moons"]), "--column", "x1", "--score", "r2", code=2) == (
        "--score=r2: --column shows predictions, not a score; leave one of them out"
    )
    assert refused("importance", str(trained["moons"]), "--split", "val", "--column", "z", code=2) == (
        "--column=z: the model reads no such column, but x1, x2"
    )


def test_a_score_that_is_not_defined_for_the_rows_is_refused(trained: dict[str, Path]) -> None:
    predictor, _ = load_predictor(trained["moons"] / "checkpoints/best.safetensors")
    one_class = Split(torch.rand(20, 2), torch.zeros(20, dtype=torch.long))
    with pytest.raises(ConfigError, match="--score=roc_auc: is nan for these rows"):
        permutation_importance(predictor, one_class, "roc_auc")


def test_the_importance_of_folds_has_their_interval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The mean over the folds, each on its own test rows, with Nadeau and Bengio's variance."""
    path = tables.write_csv(tmp_path / "rows.csv", tables.customers(90))
    options = tables.of(path, "model=logistic", "dataset.folds=3", "trainer.epochs=5", *QUICK)
    sweep = tmp_path / "sweep"
    settings = ["dataset.fold=range(3)", f"run.root={sweep}", "dataset.ignore=[signup]"]
    assert command(["train", "-m", *options, *settings]) == 0
    folder = next(sweep.glob("*/sweep-*"))
    output = tmp_path / "importance.csv"
    assert command(["importance", str(folder), "--ensemble", "--repeats", "3", "--output", str(output)]) == 0
    each: list[dict[str, float]] = []
    for fold in range(3):
        (run,) = [p.parent for p in folder.rglob("config.yaml") if f"fold: {fold}" in p.read_text()]
        one = tmp_path / f"{fold}.csv"
        assert command(["importance", str(run), "--repeats", "3", "--output", str(one)]) == 0
        with one.open() as stream:
            each.append({row["column"]: float(row["drop"]) for row in csv.DictReader(stream)})
    with output.open() as stream:
        found = {row["column"]: row for row in csv.DictReader(stream)}
    for column, row in found.items():
        drops = [of[column] for of in each]
        half = 4.302652729911275 * np.std(drops, ddof=1) * np.sqrt(1 / 3 + 1 / 2)
        assert float(row["drop"]) == pytest.approx(np.mean(drops))
        assert float(row["high"]) == pytest.approx(np.mean(drops) + half)
