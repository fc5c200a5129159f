"""What differs in a config from the defaults of its schema."""

from collections.abc import Iterator
from typing import Any

from mlpkit.config.config import Config
from mlpkit.config.section import Section


def changed(config: Config) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ from their defaults, by dotted key: (value, default).

    The choices, such as `model.name`, and other keys without a default are among them; their default is None.
    The section `run`, which does not affect training, is left out.
    """
    return {key: pair for key, pair in _changed(config, "") if not key.startswith(("run.", "format"))}


def _changed(section: Section, prefix: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
    plain = section.model_dump(mode="json")
    for name, field in type(section).model_fields.items():
        value, key = getattr(section, name), f"{prefix}{name}"
        if isinstance(value, Section):
            yield from _changed(value, f"{key}.")
        elif field.is_required():
            yield key, (plain[name], None)
        elif value != (default := field.get_default(call_default_factory=True)):
            yield key, (plain[name], default)
