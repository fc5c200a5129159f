"""From a request to a config: overrides and YAML files become a plain dict, which the schema validates.

Hydra parses the overrides and merges the files of the chosen groups (`mlpkit.cli.hydra_edge`). Single
values are set in the merged dict here, without Hydra's type checks: then the schema reports an unknown key or
a list in place of a number, with its rule, together with all other problems.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlpkit.cli.hydra_edge import PRIMARY, find_sources, interpolate, merge, parse_override, parse_value
from mlpkit.cli.overrides import Groups, Override, check_once, check_single, split_choices
from mlpkit.cli.variables import fill_all
from mlpkit.config import nested, search_path
from mlpkit.config.auto_lr import find_auto_lr
from mlpkit.config.config import Config, parse
from mlpkit.config.problems import show
from mlpkit.errors import ConfigError
from mlpkit.folders.run_record import read_plain_config
from mlpkit.folders.trust import Trust
from mlpkit.system.tensor_file import SUFFIX

_OTHER_KEY = re.compile(r"\$\{[\w.\[\]]+\}", re.ASCII)  # ${other.key}, the only interpolation allowed


@dataclass(frozen=True)
class Request:
    """The config that is asked for.

    Attributes:
        overrides: as typed.
        folders: config folders to search first (--config-dir).
        file: a whole config to start from (--config).
        trust: whether the user typed all this, or a foreign file holds it.
        replaceable: groups of which another choice may take the place of the file's section.
    """

    overrides: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    file: Path | None = None
    trust: Trust = Trust.OWN
    replaceable: tuple[str, ...] = ()

    def sets(self, key: str) -> bool:
        """Whether an override sets the key."""
        return any(line.lstrip("+").startswith(f"{key}=") for line in self.overrides)

    def with_defaults(self, *lines: str) -> "Request":
        """Return the request with overrides added for keys that it does not set itself."""
        added = (line for line in lines if not self.sets(line.partition("=")[0]))
        return replace(self, overrides=(*self.overrides, *added))

    @property
    def files_are_own(self) -> bool:
        """Whether the config files are the user's own; a --config file may come from a foreign run."""
        return self.file is None and (self.trust.may_read_environment or not self.folders)


