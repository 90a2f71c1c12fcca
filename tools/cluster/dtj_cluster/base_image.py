"""The base of all images: Debian with Python, made from Debian's own packages.

It takes the place of python:3.11-slim, which only a registry of images has. The Dockerfiles get from it what they get
from that one and no more: `python` and `python3` of 3.11, with pip and venv, that no package manager claims for itself,
and the authorities that Debian trusts; no uv, no compiler. A test builds both on it alone.
"""

import pathlib
import shutil
import subprocess
import tarfile

from dtj_cluster import binaries, cache, oci

SUITE = "bookworm"
PACKAGES = ("ca-certificates", "python3", "python3-pip", "python3-venv")
# What only apt and readers need; most of a minimal Debian's size that is not a program.
_DROPPED = ("usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache/apt", "var/lib/apt/lists", "var/log")
# Filled by the runtime when a container starts.
_EMPTY = ("dev", "proc", "sys")
CONFIG = {
    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"],
    "Cmd": ["python3"],
}


def tag() -> str:
    """The tag in the layout: a hash of this recipe."""
    return f"base-{SUITE}-{cache.key(pathlib.Path(__file__))}"


def build(layout: oci.Layout, work: cache.Build) -> None:
    """Make the image, with debootstrap as root, from the mirror that this machine's apt uses."""
    debootstrap = binaries.ensure("debootstrap")["debootstrap"]
    rootfs = work.folder / "rootfs"
    work.run(
        [debootstrap, "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, rootfs, *_mirror()],
        on_line=lambda line: setattr(work.step, "detail", line.removeprefix("I: ").strip()),
        mend="debootstrap needs root, the right to mount and to make devices, and a Debian mirror; "
        "a failed download may be tried again.",
    )
    work.step.detail = "pack"
    for name in _DROPPED:
        shutil.rmtree(rootfs / name)
        (rootfs / name).mkdir()
    for name in _EMPTY:
        for entry in (rootfs / name).iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    # Debian's Python is for Debian's packages; python:3.11-slim has one that is anybody's, under both names.
    (rootfs / "usr/lib/python3.11/EXTERNALLY-MANAGED").unlink()
    (rootfs / "usr/bin/python").symlink_to("python3")
    # Programs mounted below it (an interpreter of the user's) are to be reached by other users.
    (rootfs / "root").chmod(0o755)
    layout.add(tag(), lambda tar: tar.add(rootfs, ".", filter=_without_names), CONFIG, f"debootstrap {SUITE}")
    work.step.detail = ""


def _without_names(member: tarfile.TarInfo) -> tarfile.TarInfo:
    # The owner's numbers count; names are this machine's.
    member.uname = member.gname = ""
    return member


def _mirror() -> list[str]:
    """The Debian mirror that apt is configured with, for the suite; empty for debootstrap's own choice."""
    asked = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", f"Codename: {SUITE}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return asked.stdout.split()[:1]
