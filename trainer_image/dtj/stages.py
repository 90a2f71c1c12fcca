"""Several trainings in one script: a warm-up and a fine-tune, folds, one Trainer after another.

Each counts its own steps from 0, and the job counts on: step 10 of a stage that began after step 300 is the job's step
310. So whatever goes by steps sees them rise, and nothing else: which checkpoint is the newest and which may go, when
to save, whether training stands still, the progress. That holds for launchers, operators and versions of this library
that know of no stages too: a checkpoint of step 310 is one, by its name and by its `dtj.json`, which also says

    "stages": [{"name": "warm-up", "after": 0}, {"name": "fine-tune", "after": 300}]

where there is more than one without a name.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from dtj.places import number


@dataclass(frozen=True)
class Stage:
    """One training of several, as a script finds it that may have been restarted."""

    name: str
    step: int
    """Steps of it that have been made: 0 where it begins, else those of the checkpoint that was restored."""
    over: bool
    """The checkpoint that was restored is of a later one: nothing of this one is left to be trained."""


@dataclass(frozen=True)
class _Begun:
    """A stage that has begun."""

    name: str
    """Empty: it has none."""
    after: int
    """Steps that the job had made before."""


class Stages:
    """Those of this job, as far as this rank knows them."""

    def __init__(self) -> None:
        self._begun = [_Begun("", 0)]
        self._entered: set[str] = set()
        """Names by which this process has entered one."""
        self._last = 0
        """The last step of the job."""
        self._reported = self._saved = 0
        """The last steps of the present stage."""
        self._lower: int | None = None
        """A step that was reported and is below the one before."""

    def enter(self, name: str) -> Stage:
        """Go on in the stage of this name, or begin it.

        Raises:
            ValueError: there is no name, or this process has left that stage.
        """
        if not name:
            raise ValueError("a stage needs a name: dtj.stage('fine-tune')")
        if name == self._begun[-1].name:
            self._entered.add(name)
            return Stage(name, max(self._reported, self._saved), over=False)
        if name in {each.name for each in self._begun}:
            if name in self._entered:
                raise ValueError(f"stage {name!r} is over in this process: give each stage a name of its own")
            return Stage(name, 0, over=True)
        self._entered.add(name)
        if self._begun[-1] == _Begun("", self._last):
            # What comes before the first step of the job belongs to its first stage.
            self._begun.pop()
        self._begin(name, self._last)
        return Stage(name, 0, over=False)

    def begin_at(self, step: int) -> None:
        """A training begins that has made so many steps: another one than the present, where that has made more."""
        if step < self._reported:
            self._begin("", self._last - step)

    def reported(self, step: int) -> int:
        """The job's step for one that was reported. Two in a row below the one before begin a stage; one is a stray."""
        if step >= self._reported:
            self._reported, self._lower = step, None
        elif self._lower is None or step <= self._lower:
            self._lower = step
            return self.of_job(self._reported)
        else:
            self._begin_by_itself(self._lower)
            self._reported = step
        return self._made(step)

    def saved(self, step: int) -> int:
        """The job's step for one that is saved. One below that of the last save begins a stage."""
        if step < self._saved:
            self._begin_by_itself(step)
        self._saved = step
        return self._made(step)

    def of_job(self, step: int) -> int:
        """The job's step for one of the present stage."""
        return self._begun[-1].after + step

    def carried(self) -> list[dict[str, Any]]:
        """What goes into a checkpoint; empty where there is but one, without a name."""
        named = [{"name": each.name, "after": each.after} for each in self._begun]
        return [] if self._begun == [_Begun("", 0)] else named

    def restore(self, carried: Any, step: int) -> None:
        """Go on from what a checkpoint carried.

        Args:
            carried: by the checkpoint; whatever else than a list of stages: there was one.
            step: of the job.
        """
        self._take(carried, step)
        self._entered = set()
        self._last = step

    def adopt(self, carried: Any, step: int) -> None:
        """Take over what rank 0 counts, which may be the only one that reports.

        Args:
            carried: by rank 0.
            step: of the job, that is saved now.
        """
        if carried != self.carried():
            self._take(carried, step)
        self._last = max(self._last, step)

    def _take(self, carried: Any, step: int) -> None:
        rows = carried if isinstance(carried, list) else []
        self._begun = [_Begun(str(row["name"]), int(row["after"])) for row in rows] or [_Begun("", 0)]
        self._reported = self._saved = step - self._begun[-1].after
        self._lower = None

    def _begin(self, name: str, after: int) -> None:
        self._begun.append(_Begun(name, after))
        self._reported = self._saved = 0
        self._lower = None

    def _begin_by_itself(self, first: int) -> None:
        if number("RANK", 0) == 0:
            text = f"dtj: step {first} comes after step {max(self._reported, self._saved)}: it is counted as the job's "
            text += f"step {self._last + 1}, of another training in the same process; name it with dtj.stage()"
            print(text, file=sys.stderr, flush=True)
        self._begin("", self._last + 1 - first)

    def _made(self, step: int) -> int:
        made = self.of_job(step)
        self._last = max(self._last, made)
        return made


stages = Stages()
"""Those of this process."""


def stage(name: str) -> Stage:
    """Begin a training of its own within the script, or go on with it after a restart; call it on every rank.

        checkpoint = dtj.latest_checkpoint()
        for name in ("warm-up", "fine-tune"):
            stage = dtj.stage(name)
            if stage.over:
                continue
            for step in range(stage.step, steps):
                ...

    Steps are counted from 0 in each. Call `latest_checkpoint` before the first one, and have names that a restarted
    script gives again.

    Args:
        name: of the stage, not used before.

    Raises:
        ValueError: there is no name, or this process has left that stage.
    """
    return stages.enter(name)
