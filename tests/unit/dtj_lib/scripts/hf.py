"""transformers' Trainer with the callback; the process killed in the middle goes on from the published checkpoint."""

import os
import pathlib
import signal
import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

import dtj

folder = pathlib.Path(os.environ["TEST_FOLDER"])
first = os.environ["DTJ_ROUND"] == "1"


class Words(torch.utils.data.Dataset):
    def __len__(self):
        return 4000

    def __getitem__(self, index):
        words = torch.randint(5, 20, (4,), generator=torch.Generator().manual_seed(index))
        return {"input_ids": words, "labels": (words[0] > 10).long()}


class Die(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        if first and state.global_step == 8 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)


config = BertConfig(vocab_size=32, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
scratch = tempfile.mkdtemp(dir=folder)
trainer = Trainer(
    model=BertForSequenceClassification(config),
    args=TrainingArguments(
        output_dir=scratch,
        max_steps=12,
        per_device_train_batch_size=2,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    ),
    train_dataset=Words(),
    callbacks=[dtj.TrainerCallback(), Die()],
)
trainer.accelerator.wait_for_everyone()
checkpoint = dtj.latest_checkpoint()
result = trainer.train(resume_from_checkpoint=checkpoint)  # type: ignore[arg-type]
(folder / f"result-{os.environ['RANK']}").write_text(f"{checkpoint and checkpoint.name} {result.global_step}")
