"""Where the cluster's programs come from, and what is said when one cannot be had.

Go and apt are stood in for by scripts that write down how they were called.
"""

import os
import pathlib
import re

import pytest
from programs import program

from dtj_cluster import binaries, cache, control_plane, node
from dtj_cluster.errors import ClusterError

GO = """\
#!/bin/sh
if [ "$1" = version ]; then echo "go version go1.26.9 linux/amd64"; exit; fi
echo "$PWD $CGO_ENABLED $GOTOOLCHAIN $*" >> "$CALLS"
while [ "$1" != -o ]; do shift; done
echo github.com/some/package
echo program > "$2"
"""


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine with an empty cache, and a folder in front of its PATH for programs that are stood in for."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "calls").touch()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(binaries, "_SYSTEM_PATH", str(tmp_path / "bin"))
    binaries._go_version.cache_clear()
    yield tmp_path
    binaries._go_version.cache_clear()


def stand_in(machine, name, script):
    made = machine / "bin" / name
    program(made, script)
    return made


def calls(machine):
    return (machine / "calls").read_text().splitlines()


@pytest.fixture
def sources(machine, monkeypatch):
    """Copies of the pinned modules, so that a test may change them."""
    copy = machine / "go"
    for module in binaries.GO_MODULES:
        (copy / module.name).mkdir(parents=True)
        for file in module.folder.iterdir():
            (copy / module.name / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr("dtj_preflight.machine.GO_SOURCES", copy)
    stand_in(machine, "go", GO)
    return copy


def test_all_parts_of_the_cluster_come_from_somewhere(machine):
    for name in (*control_plane.PROGRAMS, *node.PROGRAMS, "coredns", "helm", "kwok", "pause", "buildah", "promtool"):
        assert binaries._MODULE_OF.get(name) or binaries._PACKAGE_OF.get(name) or binaries._FIXED.get(name), name


@pytest.mark.parametrize("module", binaries.GO_MODULES, ids=lambda module: module.name)
def test_every_go_module_is_pinned(module):
    text = (module.folder / "go.mod").read_text()
    if module.upstream:
        assert re.fullmatch(r"v\d+\.\d+\.\d+", module.version())
        assert f"{module.upstream} {module.version()}" in text
        assert (module.folder / "go.sum").is_file()
    else:
        assert "require" not in text
    assert (module.package == ".") == (module.folder / "main.go").is_file()


def test_kubernetes_programs_are_one_file_that_knows_its_version():
    kube = next(module for module in binaries.GO_MODULES if module.name == "kube")
    major, minor = kube.version().removeprefix("v").split(".")[:2]

    for variable, value in {"gitVersion": kube.version(), "gitMajor": major, "gitMinor": minor}.items():
        assert f"-X k8s.io/component-base/version.{variable}={value}" in kube.linker_flags()
    assert {"kube-apiserver", "kubelet", "kubectl"} <= set(kube.programs)


def test_a_go_program_is_compiled_once_without_c_and_without_another_toolchain(machine, sources):
    found = binaries.ensure("kubelet", "kubectl")
    again = binaries.ensure("kube-proxy")

    assert {path.resolve() for path in (*found.values(), *again.values())} == {found["kubelet"].parent / "kube"}
    assert found["kubelet"].read_text() == "program\n"
    (call,) = calls(machine)
    assert call.startswith(f"{sources / 'kube'} 0 local build ")
    assert "-trimpath" in call


@pytest.mark.parametrize("file", ["main.go", "go.mod", "go.sum"])
def test_a_changed_module_is_compiled_again(machine, sources, file):
    before = binaries.ensure("etcd")["etcd"]
    changed = sources / "etcd" / file
    changed.write_text(changed.read_text() + "// changed\n")

    assert binaries.ensure("etcd")["etcd"] != before
    assert before.exists()
    assert len(calls(machine)) == 2


def test_another_compiler_compiles_again(machine, sources):
    before = binaries.ensure("pause")["pause"]
    stand_in(machine, "go", GO.replace("1.26.9", "1.26.10"))
    binaries._go_version.cache_clear()

    assert binaries.ensure("pause")["pause"] != before


def test_only_what_is_asked_for_is_compiled(machine, sources):
    binaries.ensure("etcd")

    assert [call.split()[0] for call in calls(machine)] == [str(sources / "etcd")]


def test_a_module_without_its_upstream_is_named(sources):
    (sources / "etcd" / "go.mod").write_text("module etcd\n")

    with pytest.raises(ClusterError, match=r"etcd/go\.mod does not say which version of go\.etcd\.io/etcd/server/v3"):
        binaries.ensure("etcd")


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("#!/bin/sh\nexit 1\n", "go version` failed"),
        ("#!/bin/sh\necho go version go1.21.5 linux/amd64\n", "go is `go version go1.21.5 linux/amd64`"),
        ("#!/bin/sh\necho what\n", "go is `what`"),
    ],
)
def test_go_that_is_broken_or_too_old_is_said_before_anything_is_built(machine, sources, script, problem):
    stand_in(machine, "go", script)

    with pytest.raises(ClusterError) as caught:
        binaries.ensure("etcd")

    assert problem in str(caught.value)
    assert "Install Go 1.26.4 from" in str(caught.value)


