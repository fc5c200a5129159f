"""mlpkit export."""

import stat
import sys
from collections.abc import Sequence
from functools import partial
from keyword import iskeyword
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlpkit.analysis.named_run import folder_of, newest_of, open_members, open_run
from mlpkit.cli.arguments import AllowLarge, Plugins, Which, command_line
from mlpkit.config.problems import plural, spell
from mlpkit.deploy.format_modules import MODULES
from mlpkit.errors import ConfigError, DataError
from mlpkit.system.paths import expand

if TYPE_CHECKING:
    from mlpkit.data.dataset import Dataset
    from mlpkit.deploy.format import Source
    from mlpkit.folders.checkpoint import Checkpoint
    from mlpkit.folders.trust import Trust
    from mlpkit.tasks import Task

IMPORTED = ("mlpkit", "numpy", "onnxruntime", "safetensors", "sklearn", "torch")  # beside what was exported

EXAMPLE = "mlpkit export --format python"


def export(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Run folder, checkpoint file or sweep (its best run); left out, the newest run. Several are "
            "an ensemble.",
            metavar="RUN",
        ),
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", metavar=" | ".join(MODULES), help="What to write.")
    ] = "",
    ensemble: Annotated[
        bool,
        typer.Option("--ensemble", help="All seeds of a sweep's best setting, not its best run alone."),
    ] = False,
    threshold: Annotated[
        str | None,
        typer.Option(
            "--threshold",
            metavar="P",
            help="Two classes: label rows of at least this probability as the second; left out, 0.5.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="DIR", parser=expand, help="The folder; left out, export/FORMAT in the run."
        ),
    ] = None,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Of the files, and of the functions in them.")
    ] = "model",
    checkpoint: Which = "best",
    allow_large: AllowLarge = False,
    plugin: Plugins = None,
) -> None:
    """Write a trained model as a file that works without mlpkit, and check that it predicts the same."""
    if format_ not in MODULES:
        given = f"--format={spell(format_)}: must be" if format_ else "export: give --format,"
        raise ConfigError(f"{given} one of {', '.join(MODULES)}")
    check_name(name)

    from mlpkit.analysis.predict import make_predictor, one_of
    from mlpkit.analysis.threshold import parse_threshold
    from mlpkit.deploy.check_rows import load_data, made_rows, test_rows
    from mlpkit.deploy.export import check_folder
    from mlpkit.deploy.export import export as export_model
    from mlpkit.deploy.format import Source
    from mlpkit.folders.checkpoint import not_finite
    from mlpkit.folders.trust import Trust
    from mlpkit.system.console import make_console, note, say

    trust = Trust.foreign(allow_large)
    members = _open(runs or [], ensemble, checkpoint, trust)
    folder = _default_folder(runs or [], members, format_) if output is None else output
    check_folder(folder)
    paths, (path, stored) = [path for path, _ in members], members[0]
    predictors = [make_predictor(member) for _, member in members]
    predictor = one_of(predictors)
    at = 0.5 if threshold is None else parse_threshold(threshold, predictor)
    task = predictor.task
    for each in (predictor, *predictors) if threshold is not None else ():
        each.task = task.at_threshold(at)
    for path, member in members:
        if bad := next(not_finite(member.state.model), None):
            raise DataError(f"{path}: {bad} holds values that are not finite; train the model again")
    source = Source(predictor, stored.config, at, name)
    dataset = load_data(stored, paths[0], trust, note)
    rows = [made_rows(predictors[0].network, predictor.input_schema)]
    rows += [] if dataset is None else [test_rows(dataset, stored)]
    card = partial(_card, source, members, dataset, task)
    found = export_model(source, format_, folder, rows, paths, card)
    difference = found.difference
    say(
        make_console(),
        f"checked with {plural(found.rows, 'row')}: largest difference {difference.largest:.2g} "
        f"(rounding allows {difference.allowed:.2g})",
        *(str(folder / file) for file in found.files),
    )


def _card(
    source: "Source",
    members: "list[tuple[Path, Checkpoint]]",
    dataset: "Dataset | None",
    task: "Task",
) -> str:
    """Return the model card; scores that are computed for it are a look at the test rows."""
    from mlpkit.deploy.card_scores import card_scores
    from mlpkit.deploy.model_card import model_card
    from mlpkit.folders.looks import record_look
    from mlpkit.system.console import note

    scores, stored = card_scores(source.predictor, members, dataset, task), members[0][1]
    if scores.split == "test":
        record_look(folder_of(members), stored.config.run.root, stored.fingerprint, command_line(), note)
    sizes = {} if dataset is None else {split: len(rows) for split, rows in dataset.splits.items()}
    return model_card(source, [path for path, _ in members], sizes, scores)


def check_name(name: str) -> None:
    """Check the name of the files, which are imported in Python or included in C.

    Raises:
        ConfigError: it is no word, or means something in Python already.
    """
    if not (name.isidentifier() and name.isascii() and len(name) <= 50) or name.startswith("_"):
        raise ConfigError(
            f"--name={spell(name)}: must be a letter, then letters, digits and _, such as churn_model"
        )
    if iskeyword(name) or name in sys.stdlib_module_names or name in IMPORTED:
        raise ConfigError(
            f"--name={name}: is a word or a module of Python, which the file would hide; choose another, "
            "such as churn_model"
        )


def _open(
    runs: Sequence[str], ensemble: bool, checkpoint: str, trust: "Trust"
) -> "list[tuple[Path, Checkpoint]]":
    """Return the checkpoints of the members."""
    if len(runs) < 2:
        return open_members(runs[0] if runs else None, checkpoint, trust, ensemble)
    return [open_run(run, checkpoint, trust) for run in runs]


def _default_folder(runs: Sequence[str], members: "Sequence[tuple[Path, Checkpoint]]", format_: str) -> Path:
    """Return export/FORMAT of the run, or of the sweep for an ensemble.

    Raises:
        ConfigError: the model is of several runs, or of a file outside of a run.
        DataError: a link in its place leads out of the run.
    """
    from mlpkit.folders.run_folder import refuse_other_kind

    if len(runs) > 1:
        raise ConfigError("export: an ensemble of several runs has no folder of its own; give --output DIR")
    run = runs[0] if runs else None
    checkpoints = members[0][0].parent
    if checkpoints.name != "checkpoints":
        raise ConfigError(f"export: {members[0][0]} is not in a run folder; give --output DIR")
    exports = (newest_of(run)[0] if len(members) > 1 else checkpoints.parent) / "export"
    for path in (exports, exports / format_):
        refuse_other_kind(path, stat.S_ISDIR, "folder")
    return exports / format_
