"""mlpkit versus."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlpkit.cli.arguments import ConfigDir, Overrides, Plugins, command_line
from mlpkit.config.problems import plural, spell
from mlpkit.errors import ConfigError, DataError, JobsFailedError

if TYPE_CHECKING:
    from rich.console import Console

    from mlpkit.analysis.versus import Verdict
    from mlpkit.cli.compose import Request
    from mlpkit.runs.origin import Origin
    from mlpkit.runs.results import RunResult
    from mlpkit.sweep.grid import Job

EXAMPLE = "mlpkit versus optimizer=sgd,adam dataset=moons model=mlp --max-seeds 8"

QUIET = ("run.plots=false", "run.loggers=[]")


def versus(
    pair: Annotated[str, typer.Argument(metavar="KEY=A,B", help="The key and its two values.")],
    overrides: Overrides = None,
    margin: Annotated[
        float | None,
        typer.Option("--margin", metavar="D", help="Stop when the difference is surely below this."),
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
    """Train two values with more and more seeds until it is sure which is better."""
    from mlpkit.analysis.versus import looks
    from mlpkit.cli.compose import Request, sweeps
    from mlpkit.cli.shorthand import expand
    from mlpkit.runs.origin import Origin
    from mlpkit.runs.trust import Trust
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
        found = _train(jobs, origin, console)
        names, verdict = _look(jobs, found, metric, margin, look)
        say(console, _line(names, verdict))
        if verdict.kind != "open":
            break
    if verdict.seeds < seeds:
        say(
            console,
            f"warning: compared on the {verdict.seeds} of {plural(seeds, 'seed')} that have both scores",
        )
    say(console, _said(names, verdict, margin, seeds))


def _jobs(request: "Request", seeds: int) -> "Sequence[Job]":
    from mlpkit.cli.plan import plan

    return plan(replace(request, overrides=(*request.overrides, f"seed=range({seeds})"))).jobs


def _train(jobs: "Sequence[Job]", origin: "Origin", console: "Console") -> "dict[str, Path]":
    """Train the jobs that no earlier sweep of this folder has trained; return the run of each, by its key."""
    from mlpkit.runs import sweep_folder
    from mlpkit.sweep.launchers import LauncherOptions, choose
    from mlpkit.sweep.ledger import config_key
    from mlpkit.sweep.run import start
    from mlpkit.system.console import note
    from mlpkit.system.paths import expand

    place = jobs[0].config.run
    group = expand(place.root) / str(place.name)
    done = _done(group)
    left = [job for job in jobs if config_key(job.config) not in done]
    if not left:
        return done
    folder = sweep_folder.create([job.config for job in left])
    try:
        start(folder, left, origin, choose(LauncherOptions()), console)
    except JobsFailedError as error:  # a diverged seed has no score; the others count
        for line in error.args[:-1]:
            note(str(line))
    return _done(group)


def _done(group: Path) -> "dict[str, Path]":
    """Return the finished runs of the sweeps in a folder, by the key of their config."""
    from mlpkit.runs.sweep_folder import SweepFolder, is_sweep
    from mlpkit.sweep.ledger import DONE, Ledger, config_key

    found: dict[str, Path] = {}
    for path in sorted(group.iterdir()) if group.is_dir() else ():
        if not path.is_symlink() and is_sweep(path):
            with Ledger(SweepFolder(path).ledger) as ledger:
                entries = ledger.entries()
            found |= {config_key(of.config): path / of.folder for of in entries if of.status == DONE}
    return found


def _look(
    jobs: "Sequence[Job]", done: "dict[str, Path]", metric: str | None, margin: float | None, look: int
) -> "tuple[list[str], Verdict]":
    """Return the names of both settings, and what the seeds so far show."""
    from mlpkit.analysis.metric import choose_metric
    from mlpkit.analysis.versus import judge
    from mlpkit.runs.results import read_result
    from mlpkit.sweep.ledger import config_key

    runs: dict[str, dict[int, RunResult]] = {}
    for job in jobs:
        side = next(line for line in job.overrides if not line.startswith("seed="))
        path = done.get(config_key(job.config))
        runs.setdefault(side, {})
        if path is not None:
            runs[side][job.config.seed] = read_result(path)
    (one, first), (other, second) = runs.items()
    common = [seed for seed in first if seed in second]
    if len(common) < 2:
        raise DataError("versus: fewer than two seeds have a score with both values; see the errors above")
    chosen = choose_metric([of[seed] for of in (first, second) for seed in common], metric)
    pairs = [(chosen.value(first[seed]), chosen.value(second[seed])) for seed in common]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    verdict = judge([a for a, _ in known], [b for _, b in known], chosen.higher_is_better, margin, look)
    return [one, other, f"{chosen.split} {chosen.score}"], verdict


def _line(names: Sequence[str], found: "Verdict") -> str:
    one, other, score = names
    ends = f"{found.low:+.4g} to {found.high:+.4g}"
    return f"{plural(found.seeds, 'seed')}: {score} {other} minus {one}: {found.difference:+.4g} ({ends})"


def _said(names: Sequence[str], found: "Verdict", margin: float | None, trained: int) -> str:
    one, other, score = names
    more = f"--max-seeds {4 * trained}"
    if found.kind == "alike":
        return f"{one} and {other} differ in {score} by less than {margin:g}"
    if found.kind == "open":
        if found.low == found.high:
            return f"no test says how sure that is: the difference is the same for all seeds; try {more}"
        return f"not shown to differ with {plural(found.seeds, 'seed')}; more may show it: {more}"
    better, worse = (one, other) if found.kind == "first" else (other, one)
    return f"{better} is better than {worse}"
