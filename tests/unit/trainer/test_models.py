"""Models as people have them: other positions, no padding, a head for something else, files that are missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import trainer_models
from trainer_fixture import config_of, make_model, sentences, write_conll
from trainer_jobs import train_job
from trainer_ranks import run_ranks, work_env
from transformers import (
    AutoModelForTokenClassification,
    BertConfig,
    BertForTokenClassification,
    DebertaV2Config,
    DebertaV2ForTokenClassification,
    PreTrainedModel,
)

from dtj_api.base import read
from dtj_api.trainer import ModelConfig, TrainerConfig
from dtj_trainer.first_look import first_look
from dtj_trainer.optimizer import build_optimizer
from dtj_trainer.parallel.plans.find import head_of
from dtj_trainer.tasks.model import build_model
from dtj_trainer.tasks.ner import Ner
from dtj_trainer.tasks.trial import try_model
from dtj_trainer.untrainable import UntrainableError

pytestmark = pytest.mark.unit

TAGS = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"]
OTHERS = ["O", "B-DRUG", "I-DRUG", "B-DOSE", "I-DOSE", "B-FORM", "I-FORM"]
NINE = [*TAGS, "B-MISC", "I-MISC"]


def test_positions_end_where_the_model_has_them(job, tmp_path: Path) -> None:
    """18 positions of a RoBERTa take 16 pieces: two are for the ids up to that of the padding."""
    model = trainer_models.roberta(tmp_path / "model", positions=18)
    code, said, report = job(model, data={"maxLength": 18})
    assert (code, report) == (64, {})
    assert "data.maxLength: 18; the positions of the model" in said
    assert "end at 16; write 16 or less" in said
    code, said, report = job(model, data={"maxLength": 16})
    assert code == 0, said
    assert report["data"]["splits"]["train"]["sentencesCut"] > 0, "no sentence came to the last position"


def test_positions_end_there_too_where_the_tokenizer_pads_with_another_piece(job, tmp_path: Path) -> None:
    model = trainer_models.roberta(tmp_path / "model", positions=18)
    (model / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<s>"}))
    code, said, report = job(model, data={"maxLength": 18})
    assert (code, report) == (64, {})
    assert "end at 16; write 16 or less" in said


LIMITS = {
    "absolute": (lambda path: built(make_model(path)), 64),
    "behind the padding": (lambda path: built(trainer_models.roberta(path, positions=40)), 38),
    "of a decoder": (lambda path: built(trainer_models.gpt2(path)), 128),
    "relative": (
        lambda _: DebertaV2ForTokenClassification(
            DebertaV2Config(
                vocab_size=50,
                relative_attention=True,
                position_biased_input=False,
                pos_att_type=["c2p"],
                **trainer_models.SIZE,
            )
        ),
        None,
    ),
}


def built(path: Path, **settings) -> PreTrainedModel:
    settings_of_model = ModelConfig(path=str(path), **settings)
    return build_model(settings_of_model, path, AutoModelForTokenClassification, TAGS, seed=3).model


class Indexed(torch.nn.Module):
    """Positions that are rows of a tensor, as CTRL has them."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.table = torch.zeros(rows, width)

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        """The rows."""
        return self.table[positions, :]


@pytest.mark.parametrize(
    ("rows", "limit"),
    [(30, 30), pytest.param(8, None, id="as many as the sentence has pieces: it is made for each sentence")],
)
def test_positions_that_are_rows_of_a_tensor_end_too(rows: int, limit: int | None) -> None:
    config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    model = BertForTokenClassification(config)
    model.bert.embeddings.add_module("position_embeddings", Indexed(rows, 8))
    assert try_model(model, 5).positions == limit


@pytest.mark.parametrize("kind", LIMITS)
def test_the_limit_of_positions_is_seen_in_the_model_itself(tmp_path: Path, kind: str) -> None:
    make, limit = LIMITS[kind]
    model = make(tmp_path)
    before = torch.random.get_rng_state()
    assert try_model(model, 5).positions == limit
    assert torch.equal(before, torch.random.get_rng_state()), "the head's and the dropout's draws are as before"


def test_parameters_that_nothing_depends_on_are_not_waited_for(tmp_path: Path) -> None:
    """XLNet has some for its pretraining; DDP would wait for their gradients at the second step."""
    write_conll(tmp_path / "data.conll", sentences(40))
    trainer_models.xlnet(tmp_path / "model")
    raw = config_of(tmp_path, epochs=1)
    config = read(TrainerConfig, raw, "spec.trainer")
    task = Ner(config, first_look(config))
    frozen = {name for name, p in task.build_model().model.named_parameters() if not p.requires_grad}
    assert "transformer.mask_emb" in frozen
    assert not any("layer_1" in name or "ff." in name or "classifier" in name for name in frozen)
    results = run_ranks(2, train_job, raw, env=work_env(tmp_path / "work"))
    assert [result["error"] for result in results] == [None, None]
    assert len(results[0]["steps"]) == 4


def test_a_bert_uses_all_that_it_has(root: Path) -> None:
    assert try_model(built(root / "model"), 5).unused == set()


def test_a_model_without_padding_is_trained_and_exported_with_some(job, tmp_path: Path) -> None:
    code, said, report = job(trainer_models.gpt2(tmp_path / "model"))
    assert code == 0, said
    assert all(loss == loss for loss in report["loss"]["mean"])
    config = read(TrainerConfig, config_of(tmp_path, model={"path": report["model"]}), "spec.trainer")
    exported = Ner(config, first_look(config))
    assert exported.tokenizer.pad_token_id is not None


