"""The images that pods of the cluster run, and how they come onto a node.

- `pause` holds a pod's namespaces; containerd's configuration names it.
- `thin` is Debian with Python and nothing else: the base of the real ones, and for tests that have no time for those.
- `operator` and `trainer` are the real ones, from the Dockerfiles that a Docker user builds too.
- `foreign` is somebody else's, with torch and nothing of ours, for tests.

No image can be pulled on a machine that reaches package registries only, so the base is made by debootstrap.
Everything lies in one image layout in the cache (see `oci`), tagged by a hash of what it was made from.
"""

import contextlib
import functools
import pathlib
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from dtj_cluster import base_image, binaries, cache, dockerfile, foreign_image, oci, together
from dtj_cluster.errors import ClusterError
from dtj_cluster.progress import steps

NAMES = ("pause", "thin", "operator", "trainer", "foreign")
KEPT = 2
"""Images of one name that stay in the layout, newest last: another checkout may need the one before."""


class Node(Protocol):
    """A node whose containerd runs."""

    @property
    def name(self) -> str:
        """The node's name, for messages."""

    @property
    def containerd_socket(self) -> pathlib.Path:
        """The socket of its containerd."""


def reference(name: str) -> str:
    """What a pod writes as `image` to run the image called `name`: the same words whatever it was built from."""
    own = {"pause": "localhost/pause:1", "foreign": foreign_image.REFERENCE}
    return own.get(name, f"localhost/dtj-{name}:dev")


def layout() -> oci.Layout:
    """The image layout in the cache."""
    made = oci.Layout(cache.root() / "images")
    made.create()
    return made


def ensure(name: str) -> str:
    """Build the image when the cache lacks it; returns its tag in the layout."""
    return _BUILDERS[_known(name)]()


def load(name: str, nodes: Iterable[Node]) -> None:
    """Put the image onto the nodes under its `reference`; nothing is copied where it is already."""
    put(ensure(name), reference(name), nodes)


def put(tag: str, name: str, nodes: Iterable[Node]) -> None:
    """Put the image that has a tag in the layout onto the nodes under a name that pods give."""
    ctr = binaries.ensure("ctr")["ctr"]
    for node in nodes:
        client = [str(ctr), "--address", str(node.containerd_socket), "--namespace", "k8s.io"]
        loaded = _loaded(client, name)
        if layout().digest(tag) != loaded:
            with steps.step(f"{node.name}: load the image {name}") as step, _kept(client, name, loaded):
                sent = _import(client, tag, name, node.name)
                step.detail = f"{sent / 1e6:.1f} MB"


def ensure_of(checkout: pathlib.Path, version: str, name: str) -> str:
    """Build `operator` or `trainer` from the files of another version, when the cache lacks it; returns its tag."""
    base = _thin()
    kind = f"{version}-{name}-"
    tag = f"{version}-{dockerfile.tag(name, base, checkout)}"

    def build(into: oci.Layout, work: cache.Build) -> None:
        dockerfile.build(name, base, tag, into, work, checkout)
        into.prune(lambda other: other == tag or not other.startswith(kind))

    return _build(tag, f"image {name} of the version {version}", build)


def _known(name: str) -> str:
    if name not in NAMES:
        raise ClusterError(f"there is no image {name!r}", f"The images are {', '.join(NAMES)}.")
    return name


def _loaded(client: list[str], name: str) -> str | None:
    """The digest of the image that the node calls `name`."""
    listed = subprocess.run([*client, "images", "ls", f"name=={name}"], capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        raise ClusterError(
            f"containerd does not answer: {listed.stderr.strip()}", "Is the node on? See `cluster status`."
        )
    rows = [line.split() for line in listed.stdout.splitlines()]
    return next((row[2] for row in rows if row[0] == name), None)


@contextlib.contextmanager
def _kept(client: list[str], name: str, loaded: str | None) -> Iterator[None]:
    """Keep the image that is about to lose its name until the next one stands.

    Without a name containerd collects its layers at any moment, also one that the next image is being unpacked onto.
    """
    if loaded is None:
        yield
        return
    before = f"{name}-before"
    subprocess.run([*client, "images", "tag", "--force", name, before], capture_output=True, check=True)
    try:
        yield
    finally:
        subprocess.run([*client, "images", "rm", before], capture_output=True, check=True)


def _import(client: list[str], tag: str, name: str, node: str) -> int:
    present = subprocess.run(
        [*client, "content", "ls", "-q"], capture_output=True, text=True, check=True
    ).stdout.split()
    client = [*client, "images", "import", "-"]
    with (
        subprocess.Popen(client, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process,
        together.current().running(process),
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        broken = False
        sent = 0
        try:
            sent = layout().export(tag, name, frozenset(present), process.stdin)
            process.stdin.close()
        except BrokenPipeError:
            broken = True
        said = process.stdout.read().decode(errors="replace").strip()
    together.current().check()
    if broken or process.returncode != 0:
        raise ClusterError(
            f"{node}: containerd refused the image {name}: {said}", "See the node's containerd log, and `df -h`."
        )
    return sent


def _build(tag: str, title: str, build: Callable[[oci.Layout, cache.Build], None]) -> str:
    if layout().digest(tag) is None:
        with cache.lock("images") as descriptor:
            if layout().digest(tag) is None:
                with cache.workspace("images", title, descriptor) as work:
                    build(layout(), work)
    return tag


def _thin() -> str:
    return _build(base_image.tag(), f"image thin (Debian {base_image.SUITE} with Python)", base_image.build)


def _from_dockerfile(name: str) -> str:
    base = _thin()
    tag = dockerfile.tag(name, base)

    def build(into: oci.Layout, work: cache.Build) -> None:
        dockerfile.build(name, base, tag, into, work)
        # A trainer's environment is 6 GB: what an older lock file asked for goes with its last image.
        old = [other for other in into.tags() if other.startswith(f"{name}-")][:-KEPT]
        into.prune(lambda other: other not in old)

    return _build(tag, f"image {name}", build)


def _foreign() -> str:
    """Made beside the others, with which it shares nothing but the layout."""
    tag = foreign_image.tag()
    if layout().digest(tag) is None:
        with cache.lock("foreign") as descriptor:
            if layout().digest(tag) is None:
                title = f"image foreign (Debian {foreign_image.SUITE} with Python {foreign_image.PYTHON} and torch)"
                with cache.workspace("foreign", title, descriptor) as work:
                    rootfs = foreign_image.make(work)
                    with cache.lock("images"):
                        layout().prune(lambda other: not other.startswith("foreign-"))
                        foreign_image.add(rootfs, layout())
    return tag


def _pause() -> str:
    program = binaries.ensure("pause")["pause"]
    tag = f"pause-{cache.key(program)}"

    def fill(tar: tarfile.TarFile) -> None:
        member = tarfile.TarInfo("pause")
        member.mode, member.size = 0o755, program.stat().st_size
        with program.open("rb") as file:
            tar.addfile(member, file)

    config = {"Entrypoint": ["/pause"], "User": "65535:65535"}
    return _build(tag, "image pause", lambda layout, _: layout.add(tag, fill, config, "pause"))


_BUILDERS: dict[str, Callable[[], str]] = {
    "pause": _pause,
    "thin": _thin,
    "operator": functools.partial(_from_dockerfile, "operator"),
    "trainer": functools.partial(_from_dockerfile, "trainer"),
    "foreign": _foreign,
}
