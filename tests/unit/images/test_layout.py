"""How images are kept in the cache, and what leaves it."""

import concurrent.futures
import hashlib
import io
import json
import pathlib
import tarfile

import pytest

from dtj_cluster import oci


@pytest.fixture
def layout(home):
    made = oci.Layout(home / "layout")
    made.create()
    return made


def files(**contents):
    def fill(tar):
        for name, text in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))

    return fill


def add(layout, tag, **contents):
    layout.add(tag, files(**contents), {"Cmd": ["run"]}, "by hand")


def sent(layout, tag, present=()):
    stream = io.BytesIO()
    size = layout.export(tag, "localhost/it:1", frozenset(present), stream)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as tar:
        return size, {member.name: tar.extractfile(member).read() for member in tar}


def test_an_image_is_in_the_layout_as_the_specification_wants_it(layout):
    add(layout, "one", a="text")

    manifest = layout.manifest("one")
    (layer,) = manifest["layers"]
    config = json.loads((layout.blobs / manifest["config"]["digest"].removeprefix("sha256:")).read_text())
    assert config["rootfs"]["diff_ids"] == [layer["digest"]]
    assert config["config"] == {"Cmd": ["run"]}
    with tarfile.open(layout.blobs / layer["digest"].removeprefix("sha256:")) as tar:
        assert tar.extractfile("a").read() == b"text"
    for blob in layout.blobs.iterdir():
        assert blob.name == hashlib.sha256(blob.read_bytes()).hexdigest()


def test_the_same_files_are_one_layer(layout):
    add(layout, "one", a="text")
    add(layout, "two", a="text")

    assert layout.manifest("one")["layers"] == layout.manifest("two")["layers"]
    assert len(list(layout.blobs.iterdir())) == 3


def test_a_build_that_stops_half_way_leaves_no_image(layout):
    def half(tar):
        files(a="text")(tar)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        layout.add("one", half, {}, "")

    assert layout.digest("one") is None
    assert [file.name for file in layout.path.iterdir() if "partial" in file.name] == []
    with pytest.raises(KeyError):
        layout.manifest("one")


def test_an_archive_holds_the_whole_image_under_its_name(layout):
    add(layout, "one", a="text")
    add(layout, "two", b="other")

    size, archive = sent(layout, "one")

    blobs = {name: data for name, data in archive.items() if name.startswith("blobs/sha256/")}
    assert size == sum(len(data) for data in blobs.values())
    assert all(hashlib.sha256(data).hexdigest() == pathlib.PurePath(name).name for name, data in blobs.items())
    (entry,) = json.loads(archive["index.json"])["manifests"]
    assert entry["digest"] == layout.digest("one")
    assert entry["annotations"] == {oci.CONTAINERD_NAME: "localhost/it:1", oci.REF_NAME: "localhost/it:1"}
    manifest = json.loads(archive[f"blobs/sha256/{entry['digest'].removeprefix('sha256:')}"])
    for blob in (manifest["config"], *manifest["layers"]):
        assert f"blobs/sha256/{blob['digest'].removeprefix('sha256:')}" in blobs


def test_an_archive_leaves_out_what_the_node_has(layout):
    add(layout, "one", a="text")
    (layer,) = layout.manifest("one")["layers"]
    whole, everything = sent(layout, "one")

    size, archive = sent(layout, "one", [layer["digest"]])

    assert everything.keys() - archive.keys() == {f"blobs/sha256/{layer['digest'].removeprefix('sha256:')}"}
    assert size == whole - layer["size"]


def test_pruning_removes_what_no_image_needs(layout):
    add(layout, "one", a="text")
    add(layout, "same", a="text")
    add(layout, "old", b="other")
    needed = set(layout.blobs.iterdir())
    add(layout, "old", c="third")

    layout.prune(lambda tag: tag != "old")

    assert (layout.digest("old"), layout.digest("one") is None) == (None, False)
    assert set(layout.blobs.iterdir()) < needed
    sent(layout, "one")
    sent(layout, "same")


def test_all_nodes_may_make_the_layout_at_once(home):
    layout = oci.Layout(home / "images")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for _ in range(30):
            list(pool.map(lambda _: layout.create(), range(8)))
    assert layout.tags() == []
    assert [path.name for path in layout.path.glob(".*partial*")] == []
