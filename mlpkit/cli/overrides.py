"""Parsed overrides: each sets, deletes or sweeps a key, or chooses a file. Nothing here uses Hydra."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from mlpkit.cli.hydra_habits import way_of
from mlpkit.config import nested, search_path
from mlpkit.config.problems import PLUGIN_HINT, did_you_mean, show, spell
from mlpkit.config.registry import SECTIONS
from mlpkit.errors import ConfigError
from mlpkit.sweeps.grid import Interval, Values

Groups = Mapping[str, Mapping[str, Path | None]]  # group -> choice -> file; see `search_path.groups`

COUNTED = 10**6  # longest range that is counted one by one

# key=~/folder, and text with letters outside ASCII, such as key=Läufe
_UNQUOTED = re.compile(r"^([^=]+=)(~[^\"'\\]*|[^\"'\\,()\[\]{}$]*[^\0-\x7f][^\"'\\,()\[\]{}$]*)$")
_KEY = re.compile(r"(\+\+?|~)?[a-z_][a-z0-9_]*([./][a-z0-9_]+)*", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Override:
    """One argument of the command line.

    Attributes:
        line: the argument as typed.
        mark: the sign before the key: "", "+", "++" or "~".
        key: a dotted key or a group.
        value: a plain value; for a sweep, Values or an Interval.
    """

    line: str
    mark: str
    key: str
    value: Any

    @property
    def text(self) -> str:
        """The override as typed, for error messages; escaped if it is not printable."""
        return spell(self.line)

    @property
    def typed(self) -> str:
        """The value as typed."""
        return self.line.partition("=")[2].strip()

    @property
    def deletes(self) -> bool:
        """Whether it deletes the key."""
        return self.mark == "~"

    @property
    def is_default(self) -> bool:
        """Whether it is experiment=null, which changes nothing."""
        return self.key == "experiment" and self.value is None

    @property
    def sweeps(self) -> bool:
        """Whether it has several values."""
        return isinstance(self.value, Values | Interval)

    def chooses(self, groups: Groups) -> bool:
        """Whether it chooses a file of a group, instead of setting or deleting a key."""
        return self.key in groups and not (self.deletes or self.sweeps or isinstance(self.value, Mapping))

    def check(self, groups: Groups, folders: Sequence[Path], file: Path | None) -> None:
        """Check the override.

        Args:
            groups: the available choices.
            folders: the config search path.
            file: a whole config (--config), with which no group can be chosen.

        Raises:
            ConfigError: it is in Hydra's section, the choice does not exist, or there is a --config file.
        """
        if re.split("[./]", self.key)[0] == "hydra":
            raise ConfigError(f"{self.text}: mlpkit has no hydra section; {way_of(self.key)}")
        if not self.chooses(groups) or self.is_default:
            return
        choices = groups[self.key]
        if str(self.value) not in choices:
            if other := search_path.with_other_suffix(folders, f"{self.key}/{self.value}"):
                raise search_path.suffix_error(other)
            is_name = isinstance(self.value, str) and self.value.isidentifier()
            hint = PLUGIN_HINT if self.key in SECTIONS and is_name else ""
            raise ConfigError(
                f"{self.text}: no such {self.key}; choose one of {', '.join(sorted(choices))}"
                f"{hint}{did_you_mean(str(self.value), choices)}"
            )
        if file is not None:
            raise ConfigError(
                f"{self.text}: --config {file} is a whole config, which has chosen every group; "
                "set single keys, such as optimizer.lr=0.01"
            )

    def apply(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the config with the key set or deleted.

        Raises:
            ConfigError: the key to delete does not exist, or has another value than the override names.
        """
        if not self.deletes:
            return nested.replace(config, self.key, self.value)
        try:
            rest = nested.remove(config, self.key)
        except KeyError:
            raise ConfigError(f"{self.text}: there is no such key to delete; leave it out") from None
        found = dict(nested.items(config))
        if self.value is not None and self.value not in (found.get(self.key), found.get(f"{self.key}.name")):
            raise ConfigError(f"{self.text}: {self.key} has another value; write ~{self.key}")
        return rest


