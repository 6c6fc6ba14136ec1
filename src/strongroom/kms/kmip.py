"""A KMIP 1.4 server over mutual TLS, through PyKMIP.

A key is a pair of objects under the names `NAME` and `NAME-public`, and the next key is another
pair under the same names. So each half of a pair that is made here has a second name, its tag,
which nothing else has: the tag says which halves belong together and which hash the server
decrypts with. A pair without tags, an administrator's own, shows both by decrypting a token.

Some servers insist on names that nothing else has. There the next pair has its tag alone, which
begins with the name, and the name itself as information that is specific to this application.

One call is one connection, so that a server may be restarted between two. A server that decrypts
with symmetric keys only hands the private half out instead, if it is allowed to; that is logged
each time, and the operator is warned.
"""

from __future__ import annotations

import hmac
import logging
import os
import re
import socket
import ssl
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from strongroom import logs
from strongroom.crypto import random, rsa
from strongroom.crypto.rsa import OaepHash
from strongroom.errors import (
    InvalidInputError,
    KmsUnavailableError,
    MalformedError,
    NotFoundError,
    RefusedError,
    UnlockError,
)
from strongroom.kms.base import CALL_SECONDS, VOUCHING_PREFIX, KeyState, KmsKey, missing_library

try:
    from kmip.core import attributes, enums, objects
    from kmip.core.exceptions import OperationFailure
    from kmip.core.factories.attributes import AttributeFactory
    from kmip.core.messages import payloads
    from kmip.services.kmip_client import KMIPProxy
    from kmip.services.kmip_protocol import KMIPProtocol, RequestLengthMismatch
except ImportError as error:
    raise missing_library("kmip", error) from error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.kms.base import Credentials, Surroundings
    from strongroom.kms.location import Address

# PyKMIP's records may repeat messages, and so private keys: nobody gets them.
logging.getLogger("kmip").addHandler(logging.NullHandler())
logging.getLogger("kmip").propagate = False

_PAGE: Final = 500
_CRL: Final = b"-----BEGIN X509 CRL-----"
_PUBLIC: Final = "-public"
_NAMESPACE: Final = "strongroom"
"""Of the information by which a pair is found whose name another has already."""
_TAIL: Final = r"-[0-9a-f]{16}-(sha1|sha256)"
_TAG: Final = re.compile(".+" + _TAIL)
_HASHES: Final = {
    OaepHash.SHA256: enums.HashingAlgorithm.SHA_256,
    OaepHash.SHA1: enums.HashingAlgorithm.SHA_1,
}
"""In the order in which they are tried: a server that was told no hash for MGF1 may take SHA-1
for it (KMIP 1.4, 3.6), and opens only what has SHA-1 in both places."""
_STATES: Final = {
    enums.State.PRE_ACTIVE: KeyState.DISABLED,
    enums.State.ACTIVE: KeyState.ACTIVE,
    enums.State.DEACTIVATED: KeyState.DISABLED,
    enums.State.COMPROMISED: KeyState.DISABLED,
    enums.State.DESTROYED: KeyState.DESTROYED,
    enums.State.DESTROYED_COMPROMISED: KeyState.DESTROYED,
}
_ABSENT: Final = (
    enums.ResultReason.ITEM_NOT_FOUND,
    enums.ResultReason.OBJECT_NOT_FOUND,
    enums.ResultReason.OBJECT_DESTROYED,
)
_UNSUPPORTED: Final = (
    enums.ResultReason.OPERATION_NOT_SUPPORTED,
    enums.ResultReason.FEATURE_NOT_SUPPORTED,
)
_warned: Final[set[str]] = set()
"""Endpoints of which the operator knows that they hand out private keys."""


