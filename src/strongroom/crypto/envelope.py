"""Chain keys: sealed for every recipient, linked to the one before, opening session keys.

    recipients ──▶ stanzas ──▶ chain key ──link──▶ older chain key ──link──▶ …
                                   └──▶ sessions' keys      └──▶ older sessions' keys

A session needs the public half of the chain key and nothing else. What is sealed here is bound
to the chain by its context, and to the keys by a commitment that points sign, so that nothing
opens under two keys.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

from strongroom.crypto import hpke, random
from strongroom.crypto.content import fingerprint
from strongroom.crypto.keys import KEY_LENGTH, DedupKey, MetaKey, SecretBytes, Seed, SessionKey
from strongroom.crypto.labels import bind
from strongroom.crypto.recipients import Recipient, Stanza, Unlocker, check_stanza
from strongroom.errors import (
    EnvelopeDamagedError,
    InvalidInputError,
    MalformedError,
    NoRecipientMatchedError,
    NotAddressedError,
    PointDamagedError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_STANZAS: Final = 64
MAX_CHUNKER_SEED: Final = (1 << 63) - 1


class ChainKey:
    """The key pair that sessions seal their keys to; one for each set of recipients."""

    __slots__ = ("private", "seed")

    def __init__(self, seed: Seed) -> None:
        """Make the key pair of `seed`, always the same."""
        self.seed: Final = seed
        self.private: Final = hpke.PrivateKey.from_seed(seed)

    @classmethod
    def generate(cls) -> ChainKey:
        """Return a fresh chain key."""
        return cls(random.seed())

    @property
    def public(self) -> hpke.PublicKey:
        return self.private.public

    @property
    def id(self) -> bytes:
        return self.private.public.id

    def __repr__(self) -> str:
        return f"<ChainKey redacted, public half {self.id.hex()[:12]}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("ChainKey is not to be serialised")


def seal_stanzas(
    chain_key: ChainKey, recipients: Sequence[Recipient], context: bytes
) -> tuple[Stanza, ...]:
    """Wrap the private half of `chain_key` to every recipient.

    Raises:
        InvalidInputError: there are none, or more than `MAX_STANZAS`.
    """
    if not recipients:
        raise InvalidInputError("a backup sealed to no one could never be opened")
    if len(recipients) > MAX_STANZAS:
        raise InvalidInputError(
            f"a chain takes at most {MAX_STANZAS} recipients, not {len(recipients)}"
        )
    info = _stanza_info(chain_key.public, context)
    return tuple(recipient.wrap(info, chain_key.seed) for recipient in recipients)


def unlock(
    stanzas: Sequence[Stanza], chain_public: bytes, unlocker: Unlocker, context: bytes
) -> ChainKey:
    """Return the chain key whose private half `unlocker` finds in one of `stanzas`.

    Raises:
        MalformedError: a stanza breaks the format's limits, or there are too many.
        NoRecipientMatchedError: none is for this unlocker; `fields["hints"]` has their hints.
        EnvelopeDamagedError: one is, and holds something else than this chain key.
    """
    if not 0 < len(stanzas) <= MAX_STANZAS:
        raise MalformedError(f"an envelope has 1 to {MAX_STANZAS} stanzas, not {len(stanzas)}")
    public = hpke.PublicKey(chain_public)
    for stanza in stanzas:
        check_stanza(stanza)
    info = _stanza_info(public, context)
    for stanza in stanzas:
        try:
            seed = unlocker.unwrap(stanza, info)
        except NotAddressedError:
            continue
        chain_key = ChainKey(seed)
        if chain_key.public != public:
            # Anyone can seal a chain key of their own to a recipient; what is sealed under
            # that one they could read.
            raise EnvelopeDamagedError("the envelope holds another chain key than it names")
        return chain_key
    hints = list(dict.fromkeys(stanza.hint for stanza in stanzas if stanza.hint))
    shown = f"; hints: {'; '.join(hints)}" if hints else ""
    raise NoRecipientMatchedError(
        f"{unlocker.describe()} opens none of {len(stanzas)} stanzas{shown}", hints=hints
    )


def make_link(old: ChainKey, new_public: hpke.PublicKey, context: bytes) -> bytes:
    """Seal an older chain key's private half to the newer one's public half."""
    return hpke.seal(new_public, _link_info(old.public, context), old.seed.expose())


def open_link(new: ChainKey, sealed: bytes, old_public: bytes, context: bytes) -> ChainKey:
    """Return the older chain key that a link leads to.

    Raises:
        MalformedError: `old_public` is no public half.
        EnvelopeDamagedError: the link was altered, is another's, or leads elsewhere.
    """
    public = hpke.PublicKey(old_public)
    try:
        old = ChainKey(Seed(hpke.open_sealed(new.private, _link_info(public, context), sealed)))
    except (hpke.NotSealedHereError, ValueError) as error:
        raise EnvelopeDamagedError(
            f"the link from chain key {new.id.hex()[:12]} to {public.id.hex()[:12]} does not "
            "open: it was altered, or belongs to another chain key"
        ) from error
    if old.public != public:
        raise EnvelopeDamagedError(
            f"the link to chain key {public.id.hex()[:12]} holds another one"
        )
    return old


class PackedSecrets(SecretBytes):
    """All that opens one session, as the bytes that are sealed (docs/format.md)."""

    __slots__ = ()
    length = 3 * KEY_LENGTH + 8


@dataclass(frozen=True, slots=True)
class SessionSecrets:
    """All that opens one session: the keys of its data and index, and the chain's own two."""

    session_key: SessionKey
    metakey: MetaKey
    dedup_key: DedupKey
    chunker_seed: int = field(repr=False)
    """Where files are cut; secret, since lengths of chunks tell which files they are."""

    def __post_init__(self) -> None:
        if not 0 < self.chunker_seed <= MAX_CHUNKER_SEED:
            raise ValueError(f"a chunker seed is 1 to {MAX_CHUNKER_SEED}")

    @classmethod
    def generate(cls, dedup_key: DedupKey, chunker_seed: int) -> SessionSecrets:
        """Return fresh keys for a session of the chain that has the given two."""
        return cls(
            SessionKey(random.token(KEY_LENGTH)),
            MetaKey(random.token(KEY_LENGTH)),
            dedup_key,
            chunker_seed,
        )

    def seal(self, public: hpke.PublicKey, context: bytes) -> bytes:
        """Seal all to a chain key's public half, for `context` only."""
        return hpke.seal(public, _session_info(context), self.packed().expose())

    def commitment(self, context: bytes) -> bytes:
        """Return 32 bytes that fix all keys, and give none of them away.

        A point signs it: AES-GCM alone does not commit, and a store could otherwise hold
        bytes that open under two keys, to different plaintexts.
        """
        return fingerprint(bind("session commitment", self.packed().expose(), context))

    def packed(self) -> PackedSecrets:
        """Return all keys as the bytes that are sealed."""
        return PackedSecrets(
            b"".join(
                (
                    self.session_key.expose(),
                    self.metakey.expose(),
                    self.dedup_key.expose(),
                    self.chunker_seed.to_bytes(8, "big"),
                )
            )
        )

    @classmethod
    def unpack(cls, packed: PackedSecrets) -> SessionSecrets:
        """Return the keys that were packed.

        Raises:
            ValueError: these bytes are none.
        """
        keys = packed.expose()
        return cls(
            SessionKey(keys[:KEY_LENGTH]),
            MetaKey(keys[KEY_LENGTH : 2 * KEY_LENGTH]),
            DedupKey(keys[2 * KEY_LENGTH : 3 * KEY_LENGTH]),
            int.from_bytes(keys[3 * KEY_LENGTH :], "big"),
        )

    def match(self, context: bytes, commitment: bytes) -> bool:
        """Tell whether these are the keys that a signed record commits to."""
        return hmac.compare_digest(self.commitment(context), commitment)

    def __reduce__(self) -> NoReturn:
        raise TypeError("SessionSecrets is not to be serialised")


