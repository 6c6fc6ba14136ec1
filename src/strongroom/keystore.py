"""What the server may keep of keys, sealed under its key file.

    key file ┐                          identities/  passwords/  recovery-kits/
    machine  ├─ HKDF ─▶ keystore key ─▶     kms/  kms-keys/  credentials/  chains/  requests/
    passphrase, if there is one ┘           opened-points/, one sealed file for each record
                                        metakeys/<chain>/<session>, one sealed file for each

Whoever copies the folder, or moves it to another machine, has nothing. Each file is bound to
its kind and name, so none can stand in for another; names of files tell nothing. A record
appears whole or not at all, is durable once `put` returns, and is readable by its owner only.

What may be kept, and what a write-only password forbids to keep, is for `control` to decide: a
field that must not be kept is none. An older record put back by someone who can write to the
server's disk is not noticed here; the signed head in the repository shows it.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import msgspec

from strongroom.crypto import aead, random
from strongroom.crypto.content import fingerprint
from strongroom.crypto.envelope import PackedSecrets
from strongroom.crypto.hpke import PublicKey
from strongroom.crypto.kdf import MINIMUM, SALT_LENGTH, Argon2Parameters, derive_seed, expand
from strongroom.crypto.keys import (
    KEY_LENGTH,
    AuditKey,
    DedupKey,
    MetaKey,
    Password,
    SecretBytes,
    Seed,
)
from strongroom.crypto.labels import bind
from strongroom.crypto.recipients import PasswordRecipient, RecoveryRecipient
from strongroom.durable import sync_folder, write_new
from strongroom.errors import (
    ConflictError,
    IntegrityError,
    InvalidInputError,
    KeystoreLockedError,
    NotFoundError,
    RefusedError,
    StorageFullError,
    UnsupportedVersionError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CREDENTIAL: Final = "strongroom-key"
"""The name of the systemd credential that can stand in place of the key file."""

_LABEL: Final = "keystore"
_CHECK: Final = "keystore.check"
_CHECK_CONTENT: Final = b"strongroom keystore 1"
_METAKEYS: Final = "metakeys"
_MAKING: Final = ".making"
_MADE: Final = ".reprotected"
_REPLACED: Final = ".replaced"
_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_OTHERS: Final = 0o077
_MAX_RECORD: Final = 1 << 20


class KeystoreKey(SecretBytes):
    """Seals the keystore; never touches a backup."""

    __slots__ = ()
    length = KEY_LENGTH


class KeyFile:
    """The secret of this machine: 32 random bytes that only the service's user can read."""

    def __init__(self, content: bytes) -> None:
        self._content = SecretBytes(content)

    @classmethod
    def create(cls, path: Path, *, home: Path | None = None) -> KeyFile:
        """Write a fresh key file.

        Args:
            path: Where; nothing may be there yet.
            home: The folder where Strongroom keeps its state: whoever copies that folder must
                not get the key with it, so the key file has to lie elsewhere.

        Raises:
            InvalidInputError: `path` lies in `home`.
            ConflictError: there is a file; what is sealed under it must not be lost.
        """
        _check_apart(path, home)
        content = random.token(KEY_LENGTH)
        with _explaining(f"create the key file {path}"):
            _make_folder(path.parent)
            _write_whole(path, content, replace=False)
        return cls(content)

    @classmethod
    def load(cls, path: Path, *, home: Path | None = None) -> KeyFile:
        """Read a key file.

        Raises:
            InvalidInputError: `path` lies in `home`.
            KeystoreLockedError: it is missing, can be read by others, or is none.
        """
        _check_apart(path, home)
        return cls(_read_key_file(path))

    @classmethod
    def from_credential(cls, folder: Path) -> KeyFile:
        """Read the key from systemd's credentials, `$CREDENTIALS_DIRECTORY`, instead of a file.

        Raises:
            KeystoreLockedError: it is missing, can be read by others, or is none.
        """
        return cls(_read_key_file(folder / CREDENTIAL))

    def key(self, machine_id: bytes, passphrase: Password | None = None) -> KeystoreKey:
        """Return the key of the keystore on the machine that has `machine_id`.

        Args:
            machine_id: The content of `/etc/machine-id`.
            passphrase: What has to be typed as well, where the operator asked for that.

        Raises:
            InvalidInputError: the machine has no id, so the keystore would be bound to none.
        """
        machine = machine_id.strip()
        if not machine:
            raise InvalidInputError("this machine has no id to bind the keystore to")
        secret = self._content.expose()
        if passphrase is not None:
            salt = expand(self._content, "keystore passphrase", SALT_LENGTH)
            secret += derive_seed(passphrase, salt, MINIMUM).expose()
        bound_to = fingerprint(bind("keystore machine", machine))
        return KeystoreKey(expand(SecretBytes(secret), _LABEL, KEY_LENGTH, bound_to))


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something the keystore keeps. It is sealed when stored, and never shows its fields."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} redacted>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is not to be serialised")


