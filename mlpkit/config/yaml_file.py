"""Strict reading of YAML files.

YAML 1.1, which OmegaConf reads, turns `on` into true, `010` into 8, `0x10` into 16 and `12:30:45` into
45045, keeps the last of two equal keys, and lets ten lines of aliases grow to gigabytes. Here each of these
is an error.

PyYAML parses the text. The checks are our own, since we found no parser that refuses all of these.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from mlpkit.config.problems import show, spell
from mlpkit.errors import ConfigError

LARGEST_CONFIG = 1_000_000  # bytes
LARGEST_OF_A_RUN = 65_536  # bytes of a run's config.yaml: a foreign one takes at most 0.5 s to read
DEEPEST = 50  # levels of nesting
_KINDS = {
    yaml.MappingNode: ("map",),
    yaml.SequenceNode: ("seq",),
    yaml.ScalarNode: ("str", "int", "float", "bool", "null"),
}
_MISREAD = re.compile(
    r"[-+]?(0[0-9_]+|0[xbo][0-9a-f_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)|on|off|yes|no", re.I
)
# Lone surrogates from an escape such as "\ud83d", which cannot be encoded. The range left out is Python's own
# for the bytes of file names that are not UTF-8.
_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def read(path: Path, largest: int = LARGEST_CONFIG) -> dict[str, Any]:
    """Return the mapping in a YAML file of at most `largest` bytes.

    Raises:
        ConfigError: the file is missing, not a regular file, too large, not UTF-8 or not plain YAML.
    """
    try:
        if not path.is_file():
            problem = "not a regular file" if path.exists() else "no such file"
            raise ConfigError(f"{path}: {problem}; name a YAML file")
        if path.stat().st_size > largest:
            raise ConfigError(f"{path}: {path.stat().st_size} bytes; a config has at most {largest}")
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8 text") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested deeper than {DEEPEST} levels") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not plain text"
        raise ConfigError(f"{path}{where}: not valid YAML ({spell(problem)})") from None
    except (ValueError, OverflowError):  # PyYAML does not check "\UFFFFFFFF" and the version in %YAML
        raise ConfigError(f"{path}: not valid YAML (an escape or a version out of range)") from None
    if root is None:
        raise ConfigError(f"{path}: empty; write a mapping of keys, such as `seed: 0`")
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path}: holds no mapping; write keys, such as `seed: 0`")
    value: dict[str, Any] = _plain(root, path, set(), 0)
    return value


def dump(data: Any, width: int = 80) -> str:
    """Return plain values as YAML, keys in their order; long texts are folded at `width` characters."""
    options: dict[str, Any] = {"sort_keys": False, "width": width}
    try:  # libyaml is ten times as fast, but has no escapes for file names that are not UTF-8
        return str(yaml.dump(data, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), **options))
    except UnicodeEncodeError:
        return str(yaml.dump(data, Dumper=yaml.SafeDumper, **options))


def _plain(node: yaml.Node, path: Path, seen: set[int], depth: int) -> Any:
    """Return the Python value of a node; raise ConfigError for ambiguous values, aliases and tags."""
    where = f"{path}:{node.start_mark.line + 1}"
    if id(node) in seen:
        raise ConfigError(f"{where}: aliases (*name) are not allowed; write the value out")
    seen.add(id(node))
    if depth > DEEPEST:
        raise ConfigError(f"{where}: nested deeper than {DEEPEST} levels")
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    if kind == "timestamp" or (
        isinstance(node, yaml.ScalarNode) and node.style is None and _MISREAD.fullmatch(node.value)
    ):
        raise ConfigError(
            f"{where}: {spell(node.value)} means different things to different readers; "
            "write true, false or a plain number, or put text in quotes"
        )
    if kind not in _KINDS[type(node)]:
        raise ConfigError(f"{where}: the tag {show(node.tag)} is not allowed; a config is plain data")
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key, line = _plain(key_node, path, seen, depth + 1), f"{path}:{key_node.start_mark.line + 1}"
            if not isinstance(key, str):
                raise ConfigError(f"{line}: the key {show(key)} is not text; put it in quotes")
            if key in mapping:
                raise ConfigError(f"{line}: the key {show(key)} appears twice; keep one of them")
            mapping[key] = _plain(value_node, path, seen, depth + 1)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, path, seen, depth + 1) for item in node.value]
    assert isinstance(node, yaml.ScalarNode)
    if kind == "str":
        if not node.value.isascii() and _HALF.search(node.value):
            raise ConfigError(f"{where}: {show(node.value)} holds half of a character; write the whole one")
        return str(node.value)
    try:
        value = yaml.SafeLoader("").construct_object(node)
        str(value)  # raises for an integer in another base that has too many decimal digits
        return value
    except (ValueError, LookupError, OverflowError):
        raise ConfigError(f"{where}: {show(node.value)} cannot be read as {kind}; write it plainly") from None
