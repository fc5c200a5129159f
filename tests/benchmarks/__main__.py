"""mlpkit beside its peers: same data, same work, in turn, on this machine.

    python tests/benchmarks [PART …] [--repetitions N] [--peers PEER …]
    python tests/benchmarks serve --minutes 10

Without parts all are run, which takes about half an hour. Nothing here is a test: figures are printed, and
nothing fails where one is not reached. How well mlpkit predicts is measured by tests/benchmarks/quality.
"""

import argparse
import os
import platform
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import data_folder
from busy import run_busy
from cases import CASES, OURS, run_case
from csv_tables import run_table
from growth import run_growth
from larger_than_memory import run_memory
from logs_and_loading import run_loading, run_logs
from many_runs import run_many
from must_reach import print_goals
from peers import TITLES
from serving import run_long, run_serving
from start_up import run_start_up
from sweeps import SWEEPS, run_sweep
from turns import PeerError
from whole_process import PROCESSES, run_process

from mlpkit.system.wait_policy import USERS, bound_spin

PACKAGES = ("torch", "torchvision", "scikit-learn", "jax", "keras", "skorch", "lightning")
GROUPS = {
    "mnist": ("mnist-64", "mnist-256", "mnist-dropout"),
    "whole": tuple(PROCESSES),
    "sweeps": SWEEPS,
}
PARTS = (
    *CASES,
    *PROCESSES,
    *SWEEPS,
    "growth",
    "many",
    "logs",
    "loading",
    "start",
    "busy",
    "table",
    "tables",
    "sklearn",
    "serve",
    "cuda",
    "memory",
)


def main() -> None:
    """Run the parts that are asked for."""
    arguments = _arguments()
    bound_spin()  # for all: each peer and script is a process of this one's
    parts = [part for name in arguments.parts or PARTS for part in GROUPS.get(name, (name,))]
    print(_machine())
    if arguments.minutes:
        run_long(arguments.minutes)
        return
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["MLPKIT_DATA"] = str(data_folder.find_or_invent(Path(scratch)))
        measured: dict[tuple[str, str], float] = {}
        for part in dict.fromkeys(parts):
            try:
                measured |= _run(part, arguments.repetitions, arguments.peers)
            except PeerError as error:
                print(f"\n{part}: {error}")
    print_goals(measured)


def _run(part: str, repetitions: int, peers: list[str]) -> dict[tuple[str, str], float]:
    """Run a part; return its ratios."""
    if part in CASES:
        found = run_case(part, repetitions, peers)
        if OURS not in found.rates:
            return {}
        return {(part, peer): found.ratio(OURS, peer) for peer in found.rates}
    if part in PROCESSES:
        return {(part, ""): run_process(part, repetitions)}
    if part in SWEEPS:
        return {(part, ""): run_sweep(part, repetitions)}
    several = {
        "start": run_start_up,
        "busy": run_busy,
        "table": run_table,
        "tables": _run_tables,
        "sklearn": _run_estimators,
        "cuda": _run_cuda,
        "serve": run_serving,
        "memory": run_memory,
    }
    if part in several:
        run = several[part]
        return {(part, name): found for name, found in run(repetitions).items()}
    if part == "logs":
        share = run_logs(repetitions)
        return {} if share is None else {(part, ""): share}
    {"growth": run_growth, "many": run_many, "loading": run_loading}[part](repetitions)
    return {}


def _run_cuda(repetitions: int) -> dict[str, float]:
    from cuda_steps import run_cuda  # loads torch, which the other parts leave to their processes

    return run_cuda(repetitions)


def _run_tables(repetitions: int) -> dict[str, float]:
    from tables import run_tables  # loads torch, scikit-learn and pandas

    return run_tables(repetitions)


def _run_estimators(repetitions: int) -> dict[str, float]:
    from estimators import run_estimators  # loads torch and scikit-learn

    return run_estimators(repetitions)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=(__doc__ or "").splitlines()[0])
    choices = (*PARTS, *GROUPS)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(choices)}; all of them if none is named"
    )
    parser.add_argument("--repetitions", type=int, default=7, metavar="N", help="turns of each part (7)")
    parser.add_argument(
        "--peers", nargs="+", default=[], choices=TITLES, metavar="PEER", help=f"only {', '.join(TITLES)}"
    )
    parser.add_argument(
        "--minutes",
        type=int,
        default=0,
        metavar="N",
        help="with serve alone: the memory in N minutes of load",
    )
    arguments = parser.parse_args()
    if arguments.minutes and arguments.parts != ["serve"]:
        parser.error("--minutes: only with the part serve, alone")
    if unknown := [part for part in arguments.parts if part not in choices]:
        parser.error(f"no such part: {', '.join(unknown)}; choose from {', '.join(choices)}")
    if arguments.repetitions < 1:
        parser.error("--repetitions must be at least 1")
    return arguments


def _machine() -> str:
    """Return a line that says where and with what."""
    waiting = ", ".join(f"{name}={os.environ[name]}" for name in USERS if name in os.environ)
    return (
        f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}\n"
        + ", ".join(f"{package} {_version(package)}" for package in PACKAGES)
        + f"\nhow OpenMP's threads wait, of mlpkit and of all its peers: {waiting}"
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


if __name__ == "__main__":
    main()