class IdentityRecord(Record, frozen=True, kw_only=True):
    """What the server signs with."""

    seed: Seed


class PasswordRecord(Record, frozen=True, kw_only=True):
    """A password as a recipient, and, unless it is write-only, the secret itself."""

    name: str
    hint: str
    salt: bytes
    parameters: Argon2Parameters
    public: bytes
    vouch: bytes
    seed: Seed | None
    """None for a write-only password: nothing on the server opens what is sealed to it."""
    created_at: datetime

    def recipient(self) -> PasswordRecipient:
        """Return the recipient that chains are sealed to."""
        public = PublicKey(self.public)
        return PasswordRecipient(public, self.salt, self.parameters, self.hint, self.vouch)


class RecoveryRecord(Record, frozen=True, kw_only=True):
    """A recovery kit as a recipient; its private half is never here."""

    name: str
    public: bytes
    vouch: bytes
    created_at: datetime
    local_half: Seed
    """Derived from the kit and leading nowhere back: what a KMS's key can be made to need too."""

    def recipient(self) -> RecoveryRecipient:
        """Return the recipient that chains are sealed to."""
        return RecoveryRecipient(PublicKey(self.public), self.name, self.vouch)


class KmsRecord(Record, frozen=True, kw_only=True):
    """What a KMS is to know us by, and its word for our identity. Its name is the KMS's id."""

    account: str
    secret: SecretBytes | None
    certificate: bytes
    key: SecretBytes | None
    authorities: bytes
    vouch: bytes
    """Empty where it cannot vouch."""


class KmsKeyRecord(Record, frozen=True, kw_only=True):
    """A key at a KMS as those who seal to it need it; its other half is never here.

    Its name is the KMS's id in hexadecimal, a slash, and the key's id there.
    """

    public: bytes
    """SubjectPublicKeyInfo, DER."""
    oaep: int


class CredentialRecord(Record, frozen=True, kw_only=True):
    """What a place elsewhere is to know us by. Its name is the credential's id."""

    account: str
    secret: SecretBytes


class ChainRecord(Record, frozen=True, kw_only=True):
    """What the next session of a chain needs to compare and to seal; metakeys lie apart.

    Its name is the chain's id in hexadecimal.
    """

    chain_id: bytes
    dedup_key: DedupKey
    chunker_seed: int
    chain_key_public: bytes
    chain_key_seed: Seed | None
    """None where a secret is write-only: with it the server could read every past point."""


class HeadRecord(Record, frozen=True, kw_only=True):
    """The newest journal entry this server knows of, of a job or a chain."""

    chain_id: bytes
    number: int
    entry_hash: bytes


class AuditHeadRecord(Record, frozen=True, kw_only=True):
    """The newest line of the audit log: what the log is cut against."""

    number: int
    tag: bytes


class AuditKeyRecord(Record, frozen=True, kw_only=True):
    """The audit log's key, where it is none that this keystore's own key yields.

    So it is where the keystore was sealed anew: the log goes on, and so has its key to.
    """

    key: AuditKey


class Exported(msgspec.Struct, frozen=True):
    """All that a keystore keeps, in plain: to be sealed again at once, for somebody or somewhere.

    It never shows its fields.
    """

    records: list[tuple[str, bytes]]
    """The kind's folder, and the record with its name."""
    metakeys: list[tuple[bytes, bytes, bytes]]
    """Chain id, session id, metakey."""

    def __repr__(self) -> str:
        return "<Exported redacted>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []

    def __reduce__(self) -> NoReturn:
        raise TypeError("Exported is not to be serialised")


