"""A search's study: whatever its folder is called it lies there, and a strange one is refused at once."""

import json
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from conftest import Refused
from optuna.pruners import NopPruner
from optuna.trial import TrialState

from mlpkit.cli.main import run as command
from mlpkit.errors import RunInterruptedError
from mlpkit.sweeps import database
from mlpkit.sweeps.grid import Interval
from mlpkit.sweeps.study import Study
from mlpkit.sweeps.trial_result import TrialResult
from mlpkit.training.stop import StopRequest

TRIALS = (
    "train", "-m", "--search", "random", "--trials", "2", "dataset=moons", "dataset.n=60", "model.hidden=[4]",
    "trainer.epochs=2", "run.tensorboard=false", "run.progress=none", "trainer.batch_size=range(1,10)",
)  # fmt: skip
ENDLESS = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n AS trial_id FROM r"
NOT_ONE = "not a study of this Optuna; search anew"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small search."""
    root = tmp_path_factory.mktemp("made")
    assert command([*TRIALS, f"run.root={root}", f"run.dir={root / 'search'}"]) == 0
    return root / "search"


@pytest.fixture
def copied(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in the working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made, "search")
    return Path("search")


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("BEGIN")
        for statement in statements:
            opened.execute(statement)
        opened.commit()


# ----------------------------------------------------------------------------------------- names of folders


OTHER_NAMES = ("m#2", "a b", "ünï-日本", "{x}", "file:x?mode=memory", "'q\"", "a%20b")


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "name",
    ["%2e%2e%2fvictim.db?z", "m?1", *(pytest.param(name, marks=pytest.mark.long) for name in OTHER_NAMES)],
)
def test_a_search_may_lie_in_any_folder(
    name: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of it is in there; going on with it finds what was done, and other folders are not touched."""
    monkeypatch.chdir(tmp_path)
    for folder in (name, "m?2"):
        shutil.copytree(made, folder)
        Path(folder, "search.sqlite").unlink()
    victim = tmp_path / "victim.db"
    victim.write_bytes(b"")
    assert command(["resume", f"./{name}"]) == 0
    assert "2/2 trials: 2 done" in capsys.readouterr().out
    with closing(database.connect(Path(name, "search.sqlite"))) as opened:
        assert opened.execute("SELECT count(*) FROM trials").fetchall() == [(2,)]
    assert command(["resume", name]) == 0  # as a relative path, which may look like a URI
    assert "(2 done before)" in capsys.readouterr().out
    assert sorted(path.name for path in Path().iterdir()) == sorted([name, "m?2", "victim.db"])
    assert victim.read_bytes() == b"" and not Path("m?2", "search.sqlite").exists()


# ------------------------------------------------------------------------------------------ strange studies

