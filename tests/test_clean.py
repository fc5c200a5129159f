"""What clean removes, what it keeps, and that nothing else goes."""

import json
import os
import shutil
import socket
import time
from functools import partial
from pathlib import Path

import pytest
from conftest import DONE, FAILED, SWEEP, Lines, Refused

from mlpkit.analysis.named_run import best_of_sweep
from mlpkit.cli.main import run as command
from mlpkit.folders import clean
from mlpkit.folders.listing import list_runs


@pytest.fixture
def cleaned(lines: Lines) -> Lines:
    """Clean the sample outputs; return the lines on stdout."""
    return partial(lines, "clean")


def runs() -> set[Path]:
    """Return all run folders."""
    return {path.parent for path in Path("outputs").rglob("config.yaml")}


def members(status: str) -> set[Path]:
    """Return the sweep's runs with a status."""
    return {
        path.parent
        for path in SWEEP.glob("*/summary.json")
        if json.loads(path.read_text())["status"] == status
    }


def test_without_yes_nothing_is_removed(cleaned: Lines) -> None:
    before = {path: path.stat().st_size for path in Path("outputs").rglob("*") if path.is_file()}
    shown = cleaned("--older-than", "0h", "--checkpoints")
    assert {path: path.stat().st_size for path in Path("outputs").rglob("*") if path.is_file()} == before
    assert shown[-1].startswith("would free ")
    assert shown[-1].endswith("; --yes removes them")


def test_failed_runs_go(cleaned: Lines) -> None:
    others = runs() - members("failed") - {FAILED}
    size = sum(
        f.stat().st_size for run in (*members("failed"), FAILED) for f in run.rglob("*") if f.is_file()
    )
    plan = clean.plan(
        list_runs([Path("outputs")], print, open_sweeps=False), clean.Wanted(), lambda path: None
    )
    assert plan.size == size
    shown = cleaned("--yes")
    assert runs() == others
    assert [line.split()[1] for line in shown[1:4]] == ["failed"] * 3
    assert shown[-1].startswith("freed ")
    assert (SWEEP / "ledger.sqlite").exists()
    assert cleaned("--yes") == ["nothing to remove"]


@pytest.mark.long
def test_an_old_sweep_keeps_its_best_run_and_its_ledger(cleaned: Lines) -> None:
    best = best_of_sweep(SWEEP)
    assert cleaned("--older-than", "0h", "--yes")[-2] == "kept: 1 run (best of its sweep)"
    assert runs() == {best}
    assert command(["resume", str(SWEEP)]) == 1  # what has gone is trained again; two runs diverge as before


def test_what_has_a_tag_or_a_note_is_kept(cleaned: Lines) -> None:
    assert command(["tag", str(FAILED), "why"]) == 0
    assert command(["note", str(DONE), "good"]) == 0
    Path(SWEEP, "labels.json").write_text("{")  # damaged: there were some
    before = runs()
    assert "nothing to remove" in cleaned("--older-than", "0h", "--checkpoints", "--yes")
    assert runs() == before


def test_young_and_interrupted_runs_are_kept(cleaned: Lines) -> None:
    old = time.time() - 3 * 86_400
    for run in runs() - {DONE}:
        os.utime(run / "config.yaml", (old, old))
    (DONE / "summary.json").write_text('{"status": "interrupted"}')
    assert DONE in runs()
    cleaned("--older-than", "2d", "--yes")
    assert runs() == {DONE, best_of_sweep(SWEEP)}
    shutil.rmtree(DONE / "checkpoints")
    cleaned("--yes")
    assert DONE not in runs()


def test_older_checkpoints_of_finished_runs_go(cleaned: Lines) -> None:
    assert list(DONE.glob("checkpoints/step-*"))
    cleaned(str(DONE), "--checkpoints", "--yes")
    assert sorted(path.name for path in (DONE / "checkpoints").iterdir()) == [
        "best.safetensors",
        "last.safetensors",
    ]
    assert list(SWEEP.glob("*/checkpoints/step-*"))


