"""Writes to both streams, and fails in the first round."""

import os
import sys
import time

print(f"out of round {os.environ['DTJ_ROUND']}")
print(f"err of round {os.environ['DTJ_ROUND']}", file=sys.stderr)
sys.stdout.write("no newline at the end")
sys.stdout.flush()
if os.environ["DTJ_ROUND"] == "1":
    if os.environ["RANK"] == "0":
        time.sleep(0.5)
        sys.exit(1)
    time.sleep(1000)
