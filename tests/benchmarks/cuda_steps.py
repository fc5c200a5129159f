"""A CUDA device: one run and many, against PyTorch, JAX, the graph alone and the device's limits.

Everything is trained on the same device, one after another. Products are float32 ("highest"), except where a
row names a lower level.
"""

import math
import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import torch
from peers.mlpkit_training import next_epoch, trainer_for
from peers.torch_parts import loop_over, loss_of, network, optimizer_of
from torch import nn
from turns import Entry, measure
from workload import FULL_BATCH_EPOCHS, Trained, Workload, config_of, load_workload

from mlpkit.data.dataset import Dataset
from mlpkit.data.load import load_dataset
from mlpkit.engines.cuda import CudaEngine
from mlpkit.training.build import build

DEVICE = "cuda:0"
MNIST = ("experiment=mnist_mlp", "device=cuda")
CASES = {
    "mnist-64": ("MNIST 784-256-10, batch 64", MNIST),
    "mnist-1024": ("MNIST 784-256-10, batch 1024", (*MNIST, "trainer.batch_size=1024")),
    "moons": (
        "moons 2-64-64-1, 200 rows, full batch",
        (
            *("dataset=moons", "dataset.n=200", "dataset.val_fraction=0", "dataset.test_fraction=0"),
            *("model=mlp", "model.hidden=[64,64]", "device=cuda"),
        ),
    ),
}
RUNS = (1, 16, 64, 256)
LEVELS = {"high": "TF32", "bfloat16": "bfloat16"}  # trainer.matmul, and what it is called on a device
EDGE = 8192  # of the matrices that measure the device


@dataclass(frozen=True)
class Limits:
    """What the device can do: float32 operations and bytes per second, measured."""

    operations: float
    bandwidth: float

    def step(self, work: Workload, runs: int) -> float:
        """Return the least seconds of a step of some runs: its products, or the memory that it must move."""
        layers = list(zip(work.widths[:-1], work.widths[1:], strict=True))
        weights = sum(below * width for below, width in layers)
        rows = min(work.batch_size, work.rows)
        first = layers[0][0] * layers[0][1]  # needs no gradient of its inputs
        operations = 2 * rows * (3 * weights - first)
        # Adam reads values, gradients and both averages and writes three of them; forward and backward read
        # the weights and write the gradients; the batch's inputs are gathered and read twice.
        moved = 4 * ((7 + 3) * weights - first + 4 * rows * work.widths[0])
        return runs * max(operations / self.operations, moved / self.bandwidth)


def run_cuda(repetitions: int) -> dict[str, float]:
    """Print the tables; return the ratios that must be reached."""
    if not torch.cuda.is_available():
        print("\ncuda: skipped: this machine has no CUDA device")
        return {}
    limits, reached = measure_limits(), dict[str, float]()
    print(
        f"\n{torch.cuda.get_device_name(DEVICE)}, torch {torch.__version__}: "
        f"{limits.operations / 1e12:.1f} float32 TFLOP/s, {limits.bandwidth / 1e12:.2f} TB/s; µs per step"
    )
    for name, (title, overrides) in CASES.items():
        print(f"\n{title}")
        work, dataset, alone = load_workload(overrides), load_dataset(config_of(overrides).dataset), 0.0
        for runs in RUNS:
            ours, replay = time_runs(overrides, dataset, runs, repetitions)
            alone, bound = alone or ours, limits.step(work, runs)
            _print(
                *(f"mlpkit, {runs} runs", ours, f"replay {1e6 * replay:8.1f} ({ours / replay:.2f} x)"),
                *(f"limit {1e6 * bound:7.1f} ({ours / bound:.1f} x)", f"{ours / alone:.2f} x one run"),
            )
            reached[f"{name}, {runs} runs over one"] = ours / alone
            reached[f"{name}, {runs} runs over replay"] = ours / replay
        for level, called in LEVELS.items():
            for runs in (1, 64):
                ours, replay = time_runs((*overrides, f"trainer.matmul={level}"), dataset, runs, repetitions)
                _print(f"mlpkit, {runs} runs, {called}", ours, f"replay {1e6 * replay:8.1f}")
        for peer, prepare in PEERS.items():
            try:
                seconds = time_peer(prepare(work), work, repetitions)
            except Exception as error:  # of a compiler, say: the others are to be measured
                print(f"  {peer}: skipped: {type(error).__name__}: {str(error).splitlines()[0]}")
            else:
                reached[f"{name}, {peer}"] = seconds / alone
                _print(peer, seconds, f"mlpkit is {seconds / alone:.1f} x as fast")
        time_jax(overrides, work, alone, repetitions)
    return reached


