"""Starts what lives in a session of its own, as other launchers start their ranks, and fails in the first round."""

import os
import pathlib
import subprocess
import sys
import time

folder, round = pathlib.Path(os.environ["TEST_FOLDER"]), os.environ["DTJ_ROUND"]
child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
(folder / f"daemon-{round}").write_text(str(child.pid))
if round == "1":
    sys.exit(3)
time.sleep(1000)
