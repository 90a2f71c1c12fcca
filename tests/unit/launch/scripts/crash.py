"""Fails at once, always."""

import os
import pathlib
import sys
import time

with (pathlib.Path(os.environ["TEST_FOLDER"]) / "began").open("a") as file:
    file.write(f"{time.monotonic()}\n")
sys.exit(1)