def open_session(
    chain_key: ChainKey, sealed: bytes, context: bytes, commitment: bytes | None = None
) -> SessionSecrets:
    """Return the keys of a session that were sealed to `chain_key` for `context`.

    Args:
        chain_key: The chain key that the session sealed to.
        sealed: The sealed keys.
        context: What they are bound to.
        commitment: What the signed record says they are; none only where nothing was signed.

    Raises:
        PointDamagedError: they were sealed to another chain key or for another session, were
            altered, or are not those that were committed to.
    """
    try:
        packed = hpke.open_sealed(chain_key.private, _session_info(context), sealed)
        secrets = SessionSecrets.unpack(PackedSecrets(packed))
    except (hpke.NotSealedHereError, ValueError) as error:
        raise PointDamagedError(
            f"a session's keys do not open with chain key {chain_key.id.hex()[:12]}, which they "
            "are said to be sealed to"
        ) from error
    if commitment is not None and not secrets.match(context, commitment):
        raise PointDamagedError("a session's keys are not those that its points commit to")
    return secrets


def _stanza_info(chain_public: hpke.PublicKey, context: bytes) -> bytes:
    return bind("stanza", chain_public.id, context)


def _link_info(old_public: hpke.PublicKey, context: bytes) -> bytes:
    return bind("link", old_public.id, context)


def _session_info(context: bytes) -> bytes:
    return bind("session keys", context)
