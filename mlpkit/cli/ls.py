"""mlpkit ls."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlpkit.system.garbage import collection_paused
from mlpkit.system.paths import expand

if TYPE_CHECKING:
    from mlpkit.folders.listing import Listed

EXAMPLE = "mlpkit ls --sort score"
SORTS = ("newest", "score")

Folders = Annotated[
    list[Path] | None,
    typer.Argument(
        help="Run folders, sweeps (their runs) or folders of runs; left out, outputs.",
        metavar="RUN_OR_FOLDER",
        show_default=False,
        parser=expand,
    ),
]


def folders_or_outputs(given: list[Path] | None, may_be_none: bool = False) -> list[Path]:
    """Return the given folders; without any, the default of run.root.

    Args:
        given: the folders.
        may_be_none: whether to return none where none is given and the default does not exist.

    Raises:
        DataError: there is none, and there must be one.
    """
    from mlpkit.errors import DataError

    default = Path("outputs")
    if not given and not default.is_dir():
        if may_be_none:
            return []
        raise DataError(f"no run under {default}/; start one with `mlpkit train`, or name a folder of runs")
    return given or [default]


@collection_paused()
def ls(
    paths: Folders = None,
    tag: Annotated[str | None, typer.Option("--tag", metavar="WORD", help="Only with this tag.")] = None,
    status: Annotated[
        str | None,
        typer.Option("--status", metavar="WORD", help="Only with this status, such as failed or done."),
    ] = None,
    sort: Annotated[
        str, typer.Option("--sort", metavar="newest | score", help="What comes first.")
    ] = "newest",
    top: Annotated[int | None, typer.Option("--top", metavar="N", min=1, help="Only the first N.")] = None,
    runs: Annotated[bool, typer.Option("--runs", help="List the runs of sweeps one by one.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", parser=expand, help="Write a .csv or .jsonl file."),
    ] = None,
) -> None:
    """List runs and sweeps, newest first, with status, score, tags and note."""
    from mlpkit.analysis.run_list import ENDINGS, describe, format_list, write_list
    from mlpkit.errors import ConfigError, DataError
    from mlpkit.folders.found_runs import no_run_in
    from mlpkit.folders.labels import check_tag
    from mlpkit.folders.listed_run import STATUSES
    from mlpkit.folders.listing import ListedSweep, by_score, list_runs, newest_first
    from mlpkit.folders.output_file import check_output
    from mlpkit.system.console import is_terminal, make_console, note, print_answer

    if sort not in SORTS:
        raise ConfigError(f"--sort={sort}: must be {' or '.join(SORTS)}")
    if status is not None and status not in STATUSES:
        raise ConfigError(f"--status={status}: must be one of {', '.join(STATUSES)}")
    if tag is not None:
        check_tag(tag)
    if output is not None:
        check_output(output, ENDINGS)
    folders = folders_or_outputs(paths)
    listed = list_runs(folders, note)
    if not listed:
        way = "start one with `mlpkit train`, or name another folder"
        raise DataError(no_run_in(folders[0], f"holds no run; {way}"))
    if runs or tag is not None or status is not None:
        listed += [run for each in listed if isinstance(each, ListedSweep) for run in each.runs]
    shown = [each for each in listed if _matches(each, tag, status, runs)]
    shown.sort(key=by_score if sort == "score" else newest_first)
    found, shown = describe(shown), shown[:top]
    console = make_console()
    width = console.width if is_terminal(console) else None
    lines = format_list(shown, folders[0], width) if shown else []
    print_answer("".join(f"{line}\n" for line in lines))
    note(f"{found} below {', '.join(map(str, folders))}")
    if output is not None:
        write_list(output, shown)
        note(f"list: {output}")


def _matches(each: "Listed", tag: str | None, status: str | None, runs: bool) -> bool:
    """Whether a run or a sweep is one of those asked for; a sweep has no status of its own."""
    from mlpkit.folders.listing import ListedSweep

    if isinstance(each, ListedSweep) and (runs or status is not None):
        return False
    has_status = status is None or (not isinstance(each, ListedSweep) and each.status == status)
    return has_status and (tag is None or tag in each.labels.tags)
