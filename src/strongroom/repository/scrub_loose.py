"""Objects by themselves: whether they are whole, where nothing signed leads to them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from strongroom.crypto.fingerprinter import Fingerprinter
from strongroom.errors import (
    IntegrityError,
    MalformedError,
    ObjectMissingError,
    UnsupportedVersionError,
)
from strongroom.format import header as headers
from strongroom.format.codec import HASH_LENGTH, MAX_BODY, MAX_ENTRY, MAX_SMALL
from strongroom.format.journal import SessionBody, read_entry
from strongroom.format.mirror import read_note
from strongroom.format.versions import TABLES
from strongroom.repository import layout
from strongroom.repository.framed import get_framed
from strongroom.repository.packs import PIECE, check_pack
from strongroom.repository.stored_packs import Form

if TYPE_CHECKING:
    from strongroom.repository.progress import Cancellation, Progress
    from strongroom.repository.scrub_packs import Choice
    from strongroom.repository.scrub_report import Findings
    from strongroom.storage.base import ObjectInfo, Storage

ENVELOPE: Final = re.compile(r"([0-9a-f]{64})-([0-9]{6,})-[ab]", re.ASCII)
LINK: Final = re.compile(r"[0-9a-f]{64}-[0-9a-f]{64}", re.ASCII)
ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_ENTRY: Final = re.compile(r"[0-9]{10}", re.ASCII)


class Loose:
    """Checks objects of a storage one by one."""

    def __init__(
        self,
        storage: Storage,
        choice: Choice,
        findings: Findings,
        progress: Progress,
        cancel: Cancellation,
    ) -> None:
        self.storage = storage
        self.choice = choice
        self.findings = findings
        self.progress = progress
        self.cancel = cancel

    def check_all(self, chain_id: bytes) -> None:
        """Check objects by themselves, where no header says whom to believe."""
        for info in self.storage.list(layout.chain(chain_id)):
            self.cancel.check()
            self.check(chain_id, info)

    def check(self, chain_id: bytes, info: ObjectInfo) -> bytes | None:
        """Check that an object is whole; return the session that a pack says it is of, if read."""
        kind, _, name = info.key.removeprefix(layout.chain(chain_id)).partition("/")
        key = info.key
        try:
            found = layout.pack_form(name)
            if kind == "packs" and found:
                return self._check_pack(found[0], Form(key, info.size, found[1]))
            if kind == "tables" and ID.fullmatch(name):
                check_tables(self.storage, key, self.progress)
            elif kind == "keys" and ID.fullmatch(name):
                keys = headers.read_session_keys(get_framed(self.storage, key, MAX_SMALL), key)
                if (keys.chain_id, keys.session_id.hex()) != (chain_id, name):
                    self.findings.damage(
                        key, "holds the keys of another session: swapped in storage"
                    )
            elif kind == "journal" and _ENTRY.fullmatch(name):
                read_entry(get_framed(self.storage, key, MAX_ENTRY), key)
            elif kind == "envelopes" and ENVELOPE.fullmatch(name):
                headers.read_envelope(get_framed(self.storage, key, MAX_SMALL), key)
            elif kind == "links" and LINK.fullmatch(name):
                headers.read_link(get_framed(self.storage, key, MAX_SMALL), key)
            elif kind == "mirror" and _ENTRY.fullmatch(name):
                read_note(get_framed(self.storage, key, MAX_ENTRY), key)
            else:
                self.findings.note(key, "is no part of a repository")
        except (IntegrityError, UnsupportedVersionError) as error:
            if isinstance(error, ObjectMissingError) or not self.storage.exists(key):
                return None  # removed since it was listed
            self.findings.damage(key, str(error))
        if kind != "tables":
            self.progress.advance(info.size)
        return None

    def _check_pack(self, pack_id: bytes, form: Form) -> bytes | None:
        if pack_id in self.choice.left_out:
            return None
        state = check_pack(self.storage, form, None, None, self.progress, self.cancel)
        self.choice.sample.read(pack_id, whole=not state.problems)
        for problem in state.problems:
            self.findings.damage(form.key, problem)
        return state.session_id


def check_tables(storage: Storage, key: str, progress: Progress) -> None:
    """Check the frame of a tables object, in pieces.

    Raises:
        MalformedError: wrong magic, wrong lengths or a checksum that does not match.
    """
    size = storage.size(key)
    head = storage.get(key, 0, 12)
    length = int.from_bytes(head[8:12], "big")
    end = 12 + length + 2
    if head[:8] != TABLES or length > MAX_BODY or end + HASH_LENGTH != size:
        raise MalformedError(f"{key} is no tables object, or has another length than it says")
    hasher = Fingerprinter()
    for at in range(0, end, PIECE):
        data = storage.get(key, at, min(PIECE, end - at))
        hasher.update(data)
        progress.advance(len(data))
    if storage.get(key, end - 2, 2) != b"\0\0":
        raise MalformedError(f"{key} carries a signature, which no tables object has")
    if hasher.digest() != storage.get(key, end, HASH_LENGTH):
        raise MalformedError(f"{key} does not match its checksum: changed or damaged in storage")
    progress.advance(HASH_LENGTH)


def claimed_points(storage: Storage, chain_id: bytes) -> list[str]:
    """Return the points that a chain's entries name, believed or not: to say what may be hurt."""
    points: list[str] = []
    for info in storage.list(layout.journal(chain_id)):
        try:
            entry = read_entry(get_framed(storage, info.key, MAX_ENTRY), info.key)
        except (IntegrityError, UnsupportedVersionError):
            continue
        if isinstance(entry.body, SessionBody):
            points.extend(point.point_id.hex() for point in entry.body.points)
    return points
