"""mlpkit calibrate."""

import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlpkit.analysis.named_run import folder_of, open_members
from mlpkit.cli.arguments import PICTURES, AllowLarge, Plugins, Run, Which
from mlpkit.errors import ConfigError, DataError
from mlpkit.system.paths import expand

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mlpkit.folders.checkpoint import Checkpoint
    from mlpkit.folders.trust import Trust

EXAMPLE = "mlpkit calibrate"
DRAWN = ("boundary", "calibration", "probabilities", "samples")  # from probabilities


def calibrate(
    run: Run = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the temperature again, or what --novelty stored.")
    ] = False,
    novelty: Annotated[
        bool,
        typer.Option(
            "--novelty",
            help="Store what --novelty, serve and Python compare rows with, instead of a temperature.",
        ),
    ] = False,
    ensemble: Annotated[
        bool,
        typer.Option(
            "--ensemble",
            help="Calibrate the ensemble of all seeds of a sweep's best setting, not its best run alone.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            parser=expand,
            help="Draw how often the model is right, before and after: a .png, .pdf or .svg file.",
        ),
    ] = None,
    checkpoint: Which = "best",
    allow_large: AllowLarge = False,
    plugin: Plugins = None,
) -> None:
    """Fit a temperature on the validation rows; the checkpoint keeps it, and all predictions use it."""
    from dataclasses import replace

    from mlpkit.analysis.calibration import calibration_scores, fit_temperature, uncalibrated
    from mlpkit.analysis.matching_data import load_common
    from mlpkit.analysis.predict import make_predictor, one_of
    from mlpkit.config.problems import plural
    from mlpkit.data.weights import row_weights
    from mlpkit.folders.output_file import check_output
    from mlpkit.folders.trust import Trust
    from mlpkit.system.console import make_console, note, number, plain_table, say

    if output is not None:
        check_output(output, PICTURES)
    trust = Trust.foreign(allow_large)
    members = open_members(run, checkpoint, trust, ensemble)
    path, stored = members[0]
    paths, together = [path for path, _ in members], len(members) > 1
    named, console = folder_of(members) if together else path, make_console()
    if novelty:
        if output is not None:
            raise ConfigError(f"--output={output}: shows a temperature; leave it out with --novelty")
        _keep_novelty(members, remove, trust)
        return
    if remove:
        _keep(paths, trust, **({"ensemble": ()} if together else {"temperature": 1.0}))
        say(console, f"not calibrated: {named}")
        if not together:
            _name_old_pictures(path, stored)
        return
    if stored.input_schema.task == "regression":
        raise ConfigError(
            f"{path}: a regression has no probabilities to calibrate; mlpkit predict --coverage 0.9 gives "
            "intervals"
        )
    dataset = load_common(members, "--ensemble", note, trust)
    if "val" not in dataset.splits:
        raise ConfigError(
            f"{path}: the run has no validation rows to fit a temperature on; train with a larger "
            "dataset.val_fraction"
        )
    rows = dataset.splits["val"]
    plain = uncalibrated(one_of([make_predictor(member) for _, member in members]))
    logits, weights = plain.on(rows).each_output(rows.inputs), row_weights(rows)
    temperature = fit_temperature(
        plain.task, logits, rows.targets, None if weights is None else weights[rows.rows]
    )
    before, after = (plain.task.average(logits / divisor) for divisor in (1, temperature))
    scores = [calibration_scores(plain.task, rows, outputs) for outputs in (before, after)]
    _keep(
        paths,
        trust,
        **({"ensemble": (temperature, len(paths))} if together else {"temperature": temperature}),
    )
    table = plain_table(f"val, {plural(len(rows), 'row')}", ["before", "after"])
    for name in scores[0]:
        table.add_row(name, *(number(of[name]) for of in scores))
    console.print(table)
    if output is not None:
        from mlpkit.folders.output_file import write_output
        from mlpkit.plots import style
        from mlpkit.plots.probabilities import draw_calibration

        with style.applied():
            calibrated = one_of(
                [make_predictor(replace(each, temperature=temperature)) for _, each in members]
            )
            figure = draw_calibration(dataset, calibrated, "val", after)
            write_output(output, style.render(figure, output.suffix))
        say(console, f"picture: {output}")
    say(console, f"temperature {temperature:.4g}: {named}")
    if not together:
        _name_old_pictures(path, stored)


def _name_old_pictures(path: Path, stored: "Checkpoint") -> None:
    """Say which pictures, that a report shows too, have the probabilities of before."""
    from mlpkit.cli.plot import folder_of_pictures
    from mlpkit.system.console import note

    old: list[str] = []
    with suppress(DataError):  # there is a link, which `mlpkit plot` refuses
        pictures = sorted(folder_of_pictures(path, stored).glob("*.png"))
        old = [picture.name for picture in pictures if picture.stem in DRAWN]
    if old:
        note(
            f"drawn before this change: {', '.join(old)}; to draw again: mlpkit plot {shlex.quote(str(path))}"
        )


def _keep_novelty(members: "list[tuple[Path, Checkpoint]]", remove: bool, trust: "Trust") -> None:
    """Store the training rows that others are compared with in a model's checkpoints, or remove them."""
    from mlpkit.analysis.matching_data import load_common
    from mlpkit.analysis.novelty import fit_novelty
    from mlpkit.analysis.predict import make_predictor
    from mlpkit.config.problems import plural
    from mlpkit.system.console import make_console, note, say

    paths, console = [path for path, _ in members], make_console()
    if remove:
        _keep(paths, trust, novelty={})
        say(console, f"no training rows to compare with: {paths[0]}")
        return
    dataset, stored = load_common(members, "--novelty", note, trust), members[0][1]
    found = fit_novelty(make_predictor(stored), dataset.splits["train"], stored.config.seed)
    _keep(paths, trust, novelty=found.tensors())
    say(console, f"compares with {plural(len(found.rows), 'training row')}: {paths[0]}")


def _keep(paths: list[Path], trust: "Trust", **changes: Any) -> None:
    """Write something into checkpoints."""
    from dataclasses import replace

    from mlpkit.folders.checkpoint import load, save
    from mlpkit.folders.state import KINDS

    for path in paths:
        with _held(path):
            save(path, replace(load(path, KINDS, trust), **changes))


def _held(checkpoint: Path) -> "AbstractContextManager[None]":
    """Return the lock of a checkpoint's run; nothing is locked for a file outside of a run."""
    import stat
    from contextlib import nullcontext

    from mlpkit.folders.run_folder import RunFolder, refuse_other_kind
    from mlpkit.system.lock import locked

    refuse_other_kind(checkpoint, stat.S_ISREG, "file")
    folder = RunFolder(checkpoint.parent.parent)
    return locked(folder.lock) if checkpoint.parent.name == "checkpoints" else nullcontext()
