"""Keys at AWS KMS.

    name ──alias──▶ the newest key        a tag has the name too, and every key keeps its tag

RSA keys do not rotate there by themselves: the next one is another key, to which the alias is
moved, and the one before goes on opening what is sealed to it. An alias holds fewer characters
than a name, so the others become dashes.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

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
    import boto3
    from botocore import exceptions as aws_errors
    from botocore.config import Config
except ImportError as error:
    raise missing_library("aws", error) from error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.kms.base import Surroundings
    from strongroom.kms.location import Address

TAG: Final = "strongroom"
"""The tag that holds a key's name: what a policy can tell our keys from others by."""

_SPECS: Final = {f"RSA_{bits}": bits for bits in SIZES}
_ALGORITHMS: Final = {
    OaepHash.SHA1: "RSAES_OAEP_SHA_1",
    OaepHash.SHA256: "RSAES_OAEP_SHA_256",
}
_STATES: Final = {
    "Enabled": KeyState.ACTIVE,
    "Updating": KeyState.ACTIVE,
    "PendingDeletion": KeyState.CONDEMNED,
    "PendingReplicaDeletion": KeyState.CONDEMNED,
}
"""All others open nothing until the administrator does something."""
_BUSY: Final = {
    "DependencyTimeoutException",
    "KMSInternalException",
    "KeyUnavailableException",
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
_DENIED: Final = {"AccessDenied", "AccessDeniedException"}
_UNKNOWN: Final = {
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_UNUSABLE: Final = {"DisabledException", "KMSInvalidStateException"}
_NOT_IN_ALIASES: Final = re.compile(r"[^A-Za-z0-9/_-]")
_ACTION: Final = re.compile(r"\bkms:[A-Za-z]+")
_SERVER_ERROR: Final = 500


class AwsKms:
    """The keys of one account in one region."""

    kind = "aws"
    can_vouch = True

    def __init__(self, address: Address, surroundings: Surroundings) -> None:
        """Connect to nothing yet.

        Raises:
            InvalidInputError: there is an access key id without its secret, or the reverse.
        """
        self.endpoint: Final = address.url
        self._region = address.host
        self._options = address.options
        self._credentials = surroundings.credentials
        if bool(self._credentials.account) != bool(self._credentials.secret):
            raise InvalidInputError(
                f"{self.endpoint} has only one of access key id and secret access key",
                hint="give both, or neither for those of the environment or of this machine's role",
            )
        self._client: Any = None
        self._authorities: MemoryFile | None = None

    def make_key(self, name: str, bits: int) -> KmsKey:
        with self._asking(f"make a key {name}"):
            key = self._create(name, f"RSA_{bits}", "ENCRYPT_DECRYPT", "opens backups")
            self._point(name, key)
            return self._public_half(key)

    def newest_key(self, name: str) -> KmsKey:
        with self._asking(f"find the key {alias(name)}"):
            found = self._connected().describe_key(KeyId=alias(name))["KeyMetadata"]
            if found["KeySpec"] not in _SPECS or found["KeyUsage"] != "ENCRYPT_DECRYPT":
                raise RefusedError(
                    f"{alias(name)} at {self.endpoint} is a key of kind {found['KeySpec']} for "
                    f"{found['KeyUsage']}, to which nothing of ours can be sealed",
                    hint=f"a key here is {' or '.join(_SPECS)} for ENCRYPT_DECRYPT",
                )
            if not _state(found).opens:
                raise NotFoundError(
                    f"{alias(name)} at {self.endpoint} is key {found['KeyId']}, which is "
                    f"{found['KeyState']} and opens nothing"
                )
            return self._public_half(found["KeyId"])

    def rotate(self, name: str, bits: int) -> KmsKey:
        with self._asking(f"rotate the key {alias(name)}"):
            self._connected().describe_key(KeyId=alias(name))
        return self.make_key(name, bits)

    def state(self, key: str) -> KeyState:
        try:
            with self._asking(f"ask for the state of key {key}"):
                return _state(self._connected().describe_key(KeyId=key)["KeyMetadata"])
        except NotFoundError:
            return KeyState.DESTROYED

    def decrypt(self, key: str, ciphertext: bytes, oaep: OaepHash) -> bytes:
        with self._asking(f"decrypt with key {key}"):
            plaintext: bytes = self._connected().decrypt(
                KeyId=key, CiphertextBlob=ciphertext, EncryptionAlgorithm=_ALGORITHMS[oaep]
            )["Plaintext"]
            return plaintext

    def keys(self) -> Iterator[str]:
        # Keys of other kinds too: to leave them out takes a call for each.
        with self._asking("list the keys"):
            for page in self._connected().get_paginator("list_keys").paginate():
                for key in page["Keys"]:
                    yield key["KeyId"]

    def make_vouching_key(self, name: str) -> str:
        with self._asking(f"make a key {name}"):
            key = self._create(name, "HMAC_256", "GENERATE_VERIFY_MAC", "vouches for a server")
            self._point(name, key)
            return key

    def vouching_keys(self) -> Iterator[str]:
        with self._asking("list the aliases"):
            for page in self._connected().get_paginator("list_aliases").paginate():
                for one in page["Aliases"]:
                    if one["AliasName"].startswith(alias(VOUCHING_PREFIX)) and "TargetKeyId" in one:
                        yield one["TargetKeyId"]

    def mac(self, key: str, message: bytes) -> bytes:
        with self._asking(f"make a MAC with key {key}"):
            mac: bytes = self._connected().generate_mac(
                KeyId=key, Message=message, MacAlgorithm="HMAC_SHA_256"
            )["Mac"]
            return mac

    def verify_mac(self, key: str, message: bytes, mac: bytes) -> bool:
        with self._asking(f"verify a MAC with key {key}"):
            client = self._connected()
            try:
                valid: bool = client.verify_mac(
                    KeyId=key, Message=message, MacAlgorithm="HMAC_SHA_256", Mac=mac
                )["MacValid"]
            except client.exceptions.KMSInvalidMacException:
                return False
            return valid

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._authorities is not None:
            self._authorities.close()
            self._authorities = None

    def _connected(self) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
        if self._client is None:
            secret = self._credentials.secret
            session = boto3.session.Session(
                aws_access_key_id=self._credentials.account or None,
                aws_secret_access_key=secret.expose().decode() if secret is not None else None,
                region_name=self._region,
                profile_name=self._options.get("profile"),
            )
            if self._credentials.authorities:
                self._authorities = MemoryFile(self._credentials.authorities)
            self._client = session.client(
                "kms",
                endpoint_url=self._options.get("endpoint"),
                verify=self._authorities.path if self._authorities else system_authorities(),
                config=Config(
                    connect_timeout=CALL_SECONDS,
                    read_timeout=CALL_SECONDS,
                    # The next endpoint is a better second attempt.
                    retries={"total_max_attempts": 1, "mode": "standard"},
                ),
            )
        return self._client

    def _create(self, name: str, spec: str, usage: str, purpose: str) -> str:
        made = self._connected().create_key(
            KeySpec=spec,
            KeyUsage=usage,
            Description=f"Strongroom: {purpose} ({name})",
            Tags=[{"TagKey": TAG, "TagValue": name}],
        )
        key: str = made["KeyMetadata"]["KeyId"]
        return key

    def _point(self, name: str, key: str) -> None:
        """Make a name's alias lead to a key that was just made.

        Raises:
            RefusedError: we may not; the key is left over, and named.
        """
        client = self._connected()
        try:
            with self._asking(f"give key {key} the alias {alias(name)}"):
                try:
                    client.create_alias(AliasName=alias(name), TargetKeyId=key)
                except client.exceptions.AlreadyExistsException:
                    client.update_alias(AliasName=alias(name), TargetKeyId=key)
        except RefusedError as error:
            raise RefusedError(
                f"{error}; key {key} was made, seals nothing and can be deleted",
                hint=error.hint,
                **error.fields,
            ) from error

    def _public_half(self, key: str) -> KmsKey:
        public: bytes = self._connected().get_public_key(KeyId=key)["PublicKey"]
        return KmsKey(key, public, OaepHash.SHA256)

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Turn the library's errors into ours.

        Args:
            what: What is being done, to follow *cannot*.
        """
        cannot = f"{self.endpoint}: cannot {what}"
        try:
            yield
        except aws_errors.ClientError as error:
            raise _answer(cannot, error) from error
        except aws_errors.SSLError as error:
            raise KmsUnavailableError(
                f"{cannot}: {error}",
                hint="if its certificate is signed by an authority of your own, name that",
            ) from None  # a request stands in it, signed with our credentials
        except (
            aws_errors.HTTPClientError,
            aws_errors.ConnectionError,
            aws_errors.IncompleteReadError,
        ) as error:
            raise KmsUnavailableError(f"{cannot}: {error}") from None  # likewise
        except aws_errors.BotoCoreError as error:
            # No credentials, no such profile, no such region: nothing was sent.
            raise RefusedError(f"{cannot}: {error}") from error


def alias(name: str) -> str:
    """Return the alias under which the newest key of a name stands."""
    return "alias/" + _NOT_IN_ALIASES.sub("-", name)


def _state(metadata: dict[str, Any]) -> KeyState:
    return _STATES.get(metadata["KeyState"], KeyState.DISABLED)


def _answer(cannot: str, error: Any) -> StrongroomError:  # noqa: ANN401 - a ClientError
    """Return what an answer that is an error means."""
    code = error.response["Error"].get("Code", "")
    said = f"{cannot}: {error.response['Error'].get('Message') or code}"
    if code == "NotFoundException":
        return NotFoundError(said)
    if code == "InvalidCiphertextException":
        return UnlockError(f"{cannot}: it was encrypted to another key, or altered")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _BUSY or status >= _SERVER_ERROR:
        return KmsUnavailableError(said)
    if code in _DENIED:
        named = _ACTION.search(said)
        right = named[0] if named else f"kms:{error.operation_name}"
        return RefusedError(
            said, hint=f"our policy there lacks {right} (docs/operations/kms-aws.md)", right=right
        )
    if code in _UNKNOWN:
        return RefusedError(said, hint="the access key is not valid there, or not any longer")
    if code in _UNUSABLE:
        return RefusedError(said, hint="the administrator of the account can make it usable again")
    return RefusedError(said if code in said else f"{said} ({code})")