class KmipKms:
    """Keys at one KMIP server."""

    kind = "kmip"
    can_vouch = True

    def __init__(self, address: Address, surroundings: Surroundings) -> None:
        """Connect to nothing yet.

        Raises:
            InvalidInputError: there is no client certificate, or no key of it.
        """
        credentials = surroundings.credentials
        if not credentials.certificate or credentials.key is None:
            raise InvalidInputError("a KMS of kind kmip knows us by a certificate and its key")
        self._address = address
        self._credentials = credentials
        self._warn = surroundings.warn

    @property
    def endpoint(self) -> str:
        return self._address.url

    def make_key(self, name: str, bits: int) -> KmsKey:
        with self._connected(f"make key {name}") as server:
            for oaep in _HASHES:
                tag = f"{name}-{random.token(8).hex()}-{oaep.name.lower()}"
                private, public = self._make_pair(server, name, tag, bits)
                server.activate(private)
                server.activate(public)
                key = KmsKey(private, server.public_half(public).der, oaep)
                if self._opens(server, key):
                    return key
                # It would be the newest under its name.
                server.revoke(private)
                server.revoke(public)
        raise RefusedError(
            f"{self.endpoint} made a key {name} that opens nothing that was sealed to it",
            hint="the server has to decrypt with RSA and OAEP",
        )

    def newest_key(self, name: str) -> KmsKey:
        with self._connected(f"look for key {name}") as server:
            held = [server.held(key) for key in server.find(enums.ObjectType.PRIVATE_KEY, name)]
            held += _tagged(server, name)
            # Some servers count their keys, and "10" is newer than "9".
            for one in sorted(held, key=lambda one: (one.made, len(one.id), one.id), reverse=True):
                if one.state.opens:
                    return self._whole(server, one, name)
        raise NotFoundError(f"no key {name} opens anything at {self.endpoint}")

    def rotate(self, name: str, bits: int) -> KmsKey:
        return self.make_key(name, bits)

    def state(self, key: str) -> KeyState:
        try:
            with self._connected(f"ask for the state of key {key}") as server:
                return server.held(key).state
        except NotFoundError:
            return KeyState.DESTROYED

    def decrypt(self, key: str, ciphertext: bytes, oaep: OaepHash) -> bytes:
        with self._connected(f"decrypt with key {key}") as server:
            return self._decrypt(server, key, ciphertext, oaep)

    def keys(self) -> Iterator[str]:
        with self._connected("list keys") as server:
            return iter(server.find(enums.ObjectType.PRIVATE_KEY))

    def make_vouching_key(self, name: str) -> str:
        with self._connected(f"make vouching key {name}") as server:
            try:
                key = server.make_mac_key(name)
            except OperationFailure:
                key = _mac_key_there(server, name)
                if not key:
                    raise
            # Now, and not when somebody has to be vouched for.
            self._check_mac(key, server.mac(key, b"strongroom"))
            return key

    def vouching_keys(self) -> Iterator[str]:
        with self._connected("list vouching keys") as server:
            held = [server.held(key) for key in server.find(enums.ObjectType.SYMMETRIC_KEY)]
        return iter(
            one.id for one in held if any(name.startswith(VOUCHING_PREFIX) for name in one.names)
        )

    def mac(self, key: str, message: bytes) -> bytes:
        with self._connected(f"make a MAC with key {key}") as server:
            return self._check_mac(key, server.mac(key, message))

    def verify_mac(self, key: str, message: bytes, mac: bytes) -> bool:
        # PyKMIP knows no MAC Verify: who verifies here needs the right to make one.
        return hmac.compare_digest(self.mac(key, message), mac)

    def close(self) -> None:
        """No connection outlives its call."""

    # --- halves of a pair ---------------------------------------------------------------------

    def _make_pair(self, server: _Server, name: str, tag: str, bits: int) -> tuple[str, str]:
        try:
            return server.make_pair((name, tag), bits)
        except OperationFailure:
            # No two servers say in the same words that a name is taken.
            if not server.find(enums.ObjectType.PRIVATE_KEY, name):
                raise
            return server.make_pair((tag,), bits, belongs_to=name)

    def _whole(self, server: _Server, private: _Held, name: str) -> KmsKey:
        """Return a key that is known by its private half."""
        for tag in private.names:
            if match := _TAG.fullmatch(tag):
                privates = server.find(enums.ObjectType.PRIVATE_KEY, tag)
                publics = server.find(enums.ObjectType.PUBLIC_KEY, tag + _PUBLIC)
                if privates == [private.id] and len(publics) == 1:
                    oaep = OaepHash[match[1].upper()]
                    return KmsKey(private.id, server.public_half(publics[0]).der, oaep)
        return self._matched(server, private, name)

    def _matched(self, server: _Server, private: _Held, name: str) -> KmsKey:
        """Find the public half of a pair that has no tags.

        Raises:
            RefusedError: there is none, or we may not decrypt.
        """
        publics = [
            server.held(key) for key in server.find(enums.ObjectType.PUBLIC_KEY, name + _PUBLIC)
        ]
        # Halves that were made together have the same date.
        for public in sorted(publics, key=lambda one: abs(one.made - private.made)):
            if any(_TAG.fullmatch(one.removesuffix(_PUBLIC)) for one in public.names):
                continue
            with suppress(MalformedError):
                der = rsa.PublicKey(server.material(public.id)).der
                for oaep in _HASHES:
                    key = KmsKey(private.id, der, oaep)
                    if self._opens(server, key):
                        return key
        raise RefusedError(
            f"{self.endpoint} shows no public half of key {private.id}, the newest {name}",
            hint=f"name its public half {name}{_PUBLIC}; it is RSA with "
            f"{' or '.join(map(str, rsa.SIZES))} bits",
        )

    def _opens(self, server: _Server, key: KmsKey) -> bool:
        token = random.token(32)
        try:
            opened = self._decrypt(
                server, key.key, rsa.PublicKey(key.public).encrypt(token, key.oaep), key.oaep
            )
        except UnlockError:
            return False
        return opened == token

    # --- decryption and MACs ------------------------------------------------------------------

    def _decrypt(self, server: _Server, key: str, ciphertext: bytes, oaep: OaepHash) -> bytes:
        try:
            return server.decrypt(key, ciphertext, oaep)
        except OperationFailure as failure:
            if failure.reason is enums.ResultReason.CRYPTOGRAPHIC_FAILURE:
                raise UnlockError(
                    f"this was not encrypted to key {key} of {self.endpoint}, or was altered"
                ) from failure
            if not _only_symmetric(failure):
                raise
            return self._decrypt_here(server, key, ciphertext, oaep, failure)

    def _decrypt_here(
        self,
        server: _Server,
        key: str,
        ciphertext: bytes,
        oaep: OaepHash,
        refusal: OperationFailure,
    ) -> bytes:
        """Decrypt with a private half that the server hands out, since it does not itself."""
        # Some servers hand out what their administrator has deactivated.
        state = server.held(key).state
        if not state.opens:
            raise RefusedError(f"key {key} is {state} at {self.endpoint}", key=key)
        try:
            private = server.material(key)
        except OperationFailure as failure:
            if failure.reason in _ABSENT:
                raise
            raise RefusedError(
                f"{self.endpoint} neither decrypts with key {key} ({_said(refusal)}) nor hands it "
                f"out ({_said(failure)})",
                hint="the server has to decrypt with RSA and OAEP, or to allow Get on the key",
                key=key,
            ) from failure
        logs.warning("kms.private-key-handed-out", endpoint=self.endpoint, key=key)
        if self.endpoint not in _warned:
            _warned.add(self.endpoint)
            self._warn(
                f"{self.endpoint} does not decrypt with RSA and hands out the private key instead: "
                "whoever has our client certificate can take the key away and open with it for "
                "ever, unseen"
            )
        return rsa.decrypt(private, ciphertext, oaep)

    def _check_mac(self, key: str, mac: bytes) -> bytes:
        if len(mac) != 32:
            raise RefusedError(
                f"key {key} of {self.endpoint} makes MACs of {len(mac)} bytes, not with SHA-256"
            )
        return mac

    # --- connection and errors ----------------------------------------------------------------

    @contextmanager
    def _connected(self, doing: str) -> Iterator[_Server]:
        """Connect for one call, and turn PyKMIP's errors and the network's into ours."""
        where = self.endpoint
        try:
            with _Server(self._address, _tls(self._credentials)) as server:
                yield server
        except OperationFailure as failure:
            message = f"cannot {doing} at {where}: {_said(failure)}"
            if failure.reason in _ABSENT:
                raise NotFoundError(message) from failure
            raise RefusedError(
                message,
                hint="the rights of our client certificate at the server decide "
                "(docs/operations/kms-kmip.md)",
            ) from failure
        except ssl.SSLCertVerificationError as error:
            raise RefusedError(
                f"cannot {doing}: the certificate that {where} shows is not to be trusted: "
                f"{error.verify_message}",
                hint="it has to be signed by the authorities we were given, to be for this host, "
                "and to hold today",
            ) from error
        except ssl.SSLError as error:
            if "_ALERT_" in (error.reason or ""):
                raise RefusedError(
                    f"cannot {doing}: {where} ends the TLS handshake: {error.reason}",
                    hint="does the server know the authority of our client certificate, and does "
                    "the certificate hold today?",
                ) from error
            raise KmsUnavailableError(f"cannot {doing}: {where} speaks no TLS: {error}") from error
        except (OSError, EOFError, RequestLengthMismatch) as error:
            raise KmsUnavailableError(
                f"cannot {doing}: {where} does not answer: {error}"
            ) from error
        except _NoKmipError as error:
            raise KmsUnavailableError(
                f"cannot {doing}: {where} answers with something else than KMIP 1.4: {error}"
            ) from None


