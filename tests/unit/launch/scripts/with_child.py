"""A rank with a child process, as a data loader has."""

import os
import pathlib
import subprocess
import time

folder = pathlib.Path(os.environ["TEST_FOLDER"])
if os.environ["DTJ_ROUND"] == "1":
    child = subprocess.Popen(["sleep", "1000"])
    (folder / "parent").write_text(str(os.getpid()))
    (folder / "child").write_text(str(child.pid))
    time.sleep(1000)
