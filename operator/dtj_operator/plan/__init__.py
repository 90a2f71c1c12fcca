"""What should be: `plan(view)` turns one picture of a job into the status, the actions and the events that are due.

Pure: no clock, no I/O. `reconcile` is the whole story in one function, in four steps: `count`, `verdict`, `need` and
`say`. Each policy is a file named by the API's field.
"""

from .actions import (
    Action,
    CreateClaim,
    CreateKey,
    CreatePolicy,
    CreateService,
    CreateStore,
    CreateWorker,
    DeleteJob,
    DeletePod,
    DeletePolicy,
    DeleteService,
    DryRunWorker,
    Event,
    SendMeet,
    SendRelease,
    SendSave,
    SendStop,
)
from .need.admission import template_hash
from .reconcile import plan
from .value import Plan

__all__ = [
    "Action",
    "CreateClaim",
    "CreateKey",
    "CreatePolicy",
    "CreateService",
    "CreateStore",
    "CreateWorker",
    "DeleteJob",
    "DeletePod",
    "DeletePolicy",
    "DeleteService",
    "DryRunWorker",
    "Event",
    "Plan",
    "SendMeet",
    "SendRelease",
    "SendSave",
    "SendStop",
    "plan",
    "template_hash",
]
