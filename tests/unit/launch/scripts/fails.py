"""Fails in the way that it is told."""

import os
import sys
import time

print("the last line before", flush=True)
match sys.argv[1]:
    case "value":
        raise ValueError("bad label 7")
    case "os":
        os.stat("/nowhere")
    case "connection":
        raise ConnectionResetError("peer gone")
    case "exit":
        sys.exit(3)
    case "config":
        sys.exit(64)
    case "abort":
        os.abort()
time.sleep(1000)
