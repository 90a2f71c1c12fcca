"""The rendezvous store: a server in a pod of its own, so that no worker's death takes it along.

`python -m dtj_trainer.launch.store [PORT]`. Standard library only: it is there a moment after its process, and small.

Told to end, it stays while launchers are connected, up to its grace period: a drained node takes store and worker away
together, and the worker's save is agreed on through the store.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from dtj_api import open_files
from dtj_api.names import STORE_PORT, Env, ExitCode
from dtj_trainer.launch.settings import TERMINATION_LOG, BadConfigError, read_key, required, seconds
from dtj_trainer.launch.store.server import StoreServer
from dtj_trainer.launch.termination import write_termination

LEAVE_SHARE = 0.1
"""Share of the grace period that is kept for ending in order."""


async def serve(port: int, key_file: str, grace: float) -> None:
    """Serve until a signal comes, and then while there are clients.

    Args:
        port: 0 takes a free one.
        key_file: of the job's key, which is read anew for each client.
        grace: seconds until the kubelet kills, after its signal.

    Raises:
        BadConfigError: there is no key.
        OSError: the port is taken.
    """
    told = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, told.set)
    server = StoreServer(lambda: read_key(key_file))
    port = await server.start(os.environ.get(Env.BIND_ADDRESS) or None, port)
    print(f"dtj: the rendezvous store listens on port {port}", flush=True)
    await told.wait()
    await server.close(grace * (1 - LEAVE_SHARE))


def main() -> int:
    """Run the store; its exit code."""
    try:
        key_file = required(os.environ, Env.KEY_FILE)
        grace = seconds(os.environ, Env.GRACE_SECONDS, 30.0)
        open_files.raise_limit()
        asyncio.run(serve(int(sys.argv[1]) if len(sys.argv) > 1 else STORE_PORT, key_file, grace))
    except (BadConfigError, OSError) as error:
        write_termination(Path(os.environ.get(Env.TERMINATION_LOG) or TERMINATION_LOG), str(error))
        print(f"dtj: {error}", file=sys.stderr)
        return ExitCode.BAD_CONFIG if isinstance(error, BadConfigError) else ExitCode.FAILED
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
