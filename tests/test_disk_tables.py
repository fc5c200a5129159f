"""Tables that are larger than dataset.memory are encoded to the disk: the same encoder, rows and splits."""

import json
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import Lines, Refused
from pyarrow import csv, feather, parquet
from running import config, content, train

from mlpkit.analysis.predict import load_predictor
from mlpkit.data import disk_cache
from mlpkit.data.dataset import Dataset
from mlpkit.data.disk_cache import cached_table, cached_tables
from mlpkit.data.disk_dataset import tables_folder
from mlpkit.data.disk_splits import DrawnSplits, random_parts
from mlpkit.data.disk_table import Header
from mlpkit.data.encode import encode
from mlpkit.data.encoder import TableEncoder
from mlpkit.data.fit_encoder import fit_encoder
from mlpkit.data.load import load_dataset
from mlpkit.data.moments import Moments
from mlpkit.data.permutation import Permutation
from mlpkit.data.raw_table import RawTable
from mlpkit.data.table_dataset import infer_inputs
from mlpkit.data.table_options import TableOptions

ROWS = 12_000
COLUMNS = "dataset.columns={raw: {scale: none}, x: {missing: mean}, log: {scale: log}, low: {scale: minmax}}"
MEMORY = "dataset.memory=1MiB"
SMALL = ("trainer.epochs=1", "run.plots=false", "run.loggers=[]", "model=mlp", "model.hidden=[4]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of all kinds of columns as parquet, as csv and as three files."""
    path, random = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    x = random.normal(3, 2, ROWS)
    city = random.choice(["Oslo", "Rome", "Paris", "Bern"], ROWS, p=[0.6, 0.3, 0.09, 0.01])
    y = x + (city == "Rome") + 0.1 * random.normal(size=ROWS)
    x[::50], y[7::1000] = np.nan, np.nan
    late = random.integers(0, 1000, ROWS) + 0.0
    late[-2:] += 0.5  # the first lines of a text are integers
    days = np.datetime64("2020-01-01") + random.integers(0, 900, ROWS)
    table = pa.table(
        {
            "id": np.arange(ROWS),
            "raw": random.permutation(ROWS) + 0.5,
            "x": pa.array(x, from_pandas=True),
            "log": random.lognormal(size=ROWS),
            "low": random.uniform(5, 9, ROWS),
            "late": late,
            **{f"more{number}": random.normal(size=ROWS) for number in range(16)},
            "city": pa.array([None if row % 97 == 0 else name for row, name in enumerate(city)]),
            "flag": random.random(ROWS) < 0.3,
            "when": pa.array(days.astype("datetime64[s]")),
            "part": random.choice(["train", "val", "test"], ROWS, p=[0.5, 0.3, 0.2]),
            "weight": random.integers(1, 4, ROWS),
            "y": pa.array(y, from_pandas=True),
            "kind": np.where(np.nan_to_num(y) > 4, "big", "small"),
        }
    )
    parquet.write_table(table, path / "t.parquet", row_group_size=5000)
    csv.write_csv(table, path / "t.csv")
    for number in range(3):
        parquet.write_table(table.slice(number * 4000, 4000), path / f"part-{number}.parquet")
    return path


def options(folder: Path, name: str = "t.parquet", target: str = "y", *more: str) -> tuple[str, ...]:
    ignored = "dataset.ignore=[id,part,weight,kind]" if target == "y" else "dataset.ignore=[id,part,weight,y]"
    return (
        "dataset=table",
        f"dataset.path={folder / name}",
        f"dataset.target={target}",
        ignored,
        MEMORY,
        *more,
    )


def load(overrides: tuple[str, ...]) -> Dataset:
    return load_dataset(config(*overrides, "model=mlp").dataset)


def rows_of(dataset: Dataset, split: str, table: pa.Table) -> np.ndarray:
    """Return the rows of the file that are in a split: the column raw is not scaled, and tells them apart."""
    place = dataset.input_schema.features.index("raw")
    of_value = {np.float32(value): row for row, value in enumerate(table["raw"].to_numpy())}
    return np.array([of_value[value] for value in dataset.splits[split].inputs[:, place].numpy()])


def test_the_encoder_is_that_of_the_training_rows(folder: Path) -> None:
    dataset, table = (
        load(options(folder, "t.parquet", "y", COLUMNS)),
        parquet.read_table(folder / "t.parquet"),
    )
    assert dataset.disk is not None and "medians and quantiles come from" in "".join(dataset.remarks)
    known = np.flatnonzero(table["y"].is_valid().to_numpy())
    found = {name: rows_of(dataset, name, table) for name in dataset.splits}
    assert sorted(np.concatenate(list(found.values()))) == known.tolist()
    sizes = random_parts(len(known), 0.2, 0.2)
    assert {name: len(rows) for name, rows in found.items()} == {
        name: len(part) for name, part in sizes.items()
    }
    train, chosen = (
        np.sort(found["train"]),
        config(*options(folder, "t.parquet", "y", COLUMNS), "model=mlp").dataset,
    )
    assert isinstance(chosen, TableOptions)
    columns, kinds = infer_inputs(chosen, RawTable(table, "t", str), ("y",), train)
    wanted = fit_encoder(columns, kinds, chosen.columns, "standard")
    encoder = dataset.input_schema.encoder
    assert encoder is not None and _close(encoder, wanted) and encoder.features() == wanted.features()
    values = encode(encoder, table, "t", str).values
    for name, rows in found.items():
        assert np.array_equal(values[rows], dataset.splits[name].inputs.numpy())
        assert np.array_equal(
            table["y"].to_numpy()[rows].astype(np.float32), dataset.splits[name].targets[:, 0]
        )
        facts = dataset.disk.header.splits[name]
        assert facts.means[0] == pytest.approx(float(dataset.splits[name].targets.double().mean()), rel=1e-12)
    assert dataset.target_scaling is not None
    std = dataset.splits["train"].targets.double().std(0, correction=0)
    torch.testing.assert_close(dataset.target_scaling.std.double(), std, rtol=1e-6, atol=0)


def _close(encoder: TableEncoder, wanted: TableEncoder) -> bool:
    """Whether two encoders are the same, but for rounding, and for medians from a sample."""
    pairs = list(zip(encoder.to_dict()["columns"], wanted.to_dict()["columns"], strict=True))
    for ours, theirs in pairs:
        for one, other in ((ours.pop("scale", {}), theirs.pop("scale", {})), *_parts(ours, theirs)):
            assert one.pop("kind", "") == other.pop("kind", "")
            assert one == pytest.approx(other, rel=1e-9), ours
        if ours["kind"] == "number" and ours["column"] != "x":
            ours["fill"] = theirs["fill"]
        if ours["column"] == "x":
            assert ours.pop("fill") == pytest.approx(theirs.pop("fill"), rel=1e-12)
    return all(ours == theirs for ours, theirs in pairs)


def _parts(ours: dict, theirs: dict) -> list[tuple[dict, dict]]:
    pairs = zip(ours.pop("parts", ()), theirs.pop("parts", ()), strict=True)
    return [(one["scale"], other["scale"]) for one, other in pairs]


@pytest.mark.parametrize(
    "name",
    [
        "t.jsonl",
        pytest.param("t.csv", marks=pytest.mark.long),
        "t.feather",
        pytest.param("part-*.parquet", marks=pytest.mark.long),
    ],
)
def test_a_text_and_several_files_give_the_same_rows(name: str, folder: Path) -> None:
    whole = load(options(folder, "t.parquet", "y", COLUMNS))
    if name == "t.jsonl":
        rows = parquet.read_table(folder / "t.parquet").to_pylist()
        (folder / name).write_text("".join(f"{json.dumps(row, default=str)}\n" for row in rows))
    elif name == "t.feather":
        feather.write_feather(parquet.read_table(folder / "t.parquet"), str(folder / name), chunksize=1000)
    other = load(options(folder, name, "y", COLUMNS))
    assert other.disk is not None
    for split, rows in whole.splits.items():
        assert torch.equal(other.splits[split].targets.sort(0).values, rows.targets.sort(0).values)
        assert torch.allclose(other.splits[split].inputs.sum(0), rows.inputs.sum(0), rtol=1e-3, atol=1e-2)


def test_splits_and_weights_come_from_columns(folder: Path, tmp_path: Path) -> None:
    chosen = options(
        folder, "t.parquet", "kind", "dataset.split.by=column", "dataset.split.column=part",
        "dataset.sample_weight=weight", "dataset.columns={raw: {scale: none}}",
    )  # fmt: skip
    dataset, table = load(chosen), parquet.read_table(folder / "t.parquet")
    for name, split in dataset.splits.items():
        rows = rows_of(dataset, name, table)
        assert sorted(rows) == np.flatnonzero(table["part"].to_numpy(zero_copy_only=False) == name).tolist()
        assert split.weights is not None
        assert np.array_equal(split.weights, table["weight"].to_numpy()[rows])
    run = train(tmp_path, *chosen, *SMALL, "trainer.batch_size=50")
    predictor, stored = load_predictor(run.last)
    val = dataset.splits["val"]
    assert val.weights is not None
    losses = predictor.losses(val.inputs, val.targets[:, None].float())
    assert stored.state.scores["val"]["loss"] == pytest.approx(
        float((losses * val.weights).sum() / val.weights.sum()), rel=1e-5
    )


def test_a_few_training_rows_among_many_are_the_sample(tmp_path: Path) -> None:
    count = 120_000
    train = np.arange(count) % 12_000 == 11_999
    x = np.random.default_rng(0).normal(size=count)
    columns = {"x": x, "y": x / 2, "part": np.where(train, "train", "val")}
    parquet.write_table(pa.table(columns), tmp_path / "few.parquet")
    by_column = ("dataset.split.by=column", "dataset.split.column=part")
    table = ("dataset=table", f"dataset.path={tmp_path / 'few.parquet'}", "dataset.target=y", MEMORY)
    dataset = load((*table, *by_column))
    assert dataset.disk is not None
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 10, "val": count - 10}
    assert dataset.splits["train"].inputs.mean() == pytest.approx(0, abs=1e-6)


