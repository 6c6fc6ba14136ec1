"""Keys of the transit engine of Vault and OpenBao.

    id: NAME:VERSION          rotation makes the next version under the same name

What an id names is one version, and which versions still open anything is the engine's
`min_decryption_version`. Of the library only its adapter is used: its client takes tokens,
addresses and authorities from the environment and from files that nobody named here.
"""

from __future__ import annotations

import base64
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

import msgspec

from strongroom.crypto import rsa
from strongroom.crypto.rsa import SIZES, OaepHash
from strongroom.errors import (
    InvalidInputError,
    KmsUnavailableError,
    NotFoundError,
    RefusedError,
    StrongroomError,
    UnlockError,
)
from strongroom.kms.base import (
    CALL_SECONDS,
    VOUCHING_PREFIX,
    KeyState,
    KmsKey,
    missing_library,
)
from strongroom.kms.memory_file import MemoryFile, system_authorities

try:
    import requests
    from hvac import exceptions as vault_errors
    from hvac.adapters import JSONAdapter
except ImportError as error:
    raise missing_library("transit", error) from error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.crypto.keys import SecretBytes
    from strongroom.kms.base import Surroundings
    from strongroom.kms.location import Address

T = TypeVar("T")

_TYPES: Final = {bits: f"rsa-{bits}" for bits in SIZES}
_MAC_TYPE: Final = "hmac"
_MAC_BYTES: Final = 32
_CAPABILITIES: Final = {"get": "read", "list": "list", "post": "update"}
_UNAVAILABLE: Final = (
    vault_errors.BadGateway,
    vault_errors.InternalServerError,
    vault_errors.RateLimitExceeded,
    vault_errors.VaultDown,
    vault_errors.VaultNotInitialized,
)
# The engine answers 400 or 500 to all of these: only its words tell them apart.
_NO_SUCH_KEY: Final = ("key not found", "version is too new", "key version does not exist")
_NOT_ITS_CIPHERTEXT: Final = ("invalid ciphertext", "failed to RSA decrypt")
_NOT_NOW: Final = ("disallowed by policy", "soft-deleted")


class _Key(msgspec.Struct):
    """What the engine says of a key."""

    type: str
    latest_version: int
    keys: dict[str, Any] = msgspec.field(default_factory=dict)
    """By version; those of the type `hmac` have none."""
    min_decryption_version: int = 1
    min_available_version: int = 0
    soft_deleted: bool = False
    """OpenBao's; Vault has no such thing."""

    @property
    def versions(self) -> range:
        return range(max(1, self.min_available_version), self.latest_version + 1)

    def state(self, version: int) -> KeyState:
        if version not in self.versions:
            return KeyState.DESTROYED
        if self.soft_deleted:
            return KeyState.CONDEMNED
        if version < self.min_decryption_version:
            return KeyState.DISABLED
        return KeyState.ACTIVE


class _Names(msgspec.Struct):
    keys: list[str]


class _PublicHalf(msgspec.Struct):
    public_key: str


class _Decrypted(msgspec.Struct):
    plaintext: str


class _Mac(msgspec.Struct):
    hmac: str


class _Verified(msgspec.Struct):
    valid: bool


