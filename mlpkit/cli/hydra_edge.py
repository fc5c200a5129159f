"""Hydra's edge: the only module that imports hydra and omegaconf; returns `Override` and plain dicts."""

import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser import types as hydra_types
from hydra.core.override_parser.overrides_parser import OverridesParser, create_functions
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlpkit.cli.overrides import Groups, Override, count_range, how_to_write, make_interval, with_quotes
from mlpkit.config import nested, registry, search_path, yaml_file
from mlpkit.config.problems import show, spell
from mlpkit.errors import ConfigError
from mlpkit.sweeps.grid import Interval, Values

PRIMARY = "train"  # name of the primary config
LONGEST = 100_000  # characters of an override

# Hydra would read the environment for foreign files too. `mlpkit.cli.variables` does it for the user's own.
OmegaConf.clear_resolver("oc.env")


def _parser() -> OverridesParser:
    """Return Hydra's parser, extended: choice(), shuffle() and sort() take null, as `null,1.0` does."""
    functions = create_functions()
    for name in ("choice", "shuffle", "sort"):
        signature = functions.definitions[name]
        values, *others = signature.parameters.values()
        widened = [values.replace(annotation=values.annotation | None), *others]
        functions.definitions[name] = signature.replace(parameters=widened)
    hydra_sort = functions.functions["sort"]

    def sort(*args: Any, **named: Any) -> Any:
        given = args[0] if len(args) == 1 else named.get("sweep") or named.get("list")
        if len(args) > 1:
            given = hydra_types.ChoiceSweep(list=[*args], simple_form=True)
        if isinstance(given, hydra_types.ChoiceSweep):
            return replace(given, list=_sorted(given.list, **named))
        return _sorted(given, **named) if isinstance(given, list) else hydra_sort(*args, **named)

    functions.functions["sort"] = sort
    return OverridesParser(functions)


def _sorted(values: list[Any], reverse: bool = False, **_: Any) -> list[Any]:
    """Return the values sorted, null first."""
    return sorted(values, key=lambda value: (value is not None, value or 0), reverse=reverse)


_PARSER = _parser()


def parse_override(line: str, groups: Groups) -> Override:
    """Return the override that an argument of the command line spells.

    Raises:
        ConfigError: the argument is not an override, or uses a part of Hydra's grammar that mlpkit lacks.
    """
    if len(line) > LONGEST:
        raise ConfigError(f"{show(line)}: {len(line)} characters; an override has at most {LONGEST}")
    try:
        parsed = _PARSER.parse_overrides([with_quotes(line)])[0]
    except (HydraException, RecursionError, ValueError):
        raise ConfigError(how_to_write(line)) from None
    key, value = parsed.key_or_group, parsed.value()
    if not key:
        raise ConfigError(how_to_write(line))
    if parsed.package is not None:
        raise ConfigError(f"{spell(line)}: packages (@) are not taken here; write {spell(key)}=NAME")
    is_sweep = parsed.is_sweep_override()
    elements = getattr(value, "list", []) if is_sweep else [value]
    if key.count(".") + max(map(nested.depth, elements), default=0) > yaml_file.DEEPEST:
        raise ConfigError(f"{spell(line)}: nested deeper than {yaml_file.DEEPEST} levels")
    if any(map(_contains_sweep, elements)):
        raise ConfigError(
            f"{spell(line)}: several values cannot stand inside a value; write {spell(key)}=choice(A,B)"
        )
    mark = parsed.get_key_element().removesuffix(key)
    override = Override(line, mark, key, _swept_values(parsed, groups) if is_sweep else value)
    if key in groups and isinstance(value, int | float):  # a file may be called 1e3 or 2024_01_02
        return replace(override, value=override.typed)
    return override


def parse_value(text: str) -> Any:
    """Return the value that Hydra reads from `key=text`; the text itself where it reads none."""
    try:
        parsed = _PARSER.parse_override(f"key={text}")
    except (HydraException, RecursionError, ValueError):
        return text
    return text if parsed.is_sweep_override() or _contains_sweep(parsed.value()) else parsed.value()


def _swept_values(override: hydra_types.Override, groups: Groups) -> Values | Interval:
    """Return the values that an override sweeps over.

    Raises:
        ConfigError: the list is empty, a range is infinite, or glob() is used on a key that is no group.
    """
    key, text = override.key_or_group, spell(str(override.input_line))
    sweep: Any = override.value()
    if override.is_interval_sweep():
        return make_interval(sweep.start, sweep.end, "log" in sweep.tags, text)
    if isinstance(sweep, hydra_types.Glob):
        if key not in groups:
            raise ConfigError(
                f"{text}: glob() picks choices of a group, which {spell(key)} is not; write {spell(key)}=A,B"
            )
        sweep = hydra_types.ChoiceSweep(list=list(sweep.filter(sorted(groups[key]))))
    if override.is_range_sweep():
        length = count_range(sweep.start, sweep.stop, sweep.step, text)
    else:
        length = len(sweep.list)
    if length == 0:
        known = f"choose from {', '.join(sorted(groups[key]))}" if key in groups else "give one or more"
        raise ConfigError(f"{text}: stands for no value; {known}")

    def texts() -> Iterator[str]:
        values = list(sweep.range() if override.is_range_sweep() else sweep.list)
        if sweep.shuffle:  # with a fixed seed, so that planning the sweep again gives the same order
            random.Random(override.input_line).shuffle(values)
        return map(_to_text, values)

    return Values(length, texts)


