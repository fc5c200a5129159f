"""Runs side by side: what is averaged, tested, shown, drawn and said of those that have no score."""

import copy
import csv
import json
import os
import pty
import random
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet
from rich.console import Console
from running import mlpkit, train
from scipy import special, stats

from mlpkit.analysis.compare import compare, compare_alike
from mlpkit.analysis.leaderboard import print_leaderboard
from mlpkit.cli.main import run as command
from mlpkit.errors import ConfigError, DataError, NonFiniteError
from mlpkit.folders.digest import encode_parts
from mlpkit.folders.found_runs import find_runs
from mlpkit.folders.header import parts_of
from mlpkit.folders.results import Best, RunResult, read_result
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.shared_settings import SharedSettings
from mlpkit.system.paths import common_parent
from mlpkit.system.tensor_file import TensorFile

SWEEP = "outputs/moons-mlp/sweep-20261121-101500"
SMALL = (
    "dataset=moons", "model=mlp", "model.hidden=[4]", "trainer.epochs=5", "run.plots=false",
    "run.tensorboard=false",
)  # fmt: skip


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep of two learning rates and five seeds, and a run that has diverged."""
    root = tmp_path_factory.mktemp("real")
    for rate in ("0.01", "0.3"):
        for seed in range(5):
            folder = root / SWEEP / f"{rate}-{seed}"
            train(root / "outputs", *SMALL, f"run.dir={folder}", f"optimizer.lr={rate}", f"seed={seed}")
    with pytest.raises(NonFiniteError):
        wild = ("optimizer.lr=1e30", "seed=0", f"run.dir={root / SWEEP / 'wild'}")
        train(root / "outputs", *SMALL, *wild)
    return root


@pytest.fixture
def sweep(real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, to be damaged, in the working directory."""
    shutil.copytree(real / "outputs", tmp_path / "outputs")
    monkeypatch.chdir(tmp_path)
    return Path(SWEEP)


