"""Steps as CUDA graphs: the launches of a step are recorded once and then replayed as one."""

from collections.abc import Callable, Hashable, Sequence

import torch


class Graphs:
    """Runs programs of fixed shape on one CUDA device, each first as it is and from then on from a record.

    A program reads and writes the same tensors each time, draws from the registered generators alone and
    never waits for the device.
    """

    def __init__(self, device: str, generators: Sequence[torch.Generator]) -> None:
        """Take the device, and its generators, which may be seeded anew between two runs."""
        self.device, self.generators = device, generators
        self.warm: set[Hashable] = set()
        self.recorded: dict[Hashable, torch.cuda.CUDAGraph] = {}

    def run(self, key: Hashable, program: Callable[[], None]) -> None:
        """Run a program; programs with the same key are the same."""
        if key in self.recorded:
            self.recorded[key].replay()
        elif key not in self.warm:  # libraries make their workspaces now, which cannot be recorded
            self.warm.add(key)
            program()
        else:
            graph = torch.cuda.CUDAGraph()
            for random in self.generators:
                graph.register_generator_state(random)
            # Torch would record on a stream of the current device, which may be another one.
            stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
            with torch.cuda.device(self.device), torch.cuda.graph(graph, stream=stream):
                program()
            self.recorded[key] = graph
            graph.replay()
