"""Whatever incarnations do, and in whatever order: the newest checkpoint of the living is restored."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from lineages import name, publish

from dtj.entry import STATE_FILE, Checkpoint
from dtj.lineage import Lineage


class History(RuleBasedStateMachine):
    """Incarnations come and go, old ones keep writing, checkpoints are torn: the newest live one is restored."""

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="dtj-lineage-"))
        self.current = 0
        self.live: list[str] = []
        """Names of what the living have published, oldest first; torn ones are taken out."""
        self.last: dict[int, int] = {}
        """The last step that each incarnation has published or restored."""

    def teardown(self):
        shutil.rmtree(self.root)

    def lineage(self, number: int) -> Lineage:
        return Lineage(self.root, "job", number)

    @initialize()
    def first(self):
        self.new_incarnation(1)

    @rule(skipped=st.integers(1, 3))
    def new_incarnation(self, skipped):
        self.current += skipped
        looked = name(Lineage(self.root, "job", self.current, only_reads=True).find())
        found = name(self.lineage(self.current).begin())
        assert looked == found
        assert found == (self.live[-1] if self.live else None)
        step = Checkpoint.parse(found).step if found else 0
        self.last[self.current] = step

    @rule()
    def restart_in_place(self):
        found = name(self.lineage(self.current).begin())
        assert found == (self.live[-1] if self.live else None)
        assert name(self.lineage(self.current).find()) == found
        self.last[self.current] = Checkpoint.parse(found).step if found else 0

    @rule(steps=st.integers(1, 30), keep=st.integers(1, 3))
    def save(self, steps, keep):
        lineage = self.lineage(self.current)
        step = self.last[self.current] + steps
        path = publish(lineage, step)
        self.last[self.current] = step
        self.live = [one for one in self.live if one != path.name] + [path.name]
        for old in lineage.prune(keep):
            assert old.name not in self.live[-keep:]
            shutil.rmtree(old)
        self.live = self.live[-keep:]

    @precondition(lambda self: len(self.last) > 1)
    @rule(data=st.data(), steps=st.integers(1, 100))
    def zombie_saves(self, data, steps):
        zombie = data.draw(st.sampled_from([number for number in self.last if number != self.current]))
        # All ranks of an incarnation publish together, so a zombie only ever goes on from its last publication.
        self.last[zombie] += steps
        publish(self.lineage(zombie), self.last[zombie])
        assert self.lineage(zombie).prune(1) == []

    @precondition(lambda self: len(self.live) > 1)
    @rule()
    def newest_is_torn(self):
        torn = self.live.pop()
        (self.root / "checkpoints" / torn / STATE_FILE).write_text("{")

    @invariant()
    def the_living_are_there(self):
        there = {path.name for path in (self.root / "checkpoints").glob("step-*")}
        assert set(self.live) <= there


TestHistory = History.TestCase


TestHistory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
