"""The images hold the code of this checkout: with an older wheel in them all the other tests would prove nothing."""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest
from e2e_jobs import Jobs

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

DIGESTS = """
import hashlib, importlib.util, json, pathlib, sys
found = {}
for name in sys.argv[1:]:
    folder = pathlib.Path(importlib.util.find_spec(name).origin).parent
    for file in folder.rglob("*.py"):
        found[f"{name}/{file.relative_to(folder)}"] = hashlib.sha256(file.read_bytes()).hexdigest()
print(json.dumps(found))
"""
IMAGES = [("operator", ["dtj_api", "dtj_operator"]), ("trainer", ["dtj_api", "dtj", "dtj_trainer"])]


def here(package: ModuleType) -> dict[str, str]:
    """Path to digest of the package's files in this checkout."""
    assert package.__file__ is not None
    folder = Path(package.__file__).parent
    return {
        f"{package.__name__}/{file.relative_to(folder)}": hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*.py")
    }


@pytest.mark.parametrize(("image", "packages"), IMAGES)
def test_an_image_holds_the_code_of_this_checkout(jobs: Jobs, image: str, packages: list[str]) -> None:
    wanted: dict[str, str] = {}
    for name in packages:
        wanted |= here(importlib.import_module(name))
    reference = {"operator": jobs.place.operator, "trainer": jobs.place.trainer}[image].reference

    told = jobs.output_of(f"look-{image}", reference, ["python", "-c", DIGESTS, *packages])

    assert json.loads(told) == wanted
