"""How cost grows: samples per second against batch size, width and depth, on MNIST, beside the plain loop."""

from turns import Entry, measure

BATCHES = (16, 32, 64, 128, 256, 512, 1024)  # of 784-256-10
WIDTHS = (16, 64, 256, 1024)  # of one hidden layer, batch 64
DEPTHS = (1, 2, 3, 4, 5, 6)  # hidden layers of 256, batch 64


def run_growth(repetitions: int) -> None:
    """Print three tables."""
    _table("batch size", [(size, size, [256]) for size in BATCHES], repetitions)
    _table("width", [(width, 64, [width]) for width in WIDTHS], repetitions)
    _table("hidden layers", [(depth, 64, [256] * depth) for depth in DEPTHS], repetitions)


def _table(title: str, points: list[tuple[int, int, list[int]]], repetitions: int) -> None:
    """Print a line for each point (value, batch size, hidden widths) as soon as it is measured."""
    print(f"\nMNIST, samples/s, median of {repetitions} turns")
    print(f"  {title:>13}{'plain loop':>14}{'mlpkit':>12}{'ratio':>8}{'threads=1':>13}{'threads=2':>13}")
    for value, size, hidden in points:
        layers = ",".join(map(str, hidden))
        overrides = ("experiment=mnist_mlp", f"trainer.batch_size={size}", f"model.hidden=[{layers}]")
        entries = {"plain": Entry("plain_loop", overrides), "auto": Entry("mlpkit_training", overrides)}
        for threads in ("1", "2"):
            entries[threads] = Entry("mlpkit_training", (*overrides, f"trainer.threads={threads}"))
        found = measure(entries, repetitions)
        if found.skipped:
            print(f"  {value:>13} skipped: {'; '.join(found.skipped.values())}")
            continue
        plain, auto, one, two = (found.median(name) for name in entries)
        speedup = found.ratio("auto", "plain")
        print(f"  {value:>13}{plain:>14,.0f}{auto:>12,.0f}{speedup:>8.2f}{one:>13,.0f}{two:>13,.0f}")
