"""A sweep's ledger: what it keeps, and what a strange one, or a place that cannot be written, is told."""

import json
import os
import re
import resource
import shutil
import sqlite3
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from faults.small_disks import Tmpfs, Unmountable
from running import config

from mlpkit.cli.main import run as command
from mlpkit.config.config import to_dict
from mlpkit.errors import DataError, WriteError
from mlpkit.folders.looks import NAME as LOOKS
from mlpkit.folders.origin import Origin
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.sweep_folder import SweepFolder, run_name
from mlpkit.folders.trust import Trust
from mlpkit.sweeps.grid import Job
from mlpkit.sweeps.ledger import DONE, FAILED, WAITING, Ledger, config_key, write_ledger
from mlpkit.sweeps.run import resume
from mlpkit.sweeps.vectorized import vectorized
from mlpkit.system.console import make_console
from mlpkit.system.lock import locked

SWEEP = "outputs/sweep"
LEDGER = f"{SWEEP}/ledger.sqlite"
ARGUMENTS = (
    "train", "-m", "run.progress=none", "dataset=moons", "dataset.n=60", "model.hidden=[4]",
    f"run.dir={SWEEP}", "trainer.epochs=5", "seed=1,2,3",
)  # fmt: skip
OTHER_SWEEP = tuple(line.replace(SWEEP, "outputs/other") for line in ARGUMENTS)
NONE = "not a ledger of mlpkit"
WAIT = "wait until the other process has ended, or stop it"
DAMAGED = f"damaged, or {NONE}"
ONE_BY_ONE = "resume the runs one by one, or sweep anew"
OTHER = f"{NONE}, or one of another version; sweep anew"
MAGIC = bytes.fromhex("d9d505f920a163d7")  # of SQLite's journals
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of three runs, the last of which has failed and left nothing."""
    folder = tmp_path_factory.mktemp("made")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert command(list(ARGUMENTS)) == 0
        change("UPDATE jobs SET status = 'failed', error = 'out of luck' WHERE number = 2")
        shutil.rmtree(next(Path(SWEEP).glob("0002-*")))
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> Path:
    """A copy of it, in the working directory."""
    shutil.copytree(made / "outputs", tmp_path / "here" / "outputs")
    monkeypatch.chdir(tmp_path / "here")
    capsys.readouterr()
    return tmp_path


def change(*statements: str) -> None:
    ledger = sqlite3.connect(LEDGER)
    for statement in statements:
        ledger.execute(statement)
    ledger.commit()
    ledger.close()


def said(capsys: Captured, *arguments: str, code: int) -> str:
    """Run a command line that must fail with a code; return the one line that it says."""
    assert command(list(arguments)) == code, capsys.readouterr()
    printed, line = capsys.readouterr()
    assert printed == ""
    assert line.startswith("mlpkit: ") and line.endswith("\n") and line[:-1].isprintable(), line
    return line.removeprefix("mlpkit: ").removesuffix("\n")


def everything(folder: Path) -> dict[str, bytes | None]:
    """Return all files and folders under a folder, with what they hold."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if not path.is_fifo()
    }


# ---------------------------------------------------------------------------------------- the ledger


def test_jobs_are_known_by_what_their_configs_say(tmp_path: Path) -> None:
    configs = [config(f"seed={seed}", f"run.root={tmp_path}") for seed in (1, 2)]
    jobs = [Job((f"seed={seed}",), each) for seed, each in enumerate(configs, 1)]
    write_ledger(tmp_path / "ledger.sqlite", jobs)
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.sqlite"]
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.add(jobs)  # which changes nothing
        ledger.mark([1], FAILED, "no luck")
        ledger.mark([0], DONE)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        entries = ledger.entries()
    assert [(e.number, e.overrides, e.config, e.status, e.error) for e in entries] == [
        (0, ("seed=1",), configs[0], DONE, ""),
        (1, ("seed=2",), configs[1], FAILED, "no luck"),
    ]
    assert [e.folder for e in entries] == [run_name(n, config_key(each)) for n, each in enumerate(configs)]
    elsewhere = config("seed=1", f"run.root={tmp_path / 'elsewhere'}", "run.tensorboard=false")
    assert config_key(elsewhere) == config_key(configs[0])
    assert config_key(config("seed=1", "model.hidden=[3]")) != config_key(configs[0])


