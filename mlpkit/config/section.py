"""The base class of all config sections, and types for their fields."""

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from mlpkit.system.paths import expand

Fraction = Annotated[float, Field(ge=0, lt=1)]
Factor = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Width = Annotated[int, Field(ge=1, le=65_536)]


def _is_named(path: str) -> str:
    if not path:
        raise PydanticCustomError("string_too_short", "empty")
    return path


# Not min_length: with it pydantic refuses names that are not UTF-8, which Python holds with surrogates.
PathText = Annotated[str, AfterValidator(_is_named), Field(json_schema_extra={"minLength": 1})]


def absolute(path: str) -> str:
    """Return a path that means the same in any working directory."""
    return str(expand(path).absolute())


AbsolutePath = Annotated[PathText, AfterValidator(absolute)]

FLOAT32_MAX = 3.4028234e38
FLOAT32_TINY = 1.1754944e-38  # the smallest normal number; a device may take smaller ones for 0


class Section(BaseModel):
    """A config section: frozen, no unknown keys, no type conversion, no infinity or NaN.

    Attributes:
        to_define: methods and attributes that a choice must define, as in "update or fused".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    to_define: ClassVar[tuple[str, ...]] = ()

    def __hash__(self) -> int:
        """Hash all values but dicts, which cannot be hashed."""
        return hash(tuple(value for value in self.__dict__.values() if not isinstance(value, dict)))

    @field_validator("*")
    @classmethod
    def _fits(cls, value: Any) -> Any:
        """Refuse a number that float32 cannot hold."""
        values = value.values() if isinstance(value, dict) else value
        for number in values if isinstance(value, dict | tuple) else (value,):
            if isinstance(number, float) and number and not FLOAT32_TINY <= abs(number) <= FLOAT32_MAX:
                raise PydanticCustomError("not_float32", "beyond float32")
        return value


def require_below(low: float, high: float) -> None:
    """Raise an error unless low < high."""
    if low >= high:
        raise rule_error(f"low={low} must be below high={high}")


def rule_error(message: str) -> PydanticCustomError:
    """Return a validation error with this message; for rules that concern several keys of a section."""
    return PydanticCustomError("rule", "{message}", {"message": message})