STRANGE = {
    "an endless view": ("DROP TABLE trials", f"CREATE VIEW trials AS {ENDLESS}"),
    "another view": (f"CREATE VIEW more AS {ENDLESS}",),
    "a trigger": (
        "CREATE TRIGGER t AFTER INSERT ON trials BEGIN DELETE FROM trials; END",
        "DELETE FROM trials",
    ),
    "an index": ("CREATE INDEX i ON trials (number + abs(number))",),
    "another table": ("CREATE TABLE more (a)",),
    "another column": ("ALTER TABLE trials ADD COLUMN more INTEGER",),
    "a computed column": ("ALTER TABLE trials ADD COLUMN more AS (number + 1)",),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("statements", STRANGE.values(), ids=STRANGE)
def test_a_study_with_another_schema_is_refused(
    statements: tuple[str, ...], copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copied / "search.sqlite"
    change(path, *statements)
    before = path.read_bytes()
    assert command(["resume", "search"]) == 65
    assert capsys.readouterr().err == f"mlpkit: {path}: {NOT_ONE}\n"
    assert path.read_bytes() == before


def test_the_file_of_a_study_is_closed_after_each_use(tmp_path: Path) -> None:
    path = tmp_path / "search.sqlite"
    study = Study(path, {"seed": Interval(0, 9)}, "random", NopPruner(), 1, 0, True)
    (trial,) = study.ask(1)
    study.tell(trial, TrialResult(TrialState.FAIL, None, {}))
    assert study.trials[0].state == TrialState.FAIL
    assert str(path) not in [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]


def test_a_study_that_was_just_begun_is_gone_on_with(copied: Path) -> None:
    """A process that was killed at once leaves a part of the tables."""
    path = copied / "search.sqlite"
    with closing(sqlite3.connect(path)) as opened:
        begun = opened.execute("SELECT sql FROM sqlite_master WHERE tbl_name = 'studies'").fetchall()
    path.unlink()
    change(path, *(sql for (sql,) in begun))
    assert command(["resume", "search"]) == 0


def test_a_ledger_with_an_endless_view_is_refused(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(copied / "ledger.sqlite", "DROP TABLE jobs", f"CREATE VIEW jobs AS {ENDLESS}")
    assert command(["resume", "search"]) == 65
    assert capsys.readouterr().err == (
        f"mlpkit: {copied}/ledger.sqlite: not a ledger of mlpkit, or one of another version; sweep anew\n"
    )


def test_pages_that_are_read_again_and_again_are_noticed(tmp_path: Path) -> None:
    """All children of a table's first page become its first child, so that its rows come many times."""
    path, rows = tmp_path / "table.sqlite", 5000
    change(path, "CREATE TABLE t (a TEXT)", *["INSERT INTO t VALUES ('some text that fills pages')"] * rows)
    with closing(database.connect(path)) as opened:
        expected = database.schema(opened)
        assert database.check(opened, path, expected)
        ((root,),) = opened.execute("SELECT rootpage FROM sqlite_master")
        ((size,),) = opened.execute("PRAGMA page_size")
    content = bytearray(path.read_bytes())
    start = (root - 1) * size
    assert content[start] == 5  # an interior page
    cells = int.from_bytes(content[start + 3 : start + 5])
    places = [int.from_bytes(content[at : at + 2]) for at in range(start + 12, start + 12 + 2 * cells, 2)]
    first = bytes(content[start + places[0] : start + places[0] + 4])
    for place in places:
        content[start + place : start + place + 4] = first
    path.write_bytes(content)
    with closing(database.connect(path)) as opened:
        assert not database.check(opened, path, expected)


def test_a_schema_without_an_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(tmp_path / "many.sqlite", *(f"CREATE TABLE t{n} (a)" for n in range(300)))
    monkeypatch.setattr(database, "CALLBACK_INSTRUCTIONS", 10)
    with closing(database.connect(tmp_path / "many.sqlite")) as opened:
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            database.check(opened, tmp_path / "many.sqlite", [])
        assert len(database.schema(opened)) == 300  # and what follows has no bound


# ---------------------------------------------------------------------------------------- too many trials


@pytest.mark.parametrize("key", ["trials", "batch"])
@pytest.mark.parametrize("number", [10**29, 1e29, 10_001])
def test_a_search_of_too_many_trials_is_refused(
    key: str, number: float, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = json.loads((copied / "search.json").read_text())
    (copied / "search.json").write_text(json.dumps({**settings, key: number}))
    assert command(["resume", "search"]) == 65
    assert capsys.readouterr().err == f"mlpkit: search/search.json: {key} cannot be read; search anew\n"


@pytest.mark.parametrize("option", ["trials", "batch"])
def test_too_many_trials_cannot_be_asked_for(option: str, refused: Refused) -> None:
    arguments = [*TRIALS, f"--{option}", "10001"]
    said = refused(*arguments, code=2)
    assert said == f"--{option}=10001: a search has at most 10000 trials"


def test_a_stop_request_is_heard_while_trials_are_chosen(tmp_path: Path) -> None:
    study = Study(tmp_path / "search.sqlite", {"seed": Interval(0, 9)}, "random", NopPruner(), 9, 0, True)
    request = StopRequest()

    def poll() -> None:
        request.check()
        request.signal_number = signal.SIGTERM if study.asked == 2 else None

    with pytest.raises(RunInterruptedError):
        study.ask(9, poll)
    assert study.asked == 3
