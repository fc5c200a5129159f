"""mlpkit verify."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mlpkit.analysis.named_run import choose_run
from mlpkit.cli.arguments import AllowLarge, Plugins, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpkit.analysis.verification import Verification
    from mlpkit.data.dataset import Dataset
    from mlpkit.folders.checkpoint import Checkpoint
    from mlpkit.folders.run_folder import RunFolder
    from mlpkit.folders.trust import Trust

EXAMPLE = "mlpkit verify"


def verify(
    run: Run = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the second training's run folder.")] = False,
    allow_large: AllowLarge = False,
    plugin: Plugins = None,
) -> None:
    """Train a run again; check that data and weights have the same bits and no test row was trained on."""
    from mlpkit.analysis.named_run import run_folder_of
    from mlpkit.analysis.verification import Verification, describe_looks
    from mlpkit.data.load import load_dataset
    from mlpkit.folders.checkpoint import load_first
    from mlpkit.folders.find_run import find_checkpoints, find_run
    from mlpkit.folders.looks import looks_at
    from mlpkit.folders.state import KINDS
    from mlpkit.folders.trust import Trust
    from mlpkit.system.console import make_console, note, say

    trust = Trust.foreign(allow_large)
    chosen, reason = choose_run(run)
    path, stored = load_first(find_checkpoints(chosen, "last"), note, KINDS, trust)
    folder = find_run(run_folder_of(path))
    if reason:
        note(f"{reason}: {folder.path}")
    trust.check_data(stored.config.dataset, path)
    dataset = load_dataset(stored.config.dataset, trust.may_download)
    progress = stored.state.progress
    console = make_console()
    say(console, f"{path}: epoch {progress.epoch}, step {progress.step}")
    result = Verification()
    if difference := stored.other_data(dataset):
        result.add("data", f"{difference}; not trained again", passed=False)
    else:
        known = f"same (fingerprint {stored.fingerprint[:12]})" if stored.fingerprint else "not stored"
        result.add("data", known, passed=bool(stored.fingerprint))
        _train_and_compare(folder, path, stored, trust, keep, result)
    _count_overlap(dataset, result)
    if "test" in dataset.splits:
        result.add("test split", describe_looks(looks_at(folder.path, stored.fingerprint)))
    width = max(len(name) for name, _ in result.lines)
    say(console, *(f"{name:<{width}}  {text}" for name, text in result.lines))
    if result.failed:
        say(console, f"not verified: {', '.join(result.failed)}")
        raise typer.Exit(1)
    say(console, "verified")


def _train_and_compare(
    folder: "RunFolder", path: Path, stored: "Checkpoint", trust: "Trust", keep: bool, result: "Verification"
) -> None:
    """Train a run again in a temporary folder, and compare scores, tensors and environment."""
    from mlpkit.analysis.verification import TOLERANCE, describe_environment, describe_logs, describe_tensors
    from mlpkit.config.problems import plural
    from mlpkit.folders.checkpoint import load
    from mlpkit.folders.difference import environment_difference
    from mlpkit.folders.fork import read_fork
    from mlpkit.folders.same_bits import compare_logs, compare_tensors
    from mlpkit.folders.state import KINDS
    from mlpkit.folders.trust import Trust
    from mlpkit.sweeps.fork import train_branches_again
    from mlpkit.sweeps.train_again import runs_together, train_again
    from mlpkit.system.console import note

    with _scratch(keep) as scratch:
        if fork := read_fork(folder.path):
            again, together = train_branches_again(folder, stored, fork, scratch, trust, note)
        else:
            again, together = train_again(folder, stored, scratch, trust)
        if keep:
            note(f"trained again: {again.path}")
        now = load(again.last, KINDS, Trust.LARGE)
        logs, epochs = compare_logs(folder.metrics, again.metrics, stored.state.progress.epoch)
        tensors = compare_tensors(stored, now)
        environment = environment_difference(folder.path, again.path)
    environment.pop("git_commit", None)  # git is not run in a foreign folder
    before = runs_together(folder)
    is_same = not tensors.names and logs.epoch is None
    passed = is_same or (before != together and tensors.largest <= TOLERANCE)
    result.add("environment", describe_environment(environment))
    result.add("scores", describe_logs(logs, epochs), passed)
    result.add("weights", describe_tensors(tensors), passed)
    if before != together:
        others = f"{plural(before - 1, 'other run')} before, {together - 1:,} now"
        result.add("trained with", f"{others}; differences up to {TOLERANCE:.0e} are accepted")


@contextmanager
def _scratch(keep: bool) -> "Iterator[Path]":
    """Give a temporary folder, which is removed after the block unless it is to be kept."""
    import tempfile

    from mlpkit.system.atomic_write import temporary_folder

    if keep:
        yield Path(tempfile.mkdtemp(prefix="mlpkit-verify-"))
        return
    with temporary_folder(Path(tempfile.gettempdir())) as folder:
        yield folder


def _count_overlap(dataset: "Dataset", result: "Verification") -> None:
    """Count the rows of val and test that are equal to a training row; rows of test fail the check."""
    from mlpkit.config.problems import plural
    from mlpkit.data.overlaps import MOST_ROWS, repeated

    if (rows := sum(map(len, dataset.splits.values()))) > MOST_ROWS:
        result.add("overlap", f"not searched for in {rows:,} rows")
        return
    kind: Literal["row", "picture"] = "picture" if dataset.input_schema.is_image else "row"
    for name, again in repeated(dataset.splits, kind).items():
        of_all = plural(len(dataset.splits[name]), f"{name} {kind}")
        text = f"{again:,} of {of_all} {'is' if again == 1 else 'are'} equal to a training {kind}"
        result.add("overlap", text, passed=name != "test" or not again)
