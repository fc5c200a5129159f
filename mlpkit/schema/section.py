"""What all sections share: the rules of the models, and the kinds of numbers."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

Fraction = Annotated[float, Field(ge=0, lt=1)]
Factor = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Width = Annotated[int, Field(ge=1, le=65_536)]

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
