"""Age does not hurt, by the engine's own rules over 1,000 increments.

`test_cluster_grouping` has a model of the policy; here the code that runs in a session decides:
`image_backup` compares and seals, `ContentStore` packs small files, `Wear` says what is given up,
and what a session remembers for the next goes through its own file. What is left out is the
bytes: nothing is sealed, stored or indexed, and a content hash is a name. `test_aging_sessions`
ages whole sessions, on less data.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from strongroom.engine import wear
from strongroom.engine.content import ContentStore
from strongroom.engine.image_backup import Place, _Area, _ImageBackup
from strongroom.engine.wear import Wear, load_wear, save_wear
from strongroom.engine.work import SourceOutcome
from strongroom.format.block import PLACE_BITS, BlockAddress
from strongroom.format.index import CLUSTER
from strongroom.format.point import DiskRoot
from strongroom.repository.usage import BlockUsage

INCREMENTS = 1000
KEPT_POINTS = 14
PACK_BYTES = 24 << 20

Block = tuple[int, int]


@pytest.fixture(autouse=True)
def _as_in_a_large_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where much changes, what may always be stored again is next to nothing.

    In a model of 64 MiB it would be enough to give up everything worn at once.
    """
    monkeypatch.setattr(wear, "_LEAST_BUDGET", 0)


class Store:
    """Blocks and packs as the repository holds them, by nothing but their sizes."""

    def __init__(self, folder: Path, kept_points: int) -> None:
        self.cache = folder / "cache"
        self.slot = 0
        self.sizes: dict[Block, int] = {}
        self.packs: dict[Block, list[Block]] = {}
        """By slot and ordinal: the blocks that were born together."""
        self.points: deque[set[Block]] = deque(maxlen=kept_points)
        self.usage = BlockUsage()
        self.wear = Wear()
        self.stored = 0

    def begin(self) -> Wear:
        """Begin a session as one does: with what the one before remembered."""
        self.slot += 1
        self._ordinal = 0
        self._filled = 0
        self.wear = load_wear(self.cache, lambda number: b"%d" % number)
        return self.wear

    def add(self, length: int) -> BlockAddress:
        """Store a block of so many bytes."""
        if self._filled + length > PACK_BYTES:
            self._ordinal += 1
            self._filled = 0
        self._filled += length
        blocks = self.packs.setdefault((self.slot, self._ordinal), [])
        address = BlockAddress(self.slot, self._ordinal << PLACE_BITS | len(blocks))
        blocks.append((address.slot, address.number))
        self.sizes[address.slot, address.number] = length
        self.stored += length
        return address

    def reusable(self, slot: int, number: int) -> bool:
        return BlockAddress(slot, number) in self.usage and not self.wear.is_doomed(slot, number)

    def publish(self, usage: BlockUsage) -> None:
        """End a session as one does, and let prune remove the packs that nothing needs."""
        self.usage = usage
        born = {key: len(blocks) for key, blocks in self.packs.items()}
        following = self.wear.successor(usage, lambda *key: born[key])
        save_wear(self.cache, following, self.slot, b"%d" % self.slot)
        self.points.append({(one.slot, one.number) for one in usage})
        needed = set().union(*self.points)
        self.packs = {key: blocks for key, blocks in self.packs.items() if needed & set(blocks)}

    # What the tests ask.

    def read_by_restore(self) -> int:
        """Bytes of all blocks that the newest point uses: each is opened as a whole."""
        return sum(self.sizes[block] for block in self.points[-1])

    def held(self) -> int:
        return sum(self.sizes[block] for blocks in self.packs.values() for block in blocks)

    def dead(self) -> int:
        """Bytes of blocks that are held and that no kept point uses."""
        needed = set().union(*self.points)
        every = {block for blocks in self.packs.values() for block in blocks}
        return sum(self.sizes[block] for block in every - needed)


# --- disks -----------------------------------------------------------------------------------

