"""mlpkit importance."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlpkit.analysis.named_run import folder_of, open_run
from mlpkit.cli.arguments import AllowLarge, Device, Plugins, Run, Which, command_line
from mlpkit.errors import ConfigError, WriteError
from mlpkit.system.paths import expand

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

EXAMPLE = "mlpkit importance --output importance.png"
PICTURES = (".png", ".pdf", ".svg")


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
    from mlpkit.analysis.evaluate import choose_split, load_matching, refuse_folds
    from mlpkit.analysis.importance import permutation_importance
    from mlpkit.analysis.predict import make_predictor
    from mlpkit.analysis.predictions_file import Columns, to_csv
    from mlpkit.config.problems import plural
    from mlpkit.folders.looks import record_look
    from mlpkit.folders.output_file import check_output, write_output
    from mlpkit.folders.trust import Trust
    from mlpkit.system.console import figures, make_console, note, number, plain_table, say
    from mlpkit.system.device import choose_device

    if output is not None:
        check_output(output, (".csv", *PICTURES))
    trust = Trust.foreign(allow_large)
    path, stored = open_run(run, checkpoint, trust)
    if stored.input_schema.is_image:
        raise ConfigError(
            f"{path}: reads pictures, whose pixels mean little one by one; name a run on a table"
        )
    dataset = load_matching(stored.config.dataset, stored, path, note, trust)
    name, rows = choose_split(dataset, split)
    refuse_folds(name, rows)
    predictor = make_predictor(stored, choose_device(device))
    if name == "test":
        member = [(path, stored)]
        record_look(folder_of(member), stored.config.run.root, stored.fingerprint, command_line(), note)
    score, value, found = permutation_importance(predictor, rows, score, repeats)
    if output is None:
        title = f"{name}, {plural(len(rows), 'row')}, {score} {number(value)}"
        table = plain_table(title, ["worse by", "95 % from", "95 % to"])
        for each in found:
            table.add_row(each.column, *map(figures, (each.drop, each.low, each.high)))
        make_console().print(table)
        return
    if output.suffix == ".csv":
        columns: Columns = {
            "column": [each.column for each in found],
            "drop": [each.drop for each in found],
            "low": [each.low for each in found],
            "high": [each.high for each in found],
        }
        write_output(output, to_csv(columns).encode(errors="surrogateescape"))
    else:

        def draw() -> "Figure":
            from mlpkit.plots.importance import draw_importance

            return draw_importance(dataset, predictor, name, score, found)

        write_output(output, _drawn(draw, output))
    say(make_console(), f"{plural(len(found), 'column')}: {output}")


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
