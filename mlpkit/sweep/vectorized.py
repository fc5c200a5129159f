"""Trains jobs of one shape together, and the others one after another."""

from collections.abc import Mapping
from pathlib import Path

from mlpkit.choices import Choices, choices_of
from mlpkit.config import Config
from mlpkit.errors import RunInterruptedError
from mlpkit.experiment import ANEW
from mlpkit.run_folder import RunFolder
from mlpkit.sweep.assembly import train_together
from mlpkit.sweep.groups import Group, group
from mlpkit.sweep.job import Saved, is_fresh, last_line, saved_between_epochs, train_alone
from mlpkit.sweep.work import Work


def vectorized(work: Work) -> None:
    """Train jobs of one shape together, and the others one after another."""
    fresh = {number: work.config(number) for number in work.entries if is_fresh(work, number)}
    others = {number: work.config(number) for number in work.entries if number not in fresh}
    saved = {n: found for n, config in others.items() if (found := saved_between_epochs(work, config))}
    ready = fresh | {number: others[number] for number in saved}
    before = {
        number: choices_of(RunFolder(Path(str(ready[number].run.dir))), stored.config, "cpu")
        for number, (_, stored) in saved.items()
    }
    begun = {n: (stored.state.progress.step, before[n]) for n, (_, stored) in saved.items()}
    groups, wrong = group(ready, work.datasets, begun, work.wish.check)
    for number, error in wrong.items():
        work.ended(number, error)
    groups += [Group((number,), together=False) for number in others if number not in saved]
    work.display.begin(groups)
    for of in groups:
        work.wish.check()
        work.display.next_group(of)
        if of.together:
            together = {number: ready[number] for number in of.numbers}
            _train_group(work, together, saved, before.get(of.numbers[0], ANEW))
        else:
            train_alone(work, of.numbers[0])


def _train_group(
    work: Work, configs: Mapping[int, Config], saved: Mapping[int, Saved], before: Choices
) -> None:
    """Train jobs together; where that cannot be done, those that have not ended one after another."""
    left = dict(configs)

    def ended(number: int, error: BaseException | None) -> None:
        del left[number]
        work.ended(number, error)

    try:
        train_together(work, configs, saved, before, ended)
    except RunInterruptedError:
        raise
    except Exception as error:  # such as memory for one, and not for all of them
        work.warn(f"trained one after another: {last_line(error)}")
        for number in list(left):
            work.wish.check()
            train_alone(work, number)
