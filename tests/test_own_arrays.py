"""dataset=arrays: what it reads equals numpy's arrays, and what it cannot read is one line."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Refused
from own_data import save
from running import config, train

from mlpkit.analysis.matching_data import load_matching
from mlpkit.analysis.predict import load_predictor
from mlpkit.cli.main import run as command
from mlpkit.data.dataset import Dataset
from mlpkit.data.inputs import read_inputs
from mlpkit.data.load import load_dataset
from mlpkit.datasets.arrays import ArraysDataset
from mlpkit.errors import ConfigError, DataError
from mlpkit.folders import checkpoint

QUICK = ("model=mlp", "model.hidden=[4]", "trainer.epochs=2", "run.tensorboard=false", "run.plots=false")
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 3))
LABELS = np.arange(60) % 3
PIXELS = RANDOM.integers(0, 256, (60, 3, 4, 5), dtype=np.uint8)


def load(path: Path, **options: Any) -> Dataset:
    return load_dataset(ArraysDataset(name="arrays", path=str(path), **options))


def rows_of(dataset: Dataset) -> dict[bytes, Any]:
    """Return the targets of all rows by the bytes of their inputs, which differ."""
    return {
        row.numpy().tobytes(): said.tolist()
        for split in dataset.splits.values()
        for row, said in zip(split.inputs, split.targets, strict=True)
    }


def expected(inputs: np.ndarray, targets: Any) -> dict[bytes, Any]:
    flat = inputs.reshape(len(inputs), -1).astype(np.float32)
    return {row.tobytes(): said for row, said in zip(flat, np.asarray(targets).tolist(), strict=True)}


@pytest.mark.parametrize(
    "names",
    [("X", "y"), ("x", "Y"), ("inputs", "targets"), ("X_train", "y_train"), ("train_images", "train_labels")],
)
def test_names_of_inputs_and_targets(names: tuple[str, str], tmp_path: Path) -> None:
    dataset = load(save(tmp_path, **dict(zip(names, (X, LABELS), strict=True))))
    assert rows_of(dataset) == expected(X, LABELS)
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 36,
        "val": 12,
        "test": 12,
    }
    assert torch.bincount(dataset.splits["test"].targets).tolist() == [4, 4, 4]
    schema = dataset.input_schema
    assert (schema.task, schema.features, schema.classes) == (
        "multiclass",
        ("x1", "x2", "x3"),
        ("0", "1", "2"),
    )


def test_names_may_be_said(tmp_path: Path) -> None:
    path = save(tmp_path, X=X * 2, rows=X, what=LABELS)
    dataset = load(path, inputs="rows", target="what")
    assert rows_of(dataset) == expected(X, LABELS)
    assert dataset.remarks[-1] == f"{path}: other arrays are left out: X"


def test_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", LABELS)
    monkeypatch.chdir(tmp_path)
    chosen = ArraysDataset(name="arrays", path="x.npy", target="y.npy")
    monkeypatch.chdir("/")
    assert (chosen.path, chosen.target) == (str(tmp_path / "x.npy"), str(tmp_path / "y.npy"))
    assert rows_of(load_dataset(chosen)) == expected(X, LABELS)


@pytest.mark.parametrize("form", ["keras", "medmnist"])
def test_splits_are_taken_where_they_are_there(form: str, tmp_path: Path) -> None:
    if form == "keras":
        arrays = {
            "x_train": X[:40],
            "y_train": LABELS[:40, None],
            "x_test": X[40:],
            "y_test": LABELS[40:, None],
        }
        sizes = {"train": 32, "val": 8, "test": 20}
    else:
        names = ("images", "labels")
        arrays = {
            f"{split}_{name}": array[rows]
            for split, rows in (("train", slice(30)), ("val", slice(30, 40)), ("test", slice(40, 60)))
            for name, array in zip(names, (X, LABELS), strict=True)
        }
        sizes = {"train": 30, "val": 10, "test": 20}
    splits = load(save(tmp_path, **arrays)).splits
    assert {name: len(split) for name, split in splits.items()} == sizes
    assert np.array_equal(splits["test"].inputs.numpy(), X[40:].astype(np.float32))
    assert splits["test"].targets.tolist() == LABELS[40:].tolist()


@pytest.mark.parametrize("standardize", [True, False])
def test_targets_of_a_regression(standardize: bool, tmp_path: Path) -> None:
    y = X @ np.ones((3, 2))
    dataset = load(save(tmp_path, X=X, y=y), standardize=standardize)
    assert rows_of(dataset) == expected(X, y.astype(np.float32))
    assert (dataset.input_schema.task, dataset.input_schema.targets) == ("regression", ("y1", "y2"))
    train = dataset.splits["train"]
    if standardize:
        torch.testing.assert_close(dataset.target_scaling.mean, train.targets.mean(0))
        torch.testing.assert_close(dataset.input_scaling.std, train.inputs.std(0, correction=0))
    else:
        assert dataset.target_scaling is dataset.input_scaling is None
    assert load(save(tmp_path, X=X[:, 0], y=y[:, 0])).input_schema.targets == ("y",)


TEXTS = np.array(["ham", "egg", "ham"] * 20)
CLASSES: dict[str, tuple[np.ndarray, dict[str, Any], tuple[str, ...], Any]] = {
    "integers": (np.array([7, 10, -1] * 20), {}, ("-1", "7", "10"), [1, 2, 0]),
    "bytes": (LABELS.astype(np.uint8), {}, ("0", "1", "2"), [0, 1, 2]),
    "true and false": (TEXTS == "ham", {}, ("false", "true"), [1, 0, 1]),
    "texts": (TEXTS, {}, ("egg", "ham"), [1, 0, 1]),
    "old texts": (TEXTS.astype("S"), {}, ("egg", "ham"), [1, 0, 1]),
    "named": (LABELS, {"classes": ("a", "b", "c")}, ("a", "b", "c"), [0, 1, 2]),
    "one more name": (LABELS, {"classes": ("a", "b", "c", "d")}, ("a", "b", "c", "d"), [0, 1, 2]),
    "named in order": (LABELS + 5, {"classes": ("a", "b", "c")}, ("a", "b", "c"), [0, 1, 2]),
    "texts in an order": (TEXTS, {"classes": ("ham", "egg")}, ("ham", "egg"), [0, 1, 0]),
}


@pytest.mark.parametrize("name", CLASSES)
def test_targets_that_are_classes(name: str, tmp_path: Path) -> None:
    y, options, classes, labels = CLASSES[name]
    dataset = load(save(tmp_path, X=X, y=y), **options)
    assert dataset.input_schema.classes == classes
    assert dataset.input_schema.task == ("binary" if len(classes) == 2 else "multiclass")
    assert rows_of(dataset) == expected(X, labels * 20)


@pytest.mark.parametrize(
    ("pixels", "shape"),
    [
        (PIXELS, (3, 4, 5)),
        (np.moveaxis(PIXELS, 1, 3), (3, 4, 5)),
        (PIXELS[:, 0], (4, 5)),
        (PIXELS[:, :1], (4, 5)),
        (np.moveaxis(PIXELS, 1, 3)[..., :1], (4, 5)),
        ((PIXELS / 255).astype(np.float32), (3, 4, 5)),
    ],
)
def test_inputs_that_are_pictures(pixels: np.ndarray, shape: tuple[int, ...], tmp_path: Path) -> None:
    dataset = load(save(tmp_path, X=pixels, y=LABELS))
    schema = dataset.input_schema
    assert (schema.input_shape, schema.is_image) == (shape, True)
    first = (PIXELS if len(shape) == 3 else PIXELS[:, :1]).astype(np.float32) / 255
    assert rows_of(dataset) == expected(first, LABELS)
    train = dataset.splits["train"].inputs.reshape(36, -1, 20).double()
    mean = dataset.input_scaling.mean.reshape(-1, 20)
    torch.testing.assert_close(mean[:, 0].double(), train.mean((0, 2)))
    np.save(tmp_path / "p.npy", pixels)
    found = read_inputs(str(tmp_path / "p.npy"), schema).values
    assert {row.numpy().tobytes() for row in found} == set(rows_of(dataset))


def test_numbers_that_are_no_pixels_are_columns(tmp_path: Path) -> None:
    dataset = load(save(tmp_path, X=PIXELS[:, 0].astype(float), y=LABELS))
    assert (dataset.input_schema.input_shape, dataset.input_schema.is_image) == ((20,), False)
    assert "are read as columns, not as pictures" in dataset.remarks[0]
    with pytest.raises(ConfigError, match="only for pictures"):
        load(tmp_path / "a.npz", augment={"rotation": 10.0})


# ------------------------------------------------------------------------------- runs and predictions


def test_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path, X=X, y=LABELS)
    run = train(tmp_path, "dataset=arrays", "dataset.path=a.npz", *QUICK, f"run.dir={tmp_path / 'run'}").path
    best = run / "checkpoints" / "best.safetensors"
    predictor, stored = load_predictor(best)
    assert stored.config.dataset.model_dump()["path"] == str(path)
    dataset = load_matching(stored.config.dataset, stored, best, pytest.fail)
    test = dataset.splits["test"].inputs
    np.save(tmp_path / "test.npy", test.numpy())
    np.savez(tmp_path / "test.npz", X=test.numpy(), y=np.zeros(len(test)))
    lines = ["x1,x2,x3", *(",".join(map(repr, row)) for row in test.tolist())]
    (tmp_path / "test.csv").write_text("\n".join(lines))
    for name in ("test.npy", "test.npz", "test.csv"):
        found = read_inputs(name, stored.input_schema).values
        assert torch.equal(predictor.predict(found).probabilities, predictor.predict(test).probabilities)
    monkeypatch.chdir("/")
    assert command(["resume", str(run), "trainer.epochs=3", "run.progress=none"]) == 0
    other = X.copy()
    other[0, 0] += 1
    save(tmp_path, X=other, y=LABELS)
    assert command(["resume", str(run), "trainer.epochs=4"]) == 65
    assert "data" in capsys.readouterr().err


def test_it_is_scored_on_other_arrays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a class has no row, the labels are still those of the model."""
    monkeypatch.chdir(tmp_path)
    train(tmp_path, "dataset=arrays", f"dataset.path={save(tmp_path, X=X, y=LABELS)}", *QUICK, "run.dir=run")
    np.savez(tmp_path / "b.npz", X=X[LABELS > 0] + 1, y=LABELS[LABELS > 0])
    assert command(["evaluate", "run", "dataset.path=b.npz", "--split", "train"]) == 0
    assert "accuracy" in capsys.readouterr().out


