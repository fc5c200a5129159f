"""mlpkit list."""

from pathlib import Path
from typing import Annotated

import typer

from mlpkit.cli.arguments import ConfigDir

EXAMPLE = "mlpkit list optimizer"


def list_choices(
    group: Annotated[str | None, typer.Argument(help="dataset, model, optimizer, …", metavar="GROUP")] = None,
    config_dir: ConfigDir = None,
) -> None:
    """Show what can be chosen, with one line each."""
    from mlpkit.config import search_path
    from mlpkit.config.problems import did_you_mean
    from mlpkit.errors import ConfigError
    from mlpkit.system.console import make_console, printable, say

    folders = search_path.search_path(config_dir or ())
    groups = search_path.groups(folders)
    if group is not None and group not in groups:
        raise ConfigError(
            f"list {group}: no such group; choose one of {', '.join(groups)}{did_you_mean(group, groups)}"
        )
    console = make_console()
    shown = {group: groups[group]} if group else groups
    for name, choices in shown.items():
        width = max(len(printable(choice)) for choice in choices)
        console.print(f"[bold]{name}[/bold]")
        for choice, path in sorted(choices.items()):
            mine = "" if path.is_relative_to(search_path.packaged()) else f" ({_short(path)})"
            say(console, f"  {printable(choice):<{width}}  {search_path.summary(path)}{mine}")


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
