"""Runs `mlpkit train -m --search`, and `mlpkit resume` with the folder of a search."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mlpkit.cli.arguments import check_folder
from mlpkit.cli.compose import Composer, Request
from mlpkit.cli.plan import search_space
from mlpkit.config.config import Config
from mlpkit.config.problems import spell
from mlpkit.errors import ConfigError
from mlpkit.folders.origin import Origin
from mlpkit.folders.trust import Trust
from mlpkit.sweeps.grid import MAX_SEEDS, MAX_TRIALS, Interval

if TYPE_CHECKING:
    from mlpkit.sweeps.launch import JobLauncher
    from mlpkit.sweeps.search_plan import Search, SearchPlan, Space

SAMPLERS = ("tpe", "random", "cmaes")
PRUNERS = ("none", "median", "hyperband", "halving")
BATCH = 16  # trials trained together: cost little more than one, and the sampler still learns in between
# Keys whose values may lead to other datasets, models or tasks, so that all their values are composed.
STRUCTURAL = (
    "dataset",
    "dataset.val_fraction",
    "dataset.standardize",
    "dataset.target_transform",
    "model",
    "experiment",
)
SMALLEST_GENERATION = 4  # trials in a generation of CMA-ES


@dataclass(frozen=True)
class Options:
    """Options of a search; None for an option that was not given.

    Attributes:
        sampler: value of --search.
        trials: value of --trials.
        pruner: value of --pruner.
        batch: value of --batch.
        seeds: value of --seeds.
    """

    sampler: str | None = None
    trials: int | None = None
    pruner: str | None = None
    batch: int | None = None
    seeds: int | None = None

    def check(self, multirun: bool) -> None:
        """Check the options.

        Raises:
            ConfigError: a value is not allowed, --trials is missing, or --search is missing for the others.
        """
        if self.sampler is None:
            if self.seeds is not None:
                raise ConfigError(
                    f"--seeds={self.seeds}: only for a search; in a sweep write 'seed=range({self.seeds})'"
                )
            given = {"trials": self.trials, "pruner": self.pruner, "batch": self.batch}
            if name := next((name for name, value in given.items() if value is not None), None):
                raise ConfigError(f"--{name}={given[name]}: only for a search; add --search tpe")
            return
        if not multirun:
            raise ConfigError(f"--search={self.sampler}: a search makes many runs; add -m")
        if self.sampler not in SAMPLERS:
            raise ConfigError(f"--search={spell(self.sampler)}: must be tpe, random or cmaes")
        if self.pruner is not None and self.pruner not in PRUNERS:
            raise ConfigError(f"--pruner={spell(self.pruner)}: must be none, median, hyperband or halving")
        if (self.seeds or 1) > MAX_SEEDS:
            raise ConfigError(f"--seeds={self.seeds}: a trial has at most {MAX_SEEDS} seeds")
        if (self.seeds or 1) > 1 and self.pruner not in (None, "none"):
            raise ConfigError(
                f"--pruner={self.pruner}: ends single runs, not trials of several --seeds; leave out one"
            )
        if self.trials is None:
            raise ConfigError(f"--search={self.sampler}: how many trials there are to be; add --trials 50")
        for name, number in {"trials": self.trials, "batch": self.batch or 1}.items():
            if number > MAX_TRIALS:
                raise ConfigError(f"--{name}={number}: a search has at most {MAX_TRIALS} trials")
        if self.sampler == "cmaes" and self.batch is not None and self.batch < SMALLEST_GENERATION:
            raise ConfigError(
                f"--batch={self.batch}: a generation of CMA-ES has {SMALLEST_GENERATION} trials or more"
            )


def search(request: Request, origin: Origin, options: Options, launcher: "JobLauncher") -> None:
    """Run a search, and print the best trial."""
    wanted = _import_search(options.sampler == "cmaes").model_validate(
        {
            "sampler": options.sampler,
            "pruner": options.pruner or "none",
            "trials": options.trials,
            "batch": options.batch or BATCH,
            "seeds": options.seeds or 1,
            "overrides": list(request.overrides),
            "folders": [str(folder.absolute()) for folder in request.folders],
            "file": None if request.file is None else str(request.file.absolute()),
        }
    )
    plan, configs = _plan(wanted)
    if seed := next((key for key in plan.space if key.lstrip("+~") in ("seed", "dataset.seed")), None):
        raise ConfigError(
            f"{spell(seed)}: a search would choose the luckiest seed; give it one value and add --seeds 5, "
            "which scores a trial by its mean over seeds"
        )

    from mlpkit.folders import sweep_folder
    from mlpkit.folders.looks import looks_recorded
    from mlpkit.sweeps.search import start
    from mlpkit.system.console import make_console, note, say

    console = make_console()
    check_folder(request, configs[0])
    folder = sweep_folder.create(configs)
    open_workers = partial(launcher.open, folder.path, min(wanted.batch, wanted.trials) * wanted.seeds)
    with (
        sweep_folder.removed_if_unused(folder, configs[0]),
        looks_recorded(folder.path, origin.command, note),
    ):
        start(folder, plan, origin, launcher, console, open_workers)
    say(console, f"sweep folder: {folder.path}")


def resume_search(path: Path, origin: Origin, launcher: "JobLauncher", trials: int | None = None) -> None:
    """Resume a search.

    Args:
        path: its folder.
        origin: the command line.
        launcher: trains the trials.
        trials: the new number of trials; None leaves it.

    Raises:
        ConfigError: the number is smaller than before, or too large.
    """
    from mlpkit.folders.looks import looks_recorded
    from mlpkit.folders.sweep_folder import SweepFolder
    from mlpkit.sweeps.search_plan import read_search
    from mlpkit.system.console import make_console, note, say

    folder, console = SweepFolder(path), make_console()
    folder.open_for_writing()
    wanted = read_search(folder)
    launcher.check_pruner(wanted.pruner)
    if trials is not None:
        if not wanted.trials <= trials <= MAX_TRIALS:
            rule = f"the search has {wanted.trials} already; give more, up to {MAX_TRIALS}"
            raise ConfigError(f"--trials={trials}: {rule}")
        wanted = wanted.model_copy(update={"trials": trials})
    _import_search(wanted.sampler == "cmaes")
    plan, _ = _plan(wanted, origin.trust, folder.search)

    from mlpkit.sweeps.search import resume

    with looks_recorded(path, origin.command, note):
        resume(folder, plan, origin, launcher, console)
    say(console, f"sweep folder: {folder.path}")


def _import_search(with_cmaes: bool = False) -> "type[Search]":
    """Check that Optuna and, if needed, CMA-ES are installed; return the class `Search`.

    Raises:
        ConfigError: a package is not installed.
    """
    try:
        import optuna  # noqa: F401

        if with_cmaes:  # only if needed: importing SciPy's statistics takes a second
            import cmaes  # noqa: F401
    except ImportError:
        raise ConfigError("--search: needs optuna; pip install 'mlpkit[search]'") from None
    from mlpkit.sweeps.search_plan import Search

    return Search


def _plan(
    wanted: "Search", trust: Trust = Trust.OWN, source: Path = Path()
) -> "tuple[SearchPlan, list[Config]]":
    """Return the plan of a search, and example configs that cover each dataset and model.

    Args:
        wanted: the search.
        trust: whether it comes from the user's command line or from a foreign file.
        source: that file.

    Raises:
        ConfigError: the search space or a config is invalid.
    """
    from mlpkit.sweeps.datasets import Datasets
    from mlpkit.sweeps.search_plan import plan_search

    file = None if wanted.file is None else Path(wanted.file)
    request = Request(tuple(wanted.overrides), tuple(map(Path, wanted.folders)), file, trust)
    fixed, space = search_space(request)
    if wanted.sampler == "cmaes":
        _check_numeric(space)
    composer = Composer(fixed)
    if wanted.seeds > 1:  # each run brings its own seed, counted from that of the command line
        without = (line for line in fixed.overrides if line.lstrip("+").partition("=")[0] != "seed")
        repeated = Composer(replace(fixed, overrides=tuple(without)))
    else:
        repeated = composer

    def compose(overrides: Sequence[str]) -> Config:
        return repeated.config(repeated.read(overrides))

    texts = {key: _texts(key, values) for key, values in space.items()}
    first = {key: values[0] for key, values in texts.items()}
    several = [first, *({**first, key: text} for key, values in texts.items() for text in values[1:])]
    lines = [[f"{key}={text}" for key, text in chosen.items()] for chosen in several]
    configs = [composer.config(composer.read(each)) for each in lines]
    return plan_search(wanted, space, compose, configs, Datasets(trust, source)), configs


def _texts(key: str, values: Interval | tuple[str, ...]) -> list[str]:
    """Return all values of a structural key, and the first value of any other key."""
    texts = [repr(values.low)] if isinstance(values, Interval) else list(values)
    return texts if key.lstrip("+~") in STRUCTURAL else texts[:1]


def _check_numeric(space: "Space") -> None:
    for key, values in space.items():
        if not isinstance(values, Interval):
            raise ConfigError(
                f"--search=cmaes: {spell(key)} is a choice, and CMA-ES searches numbers; "
                "give interval(LOW,HIGH), or use --search tpe"
            )
