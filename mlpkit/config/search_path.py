"""Finds config files: mlpkit's own and those in the user's `configs/`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mlpkit.config import registry, yaml_file
from mlpkit.config.config import FORMAT
from mlpkit.config.problems import show
from mlpkit.errors import ConfigError


def packaged() -> Path:
    """Return the folder of mlpkit's own configs: inside the installed package, else beside it."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def search_path(extra: Sequence[Path] = ()) -> list[Path]:
    """Return the folders to search, first match wins: `extra`, the user's `configs/`, mlpkit's own.

    Raises:
        ConfigError: an extra folder does not exist.
    """
    for folder in extra:
        if not folder.is_dir():
            raise ConfigError(f"--config-dir={folder}: no such folder")
    here = Path("configs")
    folders = [*extra, *([here] if here.is_dir() else []), packaged()]
    return list(dict.fromkeys(folder.resolve() for folder in folders))


def display_path(path: str | Path) -> str:
    """Return the path as `configs/…` if it is one of mlpkit's own files, else unchanged."""
    try:
        return f"configs/{Path(path).relative_to(packaged())}"
    except ValueError:
        return str(path)


def groups(folders: Sequence[Path]) -> dict[str, dict[str, Path | None]]:
    """Return the choices of each group: name -> file.

    The file is None for a registered choice without a YAML file (of a plug-in): its schema has the defaults.
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
    """Check each file that Hydra will read for these configs; nothing to do if only mlpkit's own are used.

    Raises:
        ConfigError: a file is not plain YAML, or its defaults list is not a list of names.
    """
    if set(folders) != {packaged()}:
        for _ in _files(folders, names):
            pass


def shadowing_files(folders: Sequence[Path], names: Sequence[str]) -> dict[str, Path]:
    """Return the user's files that replace mlpkit's own of the same name: name -> file.

    They may be intended, or belong to another program that has a `configs/` folder too.
    """
    found: dict[str, Path] = {}
    with suppress(ConfigError):  # `check` reports it
        for name, path in _files(folders, names):
            own = packaged() / f"{name}.yaml"
            if own.is_file() and path != own:
                found[name] = path
    return found


def with_other_suffix(folders: Sequence[Path], name: str) -> Path | None:
    """Return a config's file whose name ends in .yml or the like instead of .yaml; Hydra does not read it."""
    names = [f"{name}{ending}" for ending in (".yml", ".YML", ".YAML")]
    return next((p for folder in folders for each in names if (p := folder / each).is_file()), None)


def suffix_error(path: Path) -> ConfigError:
    """Return the error for a config file whose name does not end in .yaml."""
    return ConfigError(f"{path}: the name of a config ends in .yaml; rename the file")


def _files(folders: Sequence[Path], names: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Yield (name, file) of each config that Hydra will read, following defaults lists.

    Raises:
        ConfigError: see `check`.
    """
    waiting, seen = list(names), set()
    while waiting:
        config = waiting.pop()
        path = next((p for folder in folders if (p := folder / f"{config}.yaml").is_file()), None)
        if path is None and (other := with_other_suffix(folders, config)):
            raise suffix_error(other)
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


def check_config_file(path: Path) -> None:
    """Check a --config file.

    Raises:
        ConfigError: it is not plain YAML, of a newer format, or its name does not end in .yaml.
    """
    declared = yaml_file.read(path).get("format")
    if isinstance(declared, int) and declared > FORMAT:
        raise ConfigError(
            f"{path}: format={show(declared)}: this mlpkit reads up to format {FORMAT}; upgrade mlpkit"
        )
    if path.suffix != ".yaml":
        raise suffix_error(path)


def _named(entry: object, group: str) -> Iterator[str]:
    """Yield the names of the configs that an entry of a defaults list refers to.

    Raises:
        TypeError: the entry is neither a name nor {group: name}.
    """
    pairs = entry.items() if isinstance(entry, Mapping) else [("", entry)]
    for key, value in pairs:
        if not (isinstance(value, str) or (key and value is None)):
            raise TypeError(value)
        # Names that no file can have would end in an error of the system, or an unreadable one of Hydra.
        if not all(name.isprintable() and len(name.encode()) <= 200 for name in (str(key), value or "")):
            raise TypeError(value)
        target = re.sub(r"^(override|optional) +", "", str(key)).split("@")[0]
        if isinstance(entry, Mapping) and not target.strip("/"):
            raise TypeError(entry)  # Hydra asserts that a group has a name
        folder = target if target.startswith("/") or not group else f"{group}/{target}"
        if value is not None and value != "_self_":
            yield f"{folder}/{value}".replace("//", "/").lstrip("/")


def first_comment(path: Path) -> str:
    """Return the first comment at the top of a config file, which describes the choice; `# @…` is skipped."""
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
