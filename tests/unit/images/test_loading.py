"""What travels to a node, and under which name it is kept there.

containerd's client is stood in for by a script that keeps what it was sent.
"""

import json
import re
import tarfile
import types

import pytest
from programs import program

from dtj_cluster import binaries, images, oci
from dtj_cluster.errors import ClusterError

# Answers `images ls`, `content ls` and `images import` as `ctr` does, from files beside it.
CTR = """\
#!/bin/sh
here=$(dirname "$0"); echo "$*" >> "$here/calls"
case "$*" in
  *" images ls "*) cat "$here/images" ;;
  *" content ls "*) cat "$here/content" ;;
  *" images import "*) cat > "$here/archive.tar" ;;
esac
"""


@pytest.fixture
def node(home, monkeypatch):
    folder = home / "ctr"
    folder.mkdir()
    for name in ("images", "content", "calls"):
        (folder / name).touch()
    program(folder / "ctr", CTR)
    monkeypatch.setattr(binaries, "_SYSTEM_PATH", f"{folder}:{binaries._SYSTEM_PATH}")
    pause = home / "pause"
    pause.write_text("program")
    known = binaries.ensure
    monkeypatch.setattr(binaries, "ensure", lambda *names: {"pause": pause} if names == ("pause",) else known(*names))
    return types.SimpleNamespace(name="node-7", containerd_socket=home / "containerd.sock", folder=folder)


def test_loading_sends_the_image_under_the_name_that_pods_write(node):
    images.load("pause", [node])

    with tarfile.open(node.folder / "archive.tar") as tar:
        (entry,) = json.loads(tar.extractfile("index.json").read())["manifests"]
    assert entry["annotations"][oci.CONTAINERD_NAME] == images.reference("pause")
    assert entry["digest"] == images.layout().digest(images.ensure("pause"))
    for call in (node.folder / "calls").read_text().splitlines():
        assert call.startswith(f"--address {node.containerd_socket} --namespace k8s.io ")


def test_loading_sends_nothing_to_a_node_that_has_the_image(node):
    digest = images.layout().digest(images.ensure("pause"))
    (node.folder / "images").write_text(f"REF TYPE DIGEST\n{images.reference('pause')} type {digest} 1 MiB\n")

    images.load("pause", [node])

    assert not (node.folder / "archive.tar").exists()


def test_loading_replaces_an_older_image_and_sends_only_what_is_new(node):
    tag = images.ensure("pause")
    (layer,) = images.layout().manifest(tag)["layers"]
    (node.folder / "images").write_text(f"REF TYPE DIGEST\n{images.reference('pause')} type sha256:older 1 MiB\n")
    (node.folder / "content").write_text(layer["digest"] + "\n")

    images.load("pause", [node])

    with tarfile.open(node.folder / "archive.tar") as tar:
        assert f"blobs/sha256/{layer['digest'].removeprefix('sha256:')}" not in tar.getnames()


def test_the_older_image_keeps_a_name_until_the_new_one_stands(node):
    """Or containerd collects the layers that the new one is being unpacked onto."""
    name = images.reference("pause")
    (node.folder / "images").write_text(f"REF TYPE DIGEST\n{name} type sha256:older 1 MiB\n")

    images.load("pause", [node])

    calls = [call.partition(" images ")[2] for call in (node.folder / "calls").read_text().splitlines()]
    changes = [call for call in calls if call and not call.startswith("ls")]
    assert changes == [f"tag --force {name} {name}-before", "import -", f"rm {name}-before"]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ('*" images ls "*) echo connection refused >&2; exit 1 ;;', "containerd does not answer: connection refused"),
        ('*" images import "*) cat > /dev/null; echo no space left; exit 1 ;;', "node-7: containerd refused the image"),
        ('*" images import "*) echo no space left; exit 1 ;;', "no space left"),
    ],
)
def test_a_containerd_that_refuses_is_quoted_with_the_nodes_name(node, case, said):
    (node.folder / "ctr").write_text(CTR.replace('case "$*" in\n', f'case "$*" in\n  {case}\n'))

    with pytest.raises(ClusterError, match=re.escape(said)):
        images.load("pause", [node])


def test_an_unknown_image_is_refused_with_the_known_ones():
    with pytest.raises(
        ClusterError, match=r"there is no image 'trainr'\nThe images are pause, thin, operator, trainer, foreign"
    ):
        images.ensure("trainr")
