"""The weights of K runs as the frames of their films."""

import torch

from mlpkit.engines.engine import Engine
from mlpkit.models.torch_network import Network


def shapes_of_frame(network: Network) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights, and of other numbers that training changes, in a frame's order."""
    tensors = {**dict(network.named_parameters()), **network.saved_buffers()}
    return {name: tuple(tensor.shape) for name, tensor in tensors.items() if tensor.is_floating_point()}


def frames_of_runs(engine: Engine) -> list[bytes]:
    """Return each run's frame: its tensors, or their averages, as little-endian float32 in a row."""
    shown = [
        (flat, flat.values if flat.average is None else flat.average)
        for flat in engine.weights.flats
        if flat.values.is_floating_point()
    ]
    with engine.context:
        if any(flat.is_padded for flat, _ in shown):
            rows = [
                torch.cat(
                    [t.reshape(-1) for flat, all_runs in shown for t in flat.of_run(all_runs, run).values()]
                )
                for run in range(engine.runs)
            ]
        else:  # one operation for all runs: there may be many, and their steps short
            rows = list(
                torch.cat([part for flat, all_runs in shown for part in flat.rows(all_runs)], dim=1).cpu()
            )
        return [row.cpu().numpy().astype("<f4", copy=False).tobytes() for row in rows]