def test_what_a_killed_process_left_of_a_ledger_is_replaced(tmp_path: Path) -> None:
    for name in (".ledger.sqlite.tmp", ".ledger.sqlite.tmp-journal"):
        (tmp_path / name).write_bytes(b"half of it")
    write_ledger(tmp_path / "ledger.sqlite", [Job((), config())])
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.sqlite"]
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert [entry.status for entry in ledger.entries()] == [WAITING]


def test_a_change_that_fails_leaves_the_ledger_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    write_ledger(path, [Job((), config())])
    with Ledger(path) as ledger, sqlite3.connect(path, isolation_level=None) as other:
        ledger._connection.execute("PRAGMA busy_timeout = 0")
        other.execute("BEGIN EXCLUSIVE")
        for _ in range(2):
            with pytest.raises(WriteError) as caught:
                ledger.mark([0], DONE)
            assert str(caught.value) == f"{path}: cannot be written (database is locked); {WAIT}"
        other.execute("ROLLBACK")
        ledger.mark([0], DONE)
        assert ledger.entries()[0].status == DONE
    other.close()


# ------------------------------------------------------------------------------------ strange ledgers


def test_the_ledger_that_the_others_are_made_of_is_good(here: Path, capsys: Captured) -> None:
    assert command(["resume", SWEEP]) == 0
    assert capsys.readouterr().err == ""
    with Ledger(Path(LEDGER)) as ledger:
        assert [(entry.status, entry.error) for entry in ledger.entries()] == [(DONE, "")] * 3


def folder_is(name: str) -> str:
    return f"UPDATE jobs SET folder = {name} WHERE number = 2"


def config_is(text: str) -> str:
    return f"UPDATE jobs SET config = {text} WHERE number = 2"


STRANGE: dict[str, tuple[Callable[[], object], str]] = {
    "not SQLite": (
        lambda: Path(LEDGER).write_text("hello" * 1000),
        f"{DAMAGED} (file is not a database); {ONE_BY_ONE}",
    ),
    "empty": (lambda: Path(LEDGER).write_bytes(b""), OTHER),
    "truncated": (
        lambda: os.truncate(LEDGER, 5000),
        f"{DAMAGED} (database disk image is malformed); {ONE_BY_ONE}",
    ),
    "cut in its header": (lambda: os.truncate(LEDGER, 50), f"{DAMAGED} ("),
    "no table": (lambda: change("DROP TABLE jobs"), OTHER),
    "other columns": (lambda: change("ALTER TABLE jobs RENAME COLUMN folder TO place"), OTHER),
    "another column": (lambda: change("ALTER TABLE jobs ADD COLUMN more TEXT"), OTHER),
    "a view": (lambda: change("ALTER TABLE jobs RENAME TO x", "CREATE VIEW jobs AS SELECT * FROM x"), OTHER),
    "a trigger": (
        lambda: change("CREATE TRIGGER t AFTER UPDATE ON jobs BEGIN DELETE FROM jobs; END"),
        OTHER,
    ),
    "an index": (lambda: change("CREATE INDEX i ON jobs (hex(zeroblob(number)))"), OTHER),
    "a folder above": (
        lambda: change(folder_is("'../precious'")),
        "cannot be read ('../precious' is not the name of a run folder); sweep anew",
    ),
    "a folder elsewhere": (
        lambda: change(folder_is("'/tmp/precious'")),
        "cannot be read ('/tmp/precious' is not the name of a run folder); sweep anew",
    ),
    "a folder of two lines": (
        lambda: change(folder_is("'0002-abcdef' || char(10)")),
        "cannot be read ('0002-abcdef\\n' is not the name of a run folder); sweep anew",
    ),
    "a folder of bytes": (
        lambda: change(folder_is("x'00ff'")),
        "cannot be read (job 2 is not text); sweep anew",
    ),
    "a folder without end": (
        lambda: change(folder_is("zeroblob(1100000)")),
        "cannot be read (string or blob too big); sweep anew",
    ),
    "overrides that are a number": (
        lambda: change("UPDATE jobs SET overrides = '5'"),
        "cannot be read (Value after * must be an iterable, not int); sweep anew",
    ),
    "overrides of numbers": (
        lambda: change("UPDATE jobs SET overrides = '[5]'"),
        "cannot be read (job 0 is not text); sweep anew",
    ),
    "an error of bytes": (
        lambda: change("UPDATE jobs SET error = x'1b5b'"),
        "cannot be read (job 0 is not text); sweep anew",
    ),
    "text that is none": (
        lambda: change("UPDATE jobs SET error = CAST(x'ff' AS TEXT)"),
        "cannot be read (Could not decode to UTF-8 column 'error' with text "
        "'\N{REPLACEMENT CHARACTER}'); sweep anew",
    ),
    "a config that is no JSON": (
        lambda: change(config_is("'{'")),
        "cannot be read (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)); "
        "sweep anew",
    ),
    "a config that is a list": (
        lambda: change(config_is("'[]'")),
        "a config in it is not valid: a config must be a mapping of keys",
    ),
    "a config with another key": (
        lambda: change(config_is("json_set(config, '$.python', 'import os')")),
        "a config in it is not valid: python: unknown key; known keys are format, seed, device, dataset, "
        "model, loss, optimizer, scheduler, init, trainer, run",
    ),
    "a config out of range": (
        lambda: change(config_is("json_set(config, '$.trainer.epochs', -1)")),
        "a config in it is not valid: trainer.epochs=-1: must be an integer ≥ 0 and ≤ 1000000000 "
        "(passes over the training data; 0: the untrained network; default 1000)",
    ),
    "a config too deep": (
        lambda: change(config_is(f"'{'[' * 100000}'")),
        "cannot be read (",
    ),
}


