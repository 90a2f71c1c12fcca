"""The image of somebody else's: what it is made from, and how it comes into the layout beside the others."""

import io
import os
import tarfile

import pytest

from dtj_cluster import cache, dockerfile, foreign_image, images


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def made(monkeypatch):
    """The calls of its maker, which makes one file in no time."""
    calls = []

    def make(work):
        calls.append(work.name)
        rootfs = work.folder / "rootfs"
        rootfs.mkdir()
        (rootfs / "file").write_text("somebody's")
        return rootfs

    monkeypatch.setattr(foreign_image, "make", make)
    return calls


def test_it_is_made_once_and_the_one_before_goes(made, monkeypatch):
    for tag in ("foreign-before", "trainer-other"):
        images.layout().add(tag, lambda tar: tar.addfile(tarfile.TarInfo("empty"), io.BytesIO()), {}, "")

    assert [images.ensure("foreign") for _ in range(2)] == [foreign_image.tag()] * 2

    assert made == ["foreign"]
    assert images.layout().tags() == ["trainer-other", foreign_image.tag()]
    (layer,) = images.layout().manifest(foreign_image.tag())["layers"]
    with tarfile.open(images.layout().blobs / layer["digest"].removeprefix("sha256:")) as tar:
        assert (tar.extractfile("./file").read(), tar.getmember("./file").uname) == (b"somebody's", "")


def test_it_is_made_while_another_image_is(made, monkeypatch):
    """It waits for downloads, and the others for the disk; only the layout is for one at a time."""
    steps = []
    make = foreign_image.make

    def beside(work):
        with cache.lock("images"):
            steps.append("another is made")
        return make(work)

    monkeypatch.setattr(foreign_image, "make", beside)
    images.ensure("foreign")
    assert steps == ["another is made"]


def test_another_torch_makes_another_image(home, monkeypatch):
    before = foreign_image.tag()
    assert foreign_image.torch_version().startswith("2.")
    (home / "uv.lock").write_text('[[package]]\nname = "torch"\nversion = "3.0.1"\n')
    monkeypatch.setattr(dockerfile, "CHECKOUT", home)
    assert foreign_image.torch_version() == "3.0.1"
    assert foreign_image.tag() != before


def test_pods_call_it_by_no_name_of_ours():
    """An image called dtj-trainer is taken to hold the launcher."""
    assert "dtj" not in images.reference("foreign")


def test_its_mirror_is_that_of_apt(home, monkeypatch):
    apt = home / "apt-get"
    apt.write_text(
        '#!/bin/sh\ncase "$*" in *"Label: Debian"*) printf "http://one/debian\\nhttp://two/debian\\n";; esac\n'
    )
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}:{os.environ['PATH']}")
    assert foreign_image._mirror() == "http://one/debian"

    apt.write_text("#!/bin/sh\nexit 1\n")
    assert foreign_image._mirror() == ""
