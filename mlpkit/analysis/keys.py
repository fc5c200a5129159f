"""Config keys of compared runs: which keys distinguish settings, which pair their runs, and short names."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import repeat
from operator import itemgetter
from typing import Any

from mlpkit.config.nested import shorten
from mlpkit.config.problems import did_you_mean, show
from mlpkit.errors import ConfigError
from mlpkit.folders.results import RunResult

ABSENT = object()  # value of a key that the chosen model, optimizer or dataset does not have

_PLAIN = str, int, float

Values = tuple[Any, ...]  # a run's values of some keys, hashable


def values_of(run: RunResult, keys: Sequence[str]) -> Values:
    """Return a run's values of the keys, made hashable; ABSENT for a key that it does not have."""
    values = tuple(map(run.settings.get, keys, repeat(ABSENT)))
    try:
        hash(values)
    except TypeError:  # there is a list or a dict
        return tuple(map(hashable, values))
    return values


def all_keys(runs: Sequence[RunResult]) -> list[str]:
    """Return the keys of all runs, in the order in which they first occur."""
    kinds = dict.fromkeys([tuple(run.settings) for run in runs])  # few
    return list(dict.fromkeys(key for keys in kinds for key in keys))


def varying(runs: Sequence[RunResult], keys: Sequence[str]) -> list[str]:
    """Return those of the keys of which not all runs have the same value; each key is one of a run's."""
    first = runs[0].settings
    same = [key for key in keys if key in first]  # a key that the first run lacks, another one has
    get = _getter(same)
    values = get(first)
    for run in runs:
        with suppress(KeyError):
            if get(run.settings) == values:  # for a hundred thousand runs, one comparison each
                continue
        same = [key for key in same if run.settings.get(key, ABSENT) == first[key]]
        get = _getter(same)
        values = get(first)
    equal = set(same)
    return [key for key in keys if key not in equal]


def _getter(keys: Sequence[str]) -> Callable[[Mapping[str, Any]], Any]:
    """Return the function that returns the values of the keys, as fast as can be."""
    return itemgetter(*keys) if keys else lambda settings: ()


def hashable(value: Any) -> Any:
    """Return a plain value with tuples in place of lists and dicts."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, list):
        return tuple(map(hashable, value))
    return tuple(value.items()) if isinstance(value, dict) else value


def with_lists(value: Any) -> Any:
    """Return a value of `hashable` with lists in place of tuples."""
    return [with_lists(item) for item in value] if isinstance(value, tuple) else value


def find_key(wanted: str, keys: Sequence[str], option: str = "--by") -> str:
    """Return the dotted key that the user typed, in full or shortened as in the leaderboard.

    Raises:
        ConfigError: no key or several keys match.
    """
    if wanted in keys:
        return wanted
    found = [key for key in keys if key.endswith(f".{wanted}") or key == f"{wanted}.name"]
    if len(found) == 1:
        return found[0]
    spelled = show(wanted)[1:-1]
    if found:
        raise ConfigError(f"{option}={spelled}: may be any of {', '.join(found)}; name one of them")
    near = did_you_mean(wanted, [*keys, *(shorten(key, keys) for key in keys)])
    raise ConfigError(
        f"{option}={spelled}: no run has this key{near or '; see `mlpkit config` for the keys'}"
    )


def pairing_keys(
    runs: Sequence[RunResult], setting_keys: Sequence[str], others: Sequence[str]
) -> tuple[str, ...]:
    """Return the keys that distinguish the runs of a setting, and pair them with runs of another setting.

    A key that only some choices have, such as an optimizer's momentum, is left out if it has one value within
    each setting: settings of other choices lack the key, and are paired without it.
    """
    by_setting: dict[Values, list[Values]] = {}
    for run in runs:
        by_setting.setdefault(values_of(run, setting_keys), []).append(values_of(run, others))
    varying, absent = set(), set()
    for rows in by_setting.values():
        for key, column in zip(others, zip(*rows, strict=True), strict=True):
            found = set(column)
            if len(found) > 1:
                varying.add(key)
            if ABSENT in found:
                absent.add(key)
    return tuple(key for key in others if key in varying or key not in absent)


def distinguishing_keys(settings: Sequence[Values], keys: Sequence[str]) -> tuple[str, ...]:
    """Return the keys that distinguish the settings.

    A key that only some choices have, always with the same value, says no more than the choice itself. It is
    included only if two settings differ in nothing else.

    Args:
        settings: the values of each setting.
        keys: their keys.
    """
    found = [{values[index] for values in settings} for index in range(len(keys))]
    differing = [index for index, values in enumerate(found) if len(values - {ABSENT}) > 1]
    for index, values in enumerate(found):
        if len(values) > 1 and index not in differing:
            apart = len({tuple(setting[other] for other in differing) for setting in settings})
            if len({tuple(setting[other] for other in (*differing, index)) for setting in settings}) > apart:
                differing.append(index)
    return tuple(keys[index] for index in sorted(differing))