@pytest.mark.parametrize("name", STRANGE)
def test_strange_ledgers_are_refused(name: str, here: Path, capsys: Captured) -> None:
    make, reason = STRANGE[name]
    make()
    before = everything(here)
    line = said(capsys, "resume", SWEEP, code=65)
    assert line.startswith(f"{LEDGER}: "), line
    found = line.removeprefix(f"{LEDGER}: ")
    assert found == reason or (reason.endswith("(") and found.startswith(reason)), found
    assert everything(here) == before


def test_huge_numbers_do_no_harm(here: Path, capsys: Captured) -> None:
    late = ", config = json_set(config, '$.scheduler.warmup_steps', 100)"
    change(f"UPDATE jobs SET number = 9223372036854775807{late} WHERE number = 2")
    with Ledger(Path(LEDGER)) as ledger:
        folder = ledger.entries()[2].folder
    assert command(["resume", SWEEP]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"mlpkit: {folder} (seed=3): scheduler.warmup_steps=100: the run has 5 steps; choose fewer",
        f"mlpkit: 1 of 3 runs failed; to try them again: mlpkit resume {SWEEP}",
    ]
    change("UPDATE jobs SET config = json_set(config, '$.scheduler.warmup_steps', 0) WHERE number > 2")
    assert command(["resume", SWEEP]) == 0
    assert capsys.readouterr().err == ""


def test_a_sweep_may_be_moved(here: Path, capsys: Captured) -> None:
    (Path("outputs") / "sweep").rename("moved")
    (Path("outputs") / LOOKS).unlink()
    Path("outputs").rmdir()
    assert command(["resume", "moved"]) == 0
    assert capsys.readouterr().err == ""
    assert len(list(Path("moved").glob("0*/summary.json"))) == 3
    assert [path.name for path in Path().iterdir()] == ["moved"]
    run = next(Path("moved").glob("0002-*"))  # begun by the second command, of another line
    typed = [line for line in ARGUMENTS[2:] if not line.startswith("seed=")]
    assert yaml.safe_load((run / "overrides.yaml").read_text()) == [*typed, "seed=3"]


