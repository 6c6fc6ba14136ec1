"""A token behind a PKCS#11 module: a hardware security module, a smart card, SoftHSM.

A key is a pair of objects with one label, the name, and one CKA_ID, which is the key's id here.
The newest of a name is the one with the latest CKA_START_DATE and, among those, with the greatest
CKA_ID; what is made here gets an id above all that are there. The public half is read from the
private object, so that no two halves are ever mixed.

A module is loaded once into a process, and whoever logs in logs the whole process in. So calls
take turns, and each logs in and out again. A module cannot be interrupted: how long a call may
take, its own configuration says.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from strongroom.clock import SystemClock, to_microseconds
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
from strongroom.kms.base import VOUCHING_PREFIX, KeyState, KmsKey, missing_library

try:
    import pkcs11
    from pkcs11 import MGF, Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
    from pkcs11 import exceptions as refusals
except ImportError as error:
    raise missing_library("pkcs11", error) from error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.kms.base import Surroundings
    from strongroom.kms.location import Address

_turns: Final = threading.Lock()
_COUNTER: Final = 8
_RANDOM: Final = 8
_HASHES: Final = {
    OaepHash.SHA256: (Mechanism.SHA256, MGF.SHA256, None),
    OaepHash.SHA1: (Mechanism.SHA_1, MGF.SHA1, None),
}
"""In the order in which they are tried; SoftHSM knows SHA-1 only."""
_AWAY: Final = (
    refusals.DeviceError,
    refusals.DeviceMemory,
    refusals.DeviceRemoved,
    # Whatever else it is, it is no answer: SoftHSM says it of a token that was taken away.
    refusals.GeneralError,
    refusals.HostMemory,
    refusals.NoSuchToken,
    refusals.SessionClosed,
    refusals.SessionCount,
    refusals.SessionHandleInvalid,
    refusals.SlotIDInvalid,
    refusals.TokenNotPresent,
    refusals.TokenNotRecognised,
)
_UNKNOWN_HASH: Final = (
    refusals.ArgumentsBad,
    refusals.MechanismInvalid,
    refusals.MechanismParamInvalid,
)
_UNDECIPHERED: Final = (
    refusals.DataInvalid,
    refusals.DataLenRange,
    refusals.EncryptedDataInvalid,
    refusals.EncryptedDataLenRange,
    # What SoftHSM says of a ciphertext that does not open, and of anything else.
    refusals.GeneralError,
    refusals.FunctionFailed,
)


class Pkcs11Kms:
    """Keys on one token."""

    kind = "pkcs11"
    can_vouch = True

    def __init__(self, address: Address, surroundings: Surroundings) -> None:
        """Load nothing yet.

        Raises:
            InvalidInputError: there is no PIN, or it is no text.
        """
        if surroundings.credentials.secret is None:
            raise InvalidInputError("a KMS of kind pkcs11 knows us by a PIN")
        self._address = address
        try:
            surroundings.credentials.secret.expose().decode()
        except UnicodeDecodeError:
            # Not chained: it has the PIN.
            raise InvalidInputError("the PIN of a token is text in UTF-8") from None
        self._pin = surroundings.credentials.secret
        self._refused = False
        """Whether the token refused our PIN: a few more attempts would lock it."""

    @property
    def endpoint(self) -> str:
        return self._address.url

    def make_key(self, name: str, bits: int) -> KmsKey:
        with self._session(f"make key {name}", writes=True) as session:
            start = _next_start(session, name)
            _, private = session.generate_keypair(
                KeyType.RSA,
                bits,
                id=_next_id(session, ObjectClass.PRIVATE_KEY, name),
                label=name,
                store=True,
                capabilities=0,
                public_template={Attribute.ENCRYPT: True, Attribute.PRIVATE: False, **start},
                private_template={
                    Attribute.DECRYPT: True,
                    Attribute.SENSITIVE: True,
                    Attribute.EXTRACTABLE: False,
                    **start,
                },
            )
            return self._whole(private)

    def newest_key(self, name: str) -> KmsKey:
        with self._session(f"look for key {name}") as session:
            held = _held(session, ObjectClass.PRIVATE_KEY, {Attribute.LABEL: name})
            starts = _starts(session, name)
            held.sort(key=lambda one: (starts.get(_id(one), ""), _id(one)), reverse=True)
            for private in held:
                if _state(private).opens:
                    return self._whole(private)
        raise NotFoundError(f"no key {name} opens anything at {self.endpoint}")

    def rotate(self, name: str, bits: int) -> KmsKey:
        return self.make_key(name, bits)

    def state(self, key: str) -> KeyState:
        with self._session(f"ask for the state of key {key}") as session:
            try:
                return _state(self._one(session, ObjectClass.PRIVATE_KEY, key))
            except NotFoundError:
                return KeyState.DESTROYED

    def decrypt(self, key: str, ciphertext: bytes, oaep: OaepHash) -> bytes:
        with self._session(f"decrypt with key {key}") as session:
            private = self._one(session, ObjectClass.PRIVATE_KEY, key)
            state = _state(private)
            if not state.opens:
                raise RefusedError(f"key {key} is {state} at {self.endpoint}", key=key)
            try:
                return _decrypt(private, ciphertext, oaep)
            except _UNDECIPHERED as error:
                # A module has few words for what went wrong; a token of our own tells.
                if not _opens(private, _public(private), oaep):
                    raise
                raise UnlockError(
                    f"this was not encrypted to key {key} of {self.endpoint}, or was altered"
                ) from error

    def keys(self) -> Iterator[str]:
        with self._session("list keys") as session:
            held = _held(session, ObjectClass.PRIVATE_KEY, {Attribute.KEY_TYPE: KeyType.RSA})
            return iter([_id(one).hex() for one in held])

    def make_vouching_key(self, name: str) -> str:
        with self._session(f"make vouching key {name}", writes=True) as session:
            identifier = _next_id(session, ObjectClass.SECRET_KEY, name)
            key = session.generate_key(
                KeyType.GENERIC_SECRET,
                256,
                id=identifier,
                label=name,
                store=True,
                capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
                template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
            )
            # Now, and not when somebody has to be vouched for.
            key.sign(b"strongroom", mechanism=Mechanism.SHA256_HMAC)
            return identifier.hex()

    def vouching_keys(self) -> Iterator[str]:
        with self._session("list vouching keys") as session:
            held = _held(session, ObjectClass.SECRET_KEY, {})
            return iter(
                [_id(one).hex() for one in held if one[Attribute.LABEL].startswith(VOUCHING_PREFIX)]
            )

    def mac(self, key: str, message: bytes) -> bytes:
        with self._session(f"make a MAC with key {key}") as session:
            held = self._one(session, ObjectClass.SECRET_KEY, key)
            return bytes(held.sign(message, mechanism=Mechanism.SHA256_HMAC))

    def verify_mac(self, key: str, message: bytes, mac: bytes) -> bool:
        with self._session(f"verify a MAC with key {key}") as session:
            held = self._one(session, ObjectClass.SECRET_KEY, key)
            return bool(held.verify(message, mac, mechanism=Mechanism.SHA256_HMAC))

    def close(self) -> None:
        """No session outlives its call."""

    def _whole(self, private: Any) -> KmsKey:  # noqa: ANN401 - classes of the module's own
        """Return a key as those who seal to it need it.

        Raises:
            RefusedError: it opens with no hash that we know, or is of a size we do not seal to.
        """
        key = _id(private).hex()
        public = _public(private)
        for oaep in _HASHES:
            with suppress(*_UNKNOWN_HASH):
                if _opens(private, public, oaep):
                    return KmsKey(key, public.der, oaep)
        raise RefusedError(
            f"key {key} of {self.endpoint} opens nothing that is sealed to it with OAEP",
            hint="the token has to know CKM_RSA_PKCS_OAEP with SHA-256 or SHA-1",
            key=key,
        )

    def _one(self, session: Any, kind: ObjectClass, key: str) -> Any:  # noqa: ANN401 - as above
        """Return the object of an id.

        Raises:
            NotFoundError: there is none.
            RefusedError: there are several.
        """
        try:
            identifier = bytes.fromhex(key)
        except ValueError as error:
            raise NotFoundError(f"{key} is no id of a key at {self.endpoint}") from error
        found = _held(session, kind, {Attribute.ID: identifier})
        if not found:
            raise NotFoundError(f"there is no key {key} at {self.endpoint}", key=key)
        if len(found) > 1:
            raise RefusedError(
                f"{len(found)} keys have the id {key} at {self.endpoint}",
                hint="give each key a CKA_ID of its own",
                key=key,
            )
        return found[0]

    # --- session and errors -------------------------------------------------------------------

    @contextmanager
    def _session(self, doing: str, *, writes: bool = False) -> Iterator[Any]:
        """Log in for one call, and turn the module's errors into ours."""
        where = self.endpoint
        if self._refused:
            raise self._wrong_pin(doing)
        with _turns:
            try:
                session = self._token().open(rw=writes, user_pin=self._pin.expose().decode())
                try:
                    yield session
                finally:
                    # A token that was pulled out has no session to end.
                    with suppress(refusals.PKCS11Error):
                        session.close()
            except (refusals.PinIncorrect, refusals.PinInvalid, refusals.PinLenRange) as error:
                self._refused = True
                raise self._wrong_pin(doing) from error
            except (refusals.PinLocked, refusals.PinExpired) as error:
                raise RefusedError(
                    f"cannot {doing}: the PIN of {where} is locked or has expired",
                    hint="the token's security officer sets a new one",
                ) from error
            except refusals.MultipleTokensReturned as error:
                raise InvalidInputError(
                    f"{where} names several tokens", hint="add ;serial=… to the address"
                ) from error
            except _AWAY as error:
                raise KmsUnavailableError(
                    f"cannot {doing}: {where} does not answer: {_said(error)}"
                ) from error
            except refusals.PKCS11Error as error:
                raise RefusedError(f"cannot {doing} at {where}: {_said(error)}") from error
            except MalformedError as error:
                raise RefusedError(f"cannot {doing} at {where}: {error}") from error

    def _token(self) -> Any:  # noqa: ANN401 - as above
        options = self._address.options
        wanted: dict[str, object] = {}
        if "token" in options:
            wanted["token_label"] = options["token"]
        if "serial" in options:
            wanted["token_serial"] = options["serial"].encode()
        try:
            module = pkcs11.lib(options["module-path"])
        except refusals.PKCS11Error as error:
            raise KmsUnavailableError(
                f"the PKCS#11 module of {self.endpoint} does not load: {_said(error)}"
            ) from error
        return module.get_token(**wanted)

    def _wrong_pin(self, doing: str) -> RefusedError:
        return RefusedError(
            f"cannot {doing}: {self.endpoint} refuses the PIN; it is not tried again",
            hint="a token locks after a few wrong PINs: give the right one before the next attempt",
        )


