"""Hydra's edge: overrides and YAML files in, a plain dict out. Nothing else imports hydra or omegaconf.

Hydra parses the overrides, and chooses and merges the files. Single values are then set in the plain
dict: what a value may be is the schema's business, so that an unknown key or a list where a number is
meant is reported by the schema, with its rule, together with all other problems.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlpkit import config_files, nested, yaml_file
from mlpkit.config import FORMAT
from mlpkit.errors import ConfigError
from mlpkit.problems import did_you_mean, show, spell

PRIMARY = "train"
LONGEST = 100_000  # characters of an override

_KEY = re.compile(r"(\+\+?|~)?[a-z_][a-z0-9_]*([./][a-z0-9_]+)*", re.IGNORECASE | re.ASCII)
_OTHER_KEY = re.compile(r"\$\{[\w.\[\]]+\}", re.ASCII)  # ${other.key}, the one interpolation that is taken


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
    choices, settings = _read(request)
    with _initialized(request, choices) as (name, overrides):
        composed = OmegaConf.to_container(hydra_compose(name, overrides=overrides), resolve=False)
    assert isinstance(composed, dict)
    config = {str(key): value for key, value in composed.items()}
    for setting in settings:
        config = _apply(setting, config)
    return _resolve(config)


def explain(request: Request, config: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    """Return (key, value, source) for each value of a validated config.

    The source is the override or the file that set it last, or `default of mlpkit`.
    """
    sources: dict[str, str] = {}
    choices, settings = _read(request)
    with _initialized(request, choices) as (name, overrides):
        loader = GlobalHydra.instance().config_loader()
        for default in loader.compute_defaults_list(name, overrides, RunMode.RUN).defaults:
            if default.config_path is None or default.config_path.startswith("hydra/"):
                continue
            holder = next((s for s in loader.get_sources() if s.is_config(default.config_path)), None)
            if holder is None:
                continue
            loaded = OmegaConf.to_container(holder.load_config(default.config_path).config, resolve=False)
            path = f"{holder.path.removeprefix('file://')}/{default.config_path}.yaml"
            for key, _ in nested.items(loaded, default.package or ""):
                sources[key] = _shown_path(path)
    for setting in settings:
        whole = setting.key_or_group
        below = [key for key in sources if key.startswith(f"{whole}.")] if setting.is_delete() else []
        for key in [*dict(nested.items(setting.value(), whole)), *below]:
            sources[key] = f"command line: {setting.input_line}"
    return [(key, value, sources.get(key, "default of mlpkit")) for key, value in nested.items(config)]


def override(
    config: Mapping[str, Any], request: Request, allowed: Callable[[str], bool], rule: str
) -> dict[str, Any]:
    """Return a stored config with overrides applied.

    Args:
        config: a plain dict.
        request: the overrides.
        allowed: whether a key or group may be overridden.
        rule: what may be, in words.

    Raises:
        ConfigError: an override cannot be read, or is not allowed.
    """
    changed = dict(config)
    choices, settings = _read(request)
    for override in [*choices, *settings]:
        if not allowed(override.key_or_group) or override.is_delete():
            raise ConfigError(f"{_text(override)}: {rule}")
    for choice in choices:
        group = choice.key_or_group
        changed[group] = compose(Request((str(choice.input_line),), request.folders))[group]
    for setting in settings:
        changed = _apply(setting, changed)
    return _resolve(changed)


# -------------------------------------------------------------------------------------- overrides


def _read(request: Request) -> tuple[list[Override], list[Override]]:
    """Return the overrides that choose a file of a group, and those that set or delete a key.

    Raises:
        ConfigError: one cannot be read, or is nothing that mlpkit takes.
    """
    groups = config_files.groups(config_files.search_path(request.folders))
    choices, settings = [], []
    for override in _parse(request.overrides):
        key, text = override.key_or_group, _text(override)
        if re.split("[./]", key)[0] == "hydra":
            raise ConfigError(f"{text}: mlpkit has no hydra section; set run.root or run.dir for the folder")
        if override.package is not None:
            raise ConfigError(f"{text}: packages (@) are not taken here; write {spell(key)}=NAME")
        if override.is_sweep_override():
            raise ConfigError(
                f"{text}: several values make a sweep, which mlpkit cannot run yet; give one value "
                f"(a list is {spell(key)}=[…])"
            )
        if key == "experiment" and override.value() is None:
            continue  # no experiment, which is the default
        if key not in groups or override.is_delete() or isinstance(override.value(), Mapping):
            settings.append(override)
            continue
        if str(override.value()) not in groups[key]:
            raise ConfigError(
                f"{text}: no such {key}; choose one of {', '.join(sorted(groups[key]))}"
                f"{did_you_mean(str(override.value()), groups[key])}"
            )
        if request.file is not None:
            raise ConfigError(
                f"{text}: --config {request.file} is a whole config, which has chosen every group; "
                "set single keys, such as optimizer.lr=0.01"
            )
        choices.append(override)
    return choices, settings


def _parse(overrides: Sequence[str]) -> list[Override]:
    parsed: dict[str, Override] = {}
    parser = OverridesParser.create()
    for text in overrides:
        if len(text) > LONGEST:
            raise ConfigError(f"{show(text)}: {len(text)} characters; an override has at most {LONGEST}")
        try:
            override = parser.parse_overrides([text])[0]
        except (HydraException, RecursionError, ValueError):
            raise ConfigError(_how_to_write(text)) from None
        key = override.key_or_group
        if not key:
            raise ConfigError(_how_to_write(text))
        if key.count(".") + nested.depth(override.value()) > yaml_file.DEEPEST:
            raise ConfigError(f"{spell(text)}: nested deeper than {yaml_file.DEEPEST} levels")
        if key in parsed:
            raise ConfigError(
                f"{spell(key)}: given twice ({_text(parsed[key])} and {_text(override)}); keep one of them"
            )
        parsed[key] = override
    return list(parsed.values())


def _how_to_write(text: str) -> str:
    key = text.split("=", 1)[0]
    if not _KEY.fullmatch(key):
        return f"{show(text)}: {show(key)} is not a key; write key=value, such as optimizer.lr=0.01"
    key = key.lstrip("+~")
    if "=" not in text:
        groups = config_files.groups(config_files.search_path())
        group = next((group for group, choices in groups.items() if key in choices), None)
        wanted = f"{group}={key}" if group else f"{spell(key)}=VALUE"
        return f"{show(text)}: no value; write {wanted}"
    return (
        f"{show(text)}: the value cannot be read; lists are {spell(key)}=[4,2], and text with special "
        f"characters goes in quotes: '{spell(key)}=\"…\"'"
    )


def _text(override: Override) -> str:
    """Return an override as it was typed, on one line."""
    return spell(str(override.input_line))


def _apply(override: Override, config: dict[str, Any]) -> dict[str, Any]:
    """Return the config with a key set or deleted."""
    key, value = override.key_or_group, override.value()
    if not override.is_delete():
        return nested.replace(config, key, value)
    try:
        rest = nested.remove(config, key)
    except KeyError:
        raise ConfigError(f"{_text(override)}: there is no such key to delete; leave it out") from None
    found = dict(nested.items(config))
    if value is not None and value not in (found.get(key), found.get(f"{key}.name")):
        raise ConfigError(f"{_text(override)}: {key} has another value; write ~{key}")
    return rest


def _resolve(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config with each ${other.key} replaced by the value that it names."""
    for key, text in nested.texts(config):
        if "${" in _OTHER_KEY.sub("", text):
            raise ConfigError(f"{key}={show(text)}: only ${{other.key}} can be filled in; write the value")
        if text == "???":
            raise ConfigError(f"{key}=???: no value; write {key}=VALUE")
    try:
        resolved: Any = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(
            f"{spell(str(error.full_key))}: {spell(_reason(error))}; write the value, or ${{other.key}}"
        ) from None
    return dict(resolved)


