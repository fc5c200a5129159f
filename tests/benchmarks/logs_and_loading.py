"""What a run's logs cost, and how long MNIST takes from its files to tensors."""

import statistics

from turns import Entry, measure, ratio

MOONS = ("dataset=moons", "model=mlp")
EPOCHS = 1000  # as in `peers.run_with_logs`
TURNS = 3  # for each repetition: a run takes less than a second, and its logs a small part of it


def run_logs(repetitions: int) -> float | None:
    """Print what logs cost; return the time with them over the time without, None if it was not measured."""
    repetitions *= TURNS
    found = measure(
        {"with": Entry("run_with_logs", MOONS), "without": Entry("run_without_logs", MOONS)}, repetitions
    )
    print(f"\n{EPOCHS} one-step epochs on the moons, a whole run in a warm process, {repetitions} turns")
    if found.skipped:
        print(f"  skipped: {'; '.join(found.skipped.values())}")
        return None
    seconds = {name: [EPOCHS / rate for rate in rates] for name, rates in found.rates.items()}
    for name, title in (("with", "TensorBoard, metrics, bar"), ("without", "without them")):
        print(f"  {title:<34}{statistics.median(seconds[name]):>11.3f} s")
    share = ratio(seconds["with"], seconds["without"])
    print(f"  logs cost {share - 1:.1%}")
    return share


def run_loading(repetitions: int) -> None:
    """Print the seconds of loading."""
    found = measure({"mnist": Entry("mnist_loading", ("experiment=mnist_mlp",))}, repetitions)
    print(f"\nMNIST, train and test, from IDX files to tensors, {repetitions} turns")
    if found.skipped:
        print(f"  skipped: {found.skipped['mnist']}")
    else:
        print(f"  {1 / found.median('mnist'):.3f} s")
