"""YAML is read as kubectl reads it. Right-hand sides are what sigs.k8s.io/yaml 1.6.0 makes of the left."""

from __future__ import annotations

import json
import math

import pytest

from dtj_trainer.cli.kube_yaml import ManifestSyntaxError, documents

pytestmark = pytest.mark.unit

SCALARS = {
    "5e-5": 5e-05,
    "1e-3": 0.001,
    "1E5": 100000,
    "1e+5": 100000,
    "1.e5": 100000,
    ".5": 0.5,
    "-.5": -0.5,
    ".8_3": 0.83,
    "3.": 3,
    "2.0": 2,
    "1e-400": 0,
    "0x1F": 31,
    "-0x1f": -31,
    "0o14": 12,
    "0O14": 12,
    "014": 12,
    "-014": -12,
    "0b11": 3,
    "09": 9,
    "08.5": 8.5,
    "1_000": 1000,
    "1_000.5": 1000.5,
    "1_": 1,
    "+1": 1,
    "-0": 0,
    "9223372036854775807": 2**63 - 1,
    "12345678901234567890123": 1.2345678901234568e22,
    "1.234567890123456789e18": 1234567890123456800,
    "yes": True,
    "On": True,
    "y": True,
    "NO": False,
    "n": False,
    "tRUE": "tRUE",
    "~": None,
    "": None,
    "NULL": None,
    "1:30": "1:30",
    "190:20:30": "190:20:30",
    "2001-01-01": "2001-01-01",
    "2001-12-14t21:59:43.10-05:00": "2001-12-14t21:59:43.10-05:00",
    "1e400": "1e400",
    "0o8": "0o8",
    "0x": "0x",
    "_1": "_1",
    "1e": "1e",
    ".e5": ".e5",
    "=": "=",
    "<<": "<<",
    "1,000": "1,000",
    '"5e-5"': "5e-5",
    "'yes'": "yes",
    "!!str 1": "1",
    "!!str": "",
    '!!int "3"': 3,
    "!!float 3": 3,
    "!!bool yes": True,
    "!!binary aGVsbG8=": "hello",
    "!!timestamp 2001-01-01": "2001-01-01",
    "!nobodys 12": "12",
}


@pytest.mark.parametrize("text", SCALARS)
def test_a_scalar(text: str) -> None:
    (found,) = documents(f"a: {text}\n".encode())
    assert found == {"a": SCALARS[text]}
    assert type(found["a"]) is type(SCALARS[text]), "whole numbers are integers, also for the schema"


REFUSED = {
    "infinity": "a: .inf",
    "not a number": "a: .NaN",
    "half a character": r'a: "\ud83d"',
    "a character in two halves": r'a: "\ud83d\ude00"',
    "a control character": "a: \x07",
    "a tag that does not fit": "a: !!int 1.5",
    "a boolean that is a number": "a: !!bool 1",
    "no base 64": "a: !!binary abc",
    "a date that is none": "a: !!timestamp x",
    "null as a key": "~: a",
    "a list as a key": "[a]: b",
    "brackets without end": "a: [",
    "no end of brackets": "a: " + "[" * 100_000,
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_kubectl_cannot_read_is_refused(case: str) -> None:
    with pytest.raises(ManifestSyntaxError):
        documents(REFUSED[case].encode())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: 1\na: 2\n", {"a": 2}),
        ("yes: a\n01: b\n2001-01-01: c\n1.50: d\n", {"true": "a", "1": "b", "2001-01-01": "c", "1.5": "d"}),
        ("x: &x {a: 1, b: 2}\nz:\n  <<: *x\n  b: 3\n", {"x": {"a": 1, "b": 2}, "z": {"a": 1, "b": 3}}),
        ("a:\t1\n", {"a": 1}),
        ("\ufeffa: &x 5e-5\nb: *x\n", {"a": 5e-5, "b": 5e-5}),
        ("a: !!set {x, z}\nb: !own {x: 1}\nc: !own [1]\n", {"a": {"x": None, "z": None}, "b": {"x": 1}, "c": [1]}),
        ("a: |\n  yes\nb: >\n  5e-5\n", {"a": "yes\n", "b": "5e-5\n"}),
    ],
)
def test_mappings_and_the_rest(text: str, found: dict) -> None:
    assert documents(text.encode()) == [found]


def test_utf_16_and_several_documents() -> None:
    assert documents("a: ä\n---\n---\nb: 1\n".encode("utf-16")) == [{"a": "ä"}, None, {"b": 1}]


def test_json_is_read_as_json_and_flow_style_as_yaml() -> None:
    text = r'{"a": "\ud83d\ude00", "b": "\ud83d", "c": 2.0, "d": 1e3}'
    assert documents(text.encode()) == [{"a": "\U0001f600", "b": "\ufffd", "c": 2, "d": 1000}]
    assert documents(b'{"a": 1}\n{"b": 2}\n') == [{"a": 1}, {"b": 2}]
    assert documents(b"{a: 5e-5, b: }") == [{"a": 5e-5, "b": None}]
    assert documents(b'{"a": 1e400}') == [{"a": "1e400"}]


@pytest.mark.parametrize("number", [0.1, 1e-7, 123456789.123456789, 1e22, math.pi])
def test_a_number_of_json_stays_itself(number: float) -> None:
    assert documents(json.dumps({"a": number}).encode()) == [{"a": number}]
