"""Weights of classes and rows: against torch and scikit-learn, in both engines, alone and together."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Refused
from engines import KINDS, Kind, collected, engine_of, evaluated, model_of
from own_data import save
from running import config, content, train
from sklearn import metrics
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.nn import functional as F

from mlpkit.analysis.evaluate import intervals_of, scores_of
from mlpkit.analysis.predict import load_predictor
from mlpkit.cli.main import run as command
from mlpkit.config.config import Config
from mlpkit.data.dataset import Dataset, Split
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.load import load_dataset
from mlpkit.data.splits import split_at_random
from mlpkit.data.weights import check_weights, class_weights, row_weights
from mlpkit.datasets.moons import MoonsDataset
from mlpkit.engines.engine import Engine
from mlpkit.errors import DataError, MlpkitError
from mlpkit.folders import checkpoint
from mlpkit.sweeps.datasets import Datasets
from mlpkit.sweeps.groups import group

DOUBLE = ("trainer.precision=float64", "optimizer=sgd", "optimizer.lr=1")
EXACT = {"rtol": 1e-11, "atol": 1e-12}
UPPER = "trainer.class_weight={upper: 5, lower: 1}"
MOONS = ("dataset=moons", "model=mlp", "model.hidden=[4]")


def with_weights(dataset: Dataset, seed: int = 0) -> Dataset:
    """Return a dataset whose rows have random weights, some of them 0."""
    splits: dict[str, Split] = {}
    for name, split in dataset.splits.items():
        random = torch.Generator().manual_seed(seed + len(splits))
        weights = torch.rand(len(split.all_targets), generator=random) * 3 - 0.3
        splits[name] = replace(split, all_weights=weights.clamp_min(0))
    return replace(dataset, splits=splits)


def torch_losses(engine: Engine, split: Split) -> tuple[Tensor, Tensor]:
    """Return torch's losses of a split by the engine's first network, and their weights, unscaled."""
    network, targets = engine.experiments[0].network, split.targets
    outputs = network.layers(network.scaling(split.inputs.double()))
    weights = torch.ones(len(split)) if split.weights is None else split.weights
    by_class = engine.experiments[0].class_weights
    if by_class:
        weights = weights * torch.tensor(by_class, dtype=torch.float64)[targets]
    if engine.task.name == "binary":
        losses = F.binary_cross_entropy_with_logits(outputs[:, 0], targets.double(), reduction="none")
    elif engine.task.name == "multiclass":
        losses = F.cross_entropy(outputs, targets, reduction="none")
    else:
        losses = (outputs - network.standardize(targets.double())).square().mean(1)
    return losses, weights.double()


CASES = {
    "classes of two": (*MOONS, UPPER),
    "classes of ten": ("dataset=digits", "model=logistic", "trainer.class_weight=balanced"),
    "rows of a regression": ("dataset=line", "model=mlp", "model.hidden=[4]"),
    "rows of two classes": MOONS,
    "rows and classes": (*MOONS, "trainer.class_weight=balanced"),
}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("batch", ["full", 32])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("case", CASES)
def test_a_step_is_that_of_torchs_weighted_loss(case: str, kind: Kind, batch: int | str) -> None:
    """A full batch takes the weighted mean; a mini-batch divides by its rows, with weights of mean 1."""
    settings = config(*CASES[case], *DOUBLE, f"trainer.batch_size={batch}", "trainer.accumulate=1")
    dataset = load_dataset(settings.dataset)
    if "rows" in case:
        dataset = with_weights(dataset)
    engine = engine_of(kind, configs=[settings], datasets=[dataset])
    rows = next(engine.rows_of_steps(0, 0))
    network = engine.experiments[0].network
    losses, weights = torch_losses(engine, dataset.splits["train"])
    weights = weights / weights.mean()
    loss = (losses * weights).sum() / weights.sum() if batch == "full" else (losses * weights)[rows].mean()
    names, parameters = zip(*network.named_parameters(), strict=True)
    gradients, loss = torch.autograd.grad(loss, parameters), loss.detach()
    before = model_of(engine)
    assert engine.step(rows, [1.0], 0, 0, True) == {}
    for name, gradient in zip(names, gradients, strict=True):
        torch.testing.assert_close(before[name] - model_of(engine)[name], gradient, **EXACT)
    if batch == "full":
        assert collected(engine)["loss"] == pytest.approx(float(loss), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("case", CASES)
def test_the_loss_of_a_split_is_its_weighted_mean(case: str, kind: Kind) -> None:
    settings = config(*CASES[case], *DOUBLE)
    dataset = load_dataset(settings.dataset)
    if "rows" in case:
        dataset = with_weights(dataset)
    engine = engine_of(kind, configs=[settings], datasets=[dataset])
    for name, split in dataset.splits.items():
        losses, weights = torch_losses(engine, split)
        expected = float((losses * weights).sum().detach() / weights.sum())
        assert evaluated(engine, name)["loss"] == pytest.approx(expected, rel=1e-12)


def test_a_whole_epoch_of_batches_is_scored_as_its_rows_are() -> None:
    """An epoch with lr 0 sees the same weights at every step, and its last batch is smaller."""
    settings = config(*MOONS, UPPER, *DOUBLE, "trainer.batch_size=64")
    engine = engine_of(KINDS[1], configs=[settings])
    assert len(engine.experiments[0].dataset.splits["train"]) % 64
    for step, rows in enumerate(engine.rows_of_steps(0, 0)):
        engine.step(rows, [0.0], 0, step, False)
    assert collected(engine)["loss"] == pytest.approx(evaluated(engine, "train")["loss"], rel=1e-12)


def test_accumulated_batches_are_one_batch() -> None:
    found = []
    for batch in ("trainer.batch_size=64", "trainer.batch_size=16"):
        accumulate = f"trainer.accumulate={64 // int(batch[19:])}"
        engine = engine_of(KINDS[1], *MOONS, UPPER, *DOUBLE, batch, accumulate)
        engine.step(next(engine.rows_of_steps(0, 0)), [1.0], 0, 0, False)
        found.append(model_of(engine))
    torch.testing.assert_close(found[0], found[1], **EXACT)


# ----------------------------------------------------------------------------------------- K runs


def together_and_alone(
    kind: Kind, configs: Sequence[Config], load: Callable[[Any], Dataset]
) -> tuple[Engine, list[Engine]]:
    datasets = [load(of.dataset) for of in configs]
    together = engine_of(kind, configs=configs, datasets=datasets)
    alone = [
        engine_of(kind, configs=[of], datasets=[dataset])
        for of, dataset in zip(configs, datasets, strict=True)
    ]
    for engine in (together, *alone):
        for step, rows in enumerate(list(engine.rows_of_steps(0, 0))[:3]):
            assert engine.step(rows, [0.1], 0, step, True) == {}
    return together, alone


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("batch", ["full", 32])
@pytest.mark.parametrize(
    "base", [MOONS, ("dataset=digits", "model=mlp", "model.hidden=[4]")], ids=["tables", "one table"]
)
def test_runs_on_other_rows_have_weights_of_their_own(
    base: tuple[str, ...], batch: int | str, kind: Kind
) -> None:
    """Digits share a table, of which each run has other rows; each run on moons has its own."""
    configs = [
        config(*base, *DOUBLE, "trainer.class_weight=balanced", f"trainer.batch_size={batch}", f"seed={seed}",
               f"dataset.seed={seed % 2}")
        for seed in range(3)
    ]  # fmt: skip
    load = Datasets().load
    weighted = {id(load(of.dataset)): with_weights(load(of.dataset)) for of in configs}
    for table in ({}, weighted):
        together, alone = together_and_alone(
            kind, configs, lambda of, table=table: table.get(id(load(of)), load(of))
        )
        if batch == 32:
            assert together.experiments[0].class_weights != together.experiments[1].class_weights
        for run, engine in enumerate(alone):
            torch.testing.assert_close(model_of(together, run), model_of(engine), **EXACT)
            for split in ("val", "test"):
                found, expected = evaluated(together, split), evaluated(engine, split)
                assert float(found["loss"][run]) == pytest.approx(expected["loss"], rel=1e-11)
        kept = together.select_runs([2, 0])
        for place, run in enumerate((2, 0)):
            found, expected = evaluated(kept, "val"), evaluated(alone[run], "val")
            assert float(found["loss"][place]) == pytest.approx(expected["loss"], rel=1e-11)
        last = together.select_runs([1])
        assert evaluated(last, "val")["loss"] == pytest.approx(evaluated(alone[1], "val")["loss"], rel=1e-11)


def test_runs_with_other_weights_are_not_trained_together() -> None:
    weights = ("none", "balanced", "{upper: 5, lower: 1}")
    configs = {n: config(*MOONS, f"trainer.class_weight={weights[n // 2]}", f"seed={n}") for n in range(6)}
    groups, _ = group(configs, Datasets())
    assert [of.numbers for of in groups] == [(0, 1), (2, 3), (4, 5)]
    first, same = (
        config(*MOONS, f"trainer.class_weight={{{w}}}") for w in ("upper: 5, lower: 1", "lower: 1, upper: 5")
    )
    assert first == same
    assert hash(first) == hash(same)


def test_equal_weights_change_no_bit(tmp_path: Path) -> None:
    chosen = (*MOONS, "trainer.epochs=3", "trainer.batch_size=32", "run.plots=false", "run.loggers=[]")
    plain, ones = (
        content(train(tmp_path, *chosen, f"trainer.class_weight={w}").last)
        for w in ("none", "{upper: 2, lower: 2}")
    )
    for part in ("tensors", "scores", "progress"):
        assert plain[part] == ones[part]


def test_a_step_without_weights_has_no_operation_for_them() -> None:
    engine = engine_of(KINDS[1], *MOONS)
    engine.step(slice(None), [0.1], 0, 0, False)
    chunk = engine.filler.last  # type: ignore[attr-defined]
    assert chunk.weights is None
    assert chunk._weigh() == []


# ------------------------------------------------------------------------------------ scikit-learn


def imbalanced(folder: Path, rows: int = 400) -> Path:
    """Write a table of overlapping classes, one of them rare, with weights and counts."""
    random = np.random.default_rng(3)
    x = random.normal(size=(rows, 2))
    logits = 1.5 * x[:, 0] - x[:, 1] - 2.5
    bought = random.random(rows) < 1 / (1 + np.exp(-logits))
    w = random.integers(0, 4, rows)
    with (folder / "shop.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("a", "b", "w", "bought"))
        for (a, b), weight, yes in zip(x.tolist(), w.tolist(), bought.tolist(), strict=True):
            writer.writerow((a, b, weight, "yes" if yes else "no"))
    return folder / "shop.csv"


SHOP = ("dataset=table", "dataset.path=shop.csv", "dataset.standardize=false")
TABLE = (*SHOP, "dataset.target=bought")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return imbalanced(tmp_path)


@pytest.mark.parametrize("sample", [False, True], ids=["", "rows too"])
@pytest.mark.parametrize("wanted", ["balanced", "{yes: 3, no: 1}"])
def test_logistic_regression_reaches_the_coefficients_of_scikit_learn(
    shop: Path, wanted: str, sample: bool
) -> None:
    chosen = (*TABLE, "model=logistic", "trainer.batch_size=full", *DOUBLE, f"trainer.class_weight={wanted}")
    if sample:
        chosen += ("dataset.sample_weight=w",)
    else:
        chosen += ("dataset.ignore=[w]",)
    settings = config(*chosen)
    engine = engine_of(KINDS[1], configs=[settings])
    for step in range(3000):
        engine.step(slice(None), [1.0], step, step, False)
    train = engine.experiments[0].dataset.splits["train"]
    x, y = train.inputs.numpy(), train.targets.numpy()
    assert x.shape[1] == 2  # the weights are no input
    weights = None if train.weights is None else train.weights.numpy()
    assert (weights is not None) == sample
    by_label: Any = "balanced" if wanted == "balanced" else {1: 3, 0: 1}
    fitted = LogisticRegression(class_weight=by_label, C=np.inf, tol=1e-8, max_iter=1000).fit(x, y, weights)
    found = model_of(engine)
    np.testing.assert_allclose(found["layers.0.weight"], fitted.coef_, rtol=2e-3)
    np.testing.assert_allclose(found["layers.0.bias"], fitted.intercept_, rtol=2e-3)


@pytest.mark.parametrize("dataset", ["moons", "digits", "iris"])
def test_balanced_is_scikit_learns(dataset: str) -> None:
    loaded = load_dataset(config(f"dataset={dataset}", "model=mlp").dataset)
    y = loaded.splits["train"].targets.numpy()
    expected = compute_class_weight("balanced", classes=np.unique(y), y=y)
    np.testing.assert_allclose(class_weights("balanced", loaded), expected)


def test_weights_of_a_split_have_the_mean_1() -> None:
    loaded = with_weights(load_dataset(config("dataset=digits", "model=mlp").dataset))
    for split in loaded.splits.values():
        weights = row_weights(split, [float(label) for label in range(10)])
        assert weights is not None
        assert float(weights[split.rows].mean()) == pytest.approx(1)


# ------------------------------------------------------------------- runs, their files and evaluate

SHORT = ("trainer.epochs=3", "run.plots=false", "run.loggers=[]")


def test_evaluate_prints_the_loss_of_training(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = train(
        Path("outputs"), *TABLE, "model=mlp", "dataset.sample_weight=w", *SHORT,
        "trainer.class_weight=balanced",
    )  # fmt: skip
    predictor, stored = load_predictor(folder.last)
    dataset = load_dataset(stored.config.dataset)
    assert stored.class_weights == class_weights("balanced", dataset)
    for name in ("train", "val"):
        split = dataset.splits[name]
        found = scores_of(predictor, split, predictor.outputs(split.inputs))
        assert found["loss"] == pytest.approx(
            stored.state.scores[name]["loss"], rel=0.2 if name == "train" else 1e-5
        )
    # All rows of the file together, as a table with and without its weights.
    assert command(["evaluate", str(folder.path), "--input", "shop.csv"]) == 0
    weighted, said = capsys.readouterr()
    assert "not read" not in said
    text = shop.read_text().splitlines()
    Path("plain.csv").write_text("\n".join(",".join(line.split(",")[i] for i in (0, 1, 3)) for line in text))
    assert command(["evaluate", str(folder.path), "--input", "plain.csv"]) == 0
    plain, said = capsys.readouterr()
    assert "plain.csv: no column w, so all rows count the same in the loss" in said
    assert plain != weighted
    assert command(["evaluate", str(folder.path), "--input", "plain.csv", "--weighted"]) == 2
    assert "--weighted: the rows have no weights" in capsys.readouterr()[1]


def test_predict_says_nothing_of_the_weights(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = train(Path("outputs"), *TABLE, "model=mlp", "dataset.sample_weight=w", *SHORT)
    capsys.readouterr()
    assert command(["predict", str(folder.path), "--input", "shop.csv"]) == 0
    assert "not read" not in capsys.readouterr()[1]


@pytest.mark.parametrize("task", ["classes", "numbers"])
def test_weighted_scores_are_scikit_learns(shop: Path, task: str) -> None:
    target = (
        ("dataset.target=bought",) if task == "classes" else ("dataset.target=a", "dataset.ignore=[bought]")
    )
    folder = train(Path("outputs"), *SHOP, *target, "model=mlp", "dataset.sample_weight=w", *SHORT)
    predictor, stored = load_predictor(folder.last)
    split = load_dataset(stored.config.dataset).splits["test"]
    assert split.weights is not None
    outputs, by = predictor.outputs(split.inputs), split.weights.numpy()
    found, plain = (scores_of(predictor, split, outputs, weighted) for weighted in (True, False))
    true, predicted = split.targets.numpy(), predictor.decode(outputs).values.numpy()
    scores: dict[str, Any] = {"accuracy": metrics.accuracy_score}
    if task == "numbers":
        scores = {"r2": metrics.r2_score, "mae": metrics.mean_absolute_error}
        scores["rmse"] = metrics.root_mean_squared_error
    assert found["loss"] == plain["loss"]
    for name, score in scores.items():
        assert found[name] == pytest.approx(score(true, predicted, sample_weight=by), rel=1e-5)
        assert plain[name] == pytest.approx(score(true, predicted), rel=1e-5)
        assert found[name] != plain[name]


def test_intervals_are_of_the_weighted_mean(shop: Path) -> None:
    """A weight that all rows have changes nothing, and a row of weight 2 is not two rows."""
    folder = train(Path("outputs"), *TABLE, "model=mlp", "dataset.sample_weight=w", *SHORT)
    predictor, stored = load_predictor(folder.last)
    split = load_dataset(stored.config.dataset).splits["test"]
    outputs = predictor.outputs(split.inputs)
    plain = intervals_of(predictor, replace(split, all_weights=None), outputs)
    same = intervals_of(
        predictor, replace(split, all_weights=torch.full((400,), 3.0)), outputs, weighted=True
    )
    del plain["accuracy"]  # without weights it has Wilson's interval
    for name, ends in plain.items():
        assert same[name] == pytest.approx(ends, rel=1e-9)
    assert split.weights is not None
    found = intervals_of(predictor, split, outputs, weighted=True)["accuracy"]
    right = (predictor.decode(outputs).values == split.targets).double().numpy()
    weights, draws = split.weights.double().numpy(), np.random.default_rng(1)
    drawn = draws.integers(0, len(split), (4000, len(split)))
    means = (right * weights)[drawn].sum(1) / weights[drawn].sum(1)
    assert found == pytest.approx(np.percentile(means, (2.5, 97.5)), abs=0.01)


def test_a_resumed_run_has_the_bits_of_one_that_never_stopped(shop: Path) -> None:
    chosen = (*TABLE, "model=mlp", "model.hidden=[4]", "dataset.sample_weight=w", "trainer.batch_size=32",
              "trainer.class_weight=balanced", *SHORT[1:])  # fmt: skip
    whole = content(train(Path("a"), *chosen, "trainer.epochs=4").last)
    folder = train(Path("b"), *chosen, "trainer.epochs=2")
    assert command(["resume", str(folder.path), "trainer.epochs=4"]) == 0
    found = content(folder.last)
    for part in ("tensors", "scores"):
        assert found[part] == whole[part]
    assert command(["resume", str(folder.path), "trainer.epochs=6", "trainer.class_weight=none"]) == 2
    shop.write_text(shop.read_text().replace(",3,", ",2,"))
    assert command(["resume", str(folder.path), "trainer.epochs=6"]) == 65  # other data


def test_class_weights_of_a_checkpoint_are_those_of_its_classes(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    stored = checkpoint.load(trained["moons"] / "checkpoints" / "last.safetensors", checkpoint.KINDS)
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, replace(stored, class_weights=(0.5, 2.0)))
    assert checkpoint.load(path).class_weights == (0.5, 2.0)
    for wrong in ((1.0,), (-1.0, 1.0), (float("nan"), 1.0)):
        checkpoint.save(path, replace(stored, class_weights=wrong))
        with pytest.raises(DataError):
            checkpoint.load(path)


def test_arrays_with_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    arrays = {"X": random.normal(size=(40, 3)), "y": np.arange(40) % 2, "w": np.arange(40)}
    path = save(tmp_path, **arrays)
    loaded = load_dataset(
        config("dataset=arrays", f"dataset.path={path}", "dataset.sample_weight=w", "model=mlp").dataset
    )
    for split in loaded.splits.values():
        assert split.weights is not None
        rows = [
            int(np.flatnonzero((arrays["X"].astype("f4") == row).all(1))[0]) for row in split.inputs.numpy()
        ]
        assert split.weights.tolist() == rows  # w is the number of the row


def test_a_dataset_may_draw_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config("dataset=moons", "model=mlp").dataset
    draw = MoonsDataset.draw
    monkeypatch.setattr(MoonsDataset, "draw", lambda self: (*draw(self), torch.arange(float(self.n))))
    weights = [split.weights for split in load_dataset(settings).splits.values()]
    drawn = torch.cat([of for of in weights if of is not None])
    assert drawn.sort().values.tolist() == list(range(500))


def test_a_plug_in_may_return_weights() -> None:
    schema = InputSchema("regression", ("x",), (1,), ("y",))
    inputs = torch.arange(20.0)[:, None]
    loaded = split_at_random(
        config("dataset=line", "model=linear").dataset, schema, inputs, inputs, inputs[:, 0]
    )
    for split in loaded.splits.values():
        assert torch.equal(split.all_weights[split.rows], split.inputs[:, 0])  # type: ignore[index]
    same = replace(loaded, splits={**loaded.splits, "val": replace(loaded.splits["val"], all_weights=None)})
    with pytest.raises(DataError, match=r"only train.* has weights; give all splits weights, or none"):
        check_weights(same)
    for wrong in (-inputs[:, 0], inputs[:, 0] / 0):
        splits = {name: replace(split, all_weights=wrong) for name, split in loaded.splits.items()}
        with pytest.raises(DataError, match="must be finite and at least 0, not"):
            check_weights(replace(loaded, splits=splits))
    with pytest.raises(DataError, match=r"its weights must have shape \(20,\)"):
        split_at_random(config("dataset=line", "model=linear").dataset, schema, inputs, inputs, inputs)


# --------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("dataset=moons", "{uper: 1, lower: 2}"), "dataset=moons has no class uper; did you mean upper?"),
        (("dataset=moons", "{upper: 1}"), "no weight for the class lower; name all classes"),
        (("dataset=moons", "{upper: -1, lower: 1}"), "must be one of none, balanced or a weight ≥ 0"),
        (("dataset=moons", "{upper: inf, lower: 1}"), "must be one of none, balanced or a weight ≥ 0"),
        (("dataset=moons", "often"), "must be one of none, balanced or a weight ≥ 0 for each class by name"),
        (("dataset=line", "balanced"), "only for classes, and the task of dataset=line is regression; leave"),
    ],
)  # fmt: skip
def test_class_weights_are_refused(options: tuple[str, str], said: str, refused: Refused) -> None:
    dataset, wanted = options
    found = refused("train", dataset, f"trainer.class_weight={wanted}", *_model(dataset), code=2)
    assert found.startswith("trainer.class_weight")
    assert said in found


def _model(dataset: str) -> tuple[str, ...]:
    return ("model=mlp",) if dataset == "dataset=moons" else ("model=linear",)


def test_rows_that_all_have_the_weight_0_are_refused(refused: Refused) -> None:
    said = refused("train", "dataset=moons", "trainer.class_weight={upper: 0, lower: 0}", code=65)
    assert said == "all 300 rows to score have the weight 0; give at least one of them a weight above 0"


ROWS = ["x,w,y", *(f"{n * 0.7:.1f},{n + 1},{n * 1.5}" for n in range(20))]


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("3,,4.5", 65, "t.csv:5: column w: no weight; fill it in, such as with 1, or remove the row"),
        ("3,-2,4.5", 65, "t.csv:5: column w: -2 is negative, and a weight is at least 0; correct it"),
        ("3,much,4.5", 65, 't.csv:5: column w: "much" is not a plain number such as 0.5; correct it'),
        ("3,1e60,4.5", 65, "t.csv:5: column w: 1e+60 is not a finite float32"),
    ],
)
def test_weights_of_a_table_are_refused(line: str, code: int, said: str, refused: Refused) -> None:
    Path("t.csv").write_text("\n".join([*ROWS[:4], line, *ROWS[5:]]) + "\n")
    found = refused("train", "data=t.csv", "target=y", "dataset.sample_weight=w", code=code)
    assert said.replace('"', "'") in found.replace('"', "'")


def test_columns_of_weights_that_do_not_fit_are_refused(refused: Refused) -> None:
    Path("t.csv").write_text("\n".join(ROWS) + "\n")
    said = refused("train", "data=t.csv", "target=y", "dataset.sample_weight=ww", code=2)
    assert "t.csv has no such column; did you mean w?; there is x, w, y" in said
    said = refused("train", "data=t.csv", "target=y", "dataset.sample_weight=y", code=2)
    assert said == "dataset.sample_weight=y: it is the target; name a column of weights, or none"
    Path("t.csv").write_text(
        "\n".join(f"{n * 0.7:.1f},0,{n * 1.5}" if n else "x,w,y" for n in range(20)) + "\n"
    )
    said = refused("train", "data=t.csv", "target=y", "dataset.sample_weight=w", code=65)
    assert "column w: all weights are 0; name another column, or leave dataset.sample_weight out" in said


def test_arrays_of_weights_that_do_not_fit_are_refused(refused: Refused) -> None:
    x, y = np.zeros((20, 2)) + np.arange(20)[:, None], np.arange(20.0)
    base = ("train", "dataset=arrays", "dataset.path=a.npz", "model=linear", "dataset.sample_weight=w")
    save(Path(), X=x, y=y)
    assert "a.npz: no array of train weights, such as w or w_train; it has X, y" in refused(*base, code=65)
    save(Path(), X=x, y=y, w=y[:5])
    assert "a.npz: w: has shape (5,), but" in refused(*base, code=65)
    for values, said in (
        (y - 5, "row 1: -5: a weight must be"),
        (y * np.nan, "row 1: nan"),
        (y * 0, "all weights are 0"),
    ):
        save(Path(), X=x, y=y, w=values)
        assert said in refused(*base, code=65)
    np.save("X.npy", x)
    np.save("y.npy", y)
    files = ("dataset.path=X.npy", "dataset.target=y.npy", "dataset.sample_weight=w")
    assert "a .npy holds only the inputs" in refused(
        "train", "dataset=arrays", *files, "model=linear", code=2
    )


def test_a_class_without_training_rows_has_no_balance(tmp_path: Path) -> None:
    loaded = load_dataset(config("dataset=iris", "model=mlp").dataset)
    train = loaded.splits["train"]
    two = torch.arange(len(train))[train.targets < 2]
    few = replace(loaded, splits={**loaded.splits, "train": Split(train.inputs, train.targets, two)})
    with pytest.raises(MlpkitError, match="no training row is of the class virginica"):
        class_weights("balanced", few)
