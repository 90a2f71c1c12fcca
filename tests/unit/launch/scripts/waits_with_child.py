"""Waits for ever after two steps, beside a child in its process group that notes when it is asked for a stack."""

import os
import pathlib
import subprocess
import sys
import threading

import dtj
from dtj_trainer.launch.ranks.stacks import SIGNAL

CHILD = f"""
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal({int(SIGNAL)}, lambda *_: pathlib.Path(sys.argv[1], "asked").touch())
pathlib.Path(sys.argv[1], "began").touch()
while True:
    time.sleep(600)
"""

folder = pathlib.Path(os.environ["TEST_FOLDER"])
if os.environ["DTJ_ROUND"] == "1":
    subprocess.Popen([sys.executable, "-c", CHILD, str(folder)])
    while not (folder / "began").exists():
        threading.Event().wait(0.02)
for step in (1, 2):
    dtj.report(step=step)
threading.Event().wait()
