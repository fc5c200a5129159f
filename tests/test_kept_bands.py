"""Kept bands: a cache of what was read from metrics.jsonl, which shows in nothing but the time."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from running import train

from mlpkit.analysis import kept_bands as module
from mlpkit.analysis.bands import Band, bands_of
from mlpkit.analysis.compare import Setting, compare
from mlpkit.analysis.kept_bands import NAME, kept_bands
from mlpkit.folders import run_index
from mlpkit.folders.indexed_results import results_below

SMALL = ("dataset=moons", "model=mlp", "model.hidden=[4]", "trainer.epochs=3", "run.loggers=[]")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three runs that differ in the seed."""
    root = tmp_path_factory.mktemp("runs")
    for seed in range(3):
        train(root, *SMALL, f"seed={seed}", "run.plots=false", f"run.dir={root}/outputs/{seed}")
    return root / "outputs"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's file, used for few runs, and for runs that have just been trained."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "LEAST", 1)
    monkeypatch.setattr(run_index, "FRESH", -1.0)
    return tmp_path / "cache" / "mlpkit" / NAME


@pytest.fixture
def setting(runs: Path) -> Setting:
    """All runs as one setting."""
    return compare(results_below([runs], pytest.fail)).settings[0]


def forge(cache: Path, content: str) -> None:
    """Change what is kept, so that it shows who reads it."""
    with closing(sqlite3.connect(cache)) as connection, connection:
        assert connection.execute("UPDATE bands SET content = ?", (content,)).rowcount == 1


def same(found: list[Band], expected: list[Band]) -> bool:
    """Whether bands are equal to the last bit."""
    return len(found) == len(expected) and all(
        (one.score, one.split) == (two.score, two.split)
        and all(np.array_equal(getattr(one, name), getattr(two, name)) for name in module._ARRAYS)
        for one, two in zip(found, expected, strict=True)
    )


def test_kept_bands_are_those_of_the_files(cache: Path, setting: Setting) -> None:
    expected = bands_of(setting, pytest.fail)
    assert len(expected) >= 4
    assert same(kept_bands(setting, pytest.fail), expected) and cache.exists()
    assert same(kept_bands(setting, pytest.fail), expected)
    forge(cache, json.dumps([["loss", "val", [1], [0.5], [0.4], [0.6]]]))
    (forged,) = kept_bands(setting, pytest.fail)
    assert [part.item() for part in (forged.mean, forged.low, forged.high)] == [0.5, 0.4, 0.6]


@pytest.mark.parametrize("content", ["", "{", "[1]", '[["loss", "val", [1], [1], [1, 2], [1]]]', "[[]]"])
def test_a_damaged_cache_is_not_used(content: str, cache: Path, setting: Setting) -> None:
    expected = kept_bands(setting, pytest.fail)
    forge(cache, content)
    assert same(kept_bands(setting, pytest.fail), expected)
    cache.write_bytes(b"not SQLite" * 1000)
    assert same(kept_bands(setting, pytest.fail), expected)


def test_a_run_that_changes_is_read_again(cache: Path, setting: Setting) -> None:
    before = kept_bands(setting, pytest.fail)
    forge(cache, "[]")
    assert kept_bands(setting, pytest.fail) == []
    metrics = next(iter(setting.runs.values())).path / "metrics.jsonl"
    content = metrics.read_bytes()
    try:
        metrics.write_bytes(content.replace(b'"val", "loss": 0.', b'"val", "loss": 1.'))
        after = kept_bands(setting, pytest.fail)
    finally:
        metrics.write_bytes(content)
    assert same(after, before) is False
    assert [band.score for band in after] == [band.score for band in before]


def test_what_may_change_at_once_is_not_kept(
    cache: Path, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_index, "FRESH", 10_000.0)
    assert kept_bands(setting, pytest.fail) and not cache.exists()


def test_runs_that_cannot_be_read_are_said_each_time(cache: Path, setting: Setting) -> None:
    metrics = next(iter(setting.runs.values())).path / "metrics.jsonl"
    moved = metrics.rename(metrics.with_suffix(".moved"))
    try:
        for _ in range(2):
            said: list[str] = []
            assert kept_bands(setting, said.append)
            assert len(said) == 1 and "metrics.jsonl" in said[0]
    finally:
        moved.rename(metrics)
    assert not cache.exists()


def test_curves_behind_a_link_are_read_each_time(cache: Path, setting: Setting, tmp_path: Path) -> None:
    """They may change without the link."""
    metrics = next(iter(setting.runs.values())).path / "metrics.jsonl"
    moved = metrics.rename(tmp_path / "metrics.jsonl")
    metrics.symlink_to(moved)
    try:
        assert kept_bands(setting, pytest.fail) and not cache.exists()
    finally:
        metrics.unlink()
        moved.rename(metrics)
