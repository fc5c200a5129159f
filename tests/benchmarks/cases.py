"""Training throughput, case by case: mlpkit and its peers in turn."""

from collections.abc import Collection
from dataclasses import dataclass

from peers import TITLES
from turns import Entry, Measured, measure

OURS = "mlpkit_training"
MNIST = "experiment=mnist_mlp"
ALL_ROWS = ("dataset.val_fraction=0", "dataset.test_fraction=0")


@dataclass(frozen=True)
class Case:
    """One training that several peers do.

    Attributes:
        title: what is trained.
        unit: what is counted per second.
        overrides: of mlpkit's command line.
        peers: modules in `peers`, in the order in which they are asked.
    """

    title: str
    unit: str
    overrides: tuple[str, ...]
    peers: tuple[str, ...]


CASES = {
    "mnist-64": Case(
        "MNIST, 784-256-10, Adam 0.001, batch 64",
        "samples/s",
        (MNIST,),
        (
            OURS,
            "mlpkit_with_evaluation",
            "plain_loop",
            "jax_scan",
            "products",
            "keras_on_jax",
            "scikit_learn",
            "skorch_net",
            "lightning_trainer",
            "tutorial_way",
        ),
    ),
    "mnist-256": Case(
        "MNIST, 784-256-10, Adam 0.001, batch 256",
        "samples/s",
        (MNIST, "trainer.batch_size=256"),
        (OURS, "plain_loop", "jax_scan", "products", "scikit_learn"),
    ),
    "mnist-dropout": Case(
        "MNIST, 784-512-512-10, dropout 0.2, Adam 0.001, batch 128",
        "samples/s",
        (MNIST, "trainer.batch_size=128", "model.hidden=[512,512]", "model.dropout=0.2"),
        (OURS, "plain_loop", "jax_scan", "products"),
    ),
    "moons": Case(
        "moons, 2-64-64-1, 200 rows, Adam 0.001, full batch",
        "steps/s",
        ("dataset=moons", "dataset.n=200", *ALL_ROWS, "model=mlp", "model.hidden=[64,64]"),
        (OURS, "mlpkit_steps", "plain_loop", "jax_scan", "products", "scikit_learn"),
    ),
    "sum": Case(
        "sum, 2-1, 1000 rows, SGD 0.1, full batch",
        "steps/s",
        ("dataset=sum", *ALL_ROWS, "model=linear", "optimizer=sgd", "optimizer.lr=0.1"),
        (OURS, "mlpkit_steps", "plain_loop", "jax_scan"),
    ),
}


def run_case(name: str, repetitions: int, only: Collection[str]) -> Measured:
    """Measure a case, print its table and return what was measured.

    Args:
        name: of the case.
        repetitions: turns.
        only: the peers to ask, besides mlpkit; all where it is empty.
    """
    case = CASES[name]
    chosen = [peer for peer in case.peers if not only or peer == OURS or peer in only]
    found = measure({peer: Entry(peer, case.overrides) for peer in chosen}, repetitions)
    print(f"\n{case.title}: {case.unit}, {repetitions} turns")
    for peer in found.rates:
        print(_line(found, peer))
    for peer, reason in found.skipped.items():
        print(f"  {TITLES[peer]:<34}skipped: {reason}")
    return found


def _line(found: Measured, peer: str) -> str:
    rates = found.rates[peer]
    line = f"  {TITLES[peer]:<34}{found.median(peer):>11,.0f}  ({min(rates):,.0f} – {max(rates):,.0f})".ljust(
        75
    )
    if peer != OURS and OURS in found.rates:
        line += f"mlpkit is {found.ratio(OURS, peer):5.2f} times as fast"
    if disturbed := found.disturbed.get(peer):
        line += f"  ({disturbed} of {len(rates)} turns disturbed)"
    loss = found.losses[peer]
    return line if loss != loss else f"{line:<105}loss {loss:.4f}"
