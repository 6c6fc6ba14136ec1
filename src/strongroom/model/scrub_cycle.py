"""Which packs are due, so that each is read once in every so many days.

Think of a hand that goes round once in the time given, and of every pack as having its own mark
on the dial, where its random id puts it. A pack is due when the hand has passed its mark since it
was read. So a day's share is about the same every day, whatever is added or removed; what was
missed is made up for; and a pack that is new is read within one round.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MARK_BYTES: Final = 8


def is_due(pack_id: bytes, since: datetime, now: datetime, every: timedelta) -> bool:
    """Tell whether a pack's mark was passed.

    Args:
        pack_id: Random, at least 8 bytes.
        since: When it was read; if it never was, when there was last a scrub that could have.
        now: The present moment.
        every: How long one round takes.
    """
    fraction = int.from_bytes(pack_id[:_MARK_BYTES], "big")
    round_us = every // timedelta(microseconds=1)
    mark = timedelta(microseconds=fraction * round_us >> 8 * _MARK_BYTES)
    return (now - _EPOCH - mark) // every > (since - _EPOCH - mark) // every
