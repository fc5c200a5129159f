"""mlpkit calibrate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlpkit.analysis.named_run import open_run
from mlpkit.cli.arguments import AllowLarge, Plugins, Run, Which
from mlpkit.errors import ConfigError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mlpkit.folders.trust import Trust

EXAMPLE = "mlpkit calibrate"


def calibrate(
    run: Run = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the temperature again.")] = False,
    checkpoint: Which = "best",
    allow_large: AllowLarge = False,
    plugin: Plugins = None,
) -> None:
    """Fit a temperature on the validation rows; the checkpoint keeps it, and all predictions use it."""
    from dataclasses import replace

    from mlpkit.analysis.calibration import calibration_scores, fit_temperature
    from mlpkit.analysis.evaluate import load_matching
    from mlpkit.analysis.predict import make_predictor
    from mlpkit.config.problems import plural
    from mlpkit.data.weights import row_weights
    from mlpkit.folders.trust import Trust
    from mlpkit.system.console import make_console, note, number, plain_table, say

    trust = Trust.foreign(allow_large)
    path, stored = open_run(run, checkpoint, trust)
    console = make_console()
    if remove:
        _set_temperature(path, 1.0, trust)
        say(console, f"not calibrated: {path}")
        return
    if stored.input_schema.task == "regression":
        raise ConfigError(
            f"{path}: a regression has no probabilities to calibrate; mlpkit predict --coverage 0.9 gives "
            "intervals"
        )
    dataset = load_matching(stored.config.dataset, stored, path, note, trust)
    if "val" not in dataset.splits:
        raise ConfigError(
            f"{path}: the run has no validation rows to fit a temperature on; train with a larger "
            "dataset.val_fraction"
        )
    rows = dataset.splits["val"]
    plain = make_predictor(replace(stored, temperature=1.0))
    outputs = plain.on(rows).outputs_in_blocks(rows.inputs)
    weights = row_weights(rows)
    temperature = fit_temperature(
        plain.task, outputs, rows.targets, None if weights is None else weights[rows.rows]
    )
    after = make_predictor(replace(stored, temperature=temperature))
    scores = [
        calibration_scores(plain, rows, outputs),
        calibration_scores(after, rows, after.on(rows).outputs_in_blocks(rows.inputs)),
    ]
    _set_temperature(path, temperature, trust)
    table = plain_table(f"val, {plural(len(rows), 'row')}", ["before", "after"])
    for name in scores[0]:
        table.add_row(name, *(number(of[name]) for of in scores))
    console.print(table)
    say(console, f"temperature {temperature:.4g}: {path}")


def _set_temperature(path: Path, temperature: float, trust: "Trust") -> None:
    """Write a checkpoint again with another temperature."""
    from dataclasses import replace

    from mlpkit.folders.checkpoint import load, save
    from mlpkit.folders.state import KINDS

    with _held(path):
        save(path, replace(load(path, KINDS, trust), temperature=temperature))


def _held(checkpoint: Path) -> "AbstractContextManager[None]":
    """Return the lock of a checkpoint's run; nothing is locked for a file outside of a run."""
    import stat
    from contextlib import nullcontext

    from mlpkit.folders.run_folder import RunFolder, refuse_other_kind
    from mlpkit.system.lock import locked

    refuse_other_kind(checkpoint, stat.S_ISREG, "file")
    folder = RunFolder(checkpoint.parent.parent)
    return locked(folder.lock) if checkpoint.parent.name == "checkpoints" else nullcontext()
