"""Plug-ins: the user's own Python files and modules, which register choices when they are imported.

They are named on the command line (`--plugin`), or by an installed package (the entry-point group
`mlpkit.plugins`). A config or a checkpoint never imports anything.
"""

import hashlib
import importlib.util
import pickle
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from mlpkit.config.registry import registered, source_file
from mlpkit.config.section import Section
from mlpkit.errors import ConfigError, MlpkitError
from mlpkit.system.paths import expand

GROUP = "mlpkit.plugins"  # the entry-point group

_NO_MODULE = "no such module; a file is named by its path, such as my_plugin.py"
_PREFIX = "mlpkit_plugin_"  # of the module name of a plug-in file


@dataclass(frozen=True)
class Plugin:
    """An imported plug-in.

    Attributes:
        name: absolute path of a file, or name of a module; `load` imports it again.
        path: its file (of a package, __init__.py); None for a module without a file.
        sha256: hash of that file.
        is_typed: whether it was named by --plugin.
    """

    name: str
    path: str | None
    sha256: str | None
    is_typed: bool


_loaded: dict[str, Plugin] = {}  # by module name


def loaded() -> tuple[Plugin, ...]:
    """Return the plug-ins imported by this process."""
    return tuple(_loaded.values())


def is_own(schema: type[Section]) -> bool:
    """Whether a choice is a plug-in's, not one of mlpkit's."""
    return not schema.__module__.startswith("mlpkit.")


def described(key: str, choice: Any) -> str:
    """Return a choice and its file, such as optimizer=lion (lion.py), for an error message."""
    return f"{key}={choice.name} ({Path(source_file(type(choice))).name})"


@contextmanager
def calling(what: str, choice: Section) -> Iterator[None]:
    """Turn any error of a plug-in's methods into one line, which `what` begins; those of mlpkit's own pass.

    Raises:
        ConfigError: there was one.
    """
    try:
        yield
    except MlpkitError:
        raise
    except Exception as error:
        if not is_own(type(choice)):
            raise
        file = source_file(type(choice))
        raise ConfigError(f"{what}: {_reason(error, file, Path(file))}") from error


def load(given: Iterable[str]) -> None:
    """Import the plug-ins of --plugin.

    Args:
        given: paths of files (ending in .py, or containing a slash) or names of modules. Modules are never
            imported from the working directory.

    Raises:
        ConfigError: a plug-in is missing, cannot be imported, registers nothing or uses a taken name.
    """
    for name in given:
        _load(name, f"--plugin={name}", is_typed=True)


def load_installed() -> None:
    """Import the plug-ins of installed packages.

    Raises:
        ConfigError: see `load`.
    """
    for distribution in distributions():
        # Most packages have no plug-in: searching the text takes half as long as parsing it.
        if f"[{GROUP}]" in (distribution.read_text("entry_points.txt") or ""):
            for point in distribution.entry_points.select(group=GROUP):
                _load(point.module, f"plug-in {point.name} of the package {distribution.name}")


class Parcel:
    """A pickled value for another process, which imports the plug-ins before it unpickles the value."""

    def __init__(self, value: Any) -> None:
        """Pickle the value."""
        self._plugins, self._content = loaded(), pickle.dumps(value)

    def open(self) -> Any:
        """Import the plug-ins and return the value.

        Raises:
            ConfigError: a plug-in cannot be imported, or its file has changed since.
        """
        for plugin in self._plugins:
            if _load(plugin.name, f"--plugin={plugin.name}", plugin.is_typed) != plugin:
                raise ConfigError(f"--plugin={plugin.name}: the file has changed since the sweep was started")
        return pickle.loads(self._content)


def _load(name: str, what: str, is_typed: bool = False) -> Plugin:
    """Import a plug-in unless it is imported already; `what` names it in errors."""
    is_file = name.endswith(".py") or "/" in name or "\\" in name
    path = expand(name).absolute() if is_file else None
    module = _PREFIX + re.sub(r"\W", "_", path.stem) if path else name
    source = _read(path, what) if path else b""
    known = _loaded.get(module)
    if known and path and known.path != str(path):
        raise ConfigError(f"{what}: {known.path} has the same name; rename one of them")
    if known and (path is None or known.sha256 == hashlib.sha256(source).hexdigest()):
        return known
    if not path and not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(f"{what}: {_NO_MODULE}")
    before = registered()
    try:
        made = _run(module, path, source) if path else importlib.import_module(name)
    except ConfigError as error:  # raised by the registry
        raise ConfigError(f"{what}: {str(error).removeprefix(f'{module}.')}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # any error of the plug-in, also SystemExit
        raise ConfigError(f"{what}: {_reason(error, name, path)}") from error
    modules = (schema.__module__ for schema in registered())
    if registered() == before and not any(f"{each}.".startswith(f"{module}.") for each in modules):
        raise ConfigError(f'{what}: registers nothing; put @choice("optimizer") or the like above a class')
    if not path and made.__file__:
        path = Path(made.__file__)
        source = _read(path, what)
    sha256 = hashlib.sha256(source).hexdigest() if path else None
    _loaded[module] = Plugin(str(path) if is_file else name, str(path) if path else None, sha256, is_typed)
    return _loaded[module]


def _read(path: Path, what: str) -> bytes:
    if not path.is_file():
        raise ConfigError(f"{what}: {'not a regular file' if path.exists() else 'no such file'}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{what}: cannot be read ({error.strerror})") from None


def _run(module: str, path: Path, source: bytes) -> ModuleType:
    """Import a file as a module in sys.modules, where pickle and pydantic find it.

    This runs exactly the bytes that were hashed, and writes no __pycache__ beside the file.
    """
    spec = importlib.util.spec_from_file_location(module, path)
    assert spec is not None
    made = importlib.util.module_from_spec(spec)
    code = compile(source, path, "exec", dont_inherit=True)
    sys.modules[module] = made
    try:
        exec(code, made.__dict__)
    except BaseException:
        del sys.modules[module]
        raise
    return made


def _reason(error: BaseException, name: str, path: Path | None) -> str:
    """Return why a plug-in could not be imported, as one line."""
    if isinstance(error, ModuleNotFoundError) and path is None and f"{name}.".startswith(f"{error.name}."):
        return _NO_MODULE
    said = " ".join(str(error).split("\n", 1)[0].split())
    if isinstance(error, ValidationError):  # whose message has a line for each problem
        problems = (f"{'.'.join(map(str, at['loc']))}: {at['msg']}" for at in error.errors())
        said = f"{error.title}: {'; '.join(problems)}"
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {error.msg}" if error.lineno else said
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if path and f.filename == str(path)]
    where = f"line {lines[-1]}: " if lines else ""
    return f"{where}{type(error).__name__}{f': {said}' if said else ''}"
