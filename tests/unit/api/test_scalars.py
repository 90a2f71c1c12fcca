"""Durations, points in time and memory sizes: there and back, and what is refused."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from dtj_api.scalars import (
    DURATION_LENGTH,
    DURATION_PATTERN,
    QUANTITY_PATTERN,
    Duration,
    Measure,
    Timestamp,
    quantity_bytes,
)

DURATIONS = {
    "10m": 600,
    "1h30m": 5400,
    "500ms": 0.5,
    "1m500ms": 60.5,
    "90s": 90,
    "0s": 0,
    "999999h999999m999999s999999ms": 999999 * 3661 + 999.999,
}
NOT_DURATIONS = ["", "10", "10 m", "m", "1.5h", "-1s", "1s1m", "1h1h", "10M", "1d", "1000000s", "10m\n", " 10m"]


@pytest.mark.parametrize(("text", "seconds"), DURATIONS.items())
def test_duration_is_read(text: str, seconds: float) -> None:
    assert Duration.parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", NOT_DURATIONS)
def test_what_is_no_duration_is_refused_by_type_and_schema(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration; write whole numbers with units"):
        Duration.parse(text)
    assert not (re.search(DURATION_PATTERN.replace("$", r"\Z"), text) and len(text) >= 2)


@pytest.mark.parametrize("value", [10, 1.5, True, None, ["10m"]])
def test_duration_without_a_unit_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        TypeAdapter(Duration).validate_python(value)


@given(st.integers(0, 999_999 * 1000))
def test_duration_goes_there_and_back(milliseconds: int) -> None:
    duration = Duration(milliseconds / 1000)
    text = str(duration)
    assert Duration.parse(text) == duration
    assert re.fullmatch(DURATION_PATTERN, text)
    assert 2 <= len(text) <= DURATION_LENGTH
    assert TypeAdapter(Duration).dump_python(duration, mode="json") == text


@given(st.from_regex(re.compile(DURATION_PATTERN.replace("$", r"\Z"), re.ASCII)).filter(lambda text: len(text) >= 2))
def test_what_the_schema_takes_the_type_reads(text: str) -> None:
    Duration.parse(text)


def test_duration_computes_as_seconds() -> None:
    assert Duration(600) + 1.5 == 601.5
    assert max(Duration(1), Duration(2)) == 2.0


@given(st.integers(0, 4_000_000_000_000))
def test_timestamp_goes_there_and_back(milliseconds: int) -> None:
    when = Timestamp(milliseconds / 1000)
    assert Timestamp.parse(str(when)) == when
    assert str(when).endswith("Z")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:05Z", 5.0),
        ("1970-01-01T01:00:05.250+01:00", 5.25),
        ("2026-01-31T12:00:00.123456789Z", 1_769_860_800.123),
    ],
)
def test_timestamp_is_read(text: str, seconds: float) -> None:
    assert Timestamp.parse(text) == seconds


@pytest.mark.parametrize("text", ["2026-01-31T12:00:00", "yesterday", ""])
def test_what_is_no_point_in_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a point in time"):
        Timestamp.parse(text)


def test_whole_seconds_are_written_without_a_fraction() -> None:
    assert str(Timestamp(5)) == "1970-01-01T00:00:05Z"
    assert str(Timestamp(5.25)) == "1970-01-01T00:00:05.250Z"


QUANTITIES = {
    "8Gi": 8 * 2**30,
    "500M": 500e6,
    "1.5Gi": 1.5 * 2**30,
    "1e9": 1e9,
    "1E": 1e18,
    "128974848": 128974848,
    "100m": 0.1,
    "2Ti": 2 * 2**40,
}


@pytest.mark.parametrize(("text", "size"), QUANTITIES.items())
def test_quantity_is_read(text: str, size: float) -> None:
    assert quantity_bytes(text) == pytest.approx(size)


@pytest.mark.parametrize("text", ["", "Gi", "8GB", "8 Gi", "8gi", "1.2.3", "eight"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a memory quantity"):
        quantity_bytes(text)


@given(st.from_regex(re.compile(QUANTITY_PATTERN.replace("$", r"\Z"), re.ASCII)))
def test_what_the_schema_takes_has_a_size(text: str) -> None:
    assert quantity_bytes(text) >= 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_a_measure_that_is_no_number_is_absent(value: float | None) -> None:
    assert TypeAdapter(Measure).validate_python(value) is None


@pytest.mark.parametrize(("value", "kept"), [(0.123456789, 0.123457), (31234.5678, 31234.6), (0.0, 0.0), (3, 3)])
def test_a_measure_is_kept_as_people_read_it(value: float, kept: float) -> None:
    assert TypeAdapter(Measure).validate_python(value) == kept
