"""Whom a chain key is wrapped to, and what unwraps it.

    recipient ──wrap──▶ stanza ──unwrap──▶ by its unlocker, and no other

A recipient is public: wrapping takes no secret. Its stanza stands in the envelope with all
that is needed to find it again, so a chain's recipients can be adopted from its envelope. A
stanza comes back from storage that may be hostile: `check_stanza` has the first word.

Passwords and recovery kits live here; recipients of a KMS come from `kms`, and their stanzas
have kinds of their own that start with `kms-`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from strongroom.crypto import hpke, random
from strongroom.crypto.kdf import (
    SALT_LENGTH,
    Argon2Parameters,
    check_limits,
    derive_seed,
    expand,
)
from strongroom.crypto.keys import KEY_LENGTH, Password, Seed
from strongroom.crypto.signing import SIGNATURE_LENGTH, SigningKey, SigningPublicKey, verify
from strongroom.errors import (
    EnvelopeDamagedError,
    ForgedError,
    InvalidInputError,
    MalformedError,
    NotAddressedError,
    UnsupportedVersionError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PASSWORD: Final = "password"  # noqa: S105 - a kind of stanza
RECOVERY: Final = "recovery"
KMS_PREFIX: Final = "kms-"

MAX_HINT: Final = 200
"""In characters; also of a recovery kit's label."""

_MAX_KIND: Final = 32
_MAX_BYTES: Final = 16 << 10
_NO_PARAMETERS: Final = Argon2Parameters(0, 0, 0)
_VOUCH_DOMAIN: Final = "vouch"


