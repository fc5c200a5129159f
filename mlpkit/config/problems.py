"""Turns pydantic's errors into messages: key, value, rule and way out, one line each.

The rules are read from the JSON Schema, so a message always agrees with the check.
"""

import json
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from mlpkit.system.paths import near_name

Schema = dict[str, Any]

PLUGIN_HINT = " (a plug-in's needs --plugin FILE)"
MOST_CHOICES = 4  # named in one error
MOST_PROBLEMS = 100  # in one error message

SYNONYMS = {  # names of scikit-learn, Lightning and Keras
    "max_epochs": "trainer.epochs",
    "n_epochs": "trainer.epochs",
    "num_epochs": "trainer.epochs",
    "max_iter": "trainer.epochs",
    "gradient_clip_val": "trainer.clip_norm",
    "clipnorm": "trainer.clip_norm",
    "accumulate_grad_batches": "trainer.accumulate",
    "patience": "trainer.early_stopping.patience",
    "hidden_layer_sizes": "model.hidden",
    "dropout_rate": "model.dropout",
    "learning_rate": "optimizer.lr",
    "learning_rate_init": "optimizer.lr",
    "n_samples": "dataset.n",
    "test_size": "dataset.test_fraction",
    "validation_fraction": "dataset.val_fraction",
    "validation_split": "dataset.val_fraction",
    "random_state": "seed",
    "accelerator": "device",
}


def plural(number: int, noun: str) -> str:
    """Return a number with its noun: 1 row, 2 rows, 3,000 classes, 4 categories."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith("y"):
        return f"{number:,} {noun[:-1]}ies"
    return f"{number:,} {noun}{'es' if noun.endswith('s') else 's'}"


def describe_problems(error: ValidationError, schema: Schema, typed: Mapping[str, str]) -> list[str]:
    """Return one line for each key that has a problem.

    Args:
        error: pydantic's error.
        schema: the JSON Schema of the config.
        typed: the text typed on the command line, for each overridden key.
    """
    lines: dict[str, str] = {}
    problems = error.errors(include_url=False)
    for problem in problems[:MOST_PROBLEMS]:
        kind, value, location = problem["type"], problem["input"], problem["loc"]
        if kind == "missing" and isinstance(location[-1], int):
            kind, location = "too_short", location[:-1]  # report a missing entry as a list that is too short
        key, node, parent = _locate(location, schema)
        if kind == "extra_forbidden":
            if others := _others_with(location, key, parent, schema):
                way = _all_keys(_split(location, key)[1], parent) + others
            else:
                way = _synonym(key) or _in_section(key, schema) or _similar(location, key, parent)
            line = f"{key}: unknown key{way}"
        elif kind == "missing":
            line = f"{key}: missing; {_required(node, schema)}"
        elif kind == "union_tag_not_found":
            line = f"{key}.name: missing; must be {_choices(node['discriminator']['mapping'])}"
        elif kind == "union_tag_invalid":
            names = node["discriminator"]["mapping"]
            given = value.get("name") if isinstance(value, dict) else value
            way = f"{PLUGIN_HINT if isinstance(given, str) else ''}{did_you_mean(str(given), names)}"
            line = f"{key}.name={show(given)}: must be {_choices(names)}{way}"
        elif kind == "string_unicode" and "properties" in node:  # a key; pydantic does not say which
            line = f"{key or 'config'}: the key {show(value)} holds half of a character; write the whole one"
        elif kind == "not_float32":
            line = f"{key}={show(value)}: must be 0 or from 1.2e-38 to 3.4e+38 in size, the range of float32"
        elif kind == "rule":
            line = f"{key}: {problem['msg']}"
        elif "properties" in node or "discriminator" in node:
            line = (
                f"{key}={show(value)}: must be a section of keys, such as {key}.{_first_key(node, schema)}=…"
            )
        else:
            wanted = rule(node)
            if isinstance(value, float) and not math.isfinite(value):
                wanted = wanted.replace("a number", "a finite number")
            said, way = show(value), ""
            if kind == "string_type" and isinstance(value, int | float):
                said, way = _read_as_number(key, value, node, typed.get(key, ""))
            line = f"{key}={said}: must be {wanted}{_about(node, value)}{way}"
        lines.setdefault(key, line)
    # Pydantic also reports the whole list of a bad entry; the line for the entry is enough.
    lists = {key.rpartition("[")[0] for key in lines if key.endswith("]")}
    more = len(problems) - MOST_PROBLEMS
    last = [f"{more} more problems; mend these first"] if more > 0 else []
    return [*(line for key, line in lines.items() if key not in lists), *last]


def show(value: object) -> str:
    """Return a value as written in a config, cut to 60 characters, unprintable characters escaped."""
    if isinstance(value, str | float):
        text = repr(value)
    else:
        try:
            text = json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError):
            text = repr(value)
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:61])
    return text if len(text) <= 60 else f"{text[:57]}..."


def spell(text: str) -> str:
    """Return a key or an override as typed if it is short and printable, else as `show` does."""
    return text if text and text.isprintable() and len(text) <= 100 else show(text)


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` if a known name is similar, else an empty string."""
    near = near_name(given, known)
    return f"; did you mean {near}?" if near else ""


