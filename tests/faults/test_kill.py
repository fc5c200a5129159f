"""kill -9 at any instant: the newest checkpoint is whole, and the run that goes on ends as if nothing was."""

import random
from functools import partial
from pathlib import Path

import pytest

from faults.conftest import Train
from faults.counts import count
from faults.prepare import die_in
from faults.processes import COMMON, RUN, start
from faults.runs import check_checkpoints, check_ended_well, check_same, keep, resume_run
from mlpkit.folders.results import read_result
from mlpkit.folders.run_folder import RunFolder

ARGUMENTS = (
    *COMMON, "dataset=digits", "model.hidden=[48]", "model.dropout=0.2", "dataset.augment.rotation=8",
    "scheduler=cosine", "trainer.epochs=30", "trainer.checkpoint_every=0.05s",
)  # fmt: skip

# Instants that chance seldom hits: what the process was about to do.
MOMENTS = {
    "describe a run whose folder is there": ("mlpkit.training.start", "record_setup"),
    "describe the machine of a run whose config is there": ("mlpkit.training.start", "write_json"),
    "open the logs": ("mlpkit.training.recorder", "RunLog"),
    "write the first checkpoint": ("mlpkit.folders.checkpoint", "save"),
    "rename the first checkpoint": ("mlpkit.folders.checkpoint", "atomic_write"),
    "keep the checkpoint before": ("mlpkit.folders.run_folder", "_link"),
    "compute the final scores": ("mlpkit.training.results", "_summaries"),
    "write the summary": ("mlpkit.training.checkpoint_files", "write_json"),
}


SHORT = (*COMMON, "dataset=moons", "model.hidden=[8]", "trainer.batch_size=64", "trainer.checkpoint_every=2")
EXTENSION = {
    "flush what is left of a folder": ("mlpkit.folders.run_folder", "sync_folder"),
    "write the best checkpoint": ("mlpkit.folders.checkpoint", "atomic_write"),
    "describe it again": ("mlpkit.training.start", "record_setup"),
    "open the logs": ("mlpkit.training.recorder", "RunLog"),
    "keep the checkpoint before": ("mlpkit.folders.run_folder", "_link"),
    "write the environment": ("mlpkit.training.checkpoint_files", "write_json"),
    "compute the final scores": ("mlpkit.training.results", "_summaries"),
}


@pytest.mark.parametrize("case", range(count(1, 200)))
def test_killed_at_any_instant(case: int, tmp_path: Path, uninterrupted: Train) -> None:
    reference = uninterrupted(ARGUMENTS)
    instant = random.Random(case).random() * reference.seconds
    running = start(tmp_path, "train", *ARGUMENTS)
    running.ended_within(instant)
    running.kill()
    about = f"case {case}: killed {instant:.4f} s after its start; as it was stopped: {keep(tmp_path)}"
    check_checkpoints(tmp_path, about)
    check_ended_well(resume_run(tmp_path, ARGUMENTS, as_train=case % 2 == 0), about)
    check_same(tmp_path, reference, about)


@pytest.mark.long
@pytest.mark.parametrize("as_train", [True, False][: count(1, 2)])
@pytest.mark.parametrize("moment", list(MOMENTS)[:: count(6, 1)])
def test_killed_where_chance_seldom_hits(
    moment: str, as_train: bool, tmp_path: Path, uninterrupted: Train
) -> None:
    reference = uninterrupted(ARGUMENTS)
    running = start(tmp_path, "train", *ARGUMENTS, prepare=partial(die_in, *MOMENTS[moment]))
    code, said = running.wait(), running.stderr()
    about = f"killed when about to {moment}; as it was stopped: {keep(tmp_path)}"
    assert (code, said) == (137, ""), about
    check_checkpoints(tmp_path, about)
    check_ended_well(resume_run(tmp_path, ARGUMENTS, as_train), about)
    check_same(tmp_path, reference, about)


@pytest.mark.long
@pytest.mark.parametrize("moment", list(EXTENSION)[:: count(4, 1)])
def test_a_finished_run_that_goes_on_is_not_done(moment: str, tmp_path: Path, uninterrupted: Train) -> None:
    """Whoever looks at it then, or after it was killed, does not take old scores for those of more epochs."""
    reference = uninterrupted((*SHORT, "trainer.epochs=7"))
    check_ended_well(start(tmp_path, "train", *SHORT, "trainer.epochs=4"), "")
    run = tmp_path / RUN
    assert read_result(run).status == "done"
    more = ("resume", RUN, "trainer.epochs=7")
    running = start(tmp_path, *more, prepare=partial(die_in, *EXTENSION[moment]))
    about = f"killed when about to {moment}"
    assert (running.wait(), running.stderr()) == (137, ""), about
    assert read_result(run).status == "unfinished" and not RunFolder(run).summary.exists(), about
    check_checkpoints(tmp_path, about)
    check_ended_well(start(tmp_path, *more), about)
    check_same(tmp_path, reference, about)
    assert read_result(run).status == "done"
