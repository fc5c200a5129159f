"""Reads the results of runs, from checkpoint headers and summaries only."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from mlpkit.config import yaml_file
from mlpkit.config.config import FORMAT, Config, parse, to_dict
from mlpkit.config.nested import items
from mlpkit.config.problems import show
from mlpkit.errors import ConfigError, DataError
from mlpkit.folders.checkpoint import EXTENDED
from mlpkit.folders.environment import name_plugins
from mlpkit.folders.found_runs import changed
from mlpkit.folders.header import read_header_parts
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_record import read_summary
from mlpkit.folders.shared_settings import SharedSettings

SWEEP = "sweep-"  # prefix of the names of sweep folders

_Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]
# None if it was not finite. The limit keeps squares finite, which statistics over runs need.
_Score = Annotated[float | None, Field(ge=-1e150, le=1e150, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0, lt=2**53)]
_Scores = Annotated[dict[_Name, _Score], Field(max_length=100)]


class Best(NamedTuple):
    """The epoch with the best monitored score.

    Attributes:
        split: of the monitored score.
        score: its name.
        higher_is_better: whether a higher one is better.
        value: the score.
        epoch: counted from one; 0 if the summary does not give it.
        step: the number of optimizer steps until then; 0 likewise.
        names: split and name of each score of that epoch; many runs share them.
        values: of these.
    """

    split: str
    score: str
    higher_is_better: bool
    value: float
    epoch: int = 0
    step: int = 0
    names: Sequence[tuple[str, str]] = ()
    values: Sequence[float | None] = ()

    def scores(self, split: str) -> dict[str, float | None]:
        """Return the scores of a split by name; empty if the split was not scored."""
        return {
            name: value for (part, name), value in zip(self.names, self.values, strict=True) if part == split
        }

    def all_scores(self) -> dict[tuple[str, str], float | None]:
        """Return the scores of all splits, by split and name."""
        return {(split, name): value for (split, name), value in zip(self.names, self.values, strict=True)}


class _BestOfSummary(BaseModel):
    """The epoch with the best monitored score, as stored in summary.json."""

    model_config = ConfigDict(strict=True)

    split: _Name
    score: _Name
    higher_is_better: bool
    value: _Score
    epoch: _Count = 0
    step: _Count = 0
    train: _Scores = {}
    val: _Scores = {}
    test: _Scores = {}

    def to_best(self) -> Best | None:
        """Return the best epoch; None if its score was not finite."""
        if self.value is None:
            return None
        scores = {"train": self.train, "val": self.val, "test": self.test}
        found = {(split, name): value for split, each in scores.items() for name, value in each.items()}
        return Best(
            self.split, self.score, self.higher_is_better, self.value, self.epoch, self.step,
            tuple(found), tuple(found.values()),
        )  # fmt: skip


class RunResult(NamedTuple):
    """The settings and scores of a run.

    Attributes:
        folder: the run folder.
        settings: by dotted key, without run.* and format, which do not affect training.
        status: the status in its summary; `unfinished` if there is no summary.
        task: regression, binary, multiclass or multilabel; empty if the summary does not give it.
        best: the best epoch; None if there is none, as in a failed run.
        seconds: training time; divided by their number for runs that were trained together.
    """

    folder: str
    settings: SharedSettings
    status: str
    task: str = ""
    best: Best | None = None
    seconds: float | None = None

    @property
    def path(self) -> Path:
        """The run folder; of a hundred thousand runs, only those that are shown need it."""
        return Path(self.folder)


def summarized_scores(folder: RunFolder, which: str, step: int) -> dict[str, dict[str, float]] | None:
    """Return the scores of the best or the last weights by split; None if they are of another step."""
    try:
        summary = read_summary(folder)
        about = summary["best"] if which == "best" else {**summary, "step": summary["steps"]}
        if about["step"] != step:
            return None
        scores = {name: about[name] for name in ("train", "val", "test") if name in about}
        return TypeAdapter(dict[str, dict[str, float]]).validate_python(scores, strict=True)
    except (DataError, ValidationError, KeyError, TypeError):
        return None


def read_result(path: Path) -> RunResult:
    """Return a run's result, without reading or verifying its tensors.

    Raises:
        DataError: the run folder is damaged.
    """
    folder = RunFolder(path)
    settings = SharedSettings(settings_of(read_config(folder)), {})
    _refuse_link(folder.summary)
    if not (folder.summary.exists() or folder.is_one_file):
        return RunResult(str(path), settings, "unfinished")
    summary = read_summary(folder)
    try:
        kept = summary.get("best")
        best = None if kept is None else _BestOfSummary.model_validate(kept).to_best()
    except ValidationError:
        problem = "its best scores cannot be read; mend or remove the file"
        raise DataError(f"{folder.summary}: {problem}") from None
    seconds, runs = summary.get("train_seconds"), summary.get("runs_together", 1)
    if not isinstance(runs, int) or not 1 <= runs < 1_000_000:
        runs = 1
    if summary.get("status") == "pruned":  # trained for fewer epochs, so its score is not comparable
        best = None
    return RunResult(
        str(path),
        settings,
        status=_word(summary.get("status"), "unfinished"),
        task=_word(summary.get("task"), ""),
        best=best,
        seconds=seconds / runs if isinstance(seconds, int | float) and 0 <= seconds < 1e12 else None,
    )


def read_config(folder: RunFolder) -> Config:
    """Return a run's config, from a checkpoint's header if there is one: ten times as fast as reading YAML.

    The newest checkpoint is tried first: the best one may have been saved before trainer.epochs was changed.

    Raises:
        DataError: the config cannot be read, or is a link.
    """
    for path in (folder.last, folder.best):
        with suppress(DataError):
            _refuse_link(path.parent)
            _refuse_link(path)
            return _config_in(path)
    if folder.is_one_file:
        return _config_in(folder.last)  # which says what is wrong
    _refuse_link(folder.config)
    try:
        return parse(yaml_file.read(folder.config, yaml_file.LARGEST_OF_A_RUN))
    except ConfigError as error:
        problem = name_plugins(str(error.args[0]), folder.path)
        where = "" if problem.startswith(str(folder.config)) else f"{folder.config}: "
        raise DataError(f"{where}{problem}") from None


def _config_in(checkpoint: Path) -> Config:
    """Return the config in a checkpoint's header, without a look at its other parts.

    Raises:
        DataError: it cannot be read, or was written by a newer mlpkit.
    """
    parts = read_header_parts(checkpoint)
    written, config = parts.get("format"), parts.get("config")
    if not (isinstance(written, int) and written <= max(FORMAT, EXTENDED) and isinstance(config, dict)):
        raise DataError(f"{checkpoint}: not a checkpoint of mlpkit, or one of a newer mlpkit; upgrade mlpkit")
    try:
        return parse(config)
    except ConfigError as error:
        problem = name_plugins(str(error.args[0]), checkpoint.absolute().parents[1])
        raise DataError(f"{checkpoint}: its config is not valid: {problem}") from None


def settings_of(config: Config) -> dict[str, Any]:
    """Return a config's settings by dotted key, without run.* and format, which do not affect training."""
    return {
        key: value
        for key, value in items(to_dict(config))
        if key != "format" and key.partition(".")[0] != "run"
    }


