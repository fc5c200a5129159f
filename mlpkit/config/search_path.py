"""Finds the YAML files: those that come with mlpkit and those in the user's own `configs/`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mlpkit.config import registry, yaml_file
from mlpkit.config.config import FORMAT
from mlpkit.config.problems import show
from mlpkit.errors import ConfigError


def packaged() -> Path:
    """Return the folder of mlpkit's own configs: inside an installed wheel, else beside the package."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def search_path(extra: Sequence[Path] = ()) -> list[Path]:
    """Return the folders to search, first match wins: `extra`, `configs/` here, mlpkit's own.

    Raises:
        ConfigError: an extra folder does not exist.
    """
    for folder in extra:
        if not folder.is_dir():
            raise ConfigError(f"--config-dir={folder}: no such folder")
    here = Path("configs")
    folders = [*extra, *([here] if here.is_dir() else []), packaged()]
    return list(dict.fromkeys(folder.resolve() for folder in folders))


def shown(path: str | Path) -> str:
    """Return the path as `configs/…` where the file came with mlpkit, else as it is."""
    try:
        return f"configs/{Path(path).relative_to(packaged())}"
    except ValueError:
        return str(path)


def groups(folders: Sequence[Path]) -> dict[str, dict[str, Path | None]]:
    """Return, for each group, its choices by name with their files; None for one that is registered alone.

    Such a choice, of a plug-in, takes the defaults of its schema.
    """
    found: dict[str, dict[str, Path | None]] = {}
    for group in sorted(path.name for path in packaged().iterdir() if path.is_dir()):
        files = {
            path.stem: path
            for folder in reversed(folders)
            if (folder / group).is_dir()
            for path in sorted((folder / group).glob("*.yaml"))
            if path.is_file()
        }
        registered = registry.choices(group) if group in registry.PACKAGES else {}
        found[group] = {**dict.fromkeys(registered), **files}
    return found


def check(folders: Sequence[Path], names: Sequence[str]) -> None:
    """Read strictly each file that composing these configs will read; mlpkit's own alone need no check.

    Raises:
        ConfigError: a file is no plain YAML, or its defaults list is no list of names.
    """
    if set(folders) != {packaged()}:
        for _ in _files(folders, names):
            pass


def stand_ins(folders: Sequence[Path], names: Sequence[str]) -> dict[str, Path]:
    """Return the user's files that composing these configs reads instead of mlpkit's own, by their names.

    They may be meant so, or be another program's that keeps its configs in a `configs/` too.
    """
    found: dict[str, Path] = {}
    with suppress(ConfigError):  # which `check` reports
        for name, path in _files(folders, names):
            own = packaged() / f"{name}.yaml"
            if own.is_file() and path != own:
                found[name] = path
    return found


def misnamed(folders: Sequence[Path], name: str) -> Path | None:
    """Return the file of a config whose ending is another one of YAML's than .yaml, which is not read."""
    names = [f"{name}{ending}" for ending in (".yml", ".YML", ".YAML")]
    return next((p for folder in folders for each in names if (p := folder / each).is_file()), None)


def refuse_ending(path: Path) -> ConfigError:
    """Return the error of a config with another ending than .yaml."""
    return ConfigError(f"{path}: the name of a config ends in .yaml; rename the file")


def _files(folders: Sequence[Path], names: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Yield the name and the file of each config that composing these reads.

    Raises:
        ConfigError: see `check`.
    """
    waiting, seen = list(names), set()
    while waiting:
        config = waiting.pop()
        path = next((p for folder in folders if (p := folder / f"{config}.yaml").is_file()), None)
        if path is None and (other := misnamed(folders, config)):
            raise refuse_ending(other)
        if config in seen or path is None:
            continue
        seen.add(config)
        yield config, path
        content = yaml_file.read(path)
        if "hydra" in content:
            raise ConfigError(f"{path}: hydra: mlpkit has no hydra section; remove it")
        defaults = content.get("defaults", [])
        if not isinstance(defaults, list):
            raise ConfigError(f"{path}: defaults={show(defaults)}: must be a list, such as [moons]")
        for entry in defaults:
            try:
                waiting.extend(_named(entry, config.rpartition("/")[0]))
            except TypeError:
                raise ConfigError(
                    f"{path}: defaults: {show(entry)}: must be a name, or {{group: name}}"
                ) from None


def check_whole(path: Path) -> None:
    """Refuse a --config file that is not plain YAML of a format that this mlpkit reads.

    Raises:
        ConfigError: it is not.
    """
    declared = yaml_file.read(path).get("format")
    if isinstance(declared, int) and declared > FORMAT:
        raise ConfigError(
            f"{path}: format={show(declared)}: this mlpkit reads up to format {FORMAT}; upgrade mlpkit"
        )
    if path.suffix != ".yaml":
        raise refuse_ending(path)


def _named(entry: object, group: str) -> Iterator[str]:
    """Yield the configs that an entry of a defaults list names.

    Raises:
        TypeError: the entry has another form.
    """
    pairs = entry.items() if isinstance(entry, Mapping) else [("", entry)]
    for key, value in pairs:
        if not (isinstance(value, str) or (key and value is None)):
            raise TypeError(value)
        # What no file can be called would end in an error of the system's, or in half a line of Hydra's.
        if not all(name.isprintable() and len(name.encode()) <= 200 for name in (str(key), value or "")):
            raise TypeError(value)
        target = re.sub(r"^(override|optional) +", "", str(key)).split("@")[0]
        if isinstance(entry, Mapping) and not target.strip("/"):
            raise TypeError(entry)  # Hydra asserts that a group has a name
        folder = target if target.startswith("/") or not group else f"{group}/{target}"
        if value is not None and value != "_self_":
            yield f"{folder}/{value}".replace("//", "/").lstrip("/")


def summary(path: Path) -> str:
    """Return the comment in a file's first lines that says what the choice is."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as stream:
            start = stream.read(1000)
    except OSError:
        return ""
    for line in start.splitlines():
        if line.startswith("# ") and not line.startswith("# @"):
            return "".join(c for c in line[2:].strip()[:200] if c.isprintable())
        if not line.startswith("#"):
            break
    return ""
