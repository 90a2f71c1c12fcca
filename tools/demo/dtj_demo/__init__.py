"""`make demo`: one command from a fresh clone to a model that elastic pods have trained on a real cluster."""
