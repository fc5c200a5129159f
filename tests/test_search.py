"""Searching settings: Optuna chooses, trials train together, and the winner alone sees the test split."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from conftest import Refused
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from running import config, mlpkit
from sqlalchemy.pool import NullPool

from mlpkit.analysis.compare import compare
from mlpkit.cli.main import run as command
from mlpkit.errors import DataError
from mlpkit.folders import checkpoint, trust
from mlpkit.folders.results import read_result
from mlpkit.folders.trust import Trust
from mlpkit.sweeps.datasets import Datasets
from mlpkit.sweeps.ledger import FAILED, Ledger
from mlpkit.sweeps.pruning import make_judge, rungs
from mlpkit.sweeps.search_plan import Search, plan_search
from mlpkit.system.lock import locked

EPOCHS = 40
MOONS = (
    *("dataset=moons", "dataset.n=200", "model=mlp", "model.hidden=[4]"),
    *(f"trainer.epochs={EPOCHS}", "run.tensorboard=false"),
)
LINE = ("dataset=line", "model=linear", "optimizer=sgd", "run.tensorboard=false")
LR = "optimizer.lr=tag(log,interval(1e-3,0.3))"
DECAY = "optimizer.weight_decay=interval(0,0.1)"


def search(root: Path, *arguments: str, code: int = 0) -> Path:
    """Run a search in this process and return its folder."""
    folder = root / "search"
    assert command(["train", "-m", *arguments, f"run.root={root}", f"run.dir={folder}"]) == code
    return folder


def study(folder: Path) -> optuna.Study:
    """Open a search as any user of Optuna would."""
    closed_after_use = {"poolclass": NullPool}
    storage = RDBStorage(f"sqlite:///{folder / 'search.sqlite'}", closed_after_use)
    return optuna.load_study(study_name=None, storage=storage)


def summaries(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/summary.json")}


def essence(trials: list[FrozenTrial]) -> list[tuple[TrialState, dict[str, Any], float | None]]:
    return [(trial.state, trial.params, trial.value) for trial in trials]


# ------------------------------------------------------------------------------------------- a whole search


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A search of 20 trials over two shapes, and what it printed."""
    root = tmp_path_factory.mktemp("found")
    arguments = ["train", "-m", "--search", "tpe", "--trials", "20", "--batch", "8", *MOONS[:3], *MOONS[4:]]
    done = mlpkit(*arguments, LR, "model.hidden=[4],[8]", "run.dir=outputs/s", cwd=root)
    assert done.stderr == ""
    return root / "outputs/s", done.stdout


@pytest.mark.long
def test_optuna_itself_opens_the_study(found: tuple[Path, str]) -> None:
    folder, _ = found
    opened, by_folder = study(folder), summaries(folder)
    assert (opened.study_name, opened.direction.name, len(opened.trials)) == ("search", "MAXIMIZE", 20)
    assert {trial.user_attrs["folder"] for trial in opened.trials} == set(by_folder)
    for number, trial in enumerate(opened.trials):
        summary = by_folder[trial.user_attrs["folder"]]
        assert (trial.number, trial.state) == (number, TrialState.COMPLETE)
        assert trial.value == summary["best"]["value"]
        assert trial.user_attrs["folder"].startswith(f"{number:04d}-")
        config = yaml.safe_load((folder / trial.user_attrs["folder"] / "config.yaml").read_text())
        assert config["optimizer"]["lr"] == trial.params["optimizer.lr"]
        assert str(config["model"]["hidden"]) == trial.params["model.hidden"]
    assert {trial.params["model.hidden"] for trial in opened.trials} == {"[4]", "[8]"}


def test_the_winner_alone_is_tested(found: tuple[Path, str]) -> None:
    folder, printed = found
    by_folder = summaries(folder)
    winner, _ = max(by_folder.items(), key=lambda of: (of[1]["best"]["value"], -of[1]["best"]["val"]["loss"]))
    assert [name for name, summary in by_folder.items() if "test" in json.dumps(summary)] == [winner]
    assert "test" not in by_folder[winner]
    for path in folder.glob("*/metrics.jsonl"):
        assert {json.loads(line)["split"] for line in path.read_text().splitlines()} == {"train", "val"}
    assert not any("test" in path.read_text().partition("\n")[2] for path in folder.glob("*/train.log"))
    trial = next(trial for trial in study(folder).trials if trial.user_attrs["folder"] == winner)
    best = by_folder[winner]["best"]
    lines = printed.splitlines()
    assert lines[0] == "search of 20 trials: tpe, 8 at once"
    assert re.fullmatch(r"8/20 trials: 8 done, best val accuracy so far \d\.\d{4}", lines[1])
    assert lines[-2:] == [
        f"winner: {winner} optimizer.lr={trial.params['optimizer.lr']:.4g} "
        f"model.hidden={trial.params['model.hidden']}: val accuracy {best['value']:.4f} (of 20 trials), "
        f"test accuracy {best['test']['accuracy']:.4f} (computed for the winner only)",
        "sweep folder: outputs/s",
    ]