def test_pictures_train_together_with_augmentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path, X=PIXELS, y=LABELS)
    settings = ("dataset=arrays", "dataset.path=a.npz", "dataset.augment.rotation=9", *QUICK, "seed=0,1")
    assert command(["train", "-m", *settings, "run.progress=none"]) == 0
    logs = [path.read_text() for path in tmp_path.rglob("train.log")]
    assert any("one of 2 runs that are trained together" in log for log in logs)
    (path, *_) = tmp_path.rglob("best.safetensors")
    assert checkpoint.load(path).input_schema.input_shape == (3, 4, 5)


# --------------------------------------------------------------------------------- what is refused


def holes(row: int, value: float) -> np.ndarray:
    found = X.copy()
    found[row, 1] = value
    return found


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nan": (
        {"X": holes(4, np.nan), "y": LABELS},
        ": X: row 5: value 2 is not a finite float32; correct or remove it",
    ),
    "infinity in test": (
        {"X": X, "y": LABELS, "X_test": holes(2, -np.inf), "y_test": LABELS},
        ": X_test: row 3: value 2 is not a finite float32; correct or remove it",
    ),
    "beyond float32": (
        {"X": holes(0, 1e300), "y": LABELS},
        ": X: row 1: value 2 is not a finite float32; correct or remove it",
    ),
    "a target that is nan": (
        {"X": X, "y": np.where(LABELS, np.nan, 1.0)},
        ": y: row 2: not a finite float32; correct or remove the row",
    ),
    "objects": (
        {"X": X, "y": np.array([object()] * 60)},
        ": not a readable array file (Object arrays cannot be loaded when allow_pickle=False); save the "
        "arrays again",
    ),
    "texts as inputs": ({"X": TEXTS, "y": LABELS}, ": X: holds <U3, not numbers; convert it to float32"),
    "complex targets": (
        {"X": X, "y": X[:, 0] * 1j},
        ": y: 'complex128' of shape (60,); save integers, strings or booleans for classes, and floats "
        "for a regression",
    ),
    "lengths": (
        {"X": X, "y": LABELS[:59]},
        ": y: 59 rows, but {path}: X has 60; save arrays with the same number of rows",
    ),
    "no targets": (
        {"X": X, "z": LABELS},
        ": no array of train targets, such as y or y_train; it has X, z; name one with "
        "dataset.target=NAME",
    ),
    "no test targets": (
        {"X": X, "y": LABELS, "X_test": X},
        ": no array of test targets, such as y or y_test; it has X, y, X_test; name one with "
        "dataset.target=NAME",
    ),
    "two inputs": (
        {"X": X, "inputs": X, "y": LABELS},
        ": inputs, X could all be the train inputs; name one with dataset.inputs=NAME",
    ),
    "one class": ({"X": X, "y": LABELS * 0}, ": y: 1 classes; there must be 2 to 1,000"),
    "too many classes": (
        {"X": np.zeros((2000, 1)), "y": np.arange(2000)},
        ": y: 2,000 classes; there must be 2 to 1,000; save y as floats for a regression",
    ),
    "a class of test alone": (
        {"X": X, "y": LABELS, "X_test": X, "y_test": LABELS + 1},
        ": y_test: row 3: '3' is not a class; the classes are 0, 1, 2",
    ),
    "a label for each class": (
        {"X": X, "y": np.eye(3, dtype=int)[LABELS]},
        ": y: 'int64' of shape (60, 3); give one label for each row, such as numpy.argmax(y, axis=1)",
    ),
    "no rows": ({"X": X[:0], "y": LABELS[:0]}, ": X: no rows; give at least one"),
    "no columns": (
        {"X": X[:, :0], "y": LABELS},
        ": X: has shape (60, 0); each row needs at least one number",
    ),
    "other columns in test": (
        {"X": X, "y": LABELS, "X_test": X[:, :2], "y_test": LABELS},
        ": X_test: rows are (2,) float64, but those of {path}: X are (3,) float64; save them "
        "in the same way",
    ),
    "other targets in test": (
        {"X": X, "y": LABELS, "X_test": X, "y_test": LABELS * 1.0},
        ": y_test: float64 of shape (60,), but {path}: y is int64 of shape (60,); save them in the same way",
    ),
    "a name that cannot be printed": (
        {"X": X, "y": np.array(["a\n", "b"] * 30)},
        ": y: the classes 'a\\n', b must be different, printable names",
    ),
    "too many columns": (
        {"X": np.zeros((60, 50_001), np.int8), "y": LABELS},
        ": X: 50,001 numbers in a row, at most 50,000; take fewer",
    ),
    "nothing": ({}, ": no array of train inputs, such as X or X_train; it has none; name one with "
                "dataset.inputs=NAME"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_faulty_arrays(name: str, refused: Refused, tmp_path: Path) -> None:
    arrays, message = REFUSED[name]
    path = save(tmp_path, **arrays)
    said = refused("train", "dataset=arrays", "dataset.path=a.npz", code=65)
    assert said == f"{path}{message}".replace("{path}", str(path))


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "none.npz": (lambda path: None, "dataset.path={path}: no such file; check the path"),
    "fifo.npz": (a_fifo, "dataset.path={path}: not a regular file"),
    "folder.npz": (Path.mkdir, "dataset.path={path}: not a regular file"),
    "loop.npz": (
        lambda path: path.symlink_to(path),
        "dataset.path={path}: cannot be read (Too many levels of symbolic links)",
    ),
    "text.npz": (
        lambda path: path.write_text("hello"),
        "{path}: not a readable array file (File is not a zip file); save the arrays again",
    ),
    "table.csv": (
        lambda path: path.write_text("x,y\n1,2"),
        "dataset.path={path}: must be a .npz or .npy file of arrays; numpy.savez writes one",
    ),
    **{
        f"model{ending}": (
            lambda path: path.write_bytes(b"\x80\x04."),
            f"dataset.path={{path}}: mlpkit reads no {ending} file, since reading it can run code; save its "
            "arrays with numpy.savez(FILE, X=…, y=…)",
        )
        for ending in (".pt", ".pth", ".pkl", ".pickle")
    },
}


