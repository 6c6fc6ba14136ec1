"""Age does not hurt: what a disk's clusters are stored in stays under twice what is live.

A model of one disk over 1,000 increments. Which clusters are sealed together is decided by the
engine's own `disk_policy`; the rest is bookkeeping: a block is held while a kept point uses one of
its clusters, a pack while it has such a block. Packs that are half dead are given up in one of two
ways: prune moves their live blocks into new packs (compaction, without keys), or the next session
stores what lives in them again from the source (which moves nothing).
"""

from __future__ import annotations

import random  # noqa: TID251 - a model, not keys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from strongroom.engine.disk_policy import plan_area

AREA = 16
"""Clusters in an area: 1 MiB of 64 KiB clusters."""
AREAS = 256
CLUSTERS = AREA * AREAS
PACK = 512
"""Clusters in a pack of 32 MiB."""
INCREMENTS = 1000
KEPT_POINTS = 14
GIVE_UP_SHARE = 1 / 4
"""A block whose live share is no more is given up: what lives of it is stored again."""
COMPACT_SHARE = 1 / 2
"""A pack of which no more is used is given up."""

Writes = Callable[[random.Random, int], Iterator[tuple[int, bool]]]
"""Yields clusters that an increment writes, and whether they hold data afterwards."""


@dataclass(eq=False, slots=True)
class Pack:
    clusters: int = 0
    used: int = 0
    """Clusters that a kept point uses."""


@dataclass(eq=False, slots=True)
class Block:
    """What is sealed as one."""

    clusters: int
    pack: Pack
    live: int = 0
    """Clusters that the newest point uses."""
    used: int = 0
    """Clusters that some kept point uses."""


