"""Launchers that an earlier version has started in pods that outlived it: they cannot meet at a store of this one.

They train on at the store that they know for as long as it lives. When the job has to meet at a new one, they are
replaced: their launcher comes from the version of their time.
"""

from __future__ import annotations

from dtj_api import names
from dtj_api.names import Reason
from dtj_operator.plan.count.backoff import replace
from dtj_operator.plan.count.unreached_store import outdated
from dtj_operator.plan.draft import Draft


def replace_outdated(draft: Draft) -> None:
    """Replace the members that cannot meet for this reason."""
    old = outdated(draft) if draft.roster.met else []
    if not old:
        return
    replace(draft, old, "its launcher is of an earlier version, which cannot speak with the store of this one")
    more = f" (and {len(old) - 1} more)" if len(old) > 1 else ""
    text = (
        f"pod {names.worker_name(draft.view.name, old[0])}{more} was started by an earlier version, whose launcher "
        "cannot speak with the store of this one: it is replaced"
    )
    draft.begin_incarnation(draft.roster.next_members())
    draft.warn(Reason.STORE_LOST, text)
