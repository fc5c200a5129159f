"""Writes the mean curves of settings, and the bands around them, as runs of TensorBoard."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlpkit.folders.run_name import file_name
from mlpkit.loggers.tensorboard import tag_of

# The scores' name and split, then by step: the mean, the lowest and the highest.
Curve = tuple[str, str, Mapping[int, tuple[float, float, float]]]


def write_bands(folder: Path, settings: Mapping[str, Sequence[Curve]]) -> None:
    """Write a run for each setting: the means have the tags of ordinary runs, so that both share charts.

    The tab CUSTOM SCALARS shows the bands. Event files that are there already are replaced.

    Args:
        folder: gets a folder for each setting.
        settings: the curves, by the setting's name.

    Raises:
        WriteError: a file cannot be written.
    """
    from mlpkit.system.event_file import EventFile
    from mlpkit.system.event_values import layout_value

    for name, curves in settings.items():
        by_step, charts = dict[int, dict[str, float]](), dict[str, Sequence[str]]()
        for score, split, points in curves:
            tag = tag_of(score, split)
            tags = tag, f"band/{tag}/lowest", f"band/{tag}/highest"
            if len(points) > 1:  # test is scored once
                charts[tag] = tags
            for step, values in points.items():
                by_step.setdefault(step, {}).update(zip(tags, values, strict=True))
        in_order = {tag: charts[tag] for tag in sorted(charts, key=lambda tag: tag.endswith("/train"))}
        file, now = EventFile(folder / file_name(name)), time.time()
        file.values(0, [layout_value("Mean and range", in_order, bands=True)])
        for step in sorted(by_step):
            file.scalars(step, now, by_step[step])
        file.close()