def rule(node: Schema) -> str:
    """Return what a JSON Schema node allows, in words."""
    if "anyOf" in node:
        return " or ".join(rule(option) for option in node["anyOf"])
    if "const" in node:
        return str(node["const"])
    if "enum" in node:
        return _choices(node["enum"])
    if "rule" in node:  # says it in words
        return str(node["rule"])
    kind = node.get("type")
    if kind in ("number", "integer"):
        return f"{'a number' if kind == 'number' else 'an integer'}{_bounds(node)}"
    if kind == "array":
        items: Sequence[Schema] = node.get("prefixItems", [])
        if items:
            return f"a list of {len(items)} values, each {rule(items[0])}"
        least = f"{node['minItems']} or more values" if node.get("minItems") else "values"
        return f"a list of {least}, each {rule(node['items'])}"
    if kind == "object":
        return "a section of keys"
    if node.get("minLength"):
        return "text that is not empty"
    return {"boolean": "true or false", "string": "text", "null": "null"}.get(
        str(kind), "another kind of value"
    )


def _bounds(node: Schema) -> str:
    signs = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    bounds = [f"{sign} {node[name]}" for name, sign in signs.items() if name in node]
    return f" {' and '.join(bounds)}" if bounds else ""


def _choices(names: Iterable[object]) -> str:
    return f"one of {', '.join(str(name) for name in names)}"


def _about(node: Schema, value: object) -> str:
    """Return the key's description and default, and a similar allowed name."""
    parts = [node["description"]] if "description" in node else []
    if node.get("default") is not None:
        parts.append(f"default {json.dumps(node['default'])}")
    is_name = isinstance(value, str) and "enum" in node
    similar = did_you_mean(str(value), node["enum"]) if is_name else ""
    hint = PLUGIN_HINT if is_name and "group" in node else ""
    return (f" ({'; '.join(parts)})" if parts else "") + hint + similar


def _read_as_number(key: str, value: float, node: Schema, text: str) -> tuple[str, str]:
    """For a number or boolean given where text is required: return it as typed, and how to write it as text.

    YAML reads 2024_01_02 as 20240102, 1.10 as 1.1 and 1e3 as 1000.0.
    """
    if not re.fullmatch(r"[\w.+-]+", text):  # not typed: from a file, or interpolated
        return show(value), "; text goes in quotes"
    options = [option for option in node.get("anyOf", [node]) if option.get("type") == "string"]
    if not any(re.search(option.get("pattern", ""), text) for option in options):
        return text, ""
    quoted = shlex.quote(f'{key}="{text}"')
    return text, f"; it is read as {show(value)}, so quote it: {quoted}"


def _synonym(key: str) -> str:
    """Return `; it is called trainer.epochs here` for another tool's name, such as max_epochs."""
    name = key.rpartition(".")[2]
    return f"; it is called {SYNONYMS[name]} here" if name in SYNONYMS else ""


