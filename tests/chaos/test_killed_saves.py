"""A process is killed at any moment of its saves, its checkpoints are damaged, its volume fills up or turns read-only:
what is restored is whole, and new.

DTJ_CHAOS_KILLS=200 DTJ_CHAOS_SEED=1 pytest -s -m soak tests/chaos/test_killed_saves.py
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import failing_volume
import pytest

KILLS = int(os.environ.get("DTJ_CHAOS_KILLS", "200"))
SEED = int(os.environ.get("DTJ_CHAOS_SEED", "1"))
SCRIPT = Path(__file__).with_name("saves.py")
FILES, BYTES = 3, 1_000_000
KEEP = 4


def lives(folder: Path, incarnation: int, seconds: float) -> list[dict[str, int]]:
    """One life of the process, ended by SIGKILL after so many seconds from its first word; what it said."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DTJ_")}
    env = clean | {
        "DTJ_WORK_DIR": str(folder),
        "DTJ_INCARNATION": str(incarnation),
        "DTJ_JOB_UID": "chaos",
        "DTJ_SAVE_KEEP": str(KEEP),
    }
    command = [sys.executable, str(SCRIPT), str(FILES), str(BYTES)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        if not first:
            pytest.fail(process.stderr.read().decode())
        time.sleep(seconds)
        process.kill()
        rest = process.stdout.read()
    # The last line may be cut off as well.
    lines = [first, *rest.splitlines(keepends=True)]
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def cut(path: Path, chance: random.Random) -> None:
    os.truncate(path, chance.randrange(path.stat().st_size))


def lose(path: Path, chance: random.Random) -> None:
    path.unlink()


DAMAGE: list[Callable[[Path, random.Random], None]] = [flip, cut, lose]


def published(folder: Path) -> list[Path]:
    """By step, oldest first."""
    found = [path for path in (folder / "checkpoints").glob("step-*") if not path.name.endswith(".bad")]
    return sorted(found, key=lambda path: int(path.name[5:].partition(".")[0]))


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_no_damaged_checkpoint_is_restored_and_nothing_that_is_whole_is_lost(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    said: Counter[str] = Counter()
    known = 0
    for life in range(1, KILLS + 1):
        # Some lives are rounds of one incarnation, which give the same step the same name.
        heard = lives(tmp_path, 1 + life // 3, chance.uniform(0.0, 0.15))
        restored = heard[0]
        assert restored["right"], f"life {life} restored something else than was saved as step {restored['restored']}"
        assert restored["restored"] >= known, f"life {life}: step {known} had been published"
        steps = [each["published"] for each in heard if "published" in each]
        said["saves"] += len(steps)
        known = max([restored["restored"], *steps])
        there = published(tmp_path)
        if chance.random() < 0.25 and len(there) >= 2:
            victim = there[-1]
            damage = chance.choice(DAMAGE)
            damage(victim / chance.choice(["dtj.json", "dtj-manifest.json", "part-0", "part-2"]), chance)
            said[damage.__name__] += 1
            known = int(there[-2].name[5:].partition(".")[0])
        drafts = [path for path in (tmp_path / "checkpoints").iterdir() if path.name.startswith(".draft-")]
        said["killed in a save"] += bool(drafts)
        assert len(drafts) <= 1, "what is left half written is removed by the next save"
        assert len(there) <= KEEP + 1
    print(f"{KILLS} lives: {dict(said)}; at step {known}")
    assert said["killed in a save"] >= KILLS // 10


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_volume_that_fails_under_a_save_costs_no_checkpoint(tmp_path: Path) -> None:
    found = failing_volume.run(tmp_path, KILLS, SEED)
    print(f"{KILLS} lives: {found}")
    assert min(found["full"], found["read-only"]) >= KILLS // 10, found
    assert found["saved again"] >= KILLS // 4, found
