"""Notes in a copy of a chain: that it is one, and what prune is about to remove from it.

A copy's journal is the original's and nobody adds to it, so what care has to remember between
two runs stands beside it. Nothing here is signed and nothing is believed: a note times the
quarantine of objects that signed states no longer need.
"""

from __future__ import annotations

from strongroom.format.codec import Number, Value, decode, encode, frame, unframe
from strongroom.format.versions import FORMAT, MIRROR, check_format


class MirrorNote(Value, frozen=True):
    """One note. The first names no object: it says that the chain is a copy."""

    format_version: int
    made_at: Number
    objects: list[str]
    """Keys, below the chain, of what is about to go."""
    not_before: Number
    """End of their quarantine."""


def frame_note(made_at: int, objects: list[str], not_before: int) -> bytes:
    """Return the object to store."""
    return frame(MIRROR, encode(MirrorNote(FORMAT, made_at, objects, not_before)))


def read_note(data: bytes, what: str) -> MirrorNote:
    """Take a stored note apart.

    Raises:
        MalformedError: these bytes are none.
        UnsupportedVersionError: it is of another format.
    """
    note = decode(MirrorNote, unframe(MIRROR, data, what).body, what)
    check_format(note.format_version, what)
    return note
