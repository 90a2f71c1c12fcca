"""Ends with what it is told; in the second round, well."""

import os
import sys

if os.environ["DTJ_ROUND"] == "1":
    sys.exit(eval(sys.argv[1]))
