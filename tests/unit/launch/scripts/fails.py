"""Fails in the way that it is told."""

import argparse
import os
import sys
import time
import traceback

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
    case "memory":
        import torch

        raise torch.OutOfMemoryError(f"CUDA out of memory. Process {os.getpid()} has 1 GiB in use.")
    case "caught":
        try:
            raise ConnectionRefusedError("no hub")
        except OSError:
            traceback.print_exc()
            sys.exit(3)
    case "text":
        sys.exit("no such corpus")
    case "text of the world":
        sys.exit("the hub: connection refused")
    case "words after the world":
        print("curl: (6) Could not resolve host: data.corp", flush=True)
        sys.exit("training script aborted")
    case "usage of the world":
        print("ls: cannot access '/data': Stale file handle", flush=True)
        sys.exit(2)
    case "unavailable":
        sys.exit(os.EX_UNAVAILABLE)
    case "try again":
        sys.exit(os.EX_TEMPFAIL)
    case "timeout":
        sys.exit(124)
    case "not found":
        sys.exit(127)
    case "abort":
        os.abort()
time.sleep(1000)
