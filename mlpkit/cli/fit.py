"""mlpkit fit."""

import shlex
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlpkit.cli.arguments import ConfigDir, Overrides, Plugins, command_line
from mlpkit.config.problems import plural, spell
from mlpkit.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rich.console import Console

    from mlpkit.analysis.fit_file import FitComparison
    from mlpkit.analysis.out_of_fold import OutOfFold
    from mlpkit.cli.compose import Request
    from mlpkit.folders.origin import Origin
    from mlpkit.folders.results import RunResult
    from mlpkit.sweeps.datasets import Datasets

EXAMPLE = "mlpkit fit dataset=iris"

RECIPE = "experiment=table"
PARTS = 20  # of the time: one for each of two models in up to three groups; the recipe; the last training
RECIPE_PARTS = 10


def fit(
    file: Annotated[
        str, typer.Argument(metavar="FILE|dataset=NAME", help="A table, or a dataset that is one.")
    ],
    overrides: Overrides = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", metavar="COLUMN", help="The column to predict; repeatable."),
    ] = None,
    folds: Annotated[int, typer.Option("--folds", metavar="N", min=2, max=100, help="Number of folds.")] = 5,
    seeds: Annotated[
        int, typer.Option("--seeds", metavar="N", min=1, max=100, help="Runs of each model and fold.")
    ] = 3,
    time_limit: Annotated[
        float,
        typer.Option(
            "--time-limit",
            metavar="SECONDS",
            min=1,
            help="About how long the comparison and the last training may take together.",
        ),
    ] = 60.0,
    config_dir: ConfigDir = None,
    plugin: Plugins = None,
) -> None:
    """Cross-validate a linear model, an mlp, an ensemble and a recipe; train the best one on all rows."""
    from mlpkit.analysis.fit import judge
    from mlpkit.analysis.fit_comparison import comparison_of
    from mlpkit.analysis.fit_file import write_fit
    from mlpkit.cli.compose import Request, read_config
    from mlpkit.cli.data_report import print_table
    from mlpkit.cli.report import write_report
    from mlpkit.cli.sweep import QUIET
    from mlpkit.data.table_options import TableOptions
    from mlpkit.folders.indexed_results import results_below
    from mlpkit.folders.origin import Origin
    from mlpkit.folders.sweep_folder import SweepFolder
    from mlpkit.folders.trust import Trust
    from mlpkit.sweeps.datasets import Datasets
    from mlpkit.system.console import make_console, note, say

    _check(overrides or ())
    end = time.monotonic() + time_limit
    words = _dataset_words(file, target or (), overrides or ())
    request = Request(words, tuple(config_dir or ())).with_defaults(*QUIET)
    config = read_config(_with(request, "model=mlp"))
    if not request.sets("trainer.monitor"):  # the models are ranked by the loss
        request = _with(request, "trainer.monitor=loss")
    if not isinstance(config.dataset, TableOptions):
        raise ConfigError(f"fit: dataset={config.dataset.name} is not a table; use mlpkit train for it")
    if not config.dataset.split.has_folds:
        by = config.dataset.split.by
        raise ConfigError(
            f"fit: dataset.split.by={by} has no folds, in which fit compares models; set random, "
            "stratified or group, or train each model with mlpkit train"
        )
    origin = Origin(command_line(), Trust.OWN, request.overrides)
    if not config.dataset.val_fraction:
        raise ConfigError(
            "fit: dataset.val_fraction=0: the rows that judge would choose the best epochs too; leave it out"
        )
    console, datasets = make_console(), Datasets()
    warnings: list[str] = []
    print_table(console, config.dataset, warnings)
    console.print()
    loaded = datasets.load(config.dataset)
    task, targets = loaded.input_schema.task, loaded.splits["train"].all_targets
    if task == "regression" and bool((targets == targets[:1]).all(0).any()):
        raise DataError("fit: a target has the same value in all rows: there is nothing to predict")
    datasets.take_remarks()  # `print_table` has printed them
    linear = "linear" if task == "regression" else "logistic"
    swept, part = (f"dataset.folds={folds}", f"dataset.fold=range({folds})"), _seconds_to(end) / PARTS
    requests = {name: _for_model(request, name) for name in (linear, "mlp")}
    sweeps = [
        _with(each, *swept, f"seed=range({seeds})", f"trainer.time_limit={part}")
        for each in requests.values()
    ]
    recipe = _with(_for_model(request, ""), RECIPE)
    if _has_rows_for(recipe, folds, datasets, warnings):
        requests[RECIPE] = recipe
        sweeps.insert(0, _with(recipe, *swept, f"trainer.time_limit={RECIPE_PARTS * part / folds}"))
    folder = _train(sweeps, origin, console, datasets)
    results = results_below([folder], note)
    runs = {name: [run for run in results if candidate_of(run) == name] for name in requests}
    if cut := [name for name, of_model in runs.items() if any(map(_is_cut, of_model))]:
        warnings.append(
            f"warning: --time-limit={time_limit:g} ended the training of {', '.join(cut)}; a longer one may "
            "have another result"
        )
        note(warnings[-1])
    judged = judge({name: _out_of_fold(folder, of_model, datasets) for name, of_model in runs.items()})
    comparison = comparison_of(judged, folds, seeds, warnings, folder)
    _print(console, comparison)
    winner = judged.winner
    how, all_rows = "", ["dataset.test_fraction=0", "seed=range(1)"]  # the recipe's networks need val rows
    if winner.model == RECIPE:  # even with no time left, no worse trained than those that were compared
        longest = max(run.seconds or 0 for run in runs[RECIPE])
        all_rows.append(f"trainer.time_limit={max(_seconds_to(end), 2 * longest)}")
    else:
        epochs = max(1, round(statistics.median(map(_best_epoch, runs[winner.model]))))
        how, stop = f" for {plural(epochs, 'epoch')}", "trainer.early_stopping.patience=null"
        # No rows are left to say which epoch is the best.
        seeds_of = f"seed=range({winner.members})"
        last = "trainer.best_epoch=last"
        all_rows = ["dataset.fold=none", f"trainer.epochs={epochs}", stop, last, seeds_of]
    say(console, f"{winner.name}: training on all rows")
    final = _train([_with(requests[winner.model], *all_rows)], origin, console, datasets)
    ensemble = " --ensemble" if winner.members > 1 else ""
    write_fit(SweepFolder(final), comparison)
    console.print()
    say(
        console,
        f"cross-validation: {folder}",
        f"{winner.name}, trained on all rows{how}: {final}",
        f"report: {write_report(final)}",
        "next:",
        f"  mlpkit predict {shlex.quote(str(final))}{ensemble} --input NEW.csv --output predictions.csv",
    )


