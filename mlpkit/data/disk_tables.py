"""Writes a table that is larger than memory to the disk as encoded rows, in three passes over its files.

The first counts the rows and draws a sample, the second fits the encoder on the training rows, and the third
encodes and writes.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlpkit.config.problems import spell
from mlpkit.data.columns import describe_columns
from mlpkit.data.dataset import Dataset
from mlpkit.data.disk_build import DiskBuild
from mlpkit.data.disk_cache import cached_table, is_cached, key_of, memory_of
from mlpkit.data.disk_dataset import as_dataset, open_table, tables_folder
from mlpkit.data.disk_fit import ExactFit
from mlpkit.data.disk_scan import Scan, find_all_targets, known_rows, sample_rows, scan
from mlpkit.data.disk_source import Source, columns_of, size_of, streamable
from mlpkit.data.disk_splits import DrawnSplits, random_parts
from mlpkit.data.disk_table import FORMAT, DiskTable, Header
from mlpkit.data.encode import ColumnIssues, encode
from mlpkit.data.encoder import TableEncoder
from mlpkit.data.fit_encoder import fit_encoder
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.raw_table import RawTable
from mlpkit.data.table_dataset import describe_targets, infer_inputs
from mlpkit.data.table_options import TableOptions
from mlpkit.data.table_targets import describe_left_out, encode_targets
from mlpkit.data.table_weights import check_weight_column, read_portion
from mlpkit.errors import ConfigError
from mlpkit.system.paths import expand

Rows = NDArray[np.int64]


def load_from_disk(
    config: TableOptions,
    files: Mapping[str, Sequence[str]],
    wanted: int | str | None,
    trained: InputSchema | None,
) -> Dataset | None:
    """Return the dataset of a table that is larger than memory; None if it is not, or must be in memory.

    Args:
        config: of the dataset.
        files: the paths of each split; only train if the table is one.
        wanted: `dataset.memory`.
        trained: the input schema of a trained model, whose encoder is used; None fits an encoder.

    Raises:
        ConfigError: the table is larger than dataset.memory, and the config asks for what needs all of it.
        DataError: the table cannot be used.
        WriteError: there is no room for it.
    """
    found = {name: streamable(paths) for name, paths in files.items()}
    listed = [(name, file) for name, paths in found.items() for file in paths or ()]
    memory = memory_of(wanted)
    if not config.targets() or None in found.values() or size_of([file for _, file in listed]) <= memory:
        return None
    if problem := _needs_memory(config):
        if wanted is None:
            return None
        raise ConfigError(f"{problem}, and the table is larger than dataset.memory={wanted}; set it higher")
    paths = [expand(file) for _, file in listed]
    most = sample_rows(memory, max(columns_of(file) for _, file in listed))
    config = _before_inferring(config, lambda each: key_of(each, paths, f"{most} "))

    def key(encoder: TableEncoder | None) -> str:
        return key_of(config, paths, f"{most} {'' if encoder is None else repr(trained)}")

    def table(encoder: TableEncoder | None) -> DiskTable:
        like = None if encoder is None else trained
        return cached_table(key(encoder), memory, partial(_write, config, listed, memory, most, like))

    encoder = None if trained is None else trained.encoder
    if encoder is None or is_cached(key(None)):
        fitted = table(None)
        if trained is None or (fitted.header.schema.to_dict() == trained.to_dict()):
            return as_dataset(fitted, config.name, wanted is None)
    return as_dataset(table(encoder), config.name, wanted is None)


def _before_inferring(config: TableOptions, key: Callable[[TableOptions], str]) -> TableOptions:
    """Return the config by which the cache has the table; the config as it is if the cache does not have it.

    The config of a run that was trained has the separator and more that were inferred when the table was
    written. Its table is the same.
    """
    known = [
        name for name in config.inferred_options if name != "memory" and getattr(config, name) is not None
    ]
    for count in range(len(known) + 1):
        for names in combinations(known, count):
            before = config.model_copy(update=dict.fromkeys(names))
            if is_cached(found := key(before)):
                inferred = open_table(tables_folder() / found, 0).header.inferred
                if all(inferred.get(name) == getattr(config, name) for name in names):
                    return before
    return config


def _needs_memory(config: TableOptions) -> str | None:
    """Return the option that needs all rows in memory, or None."""
    by, fold = config.split.by, config.fold
    if by in ("stratified", "group", "time"):
        return f"dataset.split.by={by} orders all rows"
    if fold not in (None, "none") or config.val_folds is not None:
        return f"dataset.{'fold' if config.val_folds is None else 'val_folds'} orders all rows"
    if config.target_transform != "none":
        return f"dataset.target_transform={config.target_transform} is fitted on all rows"
    return None


def _write(
    config: TableOptions,
    files: Sequence[tuple[str, str]],
    memory: int,
    most: int,
    trained: InputSchema | None,
    folder: Path,
) -> Header:
    """Write the table; see `load_from_disk`. `most` is how many rows the sample may have."""
    names, source = config.targets(), Source(files, config.table_format(), config.missing_texts(), memory)
    column = config.split.column if config.split.by == "column" else None
    if column is not None and column not in source.names:
        raise ConfigError(f"dataset.split.column={spell(column)}: {source.title} has no such column")
    if config.sample_weight is not None:
        check_weight_column(config.sample_weight, source.names, names, source.title)
    found = scan(source, names, column, config.seed, most)
    drawn = _drawn(config, found)
    targets = find_all_targets(source, found, names, config.task)
    remarks = [describe_targets(names, targets)]
    if trained is None or trained.encoder is None:
        encoder, lines = _fit(config, source, found, drawn)
        remarks += lines
    else:
        encoder = trained.encoder
    features, settings = encoder.features(), {} if source.format is None else source.format.settings()
    schema = InputSchema(targets.task, features, (len(features),), names, targets.classes, encoder)
    build, issues = _encode(config, source, drawn, trained or schema, folder)
    remarks += [f"{each}" for each in ColumnIssues.summed(issues) if each.unseen]
    if found.left_out:
        remarks.append(describe_left_out(found.left_out))
    if targets.classes and config.split.by == "auto":
        remarks.append("rows are split at random, not by class")
    moments, scales = build.targets["train"], config.standardize and targets.task == "regression"
    return Header(
        FORMAT,
        tuple(path for _, path in files),
        trained or schema,
        build.block,
        build.facts(),
        tuple(build.inputs.low.tolist()),
        tuple(build.inputs.high.tolist()),
        build.checksum(config.seed, encoder, targets.classes, config.standardize),
        target_scaling=(tuple(moments.mean.tolist()), tuple(moments.std.tolist())) if scales else None,
        is_weighted=config.sample_weight is not None,
        remarks=tuple(remarks),
        inferred={
            key: settings[key]
            for key in config.inferred_options
            if key in settings and getattr(config, key) is None
        },
    )


def _drawn(config: TableOptions, found: Scan) -> dict[str, DrawnSplits]:
    """Return how the rows of each group are split; see `known_rows`."""
    if "train" not in found.counts:
        raise ConfigError(
            f"dataset.split.column={spell(config.split.column or '')}: it names no row to train on; "
            "write train in some rows"
        )
    if config.split.by in ("files", "column"):
        return {
            name: DrawnSplits({name: range(count)}, config.seed, f"places of {name}")
            for name, count in found.counts.items()
        }
    val, test = (0.0, 0.0) if config.fold == "none" else (config.val_fraction, config.test_fraction)
    return {"train": DrawnSplits(random_parts(found.counts["train"], val, test), config.seed)}


def _fit(
    config: TableOptions, source: Source, found: Scan, drawn: Mapping[str, DrawnSplits]
) -> tuple[TableEncoder, list[str]]:
    """Return the encoder fitted on the training rows, and lines that describe the columns."""
    assert found.sample is not None
    train = np.sort(next(rows for name, rows, _ in drawn["train"].of(found.ranks) if name == "train"))
    numbers, names = found.numbers, config.targets()
    raw = RawTable(found.sample, source.title, lambda row: f"{source.title}: row {numbers[row] + 1}")
    columns, kinds = infer_inputs(config, raw, names, train, numbers[train])
    scale = config.scale_of_numbers()
    exact = ExactFit(
        fit_encoder(columns, kinds, config.columns, scale, config.signed),
        config.columns,
        scale,
        config.signed,
    )
    ranks = dict.fromkeys(drawn, 0)
    for portion, known, groups in known_rows(source, names, _split_column(config)):
        for group, own in groups:
            for name, rows, _ in drawn[group].of(ranks[group] + np.arange(len(own))):
                if name == "train":
                    exact.add(portion.columns(exact.columns, known[own[rows]]))
            ranks[group] += len(own)
    lines = describe_columns(kinds)
    if found.counts["train"] > len(found.sample):
        lines.append(
            f"kinds of columns, medians and quantiles come from {len(train):,} training rows at random"
        )
    return exact.encoder(), lines


def _encode(
    config: TableOptions,
    source: Source,
    drawn: Mapping[str, DrawnSplits],
    schema: InputSchema,
    folder: Path,
) -> tuple[DiskBuild, list[ColumnIssues]]:
    """Encode all rows and write them."""
    encoder, names, weight = schema.encoder, config.targets(), config.sample_weight
    assert encoder is not None
    sizes = {name: len(part) for splits in drawn.values() for name, part in splits.parts.items()}
    ranks, issues, build = dict.fromkeys(drawn, 0), list[ColumnIssues](), None
    try:
        for portion, known, groups in known_rows(source, names, _split_column(config)):
            columns = portion.columns(names, known)
            values = encode_targets(columns, schema)
            file = portion.file
            encoded = encode(encoder, file.table.take(known), file.source, partial(portion.locate, known))
            issues = list(ColumnIssues.summed([*issues, *encoded.issues]))
            weights = None if weight is None else read_portion(portion.columns([weight], known)[0])
            if build is None:
                width, classes = encoder.width, len(schema.classes)
                build = DiskBuild(folder, sizes, width, values, classes, weight is not None)
            for group, own in groups:
                mine = None if weights is None else weights[own]
                build.add(drawn[group], ranks[group], encoded.values[own], values[own], mine)
                ranks[group] += len(own)
        assert build is not None
        build.flush()
    finally:
        if build is not None:
            build.close()
    return build, issues


def _split_column(config: TableOptions) -> str | None:
    return config.split.column if config.split.by == "column" else None
