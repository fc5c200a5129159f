"""Run folders of a sweep that was never trained: copies of one run with other settings and scores.

They are written fast: the header of a checkpoint is right, its SHA-256 is not.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlpkit.config import yaml_file
from mlpkit.folders.header import KEY, read_header_parts
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_record import RECORD, read_summary
from mlpkit.folders.sweep_folder import run_name


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
    header, data = _split(folder.last.read_bytes())
    copied = folder.environment, *([folder.metrics] if what.curves else [])
    others = {path.name: path.read_bytes() for path in copied if path.exists()}
    yaml = yaml_file.dump(parts["config"])
    sweep.mkdir(parents=True)
    (sweep / "ledger.sqlite").touch()
    for index in range(number):
        run = RunFolder(sweep / run_name(index, f"{index:06x}"))
        config = _config(parts["config"], run.path, index, what.settings)
        own = _summary(summary, index, what.settings)
        more = {RECORD: json.dumps({"summary": own})} if folder.is_one_file else {}
        run.last.parent.mkdir(parents=True)
        metadata = {KEY: json.dumps({**parts, "config": config, **more})}
        text = json.dumps({**header, "__metadata__": metadata}).encode()
        run.last.write_bytes(struct.pack("<Q", len(text)) + text + data)
        if folder.is_one_file:
            continue
        run.best.hardlink_to(run.last)
        run.config.write_text(yaml.replace("\nseed: 0\n", f"\nseed: {config['seed']}\n"))
        run.summary.write_text(json.dumps(own))
        for name, content in others.items():
            (run.path / name).write_bytes(content)


def _split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header of a safetensors file, and the tensors."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _config(config: dict[str, Any], path: Path, index: int, settings: int) -> dict[str, Any]:
    optimizer = {**config["optimizer"], "lr": 1e-4 * (1 + index % settings)}
    run = {**config["run"], "dir": str(path)}
    return {**config, "seed": index // settings, "optimizer": optimizer, "run": run}


def _summary(summary: dict[str, Any], index: int, settings: int) -> dict[str, Any]:
    value = 0.5 + 0.4 * (index * 7919 % 1000) / 1000 - 0.001 * (index % settings)
    best = summary["best"]
    scores = {split: {**best[split], "accuracy": value} for split in ("train", "val", "test")}
    return {**summary, "best": {**best, **scores, "value": value}}