class RequestRecord(Record, frozen=True, kw_only=True):
    """A recovery request that waits for its response; its name is the request's hash."""

    chain_id: bytes
    point_id: bytes
    where: str | None
    """Name or location of the repository; None means those of the catalog."""
    seed: Seed
    """Of the key pair that the response is sealed to."""
    made_at: datetime


class OpenedPointRecord(Record, frozen=True, kw_only=True):
    """The keys that a recovery response brought, for one point; its name is the point's id."""

    chain_id: bytes
    point_id: bytes
    expires_at: datetime
    sessions: dict[bytes, PackedSecrets]
    """By session id: every session that the point uses."""


R = TypeVar("R", bound=Record)

_FOLDERS: Final[dict[type[Record], str]] = {
    IdentityRecord: "identities",
    PasswordRecord: "passwords",
    RecoveryRecord: "recovery-kits",
    KmsRecord: "kms",
    KmsKeyRecord: "kms-keys",
    CredentialRecord: "credentials",
    ChainRecord: "chains",
    HeadRecord: "heads",
    AuditHeadRecord: "audit",
    AuditKeyRecord: "audit-key",
    RequestRecord: "requests",
    OpenedPointRecord: "opened-points",
}


_STAYS_HERE: Final = (AuditHeadRecord, AuditKeyRecord, RequestRecord, OpenedPointRecord)
"""The audit log is this home's own, and a recovery response is for one machine."""
_AUDIT_KEY: Final = "key"


