"""The settings of one of many runs: what runs that differ in little have in common, and its own values."""

from collections.abc import Iterator, Mapping
from typing import Any


class SharedSettings(Mapping[str, Any]):
    """Settings by dotted key.

    A hundred thousand runs would take 300 MB for a dict each, and whatever is true for the runs of one dict
    needs to be found out only once.

    Attributes:
        shared: the settings of several runs, with all keys in their order. Not to be changed.
        own: those of this run, in place of the shared ones.
    """

    __slots__ = ("own", "shared")

    def __init__(self, shared: Mapping[str, Any], own: Mapping[str, Any]) -> None:
        """Take both."""
        self.shared, self.own = shared, own

    def __getitem__(self, key: str) -> Any:
        """Return the value of a key."""
        return self.own[key] if key in self.own else self.shared[key]

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or the default; faster than that of `Mapping`."""
        return self.own[key] if key in self.own else self.shared.get(key, default)

    def __iter__(self) -> Iterator[str]:
        """Return the keys in their order."""
        return iter(self.shared)

    def __len__(self) -> int:
        """Return their number."""
        return len(self.shared)