def _tagged(server: _Server, name: str) -> list[_Held]:
    """Return the private halves that go by their tags alone, since their name was taken."""
    try:
        found = server.find_belonging(enums.ObjectType.PRIVATE_KEY, name)
    except OperationFailure:
        return []  # it knows no such information, and so has none of these
    held = (server.held(key) for key in found)
    own = re.compile(re.escape(name) + _TAIL)
    # A server that passes over what it does not know shows all keys.
    return [one for one in held if name not in one.names and any(map(own.fullmatch, one.names))]


def _mac_key_there(server: _Server, name: str) -> str:
    """Return the key for MACs that goes by a name already; empty where none does."""
    held = [server.held(key) for key in server.find(enums.ObjectType.SYMMETRIC_KEY, name)]
    return next((one.id for one in held if one.state.opens), "")


def _only_symmetric(failure: OperationFailure) -> bool:
    """Return whether a server says that it cannot decrypt with RSA, and not that we may not."""
    return failure.reason in _UNSUPPORTED or "symmetric decryption" in str(failure)


def _said(failure: OperationFailure) -> str:
    return f"{failure.reason.name}, {failure}"


# --- one connection ---------------------------------------------------------------------------


class _NoKmipError(Exception):
    """An answer that PyKMIP cannot read."""


