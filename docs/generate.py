"""Write the reference pages of configs and commands from the code: a hook of mkdocs (see mkdocs.yml)."""

import inspect
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from mlpkit.cli.main import COMMANDS, app
from mlpkit.config import search_path
from mlpkit.config.config import json_schema
from mlpkit.config.problems import rule

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

Schema = dict[str, Any]


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Add the generated pages to those that mkdocs found."""
    from mkdocs.structure.files import File

    for name, content in {"configs": configs(), "commands": commands()}.items():
        files.append(File.generated(config, f"reference/{name}.md", content=content))
    return files


def configs() -> str:
    """Return the page with every key of a config."""
    schema = json_schema()
    top = {name: node for name, node in schema["properties"].items() if not _members(node, schema)}
    lines = [
        "# Config keys",
        "",
        "Every key, generated from the schema. A dataset may choose other defaults for some keys, as",
        "`mnist` does with `trainer=mini_batch`: `mlpkit config dataset=mnist --explain` shows each value",
        "and the file that it comes from. `mlpkit config --schema` prints the JSON Schema.",
        "",
        *_table(_keys({"properties": top}, schema)),
    ]
    for section, node in schema["properties"].items():
        members = _members(node, schema)
        if not members:
            continue
        lines += ["", f"## {section}", ""]
        for names, member in members:
            if names:
                choices = ", ".join(f"`{section}={name}`" for name in names)
                lines += [f"### {choices}", ""]
            lines += [_sentence(member["description"]), "", *_table(_keys(member, schema, f"{section}.")), ""]
        if "discriminator" not in node:
            lines += _choices(section)
    lines += ["## experiment", "", "Recipes: whole experiments, which set keys of all sections.", ""]
    return "\n".join([*lines, *_choices("experiment")])


def commands() -> str:
    """Return the page with every command and option."""
    group: Any = typer.main.get_command(app)
    lines = [
        "# Commands",
        "",
        "Every command, generated from its help: `mlpkit COMMAND --help` prints the same. `--debug`,",
        "anywhere on a command line, adds the traceback to an error. `mlpkit --version` prints the version.",
    ]
    for name, (_, example) in COMMANDS.items():
        command = group.commands[name]
        described = inspect.cleandoc(command.help or "")
        lines += ["", f"## mlpkit {name}", "", described, "", f"Example: `{example}`", ""]
        lines += ["| argument or option | what it does | default |", "|---|---|---|"]
        lines += [_row(*_option(parameter)) for parameter in command.params]
    return "\n".join(lines)


def _members(node: Schema, schema: Schema) -> list[tuple[list[str], Schema]]:
    """Return the choices of a section with their names; one without names for a section without choices."""
    mapping: dict[str, str] = node.get("discriminator", {}).get("mapping", {})
    if not mapping:
        section = _follow(node, schema)
        return [([], section)] if "properties" in section else []
    names: dict[str, list[str]] = {}
    for name, reference in mapping.items():
        names.setdefault(reference, []).append(name)
    return [(known, _follow({"$ref": reference}, schema)) for reference, known in names.items()]


def _keys(section: Schema, schema: Schema, prefix: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield each key below a section with its node, but for the name of a choice."""
    for name, node in section["properties"].items():
        found = _follow(node, schema)
        if "properties" in found:
            yield from _keys(found, schema, f"{prefix}{name}.")
        elif not (name == "name" and ("const" in found or "enum" in found)):
            yield prefix + name, found


def _table(keys: Iterator[tuple[str, Schema]]) -> list[str]:
    rows = [_row(f"`{key}`", rule(node), _default(node), node["description"]) for key, node in keys]
    if not rows:
        return ["No keys."]
    return ["| key | must be | default | |", "|---|---|---|---|", *rows]


def _default(node: Schema) -> str:
    return f"`{json.dumps(node['default'])}`" if "default" in node else "none: must be given"


def _choices(group: str) -> list[str]:
    """Return a table of the files of a group."""
    files = search_path.groups([search_path.packaged()])[group]
    rows = [
        _row(f"`{group}={name}`", search_path.first_comment(path)) for name, path in sorted(files.items())
    ]
    return ["| choice | |", "|---|---|", *rows, ""]


def _option(parameter: Any) -> tuple[str, str, str]:
    """Return an option as it is typed, its help and its default."""
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar}`", parameter.help or "", ""
    typed = ", ".join([*parameter.opts, *parameter.secondary_opts])
    flag = parameter.is_flag or parameter.metavar is None
    default = "" if flag or parameter.default in (None, "") else f"`{parameter.default}`"
    return f"`{typed}`" if flag else f"`{typed} {parameter.metavar}`", parameter.help or "", default


def _row(*cells: str) -> str:
    """Return a row of a table; in cells, `|` and `<` are text."""
    return f"| {' | '.join(cell.replace('|', '&#124;').replace('<', '&lt;') for cell in cells)} |"


def _sentence(text: str) -> str:
    """Return a description as a sentence."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _follow(node: Schema, schema: Schema) -> Schema:
    """Return a node with its reference resolved; what stands beside the reference stays."""
    if "$ref" not in node:
        return node
    target = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return {**target, **{name: value for name, value in node.items() if name != "$ref"}}
