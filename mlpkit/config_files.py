"""Finds the YAML files: those that come with mlpkit and those in the user's own `configs/`."""

from collections.abc import Sequence
from pathlib import Path


def packaged() -> Path:
    """Return the folder of mlpkit's own configs: inside an installed wheel, else beside the package."""
    package = Path(__file__).resolve().parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def search_path(extra: Sequence[Path] = ()) -> list[Path]:
    """Return the folders to search, first match wins: `extra`, `configs/` here, mlpkit's own."""
    here = Path("configs")
    folders = [*extra, *([here] if here.is_dir() else []), packaged()]
    return list(dict.fromkeys(folder.resolve() for folder in folders))


def groups(folders: Sequence[Path]) -> dict[str, dict[str, Path]]:
    """Return, for each group, its choices by name with their files."""
    found: dict[str, dict[str, Path]] = {}
    for group in sorted(path.name for path in packaged().iterdir() if path.is_dir()):
        files = {
            path.stem: path
            for folder in reversed(folders)
            if (folder / group).is_dir()
            for path in sorted((folder / group).glob("*.yaml"))
        }
        found[group] = files
    return found


def summary(path: Path) -> str:
    """Return the comment in a file's first lines that says what the choice is."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("# ") and not line.startswith("# @"):
                return line[2:].strip()
            if not line.startswith("#"):
                break
    return ""
