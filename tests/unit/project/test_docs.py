"""The documentation says what the code says: names, generated pages and examples; its commands: test_documented.py."""

import enum
import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import pytest
import yaml

import dtj
from dtj_api import names
from dtj_api.base import read
from dtj_api.metrics import JobMetric, OperatorMetric, TrainMetric
from dtj_api.spec import JobSpec

ROOT = pathlib.Path(__file__).parents[3]
DOCS = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])
ENUMS = {
    "Phases": names.Phase,
    "Conditions": names.Condition,
    "Reasons": names.Reason,
    "Why something was restarted": names.Cause,
}


def relative(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def section(page: str, heading: str) -> str:
    """The text of a page under a heading of the second level."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", (ROOT / "docs" / page).read_text(), re.M | re.S)
    assert found, f"docs/{page} has no section {heading!r}"
    return found.group(1)


def first_column(text: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", text, re.M)


@pytest.mark.parametrize("heading", ENUMS)
def test_the_status_page_names_exactly_what_there_is(heading: str):
    assert first_column(section("status.md", heading)) == [str(value) for value in ENUMS[heading]]


def test_the_status_page_says_which_causes_are_excused():
    rows = re.findall(r"^\| `(\w+)` \| (yes|no) \|", section("status.md", "Why something was restarted"), re.M)
    assert {name for name, excused in rows if excused == "yes"} == {str(cause) for cause in names.EXCUSED_CAUSES}


def test_the_status_page_names_exactly_the_exit_codes():
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", section("status.md", "Exit codes"), re.M)
    assert {(int(code), name) for code, name in rows} == {(code.value, code.name) for code in names.ExitCode}


@pytest.mark.parametrize(
    ("heading", "metrics"),
    [
        ("Worker pods", TrainMetric),
        ("Operator", JobMetric),
        ("Operator, about itself", OperatorMetric),
    ],
)
def test_the_metrics_page_names_exactly_the_metrics(heading: str, metrics: type[enum.StrEnum]):
    assert first_column(section("metrics.md", heading)) == [str(metric) for metric in metrics]


@pytest.mark.parametrize("page", DOCS, ids=relative)
def test_metrics_named_anywhere_exist(page: pathlib.Path):
    known = {str(metric) for metric in [*TrainMetric, *JobMetric]}
    named = set(re.findall(r"\bdtj_(?:train|job)_[a-z_]*[a-z]\b", page.read_text()))
    assert named <= known | {"dtj_train_step_seconds_sum", "dtj_train_step_seconds_count"}


def test_the_manifest_reference_is_fresh():
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    assert reference.PAGE.read_text() == reference.page(), "docs/manifest.md is stale; run: make generate"


@pytest.mark.parametrize("page", DOCS, ids=relative)
def test_make_targets_named_in_passing_exist(page: pathlib.Path):
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.M))
    # Targets that share one line of the Makefile.
    targets |= {"test-unit", "test-cluster", "test-e2e"}
    assert set(re.findall(r"`make ([a-z][a-z0-9-]*)", page.read_text())) <= targets


@pytest.mark.parametrize("page", DOCS, ids=relative)
def test_links_inside_the_repository_lead_somewhere(page: pathlib.Path):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{relative(page)}: {target}"


@pytest.mark.parametrize("example", sorted((ROOT / "examples").rglob("*.yaml")), ids=relative)
def test_an_example_is_a_manifest_that_the_models_accept(example: pathlib.Path):
    jobs = [document for document in yaml.safe_load_all(example.read_text()) if document["kind"] == names.KIND]
    assert jobs, f"{relative(example)} holds no {names.KIND}"
    for job in jobs:
        read_job(job)


def manifests() -> list[tuple[str, str]]:
    blocks = [
        (relative(page), block)
        for page in DOCS
        for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.M | re.S)
        if re.search(rf"^kind: {names.KIND}$", block, re.M)
    ]
    assert blocks, "no page shows a manifest"
    return blocks


@pytest.mark.parametrize(("page", "manifest"), manifests())
def test_a_manifest_in_the_docs_is_one_that_the_models_accept(page: str, manifest: str):
    read_job(yaml.safe_load(manifest))


def read_job(job: dict) -> None:
    assert job["apiVersion"] == names.API_VERSION
    read(JobSpec, job["spec"], "spec")


@pytest.mark.parametrize("page", DOCS, ids=relative)
def test_what_the_docs_import_from_dtj_exists(page: pathlib.Path):
    code = "".join(re.findall(r"^ *```python\n(.*?)^ *```", page.read_text(), re.M | re.S))
    assert set(re.findall(r"\bdtj\.(\w+)", code)) <= set(dtj.__all__)


def test_every_page_is_in_the_navigation_and_every_decision_in_the_index():
    navigation = (ROOT / "mkdocs.yml").read_text()
    index = (ROOT / "docs" / "decisions" / "index.md").read_text()
    pages = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if page not in navigation] == []
    assert [page for page in (ROOT / "docs" / "decisions").glob("0*.md") if f"({page.name})" not in index] == []


def test_the_site_builds_without_a_warning(tmp_path: pathlib.Path):
    mkdocs = str(pathlib.Path(sys.executable).with_name("mkdocs"))
    built = subprocess.run(
        [mkdocs, "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert built.returncode == 0, built.stderr


def test_each_fault_names_a_test_that_exists():
    named = re.findall(r"`(tests/[^`]+)::(\w+)`", (ROOT / "docs" / "failures.md").read_text())
    assert len(named) > 35
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).exists() or not re.search(rf"(def |^){name}\b", (ROOT / path).read_text(), re.M)
    ]
    assert missing == []
