"""How a rank reaches the store of its process group, which rank 0 opens when its script comes to that.

Most ranks come earlier. torch's client then waits a quarter to three quarters of a second after the first refusal, and
longer after each further one (torch 2.15), which is most of what a restart in place takes. Here it looks often until
somebody listens, and connects then.
"""

from __future__ import annotations

import socket
import sys
import time
from datetime import timedelta
from typing import Any

LOOK = 0.01
"""Seconds between two looks."""
MAX_RANKS = 64
"""In larger worlds torch's own waits stay: the store looks up the name of whoever connects, one after the other."""
LONGEST = 30.0
"""Seconds after which torch waits in its own way: it does not know of ours, which come on top of its timeout."""
_ANSWER = 1.0


def look_often(world_size: int) -> None:
    """Have `init_process_group` of this process wait for rank 0 by looking often, if torch is imported.

    Args:
        world_size: ranks in all.
    """
    rendezvous: Any = sys.modules.get("torch.distributed.rendezvous")
    connect = getattr(rendezvous, "TCPStore", None)
    if connect is None or world_size > MAX_RANKS:
        return

    def connect_when_open(*args: Any, **kwargs: Any) -> Any:
        match kwargs:
            # Another version of torch may ask in another way: then as it does.
            case {"host_name": str(host), "port": int(port), "timeout": timedelta() as timeout, "is_master": False}:
                wait_until_open(host, port, min(LONGEST, timeout.total_seconds()))
        return connect(*args, **kwargs)

    rendezvous.TCPStore = connect_when_open


def wait_until_open(host: str, port: int, timeout: float) -> None:
    """Return once somebody listens there, or it cannot be told, or after so many seconds: torch has the last word."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, port), _ANSWER).close()
        except ConnectionRefusedError:
            time.sleep(LOOK)
        except OSError:
            return
        else:
            return