def split_choices(overrides: Iterable[Override], groups: Groups) -> tuple[list[Override], list[Override]]:
    """Split overrides into those that choose a file of a group and those that set or delete a key."""
    effective = [override for override in overrides if not override.is_default]
    return [o for o in effective if o.chooses(groups)], [o for o in effective if not o.chooses(groups)]


def check_once(overrides: Iterable[Override]) -> None:
    """Check that no key is overridden twice.

    Raises:
        ConfigError: a key is given twice.
    """
    seen: dict[str, Override] = {}
    for override in overrides:
        first = seen.setdefault(override.key, override)
        if first is not override:
            raise ConfigError(
                f"{spell(override.key)}: given twice ({first.text} and {override.text}); keep one of them"
            )


def check_single(overrides: Iterable[Override]) -> None:
    """Check that no override sweeps.

    Raises:
        ConfigError: an override has several values.
    """
    for override in overrides:
        key = spell(override.key)
        if isinstance(override.value, Interval):
            raise ConfigError(
                f"{override.text}: an interval is searched; run it by mlpkit train -m --search tpe, "
                "or give one value"
            )
        if override.sweeps:
            raise ConfigError(
                f"{override.text}: several values make a sweep; run it by mlpkit train -m, "
                f"or give one value (a list is {key}=[…])"
            )


def make_interval(low: float, high: float, log: bool, text: str) -> Interval:
    """Return the interval of an override; `text` names the override in errors.

    Raises:
        ConfigError: the ends are not finite or not in order, or a log interval reaches 0.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(
            f"{text}: an interval has two finite ends; write interval(LOW,HIGH), the lower first"
        )
    if log and low <= 0:
        raise ConfigError(f"{text}: an interval with a log tag lies above 0; raise its lower end")
    return Interval(low, high, log)


def count_range(start: float, stop: float, step: float, text: str) -> int:
    """Return the number of values of a range, without listing a huge one.

    Raises:
        ConfigError: the step is 0, or an end is not finite.
    """
    if step == 0 or not all(isinstance(n, int) or math.isfinite(n) for n in (start, stop, step)):
        raise ConfigError(f"{text}: a range has finite ends and a step other than 0; write range(0,8)")
    if isinstance(start, int) and isinstance(stop, int) and isinstance(step, int):
        return max(0, -((start - stop) // step))  # len(range) raises OverflowError for huge ranges
    number, end, by = Decimal(start), Decimal(stop), Decimal(step)
    about = max(0, math.ceil((end - number) / by))
    if about > COUNTED:
        return about
    count = 0  # count as Hydra does, which rounds each sum
    while number < end if by > 0 else number > end:
        number, count = number + by, count + 1
    return count


def with_quotes(line: str) -> str:
    """Return an override with quotes around a value that Hydra cannot parse without them."""
    return _UNQUOTED.sub(r'\1"\2"', line)


def how_to_write(line: str) -> str:
    """Return an error message for an argument that is not an override: what is wrong, and how to write it."""
    key = line.split("=", 1)[0]
    if not _KEY.fullmatch(key):
        return f"{show(line)}: {show(key)} is not a key; write key=value, such as optimizer.lr=0.01"
    key = key.lstrip("+~")
    if "=" not in line:
        groups = search_path.groups(search_path.search_path())
        group = next((group for group, choices in groups.items() if key in choices), None)
        wanted = f"{group}={key}" if group else f"{spell(key)}=VALUE"
        return f"{show(line)}: no value; write {wanted}"
    return (
        f"{show(line)}: the value cannot be read; lists are {spell(key)}=[4,2], and text with special "
        f"characters goes in quotes: '{spell(key)}=\"…\"'"
    )