@pytest.mark.long
def test_evaluate_uses_the_same_table(folder: Path, tmp_path: Path, lines: Lines) -> None:
    run = train(tmp_path, *options(folder, "t.parquet", "kind"), *SMALL)
    before = cached_tables()
    assert any("test" in line for line in lines("evaluate", str(run.path)))
    assert cached_tables() == before
    memory = content(run.last)["about"][0]["dataset"]["memory"]
    assert memory == "1MiB"


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["dataset.split.by=stratified"], "dataset.split.by=stratified orders all rows"),
        (["dataset.fold=1"], "dataset.fold orders all rows"),
        (["dataset.columns={nothing: {scale: none}}"], "dataset.columns.nothing: no such column"),
        (
            ["dataset.split.by=column", "dataset.split.column=flag"],
            "is not a split; write train, val or test",
        ),
        (["dataset.sample_weight=nothing"], "dataset.sample_weight=nothing: "),
    ],
)
def test_what_needs_memory_is_refused(
    folder: Path, overrides: list[str], line: str, refused: Refused
) -> None:
    code = 65 if "not a split" in line else 2
    assert line in refused("train", *options(folder, "t.parquet", "kind", *overrides), "model=mlp", code=code)
    assert not list(tables_folder().glob("*.partial")) and not list(tables_folder().glob("*.lock"))


