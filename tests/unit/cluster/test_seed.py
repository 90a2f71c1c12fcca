"""Nodes that begin with an image store which is on disk once."""

import pytest

from dtj_cluster import cache, seed


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A seed with a layer's file and a database."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = cache.root() / "node-seed-aaaa"
    folder.mkdir()
    (folder / "layer").write_text("files of an image")
    (folder / "meta.db").write_text("what is there")
    return folder


def test_a_node_shares_the_layers_and_has_databases_of_its_own(made, tmp_path):
    root = tmp_path / "node" / "containerd"

    seed.plant(root)

    assert (root / "layer").stat().st_ino == (made / "layer").stat().st_ino
    assert (root / "meta.db").read_text() == "what is there"
    assert (root / "meta.db").stat().st_ino != (made / "meta.db").stat().st_ino


def test_a_node_keeps_its_store_until_there_is_a_newer_seed(made, tmp_path):
    root = tmp_path / "containerd"
    seed.plant(root)
    (root / "loaded later").write_text("by hand")

    seed.plant(root)
    assert (root / "loaded later").exists()

    made.rename(made.with_name("node-seed-bbbb"))
    seed.plant(root)
    assert not (root / "loaded later").exists()


def test_without_a_seed_a_node_is_left_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    seed.plant(tmp_path / "containerd")

    assert not (tmp_path / "containerd").exists()
