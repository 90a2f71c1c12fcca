"""A port for the ranks' own store, which is bound again seconds after it was let go: by rank 0, once its script runs.

The kernel gives outgoing connections the ports of its ephemeral range, so one of these may be taken meanwhile. Right
below it are those that Kubernetes gives to services of nodes, which pods in the node's network would be in the way of.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FROM, _BELOW = 20_000, 29_000
_TRIES = 64


def keep_port(family: socket.AddressFamily) -> socket.socket:
    """A socket that holds a port on all addresses; one that no outgoing connection gets, where there is such a one.

    Raises:
        OSError: there is none at all.
    """
    free = range(_FROM, _BELOW) if _first_ephemeral() >= _BELOW else range(0)
    for port in random.sample(free, min(_TRIES, len(free))):
        held = socket.socket(family)
        try:
            held.bind(("", port))
        except OSError:
            held.close()
            continue
        return held
    held = socket.socket(family)
    held.bind(("", 0))
    return held


def _first_ephemeral() -> int:
    try:
        return int(_EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0