# ------------------------------------------------------------------------------------------ files


class _OtherFolders(SearchPathPlugin):
    """Appends the folders after the first, which is all that Hydra's own initialisation takes."""

    folders: ClassVar[list[Path]] = []

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in self.folders:
            search_path.append("mlpkit", f"file://{folder}")


Plugins.instance().register(_OtherFolders)


@contextmanager
def _initialized(request: Request, choices: Sequence[Override]) -> Iterator[tuple[str, list[str]]]:
    """Set Hydra up for one composition; yield the primary config's name and the choices as it reads them."""
    folders = config_files.search_path(request.folders)
    name = PRIMARY
    if request.file is not None:
        _check_file(request.file)
        name, folders = request.file.stem, [request.file.resolve().parent, *folders]
    config_files.check(folders, [name, *(f"{o.key_or_group}/{o.value()}" for o in choices)])
    primary = next((p for folder in folders if (p := folder / f"{name}.yaml").is_file()), name)
    first, *_OtherFolders.folders = folders
    GlobalHydra.instance().clear()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Hydra's advice on how to write a defaults list
            initialize_config_dir(version_base="1.3", config_dir=str(first), job_name="mlpkit")
            yield name, [f'{choice.key_or_group}="{choice.value()}"' for choice in choices]
    except RecursionError:
        raise ConfigError(
            f"{_shown_path(primary)}: defaults lists of its files name each other in a circle; break it"
        ) from None
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{_shown_path(primary)}: {_reason(error)}; `mlpkit list` shows what there is"
        ) from None
    finally:
        GlobalHydra.instance().clear()


def _check_file(path: Path) -> None:
    """Refuse a --config file that is not plain YAML of a format that this mlpkit reads."""
    declared = yaml_file.read(path).get("format")
    if isinstance(declared, int) and declared > FORMAT:
        raise ConfigError(
            f"{path}: format={show(declared)}: this mlpkit reads up to format {FORMAT}; upgrade mlpkit"
        )
    if path.suffix != ".yaml":
        raise ConfigError(f"{path}: the name of a config ends in .yaml; rename the file")


def _reason(error: BaseException) -> str:
    """Return what is wrong: Hydra's messages go on with advice about Hydra."""
    first, second, *_ = [*(line.strip() for line in str(error).splitlines() if line.strip()), "", ""]
    if not first:
        return _reason(error.__cause__) if error.__cause__ else type(error).__name__
    return f"{first} {second}" if first.endswith(":") else first.rstrip(".")


def _shown_path(path: str | Path) -> str:
    """Return the path as `configs/…` where the file came with mlpkit, else as it is."""
    try:
        return f"configs/{Path(path).relative_to(config_files.packaged())}"
    except ValueError:
        return str(path)
