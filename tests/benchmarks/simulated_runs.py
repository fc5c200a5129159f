"""Run folders of a sweep that was never trained: copies of one run with other settings and scores."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlpkit.config import yaml_file
from mlpkit.folders.checkpoint import encode_parts
from mlpkit.folders.header import read_header_parts
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_record import RECORD, read_summary
from mlpkit.folders.sweep_folder import run_name
from mlpkit.system.tensor_file import TensorFile


@dataclass(frozen=True)
class Simulation:
    """What is written.

    Attributes:
        settings: how many settings the runs have; all else differs in the seed.
        curves: whether each run has a metrics.jsonl.
    """

    settings: int
    curves: bool = False


def simulate(source: Path, sweep: Path, number: int, what: Simulation) -> None:
    """Write run folders below a sweep's folder, with the files that `ls` and `compare` read, or with one.

    Args:
        source: a finished run; with one file if the others are to have one.
        sweep: where they go.
        number: of runs.
        what: how they differ.
    """
    folder = RunFolder(source)
    parts, summary = read_header_parts(folder.last), read_summary(folder)
    with TensorFile(folder.last) as file:
        tensors = {name: file.read(name) for name in file.entries}
    copied = folder.environment, *([folder.metrics] if what.curves else [])
    others = {path.name: path.read_bytes() for path in copied if path.exists()}
    text = yaml_file.dump(parts["config"])
    sweep.mkdir(parents=True)
    (sweep / "ledger.sqlite").touch()
    for index in range(number):
        run = RunFolder(sweep / run_name(index, f"{index:06x}"))
        config = _config(parts["config"], run.path, index, what.settings)
        own = _summary(summary, index, what.settings)
        more = {RECORD: json.dumps({"summary": own})} if folder.is_one_file else {}
        run.last.parent.mkdir(parents=True)
        run.last.write_bytes(encode_parts({**parts, "config": config, **more}, tensors))
        if folder.is_one_file:
            continue
        run.best.hardlink_to(run.last)
        run.config.write_text(text.replace("\nseed: 0\n", f"\nseed: {config['seed']}\n"))
        run.summary.write_text(json.dumps(own))
        for name, content in others.items():
            (run.path / name).write_bytes(content)


def _config(config: dict[str, Any], path: Path, index: int, settings: int) -> dict[str, Any]:
    optimizer = {**config["optimizer"], "lr": 1e-4 * (1 + index % settings)}
    run = {**config["run"], "dir": str(path)}
    return {**config, "seed": index // settings, "optimizer": optimizer, "run": run}


def _summary(summary: dict[str, Any], index: int, settings: int) -> dict[str, Any]:
    value = 0.5 + 0.4 * (index * 7919 % 1000) / 1000 - 0.001 * (index % settings)
    best = summary["best"]
    scores = {split: {**best[split], "accuracy": value} for split in ("train", "val", "test")}
    return {**summary, "best": {**best, **scores, "value": value}}
