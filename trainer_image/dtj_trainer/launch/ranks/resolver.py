"""Short patience with name servers, for ranks.

torch's TCPStore asks for the name of each address that it connects to or is connected from, only to log it, and both
sides wait for the answer. Where it is lost, which concurrent queries often are, that takes the resolver's five seconds
(seen with torch 2.15). The launcher and the store of the launchers speak without it, and ask nobody.
"""

from __future__ import annotations

import os

IMPATIENT = "timeout:1 attempts:5"
"""For resolv.conf(5)'s RES_OPTIONS, in ranks: their scripts may need names. glibc waits 5 s, and asks twice."""


def options() -> str:
    """RES_OPTIONS for a rank: what the pod's template says, else short patience."""
    return os.environ.get("RES_OPTIONS", IMPATIENT)