class Composer:
    """Composes one request many times, each time with other overrides added.

    Hydra's merge of the chosen files takes longer than all the rest, so it is cached for each set of choices.
    """

    def __init__(self, request: Request) -> None:
        """Parse the request's overrides.

        Raises:
            ConfigError: an override cannot be parsed, names a choice that does not exist, or sweeps.
        """
        self._request = request
        self._folders = search_path.search_path(request.folders)
        self._groups = search_path.groups(self._folders)
        self._overrides = self.read(request.overrides)
        self._merged: dict[tuple[tuple[str, str], ...], dict[str, Any] | ConfigError] = {}
        self._sources: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
        check_single(self._overrides)

    def read(self, lines: Sequence[str]) -> list[Override]:
        """Parse further overrides.

        Raises:
            ConfigError: one cannot be parsed, or names a choice that does not exist.
        """
        return _read(lines, self._groups, self._folders, self._request)

    def config(self, more: Sequence[Override] = ()) -> Config:
        """Return the validated config of the request, with these overrides applied last.

        Raises:
            ConfigError: `compose` fails, or the config is invalid: with every problem, and a line for each
                file with a problem that is read instead of mlpkit's own.
        """
        try:
            return parse(self.compose(more), _typed_values([*self._overrides, *more]))
        except ConfigError as error:
            named = self._with_files(error.args, more)
            raise ConfigError(*named, *self._shadowing_files(error.args, more)) from None

    def _with_files(self, problems: Sequence[str], more: Sequence[Override]) -> list[str]:
        """Return the problems, each with the user's file that set its key, unless key or file was typed."""
        choices, settings = split_choices([*self._overrides, *more], self._groups)
        typed = {setting.key for setting in settings}
        sources = self._find_sources(tuple((choice.key, str(choice.value)) for choice in choices))
        named = []
        for line in problems:
            key = re.split("[:=]", line, maxsplit=1)[0]
            file = "" if key in typed else sources.get(key, "")
            is_own = file.startswith("configs/") or file.endswith(".py")  # mlpkit's, or a plug-in's defaults
            named.append(line if is_own or not file else f"{line} (in {file})")
        return named

    def _find_sources(self, chosen: tuple[tuple[str, str], ...]) -> dict[str, str]:
        """Return the file that sets each key, if the user has files of their own that can be read."""
        if chosen not in self._sources:
            self._sources[chosen] = {}
            if self._request.file is None and self._folders != [search_path.packaged()]:
                with suppress(ConfigError):  # a file cannot be read: that is the problem already
                    self._sources[chosen] = find_sources(self._folders, None, chosen)
        return self._sources[chosen]

    def _shadowing_files(self, problems: Sequence[str], more: Sequence[Override]) -> Iterator[str]:
        """Yield a line for each file with a problem that is read instead of mlpkit's own."""
        choices, settings = split_choices([*self._overrides, *more], self._groups)
        typed = tuple(f"{setting.key}{sign}" for setting in settings for sign in "=:")
        not_typed = [line for line in problems if not line.startswith(typed)]
        chosen = {choice.key: str(choice.value) for choice in choices}
        names = [] if self._request.file else [PRIMARY]
        names += [f"{group}/{name}" for group, name in chosen.items()]
        for name, path in search_path.shadowing_files(self._folders, names).items():
            group, _, choice = name.rpartition("/")
            # The primary config and experiments set keys of every section.
            begins = "" if group in ("", "experiment") else (f"{group}.", f"{group}:", f"{group}=", str(path))
            if chosen.get(group, choice) == choice and any(line.startswith(begins) for line in not_typed):
                yield (
                    f"{path}: is read instead of mlpkit's own configs/{name}.yaml; "
                    "if it is another program's, rename it or work in another folder"
                )

    def compose(self, more: Sequence[Override] = ()) -> dict[str, Any]:
        """Return the request's config as a plain dict, with these overrides applied last, not validated.

        Raises:
            ConfigError: a key is given twice, or a file cannot be read.
        """
        overrides = [*self._overrides, *more]
        check_once(overrides)
        choices, settings = split_choices(overrides, self._groups)
        config = self._merge(tuple((choice.key, str(choice.value)) for choice in choices))
        for setting in settings:
            config = setting.apply(config)
        return _resolve(config)

    def _merge(self, choices: tuple[tuple[str, str], ...]) -> dict[str, Any]:
        """Return the merged files of the (group, name) choices. The dict is cached: do not change it."""
        if choices not in self._merged:
            try:
                merged = self._merge_files(choices)
                filled = fill_all(merged, parse_value) if self._request.files_are_own else merged
                self._merged[choices] = {str(key): value for key, value in filled.items()}
            except ConfigError as error:
                self._merged[choices] = error
        found = self._merged[choices]
        if isinstance(found, ConfigError):
            raise found
        return found

    def _merge_files(self, choices: Sequence[tuple[str, str]]) -> dict[Any, Any]:
        """Return the merged files; a choice takes the place of the section of a --config file."""
        if self._request.file is None:
            return merge(self._folders, None, choices)
        lines = [(group, f"{group}={name}") for group, name in choices]
        sections = {group: compose(Request((line,), self._request.folders))[group] for group, line in lines}
        file = self._request.file
        of_run = file.suffix == SUFFIX  # a checkpoint, which holds a whole config
        return {**(read_plain_config(file) if of_run else merge(self._folders, file, ())), **sections}


def compose(request: Request) -> dict[str, Any]:
    """Return the composed config as a plain dict, not validated.

    Raises:
        ConfigError: an override or a file cannot be read, or names a choice that does not exist.
    """
    return Composer(request).compose()