@pytest.mark.parametrize(
    "name", ["ledger.sqlite", "ledger.sqlite-journal", "ledger.sqlite-wal", "command.txt", "overrides.yaml"]
)
@pytest.mark.parametrize("how", [os.symlink, os.link, lambda place, path: os.mkfifo(path)])
def test_what_leads_out_of_the_sweep_is_refused(
    name: str, how: Callable[[Path, Path], object], here: Path, capsys: Captured
) -> None:
    place, path = here / "precious", Path(SWEEP) / name
    place.write_bytes(path.read_bytes() if path.exists() else b"precious")
    path.unlink(missing_ok=True)
    how(place, path)
    before = everything(here)
    line = said(capsys, "resume", SWEEP, code=65)
    if name == "ledger.sqlite" and path.is_fifo():
        assert line == f"{SWEEP}: not a run folder (it has no config.yaml), which this command needs"
    else:
        assert line == f"{path}: may lead out of the run; put a file of its own there"
    assert everything(here) == before


@pytest.mark.parametrize("done", [True, False])
def test_a_run_folder_that_is_a_link_is_refused(done: bool, here: Path, capsys: Captured) -> None:
    """A run that had not begun would be cleared away before it is trained: here another's."""
    with Ledger(Path(LEDGER)) as ledger:
        path = SweepFolder(Path(SWEEP)).run(ledger.entries()[2].folder)
    other = next(Path(SWEEP).glob("0001-*")).rename(here / "precious")
    if not done:
        (other / "summary.json").unlink()
        shutil.rmtree(other / "checkpoints")
        change("UPDATE jobs SET status = 'waiting'")
    path.symlink_to(other)
    before = everything(here)
    line = said(capsys, "resume", SWEEP, code=65)
    assert line == f"{path}: may lead out of the sweep; remove the link"
    assert everything(here) == before


@pytest.mark.parametrize("name", ["checkpoints", "tensorboard", "metrics.jsonl", "summary.json"])
def test_a_run_that_leads_elsewhere_fails_and_writes_nothing_there(
    name: str, here: Path, capsys: Captured
) -> None:
    with Ledger(Path(LEDGER)) as ledger:
        folder = ledger.entries()[2].folder
    place, path = here / "precious", Path(SWEEP) / folder
    path.mkdir()
    if name == "checkpoints":
        shutil.copytree(next(Path(SWEEP).glob("0001-*")) / name, place)
    elif name == "tensorboard":
        shutil.copytree(next(Path(SWEEP, name).iterdir()), place)
    else:
        place.write_text("precious")
    (path / name).symlink_to(place)
    before = everything(place) or place.read_bytes()
    code = command(["resume", SWEEP])
    printed, lines = capsys.readouterr()
    assert (everything(place) or place.read_bytes()) == before
    if code:
        assert code == 1
        assert lines.count("\n") == 2 and lines.startswith(f"mlpkit: {folder} (seed=3): "), lines
        assert str(path) in lines
    assert "Traceback" not in lines + printed