@dataclass(frozen=True, slots=True)
class _Held:
    """What a server says of an object."""

    id: str
    state: KeyState
    made: int
    """Seconds since 1970."""
    names: tuple[str, ...]


class _Server:
    """The operations, on one connection. `OperationFailure` is what a server refuses with."""

    def __init__(self, address: Address, context: ssl.SSLContext) -> None:
        self._proxy = _Proxy(address.host, address.port or 0, context)
        self._attributes = AttributeFactory()

    def __enter__(self) -> Self:
        self._proxy.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._proxy.close()

    def make_pair(
        self, names: tuple[str, ...], bits: int, *, belongs_to: str = ""
    ) -> tuple[str, str]:
        """Make an RSA key pair; return the ids of private and public half.

        Args:
            names: Of the private half.
            bits: Of the modulus.
            belongs_to: What `find_belonging` finds it by.
        """
        made = self._ask(
            enums.Operation.CREATE_KEY_PAIR,
            payloads.CreateKeyPairRequestPayload(
                common_template_attribute=self._template(
                    enums.Tags.COMMON_TEMPLATE_ATTRIBUTE,
                    enums.CryptographicAlgorithm.RSA,
                    bits,
                    belongs_to=belongs_to,
                ),
                private_key_template_attribute=self._template(
                    enums.Tags.PRIVATE_KEY_TEMPLATE_ATTRIBUTE,
                    names=names,
                    masks=(enums.CryptographicUsageMask.DECRYPT,),
                ),
                public_key_template_attribute=self._template(
                    enums.Tags.PUBLIC_KEY_TEMPLATE_ATTRIBUTE,
                    names=tuple(name + _PUBLIC for name in names),
                    masks=(enums.CryptographicUsageMask.ENCRYPT,),
                ),
            ),
        )
        private: str = made.private_key_unique_identifier
        public: str = made.public_key_unique_identifier
        return private, public

    def make_mac_key(self, name: str) -> str:
        """Make and activate a key for HMAC with SHA-256."""
        try:
            key = self._make_secret(name, enums.CryptographicAlgorithm.HMAC_SHA256)
        except OperationFailure as failure:
            if failure.reason is not enums.ResultReason.INVALID_FIELD:
                raise
            # PyKMIP's server makes none, but MACs with whatever key it has.
            key = self._make_secret(name, enums.CryptographicAlgorithm.AES)
        self.activate(key)
        return key

    def find(self, kind: enums.ObjectType, name: str = "") -> list[str]:
        """Return the ids of all objects of a kind: all RSA keys, or those of a name."""
        wanted = [self._attribute(enums.AttributeType.OBJECT_TYPE, kind)]
        if name:
            wanted.append(self._attribute(enums.AttributeType.NAME, name))
        elif kind is enums.ObjectType.PRIVATE_KEY:
            rsa_keys = enums.CryptographicAlgorithm.RSA
            wanted.append(self._attribute(enums.AttributeType.CRYPTOGRAPHIC_ALGORITHM, rsa_keys))
        return self._located(wanted)

    def find_belonging(self, kind: enums.ObjectType, name: str) -> list[str]:
        """Return the ids of all objects of a kind that were made to belong to a name."""
        return self._located(
            [self._attribute(enums.AttributeType.OBJECT_TYPE, kind), self._belonging(name)]
        )

    def _located(self, wanted: list[objects.Attribute]) -> list[str]:
        found: dict[str, None] = {}
        offset = 0
        while True:
            page = self._ask(
                enums.Operation.LOCATE,
                payloads.LocateRequestPayload(
                    maximum_items=_PAGE, offset_items=offset, attributes=wanted
                ),
            ).unique_identifiers
            known = len(found)
            found.update(dict.fromkeys(page))
            # A server that knows no offset shows the same page again.
            if len(page) < _PAGE or len(found) == known:
                return list(found)
            offset += len(page)

    def held(self, key: str) -> _Held:
        """Return what the server says of an object."""
        answer = self._ask(
            enums.Operation.GET_ATTRIBUTES,
            payloads.GetAttributesRequestPayload(key, ["State", "Initial Date", "Name"]),
        )
        state, made, names = KeyState.DISABLED, 0, []
        for one in answer.attributes:
            name, value = one.attribute_name.value, one.attribute_value
            if name == "State":
                state = _STATES[value.value]
            elif name == "Initial Date":
                made = value.value
            elif name == "Name":
                names.append(value.name_value.value)
        return _Held(key, state, made, tuple(names))

    def public_half(self, key: str) -> rsa.PublicKey:
        """Return a public key.

        Raises:
            RefusedError: it is not one that is sealed to.
        """
        try:
            return rsa.PublicKey(self.material(key))
        except MalformedError as error:
            raise RefusedError(f"object {key} is no public half of a KMS key: {error}") from error

    def material(self, key: str) -> bytes:
        """Return the bytes of a key."""
        answer = self._ask(enums.Operation.GET, payloads.GetRequestPayload(key))
        try:
            material = answer.secret.key_block.key_value.key_material.value
        except AttributeError:
            raise _NoKmipError(f"key {key} in a form that is not asked for") from None
        return bytes(material)

    def decrypt(self, key: str, ciphertext: bytes, oaep: OaepHash) -> bytes:
        answer = self._ask(
            enums.Operation.DECRYPT,
            payloads.DecryptRequestPayload(
                key,
                attributes.CryptographicParameters(
                    cryptographic_algorithm=enums.CryptographicAlgorithm.RSA,
                    padding_method=enums.PaddingMethod.OAEP,
                    hashing_algorithm=_HASHES[oaep],
                ),
                ciphertext,
            ),
        )
        return bytes(answer.data)

    def mac(self, key: str, message: bytes) -> bytes:
        answer = self._ask(
            enums.Operation.MAC,
            payloads.MACRequestPayload(
                attributes.UniqueIdentifier(key),
                attributes.CryptographicParameters(
                    cryptographic_algorithm=enums.CryptographicAlgorithm.HMAC_SHA256
                ),
                objects.Data(message),
            ),
        )
        return bytes(answer.mac_data.value)

    def revoke(self, key: str) -> None:
        """Take an object that we made out of use."""
        reason = objects.RevocationReason(enums.RevocationReasonCode.CESSATION_OF_OPERATION)
        self._ask(
            enums.Operation.REVOKE,
            payloads.RevokeRequestPayload(attributes.UniqueIdentifier(key), reason),
        )

    def activate(self, key: str) -> None:
        identifier = attributes.UniqueIdentifier(key)
        self._ask(enums.Operation.ACTIVATE, payloads.ActivateRequestPayload(identifier))

    def _make_secret(self, name: str, algorithm: enums.CryptographicAlgorithm) -> str:
        masks = enums.CryptographicUsageMask
        made = self._ask(
            enums.Operation.CREATE,
            payloads.CreateRequestPayload(
                enums.ObjectType.SYMMETRIC_KEY,
                self._template(
                    enums.Tags.TEMPLATE_ATTRIBUTE,
                    algorithm,
                    256,
                    names=(name,),
                    masks=(masks.MAC_GENERATE, masks.MAC_VERIFY),
                ),
            ),
        )
        key: str = made.unique_identifier
        return key

    def _template(
        self,
        tag: enums.Tags,
        algorithm: enums.CryptographicAlgorithm | None = None,
        bits: int = 0,
        *,
        names: tuple[str, ...] = (),
        masks: tuple[enums.CryptographicUsageMask, ...] = (),
        belongs_to: str = "",
    ) -> objects.TemplateAttribute:
        kinds = enums.AttributeType
        wanted = [
            self._attribute(kinds.NAME, name, number or None) for number, name in enumerate(names)
        ]
        if algorithm:
            wanted.append(self._attribute(kinds.CRYPTOGRAPHIC_ALGORITHM, algorithm))
            wanted.append(self._attribute(kinds.CRYPTOGRAPHIC_LENGTH, bits))
        if masks:
            wanted.append(self._attribute(kinds.CRYPTOGRAPHIC_USAGE_MASK, list(masks)))
        if belongs_to:
            wanted.append(self._belonging(belongs_to))
        return objects.TemplateAttribute(attributes=wanted, tag=tag)

    def _belonging(self, name: str) -> objects.Attribute:
        return self._attribute(
            enums.AttributeType.APPLICATION_SPECIFIC_INFORMATION,
            {"application_namespace": _NAMESPACE, "application_data": name},
        )

    def _attribute(
        self, kind: enums.AttributeType, value: object, number: int | None = None
    ) -> objects.Attribute:
        return self._attributes.create_attribute(kind, value, number)

    def _ask(self, operation: enums.Operation, payload: object) -> Any:  # noqa: ANN401
        """Return the payload of the answer, a class of PyKMIP's for each operation."""
        try:
            return self._proxy.send_request_payload(operation, payload)
        except (OperationFailure, OSError, EOFError, RequestLengthMismatch):
            raise
        except Exception as error:  # noqa: BLE001 - PyKMIP's parsers raise whatever they meet
            # Not chained: the answer may have a private key.
            raise _NoKmipError(type(error).__name__) from None


