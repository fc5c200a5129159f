"""Turns overrides with several values into the jobs of a sweep or the search space of a search."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mlpkit.cli.compose import Composer, Request, sweeps
from mlpkit.cli.overrides import Override
from mlpkit.config.config import Config, SharedSections
from mlpkit.config.problems import MOST_PROBLEMS, spell
from mlpkit.errors import ConfigError
from mlpkit.sweeps.grid import Interval, Job, SweepPlan, Values, check_size, product, zipped


def plan(request: Request, paired: bool = False, most: int | None = None) -> SweepPlan:
    """Return the jobs of a sweep, in the order of Hydra's basic sweeper.

    A job's config is composed from the request's other overrides, followed by the job's own. Jobs with equal
    configs are planned once.

    Args:
        request: the command line; if no override sweeps, there is one job.
        paired: combine the values pairwise (--zip) instead of taking all combinations.
        most: limit on the number of jobs (--max-jobs); None for the default.

    Raises:
        ConfigError: there are too many jobs, or some configs are invalid: with the problems of all jobs.
    """
    fixed, swept = sweeps(request)
    for override in swept:
        if isinstance(override.value, Interval):
            raise ConfigError(
                f"{override.text}: an interval is searched, not swept; add --search tpe, "
                f"or give values: {spell(override.key)}=A,B"
            )
    check_size({override.key: override.value.length for override in swept}, paired, most)
    composer = Composer(fixed)
    axes = _axes(composer, swept)
    combinations = list(zipped(axes) if paired else product(axes))
    jobs: dict[Config, Job] = {}
    for combination, config in zip(combinations, _configs(composer, combinations), strict=True):
        jobs.setdefault(config, Job(tuple(override.line for override in combination), config))
    return SweepPlan(tuple(jobs.values()), len(combinations) - len(jobs))


def search_space(request: Request) -> tuple[Request, dict[str, Interval | tuple[str, ...]]]:
    """Return the request without the searched overrides, and the search space: key -> interval or choices.

    Choices are texts, and keys keep their + or ~, so that `key=text` is an override for the request. Each
    choice and both ends of each interval are checked: composed with the first values of all other keys, they
    give a valid config.

    Raises:
        ConfigError: nothing is searched, or one of these configs is invalid: with all problems.
    """
    fixed, swept = sweeps(request)
    if not swept:
        raise ConfigError("--search: nothing to search; give a key several values, or interval(LOW,HIGH)")
    choices = [override for override in swept if isinstance(override.value, Values)]
    for override in choices:
        check_size({override.key: override.value.length}, False, None)
    composer = Composer(fixed)
    axes = _axes(composer, swept)
    firsts = [values[0] for values in axes.values()]
    trials = [
        [*firsts[:index], value, *firsts[index + 1 :]]
        for index, values in enumerate(axes.values())
        for value in values
    ]
    _configs(composer, trials)
    space = {
        f"{override.mark}{override.key}": override.value
        if isinstance(override.value, Interval)
        else tuple(override.value.texts())
        for override in swept
    }
    return fixed, space


def _axes(composer: Composer, swept: Sequence[Override]) -> dict[str, list[Override]]:
    """Return, for each swept key, one override per value, or two for the ends of an interval.

    Raises:
        ConfigError: values cannot be parsed or name a choice that does not exist: one line each.
    """
    axes: dict[str, list[Override]] = {override.key: [] for override in swept}
    problems: dict[str, None] = {}
    for override in swept:
        for text in _texts(override.value):
            try:
                axes[override.key] += composer.read([f"{override.mark}{override.key}={text}"])
            except ConfigError as error:
                problems.update(dict.fromkeys(error.args))
    _refuse(list(problems))
    return axes


def _texts(value: Any) -> Iterable[str]:
    texts: Iterator[str] = map(repr, value.ends) if isinstance(value, Interval) else value.texts()
    return texts


def _configs(composer: Composer, combinations: Sequence[Sequence[Override]]) -> list[Config]:
    """Return the config of each combination of overrides.

    Raises:
        ConfigError: with each problem once, and the overrides that all combinations with it share.
    """
    configs, shared = [], SharedSections()
    problems: dict[str, list[Sequence[Override]]] = {}
    for combination in combinations:
        try:
            configs.append(shared.of(composer.config(combination)))
        except ConfigError as error:
            for line in error.args:
                problems.setdefault(line, []).append(combination)
    lines = []
    for line, found in problems.items():
        first = found[0]
        if len(found) < len(combinations) and not any(
            line.startswith((f"{each.key}=", f"{each.text}: ")) for each in first
        ):
            common = [each for each in first if all(each in other for other in found)] or first
            line += f" (with {' '.join(each.text for each in common)})"
        lines.append(line)
    _refuse(lines)
    return configs


def _refuse(problems: Sequence[str]) -> None:
    more = len(problems) - MOST_PROBLEMS
    if problems:
        last = [f"{more} more problems; mend these first"] if more > 0 else []
        raise ConfigError(*problems[:MOST_PROBLEMS], *last)
