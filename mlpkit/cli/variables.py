"""`${oc.env:NAME}` and `${oc.env:NAME,default}`: a variable of the environment, as OmegaConf writes it.

It is filled in where the user types it and in the user's own files, in configs/ and --config-dir. A foreign
config does not read the environment: what it read would be written into its run folder.
"""

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from mlpkit.errors import ConfigError

# The default may hold another one, or ${other.key}.
_VARIABLE = re.compile(r"\$\{ *oc\.env *: *(\w+) *(?:,((?:[^${}]|\$\{[^${}]*\})*))?\}", re.ASCII)


def fill(text: str) -> str:
    """Return a text with each variable replaced by its value, or by its default where it is not set.

    Raises:
        ConfigError: a variable is not set and has no default.
    """

    def value(found: re.Match[str]) -> str:
        name, default = found.groups()
        if name in os.environ:
            return os.environ[name]
        if default is not None:
            return fill(default.strip())
        from mlpkit.config.problems import show  # which loads pydantic

        raise ConfigError(
            f"{show(text)}: {name} is not set; set it, or give a default: ${{oc.env:{name},DEFAULT}}"
        )

    return _VARIABLE.sub(value, text)


def fill_all(node: Any, read: Callable[[str], Any]) -> Any:
    """Return a copy of a section, a list or a value with each variable in its texts replaced.

    Args:
        node: any plain value.
        read: turns the value of a variable that stands alone into a number, a truth value or a text.

    Raises:
        ConfigError: as `fill` does.
    """
    if isinstance(node, Mapping):
        return {key: fill_all(value, read) for key, value in node.items()}
    if isinstance(node, list):
        return [fill_all(value, read) for value in node]
    if not isinstance(node, str):
        return node
    return read(fill(node)) if _VARIABLE.fullmatch(node) else fill(node)
