"""What must be reached, beside what was measured."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """A ratio that must be reached.

    Attributes:
        title: in words.
        part: of the benchmark.
        peer: in that part; empty where the part has a single ratio.
        wanted: the ratio.
        at_most: the measured one must not be larger; else it must not be smaller.
    """

    title: str
    part: str
    peer: str
    wanted: float
    at_most: bool = False


GOALS = (
    Goal("MNIST batch 64 against the plain PyTorch loop", "mnist-64", "plain_loop", 1.8),
    Goal("the same against scikit-learn", "mnist-64", "scikit_learn", 3),
    Goal("the same against skorch", "mnist-64", "skorch_net", 4),
    Goal("the same against Lightning", "mnist-64", "lightning_trainer", 8),
    Goal("the same against the tutorial's way", "mnist-64", "tutorial_way", 9),
    Goal("the same against JAX jit + scan", "mnist-64", "jax_scan", 0.95),
    Goal("the same against the products alone", "mnist-64", "products", 0.55),
    Goal("moons, steps/s against the plain PyTorch loop", "moons", "plain_loop", 2),
    Goal("whole process, moons, share of the script's time", "whole-moons", "", 0.7, at_most=True),
    Goal("whole process, MNIST, share of the script's time", "whole-mnist", "", 0.25, at_most=True),
    Goal("64 runs of moons together against one after another", "sweep-moons", "", 20),
    Goal("the same, whole command against a grid search", "sweep-grid", "", 1.5),
    Goal("16 runs of MNIST together against one after another", "sweep-mnist", "", 1.3),
    *(
        Goal(f"seconds of mlpkit {name}", "start", name, 0.4, at_most=True)
        for name in ("--help", "list", "config", "inspect", "compare")
    ),
    Goal("seconds of the choice of a matrix product", "start", "matmul", 0.02, at_most=True),
    Goal("beside busy programs, times the fair share", "busy", "fair share", 2, at_most=True),
    Goal("on a quiet machine, times OpenMP's own waiting", "busy", "quiet", 1.03, at_most=True),
    Goal("100,000 rows of csv to a scored model, seconds", "table", "train seconds", 20, at_most=True),
    Goal("the same, peak memory in GB", "table", "train GB", 1, at_most=True),
    Goal("1 GB of csv, seconds to read", "table", "read seconds", 20, at_most=True),
    Goal("the same, peak memory, times the table's", "table", "read memory", 3, at_most=True),
    *(
        Goal(f"CUDA, {case}, against eager PyTorch", "cuda", f"{case}, eager PyTorch", 10)
        for case in ("mnist-64", "moons")
    ),
    Goal(
        "CUDA, MNIST batch 64, times the replay's seconds", "cuda", "mnist-64, 1 runs over replay", 1.3, True
    ),
    Goal("CUDA, 64 runs of MNIST, times the seconds of one", "cuda", "mnist-64, 64 runs over one", 2, True),
    Goal("tables on which the mlp's defaults beat scikit-learn's", "tables", "better", 6),
    Goal("tables on which they are worse", "tables", "worse", 0, at_most=True),
    *(
        Goal(f"mlpkit.sklearn against scikit-learn, {case}", "sklearn", case, 3)
        for case in ("small", "digits", "digits, float32", "digits, 8 members", "friedman", "mnist")
    ),
    *(
        Goal(f"serve, {name}: {title}", "serve", f"{name}, {figure}", wanted, at_most)
        for name in ("moons", "a table")
        for title, figure, wanted, at_most in (
            ("requests/s, 1,000 sent", "requests/s", 990, False),
            ("ms of all but 1 % of them", "p99", 20, True),
        )
    ),
    Goal("1000 one-step epochs, time with logs over without", "logs", "", 1.1, at_most=True),
)


def print_goals(measured: Mapping[tuple[str, str], float]) -> None:
    """Print the table.

    Args:
        measured: ratios by (part, peer).
    """
    print(f"\n{'must reach':<54}{'measured':>10}{'wanted':>10}")
    for goal in GOALS:
        sign = "≤" if goal.at_most else "≥"
        found = measured.get((goal.part, goal.peer))
        if found is None:
            shown, verdict = "–", ""
        else:
            reached = found <= goal.wanted if goal.at_most else found >= goal.wanted
            shown, verdict = f"{found:.2f}", "" if reached else "   not reached"
        print(f"{goal.title:<54}{shown:>10}{f'{sign} {goal.wanted:.2f}':>10}{verdict}")
