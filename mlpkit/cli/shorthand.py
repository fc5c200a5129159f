"""`data=PATH target=NAME`: short for dataset=table dataset.path=PATH dataset.target=NAME.

The dataset is `arrays` for .npz and .npy, and `image_folder` for a folder.
"""

import re
from collections.abc import Sequence
from pathlib import PurePath

from mlpkit.config.problems import spell
from mlpkit.data.table_format import EXCEL, JSONS, REFUSED, TEXTS, TYPED, without_compression
from mlpkit.errors import ConfigError
from mlpkit.system.paths import expand as expand_path

TABLES = (*TEXTS, *JSONS, *TYPED, *EXCEL)
ARRAYS = (".npz", ".npy")

_LONG = {"data": "dataset.path", "target": "dataset.target"}
# Names that need no quotes; and Hydra's own syntax: no value, quotes, several values, functions.
_PLAIN = re.compile(r"(?!(true|false|null)$)[a-z_./~*-][\w./~*? -]*", re.ASCII | re.IGNORECASE)
_HYDRA = re.compile(r"""$|null$|["'\[]|.*,|.*\$\{|(choice|range|interval|glob|sort|shuffle|tag|str)\(""")


def expand(overrides: Sequence[str]) -> tuple[str, ...]:
    """Return overrides with `data=` and `target=` written out; all others stay as they are.

    Names that Hydra would not read as text, such as `weight (kg)`, `größe` or `1`, are put in quotes.

    Raises:
        ConfigError: `data` is not a table, an array file or a folder; or `target` is given without it.
    """
    given = dict(line.partition("=")[::2] for line in overrides if line.partition("=")[0] in _LONG)
    if not given:
        return tuple(overrides)
    if "data" not in given:
        dataset = any(line.startswith("dataset=") for line in overrides)
        way = f"dataset.target={spell(given['target'])}" if dataset else "data=FILE"
        raise ConfigError(f"target={spell(given['target'])}: only with data=FILE; add {way}")
    dataset_name = dataset_of(given["data"])
    if other := next((line for line in overrides if line.startswith("dataset=")), None):
        raise ConfigError(
            f"{spell(other)}: data={spell(given['data'])} chooses the dataset already; remove one"
        )
    expanded = [f"dataset={dataset_name}"]
    for line in overrides:
        key, sign, value = line.partition("=")
        expanded.append(f"{_LONG[key]}{sign}{_quoted(value)}" if key in _LONG else line)
    return tuple(expanded)


def _quoted(value: str) -> str:
    """Return the name of a file or a column as Hydra reads it.

    Lists, values to sweep, functions and quoted texts stay as they are, unless a file has that name.
    """
    if not value or _PLAIN.fullmatch(value) or (_HYDRA.match(value) and not expand_path(value).exists()):
        return value
    escaped = re.sub(r'(\\*)("|$)', lambda match: 2 * match[1] + ('\\"' if match[2] else ""), value)
    return f'"{escaped}"'


def dataset_of(data: str) -> str:
    """Return the name of the dataset that reads a path.

    Raises:
        ConfigError: none does.
    """
    path = data.strip("'\"")
    name = without_compression(path.lower())
    if data == "-":
        raise ConfigError("data=-: stdin cannot be read again when a run is resumed; save it in a file")
    if name.endswith(TABLES) or name.startswith("["):
        return "table"
    if name.endswith(ARRAYS):
        return "arrays"
    if name.endswith("/") or expand_path(path).is_dir():
        return "image_folder"
    if reason := REFUSED.get(PurePath(name).suffix):
        raise ConfigError(f"data={spell(data)}: {reason}")
    raise ConfigError(
        f"data={spell(data)}: unknown kind; tables end in {', '.join(TABLES)}, packed or not, arrays in "
        f"{', '.join(ARRAYS)}, and a folder holds pictures; for others write dataset=table dataset.path=…"
    )
