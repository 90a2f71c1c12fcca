"""`dtj-operator replay FILE`: plan again from a recorded view, offline, and compare."""

from __future__ import annotations

import difflib
import json
import sys
from pathlib import Path

from dtj_operator.plan.reconcile import plan
from dtj_operator.telemetry.record import RecordError, plan_as_data, read_record


def replay(file: Path) -> int:
    """Print the plan for the record's view; the answer is 0 when it equals the recorded one, else 1."""
    try:
        view, recorded = read_record(file)
    except RecordError as error:
        print(f"dtj-operator: {error}", file=sys.stderr)
        return 1
    planned = plan(view)
    print(f"{view.namespace}/{view.name} at resourceVersion {view.resource_version}")
    print(planned)
    again = plan_as_data(planned)
    if again == recorded:
        return 0
    print("\nThe plan differs from the recorded one:")
    for line in difflib.unified_diff(_lines(recorded), _lines(again), "recorded", "now", lineterm=""):
        print(line)
    return 1


def _lines(data: object) -> list[str]:
    return json.dumps(data, indent=1, sort_keys=True).splitlines()