class Keystore:
    """Sealed records by kind and name, and metakeys by chain and session, in one folder."""

    def __init__(self, path: Path, key: KeystoreKey) -> None:
        """Open the keystore at `path`, or begin one where nothing is yet.

        Raises:
            KeystoreLockedError: it was sealed under another key file, on another machine, or
                with another passphrase.
            IntegrityError: there are records, and what tells which key they need is gone.
        """
        self._path = path
        self._key = key
        self._names_key = expand(key, "keystore names", KEY_LENGTH)
        with _explaining(f"open the keystore {path}"):
            self._check()

    @property
    def audit_key(self) -> AuditKey:
        """What the audit log's lines are authenticated with: the key file's, as all is here."""
        with suppress(NotFoundError):
            return self.get(AuditKeyRecord, _AUDIT_KEY).key
        return AuditKey(expand(self._key, "audit log", KEY_LENGTH))

    def get(self, kind: type[R], name: str) -> R:
        """Return the record of a kind that has `name`.

        Raises:
            NotFoundError: there is none.
            IntegrityError: it was altered, or is another's.
        """
        file = self._file(kind, name)
        with _explaining(f"read {file}"):
            try:
                sealed = _read(file)
            except FileNotFoundError as error:
                raise NotFoundError(f"the keystore has no {_shown(kind)} {name!r}") from error
        return self._opened(kind, file, sealed)[1]

    def put(self, name: str, record: Record, *, durable: bool = True) -> None:
        """Store `record` under `name`, in place of the one of that kind that has the name.

        Args:
            name: Of the record.
            record: What to keep.
            durable: A power cut may not bring the one before back.

        Raises:
            ValueError: a chain's record has another name than its id in hexadecimal.
        """
        kind = type(record)
        if isinstance(record, ChainRecord) and name != record.chain_id.hex():
            raise ValueError("the record of a chain has the chain's id as its name")
        file = self._file(kind, name)
        payload = _encoder.encode((name, record))
        self._store(file, payload, self._context(kind, file), durable=durable)

    def add(self, name: str, record: Record) -> None:
        """Store `record` under `name` unless a record of that kind has the name.

        Of several processes that add at the same instant one succeeds.

        Raises:
            ConflictError: there is one.
        """
        kind = type(record)
        file = self._file(kind, name)
        payload = _encoder.encode((name, record))
        self._store(file, payload, self._context(kind, file), replace=False)

    def delete(self, kind: type[Record], name: str) -> None:
        """Remove a record; it is no error if it is not there. A chain's metakeys go with it."""
        file = self._file(kind, name)
        with _explaining(f"remove {file}"):
            if kind is ChainRecord:
                # First, so that no crash leaves metakeys of a chain that nobody remembers.
                self._delete_metakeys(bytes.fromhex(name))
            _remove(file)

    def names(self, kind: type[Record]) -> list[str]:
        """Return the names of all records of a kind, in order.

        Raises:
            IntegrityError: one of them was altered.
        """
        found = []
        folder = self._path / _FOLDERS[kind]
        with _explaining(f"read {folder}"):
            for file in _files(folder):
                with suppress(FileNotFoundError):  # deleted since it was listed
                    found.append(self._opened(kind, file, _read(file))[0])
        return sorted(found)

    def put_metakey(self, chain_id: bytes, session_id: bytes, metakey: MetaKey) -> None:
        """Store the metakey of one session; durable before the session's first pack."""
        file = self._metakeys(chain_id) / session_id.hex()
        self._store(file, metakey.expose(), _metakey_context(chain_id, session_id))

    def metakey(self, chain_id: bytes, session_id: bytes) -> MetaKey:
        """Return the metakey of one session.

        Raises:
            NotFoundError: it is not kept here.
            IntegrityError: it was altered, or is another session's.
        """
        file = self._metakeys(chain_id) / session_id.hex()
        with _explaining(f"read {file}"):
            try:
                return self._opened_metakey(chain_id, file)
            except FileNotFoundError as error:
                raise NotFoundError(
                    f"the keystore has no metakey of session {session_id.hex()[:12]}"
                ) from error

    def metakeys(self, chain_id: bytes) -> dict[bytes, MetaKey]:
        """Return all metakeys of a chain by session id.

        Raises:
            IntegrityError: one of them was altered, or is another session's.
        """
        found = {}
        folder = self._metakeys(chain_id)
        with _explaining(f"read {folder}"):
            for file in _files(folder):
                with suppress(FileNotFoundError):  # deleted since it was listed
                    found[_session_of(file)] = self._opened_metakey(chain_id, file)
        return found

    def delete_metakey(self, chain_id: bytes, session_id: bytes) -> None:
        """Remove the metakey of one session; it is no error if it is not there."""
        file = self._metakeys(chain_id) / session_id.hex()
        with _explaining(f"remove {file}"):
            _remove(file)

    def export(self, *, moves: bool = False) -> Exported:
        """Return records and metakeys in plain.

        Args:
            moves: The keystore itself goes on elsewhere, with what is this home's alone.

        Raises:
            IntegrityError: one of them was altered.
        """
        records: list[tuple[str, bytes]] = []
        metakeys: list[tuple[bytes, bytes, bytes]] = []
        for kind, folder in _FOLDERS.items():
            if kind in _STAYS_HERE and not moves:
                continue
            records += [
                (folder, _encoder.encode((name, self.get(kind, name)))) for name in self.names(kind)
            ]
        for name in self.names(ChainRecord):
            chain_id = bytes.fromhex(name)
            for session_id, metakey in self.metakeys(chain_id).items():
                metakeys.append((chain_id, session_id, metakey.expose()))
        return Exported(records, metakeys)

    def take_in(self, exported: Exported) -> None:
        """Store all that another keystore exported, sealed under this one's key.

        Raises:
            UnsupportedVersionError: there are records of a kind or form unknown to this release.
        """
        kinds = {folder: kind for kind, folder in _FOLDERS.items()}
        for folder, payload in exported.records:
            kind = kinds.get(folder)
            if kind is None:
                raise UnsupportedVersionError(f"this release knows no {folder} in a keystore")
            try:
                name, record = _decoder(kind).decode(payload)
            except (msgspec.DecodeError, ValueError) as error:
                raise UnsupportedVersionError(
                    f"a {_shown(kind)} is in a form that this release does not know"
                ) from error
            self.put(name, record)
        for chain_id, session_id, metakey in exported.metakeys:
            self.put_metakey(chain_id, session_id, MetaKey(metakey))

    def _check(self) -> None:
        file = self._path / _CHECK
        context = bind("keystore check")
        folders = [*_FOLDERS.values(), _METAKEYS]
        # Looked for first: who begins a keystore writes its check before any record.
        has_records = any((self._path / folder).exists() for folder in folders)
        try:
            sealed = _read(file)
        except FileNotFoundError:
            if has_records:
                raise IntegrityError(
                    f"the keystore {self._path} has records, and its {_CHECK} is gone"
                ) from None
            with suppress(ConflictError):  # another process begins it at the same instant
                self._store(file, _CHECK_CONTENT, context, replace=False)
            sealed = _read(file)
        try:
            aead.open_value(self._key, _LABEL, context, sealed)
        except aead.NotSealedHereError as error:
            raise KeystoreLockedError(
                f"the keystore {self._path} does not open with this machine's key file",
                hint="was it copied from another machine, or is its passphrase another? Restores "
                "need no keystore: give --password-file or --recovery-key",
            ) from error

    def _store(
        self,
        file: Path,
        payload: bytes,
        context: bytes,
        *,
        replace: bool = True,
        durable: bool = True,
    ) -> None:
        sealed = aead.seal_value(self._key, _LABEL, context, payload)
        with _explaining(f"write {file}"):
            _make_folder(file.parent)
            _write_whole(file, sealed, replace=replace, durable=durable)

    def _opened(self, kind: type[R], file: Path, sealed: bytes) -> tuple[str, R]:
        payload = self._opened_value(file, sealed, self._context(kind, file))
        try:
            name, record = _decoder(kind).decode(payload)
        except (msgspec.DecodeError, ValueError) as error:
            raise IntegrityError(
                f"{file} is a {_shown(kind)} in a form that this release does not know"
            ) from error
        return name, record

    def _opened_metakey(self, chain_id: bytes, file: Path) -> MetaKey:
        context = _metakey_context(chain_id, _session_of(file))
        return MetaKey(self._opened_value(file, _read(file), context))

    def _opened_value(self, file: Path, sealed: bytes, context: bytes) -> bytes:
        try:
            return aead.open_value(self._key, _LABEL, context, sealed)
        except aead.NotSealedHereError as error:
            raise IntegrityError(
                f"{file} does not open: it was altered, or put in another's place"
            ) from error

    def _file(self, kind: type[Record], name: str) -> Path:
        folder = _FOLDERS[kind]
        return self._path / folder / self._hidden(folder, name.encode("utf-8"))

    def _metakeys(self, chain_id: bytes) -> Path:
        return self._path / _METAKEYS / self._hidden(_METAKEYS, chain_id)

    def _delete_metakeys(self, chain_id: bytes) -> None:
        folder = self._metakeys(chain_id)
        for file in _files(folder):
            file.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            folder.rmdir()
            sync_folder(folder.parent)

    def _hidden(self, folder: str, name: bytes) -> str:
        # A keyed hash: any name fits a file system, and a look at the folder shows none.
        hidden = fingerprint(bind("keystore name", self._names_key, folder.encode(), name))
        return hidden[:20].hex()

    def _context(self, kind: type[Record], file: Path) -> bytes:
        return bind("keystore record", _FOLDERS[kind].encode(), file.name.encode())


