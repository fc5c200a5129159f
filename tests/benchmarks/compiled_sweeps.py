"""Sweeps of small networks with `trainer.compile`, without it, and in JAX: seconds of training.

    python tests/benchmarks/compiled_sweeps.py RUNS [EPOCHS [HIDDEN [TURNS]]]

What is timed is the steps of all runs, alone and with each epoch's scores of both splits; no logs.
"""

import statistics
import sys
from collections.abc import Callable
from time import perf_counter

import torch
from workload import config_of, load_workload

from mlpkit.data.load import load_dataset
from mlpkit.training.build import build

LRS = (0.003, 0.01, 0.03, 0.1)


def main(runs: int, epochs: int = 1000, hidden: str = "[4]", turns: int = 5) -> None:
    """Time all ways in turn, and print the medians."""
    base = ("dataset=moons", "dataset.n=300", "model=mlp", f"model.hidden={hidden}")
    lrs = sorted(LRS[run % len(LRS)] for run in range(runs))
    ways: dict[str, Callable[[], float]] = {}
    apart: dict[str, float] = {}
    for scores in (False, True):
        what = "steps and scores" if scores else "steps alone"
        for name, wanted in (("mlpkit", "false"), ("mlpkit compiled", "true")):
            try:
                way, taken = of_mlpkit((*base, f"trainer.compile={wanted}"), lrs, epochs, scores)
            except Exception as error:  # such as a network that is too large
                print(f"{name}: {error}")
                continue
            ways[f"{name}, {what}"], apart[f"{name}, {what}"] = way, taken
        from peers import jax_vmap

        work, dataset = load_workload(base), load_dataset(config_of(base).dataset)
        val, scaling = dataset.splits["val"], dataset.input_scaling
        inputs = val.inputs if scaling is None else (val.inputs - scaling.mean) / scaling.std
        monitored = inputs, val.targets.float()[:, None]
        way, taken = jax_vmap.prepare(work, monitored, lrs, epochs, scores)
        ways[f"JAX jit(vmap(scan)), {what}"], apart[f"JAX jit(vmap(scan)), {what}"] = way, taken
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, train in ways.items():
            found[name].append(train())
    print(f"\n{runs} runs of moons 2-{hidden}-1, {epochs} full-batch epochs, {turns} turns: seconds")
    for name, seconds in found.items():
        print(
            f"  {name:<38}{statistics.median(seconds):>8.3f}  ({min(seconds):.3f} – {max(seconds):.3f})"
            f"   made ready in {apart[name]:.1f}"
        )


def of_mlpkit(
    overrides: tuple[str, ...], lrs: list[float], epochs: int, scores: bool
) -> tuple[Callable[[], float], float]:
    """Return what trains for some epochs and returns the seconds, and those that building took."""
    started = perf_counter()
    configs = [config_of((*overrides, f"optimizer.lr={lr}")) for lr in dict.fromkeys(lrs)]
    by_lr = {config.optimizer.lr: config for config in configs}
    of_runs = [by_lr[lr].model_copy(update={"seed": run}) for run, lr in enumerate(lrs)]
    engine = build(of_runs, datasets=[load_dataset(of_runs[0].dataset)] * len(lrs))
    taken = perf_counter() - started
    rates = [of_runs[block.first].optimizer.lr for block in engine.optimizers.blocks]
    threads = torch.get_num_threads()

    def train() -> float:
        torch.set_num_threads(threads)
        started = perf_counter()
        for epoch in range(epochs):
            engine.step(slice(None), rates, epoch, epoch, scores)
            if scores:
                engine.evaluate("val")
                engine.collect()
            else:
                engine.epoch_outputs.clear()
        return perf_counter() - started

    return train, taken


if __name__ == "__main__":
    runs, *others = sys.argv[1:]
    numbers = [text if text.startswith("[") else int(text) for text in others]
    main(int(runs), *numbers)  # type: ignore[arg-type]
