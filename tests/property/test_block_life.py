"""A block lives in one interval of entries, so prune looks at two neighbours only.

A model of one chain whose job has several sources. A session entry names the blocks of the job's
whole state; a source that failed is carried over. Prune removes an entry once none of its points
is promised, and frees `set(e) - set(p) - set(n)` for the entries kept before and behind it. The
model keeps what each point really needs, and compares.
"""

from __future__ import annotations

import random  # noqa: TID251 - a model, not keys
from dataclasses import dataclass, field

import pytest

SOURCES = 4
STEPS = 250


@dataclass
class Entry:
    """A session entry: new points by source, and the blocks of the job's whole state."""

    number: int
    base: int
    points: dict[int, frozenset[int]]
    """Blocks that each new point needs, by source; promised ones only."""
    state: dict[int, frozenset[int]]
    """Blocks of the newest point of every source, carried-over ones included."""

    @property
    def blocks(self) -> frozenset[int]:
        """The public block set."""
        return frozenset().union(*self.state.values())


@dataclass
class Plan:
    """What prune is going to do, and what it looked at."""

    entry: int
    neighbours: tuple[int | None, int | None]
    frees: frozenset[int]


@dataclass
class Chain:
    rng: random.Random
    entries: dict[int, Entry] = field(default_factory=dict)
    held: set[int] = field(default_factory=set)
    """Blocks that lie in the storage."""
    next_number: int = 1
    next_block: int = 0

    def newest(self) -> Entry | None:
        return self.entries[max(self.entries)] if self.entries else None

    def session(self, *, base: Entry | None, reuse_from: frozenset[int] | None = None) -> Entry:
        """Publish points of the sources that do not fail, reusing blocks of the base's state."""
        rng = self.rng
        state = dict(base.state) if base else {}
        reusable = sorted(base.blocks if base else ()) if reuse_from is None else sorted(reuse_from)
        points = {}
        for source in range(SOURCES):
            if state and rng.random() < 0.2 and source in state:
                continue  # failed, and carried over
            before = state.get(source, frozenset())
            kept = {block for block in before if rng.random() < 0.8}
            # Content moves between sources: the job is the unit of deduplication.
            kept |= set(rng.sample(reusable, min(len(reusable), rng.randrange(4))))
            new = set(range(self.next_block, self.next_block + rng.randrange(1, 6)))
            self.next_block += len(new)
            self.held |= new
            points[source] = state[source] = frozenset(kept | new)
        entry = Entry(self.next_number, base.number if base else 0, points, state)
        self.entries[entry.number] = entry
        self.next_number += 1
        return entry

    def neighbours(self, number: int) -> tuple[Entry | None, Entry | None]:
        before = [one for one in self.entries if one < number]
        behind = [one for one in self.entries if one > number]
        return (
            self.entries[max(before)] if before else None,
            self.entries[min(behind)] if behind else None,
        )

    def plan(self, number: int) -> Plan:
        """Say what removing an entry frees, from its own set and its neighbours'."""
        before, behind = self.neighbours(number)
        frees = self.entries[number].blocks
        for one in (before, behind):
            frees -= one.blocks if one else frozenset()
        seen = (before.number if before else None, behind.number if behind else None)
        return Plan(number, seen, frees)

    def carry_out(self, plan: Plan) -> None:
        del self.entries[plan.entry]
        self.held -= plan.frees

    def lost(self) -> set[int]:
        """Blocks that a promised point or the newest state needs and that are gone."""
        needed: set[int] = set()
        for entry in self.entries.values():
            needed = needed.union(*entry.points.values())
        newest = self.newest()
        return (needed | (newest.blocks if newest else frozenset())) - self.held

    def leaked(self) -> set[int]:
        """Blocks in storage that no entry uses."""
        return self.held.difference(*(entry.blocks for entry in self.entries.values()))

    def lives_are_intervals(self) -> bool:
        ordered = [self.entries[number].blocks for number in sorted(self.entries)]
        for block in frozenset().union(*ordered):
            present = [block in blocks for blocks in ordered]
            first, last = present.index(True), len(present) - present[::-1].index(True)
            if not all(present[first:last]):
                return False
        return True


@pytest.mark.parametrize("seed", range(12))
def test_removing_entries_in_any_order_frees_all_that_nobody_needs_and_nothing_else(
    seed: int,
) -> None:
    rng = random.Random(seed)  # noqa: S311
    chain = Chain(rng)
    for _ in range(STEPS):
        if not chain.entries or rng.random() < 0.4:
            chain.session(base=chain.newest())
        else:
            # Retention takes points back one by one, whatever their age.
            entry = chain.entries[rng.choice(sorted(chain.entries))]
            if entry.points:
                entry.points.pop(rng.choice(sorted(entry.points)))
            if not entry.points:
                chain.carry_out(chain.plan(entry.number))
        assert not chain.lost()
        assert not chain.leaked()
    assert chain.lives_are_intervals()


@pytest.mark.parametrize("seed", range(10))
def test_what_is_held_never_exceeds_the_sets_of_the_entries(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311
    chain = Chain(rng)
    for _ in range(60):
        chain.session(base=chain.newest())
        while len(chain.entries) > 5:
            chain.carry_out(chain.plan(min(chain.entries)))
    bound = sum(len(entry.blocks) for entry in chain.entries.values())
    assert len(chain.held) <= bound


def test_a_plan_is_stale_once_a_neighbour_changed() -> None:
    """Why prune judges newer entries before it appends its condemnation."""
    found_loss = False
    for seed in range(50):
        chain = Chain(random.Random(seed))  # noqa: S311
        for _ in range(3):
            chain.session(base=chain.newest())
        newest = chain.newest()
        assert newest is not None
        newest.points.clear()
        plan = chain.plan(newest.number)
        chain.session(base=newest)  # publishes while prune is on its way
        assert plan.neighbours != chain.plan(plan.entry).neighbours
        chain.carry_out(plan)
        found_loss |= bool(chain.lost())
    assert found_loss


def test_reusing_blocks_of_any_older_state_would_lose_them() -> None:
    """Why a session refers to the state of its base and to no older one."""
    found_loss = False
    for seed in range(50):
        rng = random.Random(seed)  # noqa: S311
        chain = Chain(rng)
        first = chain.session(base=None)
        second = chain.session(base=first)
        chain.session(base=second, reuse_from=first.blocks)
        first.points.clear()
        chain.carry_out(chain.plan(first.number))
        found_loss |= bool(chain.lost())
    assert found_loss


def test_believing_a_condemnation_of_promised_points_would_lose_blocks() -> None:
    """Why an unsigned condemnation counts for nothing as long as points are promised.

    A stranger condemns the newest entry; a session that believes it builds on the one before,
    while the "condemned" entry stays.
    """
    found_loss = False
    for seed in range(50):
        chain = Chain(random.Random(seed))  # noqa: S311
        first = chain.session(base=None)
        second = chain.session(base=first)
        chain.session(base=second)  # condemned by the stranger, and promised
        chain.session(base=second)
        second.points.clear()
        chain.carry_out(chain.plan(second.number))
        found_loss |= bool(chain.lost())
    assert found_loss
