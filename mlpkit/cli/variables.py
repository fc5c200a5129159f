"""Environment variables in configs: `${oc.env:NAME}` and `${oc.env:NAME,default}`, OmegaConf's syntax.

They are replaced in what the user types and in the user's own files, in configs/ and --config-dir. Foreign
configs cannot read the environment, since the values would be written into the run folder.
"""

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from mlpkit.errors import ConfigError

# The default may contain another variable, or ${other.key}.
_VARIABLE = re.compile(r"\$\{ *oc\.env *: *(\w+) *(?:,((?:[^${}]|\$\{[^${}]*\})*))?\}", re.ASCII)


def fill(text: str) -> str:
    """Return a text with each variable replaced by its value, or by its default if it is not set.

    Raises:
        ConfigError: a variable is not set and has no default.
    """

    def value(match: re.Match[str]) -> str:
        name, default = match.groups()
        if name in os.environ:
            return os.environ[name]
        if default is not None:
            return fill(default.strip())
        from mlpkit.config.problems import show  # here, since it imports pydantic

        raise ConfigError(
            f"{show(text)}: {name} is not set; set it, or give a default: ${{oc.env:{name},DEFAULT}}"
        )

    return _VARIABLE.sub(value, text)


def fill_all(node: Any, read: Callable[[str], Any]) -> Any:
    """Return a copy of a section, list or value with the variables in all strings replaced.

    Args:
        node: any plain value.
        read: parses the replaced text of a string that is only a variable, into a number, boolean or text.

    Raises:
        ConfigError: see `fill`.
    """
    if isinstance(node, Mapping):
        return {key: fill_all(value, read) for key, value in node.items()}
    if isinstance(node, list):
        return [fill_all(value, read) for value in node]
    if not isinstance(node, str):
        return node
    return read(fill(node)) if _VARIABLE.fullmatch(node) else fill(node)
