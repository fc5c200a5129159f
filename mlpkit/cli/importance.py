"""mlpkit importance."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlpkit.analysis.named_run import folder_of, open_members
from mlpkit.cli.arguments import PICTURES, AllowLarge, Device, Plugins, Run, Which, command_line
from mlpkit.errors import ConfigError, WriteError
from mlpkit.system.paths import expand

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

EXAMPLE = "mlpkit importance --output importance.png"


def importance(
    run: Run = None,
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="train | val | test", help="The rows to score; left out, test."),
    ] = None,
    score: Annotated[str, typer.Option("--score", metavar="NAME", help="Left out, accuracy or r2.")] = "",
    repeats: Annotated[
        int, typer.Option("--repeats", metavar="N", min=2, max=1000, help="Shuffles of each column.")
    ] = 10,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="NAME",
            help="Show how the predictions depend on this column instead (partial dependence); repeatable.",
        ),
    ] = None,
    ensemble: Annotated[
        bool,
        typer.Option("--ensemble", help="Of all seeds or folds of a sweep's best setting."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="FILE", parser=expand, help="Write a .csv, or a picture: .png, .pdf or .svg."
        ),
    ] = None,
    checkpoint: Which = "best",
    device: Device = "cpu",
    allow_large: AllowLarge = False,
    plugin: Plugins = None,
) -> None:
    """Show how much a model needs each column: the drop of a score when the column is shuffled."""
    from mlpkit.analysis.matching_data import choose_split, load_matching, refuse_folds
    from mlpkit.analysis.predict import make_predictor
    from mlpkit.analysis.predictions_file import to_csv
    from mlpkit.cli.importance_answer import Judged, dependence_answer, importance_answer
    from mlpkit.config.problems import plural
    from mlpkit.folders.looks import record_look
    from mlpkit.folders.output_file import check_output, write_output
    from mlpkit.folders.trust import Trust
    from mlpkit.system.console import make_console, note, say
    from mlpkit.system.device import choose_device

    if output is not None:
        check_output(output, (".csv", *PICTURES))
    if column and score:
        raise ConfigError(f"--score={score}: --column shows predictions, not a score; leave one of them out")
    trust = Trust.foreign(allow_large)
    models = []
    for path, stored in open_members(run, checkpoint, trust, ensemble):
        if stored.input_schema.is_image:
            raise ConfigError(
                f"{path}: reads pictures, whose pixels mean little one by one; name a run on a table"
            )
        dataset = load_matching(stored.config.dataset, stored, path, note, trust)
        name, rows = choose_split(dataset, split)
        if split is None and rows.folds and not column:
            note(f"split train: each member was trained on most rows of {name} (dataset.val_folds)")
            name, rows = choose_split(dataset, "train")
        if not column:
            refuse_folds(name, dataset, "show what the model relies on with --split train")
        if name == "test":
            place = folder_of([(path, stored)])
            record_look(place, stored.config.run.root, stored.fingerprint, command_line(), note)
        predictor = make_predictor(stored, choose_device(device))
        models.append(Judged(dataset, predictor, name, rows, stored.config))
    answer = dependence_answer(models, column) if column else importance_answer(models, score, repeats)
    if output is None:
        for table in answer.tables:
            make_console().print(table)
        return
    content = to_csv(answer.columns).encode() if output.suffix == ".csv" else _drawn(answer.draw, output)
    write_output(output, content)
    count = len(column or models[0].dataset.input_schema.columns)
    say(make_console(), f"{plural(count, 'column')}: {output}")


def _drawn(draw: "Callable[[], Figure]", output: Path) -> bytes:
    """Return a picture in the format of a file's name.

    Raises:
        WriteError: it could not be drawn.
    """
    from mlpkit.plots.drawing import drawing
    from mlpkit.system.console import note

    content = b""
    with drawing("the picture", note):
        from mlpkit.plots import style

        with style.applied():
            content = style.render(draw(), output.suffix)
    if not content:
        raise WriteError(f"--output={output}: the picture could not be drawn; the warning says why")
    return content
