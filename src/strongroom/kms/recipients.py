"""Recipients and unlockers whose private half lies in a KMS.

    wrap:     w at random ──OAEP──▶ capsule          seed ──sealed under w──▶ value
    unwrap:   capsule ──the KMS, one call──▶ w       value ──▶ seed

With a local half a second capsule, HPKE to a post-quantum key pair of ours, carries `v`, and the
value is sealed under both. RSA falls to a quantum computer, and a second recipient would be no
help, since any one opens; a second half is, since both are needed (docs/format.md, "Stanza").

A KMS vouches with a MAC over the identity, by a key of its own; the reader has the KMS verify
it, and needs no right to make one. Whose it is, the reader's KMS decides and never the stanza.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from strongroom.crypto import aead, hpke, random, rsa
from strongroom.crypto.content import fingerprint
from strongroom.crypto.kdf import expand
from strongroom.crypto.keys import KEY_LENGTH, SecretBytes, Seed
from strongroom.crypto.labels import bind
from strongroom.crypto.recipients import KMS_PREFIX, MAX_HINT, Stanza
from strongroom.crypto.rsa import OaepHash
from strongroom.errors import (
    EnvelopeDamagedError,
    KmsUnavailableError,
    MalformedError,
    NotAddressedError,
    NotFoundError,
    RefusedError,
    UnlockError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from strongroom.crypto.signing import SigningPublicKey
    from strongroom.kms.base import Kms

LOCAL_SUFFIX: Final = "+local"

_LABEL: Final = "stanza"
_LOCAL_CAPSULE: Final = KEY_LENGTH + hpke.OVERHEAD
_VALUE: Final = KEY_LENGTH + aead.VALUE_OVERHEAD
_MAC_SHA256: Final = 1
_MAC_LENGTH: Final = 32
_VOUCH_LENGTH: Final = 1 + KEY_LENGTH + _MAC_LENGTH


class WrappingKey(SecretBytes):
    """Seals one chain key's seed; the KMS is what carries it."""

    __slots__ = ()
    length = KEY_LENGTH


@dataclass(frozen=True, slots=True)
class KmsRecipient:
    """A key at a KMS, by its public half."""

    kind: str
    """Of the stanza: `kms-`, the kind of KMS, and `+local` where a local half is needed too."""
    key: str
    """Names the key at the KMS; the stanza has a hash of it."""
    public: rsa.PublicKey
    oaep: OaepHash
    hint: str
    vouch: bytes
    local: hpke.PublicKey | None = None

    @property
    def id(self) -> bytes:
        return recipient_id(self.kind, self.key, self.public.der, self._local_id)

    @property
    def _local_id(self) -> bytes:
        return b"" if self.local is None else self.local.id

    def wrap(self, info: bytes, secret: Seed) -> Stanza:
        share = random.token(KEY_LENGTH)
        sealed = bytes([self.oaep]) + self.public.encrypt(share, self.oaep)
        local_share = b""
        if self.local is not None:
            local_share = random.token(KEY_LENGTH)
            sealed += hpke.seal(self.local, info, local_share)
        sealed += aead.seal_value(_wrapping_key(share, local_share), _LABEL, info, secret.expose())
        return Stanza(
            kind=self.kind,
            recipient_id=self.id,
            public=self.public.der,
            salt=self._local_id,
            memory_kib=0,
            passes=0,
            lanes=0,
            hint=self.hint,
            sealed=sealed,
            vouch=self.vouch,
        )


def stanza_kind(kind: str, *, local: bool) -> str:
    """Return the kind of stanza that a kind of KMS makes."""
    return KMS_PREFIX + kind + (LOCAL_SUFFIX if local else "")


def recipient_id(stanza_kind: str, key: str, public_der: bytes, local_id: bytes) -> bytes:
    """Return what names a key in envelopes: nothing to who does not know the key's own id."""
    parts = (stanza_kind.encode(), key.encode(), public_der, local_id)
    return fingerprint(bind("kms recipient", *parts))


def _wrapping_key(share: bytes, local_share: bytes) -> WrappingKey:
    return WrappingKey(expand(SecretBytes(share + local_share), "kms stanza", KEY_LENGTH))


@dataclass(frozen=True, slots=True)
class _Sealed:
    """The parts of a stanza's `sealed`."""

    oaep: OaepHash
    capsule: bytes
    local_capsule: bytes
    value: bytes


def _read(stanza: Stanza) -> _Sealed:
    """Return the parts of a stanza.

    Raises:
        MalformedError: it is none of this kind.
    """
    public = rsa.PublicKey(stanza.public)
    has_local = stanza.kind.endswith(LOCAL_SUFFIX)
    local = _LOCAL_CAPSULE if has_local else 0
    start = 1 + public.length
    if (
        public.der != stanza.public
        or len(stanza.sealed) != start + local + _VALUE
        or len(stanza.hint) > MAX_HINT
        or len(stanza.salt) != (KEY_LENGTH if has_local else 0)
        or any((stanza.memory_kib, stanza.passes, stanza.lanes))
        or len(stanza.vouch) not in (0, _VOUCH_LENGTH)
    ):
        raise MalformedError("a stanza for a KMS breaks the rules of the format")
    try:
        oaep = OaepHash(stanza.sealed[0])
    except ValueError as error:
        raise MalformedError("a stanza for a KMS names a hash that is not known") from error
    return _Sealed(
        oaep,
        stanza.sealed[1:start],
        stanza.sealed[start : start + local],
        stanza.sealed[start + local :],
    )


# --- vouching -------------------------------------------------------------------------------


