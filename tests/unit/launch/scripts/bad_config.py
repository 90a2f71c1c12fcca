"""Says that its configuration cannot be used, as the built-in trainer does, while the other ranks wait for it."""

import os
import sys
import time

if os.environ["DTJ_ROUND"] == "1":
    if os.environ["RANK"] == "0":
        sys.exit(64)
    time.sleep(1000)
