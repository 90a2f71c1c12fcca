"""A node's image store, unpacked once on a machine and given to every node by hard links.

The trainer's image is 6 GB. Imported into each node it would be on disk twice a node, as the layer and as its files,
and each node would take minutes to unpack it. Here a private containerd unpacks it once; the layers become hard links
to the image layout, and a node's store begins as hard links to the result, with databases of its own. Overlay mounts
write to no layer that is finished, so nodes can share these files.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

from dtj_cluster import binaries, cache, images
from dtj_cluster.errors import ClusterError
from dtj_cluster.progress import steps

NAMES = ("thin", "operator", "trainer")
_BIG = 50_000_000
"""Layers of so many bytes make a seed worth its while; smaller ones, our own code among them, are sent to each node."""
_MARK = "seed"
_START_SECONDS = 30
_BLOBS = pathlib.PurePath("io.containerd.content.v1.content", "blobs", "sha256")


@dataclass(frozen=True)
class _Private:
    """The containerd that unpacks."""

    name: str
    containerd_socket: pathlib.Path


def ensure() -> pathlib.Path:
    """The seed for today's images, made when there is none; older seeds are removed (nodes keep what they have)."""
    layout = images.layout()
    tags = [images.ensure(name) for name in NAMES]
    layers = [layer for tag in tags for layer in layout.manifest(tag)["layers"] if layer["size"] >= _BIG]
    inputs = cache.key(*sorted({layer["digest"] for layer in layers}))
    made = cache.entry("node-seed", inputs, "unpack the images once for all nodes", _fill)
    with cache.lock("node-seed"):
        for old in cache.root().glob("node-seed-*"):
            if old != made:
                with steps.step("remove the images that were unpacked before"):
                    shutil.rmtree(old)
    return made


def plant(root: pathlib.Path) -> None:
    """Give a node that is off the newest seed, unless it has it; what its store had before goes.

    Nothing happens when there is no seed: the images that the node is asked to load are then sent to it whole.
    """
    with cache.lock("node-seed"):
        seeds = sorted(cache.root().glob("node-seed-*"), key=lambda folder: folder.stat().st_mtime)
        if not seeds:
            return
        mark = root / _MARK
        if mark.exists() and mark.read_text() == seeds[-1].name:
            return
        if root.exists():
            shutil.rmtree(root)
        root.parent.mkdir(parents=True, exist_ok=True)
        _copy(seeds[-1], root)
        mark.write_text(seeds[-1].name)


def _copy(seed: pathlib.Path, root: pathlib.Path) -> None:
    # It ends with us: one that outlives an `up` that was killed would write into what the next one removes.
    command = ["setpriv", "--pdeathsig", "KILL", "cp", "-al", str(seed), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(
            f"{root} cannot be made from {seed} by hard links: {done.stderr.strip()[-300:]}",
            f"Both must be on one file system: set XDG_STATE_HOME and XDG_CACHE_HOME so, or remove {seed}.",
        )
    for database in root.rglob("*.db"):
        # Written in place: this one must be the node's own.
        fresh = database.with_name(f"{database.name}.new")
        shutil.copy2(database, fresh)
        fresh.replace(database)


def _fill(work: cache.Build) -> None:
    root = work.folder
    with _containerd(root) as node:
        for name in NAMES:
            images.load(name, [node])
    layout = images.layout()
    for blob in (root / _BLOBS).iterdir():
        same = layout.blobs / blob.name
        if same.exists() and same.stat().st_size >= _BIG:
            link = blob.with_name(f"{blob.name}.link")
            os.link(same, link)
            link.replace(blob)


@contextlib.contextmanager
def _containerd(root: pathlib.Path) -> Iterator[_Private]:
    """A containerd for importing only, in a mount namespace of its own: nothing stays mounted, however it ends."""
    program = binaries.ensure("containerd")["containerd"]
    # Short: the path of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="dtj-seed-") as scratch:
        folder = pathlib.Path(scratch)
        address = folder / "containerd.sock"
        config = folder / "containerd.toml"
        config.write_text(
            f'version = 2\nroot = "{root}"\nstate = "{folder / "state"}"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\n  address = "{address}"\n'
        )
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--fork", "--kill-child=SIGTERM",
                 str(program), "--config", str(config)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        try:
            _wait(process, address, log)
            yield _Private("the unpacking containerd", address)
        finally:
            _end(process)


def _wait(process: subprocess.Popen[bytes], address: pathlib.Path, log: pathlib.Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
        while probe.connect_ex(str(address)) != 0:
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace").strip()[-500:]
                raise ClusterError(f"containerd did not start to unpack the images: {said}", "See `df -h` and the log.")
            time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)
