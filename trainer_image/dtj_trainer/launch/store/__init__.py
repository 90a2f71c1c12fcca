"""The rendezvous store and its clients: `python -m dtj_trainer.launch.store`."""
