"""What a restore is asked for, what it comes to, and what its parts share while it runs."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from strongroom.errors import BlockDamagedError, IntegrityError, ObjectMissingError, with_words
from strongroom.format.block import PLACE_BITS, BlockAddress, BlockClass
from strongroom.storage.reading import at_once, side_by_side

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from strongroom.engine.cancellation import Cancellation
    from strongroom.engine.points import PointView
    from strongroom.engine.progress import Progress
    from strongroom.repository.reader import BlockReader
    from strongroom.sources.base import Problem

Overwrite = Literal["never", "if-different", "always"]

SHOWN: Final = 10
"""Paths that a message lists before it only counts."""
SALVAGE_HINT: Final = "'restore --salvage' restores everything else"
_MOST_WARNINGS: Final = 1000
_PLACE_MASK: Final = (1 << PLACE_BITS) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreRequest:
    """What to restore, and how."""

    target: Path | None
    """Where to; None writes one file, image or object to a stream."""
    include: tuple[str, ...] = ()
    """Patterns of `selection`; none means everything."""
    strip: bool = False
    """Leave out the source's own path: what it holds lies directly in the target."""
    overwrite: Overwrite = "never"
    dry_run: bool = False
    verify: bool = False
    """Read back what was written, and what is there already and would be left as it is, and
    compare it with the content hashes of the point. What was left and differs is restored."""
    salvage: bool = False
    """Restore what is whole, and list what is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Something that a salvage could not restore."""

    path: str
    reason: str


@dataclass(slots=True, kw_only=True)
class RestoreResult:
    """What a restore did."""

    files: int = 0
    """Files, images and objects restored whole."""
    bytes: int = 0
    """What they hold, holes included."""
    seconds: float = 0.0
    unchanged: int = 0
    """Files that were there already, by size, time and all other attributes."""
    verified: bool = False
    """Everything was read and compared, what was left unchanged too."""
    losses: list[Loss] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    would: list[str] = field(default_factory=list)
    """Paths that a dry run would write, in order."""

    def error(self) -> IntegrityError | None:
        """Return what a door ends with after a salvage that lost something."""
        if not self.losses:
            return None
        shown = "; ".join(f"{loss.path}: {loss.reason}" for loss in self.losses[:SHOWN])
        more = f"; and {len(self.losses) - SHOWN} more" if len(self.losses) > SHOWN else ""
        return IntegrityError(
            f"{len(self.losses)} losses, everything else was restored: {shown}{more}",
            losses=[{"path": loss.path, "reason": loss.reason} for loss in self.losses],
        )


class RestoreWork:
    """A running restore."""

    def __init__(
        self,
        view: PointView,
        request: RestoreRequest,
        progress: Progress,
        cancel: Cancellation,
    ) -> None:
        self.view = view
        self.details = view.opened()
        self.request = request
        self.progress = progress
        self.cancel = cancel
        self.reader: BlockReader = view.reader()
        if not request.include:
            self.reader.expect_whole_index()
        # Data that no key at hand opens is found out here, before anything else.
        self.hasher = view.hasher()
        self.result = RestoreResult()
        self._begun = time.monotonic()
        self._silenced = 0

    def warn(self, problem: Problem) -> None:
        """Take note of something that could not be restored with all its attributes."""
        if len(self.result.warnings) >= _MOST_WARNINGS:
            self._silenced += 1
            return
        self.result.warnings.append(f"{os.fsdecode(problem.path)} {problem.message}")

    def lose(self, path: str, reason: str) -> None:
        """Take note of a loss."""
        self.result.losses.append(Loss(path=path, reason=reason))

    def finished(self) -> RestoreResult:
        """Return the result, with the time it took."""
        if self._silenced:
            self.result.warnings.append(f"and {self._silenced} more warnings of this kind")
        self.result.seconds = time.monotonic() - self._begun
        return self.result


class PacksNeeded:
    """The packs a restore will read, each looked up once before anything is written.

    A pack that is there and long enough can still be damaged inside: that is seen when its
    blocks are opened.
    """

    def __init__(self, work: RestoreWork) -> None:
        self._work = work
        self._reader = work.reader
        self._salvage = work.request.salvage
        self._wanted: dict[tuple[int, int], int] = {}
        """Which places of a pack hold a block that is needed, as bits; by slot and ordinal."""

    def need(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Take note of blocks; nothing is looked up yet."""
        wanted = self._wanted
        for slot, number in pairs:
            key = (slot, number >> PLACE_BITS)
            wanted[key] = wanted.get(key, 0) | 1 << (number & _PLACE_MASK)

    def look_up(self) -> None:
        """Go on if these blocks have a place in a pack that is there.

        Raises:
            ObjectMissingError: a pack is missing.
            BlockDamagedError: a pack is shorter than its blocks.
            PointDamagedError: no ledger knows a block.
            UnlockError: no key at hand opens a block's session.
        """
        threads = at_once(self._work.view.chain.storage)
        for _ in side_by_side(self._look_up_pack, self._wanted, threads):
            pass

    def _look_up_pack(self, pack: tuple[int, int]) -> None:
        self._work.cancel.check()
        slot, ordinal = pack
        left = self._wanted[pack]
        while left:
            place = (left & -left).bit_length() - 1
            left &= ~self._look_up(BlockAddress(slot, ordinal << PLACE_BITS | place))
            left &= ~(1 << place)
            if self._salvage:
                return

    def _look_up(self, address: BlockAddress) -> int:
        try:
            there = self._reader.check_stored(address, BlockClass.DATA)
        except IntegrityError as error:
            if self._salvage:
                # Which blocks are lost shows when they are to be opened.
                return 0
            if isinstance(error, ObjectMissingError):
                words = ", and the point needs it: nothing was restored"
                raise with_words(error, words) from error
            if isinstance(error, BlockDamagedError):
                raise with_words(error, "; nothing was restored") from error
            raise
        bits = 0
        for place in there:
            bits |= 1 << place
        return bits
