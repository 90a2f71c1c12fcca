"""Real launchers as processes, forked from one that has imported torch: a launcher is up in a tenth of a second."""

from launcher_jobs import nursery, start

from dtj_trainer.launch.resolver import ask_no_name_server

__all__ = ["nursery", "start"]

# Tests hold stores of their own, as a store's pod does.
ask_no_name_server()
