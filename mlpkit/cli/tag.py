"""mlpkit tag."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from mlpkit.analysis.named_run import newest_of

if TYPE_CHECKING:
    from mlpkit.folders.labels import Labels

EXAMPLE = "mlpkit tag outputs good"

RunOrSweep = Annotated[
    str,
    typer.Argument(
        help="Run folder, sweep, checkpoint file (its run) or folder of runs (the newest run or sweep).",
        metavar="RUN",
    ),
]


def tag(
    run: RunOrSweep,
    words: Annotated[
        list[str] | None, typer.Argument(help="Tags to add; left out, they are shown.", metavar="WORD")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove these tags; without WORD, all.")] = False,
) -> None:
    """Give a run or a sweep tags: `ls` shows them, and `clean` does not remove what has one."""
    from dataclasses import replace

    from mlpkit.folders.labels import check_tag

    given = list(map(check_tag, words or ()))

    def change(labels: "Labels") -> "Labels":
        if remove:
            return replace(labels, tags=tuple(tag for tag in labels.tags if given and tag not in given))
        return replace(labels, tags=tuple(dict.fromkeys((*labels.tags, *given))))

    change_labels(run, change)


def change_labels(run: str, change: "Callable[[Labels], Labels]") -> None:
    """Change the tags and the note of a run or a sweep, and print them.

    Args:
        run: RUN.
        change: returns the new labels for the old ones.
    """
    import stat

    from mlpkit.folders.find_run import find_run
    from mlpkit.folders.labels import describe_labels, read_labels, write_labels
    from mlpkit.folders.run_folder import refuse_other_kind
    from mlpkit.folders.sweep_folder import SweepFolder, is_sweep
    from mlpkit.system.console import make_console, note, say

    path, newest = newest_of(run, begun=True)
    folder = SweepFolder(path) if is_sweep(path) else find_run(path)
    if newest:
        note(f"newest {'sweep' if isinstance(folder, SweepFolder) else 'run'}: {folder.path}")
    refuse_other_kind(folder.labels, stat.S_ISREG, "file")
    old = read_labels(folder.labels)
    new = change(old)
    if new != old:
        write_labels(folder.labels, new)
    say(make_console(), *(describe_labels(new) or ["no tags and no note"]))
