"""Ports for programs that bind them only later, and so cannot leave the choice to the kernel.

The kernel gives outgoing connections the ports of its ephemeral range, so one of these may be taken meanwhile. Right
below it are those that Kubernetes gives to services of nodes, which pods in the node's network would be in the way of.
Standard library only: the launcher runs in foreign images.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket
from pathlib import Path

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_KEPT = range(20_000, 29_000)
_APART = 293
"""Ports that a process takes before it gets to those of the process whose number is the next one."""
_taken = itertools.count()
_TRIES = 64


def free_ports(count: int) -> list[int]:
    """So many TCP ports of this machine, all different, that nobody has now.

    Programs that start at once each begin at a place of their own: of random ones two would take the same now and then.
    """
    ports: list[int] = []
    for _ in range(len(_KEPT)):
        if len(ports) == count or _first_ephemeral() < _KEPT.stop:
            break
        port = _KEPT[(os.getpid() * _APART + next(_taken)) % len(_KEPT)]
        with socket.socket() as held, contextlib.suppress(OSError):
            held.bind(("", port))
            ports.append(port)
    with contextlib.ExitStack() as stack:
        more = [stack.enter_context(keep_port()) for _ in range(count - len(ports))]
        return ports + [int(each.getsockname()[1]) for each in more]


def keep_port(family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    """A socket that holds a port on all addresses; one that no outgoing connection gets, where there is such a one.

    Raises:
        OSError: there is none at all.
    """
    free = _KEPT if _first_ephemeral() >= _KEPT.stop else range(0)
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
