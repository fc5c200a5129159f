"""mlpkit evaluate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlpkit.cli.arguments import (
    AllowLarge,
    Device,
    Header,
    Invert,
    Overrides,
    Pixels,
    Plugins,
    Run,
    Which,
    command_line,
    open_run,
    split_arguments,
    warn_of_nan,
)
from mlpkit.config.problems import plural
from mlpkit.errors import ConfigError, DataError

if TYPE_CHECKING:
    from mlpkit.data.dataset import Split
    from mlpkit.data.inputs import ReadOptions
    from mlpkit.runs.checkpoint import Checkpoint
    from mlpkit.runs.trust import Trust

EXAMPLE = "mlpkit evaluate --split test"


def evaluate(
    run: Run = None,
    overrides: Overrides = None,
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="train | val | test", help="The rows to score; left out, test."),
    ] = None,
    input_: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="FILE",
            help="Score what has the targets: a table, arrays (npz), a folder with a folder of pictures for "
            "each class, or -.",
        ),
    ] = None,
    header: Header = None,
    pixels: Pixels = None,
    invert: Invert = False,
    checkpoint: Which = "best",
    device: Device = "cpu",
    allow_large: AllowLarge = False,
    plugin: Plugins = None,
) -> None:
    """Score a trained model on a split or a labelled file; overrides of dataset.* score it on other data."""
    from mlpkit.analysis.evaluate import evaluate as evaluate_rows
    from mlpkit.analysis.predict import make_predictor
    from mlpkit.data.inputs import ReadOptions
    from mlpkit.runs.test_looks import record_look
    from mlpkit.runs.trust import Trust
    from mlpkit.system.console import make_console, note, print_scores, say
    from mlpkit.system.device import choose_device

    run, given = split_arguments(run, overrides)
    if input_ is not None and (given or split is not None):
        other = given[0] if given else f"--split={split}"
        raise ConfigError(f"{other}: only for rows of a dataset; leave it out with --input")
    if input_ is None and (header is not None or pixels is not None or invert):
        raise ConfigError("--header, --no-header, --pixels and --invert: only with --input; leave them out")
    trust = Trust.foreign(allow_large)
    path, stored = open_run(run, checkpoint, trust)
    predictor = make_predictor(stored, choose_device(device))
    if input_ is not None:
        name, rows = "input", _read_rows(input_, ReadOptions(header, pixels, invert), stored)
    else:
        name, rows = _rows_of_split(split, given, path, stored, trust)
    warn_of_nan(stored.state.model, path)
    found = evaluate_rows(predictor, name, rows)
    if name == "test" and not given:
        record_look(path.parents[1], stored.config.run.root, stored.fingerprint, command_line(), note)
    console = make_console()
    print_scores(console, f"{path.stem}, {plural(found.rows, 'row')}", {found.split: found.scores})
    console.print()
    say(console, *found.report.split("\n"))


def _read_rows(source: str, options: "ReadOptions", stored: "Checkpoint") -> "Split":
    """Return the rows of a file, with their targets."""
    from mlpkit.data.labelled import read_labelled
    from mlpkit.system.console import note

    return read_labelled(source, stored.input_schema, stored.config.dataset, options, note)


def _rows_of_split(
    split: str | None, given: list[str], path: Path, stored: "Checkpoint", trust: "Trust"
) -> "tuple[str, Split]":
    """Return a split's name and its rows; of other data than the run's, those that it was not trained on."""
    from mlpkit.analysis.evaluate import choose_split, load_matching, without_rows_of
    from mlpkit.cli.compose import Request, override
    from mlpkit.config.config import to_dict
    from mlpkit.runs.trust import Trust
    from mlpkit.system.console import note

    config = override(
        to_dict(stored.config),
        Request(tuple(given)),
        allowed=lambda key: key.split(".")[0] == "dataset",
        rule="only the dataset may be overridden here, as in dataset.noise=0.2",
    )
    # A dataset that is chosen anew is the user's own; with single settings it is still the checkpoint's.
    is_own = any(text.startswith(("dataset=", "dataset.download=")) for text in given)
    dataset = load_matching(config.dataset, stored, path, note, Trust.OWN if is_own else trust)
    name, rows = choose_split(dataset, split)
    if given and name != "train":  # another seed or split may have dealt training rows into it
        trained = load_matching(stored.config.dataset, stored, path, note, trust).splits["train"]
        fresh = without_rows_of(rows, trained)
        if len(fresh) == 0:
            raise DataError(f"--split={name}: the model was trained on all of its {len(rows)} rows")
        if len(fresh) < len(rows):
            note(f"left out {len(rows) - len(fresh):,} of {len(rows):,} rows, which the model was trained on")
        rows = fresh
    return name, rows
