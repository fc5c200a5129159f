"""One fit, in a process of its own: trains a method on a split of a table, and prints its scores as JSON.

python tests/benchmarks/quality/fit.py TABLE SPLIT METHOD
"""

import importlib
import json
import resource
import sys
import warnings
from importlib.metadata import version

import numpy as np
from methods import METHODS, Job
from real_tables import TABLES, split_rows
from sklearn.metrics import accuracy_score, log_loss, root_mean_squared_error


def main() -> None:
    """Fit and print."""
    table_name, split, method_name = sys.argv[1:]
    table, method, seed = TABLES[table_name], METHODS[method_name], int(split)
    warnings.simplefilter("ignore")
    inputs, targets = table.load()
    classes: tuple[str, ...] = ()
    if table.task != "regression":
        names, targets = np.unique(targets, return_inverse=True)
        classes = tuple(names)
    train, test = split_rows(targets, table.task, seed)
    for module in (method.module, *method.loads):
        importlib.import_module(module)
    job = Job(inputs.iloc[train], targets[train], inputs.iloc[test], classes, seed)
    before = _cpu_seconds()
    answer = np.asarray(method.fit(job), dtype=float)
    scores = {"seconds": round(_cpu_seconds() - before, 2)}
    if classes:
        labels = range(len(classes))
        shares = answer / answer.sum(axis=1, keepdims=True)  # float32 ones do not sum to 1 exactly
        scores["loss"] = float(log_loss(targets[test], shares, labels=labels))
        scores["accuracy"] = float(accuracy_score(targets[test], answer.argmax(axis=1)))
    else:
        scores["loss"] = float(root_mean_squared_error(targets[test], answer))
    made = {"table": table_name, "split": seed, "method": method_name, "version": version(method.package)}
    print(json.dumps(made | scores))


def _cpu_seconds() -> float:
    """Return the seconds of this process and of those that it started, on all threads."""
    users = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, users))


if __name__ == "__main__":
    main()
