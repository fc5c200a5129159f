"""mlpkit evaluate."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlpkit.analysis.named_run import folder_of, open_members, warn_of_nan
from mlpkit.cli.arguments import (
    AllowLarge,
    Coverage,
    Device,
    Header,
    Invert,
    Novelty,
    Overrides,
    Pixels,
    Plugins,
    Run,
    Which,
    check_coverage,
    command_line,
    split_arguments,
)
from mlpkit.config.problems import plural
from mlpkit.errors import ConfigError, DataError

if TYPE_CHECKING:
    from mlpkit.analysis.answers import Answers
    from mlpkit.analysis.predict import Predictor
    from mlpkit.data.dataset import Dataset, Split
    from mlpkit.data.inputs import ReadOptions
    from mlpkit.folders.checkpoint import Checkpoint
    from mlpkit.folders.trust import Trust

EXAMPLE = "mlpkit evaluate --split test"
FEW = 30  # rows; the bootstrap's intervals of fewer are too narrow


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
    threshold: Annotated[
        str | None,
        typer.Option(
            "--threshold",
            metavar="P | best",
            help="Two classes: label rows of at least this probability as the second; best: highest f1 on "
            "val, or best:balanced_accuracy.",
        ),
    ] = None,
    ensemble: Annotated[
        bool,
        typer.Option(
            "--ensemble",
            help="Score what all seeds of a sweep's best setting predict together, not its best run alone.",
        ),
    ] = False,
    coverage: Coverage = None,
    novelty: Novelty = False,
    header: Header = None,
    pixels: Pixels = None,
    invert: Invert = False,
    weighted: Annotated[
        bool,
        typer.Option(
            "--weighted", help="Count the rows by their weights in all scores, not only in the loss."
        ),
    ] = False,
    checkpoint: Which = "best",
    device: Device = "cpu",
    allow_large: AllowLarge = False,
    plugin: Plugins = None,
) -> None:
    """Score a trained model on a split or a labelled file; overrides of dataset.* score it on other data."""
    from mlpkit.analysis.answers import answer
    from mlpkit.analysis.baselines import evaluate_baselines, judged_score
    from mlpkit.analysis.calibration import temperatures_of, uncalibrated
    from mlpkit.analysis.evaluate import evaluate_answers
    from mlpkit.analysis.predict import make_predictor, one_of
    from mlpkit.analysis.threshold import choose_threshold
    from mlpkit.config.metric import with_metric
    from mlpkit.data.inputs import ReadOptions
    from mlpkit.folders.looks import record_look
    from mlpkit.folders.trust import Trust
    from mlpkit.system.console import make_console, note, number, print_scores, say
    from mlpkit.system.device import choose_device

    check_coverage(coverage)
    run, given = split_arguments(run, overrides)
    if input_ is not None and (given or split is not None):
        other = given[0] if given else f"--split={split}"
        raise ConfigError(f"{other}: only for rows of a dataset; leave it out with --input")
    if input_ is None and (header is not None or pixels is not None or invert):
        raise ConfigError("--header, --no-header, --pixels and --invert: only with --input; leave them out")
    trust = Trust.foreign(allow_large)
    members = open_members(run, checkpoint, trust, ensemble)
    path, stored = members[0]
    if any(member.fingerprint != stored.fingerprint for _, member in members):
        raise ConfigError(
            "--ensemble: the runs were trained on different rows, so one may have seen what another is "
            "scored on; name a sweep over seeds alone"
        )
    predictors = [make_predictor(member, choose_device(device)) for _, member in members]
    predictor = one_of(predictors)
    dataset: Dataset | None = None
    rows: Split | None = None
    portions: Iterable[Split]
    if input_ is not None:
        name, portions = "input", _read_rows(input_, ReadOptions(header, pixels, invert), stored)
    else:
        name, rows, dataset = _rows_of_split(split, given, path, stored, trust)
        portions = [rows]
    for place, member in members:
        warn_of_nan(member.state.model, place)
    if name == "test" and not given:
        record_look(folder_of(members), stored.config.run.root, stored.fingerprint, command_line(), note)
    unlike = None
    if novelty:
        from mlpkit.analysis.novelty import describe_rate, novelty_of, refuse_training_rows

        refuse_training_rows(name, rows)
        unlike = novelty_of(members, predictor, trust, note)
    conformal = None
    if coverage is not None:
        from mlpkit.analysis.conformal import conformal_of, describe_coverage

        if name == "val":
            raise ConfigError("--coverage: is set by the validation rows; score others, such as --split test")
        conformal = conformal_of(members, predictor, coverage, trust, note)
    console, task, tuned = make_console(), predictor.task, ""
    if threshold is not None:
        val = None if dataset is None or name == "val" else dataset.splits.get("val")
        value, tuned = choose_threshold(threshold, predictor, val)
        if tuned:
            note(f"threshold {value:.4g}, which has the highest {tuned} on val")
            predictor.metrics = with_metric(predictor.metrics, tuned)
        predictor.task = task.at_threshold(value)
    plain = uncalibrated(predictor) if temperatures_of(predictor) != [1] else None
    answers = answer(predictor, portions, plain, None if unlike is None else unlike.of)
    found = evaluate_answers(predictor, name, answers, weighted)
    lows, highs = ({name: ends[place] for name, ends in found.intervals.items()} for place in (0, 1))
    baselines = {}
    is_new = rows is not None and name != "train" and not rows.folds
    if dataset is not None and rows is not None and is_new and not given and not weighted:
        baselines = evaluate_baselines(predictor, dataset, rows, found.draws, task, tuned)
    shown = {found.split: found.scores, "95 % from": lows, "95 % to": highs}
    alone = f"{stored.name_of(path)}, epoch {stored.state.progress.epoch}"
    who = f"ensemble of {len(members)}" if ensemble or len(members) > 1 else alone
    title = f"{who}, {plural(found.rows, 'row')}{', weighted' if weighted else ''}"
    print_scores(console, title, shown | {name: of.scores for name, of in baselines.items()})
    say(console, f"loss: {predictor.loss.on_output(task.name)}")
    if task.probabilities is not None:
        say(console, _calibration(predictor, answers))
    if conformal is not None:
        said, names = predictor.decode(answers.all_outputs), predictor.input_schema.targets
        say(console, describe_coverage(conformal, names, said, answers.rows.targets))
    if answers.novelty is not None:
        say(console, describe_rate(answers.novelty))
    if found.rows < FEW:
        say(console, f"fewer than {FEW} rows: bootstrap intervals are too narrow")
    score = judged_score(task, predictor.metrics, tuned)
    for name, of in baselines.items():
        low, high = of.better_by
        if high < 0:
            say(console, f"worse than {name}: {score} by {number(-high)} to {number(-low)}")
        elif not of.is_beaten:
            say(console, f"not shown to be better than {name}: {score} by {number(low)} to {number(high)}")
    console.print()
    say(console, *found.report.split("\n"))


def _calibration(predictor: "Predictor", answers: "Answers") -> str:
    """Return the calibration error and the Brier score of some rows; also without the temperature."""
    from mlpkit.analysis.calibration import calibration_scores, temperatures_of
    from mlpkit.losses.scores import ECE_BINS
    from mlpkit.system.console import number

    before = ""
    if answers.plain is not None:
        before = f"temperature {', '.join(f'{found:.4g}' for found in temperatures_of(predictor))}: "
    outputs = [each for each in (answers.plain, answers.outputs) if each is not None]
    scores = [calibration_scores(predictor.task, answers.rows, each) for each in outputs]
    ece, brier = (" → ".join(number(of[name]) for of in scores) for name in ("ece", "brier"))
    return f"calibration: {before}ECE {ece} ({ECE_BINS} bins), Brier {brier}"


def _read_rows(source: str, options: "ReadOptions", stored: "Checkpoint") -> "Iterator[Split]":
    """Yield the rows of a file, with their targets, portion by portion."""
    from mlpkit.data.labelled import read_labelled
    from mlpkit.system.ahead import one_ahead
    from mlpkit.system.console import note

    return one_ahead(read_labelled(source, stored.input_schema, stored.config.dataset, options, note))


def _rows_of_split(
    split: str | None, given: list[str], path: Path, stored: "Checkpoint", trust: "Trust"
) -> "tuple[str, Split, Dataset]":
    """Return a split's name, its rows and the dataset; of other data, the rows that were not trained on."""
    from mlpkit.analysis.matching_data import choose_split, load_matching, without_rows_of
    from mlpkit.cli.compose import Request, override
    from mlpkit.config.config import to_dict
    from mlpkit.folders.trust import Trust
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
    return name, rows, dataset
