"""When repositories were scrubbed, and which of their packs were read when.

By the ids of repositories, and of no table: a machine that only scrubs need not know them by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from strongroom.clock import from_microseconds, to_microseconds

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from strongroom.catalog.database import Database


class PackRead(NamedTuple):
    """What a pack was found to be when it was read last."""

    at: datetime
    whole: bool


def last(database: Database, repository_id: bytes) -> datetime | None:
    """Return when the newest scrub that came to its end began."""
    row = database.one(
        "SELECT begun_at FROM scrubs WHERE repository_id = ?",
        (repository_id,),
    )
    return None if row is None else from_microseconds(row["begun_at"])


def packs(database: Database, repository_id: bytes) -> dict[bytes, PackRead]:
    """Return every pack that was read."""
    rows = database.query(
        "SELECT pack_id, read_at, whole FROM scrubbed_packs WHERE repository_id = ?",
        (repository_id,),
    )
    return {
        row["pack_id"]: PackRead(from_microseconds(row["read_at"]), bool(row["whole"]))
        for row in rows
    }


class Health(NamedTuple):
    """What scrubs know of a repository."""

    oldest: datetime | None
    """When the pack was read whose reading lies back furthest; None where none was read."""
    damaged: int
    """Packs that were damaged when they were read last."""


def health(database: Database, repository_id: bytes) -> Health:
    """Return what scrubs know of a repository."""
    row = database.one(
        "SELECT MIN(read_at) AS oldest, COALESCE(SUM(NOT whole), 0) AS damaged "
        "FROM scrubbed_packs WHERE repository_id = ?",
        (repository_id,),
    )
    assert row is not None, "a sum is always there"
    oldest = None if row["oldest"] is None else from_microseconds(row["oldest"])
    return Health(oldest, int(row["damaged"]))


def remember(
    database: Database, repository_id: bytes, read: Iterable[tuple[bytes, PackRead]]
) -> None:
    """Remember that packs were read."""
    database.execute_many(
        "INSERT INTO scrubbed_packs (repository_id, pack_id, read_at, whole) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (repository_id, pack_id) "
        "DO UPDATE SET read_at = excluded.read_at, whole = excluded.whole",
        [(repository_id, pack_id, to_microseconds(one.at), one.whole) for pack_id, one in read],
    )


def finish(
    database: Database, repository_id: bytes, begun_at: datetime, gone: Iterable[bytes]
) -> None:
    """Remember a scrub that came to its end, and forget the packs that it did not find."""
    with database.transaction():
        database.execute(
            "INSERT INTO scrubs (repository_id, begun_at) VALUES (?, ?) "
            "ON CONFLICT (repository_id) DO UPDATE SET begun_at = excluded.begun_at",
            (repository_id, to_microseconds(begun_at)),
        )
        database.execute_many(
            "DELETE FROM scrubbed_packs WHERE repository_id = ? AND pack_id = ?",
            [(repository_id, pack_id) for pack_id in gone],
        )


def forget(database: Database, repository_id: bytes) -> None:
    """Forget a repository's scrubs."""
    with database.transaction():
        database.execute("DELETE FROM scrubs WHERE repository_id = ?", (repository_id,))
        database.execute("DELETE FROM scrubbed_packs WHERE repository_id = ?", (repository_id,))
