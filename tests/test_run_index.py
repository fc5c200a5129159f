"""The index of runs: a cache of their files, which shows in nothing but the time that commands take."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from conftest import DONE, SWEEP, Lines

from mlpkit.folders import run_index
from mlpkit.folders.found_runs import find_runs
from mlpkit.folders.indexed_results import _result_of, _Shared, results_below
from mlpkit.folders.run_index import NAME

RUNS = 6  # of the sample outputs
COMMANDS = (("ls", "--runs"), ("compare", "outputs", "--runs"), ("compare", str(SWEEP), "--by", "seed"))


@pytest.fixture(autouse=True)
def index(outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The index's file, used for few runs, and for runs that have just been trained."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(run_index, "LEAST", 1)
    monkeypatch.setattr(run_index, "FRESH", -1.0)
    return tmp_path / "cache" / "mlpkit" / NAME


def rows(index: Path) -> dict[str, str]:
    """Return the kept runs of `ls`: content by folder."""
    with closing(sqlite3.connect(index)) as connection:
        found = connection.execute("SELECT path, content FROM runs WHERE kind LIKE 'listed%'")
        return {os.fsdecode(path): content for path, content in found}


def forge(index: Path) -> None:
    """Change what is kept of all runs, so that it shows who reads the index."""
    with closing(sqlite3.connect(index)) as connection, connection:
        connection.execute("UPDATE runs SET content = replace(content, 'moons', 'forged')")


@pytest.mark.parametrize("command", COMMANDS)
def test_answers_are_the_same_with_and_without_the_index(command: tuple[str, ...], lines: Lines) -> None:
    first = lines(*command)
    assert lines(*command) == first


def test_runs_that_have_not_changed_are_read_from_the_index(index: Path, lines: Lines) -> None:
    lines("ls", "--runs")
    forge(index)
    assert sum("forged" in line for line in lines("ls", "--runs")) == RUNS


def _summary(run: Path) -> None:
    path = run / "summary.json"
    path.write_text(path.read_text().replace('"done"', '"stopped early"'))


def _summary_of_equal_size(run: Path) -> None:
    """Change a byte of the file in place, and set its time back."""
    path, before = run / "summary.json", (run / "summary.json").stat()
    path.write_text(path.read_text().replace('"epochs": 3', '"epochs": 7'))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _labels(run: Path) -> None:
    (run / "labels.json").write_text(json.dumps({"tags": ["good"], "note": ""}))


def _config(run: Path) -> None:
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("name: moons", "name: circles"))


def _copy(run: Path) -> None:
    shutil.copytree(run, run.with_name("copy"))
    shutil.rmtree(run)
    run.with_name("copy").rename(run)


@pytest.mark.parametrize("change", [_summary, _summary_of_equal_size, _labels, _config, _copy])
def test_a_changed_run_is_read_anew(change: Callable[[Path], None], index: Path, lines: Lines) -> None:
    lines("ls", "--runs")
    forge(index)
    change(DONE)
    [changed] = [line for line in lines("ls", "--runs") if line.startswith(str(DONE))]
    index.unlink()
    [read] = [line for line in lines("ls", "--runs") if line.startswith(str(DONE))]
    assert changed == read
    assert "forged" not in changed


def test_removed_and_moved_runs_leave_the_index(index: Path, lines: Lines) -> None:
    lines("ls", "--runs")
    assert str(DONE.absolute()) in rows(index)
    DONE.rename("outputs/moved")
    shown = lines("ls", "--runs")
    assert not any(line.startswith(str(DONE)) for line in shown)
    assert Path("outputs/moved").absolute() in map(Path, rows(index))
    assert str(DONE.absolute()) not in rows(index)


def test_a_run_that_has_not_ended_is_not_kept(index: Path, lines: Lines) -> None:
    (DONE / "summary.json").unlink()
    lines("ls", "--runs")
    assert str(DONE.absolute()) not in rows(index)


def test_a_run_that_has_just_changed_is_not_kept(
    index: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_index, "FRESH", 3600.0)
    lines("ls", "--runs")
    assert not index.exists()


@pytest.mark.long
@pytest.mark.parametrize("kept", ["[", "[]", "null"])
def test_damaged_rows_are_read_anew(kept: str, index: Path, lines: Lines) -> None:
    for command in COMMANDS:
        first = lines(*command)
        with closing(sqlite3.connect(index)) as connection, connection:
            connection.execute("UPDATE runs SET content = ?", [kept])
        assert lines(*command) == first
        assert lines(*command) == first


DAMAGED = (
    None, "", "null", "{}", '{"settings": null}', '{"settings": []}',
    '{"settings": {}, "best": ["val", "accuracy", true], "names": [["val"]]}',
    '{"settings": {}, "best": ["val", [], true], "names": []}',
)  # fmt: skip


@pytest.mark.sampled(3)
@pytest.mark.parametrize("shared", DAMAGED)
def test_damaged_settings_are_read_anew(shared: str | None, index: Path, lines: Lines) -> None:
    first = lines("compare", "outputs", "--runs")
    with closing(sqlite3.connect(index)) as connection, connection:
        connection.execute("UPDATE shared SET content = ?", [shared])
    assert lines("compare", "outputs", "--runs") == first


@pytest.mark.sampled(3)
@pytest.mark.parametrize("place", range(7))
@pytest.mark.parametrize("value", [[[]], [{}, {}]])
def test_damaged_parts_of_a_listed_run_are_read_anew(
    place: int, value: object, index: Path, lines: Lines
) -> None:
    first = lines("ls", "--runs")
    content = [*json.loads(rows(index)[str(DONE.absolute())])]
    content[place] = value
    with closing(sqlite3.connect(index)) as connection, connection:
        connection.execute("UPDATE runs SET content = ?", [json.dumps(content)])
    assert lines("ls", "--runs") == first


def test_names_below_the_working_directory_are_short(
    index: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("outputs")
    for _ in range(2):  # without and with the index
        runs = [result.folder for result in results_below([Path()], print)]
        assert str(DONE.relative_to("outputs")) in runs
        assert any(line.startswith(f"{DONE.relative_to('outputs')} ") for line in lines("ls", ".", "--runs"))


def test_a_removed_run_is_removed_from_the_index_of_several_folders(index: Path, lines: Lines) -> None:
    shutil.copytree(SWEEP, f"{SWEEP}-2")
    for _ in range(2):
        found = results_below([Path(), Path(f"{SWEEP}-2"), SWEEP, SWEEP.absolute()], print)
    run = Path(next(result.folder for result in found if f"{SWEEP}-2" in result.folder))
    kept = _compared(index)
    shutil.rmtree(run)
    results_below([Path(), Path(f"{SWEEP}-2"), SWEEP], print)
    assert kept - _compared(index) == {str(run.absolute())}


def _compared(index: Path) -> set[str]:
    with closing(sqlite3.connect(index)) as connection:
        found = connection.execute("SELECT path FROM runs WHERE kind LIKE 'result%'")
        return {os.fsdecode(path) for (path,) in found}


def test_own_settings_may_be_words() -> None:
    content = [{"seed": 0, "dataset.fold": "none"}, "done", "binary", None, 1.0]
    result = _result_of("run", json.dumps(content), _Shared(settings={"seed": None, "dataset.fold": None}))
    assert dict(result.settings) == {"seed": 0, "dataset.fold": "none"}


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + 4000 * b"\xff"])
def test_a_damaged_index_is_made_anew(content: bytes, index: Path, lines: Lines) -> None:
    first = lines("ls", "--runs")
    index.write_bytes(content)
    assert lines("ls", "--runs") == first
    assert len(rows(index)) == RUNS


def test_an_index_that_another_process_writes_is_not_waited_for(
    index: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_index, "BUSY", 0.0)
    first = lines("ls", "--runs")
    with closing(sqlite3.connect(index, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        (DONE / "labels.json").write_text(json.dumps({"tags": [], "note": ""}))
        assert lines("ls", "--runs") == first
        connection.execute("ROLLBACK")
    assert len(rows(index)) == RUNS


def test_without_a_cache_folder_there_is_no_index(
    lines: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = lines("ls", "--runs")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert lines("ls", "--runs") == first


def test_a_cache_folder_with_too_long_a_name_is_not_used(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = lines("ls", "--runs")
    monkeypatch.setenv("XDG_CACHE_HOME", f"/{'long' * 100}")
    assert lines("ls", "--runs") == first


def test_neither_ls_nor_compare_counts_what_clean_was_removing(index: Path, lines: Lines) -> None:
    removed = DONE.with_name(f".{DONE.name}.removed.tmp")
    DONE.rename(removed)
    assert not any(line.startswith((str(DONE), str(removed))) for line in lines("ls", "--runs"))
    below = find_runs([Path("outputs")], print)
    assert below and removed not in below
