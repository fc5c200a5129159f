"""mlpkit compare --tensorboard: the mean curves of settings as runs of TensorBoard."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlpkit.analysis.bands import Band
from mlpkit.analysis.compare import Comparison, Setting
from mlpkit.analysis.kept_bands import kept_bands
from mlpkit.config.nested import shorten
from mlpkit.errors import DataError
from mlpkit.loggers.tensorboard_bands import Curve, write_bands


def write_means(
    compared: Sequence[Comparison],
    unit: str,
    folder: Path,
    warn: Callable[[str], None],
) -> str:
    """Write a run for each setting; return the command that shows them.

    Args:
        compared: the comparisons.
        unit: what the runs of a setting are, such as seeds.
        folder: where to write.
        warn: called with a line for each run that cannot be read.

    Raises:
        DataError: there are no curves.
        WriteError: the event files cannot be written.
    """
    settings = {
        _name(found, setting): [_curve(band) for band in kept_bands(setting, warn)]
        for found in compared
        for setting in found.settings
        if setting.runs
    }
    if not any(settings.values()):
        raise DataError("--tensorboard: none of these runs has curves; those with run.files=all have")
    write_bands(folder / f"mean over {unit}", settings)
    return f"mean curves: tensorboard --logdir {folder}"


def _name(found: Comparison, setting: Setting) -> str:
    """Return a setting's name, as in `lr=0.01`; where there are several comparisons, with their title."""
    values = [f"{shorten(key, found.columns)}={_text(value)}" for key, value in setting.options.items()]
    return " ".join(part for part in (found.title, *values) if part) or "all runs"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _curve(band: Band) -> Curve:
    points = zip(band.mean.tolist(), band.low.tolist(), band.high.tolist(), strict=True)
    return band.score, band.split, dict(zip(band.steps.tolist(), points, strict=True))
