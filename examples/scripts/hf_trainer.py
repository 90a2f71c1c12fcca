"""transformers' Trainer under dtj: one callback, and what to resume from."""

import argparse
import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerState, TrainingArguments

import dtj

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=200)
options = parser.parse_args()


class Sentences(torch.utils.data.Dataset):
    """Made-up sentences of 16 words; the label says whether word 7 occurs more than once."""

    def __len__(self) -> int:
        return 20_000

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        words = torch.randint(5, 20, (16,), generator=torch.Generator().manual_seed(index))
        return {
            "input_ids": words,
            "attention_mask": torch.ones_like(words),
            "labels": (words == 7).sum().gt(1).long(),
        }


config = BertConfig(
    vocab_size=32, hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=256, num_labels=2
)
with tempfile.TemporaryDirectory() as scratch:
    trainer = Trainer(
        model=BertForSequenceClassification(config),
        args=TrainingArguments(
            output_dir=scratch,
            max_steps=options.steps,
            per_device_train_batch_size=16,
            learning_rate=5e-4,
            logging_steps=5,
            # When to save is for dtj to say: spec.checkpoint.every, and before a pod has to leave.
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
        ),
        train_dataset=Sentences(),
        callbacks=[dtj.TrainerCallback()],
    )
    # Makes the process group, through which the ranks agree on the checkpoint.
    trainer.accelerator.wait_for_everyone()
    checkpoint = dtj.latest_checkpoint()
    step = 0
    if checkpoint:
        print(f"goes on from {checkpoint.name}")
        step = TrainerState.load_from_json(str(checkpoint / "trainer_state.json")).global_step
    if step < options.steps:
        step = trainer.train(resume_from_checkpoint=checkpoint).global_step
    else:
        # All steps were made before a restart, and the Trainer would make one more.
        trainer.model = BertForSequenceClassification.from_pretrained(checkpoint)
    trainer.save_model(str(dtj.work_dir() / "model"))
print(f"done at step {step}")
