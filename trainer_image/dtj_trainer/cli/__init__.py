"""The command `dtj`: training without a cluster."""

from dtj_trainer.cli.main import main

__all__ = ["main"]
