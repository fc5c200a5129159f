"""Several labels, each there or not: learned, scored, predicted and plotted."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Refused
from engines import KINDS, Kind, engine_of, evaluated, network_of
from running import config, train
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, hamming_loss
from sklearn.multioutput import MultiOutputClassifier
from tables import load, write_csv
from torch import nn

from mlpkit.analysis.giveaways import find_giveaways
from mlpkit.cli.main import run as command
from mlpkit.config.loss import loss_for
from mlpkit.data.column_values import RawColumn
from mlpkit.data.columns import ColumnKind
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.raw_table import RawTable
from mlpkit.data.splits import split_at_random
from mlpkit.data.table_targets import find_targets, target_columns
from mlpkit.errors import ConfigError, DataError
from mlpkit.folders import checkpoint
from mlpkit.tasks import MULTILABEL

QUICK = ("run.plots=false", "run.tensorboard=false")
LABELS = ("red", "round", "big")


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with three labels, in three spellings."""
    draw = np.random.default_rng(0)
    rows: list[dict[str, object]] = []
    for a, b, noise in draw.normal(size=(300, 3)):
        red, small, big = a + noise / 2 > 0, a * b < 0.5 + noise / 2, b + noise / 2 > 0.8
        words = {"red": "yes" if red else "no", "round": int(small), "big": "True" if big else "False"}
        rows.append({"a": round(a, 4), "b": round(b, 4), **words})
    return write_csv(tmp_path_factory.mktemp("things") / "things.csv", rows)


def settings(things: Path, *more: str) -> tuple[str, ...]:
    return (
        "dataset=table", f"dataset.path={things}", f"dataset.target=[{','.join(LABELS)}]",
        "trainer.batch_size=full", "trainer.early_stopping.patience=null", *more,
    )  # fmt: skip


def test_scores_are_scikit_learns() -> None:
    """For one run and for K: sums may be arrays."""
    random = torch.Generator().manual_seed(0)
    outputs = torch.randn(50, 4, generator=random)
    targets = (torch.rand(50, 4, generator=random) > 0.6).float()
    truth = MULTILABEL.truth(MULTILABEL.encode(targets, torch.float32))
    sums = [of.double().sum().item() for of in MULTILABEL.statistics(outputs, truth)]
    true, found = targets.numpy(), MULTILABEL.decode(outputs).numpy()
    expected = {
        "loss": 0.02,
        "accuracy": 1 - hamming_loss(true, found),
        "exact_match": accuracy_score(true, found),
        "f1_micro": f1_score(true, found, average="micro"),
    }
    assert MULTILABEL.scores([1.0, *sums], 50) == pytest.approx(expected)
    of_two = MULTILABEL.scores([np.array([1.0, 0.0]), *(np.array([of, 0.0]) for of in sums)], 50)
    assert {name: of[0] for name, of in of_two.items()} == pytest.approx(expected)
    assert of_two["f1_micro"][1] == 0  # no label is there or predicted
    assert MULTILABEL.probabilities is not None
    torch.testing.assert_close(MULTILABEL.probabilities(outputs), outputs.sigmoid())


