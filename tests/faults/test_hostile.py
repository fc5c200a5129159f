"""What a foreign checkpoint or run folder can do: be read, or be refused in one line."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import mlpkit
from faults.counts import count
from faults.separate import separate

FORBIDDEN_MODULES = (
    "_pickle",
    "cPickle",
    "cloudpickle",
    "code",
    "dill",
    "joblib",
    "marshal",
    "pickle",
    "shelve",
)
FORBIDDEN_CALLS = ("__import__", "compile", "eval", "exec")
FORBIDDEN_ATTRIBUTES = (
    *("torch.load", "torch.jit.load", "torch.hub.load", "numpy.load", "np.load"),
    *("yaml.load", "yaml.full_load", "yaml.unsafe_load", "yaml.load_all", "os.system", "os.popen"),
    *("hydra.utils.instantiate", "hydra.utils.call", "hydra.utils.get_class", "importlib.import_module"),
)
FORBIDDEN_NAMES = ("FullLoader", "UnsafeLoader", "Loader", "instantiate", "import_module")


@pytest.mark.long
def test_hostile_files(tmp_path: Path) -> None:
    done = separate("faults.watched", count(80, 1), cwd=tmp_path, seconds=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["problems"] == [], "\n".join(found["problems"])
    assert found["cases"] >= count(7, 300)
    print({name: value for name, value in found.items() if name != "problems"})


# What may import or run: mlpkit's own choices and formats by their files' names, plug-ins that the user has
# named; and a process that mlpkit has just started is asked, and answers, by pickles or numpy files.
MAY_RUN = (
    "config/registry.py",
    "config/plugins.py",
    "deploy/format.py",
    "deploy/fresh_python.py",
    "sweeps/job_process.py",
)


def test_nothing_in_the_package_can_run_what_it_reads() -> None:
    package = Path(mlpkit.__file__).parent
    found = [
        f"{path.relative_to(package)}:{line}: {what}"
        for path in sorted(package.rglob("*.py"))
        if path.relative_to(package).as_posix() not in MAY_RUN
        for line, what in dangers(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_the_dangers_are_seen() -> None:
    for text in (
        "import pickle",
        "from marshal import loads",
        "import torch\ntorch.load('x')",
        "eval('1')",
        "__import__('x')",
        "import yaml\nyaml.load('x', Loader=yaml.SafeLoader)",
        "import yaml\nyaml.UnsafeLoader",
        "from hydra.utils import instantiate",
        "import hydra\nhydra.utils.instantiate({})",
        "import numpy\nnumpy.load('x', allow_pickle=True)",
    ):
        assert list(dangers(ast.parse(text))), text


def dangers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of what could run code that it has read."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom):
            module = str(node.module)
            whole = [module] if module.split(".")[0] in FORBIDDEN_MODULES else []
            names = whole + [alias.name for alias in node.names if alias.name in FORBIDDEN_NAMES]
            names += [alias.name for alias in node.names if f"{module}.{alias.name}" in FORBIDDEN_ATTRIBUTES]
        elif isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            names = [text] if text in FORBIDDEN_ATTRIBUTES or node.attr in FORBIDDEN_NAMES else []
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            names = [node.func.id] if node.func.id in FORBIDDEN_CALLS else []
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            safe = isinstance(node.value, ast.Constant) and node.value.value is False
            names = [] if safe else ["allow_pickle"]
        for name in names:
            yield getattr(node, "lineno", 0), name