class _Proxy(KMIPProxy):  # type: ignore[misc]  # PyKMIP has no types
    """PyKMIP's connection, but for what it does on the way to one.

    Its own checks no host name, reads configuration files and knows IPv4 only.
    """

    socket: ssl.SSLSocket | None

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        super().__init__(host, port, kmip_version=enums.KMIPVersion.KMIP_1_4)
        self._context = context

    def _set_variables(self, host: str, port: int, *_: object) -> None:
        self.host, self.port = host, port
        self.username = self.password = None

    def open(self) -> None:
        plain = socket.create_connection((self.host, self.port), CALL_SECONDS)
        try:
            self.socket = self._context.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise
        self.protocol = KMIPProtocol(self.socket)

    def close(self) -> None:
        if self.socket:
            self.socket.close()
            self.socket = None


def _tls(credentials: Credentials) -> ssl.SSLContext:
    """Return how a server is to show itself, and we to it.

    Raises:
        InvalidInputError: certificates or key cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    assert credentials.key is not None  # `KmipKms` takes no others
    try:
        if credentials.authorities:
            with _in_memory(credentials.authorities) as path:
                context.load_verify_locations(path)
        else:
            context.load_default_certs()
        if _CRL in credentials.authorities:
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        with (
            _in_memory(credentials.certificate) as ours,
            _in_memory(credentials.key.expose()) as key,
        ):
            # With a password given, a key that needs one is an error and no question.
            context.load_cert_chain(ours, key, "")
    except ssl.SSLError as error:
        raise InvalidInputError(
            f"the certificates for a KMS of kind kmip cannot be used: {error.reason}",
            hint="certificate, key and authorities are PEM; the key has no passphrase",
        ) from error
    return context


@contextmanager
def _in_memory(text: bytes) -> Iterator[str]:
    """Give a path to bytes that touch no disk: the library takes nothing else."""
    descriptor = os.memfd_create("strongroom", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(text)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