@pytest.fixture
def forge(real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a run with any settings and scores, as mlpkit would have."""
    monkeypatch.chdir(tmp_path)
    source = RunFolder(real / SWEEP / "0.01-0")
    with TensorFile(source.last) as file:
        parts = parts_of(file.metadata)
        tensors = {name: file.read(name) for name in file.entries}
    kept = json.loads(source.summary.read_text())
    lines = source.metrics.read_text()

    def write(path: str, scores: dict[str, float] | None = None, **settings: Any) -> Path:
        folder = RunFolder(Path(path))
        folder.last.parent.mkdir(parents=True)
        config = copy.deepcopy(parts["config"])
        for key, value in settings.items():
            section, _, name = key.replace("__", ".").rpartition(".")
            (config[section] if section else config)[name] = value
        folder.last.write_bytes(encode_parts({**parts, "config": config}, tensors))
        folder.config.write_text(source.config.read_text())
        folder.metrics.write_text(lines)
        summary: dict[str, Any] = {"status": "failed", "error": "training diverged"}
        if scores is not None:
            best = {**kept["best"], "value": scores["val.accuracy"], "val": {}, "test": {}}
            for name, value in scores.items():
                split, _, score = name.partition(".")
                best[split][score] = value
            summary = {**kept, "best": best, "train_seconds": 0.25}
        folder.summary.write_text(json.dumps(summary))
        return folder.path

    return write


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    """Run a command line in this process; return what it prints and says."""
    found = command(list(arguments))
    printed, errors = capsys.readouterr()
    assert found == code, errors
    return printed, errors


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def values(folder: Path, name: str) -> list[float]:
    """Return the monitored scores of the runs of a learning rate."""
    runs = sorted(folder.glob(f"{name}-*"))
    return [json.loads((run / "summary.json").read_text())["best"]["value"] for run in runs]


def interval_of_logit(scores: Sequence[float]) -> tuple[float, float]:
    """Return the t interval of the logit of the mean, by the delta method, as a probability."""
    mean = np.mean(scores)
    error = stats.sem(scores) / (mean * (1 - mean))
    low, high = stats.t.interval(0.95, len(scores) - 1, loc=special.logit(mean), scale=error)
    return special.expit(low), special.expit(high)


def test_a_sweep_is_ranked_as_scipy_would(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed, errors = said(capsys, "compare", str(sweep), "--output", "board.jsonl")
    assert errors == ""
    lines = rows(Path("board.jsonl"))
    assert [line["optimizer.lr"] for line in lines] == [0.3, 0.01, 1e30]
    for line in lines[:2]:
        scores = values(sweep, str(line["optimizer.lr"]))
        low, high = interval_of_logit(scores)
        assert line["val.accuracy"] == pytest.approx(np.mean(scores), rel=1e-12)
        assert (line["low"], line["high"]) == pytest.approx((low, high), rel=1e-10)
        assert (line["runs"], line["missing"]) == (5, 0)
    test = stats.ttest_rel(values(sweep, "0.3"), values(sweep, "0.01"))
    assert lines[1]["p_value"] == pytest.approx(test.pvalue, rel=1e-10)
    ends = lines[1]["worse_by_low"], lines[1]["worse_by_high"]
    assert ends == pytest.approx(tuple(test.confidence_interval()), rel=1e-10)
    assert lines[1]["differs"] == (test.pvalue <= 0.05)
    assert lines[0]["p_value"] is lines[0]["differs"] is None
    assert lines[2] == {
        "rank": None, "optimizer.lr": 1e30, "val.accuracy": None, "low": None, "high": None, "runs": 0,
        "missing": 1, "worse_by_low": None, "worse_by_high": None, "p_value": None, "differs": None,
        "seconds": None,
    }  # fmt: skip
    assert printed.splitlines()[0] == (
        "11 runs, 3 settings: val accuracy at the best epoch (higher is better)"
    )
    assert printed.splitlines()[-3] == f"failed (1): {sweep}/wild"
    best = max(range(5), key=values(sweep, "0.3").__getitem__)
    assert printed.splitlines()[-2] == f"best run of rank 1: {sweep}/0.3-{best}"
    assert printed.splitlines()[-1] == "leaderboard: board.jsonl"


def scored(**seeds: float) -> dict[str, float]:
    return {f"val.{name}": value for name, value in seeds.items()}


ADAM, ADAMW = (0.95, 0.94, 0.96, 0.95, 0.96), (0.94, 0.95, 0.95, 0.94, 0.96)
SLOW = (0.81, 0.80, 0.81, 0.80, 0.80)


@pytest.fixture
def grid(forge: Callable[..., Path]) -> Path:
    """Three learning rates, two optimizers, five seeds; each fault is there once."""
    table = {
        (0.1, "adam"): ADAM,
        (0.1, "adamw"): ADAMW,
        (0.01, "adam"): SLOW,
        (0.01, "adamw"): (0.80, None, None),
        (0.001, "adam"): (None, None, None),
    }
    for (rate, name), scores in table.items():
        for seed, score in enumerate(scores):
            given = (
                None
                if score is None
                else {"val.accuracy": score, "val.loss": 1 - score, "test.accuracy": 0.5}
            )
            forge(f"grid/{rate}-{name}-{seed}", given, optimizer__lr=rate, optimizer__name=name, seed=seed)
    (Path("grid") / "0.001-adam-2" / "summary.json").unlink()
    return Path("grid")


TABLE = """\
21 runs, 5 settings: val accuracy at the best epoch (higher is better)

rank  optimizer     lr  val accuracy  95 % interval  seeds          worse by  seconds
1          adam    0.1        0.9520  0.9405–0.9614      5                       0.25
2         adamw    0.1        0.9480  0.9366–0.9575      5  -0.0154–0.0234 =     0.25
3          adam   0.01        0.8040  0.7971–0.8107      5     0.1298–0.1662     0.25
4         adamw   0.01        0.8000                   1/3                 ?     0.25
–          adam  0.001                                 0/3

worse by: than rank 1; all of these intervals are right with 95 % probability
= not shown to differ from rank 1: the interval holds 0
? not tested: needs 5 seeds in common with rank 1, which do not all differ by the same
1/3: 1 of 3 have a score; the mean is over these
failed (4): grid/0.001-adam-0, grid/0.001-adam-1, grid/0.01-adamw-1, grid/0.01-adamw-2
unfinished (1): grid/0.001-adam-2
best run of rank 1: grid/0.1-adam-2
"""


def test_the_whole_table(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed, errors = said(capsys, "compare", "grid")
    assert [line.rstrip() for line in printed.splitlines()] == TABLE.splitlines()
    assert errors == ""


def test_top_and_files(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed, _ = said(capsys, "compare", "grid", "--top", "2", "--output", "board.md")
    assert "3 more settings: mlpkit compare without --top shows all" in printed.splitlines()
    assert (
        Path("board.md").read_text()
        == """\
21 runs, 5 settings: val accuracy at the best epoch (higher is better)

| rank | optimizer | lr | val accuracy | 95 % interval | seeds | worse by | seconds |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| 1 | adam | 0.1 | 0.9520 | 0.9405–0.9614 | 5 |  | 0.25 |
| 2 | adamw | 0.1 | 0.9480 | 0.9366–0.9575 | 5 | -0.0154–0.0234 = | 0.25 |

- worse by: than rank 1; all of these intervals are right with 95 % probability
- = not shown to differ from rank 1: the interval holds 0
- 3 more settings: mlpkit compare without --top shows all
- failed (4): grid/0.001-adam-0, grid/0.001-adam-1, grid/0.01-adamw-1, grid/0.01-adamw-2
- unfinished (1): grid/0.001-adam-2
"""
    )
    said(capsys, "compare", "grid", "--output", "board.csv")
    with Path("board.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    # Of four settings with a score there are six pairs.
    for line, other in zip(lines[1:3], (ADAMW, SLOW), strict=True):
        test = stats.ttest_rel(ADAM, other)
        low, high = test.confidence_interval(1 - 0.05 / 6)
        assert float(line["p_value"]) == pytest.approx(min(1, 6 * test.pvalue), rel=1e-10)
        assert float(line["worse_by_low"]) == pytest.approx(low, rel=1e-9)
        assert float(line["worse_by_high"]) == pytest.approx(high, rel=1e-9)
    assert [line["differs"] for line in lines] == ["", "false", "true", "", ""]
    assert [line["optimizer.name"] for line in lines] == ["adam", "adamw", "adam", "adamw", "adam"]
    assert float(lines[0]["val.accuracy"]) == pytest.approx(0.952, rel=1e-15)
    assert list(lines[0]) == [
        "rank", "optimizer.name", "optimizer.lr", "val.accuracy", "low", "high", "runs", "missing",
        "worse_by_low", "worse_by_high", "p_value", "differs", "seconds",
    ]  # fmt: skip
    said(capsys, "compare", "grid", "--output", "board.parquet")
    table = parquet.read_table("board.parquet").to_pylist()
    assert [row["differs"] for row in table] == [None, False, True, None, None]
    assert table[0]["val.accuracy"] == float(lines[0]["val.accuracy"])
    said(capsys, "compare", "grid", "--top", "1", "--output", "board.tex")
    tex = Path("board.tex").read_text()
    assert tex.startswith("% 21 runs, 5 settings: val accuracy")
    assert r"1 & adam & 0.1 & 0.9520 & 0.9405--0.9614 & 5 & 0.25 \\" in tex


def test_by_averages_over_everything_else(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed, _ = said(capsys, "compare", "grid", "--by", "optimizer", "--output", "board.jsonl")
    adamw, adam = rows(Path("board.jsonl"))
    assert (adamw["runs"], adamw["missing"], adam["runs"], adam["missing"]) == (6, 2, 10, 3)
    assert adamw["val.accuracy"] == pytest.approx(np.mean([*ADAMW, 0.80]))
    # Runs with equal lr and seed belong together; four of adam's have no partner.
    test = stats.ttest_rel([*ADAMW, 0.80], [*ADAM, SLOW[0]])
    assert adam["p_value"] == pytest.approx(test.pvalue, rel=1e-10)
    assert adam["worse_by_low"] == pytest.approx(test.confidence_interval().low, rel=1e-10)
    assert "rank  optimizer  val accuracy  95 % interval   runs          worse by  seconds" in printed


def test_another_metric_has_its_own_direction(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed, _ = said(capsys, "compare", "grid", "--metric", "loss", "--top", "1", "--output", "board.jsonl")
    assert printed.startswith("21 runs, 5 settings: val loss at the best epoch (lower is better)\n")
    (line,) = rows(Path("board.jsonl"))
    assert (line["optimizer.lr"], line["optimizer.name"]) == (0.1, "adam")
    assert line["val.loss"] == pytest.approx(0.048)
    printed, _ = said(capsys, "compare", "grid", "--metric", "test.accuracy")
    assert "test accuracy at the best epoch (higher is better)" in printed
    # All pairs are equal: nothing tells them apart.
    assert [line.split()[-2:] for line in printed.splitlines()[4:6]] == [["=", "0.25"]] * 2


def test_test_scores_are_shown_only_where_asked_for(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed, _ = said(capsys, "compare", "grid", "--output", "board.csv")
    assert "test" not in printed.replace("paired t-test", "").replace("not tested", "")
    assert "test" not in Path("board.csv").read_text()


def test_a_repeated_run_counts_once(
    grid: Path, forge: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    again = {"val.accuracy": 0.5, "val.loss": 0.5}
    forge("later/run", again, optimizer__lr=0.1, optimizer__name="adam", seed=0)
    os.utime("later/run/config.yaml", (2e9, 2e9))
    _, errors = said(capsys, "compare", "grid", "later", "later/run", "--output", "board.jsonl")
    assert errors == "left out 1 run with settings and seed of a newer one\n"
    line = next(
        line
        for line in rows(Path("board.jsonl"))
        if (line["optimizer.lr"], line["optimizer.name"]) == (0.1, "adam")
    )
    assert (line["runs"], line["val.accuracy"]) == (5, pytest.approx((0.5 + sum(ADAM[1:])) / 5))


def test_the_newest_group_or_sweep_is_taken(
    sweep: Path, forge: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    forge("outputs/other/run", {"val.accuracy": 0.5})
    os.utime("outputs/other/run/config.yaml", (2e9, 2e9))
    _, errors = said(capsys, "compare")
    assert errors == "newest group of runs: outputs/other\n"
    os.utime(sweep / "0.3-1" / "config.yaml", (2.1e9, 2.1e9))
    _, errors = said(capsys, "compare")
    assert errors == f"newest sweep: {sweep}\n"


def replace_best(folder: RunFolder, value: str) -> None:
    text = folder.summary.read_text()
    folder.summary.write_text(re.sub(r'"value": [\d.]+', f'"value": {value}', text))


KINDS: dict[str, tuple[Callable[[RunFolder], object], str]] = {
    "text": (lambda f: f.summary.write_text("{"), "summary.json: not a JSON object; mend or remove the file"),
    "deep": (
        lambda f: f.summary.write_text('{"best":' * 60 + "1" + "}" * 60),
        "summary.json: not a JSON object; mend or remove the file",
    ),
    "large": (
        lambda f: f.summary.write_bytes(b" " * (1 << 20) + b"{}"),
        "summary.json: larger than 1048576 bytes; not a file of mlpkit",
    ),
    "a pipe": (
        lambda f: (f.summary.unlink(), os.mkfifo(f.summary)),
        "summary.json: not a regular file",
    ),
    "a link": (
        lambda f: (f.summary.unlink(), f.summary.symlink_to("/etc/passwd")),
        "summary.json: a link, which may lead out of the run; put the file itself there",
    ),
    "scores of text": (
        lambda f: f.summary.write_text('{"best": {"split": "val", "score": "\\u001b[31m"}}'),
        "summary.json: its best scores cannot be read; mend or remove the file",
    ),
    "endless scores": (
        lambda f: replace_best(f, "1e999"),
        "summary.json: its best scores cannot be read; mend or remove the file",
    ),
    "long numbers": (
        lambda f: replace_best(f, "1" + "0" * 4000),
        "summary.json: its best scores cannot be read; mend or remove the file",
    ),
    "no config": (
        lambda f: (shutil.rmtree(f.last.parent), f.config.write_text(""), f.environment.touch()),
        "config.yaml: empty; write a mapping of keys, such as `seed: 0`",
    ),
    "a wrong config": (
        lambda f: (shutil.rmtree(f.last.parent), f.config.write_text("format: 3\nseed: -1")),
        "config.yaml: seed=-1: must be an integer ≥ 0 and < 9223372036854775808 (seed of weights, "
        "data order, dropout and augmentation; default 0)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_run_is_named_and_left_out(
    kind: str, sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, problem = KINDS[kind]
    damage(RunFolder(sweep / "0.3-2"))
    _, errors = said(capsys, "compare", str(sweep), "--output", "board.jsonl")
    assert errors == f"left out: {sweep}/0.3-2/{problem}\n"
    assert {line["optimizer.lr"]: line["runs"] for line in rows(Path("board.jsonl"))}[0.3] == 4
    _, errors = said(capsys, "compare", f"{sweep}/0.3-2", code=65)
    assert errors.splitlines()[1:] == ["mlpkit: compare: every run is damaged; name others"]


@pytest.mark.parametrize("top", ["outputs", "."])
def test_runs_with_the_same_damage_are_one_line(
    top: str, sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("0.3-1", "0.3-2"):
        damage, problem = KINDS["no config"]
        damage(RunFolder(sweep / name))
    _, errors = said(capsys, "compare", top)
    assert errors == f"left out: 2 runs: {problem}\n"


def test_without_checkpoints_the_yaml_file_serves(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, _ = said(capsys, "compare", str(sweep))
    for folder in sweep.iterdir():
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    after, errors = said(capsys, "compare", str(sweep))
    assert (after, errors) == (before, "")


def test_nothing_of_a_path_reaches_the_terminal_raw(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sweep / "wild").rename(sweep / "\x1b[31mred\nline")
    (sweep / "0.3-0").rename(sweep / "bad\x07")
    (sweep / "bad\x07" / "summary.json").write_text("")
    (sweep / "0.3-1" / "summary.json").write_text('{"status": "\\u001b[31m\\n"}')
    printed, errors = said(capsys, "compare", str(sweep))
    assert all(line.isprintable() for line in (*printed.splitlines(), *errors.splitlines()))
    assert rf"failed (1): {sweep}/\x1b[31mred\nline" in printed.splitlines()
    assert rf"\x1b[31m\n (1): {sweep}/0.3-1" in printed.splitlines()
    assert errors.startswith(rf"left out: {sweep}/bad\x07/summary.json: ")


def test_links_below_a_folder_are_not_followed(sweep: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "elsewhere").symlink_to(sweep.absolute())
    with pytest.raises(DataError, match=r"mine: holds no run \(a folder with a config.yaml\)"):
        find_runs([tmp_path / "mine"], print)
    assert len(find_runs([tmp_path / "mine" / "elsewhere"], print)) == 11


ERRORS = {
    ("nowhere",): (65, "nowhere: no such folder; name run folders, or folders of runs such as a sweep"),
    ("file",): (65, "file: not a folder; name run folders, or folders of runs such as a sweep"),
    ("empty",): (65, "empty: holds no run (a folder with a config.yaml); name another folder"),
    (): (65, "no run under outputs/; start some with `mlpkit train -m`, or name their folder"),
    ("grid", "--by", "lrr"): (2, "--by=lrr: no run has this key; did you mean lr?"),
    ("grid", "--by", "name"): (
        2,
        "--by=name: may be any of dataset.name, model.name, loss.name, optimizer.name, scheduler.name, "
        "init.name; name one of them",
    ),
    ("grid", "--metric", "test.acc\x1b"): (
        2,
        r"--metric=test.acc\x1b: no run has it; there is train.loss, train.accuracy, val.accuracy, val.loss, "
        "test.accuracy; did you mean test.accuracy?",
    ),
    ("grid", "--output", "x.txt"): (
        2,
        "--output=x.txt: the ending must be one of .csv, .jsonl, .md, .tex, .parquet",
    ),
    ("grid", "--output", "no/x.md"): (2, "--output=no/x.md: its folder does not exist; make it first"),
    ("grid/0.001-adam-0", "grid/0.001-adam-2"): (
        65,
        "compare: none of 2 runs has a score (1 failed, 1 unfinished); see their train.log",
    ),
}


@pytest.mark.parametrize("arguments", ERRORS)
def test_errors_are_one_line(
    arguments: tuple[str, ...], grid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("")
    Path("empty").mkdir()
    code, problem = ERRORS[arguments]
    assert said(capsys, "compare", *arguments, code=code) == ("", f"mlpkit: {problem}\n")


def result(
    score: float | None, name: str = "accuracy", split: str = "val", task: str = "binary", **settings: Any
) -> RunResult:
    best = None
    if score is not None:
        names = ((split, name), (split, "loss"))
        best = Best(split, name, name != "loss", score, names=names, values=(score, score))
    plain = {key.replace("__", "."): value for key, value in settings.items()}
    return RunResult("nowhere", SharedSettings(plain, {}), "done" if best else "failed", task, best, 1.0)


def test_runs_that_cannot_be_compared() -> None:
    binary, regression = result(0.9, seed=0), result(0.1, "loss", task="regression", seed=0)
    with pytest.raises(ConfigError) as error:
        compare([binary, binary, regression])
    assert str(error.value) == (
        "compare: runs of different tasks (binary: 2 runs, regression: 1 run); name runs of one task"
    )
    other = result(0.9, split="train", seed=1)
    with pytest.raises(ConfigError) as error:
        compare([binary, other])
    assert str(error.value) == (
        "compare: the runs monitored different scores (val.accuracy: 1 run, train.accuracy: 1 run); "
        "choose one that all have, such as --metric train.accuracy"
    )
    found = compare([binary, other], metric="train.accuracy")
    assert [setting.scores for setting in found.settings] == [(0.9,)]
    assert found.unscored == (binary,)


def test_unlike_runs_are_in_tables_of_their_own() -> None:
    """By data, task and monitored score; runs without a score are with those of their data."""
    moons = [
        result(0.9 + seed / 100, dataset__name="moons", lr=lr, seed=seed) for lr in (1, 2) for seed in (0, 1)
    ]
    line = [result(5.0, "loss", task="regression", dataset__name="line", lr=1, seed=seed) for seed in (0, 1)]
    failed = result(None, dataset__name="moons", lr=3, seed=0)
    other = result(0.9, "roc_auc", dataset__name="moons", lr=1, seed=0)
    found = compare_alike([*moons, failed, *line, other])
    assert [of.title for of in found] == ["moons val.accuracy", "line val.loss", "moons val.roc_auc"]
    assert [len(of.settings) for of in found] == [3, 1, 1]
    assert found[0].unscored == (failed,)
    assert [of.title for of in compare_alike(moons)] == [""]
    digits = [
        run._replace(settings=SharedSettings({**run.settings, "dataset.name": "digits"}, {})) for run in moons
    ]
    (together,) = compare_alike([*moons, *digits], by=["dataset.name"])
    assert together.columns == ("dataset.name",) and len(together.settings) == 2
    assert [of.title for of in compare_alike([*moons, *digits])] == ["moons", "digits"]
    with pytest.raises(DataError):
        compare_alike([failed])


def test_fewer_than_five_common_runs_are_not_tested() -> None:
    scores = {1: (0.9, 0.91, 0.92, 0.93, 0.94), 2: (0.1, 0.11, 0.13, 0.12, 0.1)}

    def found(first: int, shift: int = 0) -> tuple[float, float] | None:
        runs = [
            result(score, lr=lr, seed=seed + shift * (lr - 1))
            for lr, of in scores.items()
            for seed, score in enumerate(of[:first])
        ]
        return compare(runs).settings[1].worse_by

    assert found(4) is None
    assert found(5) == pytest.approx(tuple(stats.ttest_rel(*scores.values()).confidence_interval()))
    assert found(5, shift=1) is None, "four seeds in common"
    welch = stats.ttest_ind(*scores.values(), equal_var=False).confidence_interval()
    assert found(5, shift=5) == pytest.approx(tuple(welch)), "no seed in common"


def test_folds_count_once_and_share_training_rows() -> None:
    """Seeds of a fold are averaged; the variance is that of Nadeau and Bengio (2003)."""
    scores = np.random.default_rng(0).normal(size=(2, 3, 5)) + np.array([0.0, -9.0])[:, None, None]
    runs = [
        result(
            *(float(scores[lr, seed, fold]), "r2"),
            **{"lr": lr, "seed": seed, "dataset__fold": fold, "dataset__folds": 5},
        )
        for lr, seed, fold in np.ndindex(scores.shape)
    ]
    best, other = compare(runs).settings
    first, second = scores.mean(1)
    reach = stats.t.ppf(0.975, 4) * np.sqrt(1 / 5 + 1 / 4)
    assert best.interval is not None  # of the distance to 1, on a logarithmic scale
    below = 1 - first.mean()
    assert best.interval[1] == pytest.approx(1 - below / np.exp(reach * first.std(ddof=1) / below))
    worse, half = (first - second).mean(), reach * (first - second).std(ddof=1)
    assert other.worse_by == pytest.approx((worse - half, worse + half))
    three = compare([run for run in runs if run.settings["dataset.fold"] < 3]).settings
    assert three[1].worse_by is None, "9 runs in common, but 3 folds"
    one = [run for run in runs if run.settings["dataset.fold"] == 0]
    alone = [run._replace(settings=SharedSettings({**run.settings, "dataset.fold": None}, {})) for run in one]
    assert compare(one).settings[0].interval == compare(alone).settings[0].interval, (
        "its seeds are the repeats"
    )


def test_intervals_stay_within_the_range_of_the_score() -> None:
    scores = (1.0, 1.0, 0.9)
    runs = [result(score, lr=1, seed=seed) for seed, score in enumerate(scores)]
    _, high = stats.t.interval(0.95, 2, loc=np.mean([1, 1, 0.9]), scale=stats.sem([1, 1, 0.9]))
    assert high > 1
    assert compare(runs).settings[0].interval == pytest.approx(interval_of_logit(scores))
    losses = [
        result(score, "loss", task="regression", lr=1, seed=seed) for seed, score in enumerate((0.1, 3.0))
    ]
    reach = 1.45 * stats.t.ppf(0.975, 1) / 1.55  # of the logarithm
    assert compare(losses).settings[0].interval == pytest.approx((1.55 / np.exp(reach), 1.55 * np.exp(reach)))


def test_each_optimizer_at_its_best_learning_rate(
    forge: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Validation chooses the learning rate, test rows judge; what one optimizer alone has breaks no pair."""
    table = {
        ("adam", 0.1): (0.9, 0.5),
        ("adam", 0.01): (0.8, 0.99),
        ("adamw", 0.1): (0.7, 0.8),
        ("adamw", 1.0): (0.85, 0.6),
    }
    for (name, lr), (val, test) in table.items():
        for seed in range(5):
            scores = {
                "val.accuracy": val + seed / 1000,
                "test.accuracy": test + (seed + (name == "adamw")) ** 2 / 1000,
                "val.loss": 0.1,
            }
            forge(f"tuned/{name}-{lr}-{seed}", scores, optimizer__lr=lr, optimizer__name=name, seed=seed)
    printed, errors = said(
        capsys, "compare", "tuned", "--by", "optimizer.name", "--at-best", "lr", "--output", "board.jsonl"
    )
    assert errors == "tried values of lr: adam: 2, adamw: 2\n"
    assert printed.startswith("10 runs, 2 settings: test accuracy at the best epoch")
    adamw, adam = rows(Path("board.jsonl"))
    assert (adamw["optimizer.name"], adamw["test.accuracy"]) == ("adamw", pytest.approx(0.611))
    test = [[0.5 + seed**2 / 1000 for seed in range(5)], [0.6 + (seed + 1) ** 2 / 1000 for seed in range(5)]]
    low, high = stats.ttest_rel(test[1], test[0]).confidence_interval()
    assert (adam["worse_by_low"], adam["worse_by_high"]) == pytest.approx((low, high), rel=1e-9)
    said(capsys, "compare", "tuned", "--at-best", "lr", code=2)


def test_a_row_for_each_run(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed, _ = said(capsys, "compare", "grid", "--runs", "--output", "runs.csv")
    with Path("runs.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 21 and printed.splitlines()[-1] == "runs: runs.csv"
    by_path = {line["run"]: line for line in lines}
    line = by_path["grid/0.1-adam-0"]
    assert (line["optimizer.lr"], line["seed"], float(line["val.accuracy"])) == ("0.1", "0", 0.95)
    assert float(line["test.accuracy"]) == 0.5
    assert by_path["grid/0.001-adam-2"]["status"] == "unfinished"
    for name in ("runs.jsonl", "runs.parquet", "runs.md", "runs.tex"):
        said(capsys, "compare", "grid", "--runs", "--output", name)
        assert Path(name).stat().st_size > 500


def test_columns_distinguish_settings_and_nothing_more() -> None:
    """What only one optimizer has, and with one value, says no more than the optimizer's name."""
    adam = [result(0.9, optimizer__name="adam", optimizer__eps=1e-8, seed=seed) for seed in range(3)]
    sgd = [result(0.8, optimizer__name="sgd", optimizer__momentum=0.0, seed=seed) for seed in range(3)]
    assert compare([*adam, *sgd]).columns == ("optimizer.name",)
    fast = [result(0.7, optimizer__name="sgd", optimizer__momentum=0.9, seed=seed) for seed in range(3)]
    found = compare([*adam, *sgd, *fast])
    assert found.columns == ("optimizer.name", "optimizer.momentum")
    assert [dict(setting.options) for setting in found.settings] == [
        {"optimizer.name": "adam"},
        {"optimizer.name": "sgd", "optimizer.momentum": 0.0},
        {"optimizer.name": "sgd", "optimizer.momentum": 0.9},
    ]
    own = [result(0.9, optimizer__name="lion", optimizer__lr=1e-4, seed=seed) for seed in range(3)]
    others = [result(0.9, optimizer__name="adam", optimizer__lr=1e-3, seed=seed) for seed in range(3)]
    assert compare([*own, *others]).columns == ("optimizer.name",)
    slow = [result(0.9, optimizer__name="adam", optimizer__lr=1e-4, seed=seed) for seed in range(3)]
    assert compare([*own, *others, *slow]).columns == ("optimizer.name", "optimizer.lr")
    # A section in place of null is told apart by what it holds.
    plain = result(0.9, dataset__augment=None, seed=0)
    turned = result(0.8, dataset__augment__rotation=5, seed=0)
    assert len(compare([plain, turned]).columns) == 1


def test_a_narrow_table_breaks_no_word() -> None:
    runs = [
        result(0.9, optimizer__name=name, scheduler__name=scheduler, dataset__n=n, seed=seed)
        for name in ("rmsprop", "muon")
        for scheduler in ("cosine", "none")
        for n in (10, 20)
        for seed in range(3)
    ]
    found, titles = compare(runs), dict[int, str]()
    for width in (100, 60):
        printed = StringIO()
        print_leaderboard(Console(width=width, file=printed), found, found.settings, "seeds")
        lines = printed.getvalue().splitlines()
        titles[width] = next(line for line in lines if line.startswith("rank"))
    words = {word for line in lines for word in line.split()}
    assert {"optimizer=rmsprop", "optimizer=muon", "scheduler=cosine", "n=20"} <= words
    assert "seconds" in titles[100] and "seconds" not in titles[60]
    assert titles[60].split()[:2] == ["rank", "settings"]


def test_pairs_have_equal_other_settings() -> None:
    """By optimizer, what one optimizer alone has is no other setting; a seed always is."""
    scores = {"adam": (0.9, 0.8, 0.7, 0.8, 0.7), "sgd": (0.8, 0.75, 0.66, 0.7, 0.69)}
    options = {"adam": {"optimizer__eps": 1e-8}, "sgd": {"optimizer__momentum": 0.9}}
    runs = [
        result(score, optimizer__name=name, seed=seed, **options[name])
        for name in scores
        for seed, score in enumerate(scores[name])
    ]
    (_, sgd) = compare(runs, by=["optimizer"]).settings
    assert sgd.p_value == pytest.approx(stats.ttest_rel(scores["adam"], scores["sgd"]).pvalue, rel=1e-10)
    apart = [
        result(score, optimizer__name="sgd", optimizer__momentum=0.9, seed=7 + i)
        for i, score in enumerate((0.1, 0.2, 0.3, 0.2, 0.1))
    ]
    (_, _, *rest) = compare([*runs, *apart], by=["optimizer", "momentum", "seed"]).settings
    assert all(setting.p_value is None for setting in rest), "no setting shares a pair with the best"


def test_differences_without_spread() -> None:
    """Accuracies that differ by one example each allow no test: that is neither a tie nor a proof."""
    for count in (5, 6):
        runs = [result(0.9 - step, lr=step, seed=seed) for step in (0.0, 0.01) for seed in range(count)]
        assert [setting.differs for setting in compare(runs).settings] == [None, None]
        assert compare(runs).settings[0].interval is None
    runs = [result(0.9, lr=rate, seed=seed) for rate in (1, 2) for seed in range(5)]
    assert [setting.p_value for setting in compare(runs).settings] == [None, 1.0]
    assert compare(runs).settings[1].worse_by is None, "nobody knows how much other seeds would differ"


def test_lower_losses_rank_first_and_order_of_runs_does_not_matter() -> None:
    draw = random.Random(0)
    runs = [
        result(draw.random() + rate, "loss", task="regression", lr=rate, seed=s)
        for rate in range(4)
        for s in range(5)
    ]
    expected = compare(runs)
    assert [setting.options["lr"] for setting in expected.settings] == [0, 1, 2, 3]
    draw.shuffle(runs)
    again = compare(runs)
    assert [(setting.options, setting.mean, setting.worse_by) for setting in again.settings] == [
        (setting.options, setting.mean, setting.worse_by) for setting in expected.settings
    ]
    assert [setting.p_value for setting in again.settings] == pytest.approx(
        [setting.p_value for setting in expected.settings]
    )


def test_of_equal_scores_the_lower_loss_comes_first() -> None:
    runs = []
    for lr, seed, loss in ((0.1, 0, 0.3), (0.1, 1, 0.5), (0.2, 0, 0.4), (0.2, 1, 0.2)):
        run = result(0.9, lr=lr, seed=seed)
        assert run.best is not None
        best = run.best._replace(values=(0.9, loss))
        runs.append(run._replace(best=best))
    compared = compare(runs)
    assert [setting.options["lr"] for setting in compared.settings] == [0.2, 0.1]
    assert compared.best_run.settings["seed"] == 1


def test_the_newest_checkpoint_says_how_a_run_was_set(sweep: Path, real: Path) -> None:
    """A run that went on for more epochs without a better one keeps its old best checkpoint."""
    folder = RunFolder(sweep / "0.01-0")
    with TensorFile(folder.last) as file:
        parts = parts_of(file.metadata)
        parts["config"]["trainer"]["epochs"] = 7
        changed = encode_parts(parts, {name: file.read(name) for name in file.entries})
    folder.last.write_bytes(changed)
    assert read_result(folder.path).settings["trainer.epochs"] == 7
    folder.last.write_bytes(b"")
    assert read_result(folder.path).settings["trainer.epochs"] == 5


@pytest.mark.long
def test_pictures(forge: Callable[..., Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for rate in (0.001, 0.01, 0.1):
        for decay in (0.0, 0.1):
            for seed in range(2):
                scores = {"val.accuracy": 0.8 + rate + decay + seed / 100, "val.loss": 0.1}
                path = f"two/{rate}-{decay}-{seed}"
                forge(path, scores, optimizer__lr=rate, optimizer__weight_decay=decay, seed=seed)
    (Path("two") / "0.1-0.1-1" / "metrics.jsonl").write_text("?")
    printed, errors = said(capsys, "compare", "two", "--plot")
    names = ["score-lr.png", "score-weight_decay.png", "heatmap.png", "curves.png"]
    assert printed.splitlines()[-4:] == [f"two/plots/{name}" for name in names]
    assert errors == (
        "no curve: two/0.1-0.1-1/metrics.jsonl:1: not a line of metrics; mend or remove the line\n"
    )
    assert all((Path("two/plots") / name).read_bytes().startswith(b"\x89PNG") for name in names)
    assert sorted(path.name for path in Path("two/plots").iterdir()) == sorted(names)
    printed, _ = said(capsys, "compare", "two/0.1-0.0-0", "two/0.1-0.0-1", "--plot-dir", "pictures")
    assert printed.splitlines()[-1] == "pictures/curves.png"
    shutil.rmtree("two/plots")
    Path("two/plots").symlink_to(tmp_path / "pictures")
    _, errors = said(capsys, "compare", "two", "--plot", code=65)
    assert errors == ("mlpkit: two/plots: a link, which may lead elsewhere; name a folder with --plot-dir\n")


@pytest.mark.long
@pytest.mark.parametrize("rates", ["", "optimizer.lr=0.1,0.2"])
def test_what_comes_with_an_optimizer_has_no_picture(rates: str, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    words = ("dataset=moons", "dataset.n=40", "model=mlp", "model.hidden=[2]", "trainer.epochs=1")
    varied = ("optimizer=rmsprop,lion", *rates.split(), "seed=range(2)", "run.plots=false")
    assert command(["train", "-m", *words, *varied, f"run.dir={sweep}"]) == 0
    assert command(["compare", str(sweep), "--plot"]) == 0
    found = {path.name for path in (sweep / "plots").iterdir()}
    assert found - {"heatmap.png"} == {"curves.png"} | ({"score-lr.png"} if rates else set())


def test_pictures_never_land_in_a_run(sweep: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def below(*paths: Path) -> Path:
        return common_parent([str(path) for path in paths])

    runs = find_runs([sweep], print)
    assert below(*runs) == below(runs[0]) == sweep
    assert below(runs[0], Path("outputs/other/run")) == Path("outputs")
    assert below(runs[0], runs[1].absolute()) == sweep.absolute()
    assert below(Path("run")) == Path() and below(Path("/run")) == Path("/")
    monkeypatch.chdir(sweep)
    assert below(*find_runs([Path()], print)) == Path()
    monkeypatch.chdir("0.3-0")
    assert below(*find_runs([Path()], print)) == tmp_path / sweep
    assert below(*find_runs([Path("../0.3-1")], print)) == tmp_path / sweep


@pytest.mark.parametrize("columns", [80, *(pytest.param(n, marks=pytest.mark.long) for n in (60, 200))])
def test_a_terminal_shows_every_setting(columns: int, forge: Callable[..., Path]) -> None:
    for index, hidden in enumerate(([256, 128], [64, 64, 64], [16])):
        forge(
            f"wide/{index}", {"val.accuracy": 0.9 - index / 10, "val.loss": 0.1}, model__hidden=hidden,
            model__activation=("relu", "tanh", "gelu")[index], optimizer__lr=10.0**-index,
            optimizer__weight_decay=index / 1000, model__dropout=index / 10, trainer__batch_size=index + 1,
        )  # fmt: skip
    import fcntl
    import struct
    import termios

    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    environment["TERM"] = "xterm-256color"
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    done = subprocess.Popen(
        [sys.executable, "-m", "mlpkit", "compare", "wide"], stdout=slave, stderr=slave,
        env=environment,
    )  # fmt: skip
    assert done.wait(60) == 0
    os.close(slave)
    text = b""
    try:
        while part := os.read(master, 65536):
            text += part
    except OSError:  # the other end is closed
        pass
    os.close(master)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.decode()).replace("\r\n", "\n")
    table = plain.split("\n\n")[1]
    assert max(len(line.rstrip()) for line in table.splitlines()) <= columns
    assert "…" not in table
    together = "".join(table.split())
    shown = ("[256,128]", "[64,64,64]", "[16]", "relu", "tanh", "gelu", "0.9000", "0.8000", "0.7000", "0.25")
    if columns == 200:
        assert table.splitlines()[0].split() == [
            "rank", "hidden", "activation", "dropout", "lr", "weight_decay", "batch_size", "val", "accuracy",
            "seeds", "worse", "by", "seconds",
        ]  # fmt: skip
    else:
        assert "settings" in table.splitlines()[0]
        assert columns < 80 or "hidden=[256,128]" in together
        shown = ("0.9000", "0.8000", "0.7000", "hidden=", "activation=", "weight_decay=", "batch_size=")
    assert all(value in together for value in shown)


@pytest.mark.long
def test_a_thousand_runs_in_two_seconds(forge: Callable[..., Path]) -> None:
    draw = random.Random(0)
    for rate in range(10):
        for decay in range(5):
            for seed in range(20):
                scores = {"val.accuracy": draw.random(), "val.loss": 0.1}
                path = f"many/{rate}-{decay}-{seed}"
                forge(path, scores, optimizer__lr=10.0**-rate, optimizer__weight_decay=decay / 10, seed=seed)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    printed = mlpkit("compare", "many", cwd=Path.cwd()).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert printed.startswith("1,000 runs, 50 settings: ")
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


def test_exit_codes_are_those_of_the_process(sweep: Path, tmp_path: Path) -> None:
    assert mlpkit("compare", cwd=tmp_path).stderr == f"newest sweep: {sweep}\n"
    done = mlpkit("compare", "nowhere", cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (65, "")
    done = mlpkit("compare", "--top", "0", cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (2, "")


# ------------------------------------------------------------------------------------------ units of losses

LINES = (
    "train", "-m", "dataset=line", "model=linear", "optimizer=sgd", "optimizer.lr=0.005", "trainer.epochs=60",
    "run.tensorboard=false", "seed=range(2)", "run.root=runs",
)  # fmt: skip


@pytest.mark.long
def test_losses_in_different_units_are_not_ranked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its loss the standardised line would be the best, whose errors are three times as large."""
    monkeypatch.chdir(tmp_path)
    swept = (*LINES, "dataset.standardize=true,false", "run.dir=runs/sweep")
    printed, _ = said(capsys, *swept)
    headline = (
        "4 runs, 2 settings: val rmse at the best epoch (lower is better); "
        "losses are in different units: dataset.standardize"
    )
    assert headline in printed.splitlines()
    said(capsys, "compare", "runs/sweep", "--plot", "--output", "found.csv")
    with Path("found.csv").open() as file:
        found = {row["dataset.standardize"]: float(row["val.rmse"]) for row in csv.DictReader(file)}
    summaries = [json.loads(path.read_text()) for path in sorted(Path("runs/sweep").glob("*/summary.json"))]
    of_each = [summary["best"]["val"]["rmse"] for summary in summaries]
    assert list(found) == ["false", "true"]
    assert found["true"] == pytest.approx(np.mean(of_each[::2]))
    assert found["false"] == pytest.approx(np.mean(of_each[1::2]))
    assert summaries[0]["best"]["value"] < summaries[1]["best"]["value"]  # by which they were once ranked
    for metric in ("loss", "train.loss"):
        _, errors = said(capsys, "compare", "runs/sweep", "--metric", metric, code=2)
        assert errors == (
            f"mlpkit: --metric={metric}: with dataset.standardize each run's losses are in a unit of "
            "its own; choose rmse, mae or r2\n"
        )
    assert (
        "2 settings: val r2 at the best epoch (higher"
        in said(capsys, "compare", "runs/sweep", "--metric", "r2")[0]
    )


@pytest.mark.parametrize(
    ("overrides", "score"),
    [
        (("dataset.standardize=true", "optimizer.lr=0.1,0.2"), "loss"),
        (("dataset.standardize=false", "dataset.noise=1,2"), "loss"),
        (("dataset.standardize=true", "dataset.noise=1,2"), "rmse"),
    ],
)
def test_losses_of_one_unit_are_ranked(
    overrides: tuple[str, ...],
    score: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    changed = ("trainer.epochs", *(text.partition("=")[0] for text in overrides))
    kept = [text for text in LINES if text.partition("=")[0] not in changed]
    printed, _ = said(capsys, *kept, "trainer.epochs=2", *overrides)
    assert f"4 runs, 2 settings: val {score} at the best epoch" in printed


@pytest.mark.long
def test_runs_without_curves_have_no_picture_of_them(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    words = ("dataset=moons", "dataset.n=40", "model=mlp", "model.hidden=[2]", "trainer.epochs=1")
    assert (
        command(["train", "-m", *words, "optimizer.lr=0.1,0.2", "run.files=minimal", f"run.dir={sweep}"]) == 0
    )
    assert command(["compare", str(sweep), "--plot"]) == 0
    assert {path.name for path in (sweep / "plots").iterdir()} == {"score-lr.png"}
