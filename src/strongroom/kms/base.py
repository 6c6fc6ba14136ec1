"""What a KMS must do: make a key, say its public half and its state, decrypt, and vouch.

Everybody with the public half encrypts; the private half stays where it is, but for a server
that cannot decrypt and hands it out for one use. A provider turns its library's errors into the
families of `errors`, and keeps nothing between two calls but its connection.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from strongroom.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from strongroom.crypto.keys import SecretBytes
    from strongroom.crypto.rsa import OaepHash

DEFAULT_BITS: Final = 3072
CALL_SECONDS: Final = 10.0
"""How long one call may wait for an endpoint before the next one is tried."""


class KeyState(StrEnum):
    """What a KMS says of a key; the values are for scripts and stay."""

    ACTIVE = "active"
    DISABLED = "disabled"
    """It decrypts nothing until its administrator enables it again."""
    CONDEMNED = "condemned"
    """Its deletion is scheduled; its administrator can still take that back."""
    DESTROYED = "destroyed"
    """It is not there: what is sealed for it alone is lost."""

    @property
    def opens(self) -> bool:
        """Whether the KMS decrypts with it now."""
        return self is KeyState.ACTIVE


@dataclass(frozen=True, slots=True)
class KmsKey:
    """A key at a KMS, as those who seal to it need it."""

    key: str
    """Names it at the KMS, its version included; opaque to everybody but the provider."""
    public: bytes
    """SubjectPublicKeyInfo, DER."""
    oaep: OaepHash
    """What the provider decrypts with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a KMS is to know us by. Which of these there are, the kind of KMS says."""

    account: str = ""
    """Not secret: an access key id, the id of an AppRole."""
    secret: SecretBytes | None = None
    """A token, a PIN, a secret access key."""
    certificate: bytes = b""
    """Our certificate and its intermediates, PEM."""
    key: SecretBytes | None = None
    """Its private key, PEM."""
    authorities: bytes = b""
    """The certificates that the server's is to be signed by, PEM; empty for the system's."""


def quiet(_: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a provider gets besides its address."""

    credentials: Credentials = field(default_factory=Credentials)
    warn: Callable[[str], None] = quiet
    """Tells the operator what needs a look: a private key was handed out, say."""


class Kms(Protocol):
    """Keys at one endpoint.

    What every implementation promises, and `testing.KmsContract` checks:

    * A key decrypts what was encrypted to its public half with its hash, and nothing else.
    * Names are for the server's administrator; ids tell keys and versions of keys apart.
    * Only families from `errors` come out. An endpoint that does not answer within
      `CALL_SECONDS` is `KmsUnavailableError`; no rights, a disabled key and a forbidden
      operation are `RefusedError`; a key that is not there is `NotFoundError`; a ciphertext
      that does not decrypt is `UnlockError`.
    * Nothing is connected before the first call, and a call after `close` connects again.
    """

    @property
    def kind(self) -> str:
        """`kmip`, `aws`, `transit` or `pkcs11`."""
        ...

    @property
    def endpoint(self) -> str:
        """Where it is, for messages; never with a secret."""
        ...

    @property
    def can_vouch(self) -> bool:
        """Whether it has keys that make a MAC (`make_vouching_key`)."""
        ...

    def make_key(self, name: str, bits: int) -> KmsKey:
        """Make an RSA key pair that decrypts, ready for use, under a name.

        Raises:
            RefusedError: the server does not allow it.
        """
        ...

    def newest_key(self, name: str) -> KmsKey:
        """Return the key that the server wants used under a name now: the newest that opens.

        Raises:
            NotFoundError: no key of this name opens anything any longer.
        """
        ...

    def rotate(self, name: str, bits: int) -> KmsKey:
        """Make the next key under a name; the ones before go on opening what is sealed to them.

        Raises:
            NotFoundError: there is none of this name, and the server counts from one that is.
            RefusedError: the server does not allow it.
        """
        ...

    def state(self, key: str) -> KeyState:
        """Return what the server says of a key; one that is not there is destroyed."""
        ...

    def decrypt(self, key: str, ciphertext: bytes, oaep: OaepHash) -> bytes:
        """Return what was encrypted to a key's public half: one call to the server.

        Raises:
            UnlockError: it was encrypted to another key, or altered.
            RefusedError: the key is disabled, or we have no right to use it.
            NotFoundError: there is no such key.
        """
        ...

    def keys(self) -> Iterator[str]:
        """Return the ids of all keys that could decrypt and that we may see.

        Keys of other kinds may be among them, where telling takes a call for each.
        """
        ...

    def make_vouching_key(self, name: str) -> str:
        """Make a key that makes MACs with SHA-256, ready for use; return its id.

        Raises:
            RefusedError: the server has or allows none.
        """
        ...

    def vouching_keys(self) -> Iterator[str]:
        """Return the ids of all keys that were made by `make_vouching_key`, by their names."""
        ...

    def mac(self, key: str, message: bytes) -> bytes:
        """Return a MAC over a short message; the same one each time.

        Raises:
            RefusedError, NotFoundError: as for `decrypt`.
        """
        ...

    def verify_mac(self, key: str, message: bytes, mac: bytes) -> bool:
        """Tell whether `mac` is what `mac` makes of this key and message.

        The server decides, so that who may verify need not be able to make one; where it has no
        such operation, the provider says so and compares.

        Raises:
            RefusedError, NotFoundError: as for `decrypt`.
        """
        ...

    def close(self) -> None:
        """Let go of the connection; harmless when there is none."""
        ...


VOUCHING_PREFIX: Final = "strongroom-vouching-"
"""What the names of vouching keys begin with, so that a machine that has lost everything finds
them; whoever can make keys in a KMS decides what it vouches for anyway."""


def key_name(job: str, job_id: bytes) -> str:
    """Return under what name a job's key is made: its administrator sees product and job."""
    return f"strongroom-{job}-{job_id.hex()[:8]}"


def vouching_name(identity: bytes) -> str:
    """Return under what name the key is made by which a KMS vouches for an identity."""
    return VOUCHING_PREFIX + hashlib.sha256(identity).hexdigest()[:12]


def missing_library(kind: str, error: ImportError) -> RefusedError:
    """Return the error for a provider whose library is not installed."""
    return RefusedError(
        f"a KMS of kind {kind} needs the Python package {error.name}, which is not installed",
        hint=f"pip install 'strongroom[{kind}]', or 'make install' in a source folder",
        kind=kind,
    )