def _print(name: str, seconds: float, *notes: str) -> None:
    print(f"  {name:<28}{1e6 * seconds:>9.1f}   {'   '.join(notes)}", flush=True)


def measure_limits() -> Limits:
    """Return the rates of a large product and of a large copy."""
    left, right = (torch.randn(EDGE, EDGE, device=DEVICE) for _ in range(2))
    product = best_of(lambda: torch.mm(left, right))
    source = torch.empty(2**29, device=DEVICE)  # 2 GiB: no cache holds it
    target = torch.empty_like(source)
    copy = best_of(lambda: target.copy_(source))
    return Limits(2 * EDGE**3 / product, 2 * 4 * source.numel() / copy)


def best_of(function: Callable[[], object], times: int = 5) -> float:
    """Return the least seconds of a call."""
    function()
    return min(timed(function) for _ in range(times))


def timed(function: Callable[[], object]) -> float:
    """Return the seconds until the device has done what a function asks of it."""
    torch.cuda.synchronize()
    started = perf_counter()
    function()
    torch.cuda.synchronize()
    return perf_counter() - started


def time_runs(
    overrides: tuple[str, ...], dataset: Dataset, runs: int, repetitions: int
) -> tuple[float, float]:
    """Return mlpkit's seconds per step, shuffling and each portion's scores included, and the replay's."""
    config = config_of(overrides)
    configs = [config.model_copy(update={"seed": seed}) for seed in range(runs)]
    engine = build(configs, datasets=[dataset] * runs)
    assert isinstance(engine, CudaEngine) and engine.graphs is not None
    trainer = trainer_for(engine)
    epochs = FULL_BATCH_EPOCHS if trainer.steps_per_epoch == 1 else 1
    steps = epochs * trainer.steps_per_epoch

    def train() -> None:
        for _ in range(epochs):
            trainer.train_epoch()
            next_epoch(trainer)
        engine.scores(engine.collect(), "train")

    for _ in range(3):  # each kind of step runs normally, then is captured
        train()
    ours = statistics.median(timed(train) for _ in range(repetitions)) / steps
    assert not engine.failures()
    graph, _ = next(iter(engine.graphs.captured.values()))

    def replay() -> None:
        for _ in range(steps):
            graph.replay()

    return ours, statistics.median(timed(replay) for _ in range(repetitions)) / steps


def time_peer(train: Callable[[], Trained], work: Workload, repetitions: int) -> float:
    """Return a peer's seconds per step."""
    steps = work.epochs * math.ceil(work.rows / work.batch_size)
    for _ in range(2):
        train()
    return statistics.median(timed(train) for _ in range(repetitions)) / steps


def time_jax(overrides: tuple[str, ...], work: Workload, alone: float, repetitions: int) -> None:
    """Print JAX's seconds per step, in a process of its own, with float32 products."""
    os.environ |= {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "JAX_DEFAULT_MATMUL_PRECISION": "highest"}
    found = measure({"jax": Entry("jax_scan", overrides)}, repetitions)
    for reason in found.skipped.values():
        print(f"  JAX jit + scan: skipped: {reason}")
    if found.rates:
        seconds = (1 if work.full_batch else work.batch_size) / found.median("jax")
        _print("JAX jit + scan", seconds, f"mlpkit is {seconds / alone:.1f} x as fast")


def eager(work: Workload, level: str = "highest", compiled: bool = False) -> Callable[[], Trained]:
    """Return a PyTorch loop over tensors on the device, with the fused optimizer; no scores."""
    torch.set_float32_matmul_precision(level if level != "bfloat16" else "highest")
    model, loss_function = network(work).to(DEVICE), loss_of(work)
    optimizer = optimizer_of(work, model, fused=True)
    autocast = torch.autocast("cuda", torch.bfloat16, enabled=level == "bfloat16")

    def loss_of_batch(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with autocast:
            loss: torch.Tensor = loss_function(model(inputs), targets)
        return loss

    forward: Callable[..., torch.Tensor] = loss_of_batch
    if compiled:
        forward = torch.compile(loss_of_batch, mode="reduce-overhead")

    def step(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = forward(model, inputs, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss

    return loop_over(work, step, DEVICE)


PEERS: dict[str, Callable[[Workload], Callable[[], Trained]]] = {
    "eager PyTorch": eager,
    "eager PyTorch, TF32": lambda work: eager(work, "high"),
    "eager PyTorch, autocast": lambda work: eager(work, "bfloat16"),
    "compiled, reduce-overhead": lambda work: eager(work, compiled=True),
}
