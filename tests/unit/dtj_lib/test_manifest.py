"""The files of a checkpoint are those that were written, or it is not restored."""

import errno
import json
import pathlib

import pytest

from dtj import manifest

FILES = ["model.pt", "tensors/.metadata", "tensors/__0_0.distcp", "tensors/__1_0.distcp", "tensors/__10_0.distcp"]


@pytest.fixture
def checkpoint(tmp_path):
    """As eleven ranks write it: the names of one are the beginning of another's."""
    (tmp_path / "tensors").mkdir()
    for name in FILES:
        (tmp_path / name).write_bytes(name.encode() * 1000)
    sums = {}
    for rank in range(11):
        sums |= manifest.sums_of(tmp_path, manifest.deal([manifest.files_in(tmp_path)] * 11, rank))
    (tmp_path / manifest.FILE).write_bytes(manifest.to_json(sums))
    return tmp_path


@pytest.mark.parametrize("world", [1, 2, 3, 11, 20])
def test_what_is_as_it_was_written_is_whole_for_any_number_of_ranks(checkpoint, world):
    assert [manifest.problems(checkpoint, rank, world) for rank in range(world)] == [[]] * world


@pytest.mark.parametrize("world", [1, 2, 3, 11, 20])
def test_each_file_is_summed_by_one_rank_and_by_the_one_that_wrote_it(checkpoint, world):
    shares = [manifest.deal([manifest.files_in(checkpoint)] * world, rank) for rank in range(world)]
    assert sorted(name for share in shares for name in share) == sorted(FILES)
    for writer in (0, 1, 10):
        assert writer >= world or f"tensors/__{writer}_0.distcp" in shares[writer]


def test_a_file_that_only_one_machine_sees_yet_is_summed_there():
    listings = [["a", "c"], ["b", "c"], ["c", "tensors/__1_0.distcp"]]
    shares = [manifest.deal(listings, rank) for rank in range(3)]
    assert sorted(name for share in shares for name in share) == ["a", "b", "c", "tensors/__1_0.distcp"]
    assert "a" in shares[0]
    assert "b" in shares[1]
    assert "tensors/__1_0.distcp" in shares[2]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("cut", "{name} has {less} bytes, and {size} were written"),
        ("longer", "{name} has {more} bytes, and {size} were written"),
        ("flipped", "{name} has other content than was written"),
        ("lost", "{name} is missing"),
    ],
)
def test_what_is_not_is_named(checkpoint, name, damage, problem):
    path = checkpoint / name
    content = path.read_bytes()
    half = len(content) // 2
    flipped = content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
    changed = {"cut": content[:-1], "longer": content + b"x", "flipped": flipped}
    path.unlink() if damage == "lost" else path.write_bytes(changed[damage])
    found = [problem for rank in range(3) for problem in manifest.problems(checkpoint, rank, 3)]
    size = len(content)
    assert found == [problem.format(name=name, size=size, less=size - 1, more=size + 1)]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"files": {"a": 3}}', '{"files": {"a": [1]}}', "\x00" * 10])
def test_a_manifest_that_cannot_be_read_is_a_problem(checkpoint, content):
    (checkpoint / manifest.FILE).write_text(content)
    assert manifest.problems(checkpoint) == ["dtj-manifest.json cannot be read"]


@pytest.mark.parametrize("files", [{}, {"model": {"parts": 3}}, None], ids=["the same", "others", "none"])
def test_a_manifest_of_another_version_is_none_but_an_error(checkpoint, files):
    """What it says of the files may be said in another way."""
    body = {"format": 99} if files is None else {"format": 99, "files": files}
    (checkpoint / manifest.FILE).write_text(json.dumps(body))
    with pytest.raises(manifest.OtherFormatError, match="is of format 99, and this version of dtj knows 2: go on with"):
        manifest.problems(checkpoint)


def test_without_a_manifest_nothing_is_known(checkpoint):
    (checkpoint / manifest.FILE).unlink()
    assert manifest.problems(checkpoint) == []


def test_a_file_that_came_later_is_no_damage(checkpoint):
    (checkpoint / "notes").write_text("mine")
    assert manifest.problems(checkpoint) == []


def test_a_volume_that_fails_is_no_damage(checkpoint, monkeypatch):
    def fails(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(pathlib.Path, "open", fails)
    with pytest.raises(OSError, match="Input/output"):
        manifest.problems(checkpoint)


@pytest.mark.parametrize("kind", ["xxh3-128", "crc32"])
def test_any_kind_of_sum_that_the_image_has_is_compared(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(manifest, "_KINDS", {kind: manifest._KINDS[kind]})
    (tmp_path / "model").write_bytes(b"12345")
    (tmp_path / manifest.FILE).write_bytes(manifest.to_json(manifest.sums_of(tmp_path, ["model"])))
    monkeypatch.undo()
    assert (manifest.problems(tmp_path), manifest.incomparable(manifest.read(tmp_path))) == ([], set())
    (tmp_path / "model").write_bytes(b"12346")
    assert manifest.problems(tmp_path) == ["model has other content than was written"]


def test_of_a_kind_that_the_image_lacks_the_size_is_compared_and_it_says_so(checkpoint, monkeypatch):
    monkeypatch.setattr(manifest, "_KINDS", {"crc32": manifest._KINDS["crc32"]})
    assert manifest.incomparable(manifest.read(checkpoint)) == {"xxh3-128"}
    assert manifest.problems(checkpoint) == []
    (checkpoint / "model.pt").write_bytes(b"x")
    assert manifest.problems(checkpoint) == [f"model.pt has 1 bytes, and {len('model.pt') * 1000} were written"]
