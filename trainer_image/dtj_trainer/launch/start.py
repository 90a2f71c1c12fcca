"""Start a module from the folder that holds a copy of dtj: `python FOLDER/start.py MODULE ARGS...`.

An init container puts dtj's packages and this file into a folder of pods whose image has torch and no dtj. Nothing is
installed and no variable of the image is replaced: the folder is added to what this interpreter searches, and those
that it starts. Standard library only.
"""

from __future__ import annotations

import os
import runpy
import sys


def main() -> None:
    """Run the module as `python -m MODULE ARGS...` would."""
    folder = os.path.dirname(os.path.abspath(__file__))
    given = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{folder}{os.pathsep}{given}" if given else folder
    # The first place is for a script's own folder, and a forked rank puts its script's there.
    sys.path.insert(1, folder)
    module = sys.argv.pop(1)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
