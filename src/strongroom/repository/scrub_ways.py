"""Envelopes and links of a chain, and whether they lead to every key in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.crypto.hpke import PublicKey
from strongroom.crypto.recipients import check_stanza
from strongroom.crypto.signing import SigningPublicKey, verify
from strongroom.errors import (
    IntegrityError,
    MalformedError,
    ObjectMissingError,
    UnsupportedVersionError,
)
from strongroom.format import header as headers
from strongroom.format.codec import MAX_SMALL
from strongroom.format.journal import SessionBody
from strongroom.repository import layout
from strongroom.repository.framed import get_framed
from strongroom.repository.scrub_loose import ENVELOPE

if TYPE_CHECKING:
    from strongroom.repository.scrub_chain import ChainScrub, Slot
    from strongroom.storage.base import ObjectInfo


class Ways:
    """Envelopes and links of a chain, and whether they lead to every key in use."""

    def __init__(self, scrub: ChainScrub, identities: dict[bytes, SigningPublicKey]) -> None:
        self._of = scrub
        self._findings = scrub.findings
        self._progress = scrub.progress
        self._chain = scrub.chain
        self._identities = identities
        self._copies: dict[tuple[bytes, int], int] = {}
        self._links: list[tuple[bytes, bytes]] = []
        self._damaged: list[tuple[str, str, bytes]] = []

    def check_envelope(self, info: ObjectInfo) -> None:
        key = info.key
        found = ENVELOPE.fullmatch(key.rpartition("/")[2])
        assert found is not None
        chain_key_id, generation = bytes.fromhex(found[1]), int(found[2])
        self._copies.setdefault((chain_key_id, generation), 0)
        try:
            envelope, encoded, signature = headers.read_envelope(
                get_framed(self._chain.storage, key, MAX_SMALL), key
            )
            if (envelope.chain_id, envelope.chain_key_id, envelope.generation) != (
                self._chain.chain_id,
                chain_key_id,
                generation,
            ) or PublicKey(envelope.chain_public).id != chain_key_id:
                raise MalformedError("is the envelope of something else: swapped in storage")
            signer = SigningPublicKey(envelope.identity)
            if signer.id not in self._identities:
                raise MalformedError(f"is signed by {signer.fingerprint}, which is not the chain's")
            verify(signer, headers.ENVELOPE_DOMAIN, encoded, signature)
            for stanza in envelope.stanzas:
                check_stanza(stanza)
            self._copies[(chain_key_id, generation)] += 1
        except ObjectMissingError:
            return
        except (IntegrityError, UnsupportedVersionError) as error:
            self._damaged.append((key, str(error), chain_key_id))
        self._progress.advance(info.size)

    def check_link(self, info: ObjectInfo) -> None:
        key = info.key
        newer, older = key.rpartition("/")[2].split("-")
        try:
            link = headers.read_link(get_framed(self._chain.storage, key, MAX_SMALL), key)
            if (link.chain_id, link.newer_id.hex(), link.older_id.hex()) != (
                self._chain.chain_id,
                newer,
                older,
            ) or PublicKey(link.older_public).id != link.older_id:
                raise MalformedError("links something else: swapped in storage")
            self._links.append((link.newer_id, link.older_id))
        except ObjectMissingError:
            return
        except (IntegrityError, UnsupportedVersionError) as error:
            self._damaged.append((key, str(error), bytes.fromhex(older)))
        self._progress.advance(info.size)

    def finish(self, slots: dict[int, Slot]) -> None:
        """Report what is damaged, and keys that neither an envelope nor a link leads to."""
        open_ids = {chain_key_id for (chain_key_id, _), copies in self._copies.items() if copies}
        pending = list(open_ids)
        while pending:
            newer_id = pending.pop()
            for link_newer, older_id in self._links:
                if link_newer == newer_id and older_id not in open_ids:
                    open_ids.add(older_id)
                    pending.append(older_id)
        users: dict[bytes, set[int]] = {}
        if self._chain.sealed:
            for number, slot in slots.items():
                users.setdefault(slot.record.chain_key_id, set()).add(number)
        lost = {one: self._points(numbers) for one, numbers in users.items() if one not in open_ids}
        for key, what, chain_key_id in self._damaged:
            self._findings.damage(key, what, lost.pop(chain_key_id, ()))
        for chain_key_id, points in lost.items():
            self._findings.damage(
                f"{layout.envelopes(self._chain.chain_id)}{chain_key_id.hex()}",
                "neither an envelope nor a link opens this chain key",
                points,
            )
        damaged = {key for key, _, _ in self._damaged}
        for (chain_key_id, generation), copies in self._copies.items():
            for copy in ("a", "b") if copies == 1 else ():
                key = layout.envelope(self._chain.chain_id, chain_key_id, generation, copy)
                if key not in damaged and not self._chain.storage.exists(key):
                    self._findings.damage(key, "is missing: the other copy is the last one")

    def _points(self, slots: set[int]) -> list[str]:
        points: list[str] = []
        for number, entry in self._of.kept.items():
            assert isinstance(entry.body, SessionBody)
            try:
                if any(slot in slots for slot, _ in self._chain.sessions(entry.body).items()):
                    points.extend(self._of.live.get(number, ()))
            except IntegrityError:
                points.extend(self._of.live.get(number, ()))
        return points


def verify_any(
    identities: dict[bytes, SigningPublicKey], domain: str, encoded: bytes, signature: bytes
) -> None:
    """Check a signature that does not say whose it is.

    Raises:
        ForgedError: it is by none of the chain's identities.
    """
    last: IntegrityError | None = None
    for identity in identities.values():
        try:
            verify(identity, domain, encoded, signature)
        except IntegrityError as error:
            last = error
        else:
            return
    assert last is not None, "a chain has at least the identity of its header"
    raise last
