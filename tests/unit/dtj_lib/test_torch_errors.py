"""What torch raises on a volume that takes no more is told as a failure of the volume, and nothing else is."""

import errno
import json
import os
import pathlib
import subprocess
import sys

import pytest

from dtj.torch_errors import is_of_another_rank, volume_error

SCRIPT = pathlib.Path(__file__).parent / "scripts" / "full_volume.py"


def test_on_a_full_volume_each_way_to_save_fails_as_a_save(tmp_path):
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", "--mount", *rights, sys.executable, "-W", "ignore", str(SCRIPT), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}\nthis needs unshare(1), and root or user namespaces"
    *saves, left = (json.loads(line) for line in done.stdout.splitlines())
    assert len(saves) == 6
    for write, save, raised in saves:
        assert raised.startswith("SaveError: step "), (write, save, raised)
        assert "No space left on device" in raised, (write, save, raised)
    assert left == ["step-1.i1"], "nothing is left half written"


class CheckpointException(BaseException):
    """As torch's."""

    def __init__(self, *failures):
        self.failures = {rank: (failure, None) for rank, failure in enumerate(failures)}


def raised(error, context=None):
    error.__context__ = context
    return error


FULL = OSError(errno.ENOSPC, "No space left on device")
ZIP = "[enforce fail at inline_container.cc:671] . unexpected pos 704 vs 598"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FULL, errno.ENOSPC),
        (raised(RuntimeError(ZIP), FULL), errno.ENOSPC),
        (RuntimeError(ZIP), errno.EIO),
        (CheckpointException(raised(RuntimeError(ZIP), FULL)), errno.ENOSPC),
        (CheckpointException(FULL, FULL), errno.ENOSPC),
        (CheckpointException(FULL, KeyError("model")), None),
        (CheckpointException(), None),
        (KeyError("model"), None),
        (raised(KeyError("model"), FULL), None),
        (RuntimeError("shape mismatch"), None),
    ],
)
def test_what_stands_behind_an_error(tmp_path, error, code):
    found = volume_error(error, tmp_path)
    assert (found.errno if found else None) == code


GLOO = "[/build/gloo/transport/tcp/pair.cc:446] "


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError(f"{GLOO}Connection closed by peer [127.0.0.1]:7847."), True),
        (RuntimeError(f"{GLOO}Read error [10.0.0.7]:1: Connection reset by peer"), True),
        (RuntimeError(f"{GLOO}op.preamble.length <= op.nbytes. 8 vs 4"), False),
        (RuntimeError("the database was closed by peer"), False),
        (OSError(errno.EPIPE, "Broken pipe"), False),
    ],
)
def test_a_connection_that_another_rank_has_ended_is_no_error_of_this_ones(error, expected):
    assert is_of_another_rank(error) is expected
