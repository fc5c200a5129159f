"""mlpkit list."""

from pathlib import Path
from typing import Annotated

import typer

from mlpkit.cli.arguments import ConfigDir, Plugins

EXAMPLE = "mlpkit list optimizer"


def list_choices(
    group: Annotated[str | None, typer.Argument(help="dataset, model, optimizer, …", metavar="GROUP")] = None,
    config_dir: ConfigDir = None,
    plugin: Plugins = None,
) -> None:
    """Show the choices of each group, one line each."""
    from mlpkit.config import registry, search_path
    from mlpkit.config.problems import did_you_mean
    from mlpkit.errors import ConfigError
    from mlpkit.system.console import make_console, printable, say

    folders = search_path.search_path(config_dir or ())
    groups = search_path.groups(folders)
    # Groups without config files, such as loggers, whose names are values of run.loggers.
    named = {group: dict.fromkeys(registry.choices(group)) for group in registry.PACKAGES}
    groups = dict(sorted({**named, **groups}.items()))
    if group is not None and group not in groups:
        raise ConfigError(
            f"list {group}: no such group; choose one of {', '.join(groups)}{did_you_mean(group, groups)}"
        )
    console, package = make_console(), Path(registry.__file__).parents[1]
    shown = {group: groups[group]} if group else groups
    for name, choices in shown.items():
        width = max((len(printable(choice)) for choice in choices), default=0)
        console.print(f"[bold]{name}[/bold]")
        for choice, path in sorted(choices.items()):
            if path is None:
                schema = registry.choices(name)[choice]
                line, path = registry.first_doc_line(schema), Path(registry.source_file(schema))
            else:
                line = search_path.first_comment(path)
            is_own = any(path.is_relative_to(folder) for folder in (search_path.packaged(), package))
            about = [line] if is_own else [line, f"({_short(path)})"]
            say(console, f"  {printable(choice):<{width}}  {printable(' '.join(filter(None, about)))}")


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
