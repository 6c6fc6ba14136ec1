"""The chain keys of a chain as they lie in its repository: wrapped, in envelopes and links.

An envelope holds one chain key for everybody who may open it; a link holds an older chain key
for who has a newer one. What is read is checked on the way: which chain it belongs to, which key
it names, and that somebody signs it whom the chain knows. `unlock` is where a secret comes in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from strongroom.crypto.envelope import ChainKey, open_link, unlock
from strongroom.crypto.signing import SigningPublicKey, verify
from strongroom.errors import (
    EnvelopeDamagedError,
    ForgedError,
    IntegrityError,
    NoRecipientMatchedError,
    ObjectMissingError,
    RefusedError,
    StrongroomError,
    UnavailableError,
    UnlockError,
    UnsupportedVersionError,
    UnvouchedError,
)
from strongroom.format import header as headers
from strongroom.format.codec import MAX_SMALL
from strongroom.repository import layout
from strongroom.repository.framed import get_framed
from strongroom.repository.keyring import Keyring, openers_of
from strongroom.storage.reading import at_once, side_by_side, small_objects

if TYPE_CHECKING:
    from collections.abc import Iterable

    from strongroom.crypto.recipients import Stanza, Unlocker
    from strongroom.repository.chain import Chain, Trust

_LISTINGS: Final = 3
"""How often envelopes are listed where one of them is gone before it is read."""


class WrappedKeys:
    """What a chain's envelopes and links hold, and what a secret opens of it."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._chain_id = chain.chain_id
        self._storage = chain.storage

    def envelopes(self) -> dict[bytes, headers.Envelope]:
        """Return the intact envelope of the highest generation for each chain key.

        An older chain key without one is closed, and others are not.

        Raises:
            EnvelopeDamagedError: the present chain key has envelopes, and none is intact.
            UnsupportedVersionError: it has, and all are of another format.
        """
        found, damaged = self.read_envelopes()
        if self._chain.present_key_id in damaged:
            raise damaged[self._chain.present_key_id]
        return found

    def read_envelopes(
        self,
    ) -> tuple[dict[bytes, headers.Envelope], dict[bytes, StrongroomError]]:
        """Return intact envelopes, and why there is none of a chain key that has some."""
        found: dict[bytes, headers.Envelope] = {}
        damaged: dict[bytes, StrongroomError] = {}
        names = self.envelope_names()
        for _ in range(_LISTINGS):
            found, damaged = {}, {}
            if not self._read_named(names, found, damaged):
                break
            # A re-wrap replaces envelopes under new names: what was listed first may be gone.
            names = self.envelope_names()
        return found, {
            chain_key_id: self._closed(chain_key_id, reason)
            for chain_key_id, reason in damaged.items()
            if chain_key_id not in found
        }

    def envelope_names(self) -> dict[str, bytes]:
        """Return the names of the envelopes that are there, with the ids of their chain keys."""
        return _envelopes(self._names(layout.envelopes(self._chain_id)))

    def _names(self, prefix: str) -> list[str]:
        return [info.key for info in self._storage.list(prefix)]

    def _read_named(
        self,
        names: dict[str, bytes],
        found: dict[bytes, headers.Envelope],
        damaged: dict[bytes, StrongroomError],
    ) -> bool:
        """Read the envelopes of these names; return whether one was gone."""
        gone = False
        ahead = small_objects(self._storage, names)
        for key, chain_key_id in names.items():
            try:
                envelope = self._envelope(key, ahead.get(key))
            except (IntegrityError, UnsupportedVersionError) as error:
                gone = gone or isinstance(error, ObjectMissingError)
                # A copy that only claims to be newer does not outweigh one that is damaged.
                if not isinstance(damaged.get(chain_key_id), IntegrityError):
                    damaged[chain_key_id] = error
                continue
            held = found.get(envelope.chain_key_id)
            if held is None or held.generation < envelope.generation:
                found[envelope.chain_key_id] = envelope
        return gone

    def _closed(self, chain_key_id: bytes, reason: StrongroomError) -> StrongroomError:
        if isinstance(reason, UnsupportedVersionError):
            return reason
        return EnvelopeDamagedError(
            f"chain {self._chain.name}: no intact envelope of chain key "
            f"{chain_key_id.hex()[:12]}: {reason}",
            hint="the catalog of the server that made it has a copy, and 'job rewrap' there writes "
            "it anew; so has every copy of the repository",
        )

    def _envelope(self, key: str, ahead: bytes | None) -> headers.Envelope:
        data = ahead or get_framed(self._storage, key, MAX_SMALL)
        envelope = self.read_envelope(data, key)
        if layout.envelope_parts(key) != (envelope.chain_key_id, envelope.generation):
            raise ForgedError(f"{key} is the envelope of something else: swapped in storage")
        return envelope

    def read_envelope(self, data: bytes, where: str) -> headers.Envelope:
        """Return an envelope of this chain, wherever it was kept.

        Raises:
            IntegrityError: it is none, or nobody signs it that the chain knows.
            UnsupportedVersionError: it is of another format.
        """
        envelope, encoded, signature = headers.read_envelope(data, where)
        if envelope.chain_id != self._chain_id:
            raise ForgedError(f"{where} is the envelope of something else: swapped in storage")
        signer = SigningPublicKey(envelope.identity)
        # Whose the chain is or was, first: finding the others reads the journal.
        if signer not in self._chain.owners and signer not in self._chain.signers:
            raise ForgedError(f"{where} is signed by an identity that this chain does not know")
        verify(signer, headers.ENVELOPE_DOMAIN, encoded, signature)
        return envelope

    def open_envelope(self, envelope: headers.Envelope, unlocker: Unlocker) -> ChainKey:
        """Return the chain key that a secret finds in an envelope.

        Raises:
            NoRecipientMatchedError: the envelope is not for it.
            EnvelopeDamagedError: it is, and holds something else than this chain key.
        """
        context = headers.chain_key_context(self._chain.origin_id)
        return unlock(envelope.stanzas, envelope.chain_public, unlocker, context)

    def unlock(self, unlocker: Unlocker, trust: Trust) -> Keyring:
        """Return every key that one secret opens, and check who vouches for the signer.

        The newest chain key is tried first; from the one that opens, links lead to all older
        ones. Keys that no link leads to are tried with the same secret: a link may be missing.
        An old secret opens an old chain key and what is older. A KMS that does not open one key
        now closes that one, unless nothing else opens.

        Raises:
            NoRecipientMatchedError: the secret is not one of this chain's.
            RefusedError, UnavailableError, UnlockError: it is, and a KMS opens nothing with it
                now, or a local half is missing.
            UnvouchedError: the secret opens it, but nothing vouches for who signs it.
        """
        envelopes, closed = self.read_envelopes()
        current = self._chain.present_key_id
        hints: list[str] = []
        # Of whom is known nobody has to vouch: a KMS would be asked, and has to allow that.
        vouched = trust.knows(self._chain.identity)
        opened: dict[bytes, ChainKey] = {}
        refused: dict[bytes, StrongroomError] = {}
        for chain_key_id in sorted(envelopes, key=lambda one: one != current):
            if chain_key_id in opened:
                continue
            envelope = envelopes[chain_key_id]
            try:
                chain_key = self.open_envelope(envelope, unlocker)
            except NoRecipientMatchedError as error:
                hints.extend(
                    hint for hint in _strings(error.fields.get("hints")) if hint not in hints
                )
                continue
            except (RefusedError, UnavailableError, UnlockError) as error:
                # A KMS whose newest key is destroyed may still open what an older one sealed,
                # and where it is away, another secret may.
                refused[chain_key_id] = error
                continue
            vouched = vouched or self._is_vouched(envelope.stanzas, unlocker)
            self._follow_links(chain_key, opened, closed)
        if opened:
            self._refuse_unvouched(vouched, trust)
            openers = openers_of(envelopes)
            refused = {one: error for one, error in refused.items() if one not in opened}
            return Keyring(
                self._chain.origin_id, opened, closed=closed, refused=refused, openers=openers
            )
        if current in closed:
            raise closed[current]
        if refused:
            raise refused.get(current) or next(iter(refused.values()))
        if not envelopes:
            raise EnvelopeDamagedError(
                f"chain {self._chain.name} has no envelope: removed from storage"
            )
        shown = f"; the hints here: {'; '.join(hints)}" if hints else ""
        raise NoRecipientMatchedError(
            f"{unlocker.describe()} does not open chain {self._chain.name}{shown}", hints=hints
        )

    def is_for(self, unlocker: Unlocker) -> bool:
        """Tell whether a secret opens one of the chain's envelopes, be it an old one.

        Of a KMS that cannot be asked now, nobody can say that it does not.
        """
        context = headers.chain_key_context(self._chain.origin_id)
        for envelope in self.read_envelopes()[0].values():
            try:
                unlock(envelope.stanzas, envelope.chain_public, unlocker, context)
            except NoRecipientMatchedError:
                continue
            except (UnlockError, UnavailableError, RefusedError):
                return True
            return True
        return False

    def opened_from(self, chain_key: ChainKey) -> dict[bytes, ChainKey]:
        """Return a chain key that is open, and those that links lead to from it, by their ids."""
        opened: dict[bytes, ChainKey] = {}
        self._follow_links(chain_key, opened, {})
        return opened

    def _is_vouched(self, stanzas: Iterable[Stanza], unlocker: Unlocker) -> bool:
        return any(unlocker.vouches(stanza, self._chain.identity) for stanza in stanzas)

    def _refuse_unvouched(self, vouched: bool, trust: Trust) -> None:
        # Within a line trust flows forward only: who begins it may introduce others, but nobody
        # gets trusted by introducing an identity that is.
        identity = self._chain.identity
        if trust.knows(identity):
            return
        trust.refuse_unpinned(self._chain)
        if vouched:
            return
        raise UnvouchedError(
            f"chain {self._chain.name} is signed by {identity.fingerprint}, for which the secret "
            "does not vouch: anyone who knows its public half could have made these points",
            fingerprint=identity.fingerprint,
        )

    def links(self) -> list[tuple[bytes, bytes]]:
        """Return the ids of the newer and the older chain key of every link that is there.

        What they hold is another matter: anybody may put one there.
        """
        return _links(self._names(layout.links(self._chain_id)))

    def names(self) -> tuple[dict[str, bytes], list[tuple[bytes, bytes]]]:
        """Return what `envelope_names` and `links` do, listed side by side."""
        folders = layout.envelopes(self._chain_id), layout.links(self._chain_id)
        envelopes, links = side_by_side(self._names, folders, at_once(self._storage))
        return _envelopes(envelopes), _links(links)

    def superseded(self, chain_key_id: bytes) -> bool:
        """Tell whether some newer chain key links to this one."""
        suffix = "-" + chain_key_id.hex()
        return any(
            info.key.endswith(suffix) for info in self._storage.list(layout.links(self._chain_id))
        )

    def _follow_links(
        self,
        chain_key: ChainKey,
        opened: dict[bytes, ChainKey],
        closed: dict[bytes, StrongroomError],
    ) -> None:
        """Add a chain key to `opened`, and all that links lead to from it.

        A link that does not open closes what is behind it and no more: anybody may put one
        there. What it was said to lead to goes to `closed`.
        """
        by_newer: dict[bytes, list[bytes]] = {}
        for newer_id, older_id in self.links():
            by_newer.setdefault(newer_id, []).append(older_id)
        opened[chain_key.id] = chain_key
        pending = [chain_key]
        while pending:
            newer_key = pending.pop()
            for older_id in by_newer.get(newer_key.id, []):
                if older_id in opened:
                    continue
                try:
                    older = self._open_link(newer_key, older_id)
                except (IntegrityError, UnsupportedVersionError) as error:
                    closed[older_id] = error
                    continue
                opened[older_id] = older
                pending.append(older)

    def _open_link(self, newer_key: ChainKey, older_id: bytes) -> ChainKey:
        key = layout.link(self._chain_id, newer_key.id, older_id)
        link = headers.read_link(get_framed(self._storage, key, MAX_SMALL), key)
        if (link.chain_id, link.newer_id, link.older_id) != (
            self._chain_id,
            newer_key.id,
            older_id,
        ):
            raise ForgedError(f"{key} links something else: swapped in storage")
        older = open_link(
            newer_key,
            link.sealed,
            link.older_public,
            headers.chain_key_context(self._chain.origin_id),
        )
        if older.id != older_id:
            raise ForgedError(f"{key} holds another chain key than it names")
        return older


def _envelopes(names: Iterable[str]) -> dict[str, bytes]:
    named = ((name, layout.envelope_key(name)) for name in names)
    return {name: chain_key_id for name, chain_key_id in named if chain_key_id is not None}


def _links(names: Iterable[str]) -> list[tuple[bytes, bytes]]:
    ends = map(layout.link_keys, names)
    return [one for one in ends if one is not None]


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else []
