"""Rank 0 leaves a process in its group that nobody can end, and fails: it has ended, and its parent never looks at it.

That parent is in a session of its own, and lives on as long as rank 1 does.
"""

import os
import pathlib
import sys
import time

folder = pathlib.Path(os.environ["TEST_FOLDER"])
if os.environ["DTJ_ROUND"] == "1" and os.environ["RANK"] == "0":
    said, says = os.pipe()
    if os.fork() == 0:
        left = os.fork()
        if left == 0:
            os._exit(0)
        os.setsid()
        os.write(says, str(left).encode())
        time.sleep(1000)
    (folder / "left").write_bytes(os.read(said, 16))
    sys.exit(3)
(folder / f"runs-{os.environ['DTJ_ROUND']}-{os.environ['RANK']}").touch()
time.sleep(1000)