def test_embeddings_are_frozen_where_no_module_holds_them_all(job, tmp_path: Path) -> None:
    path = trainer_models.gpt2(tmp_path / "model")
    frozen = {name for name, p in built(path, freeze_embeddings=True).named_parameters() if not p.requires_grad}
    assert frozen == {"transformer.wte.weight"}
    code, said, _ = job(path, model={"freezeEmbeddings": True})
    assert code == 0, said


def test_embeddings_of_an_encoder_are_frozen_with_their_positions(root: Path) -> None:
    model = built(root / "model", freeze_embeddings=True)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters() if name.startswith("bert.embeddings.")}


def test_a_directory_without_a_tokenizer_trains_nothing(job, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).unlink()
    code, said, report = job(model)
    assert (code, report) == (64, {})
    assert "model.path" in said
    assert "has no tokenizer" in said
    assert not (tmp_path / "work" / "model").exists()


def test_a_head_for_other_tags_is_replaced_by_the_one_that_a_bare_encoder_gets(job, tmp_path: Path) -> None:
    """Whether its size fits or not. The encoders are the same, so all first losses are."""
    models = {
        "bare": make_model(tmp_path / "bare"),
        "near": trainer_models.bert_tagger(tmp_path / "near", OTHERS, 0.02),
        "far": trainer_models.bert_tagger(tmp_path / "far", OTHERS, 3.0),
        "nine": trainer_models.bert_tagger(tmp_path / "nine", NINE, 3.0),
        "other order": trainer_models.bert_tagger(tmp_path / "order", TAGS[::-1], 3.0),
    }
    results = {name: job(path) for name, path in models.items()}
    assert {name: code for name, (code, _, _) in results.items()} == dict.fromkeys(models, 0), results
    assert len({report["loss"]["mean"][0] for _, _, report in results.values()}) == 1
    assert {name: report["head"].partition(":")[0] for name, (_, _, report) in results.items()} == {
        "bare": "new",
        **dict.fromkeys(["near", "far", "nine", "other order"], "replaced"),
    }
    assert "is for other tags (O, B-DRUG, I-DRUG, B-DOSE" in results["far"][1]


def test_a_head_for_the_same_tags_is_kept(job, tmp_path: Path) -> None:
    path = trainer_models.bert_tagger(tmp_path / "model", TAGS, 3.0)
    model = build_model(ModelConfig(path=str(path)), path, AutoModelForTokenClassification, TAGS, seed=3)
    assert model.head == "kept"
    assert model.model.get_parameter("classifier.weight").std() > 1
    assert job(path)[2]["head"] == "kept"


def test_every_head_has_its_own_rate_whatever_its_name(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForTokenClassification

    shape = {key: value for key, value in trainer_models.SIZE.items() if not key.endswith("_prob")}
    llama = LlamaForTokenClassification(LlamaConfig(vocab_size=50, **shape))
    assert head_of(llama) == {"score.weight", "score.bias"}
    settings = read(TrainerConfig, config_of(tmp_path, optimizer={"lr": 1e-4, "headLr": 1e-2}), "spec.trainer")
    optimizer = build_optimizer(llama, settings.optimizer, head_of(llama))
    of_head = {id(p) for g in optimizer.param_groups if g["peak_lr"] == 1e-2 for p in g["params"]}
    assert of_head == {id(llama.score.weight), id(llama.score.bias)}


def broken(path: Path, name: str, text: str | None) -> None:
    """Spoil one file of a model; None cuts it in half."""
    content = (path / name).read_bytes()
    (path / name).write_bytes(content[: len(content) // 2] if text is None else text.encode())


BROKEN = {
    "config is no JSON": ("config.json", "{", "config.json"),
    "config of no type": ("config.json", "{}", "model.path"),
    "config of an unknown type": ("config.json", '{"model_type": "nope"}', "nope"),
    "config of more layers": (
        "config.json",
        '{"model_type": "bert", "hidden_size": 32, "num_attention_heads": 2}',
        "lacks the weights",
    ),
    "weights cut off": ("model.safetensors", None, "model.path"),
    "weights of nothing": ("model.safetensors", "", "model.path"),
    "a Git LFS pointer": ("model.safetensors", "version https://git-lfs.github.com/spec/v1\n", "model.path"),
    "tokenizer cut off": ("tokenizer.json", None, "model.path"),
    "tokenizer of nothing": ("tokenizer.json", "{}", "model.path"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_ends_with_one_message_and_no_restart(job, tmp_path: Path, case: str) -> None:
    name, text, says = BROKEN[case]
    model = make_model(tmp_path / "model")
    broken(model, name, text)
    code, said, report = job(model)
    assert (code, report) == (64, {})
    assert str(model) in said
    assert says in said
    assert "Traceback" not in said


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = make_model(tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    save_file({name: w for name, w in weights.items() if "layer.1." not in name}, model / "model.safetensors")
    with pytest.raises(UntrainableError, match=r"lacks the weights bert\.encoder\.layer\.1"):
        built(model)


def test_weights_of_another_shape_are_named(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"intermediate_size": 48}))
    with pytest.raises(UntrainableError, match=r"another shape than config\.json says bert\.encoder\.layer\.0"):
        built(model)


def test_what_fails_in_the_first_forward_ends_before_the_first_step(
    job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(task: Ner, model: PreTrainedModel, batch: object) -> torch.Tensor:
        raise IndexError("index out of range in self")

    monkeypatch.setattr(Ner, "loss", fail)
    code, said, _ = job(make_model(tmp_path / "model"))
    assert code == 64
    assert "cannot be trained on an example of" in said
    assert "index out of range" in said
