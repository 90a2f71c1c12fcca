"""Records of reconciles: the view that went in and the plan that came out, one file each, to be replayed offline."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dtj_operator.observe.view import JobView
from dtj_operator.plan.value import Plan

logger = logging.getLogger(__name__)

AGAIN = 600.0
"""Seconds after which the same error is logged once more."""


class RecordError(Exception):
    """A record cannot be read; the text names the file."""


def plan_as_data(plan: Plan) -> dict[str, Any]:
    """A plan as JSON types, each action with the name of its kind: equal plans give equal data."""

    def plain(action: Any) -> dict[str, Any]:
        return {"kind": type(action).__name__, **asdict(action)}

    data = {
        "status": plan.status.dump(),
        "write": plan.write,
        "urgent": plan.urgent,
        "actions": [plain(action) for action in plan.actions],
        "events": [asdict(event) for event in plan.events],
        "requeue_after": plan.requeue_after,
    }
    return dict(json.loads(json.dumps(data)))


class Recorder:
    """Writes records into one folder, which is made if need be.

    Args:
        folder: where they go.
        clock: seconds that only grow.

    Raises:
        RecordError: the folder cannot be made or written to.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._said: dict[int | None, float] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecordError(f"--record {folder}: {error.strerror}; name a folder that can be written to") from error

    def __call__(self, view: JobView, plan: Plan) -> Path | None:
        """Write one record; None: the disk did not take it, which is logged and keeps nobody from acting."""
        file = self._folder / f"{view.namespace}.{view.name}.{view.now:.3f}.json"
        text = json.dumps({"view": json.loads(view.to_json()), "plan": plan_as_data(plan)}, indent=1)
        try:
            file.write_text(text + "\n")
        except OSError as error:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
            self._say(error)
            return None
        return file

    def _say(self, error: OSError) -> None:
        last = self._said.get(error.errno)
        if last is None or self._clock() - last >= AGAIN:
            self._said[error.errno] = self._clock()
            logger.warning("--record %s: %s; reconciles go on without a record", self._folder, error.strerror or error)


def read_record(file: Path) -> tuple[JobView, dict[str, Any]]:
    """The view of a record and its plan as data.

    Raises:
        RecordError: no such file, or not a record.
    """
    try:
        raw = json.loads(file.read_text())
        return JobView.from_json(json.dumps(raw["view"])), dict(raw["plan"])
    except OSError as error:
        raise RecordError(f"{file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{file}: not a record of `dtj-operator run --record`: {error}") from error
