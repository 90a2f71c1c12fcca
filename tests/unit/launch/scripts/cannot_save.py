"""Makes steps, and tells of each save that is wanted that it failed."""

import errno
import time

import dtj
from dtj.troubles import save_failed

step = 0
while True:
    step += 1
    dtj.report(step=step)
    if dtj.should_save():
        error = OSError(f"step {step}: rank 0 could not write")
        error.__cause__ = OSError(errno.ENOSPC, "No space left on device", "/volume/part")
        save_failed(step, error)
    time.sleep(0.02)