def test_a_machine_without_go_is_told_so(machine, sources, monkeypatch):
    (machine / "bin" / "go").unlink()
    monkeypatch.setenv("PATH", str(machine / "bin"))

    with pytest.raises(ClusterError, match=r"Go 1\.26\.4 or newer is needed, and there is no `go` on PATH"):
        binaries.ensure("etcd")


def test_a_compiler_that_fails_is_quoted_and_leaves_nothing(machine, sources):
    stand_in(machine, "go", GO.replace("echo program", "echo disk full; exit 2; echo program"))

    with pytest.raises(cache.BuildError) as caught:
        binaries.ensure("etcd")

    text = str(caught.value)
    assert text.startswith("etcd v")
    assert "  | disk full" in text
    assert not list(cache.root().glob("*etcd-*"))


def test_an_unknown_program_is_refused_with_the_known_ones():
    with pytest.raises(ClusterError) as caught:
        binaries.ensure("kubelet", "cubelet")

    assert str(caught.value).startswith("no such program: cubelet\nKnown are ")
    assert "kubelet" in str(caught.value)


def test_a_program_of_the_system_is_taken_as_it_is(machine):
    own = stand_in(machine, "promtool", "#!/bin/sh\n")

    assert binaries.ensure("promtool") == {"promtool": own}


def test_a_program_that_happens_to_be_on_the_path_is_none_of_ours(machine, debian, monkeypatch):
    strangers = machine / "home" / "bin"
    program(strangers / "promtool", "#!/bin/sh\n")
    monkeypatch.setenv("PATH", f"{strangers}:{os.environ['PATH']}")
    stand_in(machine, "apt-get", APT.replace("echo new", f"cp {strangers / 'promtool'} {machine / 'bin'}; echo new"))

    assert binaries.ensure("promtool") == {"promtool": machine / "bin" / "promtool"}
    assert calls(machine)[-1].endswith("install -y --no-install-recommends prometheus")


def test_what_the_user_sets_for_go_is_left_to_go(machine, sources, monkeypatch):
    monkeypatch.setenv("GOFLAGS", "-modcacherw")
    stand_in(machine, "go", GO.replace("$GOTOOLCHAIN", "$GOFLAGS"))

    binaries.ensure("etcd")

    assert calls(machine)[0].split()[2] == "-modcacherw"


APT = '#!/bin/sh\necho "$DEBIAN_FRONTEND $*" >> "$CALLS"\necho new >> "${0%/*}/dpkg-query.installed"\n'
DPKG = '#!/bin/sh\nfor last; do :; done\nif grep -qx "$last" "$0.installed"; then printf installed; else exit 1; fi\n'


@pytest.fixture
def debian(machine, monkeypatch):
    """A Debian on which `old` is installed, and whose apt installs what it is asked to."""
    stand_in(machine, "dpkg-query", DPKG)
    installed = machine / "bin" / "dpkg-query.installed"
    installed.write_text("old\n")
    stand_in(machine, "apt-get", APT)
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_absent_packages_are_installed_and_present_ones_left_alone(machine, debian):
    binaries.ensure_debian("old", "new")
    binaries.ensure_debian("old", "new")

    assert calls(machine) == [
        "noninteractive -q update",
        "noninteractive -q install -y --no-install-recommends new",
    ]


def test_who_is_not_root_gets_the_command(machine, debian, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(ClusterError, match=r"Run: sudo apt-get install --no-install-recommends new"):
        binaries.ensure_debian("old", "new")

    assert calls(machine) == []


def test_a_system_without_apt_gets_the_names(machine, debian, monkeypatch):
    (machine / "bin" / "apt-get").unlink()
    for tool in ("sh", "grep"):
        (machine / "bin" / tool).symlink_to(pathlib.Path("/bin") / tool)
    monkeypatch.setenv("PATH", str(machine / "bin"))

    with pytest.raises(ClusterError, match="programs are missing that Debian has in: new"):
        binaries.ensure_debian("new")


def test_apt_that_fails_is_quoted(machine, debian):
    stand_in(machine, "apt-get", "#!/bin/sh\necho E: no network >&2\nexit 100\n")

    with pytest.raises(cache.BuildError) as caught:
        binaries.ensure_debian("new")

    assert "  | E: no network" in str(caught.value)
    assert "apt-get install --no-install-recommends new" in str(caught.value)