@pytest.mark.parametrize("rows", [20, 3000])
def test_the_loss_is_torchs(things: Path, rows: int) -> None:
    loss = loss_for(config(*settings(things)).loss, "multilabel", "table")
    random = torch.Generator().manual_seed(0)
    outputs, targets = (
        torch.randn(rows, 3, generator=random) * 9,
        torch.rand(rows, 3, generator=random).round(),
    )
    expected = nn.BCEWithLogitsLoss(reduction="none")(outputs, targets).mean(1)
    torch.testing.assert_close(loss.per_example(outputs, targets), expected)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_training_is_that_of_torch(things: Path, kind: Kind) -> None:
    more = ("model=mlp", "model.hidden=[7]", "optimizer=sgd", "optimizer.lr=0.5", "trainer.precision=float64")
    engine = engine_of(kind, *settings(things, *more))
    rows = engine.experiments[0].dataset.splits["train"]
    inputs, targets = rows.inputs.double(), rows.targets.double()
    twin = nn.Sequential(nn.Linear(2, 7), nn.ReLU(), nn.Linear(7, 3)).double()
    twin.load_state_dict(network_of(engine).layers.state_dict())
    optimizer = torch.optim.SGD(twin.parameters(), 0.5)
    for step in range(20):
        engine.step(slice(None), [0.5], step, step, measure=False)
        engine.collect()
        optimizer.zero_grad()
        nn.BCEWithLogitsLoss()(twin(inputs), targets).backward()
        optimizer.step()
    for name, values in twin.state_dict().items():
        torch.testing.assert_close(network_of(engine).layers.state_dict()[name], values)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_logistic_regression_is_that_of_scikit_learn(things: Path, kind: Kind) -> None:
    more = ("model=logistic", "optimizer=sgd", "optimizer.lr=5", "trainer.precision=float64")
    engine = engine_of(kind, *settings(things, *more))
    for step in range(500):
        engine.step(slice(None), [5], step, step, measure=False)
        engine.collect()
    splits = engine.experiments[0].dataset.splits
    fitted = MultiOutputClassifier(LogisticRegression(C=np.inf, tol=1e-8))
    fitted.fit(splits["train"].inputs.double().numpy(), splits["train"].targets.numpy())
    inputs, true = splits["test"].inputs.double(), splits["test"].targets.numpy()
    expected = np.stack([of[:, 1] for of in fitted.predict_proba(inputs.numpy())], axis=1)
    with torch.no_grad():
        np.testing.assert_allclose(network_of(engine)(inputs).sigmoid(), expected, atol=1e-4)
    scores, found = evaluated(engine, "test"), fitted.predict(inputs.numpy())
    assert scores["exact_match"] == pytest.approx(accuracy_score(true, found))
    assert scores["f1_micro"] == pytest.approx(f1_score(true, found, average="micro"))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_runs_that_train_together_have_the_scores_that_they_have_alone(things: Path, kind: Kind) -> None:
    chosen = [config(*QUICK, *settings(things, "model=mlp", f"dataset.fold={fold}")) for fold in range(3)]
    together = engine_of(kind, configs=chosen)
    alone = [engine_of(kind, configs=[of]) for of in chosen]
    for engine in (together, *alone):
        for step in range(5):
            engine.step(slice(None), [0.01] * len(engine.optimizers.blocks), step, step, measure=False)
            engine.collect()
    expected = np.transpose([of.evaluate("test") for of in alone])
    np.testing.assert_allclose(together.evaluate("test"), expected, rtol=1e-5)


@pytest.mark.long
def test_predictions_have_a_column_and_a_probability_for_each_label(
    things: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path, *settings(things, "model=mlp", "trainer.epochs=60"), *QUICK)
    assert checkpoint.load(run.last).state.scores["val"]["accuracy"] > 0.8
    capsys.readouterr()
    assert command(["predict", str(run.path), "--input", str(things)]) == 0
    by_file = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(by_file[0]) == [*LABELS, "p(red)", "p(round)", "p(big)"]
    for row in by_file:
        assert [row[name] for name in LABELS] == [str(int(float(row[f"p({of})"]) > 0.5)) for of in LABELS]
    assert command(["predict", str(run.path), "--split", "test"]) == 0
    by_split = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    true = load(things, target=f"[{','.join(LABELS)}]").splits["test"].targets
    assert [[float(row[f"true_{name}"]) for name in LABELS] for row in by_split] == true.tolist()
    assert command(["evaluate", str(run.path), "--input", str(things)]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("exact_match", "f1_micro", "micro avg", *LABELS))
    assert command(["plot", str(run.path)]) == 0
    assert {path.name for path in run.plots.iterdir()} == {"curves.png", "labels.png"}


YES_NO, CODES, DECIMALS, WORDS = ["yes", "no"] * 10, [0, 1] * 10, [0.5, 1] * 10, ["a", "b"] * 10


@pytest.mark.parametrize(
    ("first", "second", "more", "task"),
    [
        (YES_NO, CODES, (), "multilabel"),
        (CODES, CODES, (), "multilabel"),
        (CODES, DECIMALS, (), "regression"),
        (DECIMALS, DECIMALS, (), "regression"),
        (CODES, CODES, ("dataset.task=regression",), "regression"),
    ],
)
def test_the_columns_decide_the_task(
    first: list[object], second: list[object], more: tuple[str, ...], task: str, tmp_path: Path
) -> None:
    rows: list[dict[str, object]] = [
        {"x": place / 7, "a": a, "b": b} for place, (a, b) in enumerate(zip(first, second, strict=True))
    ]
    dataset = load(write_csv(tmp_path / "t.csv", rows), *more, target="[a,b]")
    assert dataset.input_schema.task == task
    said = next(line for line in dataset.remarks if line.startswith("target a, b: "))
    assert said.startswith(f"target a, b: {task}")
    assert ("dataset.task=regression reads them as numbers" in said) == (
        first == second == CODES and not more
    )


