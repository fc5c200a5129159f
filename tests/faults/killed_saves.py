"""Saves again and again, and is killed at another system call each time; prints what it found as JSON.

A process of its own: `python -m faults.killed_saves FOLDER EVERY`. Each EVERY-th stop is tried, of the
save of one file and of that of a run, which keeps the checkpoint before. It forks, which a test process
with threads should not do.
"""

import itertools
import json
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from running import QUIET, config

from faults.traced import NotPermittedError, killed_at
from mlpkit.folders import checkpoint, new_run
from mlpkit.folders.checkpoint import Checkpoint
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.trust import Trust
from mlpkit.training.build import build
from mlpkit.training.recorder import Recorder
from mlpkit.training.states import state_of
from mlpkit.training.stop import StopRequest
from mlpkit.training.trainer import Trainer

SETTINGS = ("dataset=moons", "dataset.n=60", "model=mlp", "model.hidden=[4]", "run.tensorboard=false", *QUIET)


def main(root: Path, every: int) -> None:
    trainer = begin(root)
    (recorder,) = trainer.recorders
    folder, dataset = recorder.folder, recorder.experiment.dataset
    for _ in range(3):
        one_epoch(trainer)
        trainer.save()
    shutil.copytree(folder.last.parent, root / "before")
    one_epoch(trainer)
    state = state_of(trainer, 0)
    new = Checkpoint(recorder.config, dataset.input_schema, state, dataset.fingerprint)
    found = {"file": kill_everywhere(recorder, lambda: checkpoint.save(folder.last, new), root, every)}
    shutil.rmtree(folder.last.parent)
    shutil.copytree(root / "before", folder.last.parent)
    found["run"] = kill_everywhere(recorder, lambda: recorder.save(state), root, every)
    print(json.dumps(found))


def kill_everywhere(recorder: Recorder, save: Callable[[], None], root: Path, every: int) -> dict[str, int]:
    """Kill the save at one stop after the other until it ends before; return how often what was left."""
    folder, files = recorder.folder, recorder.checkpoints
    before = files.last_step, files._best_step
    old = folder.last.read_bytes()
    save()
    after = {path.name: path.read_bytes() for path in folder.last.parent.iterdir()}
    outcomes = {"old": 0, "new": 0}
    for stop in itertools.count(1, every):
        shutil.rmtree(folder.last.parent)
        shutil.copytree(root / "before", folder.last.parent)
        files.last_step, files._best_step = before
        if not killed_at(save, stop):
            break
        try:
            found = check_what_is_left(folder, old, after)
            outcomes["old" if found == old else "new"] += 1
            files.last_step, files._best_step = step_of_last(folder), 0
            save()
            check_the_next_save(folder, after)
        except Exception as error:
            raise RuntimeError(f"killed at stop {stop}: {error!r}") from error
    return outcomes


def begin(root: Path) -> Trainer:
    settings = config(f"run.root={root / 'runs'}", *SETTINGS)
    engine = build([settings])
    recorder = Recorder(engine.experiments[0], new_run.create(settings, Trust.OWN, ExitStack()), None)
    recorder.begin(engine)
    trainer = Trainer(engine, [recorder], StopRequest(), lambda recorder, error: None)
    trainer.start_clock()
    return trainer


def one_epoch(trainer: Trainer) -> None:
    trainer.train_epoch()
    trainer.evaluate()
    trainer.update_best()
    trainer.log()


def check_what_is_left(folder: RunFolder, old: bytes, after: dict[str, bytes]) -> bytes:
    """Return the newest checkpoint, which is wholly the old or the new one."""
    content = folder.last.read_bytes()
    assert content in (old, after["last.safetensors"]), "last is neither the old nor the new one"
    for path in (folder.last, *folder.older(), folder.best):
        checkpoint.load(path, checkpoint.KINDS)
    folder.open_for_writing()
    left = sorted(path.name for path in folder.path.rglob(".*"))
    assert not left, f"left behind: {left}"
    return content


def step_of_last(folder: RunFolder) -> int:
    return checkpoint.read_header(folder.last).state.progress.step


def check_the_next_save(folder: RunFolder, after: dict[str, bytes]) -> None:
    """The folder is as if nothing had been killed."""
    found = {path.name: path.read_bytes() for path in folder.last.parent.iterdir()}
    assert sorted(found) == sorted(after), f"the next save leaves {sorted(found)}, not {sorted(after)}"
    assert found == after, "the next save writes other bytes"


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]))
    except NotPermittedError as error:
        print(json.dumps({"skip": str(error)}))
