"""A number of bytes in a config: a whole number, or text such as 4GB."""

from typing import Annotated

from pydantic import Field

SMALLEST = 10**6

_UNITS = {"M": 10**6, "G": 10**9, "T": 10**12, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}

ByteSize = (
    Annotated[int, Field(ge=SMALLEST, le=1 << 50)]
    | Annotated[
        str,
        Field(
            pattern=r"^([1-9][0-9]{0,5}|[1-9][0-9]{0,3}\.[0-9]{1,3})([MGT]i?B)$",
            json_schema_extra={"rule": "text such as 500MB, 4GB or 4GiB"},
        ),
    ]
)


def in_bytes(size: int | str) -> int:
    """Return a valid size as a number of bytes."""
    if isinstance(size, int):
        return size
    number = size.rstrip("BiMGT")
    return int(float(number) * _UNITS[size[len(number) :].removesuffix("B")])
