"""Nested plain dicts, such as a config before validation, read and changed by dotted keys."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlpkit.config.problems import spell

_OTHER_KEY = re.compile(r"\$\{([a-z_]\w*(?:\.[a-z_]\w*)*)\}", re.IGNORECASE | re.ASCII)


def items(node: object, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for each leaf; an empty section is a leaf."""
    if isinstance(node, Mapping) and node:
        for name, value in node.items():
            yield from items(value, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, node


def shorten(key: str, keys: Sequence[str]) -> str:
    """Return the last part of a key, or the whole key if others end with the same part.

    `optimizer.name` becomes `optimizer`.
    """
    short = key.removesuffix(".name").rpartition(".")[2]
    same = [other for other in keys if other.removesuffix(".name").rpartition(".")[2] == short]
    return key if len(same) > 1 or (short == "seed" and key != "seed") else short


def texts(node: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted key as shown in errors, text) for each string, including those inside lists."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from texts(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from texts(value, f"{key}[{index}]")
    elif isinstance(node, str):
        yield spell(key), node


def depth(node: object) -> int:
    """Return how many levels of keys and lists are nested inside a node."""
    levels, layer = 0, _children(node)
    while layer:
        levels, layer = levels + 1, [child for node in layer for child in _children(node)]
    return levels


def replace(config: Mapping[str, Any], key: str, value: object) -> dict[str, Any]:
    """Return a copy with the value at the key; a section is merged into an existing section."""
    name, _, rest = key.partition(".")
    new = replace(_section(config.get(name)), rest, value) if rest else _merge(config.get(name), value)
    return {**config, name: new}


def remove(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a copy without the key.

    Raises:
        KeyError: there is no such key.
    """
    name, _, rest = key.partition(".")
    if rest:
        return {**config, name: remove(_section(config.get(name)), rest)}
    kept = dict(config)
    del kept[name]
    return kept


def fill(node: Any, whole: Mapping[str, Any] | None = None) -> Any:
    """Return a copy with each string that is exactly `${other.key}` replaced by that key's value.

    A string stays as it is if there is no such key, or if that key's value holds `${…}` itself.
    """
    whole = node if whole is None else whole
    if isinstance(node, Mapping):
        return {name: fill(value, whole) for name, value in node.items()}
    if isinstance(node, list):
        return [fill(value, whole) for value in node]
    if not (isinstance(node, str) and (named := _OTHER_KEY.fullmatch(node))):
        return node
    target: Any = whole
    for name in named[1].split("."):
        if not isinstance(target, Mapping) or name not in target:
            return node
        target = target[name]
    return node if any("${" in text for _, text in texts(target)) else target


def _merge(old: object, new: object) -> Any:
    if not isinstance(new, Mapping):
        return new
    section = _section(old)
    return {**section, **{_text(key): _merge(section.get(_text(key)), value) for key, value in new.items()}}


def _text(key: object) -> str:
    """Return a key as YAML writes it: true, not True."""
    return str(key).lower() if isinstance(key, bool) else str(key)


def _children(node: object) -> list[Any]:
    if isinstance(node, Mapping):
        return list(node.values())
    return node if isinstance(node, list) else []


def _section(node: object) -> Mapping[str, Any]:
    return node if isinstance(node, Mapping) else {}
