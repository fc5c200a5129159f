"""mlpkit predict."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlpkit.analysis.named_run import check_which, folder_of, newest_of, open_members, warn_of_nan
from mlpkit.cli.arguments import (
    AllowLarge,
    Coverage,
    Device,
    Header,
    Invert,
    Novelty,
    Pixels,
    Plugins,
    Run,
    Which,
    check_coverage,
    command_line,
)
from mlpkit.cli.predictions_table import show
from mlpkit.config.problems import plural
from mlpkit.errors import ConfigError, DataError
from mlpkit.system.paths import expand

if TYPE_CHECKING:
    from mlpkit.folders.trust import Trust


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
    out_of_fold: Annotated[
        bool,
        typer.Option(
            "--out-of-fold",
            help="Predict every row of a cross-validation's table, each by the models that did not see it.",
        ),
    ] = False,
    ensemble: Annotated[
        bool,
        typer.Option(
            "--ensemble",
            help="Average what all seeds of a sweep's best setting predict, not its best run alone.",
        ),
    ] = False,
    spread: Annotated[
        bool,
        typer.Option(
            "--spread",
            help="How far the members of an ensemble are apart: the standard deviation of what they predict.",
        ),
    ] = False,
    threshold: Annotated[
        str | None,
        typer.Option(
            "--threshold",
            metavar="P",
            help="Two classes: label rows of at least this probability as the second; left out, 0.5.",
        ),
    ] = None,
    coverage: Coverage = None,
    novelty: Novelty = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="FILE", parser=expand, help="Write a .csv, .jsonl, .npz or .parquet file."
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
    """Predict from raw inputs with a trained model."""
    from mlpkit.analysis.predictions_file import ENDINGS, joined, write
    from mlpkit.folders.output_file import check_output, refuse_input

    if sum(given is not None for given in (input_, values or None, split, out_of_fold or None)) != 1:
        raise ConfigError("predict: give one of --input FILE, --values A,B,…, --split NAME or --out-of-fold")
    if header is not None and input_ is None:
        raise ConfigError(f"--{'' if header else 'no-'}header: only with --input; leave it out")
    if keep and input_ is None and not out_of_fold:
        raise ConfigError(f"--keep={keep[0]}: only with --input or --out-of-fold; leave it out")
    if (split is not None or out_of_fold) and (pixels is not None or invert):
        way = "--out-of-fold" if out_of_fold else "--split"
        raise ConfigError(f"--pixels and --invert: only for inputs of your own; leave them out with {way}")
    check_coverage(coverage)
    if out_of_fold and coverage is not None:
        raise ConfigError("--coverage: not with --out-of-fold; leave one of them out")
    if out_of_fold and novelty:
        raise ConfigError("--novelty: all rows of --out-of-fold are training rows; leave one of them out")
    if output is not None:
        check_output(output, ENDINGS)
        if input_ is not None:
            refuse_input(output, input_)

    from mlpkit.analysis.conformal import conformal_of
    from mlpkit.analysis.matching_data import choose_split, load_matching, refuse_folds
    from mlpkit.analysis.novelty import novelty_of, refuse_training_rows
    from mlpkit.analysis.predict import Ensemble, make_predictor, one_of
    from mlpkit.analysis.predicted_columns import predicted_columns
    from mlpkit.analysis.threshold import parse_threshold
    from mlpkit.config.nested import texts
    from mlpkit.data.inputs import Inputs, ReadOptions, parse_values, read_inputs
    from mlpkit.folders.looks import record_look
    from mlpkit.folders.trust import Trust
    from mlpkit.system.console import make_console, note, say
    from mlpkit.system.device import choose_device

    trust = Trust.foreign(allow_large)
    if out_of_fold and ensemble:
        raise ConfigError("--ensemble: --out-of-fold averages the seeds already; leave it out")
    if out_of_fold and spread:
        raise ConfigError("--spread: --out-of-fold predicts each row by models of its own; leave it out")
    if out_of_fold:
        _predict_out_of_fold(run, keep or (), output, checkpoint, device, trust)
        return
    members = open_members(run, checkpoint, trust, ensemble)
    for path, _ in members:
        if output is not None:
            refuse_input(output, str(path))
    path, stored = members[0]
    predictors = [make_predictor(member, choose_device(device)) for _, member in members]
    predictor = one_of(predictors)
    if spread and not isinstance(predictor, Ensemble):
        raise ConfigError(
            f"--spread: {path} is one network; name a run with model.members, or a sweep with --ensemble"
        )
    if threshold is not None:
        predictor.task = predictor.task.at_threshold(parse_threshold(threshold, predictor))
    input_schema, true = predictor.input_schema, None
    portions: Iterable[Inputs]
    options = ReadOptions(header, pixels, invert, stored.config.dataset.array_names()[0])
    if split is not None:
        dataset = load_matching(stored.config.dataset, stored, path, note, trust)
        if output is not None:
            for _, text in texts(stored.config.dataset.model_dump(mode="json")):
                if Path(text).is_absolute():  # as all paths of a config are; decimal: . is no folder
                    refuse_input(output, text)
        name, rows = choose_split(dataset, split)
        refuse_folds(name, dataset, "predict a file with --input")
        if novelty:
            refuse_training_rows(name, rows)
        if name == "test":
            record_look(folder_of(members), stored.config.run.root, stored.fingerprint, command_line(), note)
        portions, true = [Inputs(rows.inputs)], rows.targets
    elif keep or input_schema.encoder is not None:
        from mlpkit.data.raw_inputs import missing_texts, parse_raw
        from mlpkit.data.raw_portions import read_raw
        from mlpkit.system.ahead import one_ahead

        options.check(input_schema)
        if values:
            missing = missing_texts(stored.config.dataset)
            portions = [Inputs(parse_raw(values, input_schema, missing, note).values)]
        else:
            raw = read_raw(str(input_), input_schema, stored.config.dataset, options, keep or (), warn=note)
            portions = one_ahead(Inputs(found.values, kept=found.kept) for found in raw)
    elif values:
        portions = [parse_values(values, input_schema, options, note)]
    else:
        portions = [read_inputs(str(input_), input_schema, options, note)]
    reach = None if coverage is None else conformal_of(members, predictor, coverage, trust, note)
    are_nan = [warn_of_nan(member.state.model, path) for path, member in members]
    source = input_ or (f"--split={split}" if split else "--values")
    unlike = novelty_of(members, predictor, trust, note) if novelty else None
    parts = predicted_columns(portions, predictor, source, true, reach, unlike, note, spread, any(are_nan))
    if output is not None:
        say(make_console(), f"{plural(write(output, parts), 'prediction')}: {output}")
    else:
        epoch = f"{stored.name_of(path)} checkpoint, epoch {stored.state.progress.epoch}"
        show(joined(parts), "" if ensemble or run is None else f"{path.parent.parent}: {epoch}")


def _predict_out_of_fold(
    run: str | None, keep: Sequence[str], output: Path | None, checkpoint: str, device: str, trust: "Trust"
) -> None:
    """Predict every row of the table that a sweep's best setting was trained on in folds."""
    from mlpkit.analysis.compare import compare
    from mlpkit.analysis.out_of_fold import average, predict_out_of_fold
    from mlpkit.analysis.predicted_columns import NOT_FINITE
    from mlpkit.analysis.predictions_file import as_columns, write
    from mlpkit.data.raw_inputs import keep_columns
    from mlpkit.data.table_targets import describe_left_out
    from mlpkit.folders.find_run import newest_folds
    from mlpkit.folders.indexed_results import results_below
    from mlpkit.folders.looks import record_training
    from mlpkit.folders.sweep_folder import is_sweep
    from mlpkit.system.console import make_console, note, say
    from mlpkit.system.device import choose_device

    check_which(checkpoint)
    sweep, newest = newest_of(run)
    if newest:  # it need not be one of folds
        root = Path("outputs") if run is None else expand(run)
        found_sweep = newest_folds(root)
        if found_sweep is None:
            raise ConfigError(
                f"--out-of-fold: no sweep over folds below {root}; train one: mlpkit train -m dataset=… "
                "'dataset.fold=range(5)'"
            )
        sweep = found_sweep
    if not is_sweep(sweep):
        raise ConfigError(
            f"--out-of-fold: {sweep} is not a sweep; name that of mlpkit train -m dataset=… "
            "'dataset.fold=range(5)'"
        )
    if newest:
        note(f"newest sweep over folds: {sweep}")
    settings = compare(results_below([sweep], note)).settings
    if len(settings) > 1:
        options = " ".join(f"{key}={value}" for key, value in settings[0].options.items())
        note(f"the best of {len(settings)} settings: {options}")
    runs = settings[0].runs.values()
    found = average(predict_out_of_fold(sweep, runs, checkpoint, note, choose_device(device), trust))
    record_training(sweep, command_line(), note)
    raw, predictions = found.config.raw(), found.predictions()
    if (bad := predictions.first_not_finite()) is not None:
        raise DataError(f"{raw.locate(int(found.rows[bad]))}: {NOT_FINITE}")
    kept = keep_columns(raw.table.take(found.rows.numpy()), keep, raw.source)
    schema, rows = found.predictor.input_schema, found.rows.tolist()
    columns = as_columns(predictions, schema, true=found.targets, kept=kept, rows=rows)
    if left := len(raw.table) - len(rows):
        note(describe_left_out(left))
    if found.chosen_by_test:
        note(
            "warning: dataset.val_fraction=0: the best epochs were chosen by the rows that are predicted, so "
            "the scores are too good; --checkpoint last takes the last ones"
        )
    scores = ", ".join(f"{name} {value:.4g}" for name, value in found.scores().items())
    seeds = f", the mean of {found.seeds} seeds" if found.seeds > 1 else ""
    line = f"out of fold: {scores} ({len(rows):,} rows{seeds})"
    if output is None:
        show(columns)
        note(line)
    else:
        write(output, [columns])
        say(make_console(), line, f"{plural(len(rows), 'prediction')}: {output}")
