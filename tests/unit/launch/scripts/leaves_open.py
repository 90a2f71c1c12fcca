"""Leaves a file open, an exit handler registered and a thread running."""

import atexit
import os
import pathlib
import threading
import time

folder = pathlib.Path(os.environ["TEST_FOLDER"])
left = (folder / "left").open("w")
left.write("written")
atexit.register(lambda: (folder / "handler").write_text("ran"))


def late():
    time.sleep(0.2)
    (folder / "thread").write_text("joined")


threading.Thread(target=late).start()
