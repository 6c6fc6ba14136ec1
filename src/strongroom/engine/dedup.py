"""Recognising content that the chain holds already.

Every piece of content, and every index page, has a keyed hash. This module finds where a hash
was stored: first among what this session stored itself, then in *runs*, files of sorted
records in a cache that may be lost at any time. Memory is bounded: records of the session
spill into a run once there are many, and runs are read through the page cache by
interpolation, since hashes are uniform.

A hit is only a hint. Whether the block is still used by the state that the session builds
on is for the caller's usage to say. What a hit must never be is *wrong*: slots are unique only
among what was published, so what a session spills becomes part of the cache when it has
published and not before, and a cache made in another history of the chain is not used at
all (`bind`).
"""

from __future__ import annotations

import mmap
import os
import struct
from heapq import merge
from typing import TYPE_CHECKING, NamedTuple

from strongroom.format.block import BlockAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

RECORD = struct.Struct(">32sIQII")
_PLACE = struct.Struct(">IQII")
_SPILL = 200_000
_MAX_RUNS = 8


class Location(NamedTuple):
    """Where content lies."""

    slot: int
    number: int
    offset: int
    length: int

    @property
    def block(self) -> BlockAddress:
        return BlockAddress(self.slot, self.number)


class _Run:
    """A file of records sorted by hash."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            self.count = size // RECORD.size
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if self.count else b""

    def find(self, content_hash: bytes) -> Location | None:
        data, size = self._map, RECORD.size
        low, high = 0, self.count
        target = int.from_bytes(content_hash[:8], "big")
        lowest, highest = 0, 1 << 64
        steps = 0
        while low < high:
            # Interpolate at first; bisect once that has had its chance, so that no
            # distribution makes this slow.
            if steps < 4 and highest > lowest:
                middle = low + (high - low) * (target - lowest) // (highest - lowest)
                middle = min(max(middle, low), high - 1)
            else:
                middle = (low + high) // 2
            steps += 1
            found = data[middle * size : middle * size + 32]
            if found == content_hash:
                _, slot, number, offset, length = RECORD.unpack_from(data, middle * size)
                return Location(slot, number, offset, length)
            if found < content_hash:
                low = middle + 1
                lowest = int.from_bytes(found[:8], "big")
            else:
                high = middle
                highest = int.from_bytes(found[:8], "big")
        return None

    def records(self) -> Iterator[bytes]:
        size = RECORD.size
        for index in range(self.count):
            yield bytes(self._map[index * size : (index + 1) * size])


class DedupIndex:
    """Where content lies, by its hash."""

    def __init__(self, folder: Path | None) -> None:
        """Open the runs in `folder`, or keep everything in memory when there is none."""
        self._folder = folder
        self._recent: dict[bytes, bytes] = {}
        self._runs: list[_Run] | None = None
        if folder is not None and folder.is_dir():
            # Left by a session that never published: its slots may mean another one now.
            for leftover in (*folder.glob("*.part"), *folder.glob("*.tmp")):
                leftover.unlink(missing_ok=True)

    def bind(self, known: Callable[[int], bytes | None]) -> bool:
        """Use the cache only if it belongs to this history; return whether it does.

        Args:
            known: Returns the hash of the journal entry with a number, or None.
        """
        if self._folder is None:
            return False
        try:
            number, _, entry_hash = (self._folder / "lineage").read_text().partition(" ")
            if known(int(number)) == bytes.fromhex(entry_hash):
                return True
        except (OSError, ValueError):
            pass
        for path in self._folder.glob("*.run"):
            path.unlink(missing_ok=True)
        self._runs = None
        return False

    def add(self, content_hash: bytes, slot: int, number: int, offset: int, length: int) -> None:
        """Remember where the session just put content."""
        self._recent[content_hash] = _PLACE.pack(slot, number, offset, length)
        if len(self._recent) >= _SPILL and self._folder is not None:
            self._spill()

    def find(self, content_hash: bytes) -> Location | None:
        """Return where content with this hash was put last, if anywhere."""
        place = self._recent.get(content_hash)
        if place is not None:
            return Location(*_PLACE.unpack(place))
        for run in reversed(self._opened()):
            found = run.find(content_hash)
            if found is not None:
                return found
        return None

    def known(self) -> Iterator[tuple[bytes, Location]]:
        """Yield every content hash with each place where it was put, the newest last."""
        for run in self._opened():
            for record in run.records():
                yield record[:32], Location(*_PLACE.unpack(record[32:]))
        for content_hash, place in self._recent.items():
            yield content_hash, Location(*_PLACE.unpack(place))

    def save(
        self, number: int, entry_hash: bytes, alive: Iterable[tuple[int, int]] | None = None
    ) -> None:
        """Keep what was added for the next session; called once the session has published.

        Args:
            number: The journal entry that published it.
            entry_hash: Its hash: the history that the cache belongs to.
            alive: Slots and pack ordinals that the state uses; when runs are merged,
                records of other packs are left out.
        """
        if self._folder is None:
            return
        if self._recent:
            self._spill()
        for run in self._opened():
            if run.path.suffix == ".part":
                run.path = run.path.replace(run.path.with_suffix(".run"))
        runs = self._opened()
        if len(runs) > _MAX_RUNS:
            self._merge(runs, None if alive is None else set(alive))
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self._folder / "lineage.tmp"
        temporary.write_text(f"{number} {entry_hash.hex()}")
        temporary.replace(self._folder / "lineage")

    def discard(self) -> None:
        """Forget what a session that failed had added."""
        for run in self._runs or ():
            if run.path.suffix == ".part":
                run.path.unlink(missing_ok=True)
        self._recent.clear()
        self._runs = None

    # --- inside ----------------------------------------------------------------------------

    def _opened(self) -> list[_Run]:
        if self._runs is None:
            self._runs = []
            if self._folder is not None and self._folder.is_dir():
                for path in sorted(self._folder.glob("*.run")):
                    self._runs.append(_Run(path))
        return self._runs

    def _spill(self) -> None:
        records = [name + place for name, place in sorted(self._recent.items())]
        self._opened().append(self._write(records, ".part"))
        self._recent.clear()

    def _write(self, records: Iterable[bytes], suffix: str) -> _Run:
        assert self._folder is not None
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        numbers = [int(run.path.stem) for run in self._opened()]
        path = self._folder / f"{1 + max(numbers, default=0):08d}{suffix}"
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            file.writelines(records)
        temporary.replace(path)
        return _Run(path)

    def _merge(self, runs: list[_Run], keep: set[tuple[int, int]] | None) -> None:
        def wanted() -> Iterator[bytes]:
            last = b""
            # Later runs win: with equal hashes, merge yields the earlier iterable first.
            for record in merge(*(run.records() for run in reversed(runs)), key=_hash_of):
                if record[:32] == last:
                    continue
                last = record[:32]
                _, slot, number, _, _ = RECORD.unpack(record)
                if keep is None or (slot, number >> 16) in keep:
                    yield record

        merged = self._write(wanted(), ".run")
        for run in runs:
            run.path.unlink(missing_ok=True)
        self._runs = [merged]


def _hash_of(record: bytes) -> bytes:
    return record[:32]
