"""Runs in order: ls, diff, tag and note."""

import csv
import json
import os
import pty
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import DONE, FAILED, SWEEP, Lines, Refused

from mlpkit.analysis.run_list import format_list
from mlpkit.cli.main import run as command
from mlpkit.folders.listed_run import DAMAGED, RUNNING, UNFINISHED
from mlpkit.folders.listing import list_runs
from mlpkit.system.lock import locked

RUN = str(DONE)


@pytest.fixture(autouse=True)
def here(outputs: Path) -> Path:
    """The sample outputs without the failed run, with an older run and a folder that is not a run."""
    shutil.rmtree(FAILED)
    os.utime(DONE / "config.yaml", (1_700_000_000, 1_700_000_000))
    Path("outputs/other").mkdir()
    Path("outputs/other/config.yaml").write_text("lr: 1\n")
    return outputs


def test_a_sweep_is_one_line_with_its_best_score(lines: Lines) -> None:
    titles, sweep, run = lines("ls")
    assert titles.split() == ["run", "changed", "status", "dataset", "model", "epochs", "score"]
    best = max(
        json.loads(p.read_text()).get("best", {"value": 0})["value"] for p in SWEEP.glob("*/summary.json")
    )
    assert sweep.split()[0] == str(SWEEP)
    assert sweep.split()[3:] == ["4", "runs,", "2", "failed", "moons", "mlp", "3", "accuracy", f"{best:.4f}"]
    assert run.split()[:4] == [RUN, "2023-11-14", *run.split()[2:4]]
    assert run.split()[3:7] == ["done", "moons", "mlp", "3"]


def test_runs_of_a_sweep_are_listed_when_asked_for(lines: Lines) -> None:
    names = sorted(str(path.parent) for path in SWEEP.glob("*/config.yaml"))
    assert sorted(line.split()[0] for line in lines("ls", str(SWEEP))[1:]) == names
    assert sorted(line.split()[0] for line in lines("ls", "--runs")[1:]) == [*names, RUN]
    failed = [line.split()[0] for line in lines("ls", "--status", "failed")[1:]]
    assert sorted(failed) == sorted(n for n in names if "failed" in Path(n, "summary.json").read_text())
    assert len(failed) == 2


def test_the_best_score_comes_first(lines: Lines) -> None:
    shown = lines("ls", "--runs", "--sort", "score", "--top", "3")[1:]
    values = [float(line.split()[-1]) for line in shown]
    assert values == sorted(values, reverse=True)
    assert lines("ls", "--runs", "--sort", "score")[-1].split()[3] == "failed"


def test_all_are_counted_where_the_first_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    noted = []
    for options in ((), ("--top", "1")):
        assert command(["ls", *options]) == 0
        noted.append(capsys.readouterr().err)
    assert noted[0] == noted[1]


def test_a_sweep_whose_runs_have_not_begun(refused: Refused) -> None:
    Path("begun").mkdir()
    Path("begun/ledger.sqlite").touch()
    message = "begun: no run of this sweep has begun"
    assert refused("ls", "begun", code=65) == f"{message}; to go on: mlpkit resume begun"
    with locked(Path("begun/.lock")):
        assert refused("ls", "begun", code=65) == f"{message} yet"


def test_tags_and_notes(lines: Lines) -> None:
    assert lines("tag", RUN, "good", "paper") == ["tags: good paper"]
    assert lines("tag", RUN, "good") == ["tags: good paper"]
    assert lines("note", RUN, "the", "[first]") == ["tags: good paper", "note: the [first]"]
    assert lines("tag", str(SWEEP), "grid") == ["tags: grid"]
    assert [line.split()[0] for line in lines("ls", "--tag", "paper")[1:]] == [RUN]
    assert lines("ls")[2].endswith("  good paper  the [first]")
    assert lines("ls", "--tag", "grid")[1].split()[0] == str(SWEEP)
    inspected = lines("inspect", RUN)
    assert inspected[3:5] == ["tags: good paper", "note: the [first]"]
    assert lines("tag", RUN, "--remove", "good") == ["tags: paper", "note: the [first]"]
    assert lines("note", RUN, "--remove") == ["tags: paper"]
    assert lines("tag", RUN, "--remove") == ["no tags and no note"]
    assert not Path(RUN, "labels.json").exists()


def test_tags_of_odd_characters_and_long_notes_are_refused(refused: Refused) -> None:
    rule = "must be 1 to 40 letters, digits and _ . + -, and must not begin with . + or -"
    for word in ("a b", ".x", "a/b", "", "x" * 41, "\x1b[31m"):
        assert refused("tag", RUN, word, code=2) == f"tag {word!r}: {rule}"
    assert refused("note", RUN, "x" * 1001, code=2) == "note: must be one line of up to 1000 characters"
    assert refused("note", RUN, "a\x1b[31mb", code=2) == "note: must be one line of up to 1000 characters"
    assert refused("note", RUN, "a", "--remove", code=2) == "--remove: takes no text; leave one of them out"


def test_a_link_for_labels_is_neither_read_nor_written(here: Path, refused: Refused) -> None:
    other = here / "other.json"
    other.write_text('{"tags": ["mine"], "note": ""}')
    Path(RUN, "labels.json").symlink_to(other)
    assert "may lead out of the run" in refused("tag", RUN, "good", code=65)
    assert list_runs([Path(RUN)], print)[0].labels.tags == ()
    assert other.read_text() == '{"tags": ["mine"], "note": ""}'


