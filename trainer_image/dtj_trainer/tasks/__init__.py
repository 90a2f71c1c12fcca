"""One file a task: data to features, head, loss, predictions and scores."""