def reprotect(path: Path, old: KeystoreKey, new: KeystoreKey) -> int:
    """Seal every record of the keystore at `path` under another key; return how many there are.

    All are sealed anew beside it, and one rename makes that the keystore. Whatever instant this
    ends in, the keystore is whole, under the one key or the other; `settle` finishes it.

    Raises:
        KeystoreLockedError: `old` does not open it.
        IntegrityError: a record was altered.
    """
    settle(path)
    before = Keystore(path, old)
    exported = before.export(moves=True)
    making = path.with_name(f"{path.name}{_MAKING}")
    with _explaining(f"write {making}"):
        if making.exists():
            shutil.rmtree(making)  # of an attempt that died
        after = Keystore(making, new)
        after.take_in(exported)
        after.put(_AUDIT_KEY, AuditKeyRecord(key=before.audit_key))
        making.rename(path.with_name(f"{path.name}{_MADE}"))
        sync_folder(path.parent)
    settle(path)
    return len(exported.records) + len(exported.metakeys)


def settle(path: Path) -> None:
    """Let a keystore that was sealed anew, and is whole, take the place of the one at `path`."""
    made = path.with_name(f"{path.name}{_MADE}")
    replaced = path.with_name(f"{path.name}{_REPLACED}")
    if not made.exists():
        return
    with _explaining(f"put {made} in the place of {path}"):
        if path.exists():
            if replaced.exists():
                shutil.rmtree(replaced)
            path.rename(replaced)
        made.rename(path)
        sync_folder(path.parent)
        if replaced.exists():
            shutil.rmtree(replaced)