def vouch_for(kms: Kms, vouching_key: str, identity: SigningPublicKey) -> bytes:
    """Have a KMS vouch for an identity, as a stanza carries it.

    Raises:
        KmsUnavailableError, RefusedError, NotFoundError: the KMS did not.
    """
    mac = kms.mac(vouching_key, _vouched(identity))
    if len(mac) != _MAC_LENGTH:
        raise MalformedError(f"the KMS made a MAC of {len(mac)} bytes, not {_MAC_LENGTH}")
    return bytes([_MAC_SHA256]) + _vouching_id(kms.kind, vouching_key) + mac


def _vouched(identity: SigningPublicKey) -> bytes:
    return fingerprint(bind("kms vouch", identity.raw))


def _vouching_id(kind: str, key: str) -> bytes:
    return fingerprint(bind("kms vouching key", kind.encode(), key.encode()))


# --- unlocking ------------------------------------------------------------------------------


class KmsUnlocker:
    """Unwraps with a KMS: one call for each chain."""

    def __init__(
        self,
        name: str,
        kms: Callable[[], Kms],
        kind: str,
        *,
        known: Mapping[bytes, str] | None = None,
        local_halves: Iterable[Seed] = (),
    ) -> None:
        """Ask nothing yet.

        Args:
            name: What the operator calls the KMS.
            kms: Returns it; called when a stanza is of its kind.
            kind: Its kind.
            known: Ids of keys at the KMS by the ids of recipients. A recipient that is not
                among them is looked for among all keys that the KMS shows.
            local_halves: The local halves that are at hand.
        """
        self.name = name
        self._kms = kms
        self._kind = kind
        self._known = dict(known or {})
        self._local_halves = tuple(local_halves)
        self._listed: list[str] | None = None

    def describe(self) -> str:
        return f"KMS {self.name}"

    def knows(self, stanza: Stanza) -> bool:
        """Tell whether a stanza is for one of the keys that are known here, without asking."""
        return stanza.recipient_id in self._known

    def unwrap(self, stanza: Stanza, info: bytes) -> Seed:
        if not self._is_kind(stanza):
            raise NotAddressedError(f"this stanza is not for KMS {self.name}")
        parts = _read(stanza)
        key = self._key_of(stanza)
        if key is None:
            raise NotAddressedError(
                f"KMS {self.name} shows no key that this stanza is for", stanza_hint=stanza.hint
            )
        local_share = self._local_share(stanza, parts, info)
        try:
            share = self._kms().decrypt(key, parts.capsule, parts.oaep)
        except KmsUnavailableError as error:
            raise KmsUnavailableError(
                f"key {key} of KMS {self.name} is needed and cannot be asked: {error}",
                hint="try again when the KMS answers; the recovery kit opens without it",
                kms=self.name,
                key=key,
            ) from error
        except NotFoundError as error:
            raise RefusedError(
                f"KMS {self.name} has no key {key} any longer",
                hint="its administrator may still have it; the recovery kit opens without it",
                kms=self.name,
                key=key,
            ) from error
        except RefusedError as error:
            error.fields |= {"kms": self.name, "key": key}
            raise
        except UnlockError as error:
            raise EnvelopeDamagedError(
                f"a stanza is for key {key} of KMS {self.name} and does not open: it was altered"
            ) from error
        try:
            return Seed(
                aead.open_value(_wrapping_key(share, local_share), _LABEL, info, parts.value)
            )
        except (aead.NotSealedHereError, ValueError) as error:
            raise EnvelopeDamagedError(
                f"a stanza is for key {key} of KMS {self.name} and does not open: it was altered, "
                "or belongs to another envelope"
            ) from error

    def vouches(self, stanza: Stanza, identity: SigningPublicKey) -> bool:
        if not self._is_kind(stanza) or len(stanza.vouch) != _VOUCH_LENGTH:
            return False
        if stanza.vouch[0] != _MAC_SHA256:
            return False
        named = stanza.vouch[1 : 1 + KEY_LENGTH]
        mac = stanza.vouch[1 + KEY_LENGTH :]
        kms = self._kms()
        for key in kms.vouching_keys():
            if _vouching_id(self._kind, key) == named:
                with suppress(NotFoundError):
                    return kms.verify_mac(key, _vouched(identity), mac)
        return False

    def _is_kind(self, stanza: Stanza) -> bool:
        return stanza.kind in (
            stanza_kind(self._kind, local=False),
            stanza_kind(self._kind, local=True),
        )

    def _key_of(self, stanza: Stanza) -> str | None:
        known = self._known.get(stanza.recipient_id)
        if known is not None:
            return known
        if self._listed is None:
            self._listed = list(self._kms().keys())
        for key in self._listed:
            found = recipient_id(stanza.kind, key, stanza.public, stanza.salt)
            if found == stanza.recipient_id:
                return key
        return None

    def _local_share(self, stanza: Stanza, parts: _Sealed, info: bytes) -> bytes:
        """Open the local capsule; empty where the stanza has none.

        Raises:
            UnlockError: it needs a local half that is not at hand.
        """
        if not parts.local_capsule:
            return b""
        for half in self._local_halves:
            with suppress(hpke.NotSealedHereError):
                return hpke.open_sealed(hpke.PrivateKey.from_seed(half), info, parts.local_capsule)
        raise UnlockError(
            f"what is sealed for KMS {self.name} needs its local half too, which is not at hand",
            hint="the recovery kit of that time has it: give --recovery-key",
            kms=self.name,
            hint_of_stanza=stanza.hint,
        )
