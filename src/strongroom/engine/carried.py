"""What of a chain some of its entries stand on: looked up in signed pages, without a key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.errors import PointDamagedError
from strongroom.format.codec import decode
from strongroom.format.pack import Directory
from strongroom.repository.reach import Reach, bytes_at, ledgers_coming, union_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from strongroom.format.journal import Entry
    from strongroom.format.tables import SessionRecord
    from strongroom.repository.chain import Chain


@dataclass(slots=True)
class Carried:
    """What of a chain its live points, and its next session, stand on."""

    entries: list[Entry]
    """Session entries, oldest first; the newest is always among them."""
    live: dict[bytes, bool]
    """Live points, and whether an operator holds them."""
    records: dict[int, SessionRecord] = field(default_factory=dict)
    """Sessions by slot."""
    used: dict[tuple[int, int], int] = field(default_factory=dict)
    """Used places, as bits, by slot and pack ordinal."""
    directories: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """Of packs that have used blocks, encoded as they were signed."""
    byte_count: int = 0
    """Stored bytes of used blocks."""


def carried(chain: Chain) -> Carried:
    """Return what the live points of a chain, and its next session, stand on.

    Raises:
        IntegrityError: the chain is damaged or withheld in part.
    """
    live = chain.live_points()
    entries = {one.entry.number: one.entry for one in live}
    newest = chain.newest_session
    if newest is not None:
        entries[newest.number] = newest
    found = used_by(chain, [entries[number] for number in sorted(entries)])
    found.live = {one.point.point_id: one.held for one in live}
    return found


def used_by(chain: Chain, entries: Sequence[Entry]) -> Carried:
    """Return what the states of these entries stand on.

    Raises:
        IntegrityError: something of it is not what was signed.
    """
    reach = Reach(chain)
    records, used = union_of(reach, chain, entries)
    found = Carried(list(entries), {}, records, {key: bits for key, bits in used.items() if bits})
    for slot, record in ledgers_coming(chain, found.records):
        for ordinal, encoded, directory in reach.ledger(record):
            bits = found.used.get((slot, ordinal), 0)
            if not bits:
                continue
            found.directories[slot, ordinal] = encoded
            found.byte_count += bytes_at(directory, bits)
    if found.used.keys() - found.directories.keys():
        raise PointDamagedError(f"chain {chain.name} uses packs that no ledger knows")
    return found


def of_slots(found: Carried, slots: Collection[int]) -> Carried:
    """Return the part of it that some slots make up; entries and points are the same."""
    part = Carried(
        found.entries,
        found.live,
        {slot: record for slot, record in found.records.items() if slot in slots},
        {key: bits for key, bits in found.used.items() if key[0] in slots},
        {key: encoded for key, encoded in found.directories.items() if key[0] in slots},
    )
    part.byte_count = sum(
        bytes_at(decode(Directory, encoded, "a directory"), part.used[key])
        for key, encoded in part.directories.items()
    )
    return part
