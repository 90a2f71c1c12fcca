"""Who takes part in a round, in which place, and the terms that rounds are held under."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Member:
    """One pod of a round."""

    name: str
    node: str
    """Unique among all launchers that ever run: pod name and uid."""
    address: str
    port: int
    """A port that was free at this pod when it joined, for the ranks' own store."""
    ranks: int
    checked: bool
    """It has seen that the volume is shared, in this incarnation."""


@dataclass(frozen=True)
class Round:
    """A round as it was formed."""

    number: int
    members: tuple[Member, ...]
    place: int
    """Our place among the members: the group rank."""

    @property
    def world_size(self) -> int:
        """Ranks over all pods."""
        return sum(member.ranks for member in self.members)

    @property
    def first_rank(self) -> int:
        """The global rank of our local rank 0."""
        return self.first_rank_of(self.place)

    def first_rank_of(self, place: int) -> int:
        """The global rank of a member's local rank 0."""
        return sum(member.ranks for member in self.members[:place])

    def place_of(self, rank: int) -> int | None:
        """The place of the member that has this global rank, or None."""
        places = range(len(self.members))
        return next((p for p in places if 0 <= rank - self.first_rank_of(p) < self.members[p].ranks), None)


@dataclass(frozen=True)
class Terms:
    """What a meeting is held under. Times are seconds."""

    run_id: str
    min_nodes: int
    max_nodes: int
    join_timeout: float
    last_call: float
    heartbeat: float
    heartbeat_misses: int
