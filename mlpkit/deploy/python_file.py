"""--format=python: one .py file that needs NumPy alone."""

import ast
import inspect
import json
from pathlib import Path
from typing import Any

from mlpkit.deploy import numpy_encoder, numpy_model
from mlpkit.deploy.check_rows import CheckRows
from mlpkit.deploy.format import FilePredictions, Format, Source
from mlpkit.deploy.fresh_python import predict
from mlpkit.deploy.portable import Portable
from mlpkit.system.atomic_write import atomic_write

USE = '''
MODEL = Model(json.loads({content!r}))


def predict(rows: Any) -> dict[str, Array]:
    """Return the predictions of raw rows; see `Model.predict`."""
    return MODEL.predict(rows)
'''

SCRIPT = """

if __name__ == "__main__":
    sys.exit(MODEL.main())
"""


class PythonFormat(Format):
    """A script and module; `mlpkit.deploy.numpy_model` with the model as JSON."""

    def check_runtime(self) -> None:
        """See `Format.check_runtime`: NumPy is there."""

    def write(self, source: Source, folder: Path) -> dict[str, Any]:
        """See `Format.write`."""
        write_numpy_file(folder / f"{source.name}.py", source.portable("python"), source.title)
        return {"needs": ["python>=3.10", "numpy"]}

    def run(self, source: Source, folder: Path, rows: CheckRows) -> FilePredictions:
        """See `Format.run`."""
        return predict(folder, source.name, rows)


def write_numpy_file(path: Path, model: Portable, title: str, with_members: bool = True) -> None:
    """Write a model as a Python file; without its members it only encodes and decodes."""
    content = json.dumps(model.to_json(with_members), separators=(",", ":"))
    atomic_write(
        path,
        (f'"""{title}.\n{_runtime()}{USE.format(content=content)}{SCRIPT if with_members else ""}').encode(),
    )


def _runtime() -> str:
    """Return the text of the two modules as one: docstring, imports, and the rest."""
    texts = [inspect.getsource(module) for module in (numpy_encoder, numpy_model)]
    imports, bodies = {"import json"}, []
    for text in texts:
        lines, nodes = text.splitlines(), ast.parse(text).body
        found = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
        imports |= {ast.unparse(node) for node in found}
        bodies.append("\n".join(lines[found[-1].lineno :]).strip())
    usage = "\n".join(texts[1].split('"""')[1].splitlines()[1:])
    ours = sorted(line for line in imports if "mlpkit" not in line and "__future__" not in line)
    lines = [f'{usage}\n"""', "", "from __future__ import annotations", "", *ours, "", *bodies]
    return "\n".join(lines) + "\n"


FORMAT = PythonFormat()
