"""Hydra's edge: overrides and YAML files in, a plain dict out. Nothing else imports hydra or omegaconf.

Hydra parses the overrides, and chooses and merges the files. Single values are then set in the plain
dict: what a value may be is the schema's business, so that an unknown key or a list where a number is
meant is reported by the schema, with its rule, together with all other problems.
"""

import random
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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

from mlpkit.cli.overrides import (
    Groups,
    Override,
    check_once,
    check_single,
    count_range,
    how_to_write,
    make_interval,
    split_choices,
    with_quoted_home,
)
from mlpkit.cli.variables import fill_all
from mlpkit.config import nested, registry, search_path, yaml_file
from mlpkit.config.config import Config, parse
from mlpkit.config.problems import show, spell
from mlpkit.errors import ConfigError
from mlpkit.runs.trust import Trust
from mlpkit.sweep.grid import Interval, Values

PRIMARY = "train"
LONGEST = 100_000  # characters of an override

OmegaConf.clear_resolver("oc.env")  # Hydra would fill it in anywhere; `variables` does it where it may be

_OTHER_KEY = re.compile(r"\$\{[\w.\[\]]+\}", re.ASCII)  # ${other.key}, the one interpolation that is taken


def _parser() -> OverridesParser:
    """Return Hydra's parser, with null allowed in choice(), shuffle() and sort(), as it is in `null,1.0`."""
    functions = create_functions()
    for name in ("choice", "shuffle", "sort"):
        input_schema = functions.definitions[name]
        values, *others = input_schema.parameters.values()
        widened = [values.replace(annotation=values.annotation | None), *others]
        functions.definitions[name] = input_schema.replace(parameters=widened)
    hydras = functions.functions["sort"]

    def sort(*args: Any, **named: Any) -> Any:
        given = args[0] if len(args) == 1 else named.get("sweep") or named.get("list")
        if len(args) > 1:
            given = hydra_types.ChoiceSweep(list=[*args], simple_form=True)
        if isinstance(given, hydra_types.ChoiceSweep):
            return replace(given, list=_in_order(given.list, **named))
        return _in_order(given, **named) if isinstance(given, list) else hydras(*args, **named)

    functions.functions["sort"] = sort
    return OverridesParser(functions)


def _in_order(values: list[Any], reverse: bool = False, **_: Any) -> list[Any]:
    """Return values in their order, in which null comes first."""
    return sorted(values, key=lambda value: (value is not None, value or 0), reverse=reverse)


_PARSER = _parser()


@dataclass(frozen=True)
class Request:
    """What the command line asks for: overrides, extra config folders, and a config file to start from."""

    overrides: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    file: Path | None = None
    trust: Trust = Trust.OWN  # whether the user has typed it, or a foreign file holds it

    def sets(self, key: str) -> bool:
        """Return whether an override sets the key."""
        return any(line.lstrip("+").startswith(f"{key}=") for line in self.overrides)

    @property
    def files_are_own(self) -> bool:
        """Whether its files are the user's own; a whole config may be anybody's run's."""
        return self.file is None and (self.trust.may_read_environment or not self.folders)


