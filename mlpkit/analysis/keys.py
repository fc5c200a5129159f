"""Config keys of compared runs: which keys distinguish settings, which pair their runs, and short names."""

from collections.abc import Callable, Iterable, Sequence
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
    return reader(keys)(run)


def reader(keys: Sequence[str]) -> Callable[[RunResult], Values]:
    """Return a function like `values_of`, for many runs: it reads what they share once.

    The runs must stay alive as long as it is used.
    """
    of_shared: dict[int, tuple[Values, list[tuple[int, str]]]] = {}  # by the identity of what is shared

    def read(run: RunResult) -> Values:
        settings = run.settings
        name = id(settings.shared)
        if name not in of_shared:
            places = [(place, key) for place, key in enumerate(keys) if key in settings.own]
            of_shared[name] = tuple(hashable(settings.get(key, ABSENT)) for key in keys), places
        values, places = of_shared[name]
        if not places:
            return values
        mine = list(values)
        for place, key in places:
            mine[place] = settings.own.get(key, ABSENT)
        return tuple(mine)

    return read


def distinct(runs: Iterable[RunResult]) -> list[RunResult]:
    """Return one run for each shared dict of settings."""
    return list({id(run.settings.shared): run for run in runs}.values())


def all_keys(runs: Sequence[RunResult]) -> list[str]:
    """Return the keys of all runs, in the order in which they first occur."""
    kinds = dict.fromkeys([tuple(run.settings) for run in distinct(runs)])  # few
    return list(dict.fromkeys(key for keys in kinds for key in keys))


def varying(runs: Sequence[RunResult], keys: Sequence[str]) -> list[str]:
    """Return those of the keys of which not all runs have the same value; each key is one of a run's."""
    first, some = runs[0].settings, distinct(runs)
    same = [key for key in keys if key in first]  # a key that the first run lacks, another one has
    for run in some:
        settings = run.settings
        same = [key for key in same if settings.get(key, ABSENT) == first[key]]
    own = {key for run in some for key in run.settings.own}
    equal = {
        key for key in same if key not in own or all(run.settings.get(key) == first[key] for run in runs)
    }
    return [key for key in keys if key not in equal]


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
    runs: Sequence[RunResult], settings: Sequence[Values], others: Sequence[str]
) -> tuple[str, ...]:
    """Return the keys that distinguish the runs of a setting, and pair them with runs of another setting.

    A key that only some choices have, such as an optimizer's momentum, is left out if it has one value within
    each setting: settings of other choices lack the key, and are paired without it.

    Args:
        runs: the runs.
        settings: of each run, the values of the setting's keys.
        others: all other keys that vary.
    """
    by_setting: dict[Values, list[Values]] = {}
    others_of = reader(others)
    for run, setting in zip(runs, settings, strict=True):
        by_setting.setdefault(setting, []).append(others_of(run))
    differing, absent = set(), set()
    for rows in by_setting.values():
        for key, column in zip(others, zip(*rows, strict=True), strict=True):
            found = set(column)
            if len(found) > 1:
                differing.add(key)
            if ABSENT in found:
                absent.add(key)
    return tuple(key for key in others if key in differing or key not in absent)


def distinguishing_keys(settings: Sequence[Values], keys: Sequence[str]) -> tuple[str, ...]:
    """Return the keys that distinguish the settings.

    A key that comes with a choice, as the learning rate that each optimizer has of its own, says no more than
    the choice itself, and is left out. A key that only some choices have, always with the same value, is
    included only if two settings differ in nothing else.

    Args:
        settings: the values of each setting.
        keys: their keys.
    """
    found = [{values[index] for values in settings} for index in range(len(keys))]
    differing = [
        index
        for index, values in enumerate(found)
        if len(values - {ABSENT}) > 1 and not _comes_with_choice(settings, keys, index)
    ]
    for index, values in enumerate(found):
        if len(values) > 1 and index not in differing:
            apart = len({tuple(setting[other] for other in differing) for setting in settings})
            if len({tuple(setting[other] for other in (*differing, index)) for setting in settings}) > apart:
                differing.append(index)
    return tuple(keys[index] for index in sorted(differing))


def _comes_with_choice(settings: Sequence[Values], keys: Sequence[str], index: int) -> bool:
    """Whether each choice of the key's section, such as each optimizer, has one value of the key."""
    name = f"{keys[index].rpartition('.')[0]}.name"
    if name == keys[index] or name not in keys:
        return False
    choice = keys.index(name)
    pairs = {(values[choice], values[index]) for values in settings}
    return len(pairs) == len({values[choice] for values in settings})
