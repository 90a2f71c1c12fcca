"""Rank 0 ends at once; rank 1 fails in the first round, when rank 0 has long been done."""

import os
import pathlib
import sys
import time

folder = pathlib.Path(os.environ["TEST_FOLDER"])
if os.environ["DTJ_ROUND"] == "1":
    if os.environ["RANK"] == "1":
        while not (folder / "done-0").exists():
            time.sleep(0.01)
        time.sleep(0.3)
        sys.exit(7)
    (folder / "done-0").touch()
