"""The guide builds without a warning, and says what the code says."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from guide import PAGES, PROJECT
from running import config

import mlpkit
from mlpkit import errors
from mlpkit.cli.main import COMMANDS, run
from mlpkit.config import nested, search_path
from mlpkit.config.config import to_dict

DOCS = PROJECT / "docs"
PACKAGE = PROJECT / "mlpkit"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """Return the script that writes the reference."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.long  # and CI makes the guide
def test_it_builds_without_a_warning(tmp_path: Path) -> None:
    """A dead link or anchor, and a page outside nav, is a warning."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    built = {path.relative_to(tmp_path / "site").with_suffix("") for path in tmp_path.rglob("*.html")}
    written = {page.relative_to(DOCS).with_suffix("") for page in PAGES}
    assert built - written == {Path("404"), Path("reference/configs"), Path("reference/commands")}
    assert written <= built


@pytest.mark.long
def test_the_reference_has_every_key(generate: ModuleType) -> None:
    """Those that a composed config has, with each choice of each group."""
    page = generate.configs()
    for group, choices in search_path.groups([search_path.packaged()]).items():
        for name in choices:
            assert f"`{group}={name}`" in page
            keys = [key for key, _ in nested.items(to_dict(config(f"{group}={name}")))]
            of_group = [key for key in keys if key.startswith(f"{group}.")] if group != "experiment" else []
            part = page.split(f"### `{group}={name}`")[-1] if f"### `{group}={name}`" in page else page
            missing = [key for key in of_group if f"| `{key}` |" not in part and not key.endswith(".name")]
            assert missing == [], f"{group}={name}"
            assert [k for k in keys if f"| `{k}` |" not in page and not k.endswith(".name")] == []


def test_the_reference_gives_ranges_and_defaults(generate: ModuleType) -> None:
    page = generate.configs()
    assert "| `optimizer.lr` | a number > 0 | `0.001` | learning rate |" in page  # of sgd
    assert '| `optimizer.lr` | a number > 0 or auto | `"auto"` | learning rate |' in page
    assert "| `model.hidden` | a list of 1 or more values, each an integer ≥ 1" in page
    assert "| `trainer.early_stopping.patience` | an integer ≥ 1 and ≤ 1000000000 or null | `null` |" in page
    assert all(row.count("|") == 5 for row in re.findall(r"^\| `\w+\.[\w.]+` .*", page, re.M))


def test_the_reference_has_every_command_and_option(
    generate: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that its help prints."""
    monkeypatch.setenv("COLUMNS", "300")
    page = generate.commands()
    for name in COMMANDS:
        assert run([name, "--help"]) == 0
        options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", capsys.readouterr().out)) - {"--help"}
        section = page.split(f"## mlpkit {name}\n")[1].split("\n## ")[0]
        assert [option for option in options if option not in section] == []


def test_every_exit_code_is_explained() -> None:
    page = (DOCS / "reference/exit-codes.md").read_text(encoding="utf-8")
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {getattr(kind, "exit_code", 0) for kind in kinds}
    assert codes >= {1, 2, 65, 74, 75}
    assert [code for code in codes if f"| {code} |" not in page] == []


def test_every_recipe_is_explained() -> None:
    page = (DOCS / "recipes.md").read_text(encoding="utf-8")
    recipes = search_path.groups([search_path.packaged()])["experiment"]
    assert [name for name in recipes if f"| `{name}` |" not in page] == []
    pages = [*(DOCS / "tutorials").glob("*.md"), DOCS / "guide" / "tables.md"]
    explained = "\n".join(path.read_text(encoding="utf-8") for path in pages).split()
    assert [name for name in recipes if f"experiment={name}" not in explained] == []


def test_the_config_of_the_user_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (DOCS / "guide/configs.md").read_text(encoding="utf-8")
    shown = re.search(r"```yaml\n# (configs/\S+)\n(.*?)```", page, re.S)
    assert shown is not None
    path = tmp_path / shown[1]
    path.parent.mkdir(parents=True)
    path.write_text(shown[2], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert run(["train", "dataset=noisy", "trainer.epochs=2", "run.plots=false", "run.progress=lines"]) == 0
    assert capsys.readouterr().out.startswith("moons: binary, 1,200 train, 400 val, 400 test\n")


def test_pictures_are_small_and_shown() -> None:
    pictures = sorted((DOCS / "pictures").iterdir())
    assert [path.name for path in pictures if path.stat().st_size > 100_000] == []
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    text += (PROJECT / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in pictures if f"pictures/{path.name}" not in text] == []


def test_the_picture_of_the_rooms_is_that_of_the_imports() -> None:
    """Each room is in the table, each import in the picture, and nothing is imported in a circle."""
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    imports = _imports_between_rooms()
    assert [room for room in imports if f"| `{room}` |" not in page] == []
    below = {room: _reached(room, imports) for room in imports}
    assert [room for room in imports if room in below[room]] == []
    arrows = {
        (room, other)
        for room, others in imports.items()
        for other in others
        if not any(other in below[third] for third in others - {other})
    }
    drawn = set(re.findall(r"^  (\w+) --> (\w+)$", page, re.M))
    assert drawn == arrows, "\n".join(f"  {room} --> {other}" for room, other in sorted(arrows))


def test_the_version_is_the_same_everywhere() -> None:
    """The changelog's newest version is the package's; changes since then stand above it."""
    said = {
        "CITATION.cff": r"^version: (\S+)$",
        "pyproject.toml": r'^version = "(\S+)"$',
        "CHANGELOG.md": r"^## (\d\S+) \(\d{4}-\d\d-\d\d\)$",
    }
    for name, pattern in said.items():
        versions = re.findall(pattern, (PROJECT / name).read_text(encoding="utf-8"), re.M)
        assert versions[0] == mlpkit.__version__, name


def test_no_file_imports_another_in_a_circle() -> None:
    """Not even inside a function, or for types alone."""
    imports = {
        _module(path): {_module(other) for other in _imported_files(path, with_types=True)} - {_module(path)}
        for path in PACKAGE.rglob("*.py")
    }
    assert [module for module in imports if module in _reached(module, imports)] == []


def _imports_between_rooms() -> dict[str, set[str]]:
    """Return the rooms (folders, and modules at the top) with the rooms that each imports."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        room = _room(path)
        if not room.startswith("__"):
            others = {_room(other) for other in _imported_files(path, with_types=False)}
            found.setdefault(room, set()).update(others - {room, "__init__"})
    return found


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def _module(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def _imported_files(path: Path, with_types: bool) -> set[Path]:
    """Return the package's files that a file imports; `with_types`: those for type checkers, too."""
    tree = _tree(path)
    for_types = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    names: list[str] = []
    for node in ast.walk(tree):
        if node in for_types and not with_types:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names += [f"{node.module}.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            names += [a.name for a in node.names]
    return {file for name in names if name.startswith("mlpkit.") for file in [_file(name)] if file}


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _file(name: str) -> Path | None:
    """Return the file of a module, or of the module that an imported name is in."""
    place = PACKAGE.parent.joinpath(*name.split("."))
    for module in (place, place.parent):
        for file in (module.with_suffix(".py"), module / "__init__.py"):
            if file.is_file():
                return file
    return None


def _reached(room: str, imports: dict[str, set[str]]) -> set[str]:
    """Return the rooms that a room imports, directly or through others."""
    reached: set[str] = set()
    waiting = list(imports[room])
    while waiting:
        other = waiting.pop()
        if other not in reached:
            reached.add(other)
            waiting += imports[other]
    return reached
