"""Heads: the newest journal entry seen of every chain.

What a repository that was rolled back, or that withholds, is recognised by. A head only moves
forward, and it stays when everything else of its chain is forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.clock import to_microseconds

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.catalog.database import Database


def get(database: Database, chain_id: bytes) -> tuple[int, bytes] | None:
    """Return number and hash of the newest entry seen, if any was."""
    row = database.one("SELECT number, entry_hash FROM heads WHERE chain_id = ?", (chain_id,))
    return None if row is None else (int(row["number"]), bytes(row["entry_hash"]))


def remember(
    database: Database, chain_id: bytes, number: int, entry_hash: bytes, seen_at: datetime
) -> None:
    """Move a head forward; an older entry changes nothing."""
    database.execute(
        "INSERT INTO heads (chain_id, number, entry_hash, seen_at) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (chain_id) DO UPDATE SET number = excluded.number, "
        "entry_hash = excluded.entry_hash, seen_at = excluded.seen_at "
        "WHERE excluded.number > heads.number",
        (chain_id, number, entry_hash, to_microseconds(seen_at)),
    )


def forget(database: Database, chain_id: bytes) -> None:
    """Let a chain go for good: it was removed on purpose."""
    database.execute("DELETE FROM heads WHERE chain_id = ?", (chain_id,))