@pytest.mark.parametrize(
    ("file", "content", "status"),
    [
        ("summary.json", "{", DAMAGED),
        ("summary.json", '{"status": ["done"]}', DAMAGED),
        ("summary.json", '{"status": "done", "best": {"value": NaN}, "epochs": 1' + "0" * 400 + "}", "done"),
        ("summary.json", "[" * 100_000, DAMAGED),
        ("summary.json", None, UNFINISHED),
        ("labels.json", '{"tags": ["\\u001b[31m"]}', "done"),
        ("labels.json", '{"tags": 3, "note": []}', "done"),
    ],
)
def test_damaged_files_do_not_stop_the_list(file: str, content: str | None, status: str) -> None:
    path = Path(RUN, file)
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_text(content)
    (run,) = list_runs([Path(RUN)], print)
    assert run.status == status
    assert all(line.isprintable() for line in format_list([run], Path(RUN), None))


def test_a_run_whose_lock_is_held_by_a_living_process_is_running() -> None:
    Path(RUN, "summary.json").unlink()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for number, status in ((os.getpid(), RUNNING), (ended.pid, UNFINISHED)):
        Path(RUN, ".lock").write_text(f"\0process {number} on {socket.gethostname()}\n")
        assert list_runs([Path(RUN)], print)[0].status == status


def test_links_are_not_followed(here: Path) -> None:
    Path("outputs", "again").symlink_to(here / "outputs" / "a")
    assert len(list_runs([Path("outputs")], print)) == 2
    assert len(list_runs([Path("outputs"), Path(RUN), Path("outputs/one")], print)) == 2


def test_a_terminal_of_80_columns_shows_what_fits(here: Path) -> None:
    assert command(["note", str(SWEEP), *["long"] * 50]) == 0
    (here / "outputs" / "breast_cancer-logistic").mkdir()
    shutil.move(RUN, "outputs/breast_cancer-logistic/20261127-101500-abcdef")
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    subprocess.run(
        [sys.executable, "-m", "mlpkit", "ls"], stdout=slave, check=True, env={**os.environ, "COLUMNS": "80"}
    )
    shown = os.read(master, 100_000).decode().splitlines()
    assert shown[0].split() == ["run", "status", "score"]
    assert all(len(line) <= 80 for line in shown)
    assert shown[2].startswith("  long long long ") and shown[2].endswith("…")  # below its run
    assert shown[3].split()[0] == "breast_cancer-logistic/20261127-101500-abcdef"


@pytest.mark.parametrize("note", ["", "a note"])
def test_a_terminal_of_any_width_shows_something(note: str) -> None:
    assert not note or command(["note", RUN, note]) == 0
    listed = list_runs([Path("outputs")], print)
    full = len(format_list(listed, Path("outputs"), None)[0])
    for width in range(1, full + 60):
        lines = format_list(listed, Path("outputs"), width)
        assert lines[0].startswith("run") and len(lines) >= 3
        assert width < 60 or max(map(len, lines)) <= width


def test_the_list_is_written_with_all_digits(lines: Lines) -> None:
    lines("tag", RUN, "good", "paper")
    lines("ls", "--runs", "--output", "list.csv")
    lines("ls", "--runs", "--output", "list.jsonl")
    with Path("list.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    objects = [json.loads(line) for line in Path("list.jsonl").read_text().splitlines()]
    assert [row["path"] for row in rows] == [row["path"] for row in objects]
    assert len(rows) == 5
    (row,) = [row for row in objects if row["path"] == RUN]
    best = json.loads(Path(RUN, "summary.json").read_text())["best"]
    assert (row["value"], row["score"], row["split"]) == (best["value"], "accuracy", "val")
    assert row["tags"] == ["good", "paper"]
    assert "good paper" in [row["tags"] for row in rows]


def test_ls_refuses(refused: Refused) -> None:
    assert refused("ls", "nowhere", code=65).startswith("nowhere: no such folder; ")
    assert refused("ls", "outputs/other", code=65).startswith("outputs/other: holds no run; ")
    assert refused("ls", "--sort", "size", code=2) == "--sort=size: must be newest or score"
    assert refused("ls", "--status", "fine", code=2).startswith("--status=fine: must be one of done, ")


def test_diff_shows_what_differs(lines: Lines) -> None:
    first, second = (path.parent for path in sorted(SWEEP.glob("*/summary.json"))[:2])
    shown = lines("diff", str(first), str(second / "checkpoints" / "last.safetensors"))
    assert shown[:2] == [f"A: {first}", f"B: {second}"]
    assert shown[3:5] == ["settings  A  B", "seed      0  1"]
    assert "data" in shown[-1]
    assert any(line.startswith("val accuracy") for line in shown)
    environment = Path(second, "environment.json")
    about = json.loads(environment.read_text())
    about["versions"]["torch"] = "1.0\x1b"
    environment.write_text(json.dumps(about))
    (changed,) = [line for line in lines("diff", str(first), str(second)) if line.startswith("torch")]
    assert changed.split()[2] == r"1.0\x1b"


def test_diff_says_that_nothing_differs(lines: Lines) -> None:
    assert lines("diff", RUN, RUN)[-1] == "no difference: settings, environment, data, scores"
    assert lines("diff", str(SWEEP), "outputs/one")[-1] == "no difference: environment, data"
