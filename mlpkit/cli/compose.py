"""Hydra's edge: overrides and YAML files in, a plain dict out. Nothing else imports hydra or omegaconf.

Hydra chooses and merges files. What a value may be is the schema's business: every override is handed
over as a forced one (`++key=value`), so that an unknown key is reported by the schema, with a near name,
together with all other problems.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlpkit import config_files, yaml_file
from mlpkit.config import FORMAT
from mlpkit.errors import ConfigError
from mlpkit.problems import did_you_mean, show

PRIMARY = "train"


@dataclass(frozen=True)
class Request:
    """What the command line asks for: overrides, extra config folders, and a config file to start from."""

    overrides: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    file: Path | None = None


def compose(request: Request) -> dict[str, Any]:
    """Return the composed config as a plain dict, not validated yet.

    Raises:
        ConfigError: an override or a file cannot be read, or names a choice that does not exist.
    """
    with _initialized(request) as (name, overrides):
        composed = hydra_compose(name, overrides=overrides)
        _refuse_resolvers(OmegaConf.to_container(composed, resolve=False))
        plain = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def explain(request: Request, config: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    """Return (key, value, source) for each value of a validated config.

    The source is the override or the file that set it last, or `default of mlpkit`.
    """
    sources: dict[str, str] = {}
    with _initialized(request) as (name, overrides):
        loader = GlobalHydra.instance().config_loader()
        for default in loader.compute_defaults_list(name, overrides, RunMode.RUN).defaults:
            if default.config_path is None or default.config_path.startswith("hydra/"):
                continue
            holder = next((s for s in loader.get_sources() if s.is_config(default.config_path)), None)
            if holder is None:
                continue
            loaded = OmegaConf.to_container(holder.load_config(default.config_path).config, resolve=False)
            path = f"{holder.path.removeprefix('file://')}/{default.config_path}.yaml"
            for key in _leaves(loaded, default.package or ""):
                sources[key] = _shown_path(path)
    groups = set(config_files.groups(_folders(request)))
    for override in _parse(request.overrides):
        if override.key_or_group not in groups:
            for key in _leaves(override.value(), override.key_or_group):
                sources[key] = f"command line: {override.input_line}"
    return [(key, value, sources.get(key, "default of mlpkit")) for key, value in _items(config)]


class _OtherFolders(SearchPathPlugin):
    """Appends the folders after the first, which is all that Hydra's own initialisation takes."""

    folders: ClassVar[list[Path]] = []

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in self.folders:
            search_path.append("mlpkit", f"file://{folder}")


Plugins.instance().register(_OtherFolders)


@contextmanager
def _initialized(request: Request) -> Iterator[tuple[str, list[str]]]:
    """Set Hydra up for one composition; yield the primary config's name and the overrides."""
    folders = _folders(request)
    overrides = _translate(_parse(request.overrides), folders, request.file)
    name = PRIMARY
    if request.file is not None:
        yaml_file.read(request.file)
        name, folders = request.file.stem, [request.file.resolve().parent, *folders]
    _check_files(folders, name, overrides)
    first, *_OtherFolders.folders = folders
    GlobalHydra.instance().clear()
    try:
        initialize_config_dir(version_base="1.3", config_dir=str(first), job_name="mlpkit")
        yield name, overrides
    except (HydraException, OmegaConfBaseException, OSError) as error:
        # Hydra's messages run over several lines, of which the first says what is wrong.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ConfigError(f"config: {'; '.join(lines[:2])}") from None
    finally:
        GlobalHydra.instance().clear()


def _folders(request: Request) -> list[Path]:
    for folder in request.folders:
        if not folder.is_dir():
            raise ConfigError(f"--config-dir={folder}: no such folder")
    return config_files.search_path(request.folders)


def _parse(overrides: Sequence[str]) -> list[Override]:
    parsed: list[Override] = []
    parser = OverridesParser.create()
    for text in overrides:
        if len(text) > 100_000:
            raise ConfigError(f"{show(text)}: an override of {len(text)} characters is too long")
        try:
            override = parser.parse_overrides([text])[0]
        except (HydraException, RecursionError):
            raise ConfigError(_how_to_write(text)) from None
        if not override.key_or_group:
            raise ConfigError(f"{show(text)}: no key before the =; write key=value")
        earlier = next((o for o in parsed if o.key_or_group == override.key_or_group), None)
        if earlier is not None:
            raise ConfigError(
                f"{override.key_or_group}: given twice ({earlier.input_line} and {text}); keep one of them"
            )
        parsed.append(override)
    return parsed


def _how_to_write(text: str) -> str:
    if "=" not in text and not text.startswith("~"):
        return f"{show(text)}: not an override; write key=value, such as {text.lstrip('+')}=VALUE"
    key = text.split("=", 1)[0]
    return (
        f"{show(text)}: the value cannot be read; lists are {key}=[4,2], and text with spaces or "
        f"special characters goes in quotes: '{key}=\"…\"'"
    )


