"""Objects are read within bounds; of one that is larger its metadata is, and why the rest is not."""

from __future__ import annotations

import json
import sys
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dtj_api import bounds, names
from dtj_operator.kube.bounded import read_event, read_object, read_page
from dtj_operator.kube.resources import JOBS, NETWORK_POLICIES, PODS, SERVICES
from dtj_operator.observe.records import pod_view

METADATA = {"name": "ner", "namespace": "ml", "uid": "u-1", "resourceVersion": "7", "labels": {"a": "b"}}


def job_of(spec: bytes, metadata: dict | None = None) -> bytes:
    """A job as the API server writes it: names sorted, no spaces."""
    head = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata or METADATA}
    return (
        json.dumps(head, separators=(",", ":")).encode()[:-1] + b',"spec":' + spec + b',"status":{"phase":"Running"}}'
    )


def spec_of(size: int) -> bytes:
    empty = b'{"managedBy":"other","x":""}'
    return empty.replace(b'""', b'"' + b"y" * (size - len(empty)) + b'"')


def nested(levels: int) -> bytes:
    return b'{"managedBy":"other","x":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def test_a_spec_is_read_up_to_its_bound_and_refused_above():
    read = read_object(JOBS, job_of(spec_of(bounds.SPEC_BYTES)))
    assert len(read["spec"]["x"]) > bounds.SPEC_BYTES - 100
    read = read_object(JOBS, job_of(spec_of(bounds.SPEC_BYTES + 1)))
    assert read["spec"] == {
        bounds.UNREAD: "spec: 131073 bytes of JSON, more than the 131072 that are read; make it shorter",
        "managedBy": "other",
    }
    assert read["metadata"] == METADATA
    assert read["status"] == {"phase": "Running"}


def test_depth_is_read_up_to_its_bound_and_refused_above():
    assert bounds.UNREAD not in read_object(JOBS, job_of(nested(bounds.DEPTH)))["spec"]
    for levels in (bounds.DEPTH + 1, 9000):
        read = read_object(JOBS, job_of(nested(levels)))
        assert read["spec"] == {
            bounds.UNREAD: f"spec: {levels} levels of objects and lists within each other, "
            "more than the 64 that are read",
            "managedBy": "other",
        }
        assert read["metadata"] == METADATA


@pytest.mark.parametrize(
    "field",
    [{"managedFields": [{"fieldsV1": "@"}]}, {"annotations": {"a": "@"}}],
    ids=["managed fields", "annotations"],
)
@pytest.mark.parametrize("value", [b"[" * 9000 + b"]" * 9000, b'"' + b"x" * 1_400_000 + b'"'], ids=["deep", "long"])
def test_of_large_metadata_what_nobody_looks_at_is_left_out(field, value):
    text = job_of(b'{"x":1}', METADATA | field).replace(b'"@"', value)
    read = read_object(JOBS, text)
    assert read["metadata"] == METADATA
    assert read["spec"] == {"x": 1}


def test_of_a_large_pod_what_somebody_looks_at_is_read():
    init = {"name": "wait", "restartPolicy": "Always"}
    spec = {"containers": [{"env": [{"value": "x" * 1_400_000}]}], "nodeName": "n1", "initContainers": [init]}
    leaving = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0, "finalizers": ["a/b"]}
    text = job_of(json.dumps(spec).encode(), METADATA | leaving)
    read = read_object(PODS, text)
    assert pod_view(read) == pod_view(json.loads(text))
    assert read["metadata"] == METADATA | leaving
    why = read["spec"].pop(bounds.UNREAD)
    assert "more than the 262144 that are read" in why
    assert read["spec"] == {"nodeName": "n1", "initContainers": [init]}
    assert read["status"] == {"phase": "Running"}


@pytest.mark.parametrize("resource", [PODS, SERVICES, NETWORK_POLICIES], ids=lambda each: each.kind)
@pytest.mark.parametrize("field", [b"initContainers", b"ingress"])
def test_a_dense_object_of_any_kind_takes_no_memory(resource, field):
    """A tenant may make those too, with our label: half a second of everybody's time for each change of one."""
    text = job_of(b'{"nodeName":"n1","' + field + b'":[' + b",".join([b"{}"] * 460_000) + b"]}")
    tracemalloc.start()
    try:
        read = read_object(resource, text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(text) + 200_000
    assert read["metadata"] == METADATA
    assert field.decode() not in read["spec"]


EVIL = {
    "large": job_of(b'{"x":[' + b",".join([b"{}"] * 460_000) + b"]}"),
    "deep": job_of(nested(9000)),
    "large and deep": job_of(b'{"x":' + b"[" * 9000 + b",".join([b"{}"] * 400_000) + b"]" * 9000 + b"}"),
    "strings": job_of(b'{"x":[' + b",".join([b'"{["'] * 200_000) + b"]}"),
}


@pytest.mark.parametrize("evil", EVIL.values(), ids=EVIL.keys())
@pytest.mark.parametrize("spaced", [False, True])
def test_one_evil_object_hides_no_other(evil, spaced):
    honest = job_of(b'{"x":1}')
    space = b"\n " if spaced else b""
    items = (space + b"," + space).join([honest] * 3 + [evil] + [honest] * 3)
    page = b'{"items":%s[%s]%s,"kind":"List","metadata":{"resourceVersion":"9","continue":"c"}}' % (space, items, space)
    read = read_page(JOBS, page)
    assert read["metadata"] == {"resourceVersion": "9", "continue": "c"}
    assert len(read["items"]) == 7
    assert [bounds.UNREAD in item["spec"] for item in read["items"]] == [False] * 3 + [True] + [False] * 3
    assert all(item["metadata"] == METADATA for item in read["items"])


@pytest.mark.parametrize("evil", EVIL.values(), ids=EVIL.keys())
def test_an_event_about_an_evil_object_names_it(evil):
    read = read_event(JOBS, b'{"type":"MODIFIED","object":' + evil + b"}")
    assert read["type"] == "MODIFIED"
    assert read["object"]["metadata"] == METADATA
    assert bounds.UNREAD in read["object"]["spec"]


@pytest.mark.parametrize("evil", EVIL.values(), ids=EVIL.keys())
def test_an_evil_object_takes_no_memory(evil):
    tracemalloc.start()
    try:
        read_object(JOBS, evil)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(evil) + 200_000, "its text is copied once at most, and built never"


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b'{"type":"ADDED"}', b'{"type":1,"object":null}', b"<html>"]
)
def test_what_is_no_event_is_an_error_of_values(text):
    with pytest.raises(ValueError, match=r"byte|expected|found|Expecting|event"):
        read_event(JOBS, text)


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ODD, st.booleans())
def test_what_is_within_bounds_is_read_as_the_parser_does(spec, padded):
    value = {"metadata": METADATA, "spec": {"x": spec}, "more": "z" * bounds.SPEC_BYTES if padded else ""}
    assert read_object(JOBS, json.dumps(value).encode()) == value


def test_no_recursion_is_needed_beyond_the_bound(monkeypatch):
    """Whoever calls may be deep already."""
    text = job_of(nested(bounds.DEPTH))

    def deep(left: int):
        return read_object(JOBS, text) if left == 0 else deep(left - 1)

    assert bounds.UNREAD not in deep(sys.getrecursionlimit() - 400)["spec"]
