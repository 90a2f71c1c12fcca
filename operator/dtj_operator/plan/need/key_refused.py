"""Launchers that refuse what is signed with the job's key: its Secret was deleted or changed after they had read it.

A launcher reads the key once, at its start, so nothing that is sent reaches it any more. It trains on all the same, and
that is not disturbed; but it can meet nobody, and the others would wait for it for ever. So one that is to meet is
replaced: told by SIGTERM, which needs no key, it saves as far as its ranks can agree on a save.
"""

from __future__ import annotations

from dtj_api import names
from dtj_api.names import Reason
from dtj_operator.plan.count.backoff import replace
from dtj_operator.plan.draft import Draft


def replace_refusing(draft: Draft) -> None:
    """Replace the members that do not come to the meeting for this reason."""
    if not draft.roster.met or not draft.view.refusing:
        return
    deaf = [index for index in draft.status.members if _stays_away(draft, index)]
    if not deaf:
        return
    replace(draft, deaf, "it refuses the job's key")
    more = f" (and {len(deaf) - 1} more)" if len(deaf) > 1 else ""
    text = (
        f"pod {names.worker_name(draft.view.name, deaf[0])}{more} refuses the key in the Secret "
        f"{names.key_name(draft.view.name)}, which was deleted or changed after the pod had read it: it is replaced"
    )
    draft.begin_incarnation(draft.roster.next_members())
    draft.warn(Reason.KEY_REFUSED, text)


def _stays_away(draft: Draft, index: int) -> bool:
    pod, report = draft.roster.pods.get(index), draft.roster.said.get(index)
    refuses = pod is not None and pod.uid in draft.view.refusing and draft.roster.worker(index).listens
    return refuses and report is not None and report.incarnation < draft.status.incarnation
