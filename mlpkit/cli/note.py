"""mlpkit note."""

from typing import TYPE_CHECKING, Annotated

import typer

from mlpkit.cli.tag import RunOrSweep, change_labels

if TYPE_CHECKING:
    from mlpkit.folders.labels import Labels

EXAMPLE = "mlpkit note outputs baseline"


def note(
    run: RunOrSweep,
    text: Annotated[
        list[str] | None,
        typer.Argument(
            help="One line; it replaces the old note. Left out, the note is shown.", metavar="TEXT"
        ),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the note.")] = False,
) -> None:
    """Give a run or a sweep a note, which `ls` and `inspect` show."""
    from dataclasses import replace

    from mlpkit.errors import ConfigError

    if remove and text:
        raise ConfigError("--remove: takes no text; leave one of them out")

    def change(labels: "Labels") -> "Labels":
        return replace(labels, note=" ".join(text or ())) if text or remove else labels

    change_labels(run, change)