class Stanza(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A seed wrapped to one recipient, with the recipient itself. All of it is public."""

    kind: str
    """`password`, `recovery`, or `kms-` and the kind of KMS."""
    recipient_id: bytes
    public: bytes
    salt: bytes
    """Empty but for a password, as the three that follow are 0."""
    memory_kib: int
    passes: int
    lanes: int
    hint: str
    """What helps to find the secret: a password's hint, a recovery kit's label, a KMS key."""
    sealed: bytes
    vouch: bytes
    """The recipient's signature over the server's identity; empty where there is none yet."""

    @property
    def parameters(self) -> Argon2Parameters:
        return Argon2Parameters(self.memory_kib, self.passes, self.lanes)


class Recipient(Protocol):
    """Someone a chain key can be wrapped to: a password, a recovery kit, a KMS key.

    * Wrapping takes no secret and asks nobody.
    * The stanza holds all that `recipient_of` needs to make an equal recipient.
    """

    @property
    def kind(self) -> str: ...

    @property
    def id(self) -> bytes:
        """32 bytes that name the public half."""
        ...

    def wrap(self, info: bytes, secret: Seed) -> Stanza:
        """Wrap `secret` so that this recipient's unlocker, and no other, can unwrap it."""
        ...


class Unlocker(Protocol):
    """The other half of a recipient."""

    def describe(self) -> str:
        """Return what this is, for a message: `the password`, `the recovery kit`."""
        ...

    def unwrap(self, stanza: Stanza, info: bytes) -> Seed:
        """Return the seed in `stanza`.

        Raises:
            NotAddressedError: it was wrapped to someone else; the caller goes on to the
                next. Any other error ends the attempt.
        """
        ...

    def vouches(self, stanza: Stanza, identity: SigningPublicKey) -> bool:
        """Tell whether the stanza holds this secret's word for `identity`.

        No where the stanza is someone else's, and where this secret cannot vouch at all.
        Everything else in an envelope anyone can make who knows the public half, so the
        answer rests on the secret itself and on nothing that the stanza says.
        """
        ...


@dataclass(frozen=True, slots=True)
class PasswordRecipient:
    """The public half of a password."""

    public: hpke.PublicKey
    salt: bytes
    parameters: Argon2Parameters
    hint: str
    vouch: bytes

    @property
    def kind(self) -> str:
        return PASSWORD

    @property
    def id(self) -> bytes:
        return self.public.id

    def wrap(self, info: bytes, secret: Seed) -> Stanza:
        return Stanza(
            kind=PASSWORD,
            recipient_id=self.public.id,
            public=self.public.raw,
            salt=self.salt,
            memory_kib=self.parameters.memory_kib,
            passes=self.parameters.passes,
            lanes=self.parameters.lanes,
            hint=self.hint,
            sealed=hpke.seal(self.public, info, secret.expose()),
            vouch=self.vouch,
        )


@dataclass(frozen=True, slots=True)
class RecoveryRecipient:
    """The public half of a recovery kit; the other lies in a safe, or in shares with people."""

    public: hpke.PublicKey
    label: str
    vouch: bytes

    @property
    def kind(self) -> str:
        return RECOVERY

    @property
    def id(self) -> bytes:
        return self.public.id

    def wrap(self, info: bytes, secret: Seed) -> Stanza:
        return Stanza(
            kind=RECOVERY,
            recipient_id=self.public.id,
            public=self.public.raw,
            salt=b"",
            memory_kib=0,
            passes=0,
            lanes=0,
            hint=self.label,
            sealed=hpke.seal(self.public, info, secret.expose()),
            vouch=self.vouch,
        )


def make_password_recipient(
    password: Password, hint: str, identity: SigningPublicKey, parameters: Argon2Parameters
) -> tuple[PasswordRecipient, Seed]:
    """Make a recipient from a password, under a fresh salt.

    Returns:
        The recipient, with its vouch for `identity`, and the seed: the caller decides whether
        the keystore may keep it.

    Raises:
        InvalidInputError: the hint cannot be shown on one line, or is too long.
    """
    _check_given_hint(hint)
    salt = random.token(SALT_LENGTH)
    seed = derive_seed(password, salt, parameters)
    public = hpke.PrivateKey.from_seed(seed).public
    return PasswordRecipient(public, salt, parameters, hint, vouch_for(seed, identity)), seed


def make_recovery_recipient(
    seed: Seed, label: str, identity: SigningPublicKey
) -> RecoveryRecipient:
    """Make a recipient from a recovery kit's seed, with its vouch for `identity`.

    Raises:
        InvalidInputError: the label cannot be shown on one line, or is too long.
    """
    _check_given_hint(label)
    public = hpke.PrivateKey.from_seed(seed).public
    return RecoveryRecipient(public, label, vouch_for(seed, identity))


def local_half_of(seed: Seed) -> Seed:
    """Return the local half that belongs to a recovery kit's seed.

    It leads nowhere back, so a server may keep it; who holds the kit can make it again.
    """
    return Seed(expand(seed, "local half", KEY_LENGTH))


def recipient_of(stanza: Stanza) -> Recipient:
    """Return the recipient that `stanza` was wrapped to, so that more can be wrapped to it.

    Raises:
        MalformedError: the stanza is none that this software writes.
        UnsupportedVersionError: its kind is not known here; a KMS's is for `kms` to make.
    """
    check_stanza(stanza)
    public = stanza.public
    if stanza.kind == PASSWORD:
        return PasswordRecipient(
            hpke.PublicKey(public), stanza.salt, stanza.parameters, stanza.hint, stanza.vouch
        )
    if stanza.kind == RECOVERY:
        return RecoveryRecipient(hpke.PublicKey(public), stanza.hint, stanza.vouch)
    raise UnsupportedVersionError(f"there are no recipients of kind {stanza.kind} here")


def check_stanza(stanza: Stanza) -> None:
    """Refuse a stanza by its lengths and limits, before any key is involved.

    The hint is shown on a terminal, so it has to be plain text of one line. Of kinds that are
    made elsewhere only the general limits are checked.

    Raises:
        MalformedError: it breaks one of them.
    """
    _require(0 < len(stanza.kind) <= _MAX_KIND and stanza.kind.isprintable(), "kind")
    _require(_is_showable(stanza.hint), "hint")
    _require(len(stanza.recipient_id) == KEY_LENGTH, "recipient id")
    for name in ("public", "salt", "sealed", "vouch"):
        _require(len(getattr(stanza, name)) <= _MAX_BYTES, name)
    if stanza.kind not in (PASSWORD, RECOVERY):
        return
    _require(hpke.PublicKey(stanza.public).id == stanza.recipient_id, "recipient id")
    _require(len(stanza.sealed) == KEY_LENGTH + hpke.OVERHEAD, "sealed")
    _require(len(stanza.vouch) in (0, SIGNATURE_LENGTH), "vouch")
    if stanza.kind == PASSWORD:
        _require(len(stanza.salt) == SALT_LENGTH, "salt")
        check_limits(stanza.parameters)
    else:
        _require(not stanza.salt and stanza.parameters == _NO_PARAMETERS, "parameters")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise MalformedError(f"a stanza's {what} breaks the rules of the format")


def _is_showable(text: str) -> bool:
    return len(text) <= MAX_HINT and text.isprintable()


def _check_given_hint(text: str) -> None:
    if not _is_showable(text):
        raise InvalidInputError(
            f"a hint or label is one line of at most {MAX_HINT} printable characters"
        )


def vouch_for(seed: Seed, identity: SigningPublicKey) -> bytes:
    """Return the signature by which the secret behind `seed` vouches for `identity`."""
    return _vouching_key(seed).sign(_VOUCH_DOMAIN, identity.raw)


def _vouching_key(seed: Seed) -> SigningKey:
    return SigningKey.from_seed(Seed(expand(seed, "vouch", KEY_LENGTH)))


class PasswordUnlocker:
    """Unwraps what was wrapped to a password; each derivation is done once."""

    def __init__(self, password: Password, origin: str = "") -> None:
        """Derive nothing yet.

        Args:
            password: The password.
            origin: Where it came from, to tell it from others: `file /root/old`.
        """
        self._password = password
        self._origin = origin
        self._seeds: dict[tuple[bytes, Argon2Parameters], Seed] = {}

    def describe(self) -> str:
        return f"the password from {self._origin}" if self._origin else "the password"

    def unwrap(self, stanza: Stanza, info: bytes) -> Seed:
        return _unwrap(stanza, info, self._seed_for, self.describe())

    def vouches(self, stanza: Stanza, identity: SigningPublicKey) -> bool:
        return _vouches(stanza, identity, self._seed_for)

    def _seed_for(self, stanza: Stanza) -> Seed | None:
        if stanza.kind != PASSWORD:
            return None
        check_stanza(stanza)
        salted = (stanza.salt, stanza.parameters)
        seed = self._seeds.get(salted)
        if seed is None:
            seed = self._seeds[salted] = derive_seed(self._password, *salted)
        return seed


class SeedUnlocker:
    """Unwraps with a stored secret, without a derivation."""

    _kinds: tuple[str, ...] = (PASSWORD, RECOVERY)

    def __init__(self, seed: Seed) -> None:
        self._seed = seed

    def describe(self) -> str:
        return "the stored secret"

    def unwrap(self, stanza: Stanza, info: bytes) -> Seed:
        return _unwrap(stanza, info, self._seed_for, self.describe())

    def vouches(self, stanza: Stanza, identity: SigningPublicKey) -> bool:
        return _vouches(stanza, identity, self._seed_for)

    def _seed_for(self, stanza: Stanza) -> Seed | None:
        if stanza.kind not in self._kinds:
            return None
        check_stanza(stanza)
        return self._seed


class RecoveryUnlocker(SeedUnlocker):
    """Unwraps with a recovery kit."""

    _kinds = (RECOVERY,)

    def __init__(self, seed: Seed, key_id: str = "") -> None:
        """Open nothing yet; `key_id` tells it from other kits in messages."""
        super().__init__(seed)
        self._key_id = key_id

    def describe(self) -> str:
        return f"the recovery kit {self._key_id}" if self._key_id else "the recovery kit"


def _unwrap(
    stanza: Stanza, info: bytes, seed_for: Callable[[Stanza], Seed | None], described: str
) -> Seed:
    seed = seed_for(stanza)
    private = None if seed is None else hpke.PrivateKey.from_seed(seed)
    # The public half is compared before anything is opened: this is the check for a wrong
    # password. Opening alone would not do, since a ciphertext can be made that opens under
    # many keys, and every answer would tell its maker which passwords to cross out.
    if private is None or private.public.raw != stanza.public:
        raise NotAddressedError(f"this stanza is not for {described}", stanza_hint=stanza.hint)
    try:
        return Seed(hpke.open_sealed(private, info, stanza.sealed))
    except (hpke.NotSealedHereError, ValueError) as error:
        raise EnvelopeDamagedError(
            f"a stanza is for {described} and does not open: it was altered, or belongs to "
            "another envelope"
        ) from error


def _vouches(
    stanza: Stanza, identity: SigningPublicKey, seed_for: Callable[[Stanza], Seed | None]
) -> bool:
    seed = seed_for(stanza)
    if seed is None or hpke.PrivateKey.from_seed(seed).public.raw != stanza.public:
        return False
    try:
        verify(_vouching_key(seed).public, _VOUCH_DOMAIN, identity.raw, stanza.vouch)
    except ForgedError:
        return False
    return True
