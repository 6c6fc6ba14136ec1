"""The keys that are at hand for one chain.

A session's keys open through the chain key they were sealed to, or, for its metakey alone,
through what the server's keystore kept. Nothing else in the repository layer touches a
private half.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from strongroom.crypto.envelope import ChainKey, SessionSecrets, open_session
from strongroom.crypto.keys import KEY_LENGTH, DedupKey
from strongroom.crypto.recipients import KMS_PREFIX
from strongroom.errors import (
    EnvelopeDamagedError,
    MalformedError,
    UnlockError,
)
from strongroom.format.header import session_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from strongroom.crypto.keys import MetaKey, SessionKey
    from strongroom.crypto.recipients import Stanza
    from strongroom.errors import StrongroomError
    from strongroom.format.header import Envelope
    from strongroom.format.tables import SessionRecord
    from strongroom.repository.chain import Chain


class Metakeys(Protocol):
    """Metakeys by session id: a dictionary, or a keystore that is asked one by one."""

    def get(self, session_id: bytes, /) -> MetaKey | None:
        """Return the session's metakey, or None if it is not kept."""
        ...


class Keyring:
    """Keys of one chain, found as they are needed and kept while the keyring lives."""

    def __init__(
        self,
        origin_id: bytes,
        chain_keys: Mapping[bytes, ChainKey] | None = None,
        metakeys: Metakeys | None = None,
        closed: Mapping[bytes, StrongroomError] | None = None,
        refused: Mapping[bytes, StrongroomError] | None = None,
        openers: Mapping[bytes, str] | None = None,
        later: Callable[[], Keyring] | None = None,
    ) -> None:
        """Hold keys.

        Args:
            origin_id: That of the chain they are for; sealed keys are bound to it.
            chain_keys: Opened chain keys by their id.
            metakeys: Metakeys by session id, as the keystore keeps them.
            closed: Why chain keys stay closed, by their ids: a damaged link or envelope.
            refused: What was said where a secret that opens a chain key was not used, by its
                id: a KMS is away, or has disabled its own key, say.
            openers: Whose secrets open chain keys, in words, by their ids.
            later: Opens the chain keys when the first of them is needed: what it costs, a
                call to a KMS, is not to be paid by who reads names only.
        """
        self._origin_id = origin_id
        self.chain_keys = dict(chain_keys or {})
        self.closed = dict(closed or {})
        self.refused = dict(refused or {})
        self.openers = dict(openers or {})
        self._metakeys: Metakeys = metakeys if metakeys is not None else {}
        self._opened: dict[bytes, SessionSecrets] = {}
        self._later = later

    @property
    def opens_data(self) -> bool:
        """Whether any chain key is here or can be had, or only metakeys."""
        return bool(self.chain_keys) or self._later is not None

    def why_closed(self, chain_key_id: bytes) -> StrongroomError | None:
        """Return what keeps a chain key closed that a secret at hand might have opened."""
        return self.refused.get(chain_key_id) or self.closed.get(chain_key_id)

    def add(self, session_id: bytes, secrets: SessionSecrets) -> None:
        """Take over the keys of a session that this process itself runs."""
        self._opened[session_id] = secrets

    def metakey(self, record: SessionRecord) -> MetaKey:
        """Return the key of the session's index.

        Raises:
            UnlockError: neither kept nor sealed to a chain key at hand.
        """
        kept = self._metakeys.get(record.session_id)
        return kept if kept is not None else self.secrets(record).metakey

    def session_key(self, record: SessionRecord) -> SessionKey:
        """Return the key of the session's data.

        Raises:
            UnlockError: sealed to a chain key that is not at hand.
        """
        return self.secrets(record).session_key

    def secrets(self, record: SessionRecord) -> SessionSecrets:
        """Return all keys of the session.

        Raises:
            UnlockError: sealed to a chain key that is not at hand.
            RefusedError: likewise, since a KMS refused it.
            EnvelopeDamagedError: nor can it be had, since a link or envelope is damaged.
            IntegrityError: the keys are not those that the signed record commits to.
        """
        opened = self._opened.get(record.session_id)
        if opened is None:
            self._open_later(record.chain_key_id)
            chain_key = self.chain_keys.get(record.chain_key_id)
            reason = self.closed.get(record.chain_key_id)
            if chain_key is None and record.chain_key_id in self.refused:
                raise self.refused[record.chain_key_id]
            if chain_key is None and reason is not None:
                raise EnvelopeDamagedError(
                    f"session {record.session_id.hex()[:12]} is sealed to chain key "
                    f"{record.chain_key_id.hex()[:12]}, which stays closed: "
                    f"{reason}",
                    hint="the secret that was in force then opens it without a link",
                    chain_key=record.chain_key_id.hex(),
                ) from reason
            if chain_key is None:
                openers = self.openers.get(record.chain_key_id, "a secret of its time")
                raise UnlockError(
                    f"session {record.session_id.hex()[:12]} is sealed for {openers}, and "
                    "nothing at hand opens it",
                    hint="give it with --password-file, --password-env, --password-command or "
                    "--recovery-key; a newer secret of the chain opens it too",
                    chain_key=record.chain_key_id.hex(),
                )
            opened = open_session(
                chain_key,
                record.sealed_keys,
                session_context(self._origin_id, record.session_id),
                record.commitment,
            )
            self._opened[record.session_id] = opened
        return opened

    def _open_later(self, chain_key_id: bytes) -> None:
        """Open what was put off until a chain key is needed; once, whatever comes of it."""
        if self._later is None or chain_key_id in self.chain_keys:
            return
        later, self._later = self._later, None
        found = later()
        self.chain_keys |= found.chain_keys
        self.closed |= found.closed
        self.refused |= found.refused
        self.openers |= found.openers


def dedup_key_of(chain: Chain, record: SessionRecord, keyring: Keyring | None) -> DedupKey | None:
    """Return what keys the content hashes of a session's points; None where nothing does.

    A plain chain that was made from a sealed one tells its key to everybody.

    Raises:
        UnlockError: nothing at hand opens the session's keys.
        MalformedError: what a plain chain tells is no key.
    """
    if not chain.sealed:
        if len(record.sealed_keys) not in (0, KEY_LENGTH):
            raise MalformedError(
                f"session {record.session_id.hex()[:12]} of plain chain {chain.name} has keys that "
                "are none"
            )
        return DedupKey(record.sealed_keys) if record.sealed_keys else None
    if keyring is None:
        raise UnlockError(f"nothing at hand opens the keys of chain {chain.name}")
    return keyring.secrets(record).dedup_key


def openers_of(envelopes: Mapping[bytes, Envelope]) -> dict[bytes, str]:
    """Return whose secrets open chain keys, in words, for a `Keyring`."""
    return {one: _in_words(envelope.stanzas) for one, envelope in envelopes.items()}


def _in_words(stanzas: Iterable[Stanza]) -> str:
    """Say whose secrets open an envelope: `the password (hint: blue) or the recovery key`.

    Nobody vouches for what it says before it is opened; it helps to find the secret.
    """
    said = []
    for stanza in stanzas:
        if stanza.kind == "password":
            said.append("the password" + (f" (hint: {stanza.hint})" if stanza.hint else ""))
        elif stanza.kind == "recovery":
            said.append("the recovery key" + (f" {stanza.hint}" if stanza.hint else ""))
        elif stanza.kind.startswith(KMS_PREFIX):
            said.append("a KMS" + (f" ({stanza.hint})" if stanza.hint else ""))
        else:
            said.append("a secret of a kind that this release does not know")
    return " or ".join(said)
