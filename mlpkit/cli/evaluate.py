"""mlpkit evaluate."""

from typing import Annotated

import typer

from mlpkit.cli.arguments import (
    AllowLarge,
    Device,
    Overrides,
    Plugins,
    Run,
    Which,
    open_run,
    split_arguments,
    warn_of_nan,
)

EXAMPLE = "mlpkit evaluate --split test"


def evaluate(
    run: Run = None,
    overrides: Overrides = None,
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="train|val|test", help="The rows to score; left out, test."),
    ] = None,
    checkpoint: Which = "best",
    device: Device = "cpu",
    allow_large: AllowLarge = False,
    plugin: Plugins = None,
) -> None:
    """Score a trained model on a split; overrides of dataset.* score it on other data."""
    from mlpkit.analysis.evaluate import choose_split, load_matching, without_rows_of
    from mlpkit.analysis.evaluate import evaluate as evaluate_rows
    from mlpkit.analysis.predict import make_predictor
    from mlpkit.cli.compose import Request, override
    from mlpkit.config.config import to_dict
    from mlpkit.errors import DataError
    from mlpkit.runs.trust import Trust
    from mlpkit.system.console import make_console, note, print_scores, say
    from mlpkit.system.device import choose_device

    run, given = split_arguments(run, overrides)
    trust = Trust.foreign(allow_large)
    path, stored = open_run(run, checkpoint, trust)
    predictor = make_predictor(stored, choose_device(device))
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
    warn_of_nan(stored.state.model, path)
    found = evaluate_rows(predictor, name, rows)
    console = make_console()
    print_scores(console, f"{path.stem}, {found.rows:,} rows", {found.split: found.scores})
    console.print()
    say(console, *found.report.split("\n"))
