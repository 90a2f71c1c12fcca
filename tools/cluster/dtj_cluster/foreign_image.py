"""An image as somebody else has it: Debian's next release with its Python 3.14, and torch from the package index.

No stable Debian has a Python newer than 3.13, so the suite is the one in testing. Torch lies where `pip install
--break-system-packages torch` puts it, in the version of the lock file. Nothing of ours is in it, nor what ours alone
needs: what tests find out there is what jobs with an image of their own will meet.
"""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

from dtj_cluster import base_image, binaries, cache, dockerfile, oci

REFERENCE = "localhost/somebody/torch:1"
"""What pods call it: no name by which it would be taken to hold the launcher already."""
SUITE, PYTHON = "forky", "3.14"
PLATFORM = "x86_64-manylinux_2_28"
# The tests that run in it make mount namespaces.
_PACKAGES = (f"python{PYTHON}", "mount")
# The machine's debootstrap may be older than the suite, which is made like the one that all suites come from.
_SCRIPT = "sid"
_SITE_PACKAGES = pathlib.PurePath("usr/local/lib", f"python{PYTHON}", "dist-packages")
# 3 GB that are loaded on a GPU alone: packages that are left out, and parts of those that torch links to.
_LEFT_OUT = ("cuda-bindings", "nvidia-cuda-cccl", "nvidia-cusolver", "nvidia-nvjitlink", "triton")
_TAKEN_OUT = "nvidia/cudnn/lib/libcudnn_*"
# As pip writes it; what uv writes would be run by the Python that calls uv.
_TORCHRUN = f"""#!/usr/bin/python{PYTHON}
import sys

from torch.distributed.run import main

sys.exit(main())
"""
_IMPORTS = "import torch, torch._dynamo, torch.distributed.run, torch.utils.data"
# What only apt and readers need, and what the runtime fills when a container starts.
_EMPTIED = ("dev", "proc", "sys", "usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache/apt", "var/lib/apt")


def torch_version() -> str:
    """The version of torch in the lock file."""
    found = re.search(
        r'^name = "torch"\nversion = "(.+)"$', (dockerfile.CHECKOUT / "uv.lock").read_text(), re.MULTILINE
    )
    assert found is not None, "uv.lock names no torch"
    return found.group(1)


def tag() -> str:
    """The tag in the layout: a hash of this recipe and of torch's version."""
    return f"foreign-{cache.key(pathlib.Path(__file__), torch_version())}"


def make(work: cache.Build) -> pathlib.Path:
    """Its file system, with debootstrap as root."""
    debootstrap = binaries.ensure("debootstrap")["debootstrap"]
    rootfs = work.folder / "rootfs"
    work.run(
        [debootstrap, "--variant=minbase", f"--include={','.join(_PACKAGES)}", SUITE, rootfs, _mirror(), _SCRIPT],
        on_line=lambda line: setattr(work.step, "detail", line.removeprefix("I: ").strip()),
        mend="debootstrap needs root, the right to mount and to make devices, and a Debian mirror; a suite in testing "
        "may lack a package for some hours: try again later.",
    )
    for name in ("python", "python3"):
        (rootfs / "usr/local/bin" / name).symlink_to(f"/usr/bin/python{PYTHON}")
    _install_torch(work, rootfs / _SITE_PACKAGES)
    torchrun = rootfs / "usr/local/bin/torchrun"
    torchrun.write_text(_TORCHRUN)
    torchrun.chmod(0o755)
    # Compiles what a pod imports first: a user without rights could not keep that, and each pod would compile it anew.
    work.step.detail = "import torch"
    work.run(["chroot", rootfs, "python", "-c", _IMPORTS], mend="See the log: torch cannot be imported in the image.")
    for name in _EMPTIED:
        shutil.rmtree(rootfs / name)
        (rootfs / name).mkdir()
    work.step.detail = ""
    return rootfs


def _install_torch(work: cache.Build, target: pathlib.Path) -> None:
    """By the project's uv: its cache, and this machine's way to the package index; the image's Python is not run."""
    mend = "A failed download may be tried again; see `df -h`: torch and its libraries are 3 GB."
    work.step.detail = f"torch {torch_version()}"
    locked, excluded = work.folder / "locked.txt", work.folder / "excluded.txt"
    export = ["export", "--frozen", "--no-dev", "--extra", "trainer", "--no-emit-project", "--no-hashes", "--quiet"]
    work.run([dockerfile.UV, *export, "--output-file", locked], cwd=dockerfile.CHECKOUT, mend=mend)
    excluded.write_text("\n".join(_LEFT_OUT))
    # Torch warns at each import where there is no numpy.
    work.run(
        [
            dockerfile.UV, "pip", "install", "--python", sys.executable, "--target", target, "--only-binary", ":all:",
            "--python-version", PYTHON, "--python-platform", PLATFORM, "--constraints", locked, "--excludes", excluded,
            f"torch=={torch_version()}", "numpy",
        ],
        mend=mend,
    )  # fmt: skip
    for library in target.glob(_TAKEN_OUT):
        library.unlink()
    shutil.rmtree(target / "bin")


def add(rootfs: pathlib.Path, layout: oci.Layout) -> None:
    """Put the image into the layout."""
    layout.add(
        tag(), lambda tar: tar.add(rootfs, ".", filter=_without_names), base_image.CONFIG, f"debootstrap {SUITE}"
    )


def _without_names(member: tarfile.TarInfo) -> tarfile.TarInfo:
    # The owner's numbers count; names are this machine's.
    member.uname = member.gname = ""
    return member


def _mirror() -> str:
    """The Debian mirror that apt is configured with, which has all suites; empty for debootstrap's own choice."""
    asked = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", "Origin: Debian", "Label: Debian"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return next(iter(asked.stdout.split()), "")
