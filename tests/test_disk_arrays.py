"""Arrays that are larger than dataset.memory are trained on from the disk."""

import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from conftest import Refused
from running import QUIET, TRAIN, config, content, train
from sklearn.metrics import r2_score
from torch import Tensor

from mlpkit.analysis.predict import load_predictor
from mlpkit.cli.main import run as command
from mlpkit.config.run import TrainerConfig
from mlpkit.data.arrays import read_npz
from mlpkit.data.dataset import Dataset
from mlpkit.data.load import load_dataset
from mlpkit.engines.batches import Steps
from mlpkit.engines.streamed import StreamedEngine
from mlpkit.engines.windows import Windows
from mlpkit.errors import DataError
from mlpkit.folders.checkpoint import load
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.state import KINDS
from mlpkit.system.console import make_console
from mlpkit.system.plain_json import read_object
from mlpkit.training.build import build
from mlpkit.training.start import resume_run

ROWS, FEATURES = 6000, 60
SMALL = ("trainer.epochs=2", "trainer.batch_size=100", "run.plots=false", "run.loggers=[]")


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Overrides for a regression on 1.4 MB of inputs, sorted by the target, with 1 MiB of memory."""
    folder, random = tmp_path_factory.mktemp("arrays"), np.random.default_rng(0)
    inputs = random.normal(3, 2, (ROWS, FEATURES)).astype(np.float32)
    inputs[:, 7] = 5
    targets = inputs[:, 0] + 0.1 * random.normal(size=ROWS)
    order = np.argsort(targets)
    np.save(folder / "X.npy", inputs[order])
    np.save(folder / "y.npy", targets[order].astype(np.float32))
    np.save(folder / "classes.npy", np.digitize(targets[order], [2, 4]))
    path, target = folder / "X.npy", folder / "y.npy"
    return ("dataset=arrays", f"dataset.path={path}", f"dataset.target={target}", "dataset.memory=1MiB")


def classes_of(arrays: tuple[str, ...]) -> tuple[str, ...]:
    return merged(*arrays, arrays[2].replace("y.npy", "classes.npy"))


def merged(*overrides: str) -> tuple[str, ...]:
    """Return overrides of which a later one replaces an earlier one of the same key."""
    return tuple({text.partition("=")[0]: text for text in overrides}.values())


def load_rows(overrides: tuple[str, ...]) -> Dataset:
    return load_dataset(config(*merged(*overrides, "model=mlp")).dataset)


def as_set(inputs: Tensor, targets: Tensor) -> set[tuple[bytes, float]]:
    """Return rows with their targets, whatever their order."""
    return {(row.tobytes(), float(y)) for row, y in zip(inputs.numpy(), targets.flatten(), strict=True)}


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(
    ("rows", "block", "blocks", "size"), [(1000, 64, 3, 50), (999, 7, 20, 64), (50, 64, 2, 8)]
)
def test_the_order_of_a_pass_has_each_row_once(
    rows: int, block: int, blocks: int, size: int, drop_last: bool
) -> None:
    trainer = TrainerConfig.model_validate({"batch_size": size, "drop_last": drop_last, "epochs": 3})
    steps = Steps.of(trainer, rows)
    windows = Windows(steps, 5, block, max(blocks, Windows.fewest_blocks(block, size)))
    passes = []
    for number in range(2):
        at, order = number * steps.per_pass, []
        while at < (number + 1) * steps.per_pass:
            window = windows.at(at)
            assert window.number == number and at % steps.per_pass == window.steps.start
            in_memory = torch.cat((windows.rows_before(window), *map(torch.tensor, map(list, window.ranges))))
            used = in_memory[windows.places(window)]
            assert len(used) <= windows.most_rows
            assert torch.equal(windows.rows_of(window, window.steps), used[: len(window.steps) * size])
            order.append(windows.rows_of(window, window.steps))
            at += len(window.steps)
        passes.append(torch.cat(order))
        assert len(passes[-1]) == steps.used == len(passes[-1].unique())
    assert not torch.equal(*passes)
    again = Windows(steps, 5, block, windows.blocks).at(steps.per_pass)
    assert torch.equal(
        windows.rows_of(windows.at(steps.per_pass), again.steps), passes[1][: len(again.steps) * size]
    )


def test_the_table_has_all_rows_in_random_blocks(arrays: tuple[str, ...]) -> None:
    dataset = load_rows(arrays)
    table, sizes = dataset.disk, {name: len(split) for name, split in dataset.splits.items()}
    assert table is not None and sizes == {"train": 3600, "val": 1200, "test": 1200}
    inputs = torch.cat([split.inputs for split in dataset.splits.values()])
    targets = torch.cat([split.targets for split in dataset.splits.values()])
    files = [np.load(text.partition("=")[2]) for text in arrays if text.endswith(".npy")]
    assert as_set(inputs, targets) == as_set(*map(torch.from_numpy, files)) and len(inputs) == ROWS
    mean, std = targets.mean(), targets.std()
    for split in dataset.splits.values():  # the files are sorted, and no block or split is special
        for part in torch.split(split.targets, table.header.block):
            assert abs(float(part.mean() - mean)) < 5 * float(std) / len(part) ** 0.5
    train = dataset.splits["train"]
    exact = train.inputs.double()
    assert dataset.input_scaling is not None and dataset.target_scaling is not None
    torch.testing.assert_close(dataset.input_scaling.mean.double(), exact.mean(0), rtol=1e-6, atol=0)
    wanted = exact.std(0, correction=0)
    wanted[7] = 1  # a constant column
    torch.testing.assert_close(dataset.input_scaling.std.double(), wanted, rtol=1e-6, atol=0)
    torch.testing.assert_close(
        dataset.target_scaling.std.double(), train.targets.double().std(0, correction=0)
    )
    assert load_rows(arrays).fingerprint == dataset.fingerprint


@pytest.mark.parametrize("engine", ["stacked", "autograd"])
def test_it_trains_as_torch_does_in_the_same_order(
    arrays: tuple[str, ...], engine: str, tmp_path: Path
) -> None:
    chosen = merged(
        *arrays,
        *SMALL,
        "model=mlp",
        f"trainer.engine={engine}",
        "trainer.epochs=1",
        "trainer.accumulate=2",
    )
    run = train(tmp_path, *chosen)
    own = build([config(*chosen)])
    assert isinstance(own, StreamedEngine)
    network, windows = own.experiments[0].network.train(), own.data.windows
    optimizer = torch.optim.Adam(network.parameters(), lr=config(*chosen).optimizer.lr)
    split, at, losses = own.experiments[0].dataset.splits["train"], 0, list[float]()
    while at < own.steps.per_pass:
        window = windows.at(at)
        for rows in torch.split(windows.rows_of(window, window.steps), 200):
            outputs = network.layers(network.scaling(split.inputs[rows]))
            each = (outputs - network.standardize(split.targets[rows])).square().mean(1)
            losses += each.tolist()
            optimizer.zero_grad()
            each.mean().backward()
            optimizer.step()
        at += len(window.steps)
    assert len(losses) == 3600 and at > len(windows.at(0).steps)  # there are several windows
    found, stored = load_predictor(run.last)
    for ours, theirs in zip(found.network.layers.parameters(), network.layers.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    assert stored.state.scores["train"]["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    for name, scored in own.experiments[0].dataset.splits.items():
        true, outputs = scored.targets.double(), found.outputs(scored.inputs).double()
        scores = {"loss": 0.0, "r2": r2_score(true, outputs), "mae": float((true - outputs).abs().mean())}
        summary = read_object(run.summary)
        assert summary[name]["r2"] == pytest.approx(scores["r2"], abs=1e-6)
        assert summary[name]["mae"] == pytest.approx(scores["mae"], rel=1e-5)


@pytest.mark.parametrize(
    "chosen",
    [
        ("trainer.steps_per_epoch=25", "trainer.ema=0.9"),
        pytest.param(("trainer.accumulate=2",), marks=pytest.mark.long),
    ],
)
def test_it_is_resumed_exactly(arrays: tuple[str, ...], chosen: tuple[str, ...], tmp_path: Path) -> None:
    saved = ("trainer.checkpoint_every=3steps", "trainer.keep_last=99")
    overrides = merged(*classes_of(arrays), *SMALL, "model=mlp", "model.dropout=0.2", *saved, *chosen)
    run = train(tmp_path, *overrides)
    wanted, older = content(run.last), run.older()
    assert len(older) > 10
    assert any("sums" in load(path, KINDS).state.epoch for path in older)
    assert any("outputs" in load(path, KINDS).state.epoch for path in older)
    for number, path in enumerate(older[1::6]):
        copy = RunFolder(tmp_path / f"copy-{number}")
        shutil.copytree(run.path, copy.path)
        start = copy.path / path.relative_to(run.path)
        resume_run(
            copy,
            config(*QUIET, f"run.root={tmp_path}", *overrides),
            TRAIN,
            make_console(),
            print,
            start=start,
        )
        assert content(copy.last) == wanted, path
        assert content(copy.best) == content(run.best)


def test_its_scores_are_those_of_the_model(arrays: tuple[str, ...], tmp_path: Path) -> None:
    weighted = merged(*classes_of(arrays), *SMALL, "model=mlp", "trainer.class_weight=balanced")
    run = train(tmp_path, *weighted)
    predictor, stored = load_predictor(run.last)
    dataset = load_rows(weighted)
    assert stored.fingerprint == dataset.fingerprint and dataset.disk is not None
    for name, rows in dataset.splits.items():
        weights = torch.tensor(stored.class_weights)[rows.targets]
        losses = predictor.losses(rows.inputs, rows.targets) * weights / weights.mean()
        summary = read_object(run.summary)[name]
        assert summary["loss"] == pytest.approx(float(losses.mean()), rel=1e-5)
        right = predictor.task.decode(predictor.outputs(rows.inputs)) == rows.targets
        assert summary["accuracy"] == pytest.approx(float(right.double().mean()))
    counts = dataset.splits["train"].targets.bincount().double()
    assert stored.class_weights == pytest.approx((3600 / (3 * counts)).tolist())


@pytest.mark.long
def test_commands_read_it_from_the_disk(arrays: tuple[str, ...], tmp_path: Path) -> None:
    run = train(tmp_path, *classes_of(arrays), *SMALL, "model=mlp")
    assert command(["evaluate", str(run.path)]) == 0
    assert command(["plot", str(run.path)]) == 0
    assert list(run.plots.iterdir())
    assert command(["explain", str(run.path)]) == 2


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["trainer.batch_size=full"], "trainer.batch_size=full: the table is larger than dataset.memory"),
        (["trainer.batch_size=3000"], "dataset.memory=1048576: too little for steps of 3,000 rows"),
        (["model.members=2"], "model.members=2: the table is larger than dataset.memory"),
        (["run.metrics=[roc_auc]"], "run.metrics: the table is larger than dataset.memory"),
        (["dataset.val_fraction=0.00001"], "leave no row to val"),
        (["dataset.memory=3"], "dataset.memory=3: must be"),
        (["dataset.memory=4XB"], "dataset.memory='4XB': must be"),
    ],
)
def test_what_it_cannot_do_is_refused(
    arrays: tuple[str, ...], overrides: list[str], line: str, refused: Refused
) -> None:
    assert line in refused("train", *merged(*classes_of(arrays), "model=mlp", *overrides), code=2)


def test_runs_of_a_sweep_are_trained_one_by_one(arrays: tuple[str, ...], tmp_path: Path) -> None:
    chosen = merged(*arrays, *SMALL, "model=linear", "trainer.epochs=1")
    assert command(["train", "-m", *chosen, "seed=0,1", f"run.root={tmp_path / 'swept'}"]) == 0
    alone = train(tmp_path, *chosen, "seed=1")
    swept = [RunFolder(path.parents[1]) for path in (tmp_path / "swept").rglob("last.safetensors")]
    assert len(swept) == 2
    assert content(alone.last)["tensors"] in [content(run.last)["tensors"] for run in swept]


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_an_npz_are_mapped_if_they_are_larger_than_memory(
    order: Literal["C", "F"], tmp_path: Path
) -> None:
    inputs = np.asarray(np.random.default_rng(0).normal(size=(ROWS, FEATURES)), np.float32, order=order)
    labels, path = np.arange(ROWS) % 3, tmp_path / "arrays.npz"

    def are_mapped(memory: int | None) -> list[bool]:
        names, found = read_npz(path, memory)
        assert names == ["X", "y"] and np.array_equal(found[0], inputs) and np.array_equal(found[1], labels)
        return [isinstance(array, np.memmap) for array in found]

    np.savez(path, X=inputs, y=labels)
    assert are_mapped(1 << 20) == [True, True] and are_mapped(1 << 21) == are_mapped(None) == [False, False]
    with pytest.raises(ValueError, match="read-only"):
        read_npz(path, 0)[1][0][0] = 0
    dataset = load_rows(("dataset=arrays", f"dataset.path={path}", "dataset.memory=1MiB"))
    assert dataset.disk is not None and dataset.disk.rows == ROWS
    np.savez_compressed(path, X=inputs, y=labels)
    assert are_mapped(1 << 20) == [False, False]


def test_a_damaged_npz_is_not_mapped(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    np.savez(path, X=np.zeros((ROWS, FEATURES), np.float32), more=np.zeros(9))
    content = path.read_bytes()
    for damaged in (
        content.replace(b"(6000, 60)", b"(6001, 60)"),
        content.replace(b"'<f4'", b"'|O4'"),
        content.replace(b"more.npy", b"less.npy", 1),
        content.replace(b"PK\3\4", b"PK\3\5", 1),
        content[:-99],
    ):
        assert damaged != content
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="not a readable array file"):
            read_npz(path, 0)