class Composer:
    """Composes a request, again and again with other overrides on top.

    What Hydra does for a choice of groups takes longer than all the rest, and is done once.
    """

    def __init__(self, request: Request) -> None:
        """Read the request.

        Raises:
            ConfigError: an override cannot be read, names a choice that does not exist, or sweeps.
        """
        self._request = request
        self._folders = search_path.search_path(request.folders)
        self._groups = search_path.groups(self._folders)
        self._overrides = self.read(request.overrides)
        self._composed: dict[tuple[tuple[str, str], ...], dict[str, Any] | ConfigError] = {}
        check_single(self._overrides)

    def read(self, lines: Sequence[str]) -> list[Override]:
        """Return further overrides.

        Raises:
            ConfigError: one cannot be read, or names a choice that does not exist.
        """
        return _read(lines, self._groups, self._folders, self._request.file)

    def config(self, more: Sequence[Override] = ()) -> Config:
        """Return the request's config with these overrides set last, validated.

        Raises:
            ConfigError: as `compose`, or with every problem; and the files that may not be meant for mlpkit.
        """
        try:
            return parse(self.compose(more), _typed_values([*self._overrides, *more]))
        except ConfigError as error:
            raise ConfigError(*error.args, *self._stand_ins(error.args, more)) from None

    def _stand_ins(self, problems: Sequence[str], more: Sequence[Override]) -> Iterator[str]:
        """Yield a line for each file that is read instead of mlpkit's own, where a problem is in it."""
        choices, settings = split_choices([*self._overrides, *more], self._groups)
        typed = tuple(f"{setting.key}{sign}" for setting in settings for sign in "=:")
        not_typed = [line for line in problems if not line.startswith(typed)]
        chosen = {choice.key: str(choice.value) for choice in choices}
        names = [] if self._request.file else [PRIMARY]
        names += [f"{group}/{name}" for group, name in chosen.items()]
        for name, path in search_path.stand_ins(self._folders, names).items():
            group, _, choice = name.rpartition("/")
            # The primary config and experiments set keys of every section.
            begins = "" if group in ("", "experiment") else (f"{group}.", f"{group}:", f"{group}=", str(path))
            if chosen.get(group, choice) == choice and any(line.startswith(begins) for line in not_typed):
                yield (
                    f"{path}: is read instead of mlpkit's own configs/{name}.yaml; "
                    "if it is another program's, rename it or work in another folder"
                )

    def compose(self, more: Sequence[Override] = ()) -> dict[str, Any]:
        """Return the request's config with these overrides set last, as `compose` does of both together.

        Raises:
            ConfigError: a key is given twice, or a file cannot be read.
        """
        overrides = [*self._overrides, *more]
        check_once(overrides)
        choices, settings = split_choices(overrides, self._groups)
        config = self._chosen(tuple((choice.key, str(choice.value)) for choice in choices))
        for setting in settings:
            config = setting.apply(config)
        return _resolve(config)

    def _chosen(self, choices: tuple[tuple[str, str], ...]) -> dict[str, Any]:
        """Return the config of a choice of groups, which must not be changed."""
        if choices not in self._composed:
            try:
                with _initialized(self._request, choices) as (name, overrides):
                    composed = OmegaConf.to_container(hydra_compose(name, overrides=overrides), resolve=False)
                assert isinstance(composed, dict)
                filled = fill_all(composed, _as_typed) if self._request.files_are_own else composed
                self._composed[choices] = {str(key): value for key, value in filled.items()}
            except ConfigError as error:
                self._composed[choices] = error
        found = self._composed[choices]
        if isinstance(found, ConfigError):
            raise found
        return found


def compose(request: Request) -> dict[str, Any]:
    """Return the composed config as a plain dict, not validated yet.

    Raises:
        ConfigError: an override or a file cannot be read, or names a choice that does not exist.
    """
    return Composer(request).compose()


def read_config(request: Request) -> Config:
    """Return the composed config, validated.

    Raises:
        ConfigError: as `Composer.config` does.
    """
    return Composer(request).config()


def sweeps(request: Request) -> tuple[Request, list[Override]]:
    """Return the request without the overrides that stand for several values, and those.

    Raises:
        ConfigError: an override cannot be read, or names a choice that does not exist.
    """
    folders = search_path.search_path(request.folders)
    overrides = _read(request.overrides, search_path.groups(folders), folders, request.file)
    lines = tuple(override.line for override in overrides if not override.sweeps)
    return replace(request, overrides=lines), [override for override in overrides if override.sweeps]