@pytest.mark.parametrize(
    ("rows", "more", "error", "line"),
    [
        (
            {"a": WORDS, "b": CODES}, (), DataError,
            "{path}:2: column a: 'a' is neither yes nor no, as multilabel needs; write 1 or "
            "0, or set dataset.task=regression",
        ),
        (
            {"a": DECIMALS, "b": CODES}, ("dataset.task=multilabel",), DataError,
            "{path}:2: column a: 0.5 is neither yes nor no, as multilabel needs",
        ),
        (
            {"a": CODES, "b": [*map(str, range(19)), "n.k."]}, (), DataError,
            "{path}:21: column b: 'n.k.' is not a plain number such as 0.5; correct it, leave it empty, or",
        ),
        (
            {"a": CODES, "b": CODES}, ("dataset.task=classification",), ConfigError,
            "dataset.task=classification: takes one target; name one in dataset.target, or set",
        ),
        (
            {"a": CODES, "b": CODES}, ("dataset.split.by=stratified",), ConfigError,
            "dataset.split.by=stratified: only for classes, and the task is multilabel; set by",
        ),
        (
            {"a": CODES, "b": CODES}, ("dataset.target_transform=log",), ConfigError,
            "dataset.target_transform=log: only for a regression, but the task is multilabel",
        ),
    ],
)  # fmt: skip
def test_what_does_not_go_is_one_line(
    rows: dict[str, list[object]],
    more: tuple[str, ...],
    error: type[Exception],
    line: str,
    tmp_path: Path,
) -> None:
    listed: list[dict[str, object]] = [
        {"x": place / 7, **{name: of[place] for name, of in rows.items()}} for place in range(20)
    ]
    path = write_csv(tmp_path / "t.csv", listed)
    with pytest.raises(error) as caught:
        load(path, *more, target="[a,b]")
    assert str(caught.value).startswith(line.format(path=path))


def test_one_target_is_no_multilabel(refused: Refused) -> None:
    assert refused("train", "dataset=iris", "dataset.task=multilabel", code=2).startswith(
        "dataset.task=multilabel: takes several targets; name them as in dataset.target=[a,b], or set task="
    )
    with pytest.raises(ValueError, match="the classes do not fit the task"):
        InputSchema("multilabel", ("x",), (1,), ("a",))
    assert InputSchema("multilabel", ("x",), (1,), ("a", "b")).width == 2


def test_steps_with_labels_are_not_compiled(things: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it does not know several labels"):
        train(tmp_path, *settings(things, "model=logistic", "trainer.compile=true"), *QUICK)


def test_labels_without_a_training_row_are_named(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {
            "x": place / 7,
            "part": "train" if place < 30 else "test",
            "a": place % 2,
            "b": int(place > 35),
            "c": 0,
        }
        for place in range(40)
    ]
    path = write_csv(tmp_path / "t.csv", rows)
    remarks = load(path, "dataset.split={by: column, column: part}", target="[a,b,c]").remarks
    assert (
        f"warning: no training row has the label b ({path}:38), c, so it is never predicted; add rows of it, "
        "remove them, or change dataset.split" in remarks
    )


def test_a_column_that_knows_a_label_is_named(things: Path, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"x": place * 7 % 13, "known": place % 2, "a": place % 2, "b": place * 5 % 7 % 2}
        for place in range(200)
    ]
    chosen = config("dataset=table", f"dataset.path={write_csv(tmp_path / 't.csv', rows)}").dataset
    raw = chosen.raw()  # type: ignore[attr-defined]
    assert isinstance(raw, RawTable)
    targets = find_targets(target_columns(raw.table, ["a", "b"], raw.source, raw.locate), "auto")
    columns: list[RawColumn] = raw.columns(["x", "known"])
    kinds = [ColumnKind("x", "number", ""), ColumnKind("known", "boolean", "")]
    found = find_giveaways(columns, kinds, targets, np.arange(120), np.arange(120, 200))
    assert [(of.column, of.label) for of in found] == [("known", "a")]


def test_a_dataset_of_ones_own_has_labels_of_0_and_1() -> None:
    schema, chosen = InputSchema("multilabel", ("x",), (1,), ("a", "b")), config("dataset=moons").dataset
    inputs, targets = torch.randn(50, 1), (torch.rand(50, 2) > 0.5).float()
    dataset = split_at_random(chosen, schema, inputs, targets)
    assert dataset.target_scaling is None
    with pytest.raises(DataError, match="its labels must be 0 or 1, not 2"):
        split_at_random(chosen, schema, inputs, targets * 2)