def _translate(parsed: Sequence[Override], folders: Sequence[Path], file: Path | None) -> list[str]:
    """Return the overrides as Hydra shall see them, having refused what mlpkit does not take."""
    groups = config_files.groups(folders)
    translated = []
    for override in parsed:
        key, text = override.key_or_group, override.input_line
        assert text is not None
        if key.split(".")[0].split("/")[0] == "hydra":
            raise ConfigError(f"{text}: mlpkit has no hydra section; set run.root or run.dir for the folder")
        if override.is_delete():
            translated.append(text)
            continue
        if override.is_sweep_override():
            raise ConfigError(
                f"{text}: several values make a sweep, which mlpkit cannot run yet; give one value "
                f"(a list is {key}=[…])"
            )
        value = override.value()
        if key in groups and isinstance(value, (str, int, float, bool)):
            choices = groups[key]
            if str(value) not in choices:
                raise ConfigError(
                    f"{key}={value}: no such {key}; choose one of {', '.join(sorted(choices))}"
                    f"{did_you_mean(str(value), choices)}"
                )
            if file is not None:
                raise ConfigError(
                    f"{text}: --config {file} has already chosen every group; set single keys instead, "
                    f"such as {key}.name={value}"
                )
            translated.append(text.lstrip("+"))
        elif key == "experiment" and value is None:
            continue  # no experiment, which is the default
        elif key in groups and value is None:
            raise ConfigError(f"{text}: choose one of {', '.join(sorted(groups[key]))}")
        else:
            translated.append(f"++{text.lstrip('+')}" if override.type is not OverrideType.DEL else text)
    return translated


def _check_files(folders: Sequence[Path], name: str, overrides: Sequence[str]) -> None:
    """Read strictly each file of the user's that Hydra is about to read."""
    own = [folder for folder in folders if folder != config_files.packaged()]
    if not own:
        return
    waiting, seen = [name], set()
    for text in overrides:
        key, _, value = text.partition("=")
        if not key.startswith(("+", "~")):
            waiting.append(f"{key}/{value}")
    while waiting:
        config = waiting.pop()
        if config in seen:
            continue
        seen.add(config)
        path = next((p for folder in folders if (p := folder / f"{config}.yaml").exists()), None)
        if path is None:
            continue
        content = yaml_file.read(path)
        if config == name and isinstance(content.get("format"), int) and content["format"] > FORMAT:
            raise ConfigError(
                f"{path}: format={content['format']}: this mlpkit reads up to format {FORMAT}; upgrade mlpkit"
            )
        group = config.rpartition("/")[0]
        defaults = content.get("defaults")
        for entry in defaults if isinstance(defaults, list) else []:
            waiting.extend(_named(entry, group))


def _named(entry: object, group: str) -> Iterator[str]:
    """Yield the configs that an entry of a defaults list names."""
    pairs = entry.items() if isinstance(entry, dict) else [("", entry)]
    for key, value in pairs:
        target = re.sub(r"^(override|optional) +", "", str(key)).split("@")[0]
        folder = (
            target.lstrip("/") if target.startswith("/") or not group else f"{group}/{target}".rstrip("/")
        )
        if isinstance(value, str) and value != "_self_":
            yield f"{folder}/{value}".lstrip("/")


def _refuse_resolvers(node: object, key: str = "") -> None:
    """Refuse `${resolver:…}`, which could read the environment; `${other.key}` is plain data."""
    if isinstance(node, dict):
        for name, value in node.items():
            _refuse_resolvers(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            _refuse_resolvers(value, f"{key}[{index}]")
    elif isinstance(node, str) and re.search(r"\$\{[^}]*:", node):
        raise ConfigError(
            f"{key}={show(node)}: resolvers are not allowed in a config; write the value, or ${{other.key}}"
        )


def _leaves(node: object, prefix: str) -> Iterator[str]:
    yield from (key for key, _ in _items(node, prefix))


def _items(node: object, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for name, value in node.items():
            if name != "defaults" or prefix:
                yield from _items(value, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, node


def _shown_path(path: str) -> str:
    """Return the path as `configs/…` where the file came with mlpkit, else as it is."""
    try:
        return f"configs/{Path(path).relative_to(config_files.packaged())}"
    except ValueError:
        return path


def override_dataset(config: Mapping[str, Any], request: Request) -> dict[str, Any]:
    """Return a stored config with overrides of its dataset applied.

    Raises:
        ConfigError: an override cannot be read or concerns something else than the dataset.
    """
    changed = {**config, "dataset": dict(config["dataset"])}
    for override in _parse(request.overrides):
        text = override.input_line
        path = override.key_or_group.split(".")
        if path[0] != "dataset" or override.is_sweep_override() or override.is_delete():
            raise ConfigError(f"{text}: only the dataset may be overridden here, as in dataset.noise=0.2")
        if len(path) == 1:
            changed["dataset"] = compose(Request((str(text),), request.folders))["dataset"]
            continue
        section = changed["dataset"]
        for name in path[1:-1]:
            section[name] = dict(section[name]) if isinstance(section.get(name), Mapping) else {}
            section = section[name]
        section[path[-1]] = override.value()
    _refuse_resolvers(changed)
    return changed
