"""No question to a name server where none is needed, and short patience where it cannot be helped.

torch's TCPStore asks for the name of each address that it connects to or is connected from, only to log it, and both
sides wait for the answer. Where it is lost, which concurrent queries often are, that takes the resolver's five seconds;
and the store's one thread serves nobody meanwhile, so that it looks as if it hung (seen with torch 2.15).
"""

from __future__ import annotations

import ctypes
import os

IMPATIENT = "timeout:1 attempts:5"
"""For resolv.conf(5)'s RES_OPTIONS, in ranks: their scripts may need names. glibc waits 5 s, and asks twice."""


def ask_no_name_server() -> bool:
    """Have this process find names in /etc/hosts alone; whether the C library can do so (glibc)."""
    configure = getattr(ctypes.CDLL(None), "__nss_configure_lookup", None)
    return configure is not None and configure(b"hosts", b"files") == 0


def options() -> str:
    """RES_OPTIONS for a rank: what the pod's template says, else short patience."""
    return os.environ.get("RES_OPTIONS", IMPATIENT)