AREA = 16
AREAS = 64
CLUSTERS = AREA * AREAS

Writes = Callable[[random.Random], Iterator[int]]


def uniform(rng: random.Random) -> Iterator[int]:
    yield from rng.sample(range(CLUSTERS), CLUSTERS // 50)


HOT = random.Random(7).sample(range(CLUSTERS), CLUSTERS // 10)  # noqa: S311 - a model


def hot_spots(rng: random.Random) -> Iterator[int]:
    for _ in range(CLUSTERS // 50):
        yield rng.randrange(CLUSTERS) if rng.random() < 0.1 else rng.choice(HOT)


def discards(rng: random.Random) -> Iterator[int]:
    """As `hot_spots`, and a cluster in five is given back to the file system instead."""
    for cluster in hot_spots(rng):
        yield ~cluster if rng.random() < 0.2 else cluster


class AgingDisk:
    """A disk of 64 MiB, backed up by the engine's own comparison, area by area."""

    def __init__(self, store: Store, rng: random.Random) -> None:
        self.store = store
        self.rng = rng
        self.hashes: list[bytes | None] = [self._name() for _ in range(CLUSTERS)]
        self.places: list[Place | None] = [None] * CLUSTERS
        self.changed = 0
        self._data = bytearray(AREA * CLUSTER)
        self.session([])
        self.changed = 0
        store.stored = 0

    def _name(self) -> bytes:
        return self.rng.randbytes(32)

    def session(self, writes: list[int]) -> None:
        for cluster in writes:
            if cluster < 0:
                self.hashes[~cluster] = None
            else:
                self.hashes[cluster] = self._name()
        store = self.store
        work: Any = SimpleNamespace(
            block_size=AREA * CLUSTER,
            pages=None,
            reader=None,
            wear=store.begin(),
            workers=1,
            progress=SimpleNamespace(advance=lambda _: None),
            hasher=SimpleNamespace(of_digests=lambda _: self._name()),
            content=SimpleNamespace(recognise=lambda _: None, stored_raw_bytes=0),
            dedup=SimpleNamespace(add=lambda *_: None),
            pipeline=SimpleNamespace(add=lambda _, raw, __: store.add(len(raw))),
        )
        source: Any = None
        engine = _ImageBackup(source, None, work)
        engine._outcome = SourceOutcome(DiskRoot(0, None, 0, 0), BlockUsage())
        places: list[Place | None] = []
        for first in range(0, CLUSTERS, AREA):
            end = first + AREA
            area = _Area(self._data, self.hashes[first:end], [])
            places.extend(engine._compare(first, end, area, self.places[first:end]))
        self.places = places
        self.changed += engine._outcome.changed_bytes
        usage = BlockUsage()
        for place in places:
            if place is not None:
                usage.add(place.slot, place.number, CLUSTER)
        store.publish(usage)

    def live(self) -> int:
        return CLUSTER * sum(place is not None for place in self.places)


@dataclass
class Worst:
    """The worst that was seen over the years, as shares."""

    read: float = 0.0
    dead: float = 0.0

    def see(self, read: int, live: int, dead: int, held: int) -> None:
        self.read = max(self.read, read / live)
        self.dead = max(self.dead, dead / held)


@pytest.mark.parametrize("pattern", [uniform, hot_spots, discards])
def test_after_1000_increments_of_a_disk_half_of_what_is_read_and_held_is_alive(
    tmp_path: Path, pattern: Writes
) -> None:
    rng = random.Random(4711)  # noqa: S311 - a model
    store = Store(tmp_path, KEPT_POINTS)
    disk = AgingDisk(store, rng)
    worst = Worst()
    for number in range(INCREMENTS):
        disk.session(list(pattern(rng)))
        assert all(
            (place is None) == (name is None)
            for place, name in zip(disk.places, disk.hashes, strict=True)
        )
        if number % 10 == 0:
            worst.see(store.read_by_restore(), disk.live(), store.dead(), store.held())
    assert worst.read <= 2
    assert worst.dead <= 1 / 2
    # And it is not had by storing everything again and again.
    assert store.stored <= 2.5 * disk.changed


# --- small files -----------------------------------------------------------------------------

FILES = 1200


class AgingTree:
    """Small files, packed by the engine's own `ContentStore`."""

    def __init__(self, store: Store, rng: random.Random) -> None:
        self.store = store
        self.rng = rng
        self.names = [self._name() for _ in range(FILES)]
        self.lengths = [rng.randrange(100, 20_000) for _ in range(FILES)]
        self.pieces: list[tuple[int, int, int, int, bytes] | None] = [None] * FILES
        self.changed = 0
        self.session([])
        self.changed = 0
        store.stored = 0

    def _name(self) -> bytes:
        return self.rng.randbytes(32)

    def session(self, changes: list[int]) -> None:
        store, rng = self.store, self.rng
        wear = store.begin()
        waiting: dict[BlockAddress, list[int]] = {}

        def reserve(_: object, most: int) -> Any:
            return SimpleNamespace(address=store.add(0))

        def fill(reserved: Any, raw: bytes, _: object) -> None:
            store.sizes[reserved.address.slot, reserved.address.number] = len(raw)
            store.stored += len(raw)

        found: dict[bytes, Any] = {}
        for piece in self.pieces:
            if piece is not None:
                found[piece[4]] = SimpleNamespace(
                    slot=piece[0], number=piece[1], offset=piece[2], length=piece[3]
                )
        pipeline: Any = SimpleNamespace(reserve=reserve, fill=fill)
        hasher: Any = SimpleNamespace(digest=lambda data: self._current)
        dedup: Any = SimpleNamespace(find=found.get, add=lambda *_: None)
        content = ContentStore(
            pipeline, hasher, dedup, store.reusable, wear.regain, store.slot, 0, 1 << 20
        )
        for index in changes:
            self.names[index] = self._name()
            self.lengths[index] = rng.randrange(100, 20_000)
        changed = set(changes)
        for index, piece in enumerate(self.pieces):
            if piece is not None and index not in changed:
                # What `tree_backup` asks of an unchanged file.
                slot, number, _, length, _ = piece
                doomed = wear.active and wear.is_doomed(slot, number)
                if not (doomed and wear.spend(length)):
                    continue
            if piece is not None:
                wear.lose(piece[0], piece[1], piece[3])
            self._current = self.names[index]
            before = content.stored_raw_bytes
            self.pieces[index] = content.put_small(bytes(self.lengths[index]))
            if index in changed or piece is None:
                self.changed += content.stored_raw_bytes - before
                wear.earn(content.stored_raw_bytes - before)
        content.flush()
        assert not waiting
        usage = BlockUsage()
        for piece in self.pieces:
            assert piece is not None
            usage.add(piece[0], piece[1], piece[3])
        store.publish(usage)

    def live(self) -> int:
        return sum(self.lengths)


HOT_FILES = random.Random(8).sample(range(FILES), FILES // 10)  # noqa: S311 - a model


@pytest.mark.parametrize("hot", [False, True])
def test_after_1000_increments_of_small_files_half_of_what_is_read_and_held_is_alive(
    tmp_path: Path, hot: bool
) -> None:
    rng = random.Random(4712)  # noqa: S311 - a model
    store = Store(tmp_path, KEPT_POINTS)
    tree = AgingTree(store, rng)
    worst = Worst()
    for number in range(INCREMENTS):
        changes = {
            rng.choice(HOT_FILES) if hot and rng.random() < 0.9 else rng.randrange(FILES)
            for _ in range(FILES // 100)
        }
        tree.session(sorted(changes))
        if number % 10 == 0:
            worst.see(store.read_by_restore(), tree.live(), store.dead(), store.held())
    assert worst.read <= 2
    assert worst.dead <= 1 / 2
    assert store.stored <= 2.5 * tree.changed