def explain(request: Request, config: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    """Return (key, value, source) for each value of a validated config.

    The source is the override or the file that set it last, or `default of mlpkit`.
    """
    sources: dict[str, str] = {}
    folders = search_path.search_path(request.folders)
    groups = search_path.groups(folders)
    overrides = _read(request.overrides, groups, folders, request.file)
    check_single(overrides)
    choices, settings = split_choices(overrides, groups)
    with _initialized(request, [(choice.key, str(choice.value)) for choice in choices]) as (name, chosen):
        loader = GlobalHydra.instance().config_loader()
        for default in loader.compute_defaults_list(name, chosen, RunMode.RUN).defaults:
            if default.config_path is None or default.config_path.startswith("hydra/"):
                continue
            holder = next((s for s in loader.get_sources() if s.is_config(default.config_path)), None)
            if holder is None:
                continue
            loaded = OmegaConf.to_container(holder.load_config(default.config_path).config, resolve=False)
            if holder.scheme() == "structured":
                group, _, choice = default.config_path.rpartition("/")
                path = registry.source(registry.choices(group)[choice])
            else:
                path = f"{holder.path.removeprefix('file://')}/{default.config_path}.yaml"
            for key, _ in nested.items(loaded, default.package or ""):
                sources[key] = search_path.shown(path)
    for setting in settings:
        below = [key for key in sources if key.startswith(f"{setting.key}.")] if setting.deletes else []
        for key in [*dict(nested.items(setting.value, setting.key)), *below]:
            sources[key] = f"command line: {setting.line}"
    return [(key, value, sources.get(key, "default of mlpkit")) for key, value in nested.items(config)]


def override(
    config: Mapping[str, Any], request: Request, allowed: Callable[[str], bool], rule: str
) -> Config:
    """Return a stored config with overrides applied, validated.

    Args:
        config: a plain dict.
        request: the overrides.
        allowed: whether a key or group may be overridden.
        rule: what may be, in words.

    Raises:
        ConfigError: an override cannot be read, or is not allowed, or with every problem.
    """
    changed = dict(config)
    folders = search_path.search_path(request.folders)
    groups = search_path.groups(folders)
    overrides = _read(request.overrides, groups, folders, request.file)
    check_single(overrides)
    for override in overrides:
        if not allowed(override.key) or override.deletes:
            raise ConfigError(f"{override.text}: {rule}")
    choices, settings = split_choices(overrides, groups)
    for choice in choices:
        changed[choice.key] = compose(Request((choice.line,), request.folders))[choice.key]
    for setting in settings:
        changed = setting.apply(changed)
    return parse(_resolve(changed), _typed_values(overrides))


# -------------------------------------------------------------------------------------- overrides


def _read(lines: Sequence[str], groups: Groups, folders: Sequence[Path], file: Path | None) -> list[Override]:
    """Return the overrides that these arguments are.

    Raises:
        ConfigError: one cannot be read, names a choice that does not exist, or is nothing that mlpkit takes.
    """
    overrides = [_parse(line, groups) for line in lines]
    for override in overrides:
        override.check(groups, folders, file)
    check_once(overrides)
    return overrides


def _parse(line: str, groups: Groups) -> Override:
    if len(line) > LONGEST:
        raise ConfigError(f"{show(line)}: {len(line)} characters; an override has at most {LONGEST}")
    try:
        parsed = _PARSER.parse_overrides([with_quoted_home(line)])[0]
    except (HydraException, RecursionError, ValueError):
        raise ConfigError(how_to_write(line)) from None
    key, value = parsed.key_or_group, parsed.value()
    if not key:
        raise ConfigError(how_to_write(line))
    if parsed.package is not None:
        raise ConfigError(f"{spell(line)}: packages (@) are not taken here; write {spell(key)}=NAME")
    several = parsed.is_sweep_override()
    inside = getattr(value, "list", []) if several else [value]
    if key.count(".") + max(map(nested.depth, inside), default=0) > yaml_file.DEEPEST:
        raise ConfigError(f"{spell(line)}: nested deeper than {yaml_file.DEEPEST} levels")
    if any(map(_holds_sweep, inside)):
        raise ConfigError(
            f"{spell(line)}: several values cannot stand inside a value; write {spell(key)}=choice(A,B)"
        )
    mark = parsed.get_key_element().removesuffix(key)
    override = Override(line, mark, key, _several(parsed, groups) if several else value)
    if key in groups and isinstance(value, int | float):  # a file may be called 1e3 or 2024_01_02
        return replace(override, value=override.typed)
    return override


def _as_typed(text: str) -> Any:
    """Return the value that a text would be if it were typed after the `=`, or the text itself."""
    try:
        parsed = _PARSER.parse_override(f"key={text}")
    except (HydraException, RecursionError, ValueError):
        return text
    return text if parsed.is_sweep_override() or _holds_sweep(parsed.value()) else parsed.value()


def _typed_values(overrides: Iterable[Override]) -> dict[str, str]:
    return {override.key: override.typed for override in overrides if not override.sweeps}


def _resolve(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config with each ${other.key} replaced by the value that it names."""
    texts = list(nested.texts(config))
    for key, text in texts:
        if "${" in _OTHER_KEY.sub("", text):
            raise ConfigError(f"{key}={show(text)}: only ${{other.key}} can be filled in; write the value")
        if text == "???":
            raise ConfigError(f"{key}=???: no value; write {key}=VALUE")
    if not any("${" in text for _, text in texts):
        return config
    filled = nested.fill(config)
    if not any("${" in text for _, text in nested.texts(filled)):
        return dict(filled)
    try:
        resolved: Any = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(
            f"{spell(str(error.full_key))}: {spell(_reason(error))}; write the value, or ${{other.key}}"
        ) from None
    return dict(resolved)


# ----------------------------------------------------------------------------------------- sweeps


def _several(override: hydra_types.Override, groups: Groups) -> Values | Interval:
    """Return the values for which an override stands.

    Raises:
        ConfigError: there are none, or no end of them.
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
        if sweep.shuffle:  # into the same order each time, so that a plan can be made again
            random.Random(override.input_line).shuffle(values)
        return map(_typed, values)

    return Values(length, texts)


def _typed(value: Any) -> str:
    """Return an element of a sweep as one would type it after the `=`."""
    if not isinstance(value, str):
        return str(hydra_types.Transformer.str(value))
    for text in (value, hydra_types.QuotedString(value, hydra_types.Quote.double).with_quotes()):
        try:
            if _PARSER.parse_override(f"key={text}").value() == value:
                return str(text)
        except (HydraException, ValueError):
            continue
    return value


def _holds_sweep(value: object) -> bool:
    """Return whether a value is a sweep, or a list or section with a sweep somewhere in it."""
    if isinstance(value, hydra_types.Sweep | hydra_types.Glob):
        return True
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_holds_sweep, below))


