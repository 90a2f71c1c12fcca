"""Fails in the way that it is told."""

import argparse
import os
import sys
import time

import dtj

how = sys.argv[1]
if how.startswith("late "):
    dtj.report(step=1)
print("the last line before", flush=True)
match how.removeprefix("late "):
    case "value":
        raise ValueError("bad label 7")
    case "long":
        raise ValueError("标签无法识别 " * 300)
    case "os":
        os.stat("/nowhere")
    case "connection":
        raise ConnectionResetError("peer gone")
    case "exit":
        sys.exit(3)
    case "config":
        sys.exit(64)
    case "usage":
        argparse.ArgumentParser(prog="fails.py").parse_args(["--epoch"])
    case "abort":
        os.abort()
time.sleep(1000)
