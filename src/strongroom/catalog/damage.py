"""Damaged blocks of known chains, as scrub, verify and sessions found them.

Sessions do not refer to them again, and make them anew where the source still has what they held.
A chain of which more than blocks is damaged is not gone on in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.clock import to_microseconds

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from strongroom.catalog.database import Database

_STATE = (0, 0)
"""In the place of slot and number, which no block has: the chain's own records are damaged."""


@dataclass(frozen=True, slots=True)
class DamagedChain:
    """What is known to be damaged of one chain."""

    chain_id: bytes
    blocks: frozenset[tuple[int, int]]
    """Slot and number of each."""
    state: bool
    """Records are damaged that say what the chain consists of."""


def replace(
    database: Database,
    chain_id: bytes,
    blocks: Iterable[tuple[int, int]],
    found_at: datetime,
    *,
    state: bool = False,
) -> None:
    """Remember what all of a chain was found to be like, instead of what was known before."""
    with database.transaction():
        database.execute("DELETE FROM damaged_blocks WHERE chain_id = ?", (chain_id,))
        add(database, chain_id, [*blocks, *([_STATE] if state else [])], found_at)


def add(
    database: Database, chain_id: bytes, blocks: Iterable[tuple[int, int]], found_at: datetime
) -> None:
    """Remember more damaged blocks."""
    with database.transaction():
        for slot, number in blocks:
            database.execute(
                "INSERT INTO damaged_blocks (chain_id, slot, number, found_at) "
                "VALUES (?, ?, ?, ?) ON CONFLICT (chain_id, slot, number) DO NOTHING",
                (chain_id, slot, number, to_microseconds(found_at)),
            )


def forget(database: Database, chain_id: bytes, blocks: Iterable[tuple[int, int]]) -> None:
    """Blocks are whole again, or nobody uses them any more."""
    with database.transaction():
        for slot, number in blocks:
            database.execute(
                "DELETE FROM damaged_blocks WHERE chain_id = ? AND slot = ? AND number = ?",
                (chain_id, slot, number),
            )


def of_chain(database: Database, chain_id: bytes) -> DamagedChain:
    rows = database.query("SELECT slot, number FROM damaged_blocks WHERE chain_id = ?", (chain_id,))
    found = {(int(row["slot"]), int(row["number"])) for row in rows}
    return DamagedChain(chain_id, frozenset(found - {_STATE}), _STATE in found)


def all_chains(database: Database) -> list[DamagedChain]:
    """Return every chain of which something is damaged."""
    rows = database.query("SELECT DISTINCT chain_id FROM damaged_blocks ORDER BY chain_id")
    return [of_chain(database, bytes(row["chain_id"])) for row in rows]