class TransitKms:
    """The keys of one mount."""

    kind = "transit"
    can_vouch = True

    def __init__(self, address: Address, surroundings: Surroundings) -> None:
        """Connect to nothing yet."""
        self.endpoint: Final = address.url
        host = f"[{address.host}]" if ":" in address.host else address.host
        port = f":{address.port}" if address.port else ""
        self._base = f"{address.options.get('scheme', 'https')}://{host}{port}"
        self._mount = address.path
        self._namespace = address.options.get("namespace")
        self._credentials = surroundings.credentials
        self._adapter: JSONAdapter | None = None
        self._files: list[MemoryFile] = []
        self._may_have_expired = False
        """Whether the token of our login has worked since, so that a new one could help."""

    def make_key(self, name: str, bits: int) -> KmsKey:
        try:
            return self.rotate(name, bits)
        except NotFoundError:
            self._make(name, _TYPES[bits])
            return self.newest_key(name)

    def newest_key(self, name: str) -> KmsKey:
        found = self._read(name)
        if found.type not in _TYPES.values():
            raise RefusedError(
                f"key {name} at {self.endpoint} is of type {found.type}, to which nothing of ours "
                "can be sealed",
                hint=f"a key here is of type {' or '.join(_TYPES.values())}",
            )
        version = found.latest_version
        state = found.state(version)
        if not state.opens:
            raise NotFoundError(f"key {name} at {self.endpoint} is {state} and opens nothing")
        half = self._understood(found.keys.get(str(version)), _PublicHalf)
        public = rsa.PublicKey.from_pem(half.public_key.encode())
        return KmsKey(f"{name}:{version}", public.der, OaepHash.SHA256)

    def rotate(self, name: str, bits: int) -> KmsKey:
        found = self._read(name)
        if found.type != _TYPES[bits]:
            raise RefusedError(
                f"key {name} at {self.endpoint} is of type {found.type}, and so is every version "
                f"of it: none of {bits} bits can be made"
            )
        self._ask(f"rotate key {name}", "post", f"keys/{quote(name, '')}/rotate", {})
        return self.newest_key(name)

    def state(self, key: str) -> KeyState:
        name, version = self._parts(key)
        try:
            return self._read(name).state(version)
        except NotFoundError:
            return KeyState.DESTROYED

    def decrypt(self, key: str, ciphertext: bytes, oaep: OaepHash) -> bytes:
        name, version = self._parts(key)
        if oaep is not OaepHash.SHA256:
            raise UnlockError(f"{self.endpoint} knows no OAEP but with SHA-256")
        sealed = f"vault:v{version}:{base64.b64encode(ciphertext).decode()}"
        answer = self._ask(
            f"decrypt with key {key}", "post", f"decrypt/{quote(name, '')}", {"ciphertext": sealed}
        )
        return base64.b64decode(self._understood(answer, _Decrypted).plaintext)

    def keys(self) -> Iterator[str]:
        return self._listed("", set(_TYPES.values()))

    def make_vouching_key(self, name: str) -> str:
        self._make(name, _MAC_TYPE)
        found = self._read(name)
        if found.type != _MAC_TYPE:
            raise RefusedError(
                f"key {name} at {self.endpoint} is there and of type {found.type}: it cannot vouch"
            )
        return f"{name}:{found.latest_version}"

    def vouching_keys(self) -> Iterator[str]:
        return self._listed(VOUCHING_PREFIX, {_MAC_TYPE})

    def mac(self, key: str, message: bytes) -> bytes:
        name, version = self._parts(key)
        answer = self._ask(
            f"make a MAC with key {key}",
            "post",
            f"hmac/{quote(name, '')}",
            {
                "input": base64.b64encode(message).decode(),
                "algorithm": "sha2-256",
                "key_version": version,
            },
        )
        return base64.b64decode(self._understood(answer, _Mac).hmac.rpartition(":")[2])

    def verify_mac(self, key: str, message: bytes, mac: bytes) -> bool:
        name, version = self._parts(key)
        answer = self._ask(
            f"verify a MAC with key {key}",
            "post",
            f"verify/{quote(name, '')}",
            {
                "input": base64.b64encode(message).decode(),
                "algorithm": "sha2-256",
                "hmac": f"vault:v{version}:{base64.b64encode(mac).decode()}",
            },
        )
        return self._understood(answer, _Verified).valid

    def close(self) -> None:
        if self._adapter is not None:
            self._adapter.close()
            self._adapter = None
        while self._files:
            self._files.pop().close()

    # --- keys -------------------------------------------------------------------------------

    def _parts(self, key: str) -> tuple[str, int]:
        name, _, version = key.rpartition(":")
        if not name or not version.isdecimal():
            raise NotFoundError(f"{key!r} names no key at {self.endpoint}")
        return name, int(version)

    def _read(self, name: str) -> _Key:
        return self._understood(
            self._ask(f"read key {name}", "get", f"keys/{quote(name, '')}"), _Key
        )

    def _make(self, name: str, kind: str) -> None:
        body: dict[str, object] = {
            "type": kind,
            "exportable": False,
            "allow_plaintext_backup": False,
        }
        if kind == _MAC_TYPE:
            body["key_size"] = _MAC_BYTES
        self._ask(f"make key {name}", "post", f"keys/{quote(name, '')}", body)

    def _listed(self, prefix: str, types: set[str]) -> Iterator[str]:
        """Return the ids of all versions of the keys of some types that we may read.

        Raises:
            RefusedError: we may not list them, or read none of them.
        """
        try:
            answer = self._ask("list the keys", "list", "keys")
        except NotFoundError:
            return  # what the engine answers when there is none
        refused: RefusedError | None = None
        read = False
        for name in self._understood(answer, _Names).keys:
            if not name.startswith(prefix):
                continue
            try:
                found = self._read(name)
            except NotFoundError:
                continue  # deleted meanwhile
            except RefusedError as error:
                refused = error
                continue
            read = True
            if found.type in types:
                yield from (f"{name}:{version}" for version in found.versions)
        if refused is not None and not read:
            raise refused

    # --- asking -----------------------------------------------------------------------------

    def _ask(self, what: str, verb: str, path: str, body: object = None) -> object:
        """Return the data of an answer.

        Args:
            what: What is being done, to follow *cannot*.
            verb: Of HTTP, or Vault's own `list`.
            path: Below the mount.
            body: Sent as JSON.
        """
        full = f"{self._mount}/{path}"
        with self._answers(what, _CAPABILITIES[verb], full):
            adapter = self._connected()
            try:
                answer = self._request(adapter, verb, full, body)
            except vault_errors.Forbidden:
                if not self._may_have_expired:
                    raise
                self._log_in(adapter)
                answer = self._request(adapter, verb, full, body)
            self._may_have_expired = bool(self._credentials.account)
            return answer.get("data") if isinstance(answer, dict) else None

    def _request(self, adapter: JSONAdapter, verb: str, path: str, body: object) -> object:
        return adapter.request(verb, f"/v1/{path}", json=body)

    def _connected(self) -> JSONAdapter:
        """Return a connection that has a token."""
        if self._adapter is not None:
            return self._adapter
        if self._credentials.secret is None:
            raise RefusedError(
                f"{self.endpoint} is asked for nothing without a token",
                hint="give a token, or the role id and the secret id of an AppRole",
            )
        adapter = JSONAdapter(
            base_uri=self._base,
            timeout=CALL_SECONDS,
            namespace=self._namespace,
            verify=self._file(self._credentials.authorities) or system_authorities(),
            cert=self._client_certificate(),
        )
        if self._credentials.account:
            self._log_in(adapter)
        else:
            adapter.token = _token(self._credentials.secret, self.endpoint)
        self._adapter = adapter
        return adapter

    def _client_certificate(self) -> tuple[str, str] | None:
        if not self._credentials.certificate or self._credentials.key is None:
            return None
        certificate = self._file(self._credentials.certificate)
        key = self._file(self._credentials.key.expose())
        return (certificate, key) if certificate and key else None

    def _file(self, content: bytes) -> str | None:
        if not content:
            return None
        self._files.append(MemoryFile(content))
        return self._files[-1].path

    def _log_in(self, adapter: JSONAdapter) -> None:
        """Get a token for our AppRole; it stays in memory."""
        assert self._credentials.secret is not None
        adapter.token = None
        self._may_have_expired = False
        with self._answers("log in with the AppRole", "update", "auth/approle/login"):
            adapter.login(
                "/v1/auth/approle/login",
                json={
                    "role_id": self._credentials.account,
                    "secret_id": self._credentials.secret.expose().decode(),
                },
            )

    def _understood(self, answer: object, kind: type[T]) -> T:
        try:
            return msgspec.convert(answer, kind)
        except msgspec.ValidationError:
            # Not chained, nor said: the answer may be a plaintext.
            raise KmsUnavailableError(
                f"what answers at {self.endpoint} is no transit engine",
            ) from None

    @contextmanager
    def _answers(self, what: str, capability: str, path: str) -> Iterator[None]:
        """Turn the library's errors into ours."""
        cannot = f"{self.endpoint}: cannot {what}"
        try:
            yield
        except vault_errors.VaultError as error:
            words = self._without_secrets(" ".join(error.errors or [error.text or ""]))
            raise _answer(cannot, capability, path, error, " ".join(words.split())) from None
        # A request that carries our token, or our secret id, stands in these: not chained.
        except requests.exceptions.SSLError as error:
            raise KmsUnavailableError(
                f"{cannot}: {error}",
                hint="if its certificate is signed by an authority of your own, name that",
            ) from None
        except (requests.exceptions.RequestException, OSError) as error:
            raise KmsUnavailableError(f"{cannot}: {error}") from None

    def _without_secrets(self, words: str) -> str:
        """Return what a server said without what it repeats of a request: some gateways do."""
        secret = self._credentials.secret
        held = [secret.expose().decode()] if secret is not None else []
        if self._adapter is not None and self._adapter.token:
            held.append(self._adapter.token)
        for one in held:
            words = words.replace(one, "<redacted>")
        return words