def age(run: RunResult) -> tuple[int, str]:
    """Return a sort key that is greater for a newer run."""
    return changed(run.path), run.path.name


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise DataError(f"{path}: a link, which may lead out of the run; put the file itself there")


def _word(value: object, default: str) -> str:
    """Return a text from a summary, safe to print."""
    return show(value)[1:-1] if isinstance(value, str) and value else default


def read_results(
    folders: Iterable[str], warn: Callable[[str], None], read: Callable[[str], RunResult]
) -> list[RunResult]:
    """Return the results of runs; `warn` is called once for all damaged runs with the same problem.

    Args:
        folders: the run folders.
        warn: called with each problem.
        read: returns the result of a run.

    Raises:
        DataError: all runs are damaged.
    """
    results, left_out = [], dict[str, list[str]]()  # by the reason, in which the run is not named
    for folder in folders:
        try:
            results.append(read(folder))
            continue
        except DataError as error:
            problem = str(error)
        except OSError as error:
            problem = f"{error.filename or folder}: cannot be read ({error.strerror})"
        left_out.setdefault(problem.removeprefix(f"{Path(folder)}/"), []).append(problem)
    for reason, problems in left_out.items():
        alike = len(problems)
        warn(f"left out: {problems[0] if alike == 1 else f'{alike} runs: {reason}'}")
    if not results:
        needs_plugin = all("--plugin" in reason for reason in left_out)
        way = "give --plugin FILE again" if needs_plugin else "name others"
        raise DataError(f"compare: every run is {'left out' if needs_plugin else 'damaged'}; {way}")
    return results
