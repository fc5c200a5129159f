"""The engine of runs with several members: networks that are trained together and predict their mean."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlpkit.data.dataset import Dataset
from mlpkit.data.member_folds import ALL_ROWS
from mlpkit.engines.batches import Rows
from mlpkit.engines.device_data import Sums
from mlpkit.engines.engine import Engine
from mlpkit.engines.own_best import OwnBest
from mlpkit.errors import NonFiniteError
from mlpkit.folders.state import Tensors


class MembersEngine(Engine):
    """Trains K runs of M members each, with an engine of K · M networks.

    To a trainer it is an engine of K runs. Each member has its own weights, order of rows and random numbers.
    The scores of a split are those of the mean prediction; those of the training rows before their updates
    are the mean of the members' scores, since each member sees the rows in another order. A run's tensors
    are those of its members, stacked.

    Attributes:
        inner: the engine of all networks, the members of a run next to each other.
        members: M, the same for all runs.
    """

    def __init__(self, inner: Engine, members: int, datasets: Sequence[Dataset]) -> None:
        """Use an engine of K · M networks.

        Args:
            inner: the engine.
            members: M.
            datasets: of the K runs; with `Split.folds`, those of the networks are `of_member`.
        """
        self.inner, self.members, self.datasets = inner, members, list(datasets)
        firsts = list(range(0, inner.runs, members))
        self.runs = len(firsts)
        self.experiments = [
            replace(
                inner.experiments[first],
                dataset=dataset,
                members=tuple(each.network for each in inner.experiments[first : first + members]),
            )
            for first, dataset in zip(firsts, self.datasets, strict=True)
        ]
        self.data = inner.data.select_runs(firsts)
        self.has_folds = ALL_ROWS in self.data.splits
        if self.has_folds:
            rows = self.data.splits[ALL_ROWS]
            self.data.splits |= {"train": rows, "val": rows}
        self.name, self.reason, self.device = inner.name, inner.reason, inner.device
        self.task, self.matmul, self.context = inner.task, inner.matmul, inner.context
        self.steps, self.processes = inner.steps, inner.processes
        if inner.experiments[0].config.trainer.best_epoch == "own":
            one = self.data.splits["val"].targets[:1]
            sums = 1 + len(self.task.statistics(one.new_zeros(1, self.data.predicted), one))
            self.own_best = OwnBest([dataset.splits["val"].folds for dataset in self.datasets], sums)

    def _of(self, run: int) -> range:
        """Return the places of a run's members in the inner engine."""
        return range(run * self.members, (run + 1) * self.members)

    @property
    def blocks(self) -> list[range]:
        """See `Engine.blocks`; each run is one."""
        return [range(run, run + 1) for run in range(self.runs)]

    @property
    def norms(self) -> Tensor:
        """See `Engine.norms`; the mean of the members'."""
        return self.inner.norms.view(self.runs, self.members).mean(1, keepdim=True)

    @property
    def uses_threads(self) -> bool:
        """See `Engine.uses_threads`."""
        return self.inner.uses_threads

    def rows_of_steps(self, epoch: int, first: int) -> Iterator[Rows]:
        """See `Engine.rows_of_steps`; the rows are those of all members."""
        return self.inner.rows_of_steps(epoch, first)

    def seeds_of(self, run: int) -> list[int]:
        """See `Engine.seeds_of`."""
        return [seed for member in self._of(run) for seed in self.inner.seeds_of(member)]

    def step(self, rows: Rows, lrs: Sequence[float], epoch: int, step: int, measure: bool) -> dict[int, str]:
        """See `Engine.step`; a run fails as soon as one of its members does."""
        of_blocks = [lrs[block.start // self.members] for block in self.inner.blocks]
        failures = self.inner.step(rows, of_blocks, epoch, step, measure)
        return {
            member // self.members: f"{what} (member {member % self.members + 1})"
            for member, what in failures.items()
        }

    def failures(self) -> dict[int, NonFiniteError]:
        """See `Engine.failures`."""
        return {member // self.members: error for member, error in self.inner.failures().items()}

    def collect(self) -> Sums:
        """See `Engine.collect`; the mean of the members' sums."""
        sums = self.inner.collect()
        assert not isinstance(sums, Sequence)  # there are several members
        if self.runs == 1:
            return [float(of_members.mean()) for of_members in sums]
        return np.stack([own.mean(1) for own in np.split(sums, self.runs, axis=1)], axis=1)

    def agree(self, sums: dict[str, Sums], seconds: float) -> tuple[dict[str, Sums], float]:
        """See `Engine.agree`; the sums of the folds are agreed on as well."""
        if self.own_best is None or self.processes is None:
            return self.inner.agree(sums, seconds)
        (last,) = self.own_best.last  # several processes train one run
        found, seconds = self.inner.agree({**sums, "folds": last.ravel().tolist()}, seconds)
        self.own_best.last = [np.array(found.pop("folds")).reshape(last.shape)]
        return found, seconds

    def evaluate(self, split: str, poll: Callable[[], None] = lambda: None) -> Sums:
        """See `Engine.evaluate`."""
        if self.own_best is None or split != "val":
            return super().evaluate(split, poll)
        with self.context:
            outputs = self.outputs(split, poll)
            self.own_best.evaluated(self.data.columns(outputs, split, slice(None))[0])
            return self.data.sums(outputs, split, slice(None))

    def keep_own_best(self) -> Mapping[str, Any] | None:
        """See `Engine.keep_own_best`."""
        if self.own_best is None:
            return None
        self.inner.save_best(self.own_best.update())
        sums = self.own_best.sums()
        return self.task.scores(
            list(sums[:, 0].tolist() if self.runs == 1 else sums), self.data.splits["val"].rows
        )

    def outputs(self, split: str, poll: Callable[[], None] = lambda: None) -> Tensor:
        """See `Engine.outputs`; those of the mean prediction, or of each member for its own fold of val."""
        if self.has_folds and split == "val":
            return self._out_of_fold(self.inner.outputs(split, poll))
        if self.has_folds and split == "train":
            split = ALL_ROWS
        networks = [experiment.network for experiment in self.inner.experiments]
        each = zip(networks, self.inner.outputs(split, poll), strict=True)
        said = torch.stack([network.all_values(outputs) for network, outputs in each])
        means = self.task.average(said.view(self.runs, self.members, *said.shape[1:]).transpose(0, 1))
        firsts = networks[:: self.members]
        found = [network.before_unscaling(mean) for network, mean in zip(firsts, means, strict=True)]
        return found[0] if self.runs == 1 else torch.stack(found)

    def _out_of_fold(self, outputs: Tensor) -> Tensor:
        """Return each member's outputs for its own fold, one after the other; see `of_member`."""
        sizes = [size for dataset in self.datasets for size in dataset.splits["val"].folds]
        each = [own[:size] for own, size in zip(outputs, sizes, strict=True)]
        found = [torch.cat(each[of.start : of.stop]) for of in map(self._of, range(self.runs))]
        return found[0] if self.runs == 1 else torch.stack(found)

    def save_best(self, better: Sequence[bool]) -> None:
        """See `Engine.save_best`; all members of a run keep those of the same epoch."""
        self.inner.save_best([is_better for is_better in better for _ in range(self.members)])

    def swap_best(self) -> None:
        """See `Engine.swap_best`."""
        self.inner.swap_best()

    def select_runs(self, runs: Sequence[int], to_end: bool = False) -> "Engine":
        """See `Engine.select_runs`."""
        inner = self.inner.select_runs([member for run in runs for member in self._of(run)], to_end)
        datasets = [self.datasets[run] for run in runs]
        if inner is self.inner:
            return self
        selected = MembersEngine(inner, self.members, datasets)
        selected.own_best = self.own_best and self.own_best.select_runs(runs)
        return selected

    def state(self, run: int) -> dict[str, Tensors]:
        """See `Engine.state`; each tensor is that of all members, stacked."""
        states = [self.inner.state(member) for member in self._of(run)]
        return {
            kind: {name: torch.stack([state[kind][name] for state in states]) for name in tensors}
            for kind, tensors in states[0].items()
        }

    def load_state(self, run: int, state: Mapping[str, Tensors]) -> None:
        """See `Engine.load_state`."""
        for number, member in enumerate(self._of(run)):
            own = {
                kind: {name: tensor[number] for name, tensor in part.items()} for kind, part in state.items()
            }
            self.inner.load_state(member, own)

    def resume_epoch(self, epoch: int, steps: int, outputs: Sequence[Tensor]) -> None:
        """See `Engine.resume_epoch`; a run's outputs are (M, n, width)."""
        self.inner.resume_epoch(epoch, steps, [own for of_run in outputs for own in of_run])
