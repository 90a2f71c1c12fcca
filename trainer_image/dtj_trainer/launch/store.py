"""The rendezvous store: a TCPStore in a pod of its own, so that no worker's death takes it along.

`python -m dtj_trainer.launch.store [PORT]`.
"""

from __future__ import annotations

import signal
import sys
import threading

from torch.distributed import TCPStore

from dtj_api.names import STORE_PORT
from dtj_trainer.launch.resolver import ask_no_name_server


def main() -> None:
    """Serve until SIGTERM."""
    ended = threading.Event()
    # PID 1 has no default action for signals.
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: ended.set())
    ask_no_name_server()
    port = int(sys.argv[1]) if len(sys.argv) > 1 else STORE_PORT
    store = TCPStore("localhost", port, is_master=True, multi_tenant=True, wait_for_workers=False)
    print(f"dtj: the rendezvous store listens on port {store.port}", flush=True)
    ended.wait()


if __name__ == "__main__":
    main()
