"""Runs an exported model in a fresh Python that cannot import mlpkit."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from mlpkit.deploy.check_rows import CheckRows
from mlpkit.deploy.format import FilePredictions
from mlpkit.errors import DataError

PREDICT = """
import importlib, json, sys
sys.modules["mlpkit"] = None
folder, name, source, target = sys.argv[1:]
sys.path.insert(0, folder)
import numpy as np
rows = np.load(source) if source.endswith(".npy") else json.load(open(source))
np.savez(target, **importlib.import_module(name).predict(rows))
"""


def predict(folder: Path, name: str, rows: CheckRows, program: str = PREDICT) -> FilePredictions:
    """Return what a module or a file in a folder says of rows.

    Args:
        folder: its folder.
        name: of the module or the file.
        rows: raw rows.
        program: takes the folder, the name, the file of the rows and the file of the answers.

    Raises:
        DataError: the program fails.
    """
    with tempfile.TemporaryDirectory(prefix="mlpkit-") as temporary:
        source, target = Path(temporary, "rows.json"), Path(temporary, "answers.npz")
        if rows.columns:
            source.write_text(json.dumps(rows.columns), encoding="utf-8")
        else:
            source = source.with_suffix(".npy")
            np.save(source, rows.features)
        command = [sys.executable, "-I", "-B", "-c", program, str(folder), name, str(source), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise DataError(f"{name}: the exported model does not run in a fresh Python: {said}")
        with np.load(target) as found:
            return FilePredictions.of({name: found[name] for name in found.files if name != "class"})