def _token(secret: SecretBytes, endpoint: str) -> str:
    """Return a token as a header takes it.

    Raises:
        InvalidInputError: it takes it not. The HTTP library would say so too, and repeat it.
    """
    token = secret.expose().decode(errors="replace")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise InvalidInputError(
            f"the token for {endpoint} has a character that no token has",
            hint="was it copied with a space, or something else around it?",
        )
    return token


def _answer(cannot: str, capability: str, path: str, error: Any, words: str) -> StrongroomError:  # noqa: ANN401 - a VaultError
    """Return what an answer that is an error, and says these words, means."""
    said = f"{cannot}: {words or type(error).__name__}"
    if isinstance(error, vault_errors.InvalidPath):
        if "no handler for route" in words:
            return RefusedError(said, hint="is the engine mounted there, and in this namespace?")
        return NotFoundError(f"{cannot}: it is not there")
    if any(one in words for one in _NO_SUCH_KEY):
        return NotFoundError(said)
    if any(one in words for one in _NOT_ITS_CIPHERTEXT):
        return UnlockError(f"{cannot}: it was encrypted to another key, or altered")
    if any(one in words for one in _NOT_NOW):
        return RefusedError(said, hint="the administrator of the engine can make it usable again")
    if isinstance(error, vault_errors.Forbidden | vault_errors.Unauthorized):
        return RefusedError(
            said,
            hint=f"its policy lacks {capability} on {path}, or the token is not valid any longer "
            "(docs/operations/kms-transit.md)",
            right=f"{capability} {path}",
        )
    if isinstance(error, _UNAVAILABLE):
        sealed = "sealed" in words
        return KmsUnavailableError(
            said, hint="its administrator has to unseal it" if sealed else None
        )
    if isinstance(error, vault_errors.UnexpectedError) and error.errors is None:
        return KmsUnavailableError(said)  # a proxy's words, not the server's
    return RefusedError(said)