def _in_section(key: str, schema: Schema) -> str:
    """Return `; did you mean optimizer.lr?` for `lr`, if exactly one section has this key."""
    if "." in key:
        return ""
    found = set()
    for section, node in schema["properties"].items():
        choices = node.get("discriminator", {}).get("mapping", {}).values() or [node.get("$ref")]
        members = [_follow({"$ref": choice}, schema) for choice in choices if choice]
        if any(key in member.get("properties", {}) for member in members):
            found.add(f"{section}.{key}")
    return f"; did you mean {found.pop()}?" if len(found) == 1 else ""


def _similar(location: tuple[int | str, ...], key: str, parent: Schema) -> str:
    """Return a similar key of the section, else all its keys."""
    last, around = _split(location, key)
    if near := near_name(last, _keys_in(parent)):
        return f"; did you mean {around}{'.' if around else ''}{near}?"
    return _all_keys(around, parent)


def _all_keys(around: str, parent: Schema) -> str:
    """Return the keys of a section, as in `; optimizer=sgd has lr, momentum`."""
    chosen = f"{around}={parent['chosen']}" if "chosen" in parent else around
    return f"; {f'{chosen} has' if around else 'known keys are'} {', '.join(_keys_in(parent))}"


def _keys_in(parent: Schema) -> list[str]:
    return [name for name in parent.get("properties", {}) if name != "name"]


def _others_with(location: tuple[int | str, ...], key: str, parent: Schema, schema: Schema) -> str:
    """Return `; optimizer=adam, adamw have it` for a key that only other choices of its section have."""
    last, around = _split(location, key)
    section = schema["properties"].get(around, {}) if "chosen" in parent else {}
    choices = section.get("discriminator", {}).get("mapping", {})
    keys_of = {
        name: _follow({"$ref": choice}, schema).get("properties", {}) for name, choice in choices.items()
    }
    having = [name for name, keys in keys_of.items() if last in keys]
    some = ", ".join(having[:MOST_CHOICES]) + (", …" if len(having) > MOST_CHOICES else "")
    return f"; {around}={some} {'has' if len(having) == 1 else 'have'} it" if having else ""


def _split(location: tuple[int | str, ...], key: str) -> tuple[str, str]:
    """Return the last part of a dotted key, and what is before it."""
    last = str(location[-1])
    return last, key[: -len(spell(last)) - 1]


def _required(node: Schema, schema: Schema) -> str:
    node = _follow(node, schema)
    if "discriminator" in node:
        return f"must be a section with a name, {_choices(node['discriminator']['mapping'])}"
    return f"must be {rule(node)}"


def _first_key(node: Schema, schema: Schema) -> str:
    return "name" if "discriminator" in node else next(iter(_follow(node, schema)["properties"]))


def _follow(node: Schema, schema: Schema) -> Schema:
    """Resolve a reference into `$defs`, keeping its siblings (description, default)."""
    if "$ref" in node:
        target = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        return {**target, **{name: value for name, value in node.items() if name != "$ref"}}
    return node


def _locate(location: tuple[int | str, ...], schema: Schema) -> tuple[str, Schema, Schema]:
    """Return the dotted key of pydantic's location, its schema node and that node's parent.

    A location also has the chosen member of a union (`optimizer → adam → lr`), which the key leaves out.
    """
    key, node, parent = "", schema, schema
    for part in location:
        node = _follow(node, schema)
        if "discriminator" in node and part in node["discriminator"]["mapping"]:
            node = {**_follow({"$ref": node["discriminator"]["mapping"][part]}, schema), "chosen": part}
        elif isinstance(part, int):
            parent, key = node, f"{key}[{part}]"
            items = node.get("prefixItems")
            node = items[part] if items and part < len(items) else node.get("items", {})
        elif "anyOf" not in node:
            parent, key = node, f"{key}.{spell(part)}" if key else spell(part)
            node = node.get("properties", {}).get(part) or node.get("additionalProperties") or {}
    return key, _follow(node, schema), parent
