"""Durations, points in time and quantities as the API writes them, and as numbers in Python.

A duration in a manifest is always a string with units: a bare number would leave open whether it counts seconds or
milliseconds. In Python both types are floats in seconds, so that plans compute with them; they are rounded to the
millisecond at once, so that what is read back from the API server equals what was written.
"""

from __future__ import annotations

import functools
import math
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

DURATION_PATTERN = "^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?([0-9]{1,6}ms)?$"
DURATION_LENGTH = 30
_DURATION = re.compile(
    r"(?:(?P<h>[0-9]{1,6})h)?(?:(?P<m>[0-9]{1,6})m)?(?:(?P<s>[0-9]{1,6})s)?(?:(?P<ms>[0-9]{1,6})ms)?"
)
_UNIT_MS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}

QUANTITY_PATTERN = "^[0-9]{1,12}([.][0-9]{1,6})?(Ki|Mi|Gi|Ti|k|M|G|T)?$"
_FACTORS = {
    **{suffix: 1000.0**power for power, suffix in enumerate(("n", "u", "m", "", *"kMGTPE"), start=-3)},
    **{f"{suffix}i": 1024.0**power for power, suffix in enumerate("KMGTPE", start=1)},
}


class Duration(float):
    """Seconds, from strings such as `10m`, `1h30m`, `500ms`. `Duration(600)` equals `Duration.parse("10m")`."""

    __slots__ = ()

    def __new__(cls, seconds: float) -> Self:
        """Round to the millisecond."""
        return super().__new__(cls, round(seconds, 3))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the manifest's form.

        Raises:
            ValueError: not hours, minutes, seconds and milliseconds in this order, each a whole number of at most six
                digits.
        """
        match = _DURATION.fullmatch(text) if isinstance(text, str) and text else None
        if match is None:
            raise ValueError("not a duration; write whole numbers with units, largest first: 90s, 10m, 1h30m or 500ms")
        return cls(sum(int(number) * _UNIT_MS[unit] for unit, number in match.groupdict(default="0").items()) / 1000)

    def __str__(self) -> str:
        """The manifest's form, largest units first."""
        rest = round(self * 1000)
        parts = []
        for unit, size in _UNIT_MS.items():
            number, rest = divmod(rest, size)
            if number:
                parts.append(f"{number}{unit}")
        return "".join(parts) or "0s"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Strings and Durations are accepted; numbers are not."""
        return _scalar(cls, cls.parse)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A string with a pattern."""
        return {"type": "string", "pattern": DURATION_PATTERN, "minLength": 2, "maxLength": DURATION_LENGTH}


class Timestamp(float):
    """Seconds since the epoch, from and to RFC 3339 in UTC."""

    __slots__ = ()

    def __new__(cls, seconds: float) -> Self:
        """Round to the millisecond."""
        return super().__new__(cls, round(seconds, 3))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read RFC 3339 with a zone.

        Raises:
            ValueError: another form, or no zone.
        """
        try:
            when = datetime.fromisoformat(text)
        except (TypeError, ValueError):
            when = None
        if when is None or when.tzinfo is None:
            raise ValueError("not a point in time; write RFC 3339, for instance 2026-01-31T12:00:00Z")
        return cls(when.timestamp())

    def __str__(self) -> str:
        """RFC 3339, UTC; milliseconds only where there are any."""
        whole, thousandths = divmod(round(self * 1000), 1000)
        text = _second(whole)
        return f"{text}.{thousandths:03d}Z" if thousandths else f"{text}Z"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Strings and Timestamps are accepted; numbers are not."""
        return _scalar(cls, cls.parse)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A date-time."""
        return {"type": "string", "format": "date-time"}


@functools.lru_cache(maxsize=4096)
def _second(whole: int) -> str:
    """A second of UTC as RFC 3339 without its zone; what many workers say at once are few seconds."""
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _scalar(cls: type[Duration] | type[Timestamp], parse: Any) -> CoreSchema:
    def read(value: Any) -> Any:
        return value if isinstance(value, cls) else parse(value)

    return core_schema.no_info_plain_validator_function(
        read,
        serialization=core_schema.plain_serializer_function_ser_schema(str, return_schema=core_schema.str_schema()),
    )


def at_least(least: str) -> Any:
    """Annotation of a Duration field: the shortest that is allowed, in the manifest's form."""
    bound = Duration.parse(least)
    message = f"too short; write {least} or more"

    def check(value: Duration) -> Duration:
        if value < bound:
            raise ValueError(message)
        return value

    rule: JsonSchemaValue = {"rule": f"duration(self) >= duration('{least}')", "message": message}
    return (AfterValidator(check), Field(json_schema_extra={"x-kubernetes-validations": [rule]}))


def quantity_bytes(text: str) -> float:
    """Bytes of a memory quantity such as `8Gi`, `500M` or `1e9`, as Kubernetes reads it.

    Raises:
        ValueError: another form.
    """
    match = re.fullmatch(r"([+-]?(?:[0-9]+[.]?[0-9]*|[.][0-9]+)(?:[eE][+-]?[0-9]+)?)([A-Za-z]*)", text)
    if match is None or match[2] not in _FACTORS:
        raise ValueError(f"{text!r} is not a memory quantity; write for instance 8Gi or 500Mi")
    return float(match[1]) * _FACTORS[match[2]]


def finite(value: Any) -> Any:
    """A measured number at six significant digits, as people read it; None for NaN and infinities (JSON has none)."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None


Measure = Annotated[float | None, BeforeValidator(finite)]
"""A measured number, rounded; absent where nothing, or no finite number, was reported."""
Quantity = Annotated[str, Field(pattern=QUANTITY_PATTERN, min_length=1, max_length=24)]
"""A memory quantity, kept as it was written; `quantity_bytes` gives its size."""
