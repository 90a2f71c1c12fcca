"""One file a task: its examples, model, loss, predictions and scores. `task.py` says what the trainer asks of it."""
