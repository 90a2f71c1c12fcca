"""How images are kept in the cache, what they are named by, and what travels to a node.

containerd's client is stood in for by a script that keeps what it was sent.
"""

import concurrent.futures
import hashlib
import io
import json
import os
import pathlib
import re
import sys
import tarfile
import types

import pytest

from dtj_cluster import base_image, binaries, dockerfile, images, oci
from dtj_cluster.errors import ClusterError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


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


@pytest.fixture
def checkout(home, monkeypatch):
    """A checkout of which only the shape is real."""
    folder = home / "checkout"
    folder.mkdir()
    for part in dockerfile._CONTEXT:
        place = folder / part
        place.parent.mkdir(parents=True, exist_ok=True)
        if (dockerfile.CHECKOUT / part).is_dir():
            place.mkdir(parents=True)
            place /= "file"
        place.write_text(part)
    made = {"operator": folder / "Dockerfile", "trainer": folder / "trainer_image" / "Dockerfile"}
    for file in made.values():
        file.write_text("FROM base\n")
    monkeypatch.setattr(dockerfile, "CHECKOUT", folder)
    monkeypatch.setattr(dockerfile, "DOCKERFILES", made)
    return folder


@pytest.mark.parametrize("part", dockerfile._CONTEXT)
@pytest.mark.parametrize("name", ["operator", "trainer"])
def test_a_change_of_anything_that_is_copied_makes_another_image(checkout, name, part):
    before = dockerfile.tag(name, "base-1")
    changed = checkout / part
    changed = changed / "file" if changed.is_dir() else changed
    changed.write_text("changed")

    assert dockerfile.tag(name, "base-1") != before


def test_another_base_and_another_dockerfile_make_another_image(checkout):
    tags = {dockerfile.tag("operator", "base-1"), dockerfile.tag("operator", "base-2")}
    dockerfile.DOCKERFILES["operator"].write_text("FROM other\n")
    tags.add(dockerfile.tag("operator", "base-1"))

    assert len(tags) == 3


def test_tests_and_the_caches_of_tools_make_no_other_image(checkout):
    before = dockerfile.tag("trainer", "base-1")
    for beside in ("tests/test_it.py", "operator/.mypy_cache/it.json", "trainer_image/dtj/__pycache__/it.pyc"):
        (checkout / beside).parent.mkdir(parents=True)
        (checkout / beside).write_text("")

    assert dockerfile.tag("trainer", "base-1") == before


@pytest.mark.parametrize("name", ["operator", "trainer"])
def test_the_dockerfiles_copy_what_the_tag_counts_and_the_ignore_file_lets_through(name):
    text = dockerfile.DOCKERFILES[name].read_text()
    copied = [
        source for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE) for source in line.split()[:-1]
    ]
    allowed = (dockerfile.CHECKOUT / ".dockerignore").read_text().splitlines()

    for source in copied:
        assert any(
            source in (part, *map(str, pathlib.PurePath(part).parents)) or source.startswith(f"{part}/")
            for part in dockerfile._CONTEXT
        ), source
    assert {f"!{part}" for part in dockerfile._CONTEXT} == {line for line in allowed if line.startswith("!")}
    for part in dockerfile._CONTEXT:
        assert any(
            pathlib.PurePath(part).is_relative_to(source) or source.startswith(f"{part}/") for source in copied
        ), part


def test_the_operators_image_has_no_torch_and_both_run_as_an_ordinary_user():
    operator, trainer = (dockerfile.DOCKERFILES[name].read_text() for name in ("operator", "trainer"))

    assert "--extra trainer" not in operator
    assert "--extra operator" not in trainer
    for text in (operator, trainer):
        assert re.search(r"^USER 1000$", text, re.MULTILINE)
        assert "FROM ${BASE_IMAGE}" in text


def test_certificates_and_settings_of_the_machine_are_mounted_and_the_index_is_reached_by_them(home, monkeypatch):
    (home / "uv").write_text("#!/bin/sh\nenv; echo words $*\n")
    (home / "uv").chmod(0o755)
    (home / "ca.pem").write_text("certificate")
    (home / "config" / "uv").mkdir(parents=True)
    (home / "config" / "uv" / "uv.toml").write_text("settings")
    for key, value in {
        "UV": str(home / "uv"),
        "UV_INDEX_URL": "https://packages.example/a b",
        "UV_PROJECT_ENVIRONMENT": "/somewhere",
        "SSL_CERT_FILE": str(home / "ca.pem"),
        "XDG_CONFIG_HOME": str(home / "config"),
    }.items():
        monkeypatch.setenv(key, value)
    (home / "work").mkdir()

    made = dockerfile._machine(home / "work")

    wrapper = (made / "uv").read_text().splitlines()
    assert wrapper[0] == "#!/bin/sh"
    assert wrapper[-1] == 'exec /run/build/uv.program "$@"'
    assert set(wrapper[1:-1]) >= {
        "export UV_INDEX_URL='https://packages.example/a b'",
        "export UV_CACHE_DIR=/run/uv-cache",
        "export SSL_CERT_FILE=/run/build/certificates.pem",
        "export XDG_CONFIG_HOME=/run/build/config",
    }
    assert not any("UV_PROJECT_ENVIRONMENT" in line for line in wrapper)
    assert (made / "certificates.pem").read_text() == "certificate"
    assert (made / "config" / "uv" / "uv.toml").read_text() == "settings"
    assert os.access(made / "uv.program", os.X_OK)


def test_the_base_comes_from_the_mirror_that_apt_uses(home, monkeypatch):
    (home / "bin").mkdir()
    apt = home / "bin" / "apt-get"
    apt.write_text(
        '#!/bin/sh\ncase "$*" in *"Codename: bookworm"*) printf "http://one/debian\\nhttp://two/debian\\n";; esac\n'
    )
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{apt.parent}:{os.environ['PATH']}")
    assert base_image._mirror() == ["http://one/debian"]

    apt.write_text("#!/bin/sh\nexit 1\n")
    assert base_image._mirror() == []


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
    program = folder / "ctr"
    program.write_text(CTR)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
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
        ClusterError, match=r"there is no image 'trainr'\nThe images are pause, thin, operator, trainer"
    ):
        images.ensure("trainr")


@pytest.mark.parametrize(
    ("prefix", "base_prefix", "mounts"),
    [
        ("{checkout}/.venv", "/opt/python", ["{checkout}", "/opt/python"]),
        ("{checkout}/.venv", "/usr", ["{checkout}"]),
        ("/venvs/dtj", "/opt/python", ["{checkout}", "/venvs/dtj", "/opt/python"]),
        ("/opt/python", "/opt/python", ["{checkout}", "/opt/python"]),
    ],
)
def test_a_thin_pod_mounts_the_checkout_the_environment_and_its_interpreter(monkeypatch, prefix, base_prefix, mounts):
    checkout = str(dockerfile.CHECKOUT)
    monkeypatch.setattr(sys, "prefix", prefix.format(checkout=checkout))
    monkeypatch.setattr(sys, "base_prefix", base_prefix)

    assert images.thin_mounts() == [pathlib.Path(mount.format(checkout=checkout)) for mount in mounts]


def test_all_nodes_may_make_the_layout_at_once(home):
    layout = oci.Layout(home / "images")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for _ in range(30):
            list(pool.map(lambda _: layout.create(), range(8)))
    assert layout.tags() == []
    assert [path.name for path in layout.path.glob(".*partial*")] == []
