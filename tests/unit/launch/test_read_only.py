"""A root that is read-only, and a user that /etc/passwd does not know, as policies and OpenShift have it."""

from __future__ import annotations

import pathlib
import re
import shutil
import sys
import tempfile

import pytest
from launcher_jobs import Job

from dtj_api.names import Env
from dtj_trainer.launch.ranks.command import Command, RunAs

UID = 1_000_680_000
LOCKED = """
set -e
# Python may lie in the home of root, which nobody else may enter: here it is a folder of its own.
top="/$(echo "$BASE" | cut -d/ -f2)"
if ! setpriv --reuid "$0" --regid 0 --clear-groups test -x "$BASE/bin"; then
    mkdir "$TEST_FOLDER/base" && mount --bind "$BASE" "$TEST_FOLDER/base"
    mount -t tmpfs -o mode=755 none "$top" && mkdir -p "$BASE" && mount --move "$TEST_FOLDER/base" "$BASE"
fi
for folder in / /tmp /var/tmp "$top"; do
    if mountpoint -q "$folder"; then mount -o remount,bind,ro "$folder"; fi
done
cd / && exec setpriv --reuid "$0" --regid 0 --clear-groups --no-new-privs --bounding-set -all "$@"
"""


class Locked(Job):
    """Its launchers may write to /dev/shm and to the volume, which lies there too, and nowhere else."""

    def _start(self, module, argv, env):
        if module.endswith("store"):
            return super()._start(module, argv, env)
        env = {**env, Env.SCRATCH_DIR: "", Env.KEY_FILE: str(self.folder / "key"), "HOME": "/", "BASE": sys.base_prefix}
        words = ("unshare", "--mount", "sh", "-c", LOCKED, str(UID), sys.executable, "-m", module, *argv)
        program = self._nursery.program(
            Command(RunAs.SUBPROCESS, (shutil.which("unshare"), *words[1:])), env, self._output
        )
        self._started.append(program)
        return program


@pytest.fixture
def locked(nursery):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="dtj-test-", dir="/dev/shm"))
    script = pathlib.Path(__file__).parent / "scripts" / "needs_a_folder.py"
    with Locked(folder, nursery, ["python", str(script)]) as job:
        (folder / "key").write_bytes(job._key)
        for path in (folder, folder / "key"):
            path.chmod(0o777)
        yield job
    shutil.rmtree(folder)


def test_it_trains_and_saves_without_any_other_place_to_write_to(locked):
    locked.begin(1, meet=False)
    # Each of its launchers imports torch by itself.
    locked.wait("a worker that listens", locked.workers[0].report, patience=200)
    locked.meet()
    assert locked.exit_code(locked.workers[0], patience=200) == 0, locked.output()
    assert {path.name for path in (locked.folder / "work/checkpoints").iterdir()} >= {"step-1.i1"}
    assert re.search(rf"writes to /dev/shm/dtj-\w+/tmp/\w+ as uid-{UID}", locked.output()), locked.output()
