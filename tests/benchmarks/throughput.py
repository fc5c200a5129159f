"""Training throughput of mlpkit against the tutorial's way and a plain loop, and the cost of its logs.

    python tests/benchmarks/throughput.py [REPETITIONS]

Prints medians and ratios of figures taken in turn in one process, since machines are noisy. Same work:
MNIST, 784-256-10, ReLU, Adam 1e-3, batch 64, one epoch. The data is real where MLPKIT_DATA or
../shared/data has it, else random numbers of the same shape.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from real_data import real_data
from running import config

from mlpkit.console import make_console
from mlpkit.data.dataset import Dataset, Split
from mlpkit.data.images import load
from mlpkit.engines.autograd import AutogradEngine
from mlpkit.models import build_model
from mlpkit.run import run
from mlpkit.signature import Signature
from mlpkit.tasks import MULTICLASS
from mlpkit.trainer import Trainer

CONFIG = config("experiment=mnist_mlp", "trainer.epochs=1")
TINY = (
    "dataset=moons",
    "model=mlp",
    "run.progress=none",
    "run.plots=false",
    "trainer.checkpoint_every=1000s",
)


def mnist() -> Dataset:
    """Return MNIST, or noise in its shape."""
    root = real_data()
    if root is not None:
        return load(CONFIG.dataset.model_copy(update={"root": str(root)}))
    print("no MNIST found: timing on random numbers of its shape")
    signature = Signature(
        "multiclass", tuple(map(str, range(784))), (28, 28), ("label",), tuple("0123456789")
    )
    rows = {"train": 60_000, "test": 10_000}
    splits = {name: Split(torch.rand(n, 784), torch.randint(10, (n,))) for name, n in rows.items()}
    return Dataset("mnist", signature, splits)


def network() -> nn.Sequential:
    """Return the tutorial's model."""
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))


def tutorial(data: Dataset, folder: Path) -> Callable[[], int]:
    """Return an epoch over torchvision's dataset with per-sample transforms and a DataLoader."""
    root = real_data()
    if root is None:
        dataset: object = TensorDataset(data.splits["train"].inputs, data.splits["train"].targets)
    else:
        from torchvision import datasets, transforms

        steps = [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
        dataset = datasets.MNIST(str(root), transform=transforms.Compose(steps))
    loader = DataLoader(dataset, batch_size=64, shuffle=True)  # type: ignore[arg-type]

    def epoch() -> int:
        model, loss_function = network(), nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for images, labels in loader:
            optimizer.zero_grad()
            loss_function(model(images.reshape(len(images), -1)), labels).backward()
            optimizer.step()
        return len(dataset)  # type: ignore[arg-type]

    return epoch


def plain(data: Dataset, folder: Path) -> Callable[[], int]:
    """Return an epoch of a bare loop over tensors in memory, with fused Adam."""
    inputs, targets = (data.splits["train"].inputs - 0.1307) / 0.3081, data.splits["train"].targets

    def epoch() -> int:
        model, loss_function = network(), nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
        for rows in torch.randperm(len(inputs)).split(64):  # type: ignore[no-untyped-call]
            optimizer.zero_grad()
            loss_function(model(inputs[rows]), targets[rows]).backward()
            optimizer.step()
        return len(inputs)

    return epoch


def mlpkit(data: Dataset, folder: Path) -> Callable[[], int]:
    """Return an epoch of mlpkit's trainer, scores and evaluation of the test split included."""

    def epoch() -> int:
        engine = AutogradEngine(build_model(CONFIG, data), MULTICLASS, data.splits, CONFIG, "cpu")
        rows = len(data.splits["train"])
        trainer = Trainer(CONFIG, engine, MULTICLASS, rows, "test", lambda report: None, lambda trainer: None)
        trainer.fit()
        return rows

    return epoch


def tiny_run(folder: Path, logs: bool) -> tuple[float, float]:
    """Return the seconds of a run of 1000 one-step epochs, and those of its training.

    Args:
        folder: where the run goes.
        logs: write a line for each epoch, and TensorBoard's events; else only the last epoch's line.
    """
    options = (
        *TINY,
        f"run.root={folder}",
        *(() if logs else ("run.tensorboard=false", "trainer.log_every=1000")),
    )
    started = time.perf_counter()
    summary = run(config(*options), "benchmark", make_console()).summary
    seconds = time.perf_counter() - started
    return seconds, float(json.loads(summary.read_text())["train_seconds"])


def main() -> None:
    """Print the table."""
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    data = mnist()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ways = {way.__name__: way(data, folder) for way in (tutorial, plain, mlpkit)}
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        for repetition in range(repetitions + 1):
            for name, epoch in ways.items():
                started = time.perf_counter()
                rows = epoch()
                if repetition:  # the first turn warms up
                    speeds[name].append(rows / (time.perf_counter() - started))
        ours = statistics.median(speeds["mlpkit"])
        print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, median of {repetitions}")
        for name, found in speeds.items():
            median = statistics.median(found)
            print(f"{name:<10}{median:>12,.0f} samples/s   mlpkit is {ours / median:.2f} times as fast")
        costs, trained = [], []
        for repetition in range(3 * repetitions + 1):
            (with_logs, seconds), (without, _) = tiny_run(folder, True), tiny_run(folder, False)
            if repetition:
                costs.append(with_logs - without)
                trained.append(seconds)
        cost, seconds = statistics.median(costs), statistics.median(trained)
        print(
            f"1000 one-step epochs: {seconds:.3f} s of training; "
            f"all logs cost {cost * 1000:.0f} ms, {cost / seconds:.1%}"
        )


if __name__ == "__main__":
    main()
