"""Scrubbing a repository in parts: what is due today, and how far round it has come.

What was read when stands in the catalog. A machine that never had a key gets a home by it, and
still no key.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from strongroom.catalog import scrubs
from strongroom.catalog.scrubs import PackRead
from strongroom.errors import InvalidInputError
from strongroom.model.scrub_cycle import is_due
from strongroom.repository.scrub_report import Coverage

if TYPE_CHECKING:
    from strongroom.control.context import Context

_SHORTEST: Final = timedelta(hours=1)
_FIRST: Final = timedelta(days=1)
"""The first scrub reads the share of so long."""
_AT_ONCE: Final = 256
"""Packs that are remembered together, some GiB: more is lost where the machine dies."""


class Round:
    """Chooses the packs of one scrub, and remembers what was read."""

    def __init__(self, ctx: Context, repository_id: bytes, every: timedelta | None) -> None:
        """Look up what was read before.

        Args:
            ctx: Surroundings.
            repository_id: What is scrubbed.
            every: How long a round takes; None reads everything.

        Raises:
            InvalidInputError: it is too short.
        """
        if every is not None and every < _SHORTEST:
            raise InvalidInputError(
                "a round of less than an hour is none", hint="leave --every out to read everything"
            )
        self._database = ctx.database
        self._clock = ctx.clock
        self._id = repository_id
        self._every = every
        self._begun_at = ctx.clock.now()
        self._last = scrubs.last(ctx.database, repository_id) or self._begun_at - _FIRST
        self._known = scrubs.packs(ctx.database, repository_id)
        self._sizes: dict[bytes, int] = {}
        self._fresh: list[tuple[bytes, PackRead]] = []
        self._read = 0

    def due(self, pack_id: bytes, size: int) -> bool:
        """Tell whether a pack is to be read; one that was damaged is, every time."""
        self._sizes[pack_id] = size
        before = self._known.get(pack_id)
        if self._every is None or (before is not None and not before.whole):
            return True
        since = self._last if before is None else before.at
        return is_due(pack_id, since, self._begun_at, self._every)

    def read(self, pack_id: bytes, *, whole: bool) -> None:
        """Remember that a pack was read."""
        self._read += 1
        self._fresh.append((pack_id, PackRead(self._clock.now(), whole)))
        if len(self._fresh) >= _AT_ONCE:
            self.keep()

    def keep(self) -> None:
        """Write down what was read, be the scrub at its end or not."""
        scrubs.remember(self._database, self._id, self._fresh)
        self._known.update(self._fresh)
        self._fresh.clear()

    def finish(self) -> None:
        """Remember that the scrub came to its end."""
        self.keep()
        gone = self._known.keys() - self._sizes.keys()
        scrubs.finish(self._database, self._id, self._begun_at, gone)

    def coverage(self) -> Coverage | None:
        """Return how far round the scrubs have come; nothing where everything was read."""
        if self._every is None:
            return None
        reads = {
            pack_id: read.at for pack_id, read in self._known.items() if pack_id in self._sizes
        }
        now = self._clock.now()
        oldest = min(reads.values(), default=None)
        recent = [pack_id for pack_id, at in reads.items() if at >= now - self._every]
        return Coverage(
            every_days=self._every / timedelta(days=1),
            packs=len(self._sizes),
            bytes=sum(self._sizes.values()),
            read_now=self._read,
            read_packs=len(recent),
            read_bytes=sum(self._sizes[pack_id] for pack_id in recent),
            never_read=len(self._sizes) - len(reads),
            oldest_read_at=oldest,
            oldest_days=None if oldest is None else (now - oldest).days,
        )
