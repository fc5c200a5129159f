"""The choices of each group, by name.

A choice is one file with the schema of its options and what it computes. A decorator registers the schema:

    @choice("optimizer")
    class Lion(OptimizerConfig):
        name: Literal["lion"]
        ...

mlpkit's own choices are the files of the group's package. Plug-ins register others before a config is read.
A choice's file must not import torch at its top, since configs are read without it.
"""

import inspect
import pkgutil
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Annotated, Any, TypeVar, Union, get_args

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from mlpkit.config.section import Section
from mlpkit.errors import ConfigError

TASKS = ("regression", "binary", "multiclass", "multilabel")
SECTIONS = {  # groups that are sections of a config, and their packages
    "dataset": "mlpkit.datasets",
    "model": "mlpkit.models",
    "loss": "mlpkit.losses",
    "optimizer": "mlpkit.optimizers",
    "scheduler": "mlpkit.optimizers",
    "init": "mlpkit.models",
}
PACKAGES = {  # all groups
    **SECTIONS,
    "activation": "mlpkit.models",
    "logger": "mlpkit.loggers",
    "launcher": "mlpkit.sweeps",
    "metric": "mlpkit.losses",
}
PREFIXES = {"launcher": "launcher_"}  # of a group's files, where the package holds other files too

Schema = TypeVar("Schema", bound=Section)

_registered: dict[str, dict[str, type[Section]]] = {group: {} for group in PACKAGES}


def choice(group: str) -> Callable[[type[Schema]], type[Schema]]:
    """Return a class decorator that registers a schema under each name in the Literal of its field `name`.

    Raises:
        ConfigError: there is no such group, the schema has no name, or the name is taken.
    """
    if isinstance(group, type):  # the decorator without its argument
        raise ConfigError(f'{group.__module__}.{group.__name__}: write @choice("optimizer"), with its group')
    if group not in PACKAGES:
        raise ConfigError(f'choice("{group}"): no such group; choose one of {", ".join(PACKAGES)}')

    def register(schema: type[Schema]) -> type[Schema]:
        where = f"{schema.__module__}.{schema.__qualname__}"
        if not schema.__module__.startswith(f"{PACKAGES[group]}."):
            _import_builtin(group)  # first, so that a plug-in with a built-in name is the one refused
        field = schema.model_fields.get("name")
        names = get_args(field.annotation) if field else ()
        if not names or not all(isinstance(name, str) and name.isidentifier() for name in names):
            raise ConfigError(f'{where}: a choice needs a field such as name: Literal["my_{group}"]')
        if problem := _problem_with(schema, group):
            raise ConfigError(f"{where}: {problem}")
        for name in names:
            other = _registered[group].get(name)
            if other and (other.__module__, other.__qualname__) != (schema.__module__, schema.__qualname__):
                taken = f"{group}={name} is taken by {other.__module__}"
                raise ConfigError(f"{where}: {taken}; choose another name")
            _registered[group][name] = schema
        return schema

    return register


def _problem_with(schema: type[Section], group: str) -> str | None:
    """Return what a choice's class lacks, or None; see `Section.to_define`."""
    home = f"mlpkit.config.{group}"  # the module of the group's base classes
    if not any(base.__module__ == home for base in schema.__mro__):
        return f'choice("{group}") is for subclasses of those in {home}; write the group of its base class'
    for index, base in enumerate(schema.__mro__):
        own = {name for derived in schema.__mro__[:index] for name in vars(derived)}
        for either in vars(base).get("to_define", ()):
            if not own & set(either.split(" or ")):
                return f"define {either}; see {base.__name__}"
    tasks = getattr(schema, "tasks", TASKS)
    if not isinstance(tasks, tuple) or not set(tasks) <= set(TASKS):
        return f'tasks={tasks!r}: must be a tuple of {", ".join(TASKS)}, such as ("binary",)'
    return None


def choices(group: str) -> dict[str, type[Section]]:
    """Return the schemas of a group by name."""
    _import_builtin(group)
    return dict(sorted(_registered[group].items()))


def first_doc_line(schema: type[Section]) -> str:
    """Return the first line of a schema's own docstring; empty if it has none."""
    return inspect.cleandoc(schema.__doc__ or "").split("\n", 1)[0].rstrip(".")


def source_file(schema: type[Section]) -> str:
    """Return the file that defines a schema, or its module's name if there is no file."""
    return getattr(sys.modules.get(schema.__module__), "__file__", None) or schema.__module__


def registered() -> tuple[type[Section], ...]:
    """Return the schemas of all groups; the tuple is a cache key for what depends on them."""
    return tuple(schema for group in PACKAGES for schema in choices(group).values())


@cache
def _import_builtin(group: str) -> None:
    """Import mlpkit's own choices, which register themselves; files named torch_… define no choice."""
    package, prefix = import_module(PACKAGES[group]), PREFIXES.get(group, "")
    for module in pkgutil.iter_modules(package.__path__):
        if module.name.startswith(prefix) and not module.name.startswith("torch_"):
            import_module(f"{package.__name__}.{module.name}")


class OneOf:
    """Annotation of a config section: one of the group's choices, discriminated by `name`.

    Pydantic calls this when it builds the config's validator. After a later registration the validator must
    be rebuilt; see `mlpkit.config.config.parse`.
    """

    def __init__(self, group: str) -> None:
        """Take the group."""
        self.group = group

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of the union of all choices."""
        union: Any = Union[tuple(dict.fromkeys(choices(self.group).values()))]  # noqa: UP007  # dynamic
        return handler.generate_schema(Annotated[union, Field(discriminator="name")])


class NameOf:
    """Annotation of a config key whose value is the name of one of the group's choices."""

    def __init__(self, group: str) -> None:
        """Take the group."""
        self.group = group

    def names(self) -> list[str]:
        """Return all names; mlpkit's own are in the order of their file."""
        _import_builtin(self.group)
        return list(_registered[self.group])

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of a name."""
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Return the JSON Schema, from which error messages list the names."""
        return {"type": "string", "enum": self.names(), "group": self.group}

    def _check(self, value: Any) -> Any:
        if value not in self.names():
            raise PydanticCustomError("literal_error", "no such name")
        return value
