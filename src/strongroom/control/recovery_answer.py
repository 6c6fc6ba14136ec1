"""The holder's side of a recovery request: read it, judge it, answer it, and forget.

Nothing but the request and the kit is needed, neither a repository nor a home, and nothing is
kept. A kit says whose backups it opens; a request by anybody else is refused unless the holder
names who may ask.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.clock import from_microseconds
from strongroom.control.keys import normal_fingerprint
from strongroom.control.recovery_files import read_kit
from strongroom.control.views.recovery import RecoveryQuestion
from strongroom.crypto.envelope import ChainKey, open_link, open_session, unlock
from strongroom.crypto.recipients import RecoveryUnlocker
from strongroom.errors import (
    IntegrityError,
    InvalidInputError,
    NoRecipientMatchedError,
    UnlockError,
    UnvouchedError,
)
from strongroom.format.exchange import RecoveryRequest, read_request, response_text
from strongroom.format.header import chain_key_context, session_context

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from strongroom.control.recovery_kit import RecoveryKit
    from strongroom.crypto.signing import SigningPublicKey


@dataclass(frozen=True, slots=True)
class Question:
    """A request that may be answered, and the kit to answer it with."""

    request: RecoveryRequest
    request_hash: bytes
    kit: RecoveryKit = field(repr=False)
    view: RecoveryQuestion
    """What the holder has to know before they agree."""


def consider(text: str, files: Sequence[Path], signers: tuple[str, ...] = ()) -> Question:
    """Return what a request asks, if it is to be answered at all.

    Args:
        text: Holds the request.
        files: The kit, or shares that give it.
        signers: Fingerprints of who may ask; by default the signer that the kit names, alone.

    Raises:
        InvalidInputError: text or files do not hold what they should.
        ForgedError: the request was altered on its way.
        UnvouchedError: somebody asks who is neither named by the kit nor by the holder.
        UnsupportedVersionError: a newer release made the request.
    """
    request, signer, request_hash = read_request(text)
    kit = read_kit(files)
    _check_asker(signer, kit, signers)
    view = RecoveryQuestion(
        request_id=request_hash.hex(),
        machine=request.machine,
        signer=signer.fingerprint,
        made_at=from_microseconds(request.made_at),
        repository_id=request.repository_id.hex(),
        chain=request.chain_id.hex(),
        point=request.point_id.hex(),
        taken_at=from_microseconds(request.taken_at),
        sessions=len(request.sessions),
        key_id=kit.key_id.hex(),
    )
    return Question(request, request_hash, kit, view)


def _check_asker(signer: SigningPublicKey, kit: RecoveryKit, signers: tuple[str, ...]) -> None:
    allowed = frozenset(map(normal_fingerprint, signers or (kit.signer,)))
    if signer.fingerprint in allowed:
        return
    whom = "any signer that was named" if signers else f"the signer of the kit, {kit.signer}"
    raise UnvouchedError(
        f"the request is made by {signer.fingerprint}, which is not {whom}",
        hint="ask whoever sent it for the fingerprint of their server; if it is this one, name it "
        "with --signer FINGERPRINT",
        fingerprint=signer.fingerprint,
    )


def answer(question: Question) -> str:
    """Return the response: the keys of the sessions asked for, sealed to who asked.

    Raises:
        NoRecipientMatchedError: the kit opens none of the chain's keys.
        UnlockError: there is a session that it does not open.
        IntegrityError: what the request says of keys does not hold.
    """
    request = question.request
    opened = _open_chain_keys(request, RecoveryUnlocker(question.kit.seed))
    keys = []
    for session in request.sessions:
        chain_key = opened.get(session.chain_key_id)
        if chain_key is None:
            raise UnlockError(
                f"session {session.session_id.hex()[:12]} is sealed to a chain key that this "
                "recovery kit does not open, nor does a link lead to it",
                hint="another kit may: 'strongroom recovery list' on the server shows them",
            )
        context = session_context(request.origin_id, session.session_id)
        secrets = open_session(chain_key, session.sealed, context, session.commitment)
        keys.append((session.session_id, secrets.packed()))
    return response_text(question.request_hash, request.public, keys)


def _open_chain_keys(request: RecoveryRequest, unlocker: RecoveryUnlocker) -> dict[bytes, ChainKey]:
    """Return the chain keys that a kit opens, by themselves and through links."""
    context = chain_key_context(request.origin_id)
    opened: dict[bytes, ChainKey] = {}
    refusal: NoRecipientMatchedError | None = None
    for envelope in request.envelopes:
        if envelope.chain_id != request.chain_id:
            raise InvalidInputError("the recovery request has an envelope of another chain")
        try:
            found = unlock(envelope.stanzas, envelope.chain_public, unlocker, context)
        except NoRecipientMatchedError as error:
            refusal = error
            continue
        opened[found.id] = found
    if not opened:
        raise NoRecipientMatchedError(
            "the recovery kit opens none of the chain keys of the request",
            hint="another kit may: 'strongroom recovery list' on the server shows which there are",
        ) from refusal
    pending = list(opened.values())
    while pending:
        newer = pending.pop()
        for link in request.links:
            if link.newer_id != newer.id or link.older_id in opened:
                continue
            try:
                older = open_link(newer, link.sealed, link.older_public, context)
            except IntegrityError:
                continue  # It closes what is behind it and no more, as in a repository.
            opened[older.id] = older
            pending.append(older)
    return opened
