"""The rows that a trained model is scored on: those of its run's config, or of another that it can read."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from mlpkit.config.dataset import DatasetConfig
from mlpkit.data.dataset import Dataset, Split
from mlpkit.data.load import load_dataset
from mlpkit.errors import ConfigError, DataError
from mlpkit.folders.checkpoint import Checkpoint
from mlpkit.folders.trust import Trust

Load = Callable[[DatasetConfig], Dataset]


def load_matching(
    config: DatasetConfig,
    stored: Checkpoint,
    path: Path,
    warn: Callable[[str], None],
    trust: Trust = Trust.FOREIGN,
    load: Load | None = None,
) -> Dataset:
    """Return a dataset that the checkpoint's model can read.

    With the run's own config it should be the data that the model was trained on. If the files hold other
    data by now, its test split may hold training rows.

    Args:
        config: of the dataset.
        stored: the checkpoint.
        path: the checkpoint's path.
        warn: called with a line if the run's config now gives other data.
        trust: says whether missing files are downloaded, and how large a generated dataset may be.
        load: returns a dataset that was loaded already; None: load it.

    Raises:
        ConfigError: the model was trained on rows in memory.
        DataError: its columns or its task differ from the model's, or it is too large.
    """
    if stored.estimator and config == stored.config.dataset:
        raise ConfigError(
            f"{path}: was trained on rows in memory, by {stored.estimator.get('class', 'an estimator')}.fit, "
            "so it has no split; score a file with --input"
        )
    trust.check_data(config, path)
    if load is not None:
        dataset = load(config)
    else:
        dataset = load_dataset(config, trust.may_download, trained=stored.input_schema)
    ours, theirs = dataset.input_schema.to_dict(), stored.input_schema.to_dict()
    different = [name for name in ours if ours[name] != theirs.get(name)]
    if different:
        raise DataError(
            f"dataset={dataset.name}: its {', '.join(different)} differ from what {path} was trained on"
        )
    if config == stored.config.dataset and (difference := stored.other_data(dataset)):
        warn(f"warning: {difference}: any split of it may hold rows that the model was trained on")
    return dataset


def load_common(
    members: Sequence[tuple[Path, Checkpoint]], option: str, warn: Callable[[str], None], trust: Trust
) -> Dataset:
    """Return the dataset that all runs of a model were trained on.

    Args:
        members: the path and the checkpoint of each run.
        option: the option that needs it, for the error.
        warn: see `load_matching`.
        trust: see `load_matching`.

    Raises:
        ConfigError: the runs were trained on different rows.
    """
    path, stored = members[0]
    check_common(members, option)
    return load_matching(stored.config.dataset, stored, path, warn, trust)


def check_common(members: Sequence[tuple[Path, Checkpoint]], option: str) -> None:
    """Check that all runs of a model were trained on the same rows.

    Raises:
        ConfigError: they were not.
    """
    if any(member.fingerprint != members[0][1].fingerprint for _, member in members):
        raise ConfigError(f"{option}: the runs were trained on different rows; name a sweep over seeds alone")


def without_rows_of(split: Split, train: Split) -> Split:
    """Return the rows of a split whose inputs are not those of a training row."""
    known = {row.tobytes() for row in train.inputs.numpy()}
    fresh = torch.tensor([row.tobytes() not in known for row in split.inputs.numpy()])
    weights = None if split.weights is None else split.weights[fresh]
    return Split(split.inputs[fresh], split.targets[fresh], all_weights=weights)


def choose_split(dataset: Dataset, name: str | None) -> tuple[str, Split]:
    """Return a split by name; None is test, or the monitored one where there is no test.

    Raises:
        ConfigError: the dataset has no such split.
    """
    chosen = name if name is not None else ("test" if "test" in dataset.splits else dataset.monitored)
    if chosen not in dataset.splits:
        raise ConfigError(f"--split={chosen}: this run has {', '.join(dataset.splits)}")
    return chosen, dataset.splits[chosen]


def refuse_folds(name: str, dataset: Dataset, other: str) -> None:
    """Refuse a split most of whose rows each member was trained on, where all members predict together.

    Args:
        name: of the split.
        dataset: that has it.
        other: what can be done if there is no test split.

    Raises:
        ConfigError: it is one; see `Split.folds`.
    """
    if dataset.splits[name].folds:
        way = "name test" if "test" in dataset.splits else other
        raise ConfigError(
            f"--split={name}: most members were trained on these rows (dataset.val_folds); {way}, or "
            "score the rows out of fold with mlpkit evaluate --split val"
        )