def read_config(request: Request) -> Config:
    """Return the composed and validated config.

    Raises:
        ConfigError: see `Composer.config`.
    """
    return Composer(request).config()


def sweeps(request: Request) -> tuple[Request, list[Override]]:
    """Split a request: return it without the overrides that sweep, and those overrides.

    Raises:
        ConfigError: an override cannot be parsed, or names a choice that does not exist.
    """
    folders = search_path.search_path(request.folders)
    overrides = _read(request.overrides, search_path.groups(folders), folders, request)
    lines = tuple(override.line for override in overrides if not override.sweeps)
    return replace(request, overrides=lines), [override for override in overrides if override.sweeps]


def explain(request: Request, config: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    """Return (key, value, source) for each value of a validated config.

    The source is the override or the file that set the key last, or `default of mlpkit`.
    """
    folders = search_path.search_path(request.folders)
    groups = search_path.groups(folders)
    overrides = _read(request.overrides, groups, folders, request)
    check_single(overrides)
    choices, settings = split_choices(overrides, groups)
    if request.file is not None and request.file.suffix == SUFFIX:
        keys = dict(nested.items(read_plain_config(request.file)))
        sources = dict.fromkeys(keys, search_path.display_path(request.file))
    else:
        sources = find_sources(folders, request.file, [(choice.key, str(choice.value)) for choice in choices])
    for setting in settings:
        inside = [key for key in sources if key.startswith(f"{setting.key}.")] if setting.deletes else []
        for key in [*dict(nested.items(setting.value, setting.key)), *inside]:
            sources[key] = f"command line: {setting.line}"
    if auto := find_auto_lr(compose(request)):
        source = sources.get("optimizer.lr", "default of mlpkit")
        sources["optimizer.lr"] = f"{source} (auto: {auto.reason})"
    return [(key, value, sources.get(key, "default of mlpkit")) for key, value in nested.items(config)]


def override(
    config: Mapping[str, Any], request: Request, allowed: Callable[[str], bool], rule: str
) -> Config:
    """Return a stored config with overrides applied, validated.

    Args:
        config: a plain dict.
        request: the overrides.
        allowed: takes a key or group; whether it may be overridden.
        rule: the error's words for what may be overridden.

    Raises:
        ConfigError: an override cannot be parsed or is not allowed, or the config is invalid.
    """
    changed = dict(config)
    folders = search_path.search_path(request.folders)
    groups = search_path.groups(folders)
    overrides = _read(request.overrides, groups, folders, request)
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


def _read(lines: Sequence[str], groups: Groups, folders: Sequence[Path], request: Request) -> list[Override]:
    """Parse and check overrides.

    Raises:
        ConfigError: one cannot be parsed, names a choice that does not exist, or repeats a key.
    """
    overrides = [parse_override(line, groups) for line in lines]
    for override in overrides:
        override.check(groups, folders, None if override.key in request.replaceable else request.file)
    check_once(overrides)
    return overrides


def _typed_values(overrides: Iterable[Override]) -> dict[str, str]:
    return {override.key: override.typed for override in overrides if not override.sweeps}


def _resolve(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config with each ${other.key} replaced by the value of that key.

    Raises:
        ConfigError: a value holds another interpolation or ???, or names a key that does not exist.
    """
    texts = list(nested.texts(config))
    for key, text in texts:
        if "${" in _OTHER_KEY.sub("", text):
            raise ConfigError(f"{key}={show(text)}: only ${{other.key}} can be filled in; write the value")
        if text == "???":
            raise ConfigError(f"{key}=???: no value; write {key}=VALUE")
    if not any("${" in text for _, text in texts):
        return config
    filled = nested.fill(config)  # enough for plain references, and faster than OmegaConf
    return interpolate(config) if any("${" in text for _, text in nested.texts(filled)) else dict(filled)