def test_hostile_words_do_not_reach_the_terminal(here: Path, capsys: Captured) -> None:
    change(
        "UPDATE jobs SET overrides = '[\"seed=\\u001b[31m\\n\"]', "
        "config = json_set(config, '$.scheduler.warmup_steps', 100) WHERE number = 2"
    )
    assert command(["resume", SWEEP]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.isprintable()
    assert first.endswith(r"(seed=\x1b[31m\n): scheduler.warmup_steps=100: the run has 5 steps; choose fewer")
    assert second == f"mlpkit: 1 of 3 runs failed; to try them again: mlpkit resume {SWEEP}"


def begun_journal() -> bytes:
    """Return a journal of the ledger that has nothing to bring back."""
    pages = Path(LEDGER).stat().st_size // 4096
    return (MAGIC + struct.pack(">IIIII", 0, 0, pages, 512, 4096)).ljust(512, b"\0")


@pytest.mark.parametrize("database", ["ledger.sqlite", "search.sqlite"])
def test_a_journal_that_names_another_file_is_refused(database: str, here: Path, capsys: Captured) -> None:
    """SQLite removes the file that such a journal names, at the first look at the database."""
    victim, journal = here / "precious", Path(SWEEP) / f"{database}-journal"
    victim.write_text("precious")
    name = str(victim).encode()
    record = (
        struct.pack(">I", (1 << 30) // 4096 + 1) + name + struct.pack(">II", len(name), sum(name)) + MAGIC
    )
    journal.write_bytes(begun_journal() + record)
    before = everything(here)
    assert said(capsys, "resume", SWEEP, code=65) == (
        f"{journal}: would have SQLite remove another file; remove this one"
    )
    assert everything(here) == before
    if database != "ledger.sqlite":
        shutil.copy(LEDGER, Path(SWEEP) / database)
    opened = sqlite3.connect(Path(SWEEP) / database)
    opened.execute("SELECT * FROM jobs")  # so it would have been
    opened.close()
    if sqlite3.sqlite_version_info < (3, 41):  # 3.53 leaves it alone
        assert not victim.exists()


@pytest.mark.parametrize("name", ["ledger.sqlite-wal", "ledger.sqlite-shm", "search.sqlite-wal"])
def test_files_of_sqlite_that_mlpkit_does_not_write_are_refused(
    name: str, here: Path, capsys: Captured
) -> None:
    (Path(SWEEP) / name).write_bytes(b"")
    before = everything(here)
    line = said(capsys, "resume", SWEEP, code=65)
    assert line == f"{SWEEP}/{name}: mlpkit writes no such file; remove it"
    assert everything(here) == before


def test_a_journal_of_a_killed_process_is_rolled_back(here: Path, capsys: Captured) -> None:
    (Path(SWEEP) / "ledger.sqlite-journal").write_bytes(begun_journal())
    assert command(["resume", SWEEP]) == 0, capsys.readouterr()
    assert not list(Path(SWEEP).glob("*-journal"))


# ------------------------------------------------------------------------- what a foreign one may not do


def config_of_job(number: int, *pairs: tuple[str, object]) -> str:
    sets = ", ".join(f"'$.{key}', json('{json.dumps(value)}')" for key, value in pairs)
    return f"UPDATE jobs SET config = json_set(config, {sets}) WHERE number = {number}"


def folder_of(number: int) -> str:
    with Ledger(Path(LEDGER)) as ledger:
        return ledger.entries()[number].folder


def failing(capsys: Captured, *arguments: str) -> str:
    """Go on with the sweep, whose last run must fail alone; return why."""
    assert command(["resume", SWEEP, *arguments]) == 1, capsys.readouterr()
    first, last = capsys.readouterr().err.splitlines()
    assert last == f"mlpkit: 1 of 3 runs failed; to try them again: mlpkit resume {SWEEP}"
    beginning = f"mlpkit: {folder_of(2)} (seed=3): "
    assert first.startswith(beginning), first
    return first.removeprefix(beginning)


@pytest.mark.parametrize("launcher", [(), ("--launcher=processes",)])
def test_no_data_is_fetched_for_a_found_sweep(
    launcher: tuple[str, ...], here: Path, capsys: Captured
) -> None:
    nothing = here / "nothing"
    dataset = to_dict(config("dataset=mnist", f"dataset.root={nothing}"))["dataset"]
    change(config_of_job(2, ("dataset", dataset)))
    reason = failing(capsys, *launcher)
    assert reason.startswith(f"dataset=mnist: no files under {nothing}"), reason
    assert not nothing.exists() and not (Path(SWEEP) / folder_of(2)).exists()


@pytest.mark.long
def test_large_data_of_a_found_sweep_is_taken_on_request(here: Path, capsys: Captured) -> None:
    change(config_of_job(2, ("dataset.n", 2_100_000), ("trainer.epochs", 1)))
    assert failing(capsys) == f"{LEDGER}: its dataset draws 4,200,000 numbers; --allow-large takes them"
    assert not (Path(SWEEP) / folder_of(2)).exists()
    resume(Path(SWEEP), Origin("mlpkit resume", Trust.LARGE), vectorized, make_console())
    assert (Path(SWEEP) / folder_of(2) / "summary.json").exists()


def test_a_large_model_of_a_found_sweep_is_refused(here: Path, capsys: Captured) -> None:
    change(config_of_job(2, ("model.hidden", [60_000, 60_000])))
    assert failing(capsys) == (
        f"{LEDGER}: its config asks for 3,600,300,001 parameters; --allow-large takes them"
    )
    change(config_of_job(2, ("model.hidden", [6_000, 6_000])))
    assert failing(capsys) == (
        f"{LEDGER}: its config asks for 36,030,001 parameters; --allow-large takes them"
    )


def test_a_ledger_is_not_believed_what_its_configs_are(here: Path, capsys: Captured) -> None:
    """With run.resume=auto the command line's own jobs may do all that they like, and only they."""
    change(config_of_job(2, ("dataset.n", 70)))
    assert said(capsys, *ARGUMENTS, "run.resume=auto", code=2) == (
        f"run.dir={SWEEP}: holds a sweep of other runs; name a new folder"
    )


def test_what_slurm_says_goes_nowhere_else(here: Path, capsys: Captured) -> None:
    place, path = here / "precious", Path(SWEEP) / "slurm"
    place.mkdir()
    path.symlink_to(place)
    arguments = ("resume", SWEEP, "--launcher=slurm", "--slurm=cluster=local")
    assert command(list(arguments)) == 65
    assert capsys.readouterr().err == (
        f"mlpkit: {Path(SWEEP).resolve()}/slurm: may lead out of the run; put a folder of its own there\n"
    )
    assert list(place.iterdir()) == []


@pytest.mark.long
def test_what_slurm_has_said_before_is_not_read(here: Path, capsys: Captured) -> None:
    path = Path(SWEEP) / "slurm"
    path.mkdir()
    for number in range(3):
        (path / f"{number}_0_result.pkl").write_bytes(b"planted")
    before = everything(path)
    arguments = ("resume", SWEEP, "--launcher=slurm", "--slurm=cluster=local")
    assert command(list(arguments)) == 0, capsys.readouterr()
    now = everything(path)
    assert {name: now[name] for name in before} == before
    (folder,) = (file for file in path.iterdir() if file.is_dir())
    assert re.fullmatch(r"\d{8}-\d{6}-\w+", folder.name)
    assert all(name in before or name.startswith(folder.name) for name in now)


# ------------------------------------------------------------------------------ runs that stop no other


def begun_again(number: int) -> Path:
    """Let a run have not begun, and return its folder, with what it is made of alone."""
    change(f"UPDATE jobs SET status = 'waiting' WHERE number = {number}")
    path = Path(SWEEP) / folder_of(number)
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    shutil.copy(next(Path(SWEEP).glob("0000-*")) / "config.yaml", path)
    return path


def test_a_run_that_another_process_begins_stops_no_other(here: Path, capsys: Captured) -> None:
    path = begun_again(2)
    (path / ".summary.json.tmp").write_text("half of it")
    with locked(path / ".lock"):
        reason = failing(capsys)
        assert sorted(file.name for file in path.iterdir()) == [".lock", ".summary.json.tmp", "config.yaml"]
    assert re.fullmatch(
        rf"{path}: in use by process {os.getpid()} on \S+; wait until it has ended, or stop it", reason
    )
    assert command(["resume", SWEEP]) == 0, capsys.readouterr()


def test_a_checkpoint_of_a_run_that_trains_is_not_touched(here: Path, capsys: Captured) -> None:
    change("UPDATE jobs SET status = 'waiting' WHERE number = 1")
    path = Path(SWEEP) / folder_of(1)
    (path / "summary.json").unlink()
    unfinished = path / "checkpoints/.last.safetensors.tmp"
    unfinished.write_text("half of it")
    with locked(path / ".lock"):
        assert command(["resume", SWEEP]) == 1
        assert unfinished.read_text() == "half of it"
    first, _ = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        rf"mlpkit: {path.name} \(seed=2\): {path}: in use by process {os.getpid()} on \S+; "
        "wait until it has ended, or stop it",
        first,
    )
    assert command(["resume", SWEEP]) == 0, capsys.readouterr()
    assert not unfinished.exists()


@pytest.mark.parametrize("name", [".lock", "command.txt"])
def test_a_run_that_cannot_be_cleared_stops_no_other(name: str, here: Path, capsys: Captured) -> None:
    other, path = begun_again(1), begun_again(2)
    if name == ".lock":
        (path / name).symlink_to(here / "precious")
        expected = f"{path}/.lock: cannot be written (Too many levels of symbolic links); remove the link"
    else:
        (path / name).mkdir()
        (path / "config.yaml").rename(path / "train.log")
        expected = f"run.dir={path}: already holds other files; name a new folder"
    assert failing(capsys) == expected
    assert not (here / "precious").exists()
    assert json.loads((other / "summary.json").read_text())["status"] == "done"
    shutil.rmtree(path)
    assert command(["resume", SWEEP]) == 0, capsys.readouterr()


def test_that_runs_do_not_go_together_is_said(here: Path, capsys: Captured) -> None:
    """A checkpoint that is a folder cannot be removed, which stops a group; a run by itself goes on."""
    change("UPDATE jobs SET status = 'waiting' WHERE number < 2")
    for number in (0, 1):
        (Path(SWEEP) / folder_of(number) / "summary.json").unlink()
    folder = RunFolder(Path(SWEEP) / folder_of(0))
    folder.last.rename(folder.at_step(5))
    folder.at_step(999_999_999).mkdir()
    assert command(["resume", SWEEP]) == 0, capsys.readouterr()
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "sweep of 3 runs: 2 trained together, 1 alone",
        "trained one after another: IsADirectoryError: [Errno 21] Is a directory: "
        f"'{folder.at_step(999_999_999)}'",
    ]
    assert len(list(Path(SWEEP).glob("0*/summary.json"))) == 3


