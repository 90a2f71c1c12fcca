"""The first process of a node: run by its path inside new namespaces, never imported.

A node is a set of namespaces (mounts, network, pids, host name, IPC) with this process as pid 1. So its end is the
node's power cut: the kernel kills kubelet, containerd, shims and containers together and drops their mounts and
links, and nothing can leak. It mounts what two nodes on one machine must not share, since those places are fixed in
the programs: /run (shim sockets, the iptables lock), /var/log (pod logs), /var/lib/kubelet (device plugins),
/var/lib/cni (leases). Then it reaps orphans, as pid 1 must: every container shim ends as one.

Usage: node_init.py NODE_FOLDER HOST_NAME. The standard library alone, so that it starts fast and stays small.
"""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

PLACES = {"/var/log": "log", "/var/lib/kubelet": "kubelet", "/var/lib/cni": "cni"}


def _mount(*argv: str) -> None:
    subprocess.run(["mount", *argv], check=True)


def _set_up(folder: Path, host_name: str) -> None:
    # Mounts of the machine stay visible and go away with it, but nothing mounted here gets out.
    _mount("--make-rslave", "/")
    _mount("--make-rshared", "/")
    _mount("-t", "proc", "proc", "/proc")
    for place, name in PLACES.items():
        _mount("--bind", str(folder / name), place)
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    Path("/run/lock").mkdir()
    socket.sethostname(host_name)


def main() -> None:
    """Set up, tell the parent by a file, then reap until SIGTERM."""
    folder, host_name = Path(sys.argv[1]), sys.argv[2]
    _set_up(folder, host_name)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
    (folder / "ready").touch()
    while signal.sigwait({signal.SIGCHLD, signal.SIGTERM}) != signal.SIGTERM:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            continue


if __name__ == "__main__":
    main()