# ------------------------------------------------------------------------------------------ files


class _OtherFolders(SearchPathPlugin):
    """Appends the folders after the first, which is all that Hydra's own initialisation takes."""

    folders: ClassVar[list[Path]] = []

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in self.folders:
            search_path.append("mlpkit", f"file://{folder}")


Plugins.instance().register(_OtherFolders)


@contextmanager
def _initialized(request: Request, choices: Sequence[tuple[str, str]]) -> Iterator[tuple[str, list[str]]]:
    """Set Hydra up for one composition; yield the primary config's name and the choices as it reads them."""
    folders = search_path.search_path(request.folders)
    name = PRIMARY
    if request.file is not None:
        search_path.check_whole(request.file)
        name, folders = request.file.stem, [request.file.resolve().parent, *folders]
    search_path.check(folders, [name, *(f"{group}/{value}" for group, value in choices)])
    primary = next((p for folder in folders if (p := folder / f"{name}.yaml").is_file()), name)
    first, *_OtherFolders.folders = folders
    _offer(search_path.groups(folders))
    GlobalHydra.instance().clear()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Hydra's advice on how to write a defaults list
            initialize_config_dir(version_base="1.3", config_dir=str(first), job_name="mlpkit")
            yield name, [f'{group}="{value}"' for group, value in choices]
    except RecursionError:
        raise ConfigError(
            f"{search_path.shown(primary)}: defaults lists of its files name each other in a circle; break it"
        ) from None
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{search_path.shown(primary)}: {_reason(error)}; `mlpkit list` shows what there is"
        ) from None
    finally:
        GlobalHydra.instance().clear()


def _offer(groups: Groups) -> None:
    """Let Hydra find the choices that have no file, as if each had one that says its name."""
    store = ConfigStore.instance()
    for group, choices in groups.items():
        store.repo.pop(group, None)
        for name, path in choices.items():
            if path is None:
                store.store(name, {"name": name}, group)


def _reason(error: BaseException) -> str:
    """Return what is wrong: Hydra's messages go on with advice about Hydra."""
    first, second, *_ = [*(line.strip() for line in str(error).splitlines() if line.strip()), "", ""]
    if not first:
        return _reason(error.__cause__) if error.__cause__ else type(error).__name__
    return f"{first} {second}" if first.endswith(":") else first.rstrip(".")
