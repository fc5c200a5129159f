"""mlpkit completion: prints a script that contains all words, so that Tab need not start Python."""

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from mlpkit.cli.completion_scripts import BASH, FISH, FISH_CASE, SH_CASE, ZSH
from mlpkit.errors import ConfigError

EXAMPLE = "mlpkit completion bash"

_SCRIPTS = {"bash": (BASH, SH_CASE), "zsh": (ZSH, SH_CASE), "fish": (FISH, FISH_CASE)}


def completion(
    context: typer.Context,
    shell: Annotated[
        str, typer.Argument(metavar="bash | zsh | fish", help="The shell that reads the script.")
    ],
) -> None:
    """Print a script that lets the Tab key complete commands, options, settings and their choices."""
    if shell not in _SCRIPTS:
        raise ConfigError(f"completion {shell}: must be bash, zsh or fish")
    from mlpkit.system.console import print_answer

    assert context.parent is not None
    script, case = _SCRIPTS[shell]
    by_answer: dict[tuple[str, ...], list[str]] = {}  # completions -> words that they may follow
    for word, following in words(context.parent.command).items():
        by_answer.setdefault(tuple(following), []).append(word)
    separator = " " if shell == "fish" else "|"
    cases = (
        case.format(separator.join(map(shlex.quote, before)), " ".join(map(shlex.quote, following)))
        for following, before in by_answer.items()
    )
    print_answer(script.replace("CASES\n", "".join(cases)))


def words(group: Any) -> dict[str, list[str]]:
    """Return the completions after each word: a command, a setting's `key=`, or an option with a value.

    Args:
        group: mlpkit's typer command; its subcommands are the completions after the empty word.
    """
    from mlpkit.config import search_path
    from mlpkit.config.config import json_schema
    from mlpkit.folders.may_change import MAY_CHANGE

    choices = {name: sorted(files) for name, files in search_path.groups([search_path.packaged()]).items()}
    values: dict[str, list[str]] = {}
    for key, found in _leaves(json_schema(), json_schema()["$defs"]):
        values[key] = list(dict.fromkeys([*values.get(key, []), *found]))
    settings = sorted({*choices, *values})
    of_command = {
        "resume": [key for key in settings if key in MAY_CHANGE],
        "evaluate": [key for key in settings if key.split(".")[0] == "dataset"],
    }
    following = {"": [*group.commands, "--help", "--version"]}
    for name, command in group.commands.items():
        following[name] = ["--help"]
        for parameter in command.params:
            taken = parameter.metavar or ""
            named = taken.split(" | ") if re.fullmatch("[a-z |]+", taken) else []
            if parameter.param_type_name == "option":
                options = [*parameter.opts, *parameter.secondary_opts]
                following[name] += [option for option in options if option.startswith("--")]
                following |= {} if parameter.is_flag else dict.fromkeys(options, named)
            elif taken == "KEY=VALUE":
                following[name] += [f"{key}=" for key in of_command.get(name, settings)]
            else:
                following[name] += list(choices) if taken == "GROUP" else named
    return following | {f"{key}=": found for key, found in {**values, **choices}.items() if found}


def _leaves(
    node: Mapping[str, Any], schemas: Mapping[str, Any], key: str = ""
) -> Iterator[tuple[str, list[str]]]:
    """Yield each key of a JSON Schema with its enumerated values; a key may occur several times."""
    if "$ref" in node:
        node = schemas[node["$ref"].rpartition("/")[2]]
    for member in node.get("oneOf", ()):  # a section with choices
        yield from _leaves(member, schemas, key)
    for name, child in node.get("properties", {}).items():
        if name not in ("name", "format") or (key, name) == ("run", "name"):
            yield from _leaves(child, schemas, f"{key}.{name}" if key else name)
    if not {"oneOf", "properties"} & node.keys():
        yield key, list(_named(node))


def _named(node: Mapping[str, Any]) -> Iterator[str]:
    """Yield the enumerated values of a JSON Schema node, including true and false."""
    for option in node.get("anyOf", ()):
        yield from _named(option)
    yield from map(str, node.get("enum", [node["const"]] if "const" in node else []))
    if node.get("type") == "boolean":
        yield from ("true", "false")