@pytest.mark.long
def test_more_trials_leave_no_test_scores_of_an_earlier_winner(tmp_path: Path) -> None:
    folder = search(tmp_path, *MOONS, "--search", "random", "--trials", "1", "--batch", "1", LR)
    (first,) = summaries(folder)
    assert "test" in summaries(folder)[first]["best"]
    assert command(["resume", str(folder), "--trials", "5"]) == 0
    tested = [name for name, summary in summaries(folder).items() if "test" in summary["best"]]
    assert len(tested) == 1 and tested != [first], "another trial has won"


def test_the_test_score_is_that_of_the_best_weights(found: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = found
    winner = next(name for name, summary in summaries(folder).items() if "test" in summary["best"])
    config = folder / winner / "config.yaml"
    again = tmp_path / "again"
    arguments = ["--config", str(config), f"run.root={tmp_path}", f"run.dir={again}", "run.progress=none"]
    assert command(["train", *arguments]) == 0
    lone = json.loads((again / "summary.json").read_text())["best"]
    ours = summaries(folder)[winner]["best"]
    assert lone["epoch"] == ours["epoch"]
    assert ours["test"] == pytest.approx(lone["test"], rel=1e-4)


def test_a_finished_search_says_its_winner_again(
    found: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, printed = found
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/**/*")}
    assert command(["resume", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "search of 20 trials (20 done before): tpe, 8 at once"
    assert lines[1] == printed.splitlines()[-2]
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("*/**/*")}


def test_compare_reads_a_search(found: tuple[Path, str]) -> None:
    folder, _ = found
    settings = compare([read_result(path) for path in sorted(folder.glob("0*"))]).settings
    assert max(setting.mean or 0.0 for setting in settings) == study(folder).best_value


# ------------------------------------------------------------------------------------------------ samplers


@pytest.mark.long
@pytest.mark.parametrize(
    "sampler", ["tpe", *(pytest.param(name, marks=pytest.mark.long) for name in ("random", "cmaes"))]
)
def test_the_same_command_gives_the_same_trials(sampler: str, tmp_path: Path) -> None:
    arguments = (*MOONS, "--search", sampler, "--trials", "12", "--batch", "4", LR, DECAY)
    first, second = (search(tmp_path / name, *arguments) for name in ("first", "second"))
    trials = study(first).trials
    assert essence(trials) == essence(study(second).trials)
    assert len({trial.params["optimizer.lr"] for trial in trials}) == 12
    assert all(0.001 <= trial.params["optimizer.lr"] < 0.3 for trial in trials)
    if sampler == "random":
        other = study(search(tmp_path / "other", *arguments, "seed=1")).trials
        assert not {str(trial.params) for trial in trials} & {str(trial.params) for trial in other}
    # CMA-ES would leave pickles there, which are code for whoever reads them.
    assert not any(name.startswith("cma") for trial in trials for name in trial.system_attrs)


@pytest.mark.long
def test_tpe_learns_where_the_best_values_are(tmp_path: Path) -> None:
    arguments = ("--search", "tpe", "--trials", "30", "--batch", "10", "optimizer.lr=interval(1e-6,0.02)")
    trials = study(search(tmp_path, *LINE, "trainer.epochs=30", *arguments)).trials
    rates = [trial.params["optimizer.lr"] for trial in trials]
    best = min(trials, key=lambda trial: trial.value or 0.0).params["optimizer.lr"]
    early, late = ([abs(rate - best) for rate in part] for part in (rates[:10], rates[-10:]))
    assert sum(late) / len(late) < 0.5 * sum(early) / len(early)


@pytest.mark.long
def test_integers_and_choices_are_what_was_asked_for(tmp_path: Path) -> None:
    arguments = (*MOONS, "--search", "random", "--trials", "12", "--batch", "12")
    folder = search(
        tmp_path,
        *arguments,
        "trainer.batch_size=int(interval(3,5))",
        "optimizer=sgd,adam",
        "+optimizer.weight_decay=0,0.1",
    )
    trials = study(folder).trials
    assert {trial.params["trainer.batch_size"] for trial in trials} == {3, 4, 5}
    assert {trial.params["optimizer"] for trial in trials} == {"sgd", "adam"}
    assert {trial.params["+optimizer.weight_decay"] for trial in trials} == {"0", "0.1"}


def test_equal_trials_are_trained_once(tmp_path: Path) -> None:
    folder = search(
        tmp_path, *MOONS, "--search", "random", "--trials", "9", "--batch", "4", "trainer.clip_norm=1,2"
    )
    trials, by_folder = study(folder).trials, summaries(folder)
    assert (len(trials), len(by_folder)) == (9, 2)
    for trial in trials:
        assert trial.value == by_folder[trial.user_attrs["folder"]]["best"]["value"]


# ------------------------------------------------------------------------------------------------- pruners


@pytest.fixture(scope="module")
def unpruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("unpruned")
    return search(root, *MOONS, "--search", "random", "--trials", "32", "--batch", "16", LR)


@pytest.mark.long
@pytest.mark.parametrize(
    "pruner", ["halving", *(pytest.param(name, marks=pytest.mark.long) for name in ("median", "hyperband"))]
)
def test_pruned_trials_leave_the_batch(pruner: str, unpruned: Path, tmp_path: Path) -> None:
    arguments = ("--search", "random", "--trials", "32", "--batch", "16", LR, "--pruner", pruner)
    folder = search(tmp_path, *MOONS, *arguments)
    whole, by_folder = summaries(unpruned), summaries(folder)
    assert set(by_folder) == set(whole)
    leaving = []
    for before, trial in zip(study(unpruned).trials, study(folder).trials, strict=True):
        name = trial.user_attrs["folder"]
        ours, alone = by_folder[name], whole[name]
        assert trial.params == before.params
        assert trial.value == ours["best"]["value"]
        run = folder / name
        assert (run / "checkpoints/last.safetensors").exists()
        lines = (run / "metrics.jsonl").read_text().splitlines()
        assert json.loads(lines[-1])["epoch"] == len(lines) / 2 == ours["epochs"]
        if trial.state == TrialState.PRUNED:
            assert ours["status"] == "pruned"
            assert ours["epochs"] in rungs(pruner, EPOCHS)
            leaving.append(ours["epochs"])
        else:
            assert (trial.state, ours["status"], ours["epochs"]) == (TrialState.COMPLETE, "done", EPOCHS)
            assert ours["best"]["epoch"] == alone["best"]["epoch"]
            assert ours["best"]["val"] == pytest.approx(alone["best"]["val"], rel=1e-4)
    assert 4 <= len(leaving) <= 24
    if pruner == "halving":  # of each 16, 8 leave after a quarter, and 4 more after half of the epochs
        assert sorted(leaving) == [10] * 16 + [20] * 8


def test_rungs() -> None:
    assert sorted(rungs("median", 1000)) == [100, 200, 300, 400, 500, 600, 700, 800, 900]
    assert sorted(rungs("hyperband", 1000)) == [37, 111, 333]
    assert sorted(rungs("halving", 1000)) == [250, 500]
    assert sorted(rungs("median", 3)) == [1, 2]
    assert sorted(rungs("hyperband", 5)) == [1, 3]
    assert sorted(rungs("halving", 2)) == [1]
    assert [rungs(name, 1) for name in ("none", "median", "hyperband", "halving")] == [frozenset()] * 4


@pytest.mark.long
def test_trials_that_train_alone_are_pruned_as_well(tmp_path: Path) -> None:
    arguments = ("--search", "random", "--trials", "6", "--batch", "3", "--pruner", "hyperband")
    folder = search(tmp_path, *MOONS, *arguments, LR, "trainer.engine=autograd")
    by_status: dict[str, list[int]] = {}
    for summary in summaries(folder).values():
        by_status.setdefault(summary["status"], []).append(summary["epochs"])
    with Ledger(folder / "ledger.sqlite") as ledger:
        assert sorted(e.status for e in ledger.entries()) == sorted(
            s["status"] for s in summaries(folder).values()
        )
    assert set(by_status) == {"done", "pruned"}
    assert set(by_status["done"]) == {EPOCHS}
    assert set(by_status["pruned"]) <= rungs("hyperband", EPOCHS)
    tested = [summary for summary in summaries(folder).values() if "test" in summary["best"]]
    assert len(tested) == 1


@pytest.mark.long
@pytest.mark.parametrize(
    "alone",
    [
        ("trainer.engine=autograd",),
        ("model.norm=layer",),
        ("model.hidden=[2],[3],[4],[5],[6],[7],[8],[9]", "trainer.epochs=40"),
        ("trainer.epochs=int(interval(8,40))",),
    ],
    ids=["autograd", "norm", "widths", "epochs"],
)
def test_halving_compares_trials_that_do_not_train_together(
    alone: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [text.partition("=")[0] for text in alone]
    kept = [text for text in MOONS if text.partition("=")[0] not in keys]
    arguments = ("--search", "random", "--trials", "8", "--batch", "8", "--pruner", "halving")
    folder = search(tmp_path, *kept, *arguments, LR, *alone)
    found = [summary for _, summary in sorted(summaries(folder).items())]
    assert {summary["status"] for summary in found} == {"done", "pruned"}
    assert 2 <= sum(summary["status"] == "pruned" for summary in found) <= 6
    assert "ends no trial" not in capsys.readouterr().out


def test_halving_takes_the_better_half_of_those_who_came_so_far() -> None:
    configs = dict.fromkeys(range(5), config("trainer.epochs=8"))
    trials = {number: optuna.create_study().ask() for number in configs}
    judge = make_judge("halving", trials, configs, higher_is_better=True)
    assert [judge([number], 2, [value], [0.5]) for number, value in enumerate((0.5, 0.4, 0.6))] == [
        [],
        [0],
        [],
    ]
    assert judge([3, 4], 2, [0.45, 0.6], [0.4, 0.5]) == [0]  # of 0.6, 0.6, 0.5, 0.45, 0.4
    assert judge([3, 4], 3, [0.1, 0.2], [0.4, 0.5]) == []  # after this epoch nobody is looked at
    assert judge([0, 4], 4, [0.7, 0.6], [0.1, 0.1]) == [1]


@pytest.mark.long
def test_trials_that_ended_before_a_kill_are_compared_with(tmp_path: Path) -> None:
    """As if the last process had died with the last of those that left."""
    arguments = ("--search", "random", "--trials", "6", "--batch", "6", "--pruner", "halving")
    folder = search(tmp_path, *MOONS, *arguments, LR, "trainer.engine=autograd")
    before = {name: (summary["status"], summary["epochs"]) for name, summary in summaries(folder).items()}
    last = max(name for name, (status, _) in before.items() if status == "pruned")
    shutil.rmtree(folder / last)
    (folder / "search.sqlite").unlink()
    change(folder / "ledger.sqlite", f"UPDATE jobs SET status = 'waiting' WHERE folder = '{last}'")
    assert command(["resume", str(folder)]) == 0
    assert {n: (summary["status"], summary["epochs"]) for n, summary in summaries(folder).items()} == before


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("halving", "4", "1"), "it compares the trials of a batch, which has one"),
        (
            ("median", "8", "4"),
            "it compares trials with 5 or more of earlier batches; choose a smaller --batch",
        ),
        (("hyperband", "1", "4"), "there is one trial"),
        (
            ("halving", "4", "4", "trainer.epochs=1"),
            "trainer.epochs=1 leaves no epoch after which trials could be compared",
        ),
    ],
    ids=["batch", "median", "single", "epochs"],
)
def test_a_pruner_that_cannot_prune_says_so(
    arguments: tuple[str, ...], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pruner, trials, batch, *more = arguments
    small = [text for text in MOONS if not text.startswith("trainer.epochs")]
    options = ("--search", "random", "--trials", trials, "--batch", batch, "--pruner", pruner)
    folder = search(tmp_path, *small, *options, LR, *(more or ["trainer.epochs=4"]))
    assert {summary["status"] for summary in summaries(folder).values()} == {"done"}
    assert capsys.readouterr().out.splitlines()[1] == f"warning: --pruner={pruner} ends no trial: {reason}"


@pytest.mark.long
def test_cmaes_goes_on_from_pruned_trials(tmp_path: Path) -> None:
    arguments = ("--search", "cmaes", "--trials", "24", "--batch", "6", "--pruner", "halving", LR, DECAY)
    states = [trial.state for trial in study(search(tmp_path, *MOONS, *arguments)).trials]
    assert states.count(TrialState.PRUNED) == 16  # of each 6, 3 and then 1


# ------------------------------------------------------------------------------------------------ failures


@pytest.mark.long
def test_a_diverged_trial_has_failed_and_the_search_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rate = "optimizer.lr=tag(log,interval(1e-5,100))"
    arguments = ("--search", "random", "--trials", "12", "--batch", "6", "trainer.epochs=400")
    folder = search(tmp_path, *LINE, *arguments, rate)
    trials = study(folder).trials
    failed = [trial for trial in trials if trial.state == TrialState.FAIL]
    assert failed and len(failed) < 12
    for trial in failed:
        assert "training diverged" in trial.user_attrs["error"]
        assert trial.value is None
        assert summaries(folder)[trial.user_attrs["folder"]]["status"] == "failed"
    assert min(trial.value for trial in trials if trial.value is not None) == study(folder).best_value
    printed = capsys.readouterr().out
    assert re.search(r"^6/12 trials: \d done, \d failed, best val loss so far \d", printed, re.M)


def test_a_search_without_a_survivor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--search", "random", "--trials", "4", "trainer.epochs=400")
    folder = search(tmp_path, *LINE, *arguments, "optimizer.lr=100.0,100", code=1)
    (summary,) = summaries(folder).values()
    assert {trial.user_attrs["error"] for trial in study(folder).trials} == {summary["error"]}
    assert capsys.readouterr().err == (
        f"mlpkit: none of 4 trials came to its end; of the first: {summary['error']}\n"
    )


# ---------------------------------------------------------------------------------------------- going on


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [
        pytest.param("random", "halving", marks=pytest.mark.long),
        pytest.param("tpe", "none", marks=pytest.mark.long),
        pytest.param("cmaes", "none", marks=pytest.mark.long),
    ],
)
def test_a_killed_search_goes_on(sampler: str, pruner: str, tmp_path: Path) -> None:
    arguments = (*MOONS, "trainer.checkpoint_every=5", "--search", sampler, "--trials", "16", "--batch", "4")
    arguments = (*arguments, "--pruner", pruner, LR, DECAY)
    whole = search(tmp_path / "whole", *arguments)
    folder = tmp_path / "killed/search"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlpkit", "train", "-m", *arguments),
            *(f"run.root={tmp_path / 'killed'}", f"run.dir={folder}"),
        ],
        stdout=subprocess.DEVNULL,
    )
    while len(list(folder.glob("00*[89]-*/checkpoints/last.safetensors"))) < 2:
        assert process.poll() is None
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    told = len(study(folder).trials)
    assert 8 <= told < 16
    ended = [name for name, summary in summaries(folder).items() if "epochs" in summary]
    before = {name: (folder / name / "summary.json").stat().st_mtime_ns for name in ended}
    assert command(["resume", str(folder)]) == 0
    tested = [name for name, summary in summaries(folder).items() if "test" in summary["best"]]
    assert len(tested) == 1
    for name in set(ended) - set(tested):
        assert (folder / name / "summary.json").stat().st_mtime_ns == before[name]
    trials, others = study(folder).trials, study(whole).trials
    assert [trial.params for trial in trials[:12]] == [trial.params for trial in others[:12]]
    assert len(trials) == len(others) == 16
    if pruner == "none":
        assert [trial.params for trial in trials] == [trial.params for trial in others]
        values = [[trial.value for trial in of] for of in (trials, others)]
        assert values[0] == pytest.approx(values[1], abs=1e-6)
    assert not list(folder.glob("**/.lock"))


