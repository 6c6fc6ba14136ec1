"""Times as entries and headers claim them, which may be any number."""

from __future__ import annotations

from datetime import UTC, datetime

from strongroom.clock import from_microseconds


def claimed_moment(microseconds: int) -> datetime:
    """Return the moment, or the last there is where the claim lies beyond it."""
    try:
        return from_microseconds(microseconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)
