"""What a launcher says comes from anybody: it is read within bounds, or refused with the field and the figure."""

from __future__ import annotations

import json
import math
import re
import sys
from dataclasses import MISSING, fields, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_values import edges_of, numbers_of

from dtj_api import bounds
from dtj_api.wire import (
    Clock,
    Failure,
    LostSaves,
    Meet,
    Pace,
    Progress,
    Report,
    Stop,
    VolumeTry,
    WireError,
    decode,
    encode,
)

FAILURE = Failure(1, 1, 0, 0, 1_800_000_000.0, 1, "boom", "tail", user_error=True)
REPORT = Report(
    "uid",
    0,
    "training",
    1,
    1,
    2,
    0,
    failures=(FAILURE,),
    progress=Progress(step=1, total_steps=9, loss=0.5, updated_at=1_800_000_000.0),
    clock=Clock(formed_at=1_800_000_000.0),
    paces=(Pace(0, 0.1),),
    damaged=("step-1: torn",),
)
WHATEVER_THE_LOAD = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
MOST_CALLS = 20_000
"""Of Python functions, for one message: a bound on work that no load of the machine changes."""


def raw(**changes):
    return json.loads(encode(REPORT)) | changes


def body(**changes) -> bytes:
    return json.dumps(raw(**changes)).encode()


def of_size(size: int) -> bytes:
    empty = body(unheard_of="")
    return body(unheard_of="x" * (size - len(empty)))


def test_what_is_written_is_read():
    assert decode(Report, encode(REPORT)) == REPORT
    assert decode(Report, body(unheard_of=1)) == REPORT, "a neighbouring version's field"
    assert decode(
        Report, b'{"pod_uid":"u","index":0,"state":"s","incarnation":0,"round":0,"world_size":0,"group_rank":0}'
    )


LISTS = [
    ("failures", bounds.REPORT_FAILURES, raw()["failures"][0]),
    ("paces", bounds.REPORT_PACES, {"rank": 1, "seconds": 1}),
    ("damaged", bounds.REPORT_DAMAGED, "step-1"),
]


@pytest.mark.parametrize(("name", "most", "item"), LISTS)
def test_a_list_is_read_up_to_its_bound_and_refused_above(name, most, item):
    assert len(getattr(decode(Report, body(**{name: [item] * most})), name)) == most
    with pytest.raises(WireError, match=rf"Report.{name}: {most + 1} entries, more than {most}"):
        decode(Report, body(**{name: [item] * (most + 1)}))


def test_a_message_is_read_up_to_its_bound_and_refused_above():
    assert decode(Report, of_size(bounds.REPORT_BYTES)) == REPORT
    with pytest.raises(WireError, match="65537 bytes, more than 65536"):
        decode(Report, of_size(bounds.REPORT_BYTES + 1))


def nested(levels: int) -> bytes:
    return body(unheard_of="@").replace(b'"@"', b"[" * (levels - 1) + b"]" * (levels - 1))


def test_depth_is_read_up_to_its_bound_and_refused_above():
    assert decode(Report, nested(bounds.DEPTH)) == REPORT
    for levels in (bounds.DEPTH + 1, 30_000):
        with pytest.raises(WireError, match=f"{levels} levels within each other, more than 64"):
            decode(Report, nested(levels))


@pytest.mark.parametrize("number", [bounds.INT64, -bounds.INT64])
def test_a_whole_number_is_read_up_to_64_bits_and_refused_above(number):
    def stop(incarnation: int) -> bytes:
        return b'{"incarnation":%d,"save":true}' % incarnation

    assert decode(Stop, stop(number)).incarnation == number
    for beyond in (number * 2, number * 10**400):
        with pytest.raises(WireError, match=r"Stop\.incarnation: found a number beyond 64 bits"):
            decode(Stop, stop(beyond))


NUMBERS = numbers_of(Report)
MEASURED = {"epoch", "loss", "tokens", "samples", "tokens_per_second", "samples_per_second"}
"""Of `progress`: they are told as they are, and nothing is made of them."""
REQUIRED = {
    f"{where}{each.name}"
    for where, kind in (("", Report), ("failures.0.", Failure), ("paces.0.", Pace))
    for each in fields(kind)
    if each.default is MISSING and each.default_factory is MISSING
}
FULL = replace(
    REPORT,
    progress=Progress(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1),
    clock=Clock(*[1] * 8),
    volume=VolumeTry(1, 1, 1, "", 1),
    lost_saves=LostSaves(1, 1, 1, 1, ""),
    failures=(replace(FAILURE, step=1),),
)


def told(path: str, number: float) -> bytes:
    """A report in which this is told in one place."""
    whole = json.loads(encode(FULL))
    *parents, name = path.split(".")
    part = whole
    for each in parents:
        part = part[int(each) if each.isdigit() else each]
    assert name in part
    part[name] = number
    return json.dumps(whole).encode()


def found(report, path):
    for each in path.split("."):
        report = report[int(each)] if each.isdigit() else getattr(report, each)
    return report


