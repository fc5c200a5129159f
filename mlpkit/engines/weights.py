"""The weights of K runs: those that steps change, their averages (`trainer.ema`, `swa`), and the best."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor

from mlpkit.engines.parameters import Flat
from mlpkit.folders.state import Tensors
from mlpkit.models.torch_network import Network


class Weights:
    """Holds the flat buffers that the networks' weights and buffers are views of.

    Attributes:
        parameters: the weights and biases.
        running: the running statistics of batch norms.
        counters: their numbers of batches.
        flats: those of the three that are not empty.

    The averages are those of torch.optim.swa_utils.AveragedModel with use_buffers=True.
    """

    def __init__(self, networks: Sequence[Network], has_averages: bool) -> None:
        """Start with the first weights.

        Args:
            networks: those of the runs; their weights and buffers become views of the flat buffers.
            has_averages: whether averages are kept.
        """
        self.parameters = Flat.from_networks([dict(network.named_parameters()) for network in networks])
        buffers = [network.saved_buffers() for network in networks]
        self.running, self.counters = (
            Flat.from_networks(
                [{n: b for n, b in own.items() if b.is_floating_point() == is_float} for own in buffers]
            )
            for is_float in (True, False)
        )
        kinds = self.parameters, self.running, self.counters
        self.flats = [flat for flat in kinds if flat.shapes]
        for flat in self.flats:
            if has_averages and flat.values.is_floating_point():
                flat.average = flat.values.clone()

    def average(self, share: float) -> None:
        """Move the averages towards the weights by a share of the way; see `mlpkit.engines.averaging`."""
        for flat, average in self._averaged() if share else ():
            average.lerp_(flat.values, share)

    @contextmanager
    def averages_shown(self) -> Iterator[None]:
        """Let the networks hold the averages inside the block, so that scores are computed with them."""
        self._swap_averages()
        try:
            yield
        finally:
            self._swap_averages()

    def end_with_averages(self) -> None:
        """Let the networks hold the averages from now on, and stop averaging."""
        self._swap_averages()
        for flat in self.flats:
            flat.average = None

    def save_best(self, better: Sequence[bool]) -> None:
        """Store the averages (without `ema` the weights) as the best of the runs where `better` is true."""
        for flat in self.flats:
            flat.save_best(better)

    def swap_best(self) -> None:
        """Exchange the current and the best weights of all runs."""
        for flat in self.flats:
            flat.swap_best()

    def state(self, run: int, network: Network) -> dict[str, Tensors]:
        """Return views of a run's tensors by kind; see `mlpkit.folders.state.State`."""
        raw = dict(network.state_dict())
        averages = [flat.of_run(average, run) for flat, average in self._averaged()]
        model = raw | {name: own for tensors in averages for name, own in tensors.items()}
        best = raw | {name: own for flat in self.flats for name, own in flat.of_run(flat.best, run).items()}
        return {"model": model, "best": best, "raw": raw if averages else {}}

    def restore(self, run: int, network: Network, state: Mapping[str, Tensors]) -> None:
        """Restore what `state` returned; kinds that are missing are left unchanged."""
        if "model" in state:
            network.load_state_dict(state.get("raw") or state["model"])
            for flat, average in self._averaged():
                _copy(state["model"], flat.of_run(average, run))
        if state.get("best"):
            for flat in self.flats:
                _copy(state["best"], flat.of_run(flat.best, run))

    def _averaged(self) -> list[tuple[Flat, Tensor]]:
        return [(flat, flat.average) for flat in self.flats if flat.average is not None]

    def _swap_averages(self) -> None:
        for flat, average in self._averaged():
            values = flat.values.clone()
            flat.values.copy_(average)
            average.copy_(values)


def _copy(source: Tensors, into: Tensors) -> None:
    for name, tensor in into.items():
        tensor.copy_(source[name])
