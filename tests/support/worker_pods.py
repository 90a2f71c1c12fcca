"""Worker pods as they are rendered, and what tests read of them."""

from __future__ import annotations

from typing import Any

from plan_jobs import NAME, a_job, a_template

from dtj_api import names
from dtj_operator.observe.view import JobView
from dtj_operator.plan import CreateWorker
from dtj_operator.render import Manifest, Site, manifest


def worker(view: JobView, index: int = 2, avoid: tuple[str, ...] = ()) -> Manifest:
    return manifest(view, CreateWorker(names.worker_name(NAME, index), index, 3, avoid), Site())


def trainer_of(pod: Manifest) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in pod["spec"]["containers"] if each["name"] == "trainer")
    return found


def env_of(pod: Manifest) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in trainer_of(pod)["env"]}


def with_container(**fields: Any) -> Any:
    template = a_template()
    template["spec"]["containers"][0].update(fields)
    return a_job().template(template)