@pytest.mark.long
def test_a_search_does_not_go_on_with_other_configs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine/optimizer/mine.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("name: sgd\nlr: 0.1\nmomentum: 0.5\n")
    arguments = ("--search", "random", "--trials", "2", "--config-dir", str(tmp_path / "mine"))
    folder = search(tmp_path, *MOONS, *arguments, "optimizer=mine", "trainer.clip_norm=1,2")
    mine.write_text("name: sgd\nlr: 0.1\nmomentum: 0.9\n")
    assert command(["resume", str(folder)]) == 2
    assert capsys.readouterr().err == (
        f"mlpkit: {folder}: the configs it was composed from have changed; bring them back, or search anew\n"
    )


def test_damaged_files_of_a_search(found: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = found
    settings = folder / "search.json"
    whole, database = settings.read_text(), (folder / "search.sqlite").read_bytes()
    try:
        settings.write_text(whole.replace('"tpe"', '"guess"'))
        assert command(["resume", str(folder)]) == 65
        assert capsys.readouterr().err == f"mlpkit: {settings}: sampler cannot be read; search anew\n"
        settings.write_text(whole)
        (folder / "search.sqlite").write_bytes(b"no database" * 100)
        assert command(["resume", str(folder)]) == 65
        assert re.fullmatch(
            rf"mlpkit: {folder}/search.sqlite: DatabaseError: .*file is not a database; search anew\n",
            capsys.readouterr().err,
        )
    finally:
        settings.write_text(whole)
        (folder / "search.sqlite").write_bytes(database)


# ------------------------------------------------------------------------------- foreign searches


@pytest.fixture
def copied(found: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A copy of a whole search."""
    shutil.copytree(found[0], tmp_path / "search")
    capsys.readouterr()
    return tmp_path / "search"


def change(path: Path, statement: str) -> None:
    database = sqlite3.connect(path)
    database.execute(statement)
    database.commit()
    database.close()


def best_of(folder: Path) -> Path:
    (name,) = (name for name, summary in summaries(folder).items() if "test" in summary["best"])
    return folder / name


def said(capsys: pytest.CaptureFixture[str], folder: Path, code: int = 65) -> str:
    """Go on with a search that must fail; return its one line."""
    assert command(["resume", str(folder)]) == code, capsys.readouterr()
    line = capsys.readouterr().err
    assert line.startswith("mlpkit: ") and line.endswith("\n") and line[:-1].isprintable(), line
    return line.removeprefix("mlpkit: ").removesuffix("\n")


@pytest.mark.sampled(4)
@pytest.mark.parametrize("value", [None, '"../elsewhere"', '"/tmp/elsewhere"', "5", "[1]"])
def test_a_trial_whose_folder_is_strange(
    value: str | None, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if value is None:
        change(copied / "search.sqlite", "DELETE FROM trial_user_attributes WHERE key = 'folder'")
    else:
        change(
            copied / "search.sqlite",
            f"UPDATE trial_user_attributes SET value_json = '{value}' WHERE key = 'folder'",
        )
    assert said(capsys, copied) == (
        f"{copied}/search.sqlite: trial 0 does not name its run folder; search anew"
    )


def test_a_best_trial_that_the_ledger_does_not_know(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = best_of(copied)
    other = best.rename(best.with_name("0099-abcdef"))
    change(
        copied / "search.sqlite",
        f"UPDATE trial_user_attributes SET value_json = '\"{other.name}\"' WHERE key = 'folder'",
    )
    assert said(capsys, copied) == f"{copied}/search.sqlite: its best trial is not in the ledger; search anew"


def test_a_winner_that_leads_elsewhere(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = best_of(copied)
    summary = json.loads((best / "summary.json").read_text())
    del summary["best"]["test"]
    (best / "summary.json").write_text(json.dumps(summary))
    place = best.rename(copied.parent / "precious")
    best.symlink_to(place)
    before = (place / "summary.json").read_bytes()
    assert said(capsys, copied) == f"{best}: may lead out of the sweep; remove the link"
    best.unlink()
    shutil.copytree(place, best)
    (best / "summary.json").unlink()
    os.link(place / "summary.json", best / "summary.json")
    assert said(capsys, copied) == (
        f"{best}/summary.json: may lead out of the run; put a file of its own there"
    )
    assert (place / "summary.json").read_bytes() == before
    assert not list(copied.glob("**/.lock"))


def test_a_winner_that_another_process_trains(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = best_of(copied)
    with locked(best / ".lock"):
        assert said(capsys, copied, code=75).startswith(f"{best}: in use by process {os.getpid()} on ")


@pytest.mark.parametrize(
    "best", ["[]", '{"val": {"loss": 0.1}, "test": 5}', '{"val": {"loss": 0.1}, "test": {}}']
)
def test_a_winner_whose_summary_is_strange(
    best: str, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = best_of(copied) / "summary.json"
    summary = json.loads(place.read_text())
    place.write_text(json.dumps({**summary, "best": json.loads(best)}))
    assert said(capsys, copied) == f"{place}: does not say how good its best weights are; search anew"


def test_a_winner_that_was_trained_on_other_data(
    copied: Path, trained: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    best = best_of(copied)
    summary = json.loads((best / "summary.json").read_text())
    del summary["best"]["test"]
    (best / "summary.json").write_text(json.dumps(summary))
    place = best / "checkpoints/best.safetensors"
    stored = checkpoint.load(place)
    other = checkpoint.Checkpoint(stored.config, stored.input_schema, stored.state, "0" * 32)
    checkpoint.save(place, other)  # which looks alike, but for its numbers
    assert said(capsys, copied) == f"{place}: was trained on other data than the search's; search anew"
    shutil.copy(trained["line"] / "checkpoints/last.safetensors", place)
    assert said(capsys, copied) == f"{place}: was trained on other data than the search's; search anew"


def test_hostile_words_of_a_study_do_not_reach_the_terminal(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for choice in ("[4]", "[8]"):
        change(
            copied / "search.sqlite",
            "UPDATE trial_params SET distribution_json = "
            f"replace(distribution_json, '{choice}', '\\u001b[31m')",
        )
    assert command(["resume", str(copied)]) == 0, capsys.readouterr()
    winner = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("winner: "))
    assert winner.isprintable() and r"model.hidden=\x1b[31m" in winner


@pytest.mark.long
def test_a_found_search_fetches_no_data_and_draws_little(tmp_path: Path) -> None:
    asked = Search(sampler="random", pruner="none", trials=2, batch=2, overrides=[], folders=[], file=None)
    file, nothing = tmp_path / "search.json", tmp_path / "nothing"
    for overrides, expected in (
        (("dataset=mnist", f"dataset.root={nothing}"), f"dataset=mnist: no files under {nothing}; "),
        (("dataset=moons", "dataset.n=3000000"), f"{file}: its dataset draws 6,000,000 numbers; "),
    ):
        with pytest.raises(DataError) as caught:
            plan_search(
                asked, {}, lambda overrides: config(), [config(*overrides)], Datasets(Trust.FOREIGN, file)
            )
        assert str(caught.value).startswith(expected)
    assert not nothing.exists()
    for each in (Trust.LARGE, Trust.OWN):
        plan_search(asked, {}, lambda overrides: config(), [config(*overrides)], Datasets(each))


def test_a_found_search_does_not_read_the_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was when the user typed it is in search.json."""
    monkeypatch.setenv("RATE", "0.25")
    rate = "optimizer.lr=${oc.env:RATE}"
    folder = search(tmp_path, *MOONS, "--search", "random", "--trials", "1", "trainer.clip_norm=1,2", rate)
    monkeypatch.delenv("RATE")
    assert command(["resume", str(folder)]) == 0
    path = folder / "search.json"
    path.write_text(path.read_text().replace("optimizer.lr=0.25", rate))
    capsys.readouterr()
    assert command(["resume", str(folder)]) == 2
    assert capsys.readouterr().err == (
        "mlpkit: optimizer.lr='${oc.env:RATE}': only ${other.key} can be filled in; write the value\n"
    )


def test_a_found_search_trains_no_large_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (*MOONS, "--search", "random", "--trials", "2", "trainer.clip_norm=1,2")
    folder = search(tmp_path, *arguments)
    for path in folder.glob("0*-*"):
        shutil.rmtree(path)
    (folder / "search.sqlite").unlink()
    capsys.readouterr()
    monkeypatch.setattr(trust, "LARGEST_MODEL", 16)
    assert command(["resume", str(folder)]) == 1
    *lines, last = capsys.readouterr().err.splitlines()
    assert last == (f"mlpkit: {len(lines)} of 2 trials failed; to try them again: mlpkit resume {folder}")
    reason = f"{folder}/ledger.sqlite: its config asks for 17 parameters; --allow-large takes them"
    assert lines and all(line.endswith(f": {reason}") for line in lines)
    with Ledger(folder / "ledger.sqlite") as ledger:
        assert {(entry.status, entry.error) for entry in ledger.entries()} == {(FAILED, reason)}


# ----------------------------------------------------------------------------------------------- refusals


TO_SEARCH = ("--search", "tpe", "--trials", "4")
REFUSED = [
    (("--search", "tpe", LR), "--search=tpe: how many trials there are to be; add --trials 50"),
    (("--search", "guess", "--trials", "4", LR), "--search=guess: must be tpe, random or cmaes"),
    ((*TO_SEARCH, "--pruner", "x", LR), "--pruner=x: must be none, median, hyperband or halving"),
    (("--trials", "4", "seed=0,1"), "--trials=4: only for a search; add --search tpe"),
    (("--pruner", "median", "seed=0,1"), "--pruner=median: only for a search; add --search tpe"),
    (("--batch", "3", "seed=0,1"), "--batch=3: only for a search; add --search tpe"),
    (
        (*TO_SEARCH, "--zip", LR),
        "--zip: not for a search, whose trials are chosen and trained batch by batch",
    ),
    (
        (*TO_SEARCH, "--launcher", "processes", "--pruner", "median", LR),
        "--launcher=processes: trains trials apart, where --pruner=median cannot compare them; leave out one",
    ),
    (TO_SEARCH, "--search: nothing to search; give a key several values, or interval(LOW,HIGH)"),
    (
        ("--search", "cmaes", "--trials", "4", "--batch", "3", LR),
        "--batch=3: a generation of CMA-ES has 4 trials or more",
    ),
    (
        ("--search", "cmaes", "--trials", "4", LR, "model=mlp", "model.hidden=[4],[8]"),
        "--search=cmaes: model.hidden is a choice, and CMA-ES searches numbers; "
        "give interval(LOW,HIGH), or use --search tpe",
    ),
    (
        (*TO_SEARCH, LR, "dataset=moons", "model=mlp", "dataset.val_fraction=0"),
        "dataset.val_fraction=0.0: without validation rows a search would choose by test scores; "
        "set dataset.val_fraction=0.2",
    ),
    (
        (*TO_SEARCH, LR, "dataset=moons", "dataset.val_fraction=0.2,0", "dataset.test_fraction=0"),
        "dataset.val_fraction=0.0: without validation rows a search would choose by train scores; "
        "set dataset.val_fraction=0.2",
    ),
    (
        (*TO_SEARCH, "model=mlp", "dataset=moons,line"),
        "--search: scores of different tasks cannot be compared (moons is binary, line is regression); "
        "search one",
    ),
]


@pytest.mark.sampled(4)
@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_is_not_searched(arguments: tuple[str, ...], message: str, refused: Refused) -> None:
    assert refused("train", "-m", *arguments, code=2) == message


def test_a_search_without_m(refused: Refused) -> None:
    said = refused("train", *TO_SEARCH, LR, code=2)
    assert said == "--search=tpe: a search makes many runs; add -m"


@pytest.mark.long
@pytest.mark.parametrize(("missing", "sampler"), [("optuna", "tpe"), ("cmaes", "cmaes")])
def test_without_optuna(missing: str, sampler: str, tmp_path: Path) -> None:
    script = f"import sys; sys.modules['{missing}'] = None; from mlpkit.cli.main import run; "
    arguments = ("train", "-m", "--search", sampler, "--trials", "4", LR)
    done = subprocess.run(
        [sys.executable, "-c", f"{script} sys.exit(run(sys.argv[1:]))", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "mlpkit: --search: needs optuna; pip install 'mlpkit[search]'\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_optuna_is_loaded_for_a_search_alone(tmp_path: Path) -> None:
    script = "import sys; from mlpkit.cli.main import run; run(sys.argv[1:]); "
    script += "print(sorted({'optuna', 'sqlalchemy', 'cmaes', 'torch'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script, "train", "-m", *MOONS, "seed=0,1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "['torch']", done.stderr


# ------------------------------------------------------------------------------------------ units of losses


@pytest.mark.parametrize(
    ("searched", "keys"),
    [
        (("dataset.standardize=true,false",), "dataset.standardize"),
        (("dataset.standardize=false,true",), "dataset.standardize"),
        (("dataset.standardize=true", "dataset.noise=interval(0,1)"), "dataset.noise"),
        (("dataset=line,sum", "dataset.standardize=true"), "dataset"),
    ],
)
def test_trials_with_losses_in_different_units_are_refused(
    searched: tuple[str, ...], keys: str, refused: Refused
) -> None:
    line = [text for text in LINE if not (text == "dataset=line" and searched[0].startswith("dataset="))]
    said = refused("train", "-m", "--search", "random", "--trials", "2", *line, *searched, code=2)
    assert said == (
        "--search: with dataset.standardize each trial's val loss is in a unit of its own, by which "
        f"trials cannot be ranked; give {keys} one value, or set dataset.standardize=false"
    )


@pytest.mark.long
@pytest.mark.parametrize(
    "searched",
    [
        ("dataset.standardize=true", "optimizer.lr=0.1,0.2"),
        ("dataset.standardize=false", "dataset.noise=1,2"),
    ],
)
def test_trials_with_losses_of_one_unit_are_ranked(searched: tuple[str, ...], tmp_path: Path) -> None:
    folder = search(tmp_path, *("--search", "random", "--trials", "2"), *LINE, "trainer.epochs=2", *searched)
    values = [trial.value for trial in study(folder).trials]
    assert values == [summary["best"]["val"]["loss"] for _, summary in sorted(summaries(folder).items())]


# -------------------------------------------------------------------------------- seeds, and more trials


SEEDED = ("--search", "random", "--trials", "4", "--batch", "3", "--seeds", "3", "seed=7")


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of four trials with three seeds each."""
    return search(tmp_path_factory.mktemp("seeded"), *MOONS, *SEEDED, LR)


@pytest.mark.long
def test_a_trial_is_scored_by_the_mean_of_its_seeds(seeded: Path) -> None:
    trials, by_folder = study(seeded).trials, summaries(seeded)
    assert (len(trials), len(by_folder)) == (4, 12)
    for trial in trials:
        names = trial.user_attrs["folder"].split(",")
        runs = [read_result(seeded / name) for name in names]
        assert [run.settings["seed"] for run in runs] == [7, 8, 9]
        assert {run.settings["optimizer.lr"] for run in runs} == {trial.params["optimizer.lr"]}
        values = [by_folder[name]["best"]["value"] for name in names]
        assert trial.value == pytest.approx(sum(values) / 3, rel=1e-12)
    best = max(trials, key=lambda trial: trial.value or 0)
    tested = [name for name, summary in by_folder.items() if "test" in summary["best"]]
    assert len(tested) == 3 and study(seeded).best_value == best.value
    assert any(sorted(tested) == sorted(trial.user_attrs["folder"].split(",")) for trial in trials)


@pytest.mark.long
def test_more_trials_at_resume(seeded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are those that the search would have had, had it been begun with as many."""
    folder = tmp_path / "search"
    shutil.copytree(seeded, folder)
    before = essence(study(folder).trials)
    assert command(["resume", str(folder), "--trials", "7"]) == 0
    assert "search of 7 trials (4 done before)" in capsys.readouterr().out
    after = essence(study(folder).trials)
    assert (len(after), after[:4]) == (7, before)
    whole = (*MOONS, *SEEDED[:2], "--trials", "7", *SEEDED[4:], LR)
    assert essence(study(search(tmp_path / "whole", *whole)).trials) == after
    capsys.readouterr()
    assert command(["resume", str(folder), "--trials", "6"]) == 2
    assert capsys.readouterr().err == (
        "mlpkit: --trials=6: the search has 7 already; give more, up to 10000\n"
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            (*TO_SEARCH, "seed=range(4)"),
            "seed: a search would choose the luckiest seed; give it one value and add --seeds 5, which "
            "scores a trial by its mean over seeds",
        ),
        (
            (*TO_SEARCH, "--seeds", "2", "--pruner", "median", LR),
            "--pruner=median: ends single runs, not trials of several --seeds; leave out one",
        ),
        (("--seeds", "2", LR), "--seeds=2: only for a search; in a sweep write 'seed=range(2)'"),
    ],
)
def test_seeds_that_are_refused(
    arguments: tuple[str, ...],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(["train", "-m", *MOONS, *arguments]) == 2
    assert capsys.readouterr().err == f"mlpkit: {problem}\n"
    assert not list(tmp_path.iterdir())