@pytest.mark.parametrize("name", FILES)
def test_faulty_files(name: str, refused: Refused, tmp_path: Path) -> None:
    make, message = FILES[name]
    make(tmp_path / name)
    said = refused("train", "dataset=arrays", f"dataset.path={name}", code=65)
    assert said == message.replace("{path}", str(tmp_path / name))


def test_a_pickle_is_refused_at_predict(refused: Refused, trained: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"\x80\x04.")
    said = refused("predict", str(trained["moons"]), "--input", "a.pt", code=65)
    assert said.startswith("a.pt: mlpkit reads no .pt file, since reading it can run code")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "dataset.target: no file is named"),
        ({"target": "y.npz"}, "must be a .npy file, since the inputs are one"),
        ({"target": "y.npy", "inputs": "X"}, "dataset.inputs=X: a .npy file has no array names"),
    ],
)
def test_options_that_do_not_go_with_a_npy(options: dict[str, str], message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", LABELS)
    save(tmp_path, X=X).rename(tmp_path / "y.npz")
    if "target" in options:
        options = {**options, "target": str(tmp_path / options["target"])}
    with pytest.raises(ConfigError, match=message):
        load(tmp_path / "x.npy", **options)


def test_names_that_do_not_go_with_the_targets(tmp_path: Path) -> None:
    path = save(tmp_path, X=X, y=LABELS * 3)
    with pytest.raises(DataError, match="row 1: '0' is not a class; the classes are a, b"):
        load(path, classes=("a", "b"))
    with pytest.raises(ConfigError, match=r"dataset\.classes: .* is float64, for regression"):
        load(save(tmp_path, X=X, y=X[:, 0]), classes=("a", "b"))
    with pytest.raises(ConfigError, match=r"dataset\.classes=\[\"a\"\]: must be"):
        config("dataset=arrays", "dataset.classes=[a]")


@pytest.mark.parametrize(
    ("y", "remark"),
    [
        (
            np.eye(3)[LABELS],
            "a regression on 3 targets, each 0 or 1; numpy.argmax(y, axis=1) turns them into classes",
        ),
        (LABELS * 1.0, "a regression on 3 different whole numbers; y.astype(int) turns them into classes"),
        (X[:, 0], "float64, read as a regression"),
    ],
)
def test_floats_that_look_like_classes_are_remarked(y: np.ndarray, remark: str, tmp_path: Path) -> None:
    assert load(save(tmp_path, X=X, y=y)).remarks[-1].endswith(remark)


def test_too_few_rows(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leave no row to val"):
        load(save(tmp_path, X=X[:2], y=LABELS[:2]))


@pytest.mark.parametrize("shape", [(3,), (3, 4, 5), (4, 5)])
def test_equal_rows_in_two_splits_are_counted(shape: tuple[int, ...], tmp_path: Path) -> None:
    """Of columns with their targets, of pictures by their pixels alone."""
    inputs = RANDOM.random((40, *shape)).astype(np.float32)
    parts = {"X_train": inputs[:20], "X_val": inputs[20:30], "X_test": inputs[30:]}
    labels = {f"y{name[1:]}": np.arange(len(part)) % 2 for name, part in parts.items()}

    def warnings() -> list[str]:
        remarks = load(save(tmp_path, **parts, **labels)).remarks
        return [line for line in remarks if line.startswith("warning: ")]

    assert warnings() == []
    parts["X_test"][:5] = parts["X_train"][:5]
    labels["y_test"][0] = 1 - labels["y_test"][0]
    kind, again = ("row", 4) if len(shape) == 1 else ("picture", 5)
    (line,) = warnings()
    assert line.startswith(
        f"warning: {again} of 10 test {kind}s are equal to a training {kind}, so its scores"
    )
