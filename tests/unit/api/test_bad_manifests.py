"""The table of bad manifests, asked of the models: whoever has no API server gets the same refusals."""

from __future__ import annotations

import pytest
from manifest_table import Manifest, Row, base, rows

from dtj_api.base import ManifestError, read
from dtj_api.names import MAX_JOB_NAME
from dtj_api.spec import JobSpec

IN_THE_SPEC = [
    row for row in rows() if row.refused in ("schema", "CEL") and not row.update and "metadata" not in row.says[0]
]


def _refusal(manifest: Manifest) -> str:
    try:
        read(JobSpec, manifest.get("spec"), "spec")
    except ManifestError as error:
        return str(error)
    return ""


def test_the_table_is_large_and_each_row_is_its_own() -> None:
    names = [row.name for row in rows()]
    assert len(set(names)) == len(names) >= 30
    assert {row.refused for row in rows()} == {"schema", "CEL", "policy", "dry run"}


def test_base_is_good() -> None:
    spec = read(JobSpec, base()["spec"], "spec")
    assert spec.rendezvous.heartbeat == 1.5
    assert len(base()["metadata"]["name"]) <= MAX_JOB_NAME


@pytest.mark.parametrize("row", IN_THE_SPEC, ids=lambda row: row.name)
def test_models_refuse_what_the_api_server_refuses(row: Row) -> None:
    refusal = _refusal(row.manifest("job"))
    assert refusal.startswith("spec"), "the field must be named"
    if row.refused == "CEL" and row.change.trainer is None:  # The trainer's models have words of their own.
        assert row.says[1] in refusal


@pytest.mark.parametrize("row", [row for row in rows() if row.update], ids=lambda row: row.name)
def test_what_is_changed_is_good_by_itself(row: Row) -> None:
    assert _refusal(row.existing("job")) == ""
    assert _refusal(row.manifest("job")) == ""
    assert row.manifest("job") != row.existing("job")
