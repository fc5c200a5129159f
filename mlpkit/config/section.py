"""What all sections share: the rules of the models, and the kinds of numbers."""

from typing import Annotated, Any

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


# With min_length pydantic would refuse names that are not UTF-8, which Python writes with surrogates.
PathText = Annotated[str, AfterValidator(_is_named), Field(json_schema_extra={"minLength": 1})]


def absolute(path: str) -> str:
    """Return a path that means the same in any working directory."""
    return str(expand(path).absolute())


AbsolutePath = Annotated[PathText, AfterValidator(absolute)]

LARGEST = 3.4028234e38  # of float32


class Section(BaseModel):
    """Common rules: frozen, no unknown keys, no silent conversion, no infinity or NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _fits(cls, value: Any) -> Any:
        """Refuse a number that float32 cannot hold."""
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and abs(number) > LARGEST:
                raise PydanticCustomError("too_large", "beyond float32")
        return value


def require_below(low: float, high: float) -> None:
    """Refuse a range that is empty."""
    if low >= high:
        raise rule_error(f"low={low} must be below high={high}")


def rule_error(message: str) -> PydanticCustomError:
    """Return the error for a rule that concerns several keys of one section."""
    return PydanticCustomError("rule", "{message}", {"message": message})