def _to_text(value: Any) -> str:
    """Return a swept value as text that Hydra parses back to it."""
    if not isinstance(value, str):
        return str(hydra_types.Transformer.str(value))
    for text in (value, hydra_types.QuotedString(value, hydra_types.Quote.double).with_quotes()):
        try:
            if _PARSER.parse_override(f"key={text}").value() == value:
                return str(text)
        except (HydraException, ValueError):
            continue
    return value


def _contains_sweep(value: object) -> bool:
    """Whether a value is a sweep, or a list or section with a sweep anywhere in it."""
    if isinstance(value, hydra_types.Sweep | hydra_types.Glob):
        return True
    elements = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_contains_sweep, elements))


class _OtherFolders(SearchPathPlugin):
    """Appends all folders but the first to Hydra's search path; `initialize_config_dir` takes only one."""

    folders: ClassVar[list[Path]] = []

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in self.folders:
            search_path.append("mlpkit", f"file://{folder}")


Plugins.instance().register(_OtherFolders)


# Hydra's own settings, which mlpkit does not use; they take a fourth of the time.
_UNUSED = "output", "launcher", "sweeper", "help", "hydra_help", "hydra_logging", "job_logging", "env"


def merge(folders: Sequence[Path], file: Path | None, choices: Sequence[tuple[str, str]]) -> dict[Any, Any]:
    """Return the merged files as a plain dict, interpolations not filled in. Do not change the result.

    Args:
        folders: the search path.
        file: a whole config (--config) in place of the primary config.
        choices: (group, name) of each chosen file.

    Raises:
        ConfigError: a file is missing or cannot be read.
    """
    own = search_path.packaged()
    is_own = file is None and list(folders) == [own]
    is_own = is_own and all((own / group / f"{name}.yaml").is_file() for group, name in choices)
    return (_merge if is_own else _merge.__wrapped__)(tuple(folders), file, tuple(choices))


@lru_cache(maxsize=1000)  # for mlpkit's own files, which do not change
def _merge(
    folders: tuple[Path, ...], file: Path | None, choices: tuple[tuple[str, str], ...]
) -> dict[Any, Any]:
    with _initialized(folders, file, choices) as (name, overrides):
        merged = OmegaConf.to_container(hydra_compose(name, overrides=overrides), resolve=False)
    assert isinstance(merged, dict)
    return merged


def find_sources(
    folders: Sequence[Path], file: Path | None, choices: Sequence[tuple[str, str]]
) -> dict[str, str]:
    """Return, for each key of the merged files, the file that set it last; arguments as in `merge`."""
    sources: dict[str, str] = {}
    with _initialized(folders, file, choices) as (name, overrides):
        loader = GlobalHydra.instance().config_loader()
        for default in loader.compute_defaults_list(name, overrides, RunMode.RUN).defaults:
            if default.config_path is None or default.config_path.startswith("hydra/"):
                continue
            holder = next((s for s in loader.get_sources() if s.is_config(default.config_path)), None)
            if holder is None:
                continue
            loaded = OmegaConf.to_container(holder.load_config(default.config_path).config, resolve=False)
            if holder.scheme() == "structured":
                group, _, choice = default.config_path.rpartition("/")
                path = registry.source_file(registry.choices(group)[choice])
            else:
                path = f"{holder.path.removeprefix('file://')}/{default.config_path}.yaml"
            for key, _ in nested.items(loaded, default.package or ""):
                sources[key] = search_path.display_path(path)
    return sources


@contextmanager
def _initialized(
    folders: Sequence[Path], file: Path | None, choices: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, list[str]]]:
    """Initialise Hydra for the block; yield the primary config's name and the choices as overrides."""
    name = PRIMARY
    if file is not None:
        search_path.check_config_file(file)
        name, folders = file.stem, [file.resolve().parent, *folders]
    search_path.check(folders, [name, *(f"{group}/{value}" for group, value in choices)])
    primary = next((p for folder in folders if (p := folder / f"{name}.yaml").is_file()), name)
    first, *_OtherFolders.folders = folders
    _store_choices_without_file(search_path.groups(folders))
    GlobalHydra.instance().clear()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Hydra's advice on defaults lists
            initialize_config_dir(version_base="1.3", config_dir=str(first), job_name="mlpkit")
            yield (
                name,
                [
                    *(f'{group}="{value}"' for group, value in choices),
                    *(f"~hydra/{group}" for group in _UNUSED),
                ],
            )
    except RecursionError:
        shown = search_path.display_path(primary)
        raise ConfigError(
            f"{shown}: defaults lists of its files name each other in a circle; break it"
        ) from None
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, ValueError, TypeError) as error:
        shown = search_path.display_path(primary)
        raise ConfigError(f"{shown}: {_reason(error)}; `mlpkit list` shows what there is") from None
    finally:
        GlobalHydra.instance().clear()


def _store_choices_without_file(groups: Groups) -> None:
    """Add the choices without a YAML file to Hydra's config store, each as a config with its name."""
    store = ConfigStore.instance()
    for group, choices in groups.items():
        store.repo.pop(group, None)
        for name, path in choices.items():
            if path is None:
                store.store(name, {"name": name}, group)


def interpolate(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config with each ${other.key} replaced by the value of that key.

    Raises:
        ConfigError: there is no such key, or keys refer to each other in a circle.
    """
    try:
        resolved: Any = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(
            f"{spell(str(error.full_key))}: {spell(_reason(error))}; write the value, or ${{other.key}}"
        ) from None
    return dict(resolved)


def _reason(error: BaseException) -> str:
    """Return the first sentence of Hydra's message; the rest is advice about Hydra."""
    first, second, *_ = [*(line.strip() for line in str(error).splitlines() if line.strip()), "", ""]
    if not first:
        return _reason(error.__cause__) if error.__cause__ else type(error).__name__
    return f"{first} {second}" if first.endswith(":") else first.rstrip(".")