@pytest.mark.parametrize("path", NUMBERS)
def test_each_number_is_read_at_its_bounds_and_not_beyond(path):
    least, *_, most = edges_of(NUMBERS[path])
    for number in (least, most):
        assert found(decode(Report, told(path, number)), path) == number
    if path.removeprefix("progress.") in MEASURED:
        return
    step = 1 if isinstance(most, int) else most / 1e6
    for number in (least - step, most + step, bounds.INT64 * 2, -(10**400)):
        if path in REQUIRED:
            with pytest.raises(WireError, match=f"{re.escape(path.replace('.0', '[0]'))}: not a number that can be"):
                decode(Report, told(path, number))
        else:
            assert not found(decode(Report, told(path, number)), path)


@pytest.mark.parametrize("what", ["NaN", "Infinity", "-Infinity", "1e999", str(10**400), "-" + str(10**400)])
def test_a_number_that_is_none_counts_as_not_told(what):
    def with_number(at: str, **where) -> bytes:
        return body(**where).replace(b'"@"', at.encode())

    said = decode(Report, with_number(what, progress={"step": 3, "loss": "@", "tokens": "@"}))
    assert (said.progress.step, said.progress.loss, said.progress.tokens) == (3, None, 0.0)
    with pytest.raises(WireError, match=r"Report.paces\[0\].seconds: not a number that can be told"):
        decode(Report, with_number(what, paces=[{"rank": 0, "seconds": "@"}]))


@pytest.mark.parametrize("moment", [-1.0, 1e15, bounds.LATEST + 1])
def test_a_moment_that_no_calendar_has_counts_as_not_told(moment):
    assert decode(Report, body(clock={"formed_at": bounds.LATEST})).clock.formed_at == bounds.LATEST
    assert decode(Report, body(clock={"formed_at": moment})).clock == Clock()
    with pytest.raises(WireError, match=r"failures\[0\]\.at"):
        decode(Report, body(failures=[raw()["failures"][0] | {"at": moment}]))


def test_a_text_is_read_up_to_its_bound_and_what_is_more_is_left_out():
    for length in (bounds.REPORT_TEXT, bounds.REPORT_TEXT + 1):
        assert decode(Report, body(error="é" * length)).error == "é" * bounds.REPORT_TEXT
    for length in (bounds.DAMAGED_TEXT, bounds.DAMAGED_TEXT + 1):
        assert decode(Report, body(damaged=["x" * length])).damaged == ("x" * bounds.DAMAGED_TEXT,)


def test_half_a_character_becomes_one_that_can_be_written():
    decode(Report, body(error="a\ud800b")).error.encode()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"round": 1.5}, "Report.round: found float, expected int"),
        ({"round": True}, "Report.round: found a boolean, expected int"),
        ({"round": None}, "Report.round: found NoneType, expected int"),
        ({"volume_shared": 1}, "Report.volume_shared: found int, expected bool or null"),
        ({"progress": []}, "Report.progress: found list, expected an object"),
        ({"paces": {}}, "Report.paces: found dict, expected a list"),
        ({"damaged": [1]}, r"Report.damaged\[0\]: found int, expected str"),
        ({"failures": [{}]}, r"Report.failures\[0\].incarnation: missing"),
    ],
)
def test_another_type_is_refused_by_the_name_of_its_field(changes, says):
    with pytest.raises(WireError, match=says):
        decode(Report, body(**changes))


def calls_of(kind, data: bytes) -> int:
    count = 0

    def note(frame, event, arg) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        decode(kind, data)
    except WireError:
        pass
    finally:
        sys.setprofile(before)
    return count


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)
FIELDS = tuple(raw())


@WHATEVER_THE_LOAD
@given(st.dictionaries(st.sampled_from(FIELDS), ODD))
def test_no_object_makes_it_raise_anything_but_its_own_error(changes):
    data = json.dumps(raw(**changes)).encode()
    try:
        report = decode(Report, data)
    except WireError:
        return
    assert math.isfinite(report.progress.tokens)
    encode(report).decode()


@WHATEVER_THE_LOAD
@given(st.binary(max_size=400) | st.text('[]{}",:0123456789eE+-.nulltruefalse\\', max_size=400).map(str.encode))
def test_no_bytes_make_it_raise_anything_but_its_own_error(data):
    for kind in (Report, Meet, Stop):
        assert calls_of(kind, data) < MOST_CALLS


HEAVY = {
    "paces": body(paces=[]).replace(
        b'"paces": []', b'"paces": [' + b",".join([b'{"rank":1,"seconds":1}'] * 2700) + b"]"
    ),
    "empty objects": b'{"failures":[' + b",".join([b"{}"] * 21_000) + b"]}",
    "digits": b'{"index":' + b"9" * 60_000 + b"}",
    "brackets": b"[" * 65_000,
    "objects": b'{"a":' * 13_000,
    "all lists full": body(
        failures=raw()["failures"] * bounds.REPORT_FAILURES,
        paces=[{"rank": 1, "seconds": 1}] * bounds.REPORT_PACES,
        damaged=["x"] * bounds.REPORT_DAMAGED,
    ),
}


@pytest.mark.parametrize("what", HEAVY)
def test_no_message_takes_much_work(what):
    assert calls_of(Report, HEAVY[what]) < MOST_CALLS


def test_how_a_class_is_read_is_worked_out_once(monkeypatch):
    decode(Report, encode(REPORT))
    monkeypatch.setattr("dtj_api.decoding.get_type_hints", lambda *_, **__: pytest.fail("worked out anew"))
    decode(Report, encode(replace(REPORT, round=2)))
