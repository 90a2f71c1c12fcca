"""What a cluster writes down, and the names and places that it refuses."""

import pytest

from dtj_cluster.errors import ClusterError
from dtj_cluster.identity import ProcessIdentity
from dtj_cluster.state import Options, Paths, Phase, State, clusters


@pytest.fixture(autouse=True)
def state_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def state(**changes):
    made = State(
        name="one", boot="boot", phase=Phase.UP, options=Options(nodes=2), ports={"etcd": 1}, network=3,
        kernel={"vm/overcommit_memory": "0"}, folders=["/var/lib/cni"], owner=ProcessIdentity(1, 2, "boot"),
    )  # fmt: skip
    return made.model_copy(update=changes)


def test_the_state_is_read_as_it_was_written():
    paths = Paths.of("one")
    paths.save(state())

    assert paths.load() == state()
    assert clusters() == [paths]


def test_no_file_means_no_state():
    assert Paths.of("one").load() is None
    assert clusters() == []


@pytest.mark.parametrize("text", ["", "{", "{}", '{"name": "one", "surprise": 1}'])
def test_a_damaged_state_is_named_and_never_guessed_at(text):
    paths = Paths.of("one")
    paths.save(state())
    paths.file.write_text(text)

    with pytest.raises(ClusterError, match=r"state\.json is damaged"):
        paths.load()


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a/b", "..", "a" * 31, "a\n"])
def test_a_name_that_cannot_be_a_folder_or_a_control_group_is_refused(name):
    with pytest.raises(ClusterError, match="is not a name"):
        Paths.of(name)


@pytest.mark.parametrize("name", ["a", "dtj", "a-b", "0", "a" * 30])
def test_names_that_are_taken(name):
    assert Paths.of(name).root.name == f"cluster-{name}"


@pytest.mark.parametrize("place", ["/run/user/0", "/var/log/x", "/var/lib/kubelet"])
def test_a_place_that_the_nodes_cannot_see_is_refused(monkeypatch, place):
    monkeypatch.setenv("XDG_STATE_HOME", place)

    with pytest.raises(ClusterError, match="would be hidden from the nodes"):
        Paths.of("one").check_for_nodes()


def test_a_place_too_deep_for_a_socket_is_refused(monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/srv/" + "x" * 60)

    with pytest.raises(ClusterError, match=r"socket path .* is \d+ characters long; the kernel takes 107"):
        Paths.of("one").check_for_nodes()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nodes": 99}, r"--nodes: 99 is not allowed: .*less than or equal to 32"),
        ({"nodes": -1}, r"--nodes: -1 is not allowed: .*greater than or equal to 0"),
        ({"fake_nodes": 10**6}, r"--fake-nodes: 1000000 is not allowed"),
        ({"client_qps": 0}, r"--client-qps: 0 is not allowed"),
    ],
)
def test_a_number_out_of_range_is_named_with_what_is_allowed(values, message):
    with pytest.raises(ClusterError, match=message):
        Options.checked(**values)


def test_only_one_command_at_a_time_works_on_a_cluster():
    paths = Paths.of("one")
    with paths.locked(), pytest.raises(ClusterError, match="another command is at work"), Paths.of("one").locked():
        pass
    with paths.locked():
        pass
