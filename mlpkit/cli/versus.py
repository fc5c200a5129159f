"""mlpkit versus."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlpkit.cli.arguments import ConfigDir, Overrides, Plugins, command_line
from mlpkit.config.problems import plural, spell
from mlpkit.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rich.console import Console

    from mlpkit.analysis.versus import Verdict
    from mlpkit.cli.compose import Request
    from mlpkit.folders.origin import Origin
    from mlpkit.folders.results import RunResult
    from mlpkit.sweeps.grid import Job

EXAMPLE = "mlpkit versus optimizer=sgd,adam dataset=moons model=mlp --max-seeds 8"

Names = tuple[str, str, str]  # of both settings and of the score, in words


def versus(
    pair: Annotated[str, typer.Argument(metavar="KEY=A,B", help="The key and its two values.")],
    overrides: Overrides = None,
    margin: Annotated[
        float | None,
        typer.Option("--margin", metavar="D", help="Also stop when the difference is shown to be below D."),
    ] = None,
    most: Annotated[
        int,
        typer.Option(
            "--max-seeds", metavar="N", min=8, max=10_000, help="At most N seeds of each: 8, 16, 32, …"
        ),
    ] = 64,
    metric: Annotated[
        str | None,
        typer.Option("--metric", metavar="NAME", help="A score such as loss; left out, the monitored one."),
    ] = None,
    config_dir: ConfigDir = None,
    plugin: Plugins = None,
) -> None:
    """Train two values of a key with more and more seeds until one is shown to be better."""
    from mlpkit.analysis.versus import looks
    from mlpkit.cli.compose import Request, sweeps
    from mlpkit.cli.shorthand import expand
    from mlpkit.cli.sweep import QUIET
    from mlpkit.folders.origin import Origin
    from mlpkit.folders.trust import Trust
    from mlpkit.system.console import make_console, say

    if margin is not None and not margin > 0:
        raise ConfigError(f"--margin={margin:g}: must be above 0, such as 0.005")
    words = expand((pair, *(overrides or ())))
    request = Request(words, tuple(config_dir or ())).with_defaults(*QUIET)
    _, swept = sweeps(request)
    if len(swept) != 1 or swept[0].value.length != 2:
        raise ConfigError(f"versus: {spell(pair)}: one key must have two values, as optimizer=sgd,adam has")
    key = swept[0].key
    if request.sets("seed") or request.sets("run.dir"):
        raise ConfigError("versus: it chooses seeds and folders itself; leave out seed and run.dir")
    request = request.with_defaults(f"run.name=versus-{key.replace('/', '-')}")
    origin, console = Origin(command_line(), Trust.OWN, request.overrides), make_console()
    for look, seeds in enumerate(looks(most)):
        jobs = _jobs(request, seeds)
        runs = _train(jobs, origin, console)
        names, verdict = _judge(jobs, runs, metric, margin, look)
        say(console, _describe_look(names, verdict))
        if verdict.kind != "open":
            break
    if verdict.seeds < seeds:
        of_seeds = f"{verdict.seeds} of {plural(seeds, 'seed')}"
        say(console, f"warning: compared on the {of_seeds} that have both scores")
    say(console, _describe_verdict(names, verdict, margin, seeds))


def _jobs(request: "Request", seeds: int) -> "Sequence[Job]":
    from mlpkit.cli.plan import plan

    return plan(replace(request, overrides=(*request.overrides, f"seed=range({seeds})"))).jobs


def _train(jobs: "Sequence[Job]", origin: "Origin", console: "Console") -> "dict[str, Path]":
    """Train the jobs that no earlier sweep of this folder has trained.

    Returns:
        The run folder of each finished job, by the key of its config.
    """
    from mlpkit.cli.sweep import train_jobs
    from mlpkit.sweeps.ledger import config_key
    from mlpkit.system.console import note
    from mlpkit.system.paths import expand

    options = jobs[0].config.run
    group = expand(options.root) / str(options.name)
    done = _finished_runs(group)
    left = [job for job in jobs if config_key(job.config) not in done]
    if not left:
        return done
    _, failed = train_jobs(left, origin, console)
    for line in failed.args[:-1] if failed else ():  # a diverged seed has no score; the others count
        note(str(line))
    return _finished_runs(group)


def _finished_runs(group: Path) -> "dict[str, Path]":
    """Return the finished runs of the sweeps in a folder, by the key of their config."""
    from mlpkit.folders.sweep_folder import SweepFolder, is_sweep
    from mlpkit.sweeps.ledger import DONE, Ledger, config_key

    runs: dict[str, Path] = {}
    for path in sorted(group.iterdir()) if group.is_dir() else ():
        if not path.is_symlink() and is_sweep(path):
            with Ledger(SweepFolder(path).ledger) as ledger:
                done = [entry for entry in ledger.entries() if entry.status == DONE]
            runs |= {config_key(entry.config): path / entry.folder for entry in done}
    return runs


def _judge(
    jobs: "Sequence[Job]", done: "dict[str, Path]", metric: str | None, margin: float | None, look: int
) -> "tuple[Names, Verdict]":
    """Return the names of both settings and of the score, and what the seeds so far show."""
    from mlpkit.analysis.metric import choose_metric
    from mlpkit.analysis.versus import judge
    from mlpkit.folders.results import read_result
    from mlpkit.sweeps.ledger import config_key

    results: dict[str, dict[int, RunResult]] = {}  # by setting and seed
    for job in jobs:
        setting = next(line for line in job.overrides if not line.startswith("seed="))
        path = done.get(config_key(job.config))
        results.setdefault(setting, {})
        if path is not None:
            results[setting][job.config.seed] = read_result(path)
    (one, first), (other, second) = results.items()
    common = [seed for seed in first if seed in second]
    if len(common) < 2:
        raise DataError("versus: fewer than two seeds have a score with both values; see the errors above")
    chosen = choose_metric([runs[seed] for runs in (first, second) for seed in common], metric)
    pairs = [(chosen.value(first[seed]), chosen.value(second[seed])) for seed in common]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    verdict = judge([a for a, _ in known], [b for _, b in known], chosen.higher_is_better, margin, look)
    return (one, other, f"{chosen.split} {chosen.score}"), verdict


def _describe_look(names: Names, verdict: "Verdict") -> str:
    one, other, score = names
    seeds, ends = plural(verdict.seeds, "seed"), f"{verdict.low:+.4g} to {verdict.high:+.4g}"
    return f"{seeds}: {score} {other} minus {one}: {verdict.difference:+.4g} ({ends})"


def _describe_verdict(names: Names, verdict: "Verdict", margin: float | None, trained: int) -> str:
    one, other, score = names
    more = f"--max-seeds {4 * trained}"
    if verdict.kind == "alike":
        return f"{one} and {other} differ in {score} by less than {margin:g}"
    if verdict.kind == "open":
        if verdict.low == verdict.high:
            return f"no test is possible: the difference is the same for all seeds; try {more}"
        return f"not shown to differ with {plural(verdict.seeds, 'seed')}; more may show it: {more}"
    better, worse = (one, other) if verdict.kind == "first" else (other, one)
    return f"{better} is better than {worse}"
