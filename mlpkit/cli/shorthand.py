"""`data=FILE target=NAME`: short for dataset=table dataset.path=FILE dataset.target=NAME."""

from collections.abc import Sequence

from mlpkit.config.problems import spell
from mlpkit.errors import ConfigError

TABLES = (  # as mlpkit.data.table_file, which loads pyarrow, reads them
    *(".csv", ".tsv", ".tab", ".txt", ".data", ".dat", ".parquet", ".pq", ".jsonl", ".ndjson", ".json"),
    *(".arrow", ".feather", ".ipc", ".xlsx"),
)
PACKED = (".gz", ".zst")

_LONG = {"data": "dataset.path", "target": "dataset.target"}


def expand(overrides: Sequence[str]) -> tuple[str, ...]:
    """Return overrides with `data=` and `target=` written out; all others stay as they are.

    Raises:
        ConfigError: `data` is no file of a table, or `target` stands without it.
    """
    given = dict(line.partition("=")[::2] for line in overrides if line.partition("=")[0] in _LONG)
    if not given:
        return tuple(overrides)
    if "data" not in given:
        dataset = any(line.startswith("dataset=") for line in overrides)
        way = f"dataset.target={spell(given['target'])}" if dataset else "data=FILE"
        raise ConfigError(f"target={spell(given['target'])}: only with data=FILE; add {way}")
    _check(given["data"])
    if other := next((line for line in overrides if line.startswith("dataset=")), None):
        raise ConfigError(
            f"{spell(other)}: data={spell(given['data'])} chooses the dataset already; remove one"
        )
    found = ["dataset=table"]
    for line in overrides:
        key, sign, value = line.partition("=")
        found.append(f"{_LONG.get(key, key)}{sign}{value}")
    return tuple(found)


def _check(data: str) -> None:
    name = data.strip("'\"").lower()
    for ending in PACKED:
        name = name.removesuffix(ending)
    if data == "-":
        raise ConfigError("data=-: a run reads its data again when it goes on; save it in a file")
    if not name.endswith(TABLES) and not name.startswith("["):
        raise ConfigError(
            f"data={spell(data)}: unknown kind; tables end in {', '.join(TABLES)}, packed or not; for "
            "other endings write dataset=table dataset.path=…"
        )
