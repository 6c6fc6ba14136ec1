"""What shows that a chain is a copy, and how far a copy that is under way has come.

    chains/C/mirror/0000000001            this chain is kept by copying; nobody else adds to it
    chains/C/mirror/0000000002            what prune is about to remove, and from when on
    chains/C/journal/upto-0000000010      entries above 10 are still being copied

The second kind stands in for a CONDEMNATION: an entry of the copy's own would take the number of
one that is still to come from the original. The third lets a copy bring several entries at once:
while it is there, readers see the journal as it was before, and its removal shows all of them in
one stroke. Whoever could plant either could as well remove what it hides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.clock import to_microseconds
from strongroom.errors import (
    ConflictError,
    IntegrityError,
    ObjectExistsError,
    UnsupportedVersionError,
)
from strongroom.format.codec import MAX_ENTRY
from strongroom.format.mirror import frame_note, read_note
from strongroom.repository import layout
from strongroom.repository.framed import get_framed
from strongroom.repository.moments import claimed_moment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from strongroom.clock import Clock
    from strongroom.storage.base import Storage

_MOST_NOTES = 10**9
"""More than are ever written of one copy."""


def is_mirror(storage: Storage, chain_id: bytes) -> bool:
    """Tell whether a chain is kept by copying."""
    return storage.exists(layout.mirror_note(chain_id, 1))


def declare(storage: Storage, chain_id: bytes, clock: Clock) -> None:
    """Let a chain be one that is kept by copying."""
    key = layout.mirror_note(chain_id, 1)
    if not storage.exists(key):
        now = to_microseconds(clock.now())
        storage.put(key, frame_note(now, [], now))


def end(storage: Storage, chain_id: bytes) -> None:
    """Let a copy be a chain like any other: from now on a job writes to it."""
    # The first note last: up to then it is a copy.
    for info in sorted(storage.list(layout.mirror_notes(chain_id)), key=lambda info: info.key)[
        ::-1
    ]:
        storage.delete(info.key)


def refuse_writer(storage: Storage, chain_id: bytes) -> None:
    """Go on if the chain is no copy.

    Raises:
        ConflictError: it is; an entry of one's own would part it from its original.
    """
    if is_mirror(storage, chain_id):
        raise ConflictError(
            f"chain {chain_id.hex()[:12]} at {storage.location} is a copy: what is added to it "
            "here would part it from its original",
            hint="say it of the original, and copy again",
            chain=chain_id.hex(),
        )


def refuse_unfinished(storage: Storage, chain_id: bytes) -> None:
    """Go on if no copy of this chain has stopped halfway.

    Raises:
        ConflictError: one has; numbers that are free to readers are taken.
    """
    why = why_unfinished(storage, chain_id)
    if why is not None:
        raise ConflictError(
            why, hint="'strongroom repository copy' finishes it", chain=chain_id.hex()
        )


def why_unfinished(storage: Storage, chain_id: bytes) -> str | None:
    """Say why nothing may be decided by what readers see of a chain; None where it may.

    What a mark hides is there, and what it needs would be taken for dead.
    """
    marks = unfinished(storage, chain_id)
    if not marks:
        return None
    return (
        f"chain {chain_id.hex()[:12]} at {storage.location} is a copy that is not finished: "
        f"{marks[0]} hides entries of it"
    )


def unfinished(storage: Storage, chain_id: bytes) -> list[str]:
    """Return the keys of the marks that entries are still being copied."""
    return [
        info.key
        for info in storage.list(layout.journal(chain_id))
        if layout.copied_up_to_number(info.key) is not None
    ]


def condemn(
    storage: Storage, chain_id: bytes, objects: Sequence[str], clock: Clock, not_before: datetime
) -> None:
    """Note what is about to be removed from a copy."""
    note = frame_note(to_microseconds(clock.now()), list(objects), to_microseconds(not_before))
    # One that somebody planted under the last number there is leaves room below it.
    numbers = (one for one in _numbers(storage, chain_id) if one < _MOST_NOTES)
    number = max(numbers, default=0)
    while True:
        number += 1
        try:
            storage.put(layout.mirror_note(chain_id, number), note)
        except ObjectExistsError:
            continue
        return


def condemned(storage: Storage, chain_id: bytes) -> dict[str, datetime]:
    """Return what notes say is about to go, with the end of its quarantine."""
    found: dict[str, datetime] = {}
    for number in _numbers(storage, chain_id):
        key = layout.mirror_note(chain_id, number)
        try:
            note = read_note(get_framed(storage, key, MAX_ENTRY), key)
        except (IntegrityError, UnsupportedVersionError):
            continue  # it starts no quarantine
        until = claimed_moment(note.not_before)
        for name in note.objects:
            found[name] = min(found.get(name, until), until)
    return found


def tidy(storage: Storage, chain_id: bytes) -> None:
    """Remove notes whose objects are all gone."""
    prefix = layout.chain(chain_id)
    for number in _numbers(storage, chain_id):
        key = layout.mirror_note(chain_id, number)
        try:
            names = read_note(get_framed(storage, key, MAX_ENTRY), key).objects
        except (IntegrityError, UnsupportedVersionError):
            continue
        if names and not any(storage.exists(prefix + name) for name in names):
            storage.delete(key)


def _numbers(storage: Storage, chain_id: bytes) -> list[int]:
    found = (layout.entry_number(info.key) for info in storage.list(layout.mirror_notes(chain_id)))
    return sorted(number for number in found if number is not None)
