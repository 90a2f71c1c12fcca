"""Rank SIGKILLed -> next step of the whole world, 3 agents on this machine, Gloo: ours beside plain torchrun.

    python tests/bench/recovery.py [--kills 5] [--ours SECONDS]

The peer is torchrun as it comes, with a store of its own and the one setting without which it does not recover at all
(TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1). Both train the same script, one after the other in one run; the load of the
machine is printed before each. A recovery is over when the slowest rank has made a step in a new process.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from dtj_api.ports import free_ports
from dtj_trainer.launch.local.job import LocalJob

WORLD = 3
SCRIPT = pathlib.Path(__file__).with_name("recovery_script.py")
BAR_SECONDS, BAR_RATIO = 2.5, 0.4
SETTLE = 6.0
"""Seconds of steady training between two kills: a crash loop would be slowed down on purpose."""
PATIENCE = 120.0

TORCHS_STORE = """
import signal, sys
from torch.distributed import TCPStore
store = TCPStore("localhost", int(sys.argv[1]), is_master=True, multi_tenant=True, wait_for_workers=False)
signal.pause()
"""

Side = Callable[[pathlib.Path], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def ours(folder: pathlib.Path) -> Iterator[None]:
    """Three launchers and the store."""
    command = [sys.executable, str(SCRIPT), str(folder)]
    with (folder / "output.log").open("wb") as output, LocalJob(command, output=output.fileno()) as job:
        job.start_store()
        for index in range(WORLD):
            job.start_worker(index)
        job.meet()
        yield


@contextlib.contextmanager
def torchrun(folder: pathlib.Path) -> Iterator[None]:
    """Three plain agents and a store."""
    (port,) = free_ports(1)
    env = {**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "GLOO_SOCKET_IFNAME": "lo"}
    agent = [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes", str(WORLD), "--nproc-per-node", "1"),
        *("--rdzv-backend", "c10d", "--rdzv-id", "bench", "--rdzv-endpoint", f"127.0.0.1:{port}"),
        *("--rdzv-conf", "is_host=0", "--local-addr", "127.0.0.1", "--max-restarts", "1000"),
        *(str(SCRIPT), str(folder)),
    ]
    store = [sys.executable, "-c", TORCHS_STORE, str(port)]
    with contextlib.ExitStack() as stack:
        output = stack.enter_context((folder / "output.log").open("wb"))
        for command in (store, *[agent] * WORLD):
            process = subprocess.Popen(command, env=env, stdout=output, stderr=output)
            stack.callback(process.wait)
            # To the agents: they end their ranks, which a killed agent would leave behind.
            stack.callback(process.send_signal, signal.SIGTERM)
        yield


def last_step(folder: pathlib.Path, rank: int) -> tuple[float, int] | None:
    """When a rank made its last step, and its pid."""
    with contextlib.suppress(FileNotFoundError):
        lines = (folder / str(rank)).read_text().splitlines()
        words = lines[-1].split() if lines else []
        if len(words) == 2:
            return float(words[0]), int(words[1])
    return None


def first_steps(folder: pathlib.Path, old: set[int]) -> list[float]:
    """When each rank made its first step in a process that is none of the old ones."""
    found = []
    for rank in range(WORLD):
        for line in (folder / str(rank)).read_text().splitlines() if (folder / str(rank)).exists() else []:
            at, _, pid = line.partition(" ")
            if pid.isdecimal() and int(pid) not in old:
                found.append(float(at))
                break
    return found


def recover(folder: pathlib.Path, old: set[int], victim: int) -> float:
    """Kill a rank; seconds until the whole world has made a step in new processes."""
    killed = time.time()
    os.kill(victim, signal.SIGKILL)
    while time.time() - killed < PATIENCE:
        steps = first_steps(folder, old)
        if len(steps) == WORLD:
            return max(steps) - killed
        time.sleep(0.02)
    return float("inf")


def measure(name: str, side: Side, kills: int) -> list[float]:
    """Recoveries of one side."""
    print(f"{name}: load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    took: list[float] = []
    with tempfile.TemporaryDirectory(prefix="dtj-bench-") as scratch:
        folder = pathlib.Path(scratch)
        with side(folder):
            old: set[int] = set()
            began = time.time()
            while len(first_steps(folder, old)) < WORLD:
                if time.time() - began > PATIENCE:
                    sys.exit(f"{name} did not start:\n{(folder / 'output.log').read_text()[-3000:]}")
                time.sleep(0.1)
            for kill in range(kills):
                time.sleep(SETTLE)
                now = [last_step(folder, rank) for rank in range(WORLD)]
                pids = [step[1] for step in now if step]
                old |= set(pids)
                took.append(recover(folder, old, pids[kill % WORLD]))
                print(f"  rank {kill % WORLD} killed: {took[-1]:.2f} s", flush=True)
                if took[-1] == float("inf"):
                    break
    return took


def main() -> None:
    """Measure both and print them beside the bars; a slow machine is no error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--ours", type=float, help="seconds measured elsewhere in this run, in place of measuring ours")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    mine = measure("ours", ours, options.kills) if options.ours is None else [options.ours]
    peer = measure("torchrun with the store fix", torchrun, options.kills)
    ratio = statistics.median(mine) / statistics.median(peer)
    for name, took in (("ours", mine), ("torchrun with the store fix", peer)):
        print(f"{name:28} median {statistics.median(took):6.2f} s   {min(took):.2f} .. {max(took):.2f}   n={len(took)}")
    met = statistics.median(mine) <= BAR_SECONDS and ratio <= BAR_RATIO
    print(f"ratio {ratio:.2f} (bar {BAR_RATIO}); target {BAR_SECONDS} s: {'met' if met else 'NOT met'}")


if __name__ == "__main__":
    main()
