"""In a mount namespace of its own: what the probe finds on a volume that is well, full, read-only and well again.

`small_volume.py FOLDER`: where a small file system is mounted, for as long as this process lives.
"""

import contextlib
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from dtj_api.wire import VolumeTry
from dtj_trainer.launch.volume import probe
from dtj_trainer.launch.volume.probe import VolumeProbe


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def main() -> None:
    folder = Path(sys.argv[1])
    found: list[VolumeTry] = []
    said: list[str] = []
    probe.AGAIN = 0.05
    tried = VolumeProbe(folder / "job", 1, "uid", found.append, said.append)

    def look() -> None:
        tried.ask()
        tried.wait(time.sleep)
        listed = (folder / "job/.dtj/probe").glob("*")
        print(json.dumps({**asdict(found[-1]), "left": sorted(path.name for path in listed)}), flush=True)

    mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder))
    look()
    with contextlib.suppress(OSError), (folder / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))
    look()
    # In one call: with room before it is read-only, the next try may come in between and find it well.
    mount("-o", "remount,ro,size=8m", str(folder))
    look()
    mount("-o", "remount,rw", str(folder))
    while found[-1].errno is not None:
        time.sleep(0.01)
    look()
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
