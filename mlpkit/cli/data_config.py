"""The config of a user's table, as `mlpkit data` writes it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlpkit.config import search_path, yaml_file
from mlpkit.config.problems import plural
from mlpkit.data.columns import ColumnKind
from mlpkit.data.table_format import file_title
from mlpkit.data.table_options import TableOptions
from mlpkit.errors import ConfigError
from mlpkit.folders.output_file import check_output, write_output
from mlpkit.system.atomic_write import atomic_write

_NOT_TEXT = ("null", "true", "false", "yes", "no", "on", "off", "nan", "inf")  # in YAML


def dataset_yaml(config: TableOptions, kinds: Sequence[ColumnKind], files: Sequence[str]) -> str:
    """Return the YAML with which `mlpkit train` trains as on the file with the same settings.

    The inferred format of a text file, and kinds of columns that are guesses, are written out.

    Args:
        config: of the table.
        kinds: the kinds of its columns.
        files: the files, as typed.
    """
    raw = config.raw()
    settings: dict[str, Any] = {"path": files[0] if len(files) == 1 else list(files)}
    settings |= {
        key: value
        for key, value in config.model_dump(mode="json", exclude_defaults=True).items()
        if key not in ("name", "path")
    }
    if raw.format is not None:
        settings |= raw.format.settings()
    columns = dict(settings.pop("columns", {}))
    for kind in kinds:
        if kind.is_guess and kind.is_encoded:
            columns[kind.name] = {"type": kind.kind, **columns.get(kind.name, {})}
    if columns:
        settings["columns"] = columns
    ignored = [kind.name for kind in kinds if kind.kind == "identifier" and not kind.is_guess]
    if ignored:
        settings["ignore"] = [*config.ignore, *ignored]
    about = f"# {Path(files[0]).name}: {plural(raw.table.num_rows, 'row')}; written by mlpkit data\n"
    return about + yaml_file.dump({"defaults": ["table"], **settings})


def default_path(file: str) -> Path:
    """Return configs/dataset/NAME.yaml for a file, with a name that is not that of an mlpkit dataset."""
    name = re.sub(r"[^a-z0-9_]+", "_", file_title(file).lower()).strip("_") or "table"
    own = search_path.groups([search_path.packaged()])["dataset"]
    is_word = name[0].isalpha() and name not in _NOT_TEXT
    return Path("configs/dataset") / f"{name if is_word and name not in own else f'my_{name}'}.yaml"


def check_new(path: Path) -> None:
    """Check that a config can be written to a new file.

    Raises:
        ConfigError: the file exists, or cannot be written.
    """
    check_output(path, (".yaml",))
    if path.exists():
        raise ConfigError(f"--output={path}: exists already and is not overwritten; choose another name")


def write_new(path: Path, content: str) -> tuple[str, bool]:
    """Write a config to a new file; return what was done, and whether the file has this content now.

    Raises:
        WriteError: it cannot be written.
    """
    if path.exists() or path.is_symlink():
        if path.is_file() and path.read_bytes() == content.encode():
            return f"{path} exists already, with this content", True
        return (
            f"{path} exists already with other content and is kept; --output FILE writes another one",
            False,
        )
    if path.parent.is_dir():
        write_output(path, content.encode())
    else:
        atomic_write(path, content.encode())
    return f"wrote {path}", True