def _said(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()


def _held(session: Any, kind: ObjectClass, wanted: dict[Attribute, object]) -> list[Any]:  # noqa: ANN401 - as above
    """Return the objects of a kind that have an id."""
    found = session.get_objects({Attribute.CLASS: kind, **wanted})
    return [one for one in found if _id(one)]


def _id(held: Any) -> bytes:  # noqa: ANN401 - as above
    return bytes(held[Attribute.ID])


def _label(held: Any) -> str:  # noqa: ANN401 - as above
    with suppress(UnicodeDecodeError, refusals.AttributeTypeInvalid):
        return str(held[Attribute.LABEL])
    return ""


def _state(private: Any) -> KeyState:  # noqa: ANN401 - as above
    return KeyState.ACTIVE if private[Attribute.DECRYPT] else KeyState.DISABLED


def _starts(session: Any, name: str) -> dict[bytes, str]:  # noqa: ANN401 - as above
    """Return the start dates of the keys of a name, by id, as either half has them."""
    found: dict[bytes, str] = {}
    for kind in (ObjectClass.PUBLIC_KEY, ObjectClass.PRIVATE_KEY):
        for one in _held(session, kind, {Attribute.LABEL: name}):
            # The library reads no empty date, and SoftHSM none of a private half.
            with suppress(ValueError, refusals.PKCS11Error):
                found[_id(one)] = one[Attribute.START_DATE].isoformat()
    return found


def _next_id(session: Any, kind: ObjectClass, name: str) -> bytes:  # noqa: ANN401 - as above
    """Return an id above those of all keys of a name.

    Raises:
        RefusedError: there is none.
    """
    held = _held(session, kind, {Attribute.LABEL: name})
    above = [int.from_bytes(_id(one)[:_COUNTER].ljust(_COUNTER, b"\0")) + 1 for one in held]
    counter = max([to_microseconds(SystemClock().now()), *above])
    if counter >= 1 << 8 * _COUNTER:
        raise RefusedError(f"no id is above those of the keys {name}", hint="use another name")
    return counter.to_bytes(_COUNTER) + random.token(_RANDOM)


def _next_start(session: Any, name: str) -> dict[Attribute, date]:  # noqa: ANN401 - as above
    """Return the start of the next key of a name; none where no other has one."""
    starts = [date.fromisoformat(start) for start in _starts(session, name).values()]
    if not starts:
        return {}
    return {Attribute.START_DATE: max([SystemClock().now().date(), *starts])}


def _public(private: Any) -> rsa.PublicKey:  # noqa: ANN401 - as above
    return rsa.PublicKey.from_numbers(
        int.from_bytes(private[Attribute.MODULUS]),
        int.from_bytes(private[Attribute.PUBLIC_EXPONENT]),
    )


def _decrypt(private: Any, ciphertext: bytes, oaep: OaepHash) -> bytes:  # noqa: ANN401 - as above
    mechanism = Mechanism.RSA_PKCS_OAEP
    opened = private.decrypt(ciphertext, mechanism=mechanism, mechanism_param=_HASHES[oaep])
    return bytes(opened)


def _opens(private: Any, public: rsa.PublicKey, oaep: OaepHash) -> bool:  # noqa: ANN401 - as above
    token = random.token(32)
    try:
        return _decrypt(private, public.encrypt(token, oaep), oaep) == token
    except _UNDECIPHERED:
        return False