def test_a_run_in_use_is_kept(cleaned: Lines) -> None:
    text = f"\0process {os.getpid()} on {socket.gethostname()}\n"
    for folder in (FAILED, SWEEP):
        (folder / ".lock").write_text(text)
    before = runs()
    shown = cleaned("--yes")
    assert shown == ["kept: 1 run (in use)", "kept: 2 runs (sweep in use)", "nothing to remove"]
    assert runs() == before


def test_what_mlpkit_has_not_made_is_kept(cleaned: Lines, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "precious").write_text("x")
    (FAILED / "thesis.tex").write_text("x")
    Path("outputs/link").symlink_to(mine)
    Path("outputs/.x.removed.tmp").mkdir()
    Path("outputs/.x.removed.tmp/thesis.tex").write_text("x")
    first, second = sorted(members("failed"))
    (first / "plots").symlink_to(mine)
    (second / "summary.json").unlink()
    (second / "summary.json").mkdir()
    other = Path("outputs/other")
    other.mkdir()
    (other / "config.yaml").write_text("lr: 1\n")
    (other / "summary.json").write_text('{"status": "failed"}')
    cleaned("--older-than", "0h", "--yes")
    assert (mine / "precious").exists()
    assert (FAILED / "thesis.tex").exists()
    assert Path("outputs/.x.removed.tmp/thesis.tex").exists()
    assert {first, second, other, FAILED} <= runs()


def test_a_stopped_clean_leaves_whole_runs_or_none(cleaned: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is hidden by one rename; the next clean removes what is left."""

    def stopped(path: Path) -> None:
        (path / "config.yaml").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(clean.shutil, "rmtree", stopped)  # type: ignore[attr-defined]
        assert command(["clean", "outputs/a", "--yes"]) == 130
    left = Path(f"outputs/a/.{FAILED.name}{clean.REMOVED}")
    assert left.is_dir() or list(SWEEP.glob(f".*{clean.REMOVED}"))
    assert all((run / "summary.json").exists() for run in runs())
    cleaned("outputs/a", "--yes")
    assert not list(Path("outputs").rglob(f".*{clean.REMOVED}"))


def test_a_run_that_cannot_be_removed_is_an_error(cleaned: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    """Its hidden name is taken by a folder that holds files of others."""
    hidden = FAILED.with_name(f".failed{clean.REMOVED}")
    hidden.mkdir()
    (hidden / "thesis.tex").write_text("x")
    assert command(["clean", "outputs/a", "--yes"]) == 74
    assert capsys.readouterr().err.startswith(f"mlpkit: {FAILED.resolve()}: cannot be removed (")
    assert (hidden / "thesis.tex").exists()
    assert FAILED in runs()


def test_clean_refuses(cleaned: Lines, refused: Refused) -> None:
    for age in ("30", "d", "-1d", "1y", "٣d"):
        rule = "must be a number of hours, days or weeks: 12h, 30d or 4w"
        assert refused("clean", f"--older-than={age}", code=2) == f"--older-than={age}: {rule}"
    member = next(iter(members("failed")))
    assert refused("clean", str(member), code=65).startswith(f"{member}: a run of a sweep, ")
    assert refused("clean", "nowhere", code=65).startswith("nowhere: no such folder; ")


def test_a_sweep_without_runs_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cleaned: Lines) -> None:
    """Its runs failed before they had a folder. One with a note, another file or a lock stays."""
    sweeps = [Path("outputs/empty", name) for name in ("plain", "noted", "mine", "held")]
    for sweep in sweeps:
        sweep.mkdir(parents=True)
        for name in ("ledger.sqlite", "overrides.yaml", "command.txt"):
            shutil.copy(SWEEP / name, sweep / name)
    assert command(["note", str(sweeps[1]), "why"]) == 0
    (sweeps[2] / "thesis.txt").write_text("years of work")
    (sweeps[3] / ".lock").write_text(f"\0process {os.getpid()} on {socket.gethostname()}\n")
    shown = cleaned("outputs/empty", "--yes")
    assert [line.split()[0] for line in shown if "sweep without runs" in line] == [str(sweeps[0])]
    assert [sweep.is_dir() for sweep in sweeps] == [False, True, True, True]
    assert not list(Path("outputs/empty").glob(".*"))
