"""A checkpoint's tensors are those that its ranks wrote, or they are not used."""

import errno
import pathlib

import pytest

from dtj_trainer.checkpoint.sums import sums_fit, write_sums


@pytest.fixture
def checkpoint(tmp_path):
    """As two ranks of eleven write it: the names of one are the beginning of the other's."""
    tensors = tmp_path / "tensors"
    tensors.mkdir()
    for name in (".metadata", "__0_0.distcp", "__1_0.distcp", "__1_1.distcp", "__10_0.distcp"):
        (tensors / name).write_bytes(name.encode() * 1000)
    for rank in (0, 1, 10):
        write_sums(tmp_path, rank)
    for rank in range(2, 10):
        write_sums(tmp_path, rank)
    return tmp_path


def test_what_is_as_it_was_written_fits(checkpoint):
    assert sums_fit(checkpoint, 11)


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp", "__1_1.distcp", "__10_0.distcp"])
@pytest.mark.parametrize("damage", ["cut", "longer", "flipped", "lost"])
def test_what_is_not_does_not(checkpoint, name, damage):
    path = checkpoint / "tensors" / name
    content = path.read_bytes()
    changed = {"cut": content[:-1], "longer": content + b"x", "flipped": bytes([content[0] ^ 1]) + content[1:]}
    path.unlink() if damage == "lost" else path.write_bytes(changed[damage])
    assert not sums_fit(checkpoint, 11)


@pytest.mark.parametrize("content", [None, "", "[]", "[1]", '{"__1_0.distcp": 3}', '{"__1_0.distcp": [1]}'])
def test_a_rank_whose_word_is_missing_or_torn_does_not(checkpoint, content):
    path = checkpoint / "sums-1.json"
    path.unlink() if content is None else path.write_text(content)
    assert not sums_fit(checkpoint, 11) or content == "[]"


def test_a_volume_that_fails_is_no_damage(checkpoint, monkeypatch):
    def fails(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(pathlib.Path, "open", fails)
    with pytest.raises(OSError, match="Input/output"):
        sums_fit(checkpoint, 11)