def test_a_table_is_written_once_and_an_unfinished_one_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    header = load(options(folder)).disk.header  # type: ignore[union-attr]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tables_folder() / "key.partial").mkdir(parents=True)
    (tables_folder() / "key.partial" / "inputs.npy").write_bytes(b"half")
    (tables_folder() / "key").mkdir()  # of a process that was killed while it removed the table
    (tables_folder() / "key" / "targets.npy").write_bytes(b"half")
    calls, inside, go_on = list[Path](), threading.Event(), threading.Event()

    def write(path: Path) -> Header:
        calls.append(path)
        assert not list(path.iterdir())
        inside.set()
        assert go_on.wait(60)
        return header

    both = [threading.Thread(target=cached_table, args=("key", 1, write)) for _ in range(2)]
    both[0].start()
    assert inside.wait(60)
    both[1].start()
    go_on.set()
    for thread in both:
        thread.join()
    assert len(calls) == 1 and disk_cache.is_cached("key")
    assert [path.name for path in tables_folder().iterdir()] == ["key"]


def test_clean_removes_tables(
    folder: Path, monkeypatch: pytest.MonkeyPatch, outputs: Path, lines: Lines, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    table = load(options(folder)).disk
    assert table is not None
    assert any(f"{table.folder}  table of t.parquet" in line for line in lines("clean", "--cache"))
    assert not any("t.parquet" in line for line in lines("clean", "--yes")) and len(cached_tables()) == 1
    lines("clean", "--cache", "--yes")
    assert not list(tables_folder().iterdir())
    assert lines("clean", "--cache")[-1] == "nothing to remove"
    monkeypatch.chdir(tmp_path / "cache")  # where there are no runs
    assert lines("clean", "--cache") == ["nothing to remove"]


@pytest.mark.long
def test_the_config_of_a_run_finds_its_table(folder: Path) -> None:
    """It has the format of the text, which was inferred when the table was written."""
    chosen = (*options(folder, "t.csv"), "dataset.separator=','")
    first, asked = load(chosen), config(*chosen, "model=mlp").dataset
    assert first.disk is not None and first.inferred == {"decimal": ".", "encoding": "utf-8", "header": True}
    resolved = asked.model_copy(update=dict(first.inferred))
    for again in (resolved, resolved.model_copy(update={"memory": 1 << 20})):
        found = load_dataset(again)
        assert found.disk is not None and found.disk.folder == first.disk.folder
    other = load_dataset(resolved.model_copy(update={"encoding": "latin-1"}))
    assert other.disk is not None and other.disk.folder != first.disk.folder


def test_moments_are_those_of_numpy() -> None:
    random = np.random.default_rng(0)
    values = random.normal(1e6, 1, (5000, 3)).astype(np.float32)
    values[:, 1] = 7
    found = Moments(3)
    for part in np.array_split(values, 13):
        found.add(part)
    exact = values.astype(np.float64)
    assert found.mean == pytest.approx(exact.mean(0), rel=1e-14)
    assert found.std == pytest.approx([exact[:, 0].std(), 1, exact[:, 2].std()], rel=1e-10)
    assert found.low.tolist() == exact.min(0).tolist() and found.high.tolist() == exact.max(0).tolist()
    mean, std = found.pooled(1)
    assert (float(mean[0]), float(std[0])) == pytest.approx((exact.mean(), exact.std()), rel=1e-10)
    found.add_equal(100, 2.0)
    assert found.mean == pytest.approx(np.concatenate((exact, np.full((100, 3), 2.0))).mean(0), rel=1e-14)


@pytest.mark.parametrize("size", [1, 2, 7, 256, 1000, 70_001])
def test_a_permutation_has_each_place_once(size: int) -> None:
    places = Permutation(size, 3, "test")(np.arange(size))
    assert sorted(places) == list(range(size))
    if size > 100:
        assert not np.array_equal(places, Permutation(size, 4, "test")(np.arange(size)))


def test_rows_are_split_as_by_independent_draws() -> None:
    """Chi-square over 50 stretches of rows and over rows in turn: neither sees how rows are split."""
    rows, count, statistics = np.arange(200_000), 50, []
    for seed in range(20):
        drawn = DrawnSplits({"train": range(160_000), "val": range(160_000, 200_000)}, seed)
        (_, val, _) = list(drawn.of(rows))[1]
        for groups in (val // (len(rows) // count), val % count):
            counts = np.bincount(groups, minlength=count)
            statistics.append(float(((counts - 800) ** 2 / (800 * 0.8)).sum()))
    assert len(statistics) == 40
    mean, error = np.mean(statistics), (2 * (count - 1) / len(statistics)) ** 0.5
    assert abs(mean - (count - 1)) < 4 * error
