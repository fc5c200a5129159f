"""How well mlpkit predicts real tables, beside its peers.

    pip install -e .[quality]   # in an environment of its own
    python tests/benchmarks/quality run [--methods METHOD …] [--tables TABLE …] [--splits N …] [--again]
    python tests/benchmarks/quality report [--methods METHOD …]

Each fit is a line of the results file. `run` makes those that are missing, one after another, each on one
thread: it can be stopped and started again. Methods whose package is not installed are left out. `report`
compares the methods; the first one that has results is the one that the others are measured against.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from methods import METHODS
from real_tables import DEVELOPMENT, SPLITS, TABLES
from report import print_report

FOLDER = Path(__file__).parent
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def main() -> None:
    """Run or report."""
    arguments = _arguments()
    if arguments.command == "run":
        _run(arguments)
    else:
        print_report(_read(arguments.results), arguments.methods or list(METHODS))


def _run(arguments: argparse.Namespace) -> None:
    lines = [] if arguments.again else _read(arguments.results)
    done = {(line["table"], line["split"], line["method"]) for line in lines}
    methods = [name for name in arguments.methods or METHODS if _installed(name)]
    for method in methods:
        for split in arguments.splits:
            for table in arguments.tables or TABLES:
                if (table, split, method) not in done:
                    _fit(arguments.results, table, split, method)


def _installed(name: str) -> bool:
    found = importlib.util.find_spec(METHODS[name].module) is not None
    if not found:
        print(f"{name}: left out, since {METHODS[name].package} is not installed")
    return found


def _fit(results: Path, table: str, split: int, method: str) -> None:
    """Append the line of one fit to the results, or say why there is none."""
    command = [sys.executable, str(FOLDER / "fit.py"), table, str(split), method]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | ONE_THREAD)
    if done.returncode:
        print(f"{table} {split} {method}: exit {done.returncode}: {done.stderr.strip()[-300:]}", flush=True)
        return
    line = done.stdout.splitlines()[-1]
    with results.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    print(line, flush=True)


def _read(results: Path) -> list[dict[str, Any]]:
    if not results.exists():
        return []
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]


def _arguments() -> argparse.Namespace:
    summary, _, _ = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(prog="quality", description=summary)
    parser.add_argument("command", choices=("run", "report"))
    parser.add_argument("--methods", nargs="+", choices=METHODS, metavar="METHOD", help=", ".join(METHODS))
    parser.add_argument("--tables", nargs="+", choices=TABLES, metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument(
        "--development", action="store_true", help="run: only the tables that choices may look at"
    )
    parser.add_argument("--again", action="store_true", help="run: also what is done; the last line counts")
    parser.add_argument("--splits", nargs="+", type=int, default=range(SPLITS), metavar="N", help="0 to 4")
    parser.add_argument("--results", type=Path, default=FOLDER / "results.jsonl", metavar="FILE")
    arguments = parser.parse_args()
    if arguments.development:
        arguments.tables = [table.name for table in DEVELOPMENT]
    return arguments


if __name__ == "__main__":
    main()