class Disk:
    """A disk's newest point, the blocks that kept points use, and the packs they lie in."""

    def __init__(self, kept_points: int, remedy: str) -> None:
        """Begin with a full.

        Args:
            kept_points: How many points retention keeps.
            remedy: What becomes of packs that are half dead: `compact`, `store again`, `nothing`.
        """
        self._kept_points = kept_points
        self._remedy = remedy
        self._used = [True] * CLUSTERS
        self._place: list[Block | None] = [None] * CLUSTERS
        self._released: deque[list[Block]] = deque()
        """By session: blocks of the clusters that its point no longer uses."""
        self._blocks: dict[Pack, set[Block]] = {}
        self._pack = Pack()
        self._worn: set[Block] = set()
        self.stored_by_increments = 0
        self.written_by_guests = 0
        self.moved = 0
        self.session(dict.fromkeys(range(CLUSTERS), True))
        self.stored_by_increments = self.written_by_guests = 0

    def session(self, writes: dict[int, bool]) -> None:
        """Take a point after `writes`, and let the oldest go that is not kept."""
        self.written_by_guests += len(writes)
        self._released.append([])
        self._pack = Pack()
        new: dict[int, list[int]] = {}
        for cluster, used in writes.items():
            self._used[cluster] = used
            self._take_from(cluster)
            if used:
                new.setdefault(cluster // AREA, []).append(cluster % AREA)
        for cluster in self._worth_storing_again():
            self._take_from(cluster)
            new.setdefault(cluster // AREA, []).append(cluster % AREA)
        for area, changed in new.items():
            self._store(area, sorted(changed))
        if len(self._released) >= self._kept_points:
            for block in self._released.popleft():
                block.used -= 1
                block.pack.used -= 1
        self._prune()

    def _take_from(self, cluster: int) -> None:
        block = self._place[cluster]
        self._place[cluster] = None
        if block is not None:
            block.live -= 1
            self._released[-1].append(block)
            if block.live <= block.clusters * GIVE_UP_SHARE:
                self._worn.add(block)

    def _worth_storing_again(self) -> list[int]:
        worn, self._worn = {block for block in self._worn if block.live}, set()
        if self._remedy == "store again":
            for pack, blocks in self._blocks.items():
                if sum(block.live for block in blocks) <= pack.clusters * COMPACT_SHARE:
                    worn.update(block for block in blocks if block.live)
        if not worn:
            return []
        return [cluster for cluster, block in enumerate(self._place) if block in worn]

    def _store(self, area: int, changed: list[int]) -> None:
        used = self._used[area * AREA : (area + 1) * AREA]
        for start, count in plan_area(changed, used):
            self.stored_by_increments += count
            block = Block(count, self._pack)
            self._put(block)
            for index in range(start, start + count):
                if used[index]:
                    self._place[area * AREA + index] = block
                    block.live += 1
            block.used = block.live
            block.pack.used += block.used

    def _put(self, block: Block) -> None:
        if self._pack.clusters + block.clusters > PACK:
            self._pack = Pack()
        block.pack = self._pack
        block.pack.clusters += block.clusters
        self._blocks.setdefault(block.pack, set()).add(block)

    def _prune(self) -> None:
        share = COMPACT_SHARE if self._remedy == "compact" else 0
        for pack in [one for one in self._blocks if one.used <= one.clusters * share]:
            alive = [block for block in self._blocks.pop(pack) if block.used]
            if alive and sum(block.clusters for block in alive) == pack.clusters:
                # Dead only inside blocks: moving them would free nothing.
                self._blocks[pack] = set(alive)
                continue
            for block in alive:
                self.moved += block.clusters
                self._put(block)
                block.pack.used += block.used

    # What the tests ask.

    def live(self) -> int:
        """Clusters of the newest point that hold data."""
        return sum(block is not None for block in self._place)

    def read_by_restore(self) -> int:
        """Clusters in all blocks that the newest point uses: each is opened as a whole."""
        return sum(block.clusters for block in {one for one in self._place if one is not None})

    def held(self) -> int:
        """Clusters in all packs, dead ones included."""
        return sum(pack.clusters for pack in self._blocks)

    def in_use(self) -> int:
        """Clusters that some kept point uses."""
        return sum(pack.used for pack in self._blocks)


# --- patterns of writing -------------------------------------------------------------------------


def uniform(rng: random.Random, _: int) -> Iterator[tuple[int, bool]]:
    for cluster in rng.sample(range(CLUSTERS), CLUSTERS // 50):
        yield cluster, True


HOT = random.Random(7).sample(range(CLUSTERS), CLUSTERS // 10)  # noqa: S311


def hot_spots(rng: random.Random, _: int) -> Iterator[tuple[int, bool]]:
    for _ in range(CLUSTERS // 50):
        anywhere = rng.random() < 0.1
        yield rng.randrange(CLUSTERS) if anywhere else rng.choice(HOT), True


def all_but_one(rng: random.Random, number: int) -> Iterator[tuple[int, bool]]:
    """The worst for the whole block: its last clusters are never overwritten."""
    for area in rng.sample(range(AREAS), AREAS // 40):
        for index in range(AREA - 5):
            yield area * AREA + index, True


def runs(rng: random.Random, _: int) -> Iterator[tuple[int, bool]]:
    start = rng.randrange(CLUSTERS)
    for index in range(rng.randrange(1, 200)):
        yield (start + index) % CLUSTERS, True


def with_holes(rng: random.Random, number: int) -> Iterator[tuple[int, bool]]:
    """A file system that discards what it frees, and fills it again."""
    for cluster, _ in hot_spots(rng, number):
        yield cluster, rng.random() < 0.8


PATTERNS = [uniform, hot_spots, all_but_one, runs]


def aged(
    pattern: Writes, kept_points: int, remedy: str = "nothing", increments: int = INCREMENTS
) -> Iterator[Disk]:
    rng = random.Random(4711)  # noqa: S311
    disk = Disk(kept_points, remedy)
    for number in range(increments):
        disk.session(dict(pattern(rng, number)))
        if number % 25 == 0 or number == increments - 1:
            yield disk


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_restore_reads_at_most_twice_what_lives(pattern: Writes) -> None:
    for disk in aged(pattern, 1):
        assert disk.live() == CLUSTERS
        assert disk.read_by_restore() <= (2 - 1 / AREA) * disk.live()


def test_holes_do_not_break_the_bound_either() -> None:
    for disk in aged(with_holes, 1):
        assert disk.read_by_restore() <= 2 * disk.live()


@pytest.mark.parametrize("kept_points", [1, KEPT_POINTS])
@pytest.mark.parametrize("remedy", ["compact", "store again"])
@pytest.mark.parametrize("pattern", [*PATTERNS, with_holes])
def test_at_most_half_of_what_is_held_is_dead(
    pattern: Writes, remedy: str, kept_points: int
) -> None:
    for disk in aged(pattern, kept_points, remedy):
        assert disk.held() <= 2 * disk.in_use()


def test_packs_that_are_never_given_up_fill_with_dead_blocks() -> None:
    """The rule is needed: each pack is kept alive by its last block."""
    *_, disk = aged(hot_spots, KEPT_POINTS)
    assert disk.held() > 5 * disk.in_use()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_an_increment_stores_what_changed_and_hardly_more(pattern: Writes) -> None:
    *_, disk = aged(pattern, 1)
    assert disk.stored_by_increments <= 1.05 * disk.written_by_guests


@pytest.mark.parametrize("pattern", [*PATTERNS, with_holes])
def test_keeping_packs_alive_costs_no_more_than_twice_what_was_written(pattern: Writes) -> None:
    *_, disk = aged(pattern, KEPT_POINTS, "compact")
    assert disk.moved <= 2 * disk.written_by_guests
    *_, disk = aged(pattern, KEPT_POINTS, "store again")
    assert disk.stored_by_increments <= 2 * disk.written_by_guests


def test_grouping_neighbours_would_break_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule is needed: with longer blocks, each can be kept alive by a few clusters."""

    def neighbours(new: list[int], used: list[bool]) -> list[tuple[int, int]]:
        seals: list[tuple[int, int]] = []
        for index in new:
            if seals and index == sum(seals[-1]):
                seals[-1] = (seals[-1][0], seals[-1][1] + 1)
            else:
                seals.append((index, 1))
        return seals

    def creeping(rng: random.Random, number: int) -> Iterator[tuple[int, bool]]:
        """Each write leaves 5 of the 16 clusters of the one before."""
        for area in range(AREAS):
            for index in range(number % 4 * 5, AREA):
                yield area * AREA + index, True

    def worst() -> float:
        aging = aged(creeping, 1, increments=28)
        return max(disk.read_by_restore() / disk.live() for disk in aging)

    assert worst() <= 2
    monkeypatch.setitem(globals(), "plan_area", neighbours)
    assert worst() > 2