@pytest.mark.long
def test_failures_that_cannot_be_written_down_are_told(here: Path, capsys: Captured) -> None:
    for number in (1, 2):
        shutil.rmtree(Path(SWEEP) / folder_of(number), ignore_errors=True)
        change(
            f"UPDATE jobs SET status = 'waiting' WHERE number = {number}",
            config_of_job(number, ("scheduler.warmup_steps", 100)),
        )
    reader = sqlite3.connect(LEDGER, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM jobs").fetchone()  # who reads lets nobody write
    try:
        assert command(["resume", SWEEP]) == 74
        assert capsys.readouterr().err == (
            f"mlpkit: {LEDGER}: cannot be written (database is locked); {WAIT}\n"
        )
    finally:
        reader.close()
    assert command(["resume", SWEEP]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"mlpkit: 2 of 3 runs failed; to try them again: mlpkit resume {SWEEP}"
    )
    with Ledger(Path(LEDGER)) as ledger:
        reason = "scheduler.warmup_steps=100: the run has 5 steps; choose fewer"
        assert [(e.status, e.error) for e in ledger.entries()] == [(DONE, ""), *[(FAILED, reason)] * 2]


def test_a_sweep_goes_on_as_it_began(here: Path, capsys: Captured) -> None:
    before = everything(here)
    assert said(capsys, "resume", SWEEP, "trainer.epochs=9", code=2) == (
        "trainer.epochs=9: a sweep goes on as it began; resume single runs to change them"
    )
    assert everything(here) == before


# ------------------------------------------------------------------------------------- new folders


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("run.loggers=[tensorboard],[]", 'run.loggers=["tensorboard"],[]'),
        ("run.name=a,b", "run.name='a','b'"),
        ("run.plots=true,false", "run.plots=true,false"),
    ],
)
def test_where_a_sweep_goes_is_one_place(
    given: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said(capsys, "train", "-m", "dataset=moons", given, code=2) == (
        f"{shown}: where a sweep goes and what it writes is the same for all of its runs; give one value"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(SWEEP).mkdir(parents=True)
    (Path(SWEEP) / "notes.txt").write_text("mine")
    assert said(capsys, *ARGUMENTS, code=2) == (
        f"run.dir={SWEEP}: already holds other files; name a new folder"
    )


@pytest.mark.long
def test_more_runs_than_files_may_be_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """The limit is raised where that may be; the system's usual one is less than the largest group needs."""
    monkeypatch.chdir(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
    try:
        many = ("trainer.epochs=2", "seed=range(60)", "run.tensorboard=true")
        assert command([*ARGUMENTS[:-2], *many]) == 0, capsys.readouterr()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


# -------------------------------------------------------------------------------- nothing can be written


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Tmpfs]:
    try:
        disk = Tmpfs(tmp_path / "disk")
    except Unmountable as error:
        pytest.skip(str(error))
    yield disk
    disk.close()


def test_a_sweep_that_cannot_be_written(
    here: Path, disk: Tmpfs, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    shutil.copytree("outputs", disk.path / "outputs")
    monkeypatch.chdir(disk.path)
    before = everything(disk.path)
    disk.make_read_only()
    assert said(capsys, "resume", SWEEP, code=74) == (
        f"{SWEEP}/.lock: cannot be written (Read-only file system); choose a place that can be written to"
    )
    assert said(capsys, *OTHER_SWEEP, code=74) == (
        "outputs/other: cannot make the sweep's folder (Read-only file system); choose another run.root"
    )
    disk.relax()
    assert everything(disk.path) == before


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_files_that_may_not_grow(size: int, here: Path, capsys: Captured) -> None:
    before = everything(here)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limit[1]))
    try:
        old = command(["resume", SWEEP]), capsys.readouterr().err
        new = command(list(OTHER_SWEEP)), capsys.readouterr().err
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert old[0] in (74, 1), old
    assert new[0] == 74, new
    for _, lines in (old, new):
        assert all(line.startswith("mlpkit: ") for line in lines.splitlines()), lines
        assert "Traceback" not in lines
    assert new[1].count("\n") == 1, new
    now: dict[str, Any] = everything(here)
    for name, content in before.items():
        is_replaced = "ledger" in name or "/tensorboard/" in name  # of a run that begins anew
        if not is_replaced and not name.endswith(("command.txt", LOOKS)):
            assert now[name] == content
    assert command(["resume", SWEEP]) == 0, capsys.readouterr()
    assert command(list(OTHER_SWEEP)) == 0, capsys.readouterr()


@pytest.mark.long
def test_records_that_grow_too_large_fail_and_go_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """What stops all runs of a group at once is tried run by run, and each says what was wrong."""
    monkeypatch.chdir(tmp_path)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limit[1]))
    try:
        code = command([*ARGUMENTS[:-2], "trainer.epochs=400", "trainer.checkpoint_every=30", "seed=1,2,3"])
        lines = capsys.readouterr().err.splitlines()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert code == 1, lines
    assert lines[-1] == f"mlpkit: 3 of 3 runs failed; to try them again: mlpkit resume {SWEEP}"
    for line in lines[-4:-1]:
        assert "metrics.jsonl: cannot write" in line and line.endswith(
            "(File too large); raise the largest size of a file (ulimit -f)"
        )
    assert command(["resume", SWEEP]) == 0, capsys.readouterr()
    for path in Path(SWEEP).glob("0*"):
        assert json.loads((path / "summary.json").read_text())["status"] == "done"
        epochs = [json.loads(line)["epoch"] for line in (path / "metrics.jsonl").read_text().splitlines()]
        assert epochs[: 2 * 400] == [epoch for epoch in range(1, 401) for _ in range(2)]


def test_a_ledger_that_is_missing_is_a_run_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(SWEEP).mkdir(parents=True)
    assert said(capsys, "resume", SWEEP, code=65) == (
        f"{SWEEP}: not a run folder (it has no config.yaml), which this command needs"
    )
    assert json.dumps(sorted(path.name for path in Path(SWEEP).iterdir())) == "[]"


def test_an_open_ledger_of_another_kind(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "ledger.sqlite")
    other.execute("CREATE TABLE accounts (name TEXT)")
    other.commit()
    other.close()
    before = (tmp_path / "ledger.sqlite").read_bytes()
    with pytest.raises(DataError) as caught:
        Ledger(tmp_path / "ledger.sqlite")
    assert str(caught.value) == f"{tmp_path / 'ledger.sqlite'}: {OTHER}"
    assert (tmp_path / "ledger.sqlite").read_bytes() == before