def _dataset_words(file: str, target: Sequence[str], overrides: Sequence[str]) -> tuple[str, ...]:
    """Return the overrides that choose the dataset and its target, followed by the given ones."""
    from mlpkit.cli.shorthand import expand

    named = [f"target={target[0] if len(target) == 1 else '[' + ','.join(target) + ']'}"] if target else []
    if not file.startswith("dataset="):
        return expand((f"data={file.removeprefix('data=')}", *named, *overrides))
    return expand((file, *(f"dataset.{line}" for line in named), *overrides))


def _with(request: "Request", *lines: str) -> "Request":
    """Return the request with more overrides, which replace those of the same keys."""
    keys = [_key(line) for line in lines]
    others = (line for line in request.overrides if _key(line) not in keys)
    return replace(request, overrides=(*others, *lines))


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _check(overrides: Sequence[str]) -> None:
    """Check that no override is of a key that fit sets itself.

    Raises:
        ConfigError: one is.
    """
    ways_out = {
        "model": "it compares models; leave it out, settings such as model.hidden=[64] are the mlp's",
        "seed": "use --seeds N",
        "dataset.fold": "it trains all folds; leave it out",
        "dataset.folds": "use --folds N",
        "trainer.time_limit": "use --time-limit SECONDS",
        "run.dir": "it makes several folders; use run.root",
    }
    for line in overrides:
        if way_out := ways_out.get(_key(line)):
            raise ConfigError(f"fit: {spell(line)}: {way_out}")


def _for_model(request: "Request", model: str) -> "Request":
    """Return the request for a model, or for none; overrides of model.* are for the mlp alone."""
    if model == "mlp":
        return _with(request, "model=mlp")
    lines = tuple(line for line in request.overrides if not _key(line).startswith("model."))
    return replace(request, overrides=(*lines, f"model={model}") if model else lines)


def _has_rows_for(recipe: "Request", folds: int, datasets: "Datasets", warnings: list[str]) -> bool:
    """Whether each of the recipe's networks has a fold of its own in each fold; warn if not."""
    from mlpkit.cli.compose import read_config
    from mlpkit.system.console import note

    try:
        for fold in range(folds):
            datasets.load(
                read_config(_with(recipe, f"dataset.folds={folds}", f"dataset.fold={fold}")).dataset
            )
    except ConfigError as error:
        warnings.append(f"without {RECIPE}: {error}")
        note(warnings[-1])
        return False
    return True


def candidate_of(run: "RunResult") -> str:
    """Return the candidate that a run of the cross-validation is of."""
    return RECIPE if run.settings["model.members"] > 1 else str(run.settings["model.name"])


def _train(requests: "Sequence[Request]", origin: "Origin", console: "Console", datasets: "Datasets") -> Path:
    """Train all jobs of the requests in one sweep; return its folder.

    Raises:
        JobsFailedError: some jobs failed.
    """
    from mlpkit.cli.plan import plan
    from mlpkit.cli.sweep import train_jobs

    jobs = [job for request in requests for job in plan(request).jobs]
    folder, failed = train_jobs(jobs, origin, console, datasets)
    if failed is not None:
        raise failed
    return folder.path


def _seconds_to(end: float) -> float:
    """Return the seconds that are left; a moment if there are none, which is enough for an epoch."""
    return max(end - time.monotonic(), 1e-3)


def _is_cut(run: "RunResult") -> bool:
    """Whether a run's training was ended by the time limit."""
    from mlpkit.folders.run_folder import RunFolder
    from mlpkit.folders.run_record import read_summary

    if run.status != "stopped early":
        return False
    return bool(read_summary(RunFolder(run.path))["train_seconds"] > run.settings["trainer.time_limit"])


def _out_of_fold(folder: Path, runs: "Sequence[RunResult]", datasets: "Datasets") -> "Sequence[OutOfFold]":
    from mlpkit.analysis.out_of_fold import predict_out_of_fold
    from mlpkit.folders.trust import Trust
    from mlpkit.system.console import note

    return predict_out_of_fold(folder, runs, "best", note, trust=Trust.OWN, load=datasets.load)


def _best_epoch(run: "RunResult") -> int:
    from mlpkit.folders.run_folder import RunFolder
    from mlpkit.folders.run_record import read_summary

    return int(read_summary(RunFolder(run.path))["best"]["epoch"])


def _print(console: "Console", comparison: "FitComparison") -> None:
    from mlpkit.system.console import plain_table, say

    table = plain_table(comparison.titles[0], comparison.titles[1:])
    for row in comparison.rows:
        table.add_row(*row)
    console.print()
    say(console, comparison.about)
    console.print()
    console.print(table)
    console.print()
    say(console, *comparison.lines)
    console.print()