def _metakey_context(chain_id: bytes, session_id: bytes) -> bytes:
    return bind("keystore metakey", chain_id, session_id)


def _session_of(file: Path) -> bytes:
    try:
        return bytes.fromhex(file.name)
    except ValueError as error:
        raise IntegrityError(f"{file} is none of the keystore's files") from error


def _shown(kind: type[Record]) -> str:
    return kind.__name__.removesuffix("Record").lower()


# --- bytes and records -----------------------------------------------------------------------


def _expose(value: object) -> bytes:
    if isinstance(value, SecretBytes):
        return value.expose()
    raise NotImplementedError(type(value).__name__)


def _conceal(kind: type[Any], value: object) -> SecretBytes:
    if issubclass(kind, SecretBytes) and isinstance(value, bytes):
        return kind(value)
    raise NotImplementedError(kind.__name__)


_encoder: Final = msgspec.msgpack.Encoder(enc_hook=_expose)


@cache
def _decoder(kind: type[Record]) -> msgspec.msgpack.Decoder[tuple[str, Any]]:
    return msgspec.msgpack.Decoder(tuple[str, kind], dec_hook=_conceal)  # type: ignore[valid-type]


# --- files -----------------------------------------------------------------------------------


@contextmanager
def _explaining(what: str) -> Iterator[None]:
    """Turn the operating system's refusals into ours."""
    try:
        yield
    except OSError as error:
        message = f"cannot {what}: {error.strerror or error}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFullError(message, hint="free space in its file system") from error
        raise RefusedError(message) from error


def _check_apart(path: Path, home: Path | None) -> None:
    if home is not None and path.resolve().is_relative_to(home.resolve()):
        raise InvalidInputError(
            f"the key file {path} lies in {home}, with what it locks: a copy of that folder "
            "would carry its own key",
            hint="keep the key file elsewhere, and out of backups of this machine",
        )


def _read_key_file(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise KeystoreLockedError(f"the key file {path} is not a regular file")
            if status.st_uid not in (os.geteuid(), 0):
                raise KeystoreLockedError(f"the key file {path} belongs to another user")
            if status.st_mode & _OTHERS:
                raise KeystoreLockedError(
                    f"the key file {path} is open to others than its owner",
                    hint=f"chmod 600 {path}, and think about who may have read it",
                )
            content = file.read(KEY_LENGTH + 1)
    except OSError as error:
        raise KeystoreLockedError(
            f"cannot read the key file {path}: {error.strerror or error}",
            hint="put it back, or name it with STRONGROOM_KEY_FILE. Restores need no key file: "
            "give --password-file or --recovery-key",
        ) from error
    if len(content) != KEY_LENGTH:
        raise KeystoreLockedError(f"the key file {path} has not {KEY_LENGTH} bytes")
    return content


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        content = opened.read(_MAX_RECORD + 1)
    if len(content) > _MAX_RECORD:
        raise IntegrityError(f"{file} is longer than anything the keystore writes")
    return content


def _write_whole(file: Path, content: bytes, *, replace: bool, durable: bool = True) -> None:
    """Let a file appear with all its content, in place of the one that is there or not at all.

    Raises:
        ConflictError: there is one, and it is not to be replaced.
    """
    temporary = file.parent / f".{random.token(8).hex()}"
    write_new(temporary, content)
    try:
        if replace:
            temporary.replace(file)
        else:
            file.hardlink_to(temporary)
    except FileExistsError as error:
        raise ConflictError(f"there is a file {file} already") from error
    finally:
        temporary.unlink(missing_ok=True)
    if durable:
        sync_folder(file.parent)


def _remove(file: Path) -> None:
    with suppress(FileNotFoundError):
        file.unlink()
        sync_folder(file.parent)


def _files(folder: Path) -> list[Path]:
    """Return the files of a folder but those that were being written when something died."""
    try:
        return sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    except FileNotFoundError:
        return []


def _make_folder(folder: Path) -> None:
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        with suppress(FileExistsError):
            one.mkdir(mode=_FOLDER_MODE)
        sync_folder(one.parent)
