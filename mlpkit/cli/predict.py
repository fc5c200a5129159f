"""mlpkit predict."""

from pathlib import Path
from typing import Annotated

import typer

from mlpkit.cli.arguments import AllowLarge, Device, Plugins, Run, Which, open_run, warn_of_nan
from mlpkit.config.problems import plural
from mlpkit.errors import ConfigError, DataError
from mlpkit.system.paths import expand

ROWS_ON_A_TERMINAL = 40

EXAMPLE = "mlpkit predict --values 0.3,0.5"


def predict(
    run: Run = None,
    input_: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="FILE",
            help="A table, arrays (npy, npz), a picture (png, jpg), a folder of pictures, or -.",
        ),
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--values", metavar="A,B,…", help="One row, in the order of the columns, or as NAME=VALUE,…"
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep", metavar="COLUMN", help="Copy a column of the input to the output; repeatable."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", metavar="train | val | test", help="Predict the rows of a split.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", parser=expand, help="Write a .csv, .jsonl or .npz file."),
    ] = None,
    header: Annotated[
        bool | None,
        typer.Option("--header/--no-header", help="Whether the first line of a csv holds names."),
    ] = None,
    pixels: Annotated[
        int | None,
        typer.Option(
            "--pixels",
            metavar="N",
            min=1,
            help="The largest possible pixel of a table or an array, such as 255.",
        ),
    ] = None,
    invert: Annotated[
        bool, typer.Option("--invert", help="Pictures are dark on light; the data sets are light on dark.")
    ] = False,
    checkpoint: Which = "best",
    device: Device = "cpu",
    allow_large: AllowLarge = False,
    plugin: Plugins = None,
) -> None:
    """Predict from raw inputs with a trained model."""
    from mlpkit.analysis.predictions_file import ENDINGS, as_columns, write
    from mlpkit.runs.output_file import check_output, refuse_input

    if sum(given is not None for given in (input_, values or None, split)) != 1:
        raise ConfigError("predict: give one of --input FILE, --values A,B,… or --split NAME")
    if header is not None and input_ is None:
        raise ConfigError(f"--{'' if header else 'no-'}header: only with --input; leave it out")
    if keep and input_ is None:
        raise ConfigError(f"--keep={keep[0]}: only with --input; leave it out")
    if split is not None and (pixels is not None or invert):
        raise ConfigError("--pixels and --invert: only for inputs of your own; leave them out with --split")
    if output is not None:
        check_output(output, ENDINGS)
        if input_ is not None:
            refuse_input(output, input_)

    from mlpkit.analysis.evaluate import choose_split, load_matching
    from mlpkit.analysis.predict import make_predictor
    from mlpkit.config.nested import texts
    from mlpkit.data.inputs import Inputs, Reading, parse_values, read_inputs
    from mlpkit.runs.trust import Trust
    from mlpkit.system.console import make_console, note, say
    from mlpkit.system.device import choose_device

    trust = Trust.foreign(allow_large)
    path, stored = open_run(run, checkpoint, trust)
    if output is not None:
        refuse_input(output, str(path))
    predictor = make_predictor(stored, choose_device(device))
    input_schema, true = predictor.input_schema, None
    reading = Reading(header, pixels, invert)
    if split is not None:
        dataset = load_matching(stored.config.dataset, stored, path, note, trust)
        if output is not None:
            for _, text in texts(
                stored.config.dataset.model_dump(mode="json")
            ):  # among them the files that were read
                refuse_input(output, text)
        rows = choose_split(dataset, split)[1]
        inputs, true = Inputs(rows.inputs), rows.targets
    elif keep or input_schema.encoder is not None:
        from mlpkit.data.raw_inputs import parse_raw, read_raw

        reading.check(input_schema)
        if values:
            inputs = Inputs(parse_raw(values, input_schema, note).values)
        else:
            raw = read_raw(str(input_), input_schema, stored.config.dataset, header, keep or (), warn=note)
            inputs = Inputs(raw.values, kept=raw.kept)
    elif values:
        inputs = parse_values(values, input_schema, reading, note)
    else:
        inputs = read_inputs(str(input_), input_schema, reading, note)
    predictions = predictor.predict(inputs.values)
    if not warn_of_nan(stored.state.model, path) and (row := predictions.first_not_finite()) is not None:
        named = inputs.names[row] if inputs.names else f"row {row + 1}"
        source = input_ or (f"--split={split}" if split else "--values")
        raise DataError(
            f"{source}: {named}: the prediction is no finite number, since the inputs are too large for the "
            "model; correct or remove the row"
        )
    columns = as_columns(predictions, input_schema, inputs.names, true, inputs.kept)
    if output is not None:
        write(output, columns)
        say(make_console(), f"{plural(len(inputs.values), 'prediction')}: {output}")
    else:
        _show(columns)


def _show(columns: dict[str, list[object]]) -> None:
    """Print a table on a terminal, csv elsewhere."""
    from mlpkit.analysis.predictions_file import to_csv
    from mlpkit.system.console import is_terminal, make_console, note, plain_table, print_answer

    console = make_console()
    if not is_terminal(console):
        print_answer(to_csv(columns))
        return
    rows = list(zip(*columns.values(), strict=True))
    shown = [name for name in columns if not name.startswith("p(")]
    probabilities = [name for name in columns if name.startswith("p(")]
    if len(probabilities) > 4:  # as many columns do not fit on 80 columns; that of the class does
        probabilities_shown = ["probability"] if "class" in columns else []
    else:
        probabilities_shown = probabilities
    names = [*shown, *probabilities_shown]
    table = plain_table("row", names)
    for index, row in enumerate(rows[:ROWS_ON_A_TERMINAL]):
        cells = dict(zip(columns, row, strict=True))
        likeliest = max((float(str(cells[name])) for name in probabilities), default=0.0)
        line = {**cells, "probability": likeliest}
        table.add_row(str(index + 1), *(_cell(line[name]) for name in names))
    console.print(table)
    if len(rows) > ROWS_ON_A_TERMINAL:
        note(f"{len(rows) - ROWS_ON_A_TERMINAL} more rows; --output FILE writes them all")


def _cell(value: object) -> str:
    from rich.markup import escape

    from mlpkit.system.console import printable

    return escape(printable(str(value))) if isinstance(value, str | int) else f"{float(str(value)):.6g}"
