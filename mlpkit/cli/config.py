"""mlpkit config."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlpkit.cli.arguments import ConfigDir, ConfigFile, Overrides, Package, Plugins

if TYPE_CHECKING:
    from mlpkit.config.config import Config

EXAMPLE = "mlpkit config dataset=mnist optimizer.lr=0.01 --explain"


def config(
    overrides: Overrides = None,
    config_file: ConfigFile = None,
    config_dir: ConfigDir = None,
    package: Package = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say where each value came from.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of a config.")] = False,
    plugin: Plugins = None,
) -> None:
    """Show the composed and validated config."""
    import json

    from mlpkit.config.config import json_schema, to_dict
    from mlpkit.system.console import print_answer

    if schema:
        print_answer(f"{json.dumps(json_schema(), indent=2)}\n")
        return

    from mlpkit.cli.compose import Request, read_config
    from mlpkit.cli.compose import explain as explain_values
    from mlpkit.cli.shorthand import expand

    request = Request(expand(overrides or ()), tuple(config_dir or ()), config_file)
    composed = read_config(request)
    if not explain:
        print_config(composed, package)
        return

    from mlpkit.system.console import make_console, say

    rows = [
        (key, json.dumps(value), source) for key, value, source in explain_values(request, to_dict(composed))
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    console = make_console()
    for key, value, source in rows:
        say(console, f"{key:<{widths[0]}}  {value:<{widths[1]}}  {source}")


def print_config(config: "Config", package: str | None = None) -> None:
    """Print a config as YAML that `--config` reads, or one section or value of it, in Hydra's format.

    Raises:
        ConfigError: there is no such key.
    """
    from mlpkit.config import yaml_file
    from mlpkit.config.config import to_dict
    from mlpkit.config.problems import spell
    from mlpkit.errors import ConfigError
    from mlpkit.system.console import print_answer

    keys = package.split(".") if package not in (None, "_global_") else []
    found: Any = to_dict(config)
    for name in keys:
        if not isinstance(found, dict) or name not in found:
            raise ConfigError(f"--package={spell(str(package))}: no such key; `mlpkit config` shows all")
        found = found[name]
    if not isinstance(found, dict | list):
        print_answer(f"{found}\n")
        return
    header = f"# @package {package}\n" if keys else ""
    print_answer(f"{header}{yaml_file.dump(found)}")
