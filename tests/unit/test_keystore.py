from __future__ import annotations

import errno
import os
import pickle
import shutil
from datetime import UTC, datetime
from pathlib import Path as _Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.pretty import pretty_repr

from strongroom import keystore
from strongroom.crypto import random
from strongroom.crypto.kdf import MINIMUM
from strongroom.crypto.keys import DedupKey, MetaKey, Password, SecretBytes, Seed
from strongroom.crypto.recipients import make_password_recipient, make_recovery_recipient
from strongroom.crypto.signing import SigningKey
from strongroom.errors import (
    ConflictError,
    IntegrityError,
    InvalidInputError,
    KeystoreLockedError,
    NotFoundError,
    RefusedError,
    StorageFullError,
)
from strongroom.keystore import (
    ChainRecord,
    HeadRecord,
    IdentityRecord,
    KeyFile,
    Keystore,
    KeystoreKey,
    KmsKeyRecord,
    KmsRecord,
    PasswordRecord,
    Record,
    RecoveryRecord,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MACHINE = b"0123456789abcdef0123456789abcdef\n"
KEY = KeystoreKey(bytes(range(32)))
CHAIN = b"c" * 16
SECRET = b"a seed that must not be seen: 32"
NOW = datetime(2026, 11, 24, 3, 4, 5, 678901, tzinfo=UTC)


def a_chain(chain_id: bytes = CHAIN) -> ChainRecord:
    return ChainRecord(
        chain_id=chain_id,
        dedup_key=DedupKey(SECRET),
        chunker_seed=987654321987654321,
        chain_key_public=b"public",
        chain_key_seed=Seed(SECRET),
    )


def a_password(seed: Seed | None) -> PasswordRecord:
    return PasswordRecord(
        name="nightly",
        hint="birds",
        salt=bytes(16),
        parameters=MINIMUM,
        public=b"public",
        vouch=b"vouch",
        seed=seed,
        created_at=NOW,
    )


def every_record() -> list[Record]:
    return [
        IdentityRecord(seed=Seed(SECRET)),
        a_password(Seed(SECRET)),
        a_password(None),
        RecoveryRecord(
            name="kit", public=b"public", vouch=b"vouch", created_at=NOW, local_half=Seed(SECRET)
        ),
        KmsRecord(
            account="who",
            secret=SecretBytes(SECRET),
            certificate=b"certificate",
            key=SecretBytes(SECRET),
            authorities=b"authorities",
            vouch=b"vouch",
        ),
        KmsKeyRecord(public=b"public", oaep=2),
        a_chain(),
        HeadRecord(chain_id=CHAIN, number=12, entry_hash=bytes(32)),
    ]


RECORDS = [
    "identity",
    "password",
    "write-only password",
    "recovery",
    "kms",
    "kms key",
    "chain",
    "head",
]


def files(folder: Path) -> list[Path]:
    return sorted(one for one in folder.rglob("*") if one.is_file())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "keystore"


@pytest.fixture
def store(folder: Path) -> Keystore:
    return Keystore(folder, KEY)


# --- the key file ----------------------------------------------------------------------------


def test_a_key_file_is_read_back_and_is_its_owner_s_alone(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "key"
    created = KeyFile.create(path)
    assert KeyFile.load(path).key(MACHINE) == created.key(MACHINE)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size == 32
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert KeyFile.create(tmp_path / "other").key(MACHINE) != created.key(MACHINE)


def test_a_key_file_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "key"
    KeyFile.create(path)
    before = path.read_bytes()
    with pytest.raises(ConflictError):
        KeyFile.create(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610])
def test_a_key_file_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    KeyFile.create(path)
    path.chmod(mode)
    with pytest.raises(KeystoreLockedError, match="others"):
        KeyFile.load(path)


def test_a_key_file_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    KeyFile.create(path)
    real = os.fstat

    def foreign(descriptor: int) -> os.stat_result:
        status = list(real(descriptor))
        status[4] = 4242
        return os.stat_result(status)

    monkeypatch.setattr(os, "fstat", foreign)
    with pytest.raises(KeystoreLockedError, match="another user"):
        KeyFile.load(path)


@pytest.mark.parametrize("content", [b"", bytes(31), bytes(33)])
def test_a_file_that_is_no_key_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeystoreLockedError, match="32 bytes"):
        KeyFile.load(path)


def test_a_missing_key_file_and_a_pipe_in_its_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KeystoreLockedError):
        KeyFile.load(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(KeystoreLockedError, match="regular"):
        KeyFile.load(tmp_path / "pipe")


def test_a_key_file_beside_what_it_locks_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with pytest.raises(InvalidInputError):
        KeyFile.create(home / "keys" / "key", home=home)
    assert files(home) == []
    KeyFile.create(home / "key")
    (tmp_path / "way-round").symlink_to(home)
    for path in (home / "key", tmp_path / "way-round" / "key", home / ".." / "home" / "key"):
        with pytest.raises(InvalidInputError):
            KeyFile.load(path, home=home)
    KeyFile.create(tmp_path / "apart", home=home)


def test_the_key_is_bound_to_machine_and_passphrase(tmp_path: Path) -> None:
    file = KeyFile.create(tmp_path / "key")
    plain = file.key(MACHINE)
    assert file.key(MACHINE.strip()) == plain
    others = [file.key(b"another machine"), file.key(MACHINE, Password(b"one"))]
    others.append(file.key(MACHINE, Password(b"two")))
    assert file.key(MACHINE, Password(b"one")) == others[1]
    for number, one in enumerate([plain, *others]):
        assert one not in [plain, *others][:number]


@pytest.mark.parametrize("machine", [b"", b" \n"])
def test_a_machine_without_an_id_is_refused(tmp_path: Path, machine: bytes) -> None:
    with pytest.raises(InvalidInputError):
        KeyFile.create(tmp_path / "key").key(machine)


def test_a_credential_stands_in_for_the_file(tmp_path: Path) -> None:
    made = KeyFile.create(tmp_path / "key")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    with pytest.raises(KeystoreLockedError):
        KeyFile.from_credential(credentials)
    shutil.copy(tmp_path / "key", credentials / "strongroom-key")
    (credentials / "strongroom-key").chmod(0o400)
    assert KeyFile.from_credential(credentials).key(MACHINE) == made.key(MACHINE)


# --- records ---------------------------------------------------------------------------------


@pytest.mark.parametrize("record", every_record(), ids=RECORDS)
def test_every_record_comes_back_as_it_was_stored(
    folder: Path, store: Keystore, record: Record
) -> None:
    name = CHAIN.hex() if isinstance(record, ChainRecord) else "Jobs/../nächtlich"
    store.put(name, record)
    again = Keystore(folder, KEY)
    assert again.get(type(record), name) == record
    assert again.names(type(record)) == [name]


def test_records_give_the_recipients_they_stand_for(store: Keystore) -> None:
    identity = SigningKey.from_seed(random.seed()).public
    password, seed = make_password_recipient(Password(b"x"), "birds", identity, MINIMUM)
    kit = make_recovery_recipient(random.seed(), "kit", identity)
    store.put(
        "nightly",
        PasswordRecord(
            name="nightly",
            hint=password.hint,
            salt=password.salt,
            parameters=password.parameters,
            public=password.public.raw,
            vouch=password.vouch,
            seed=seed,
            created_at=NOW,
        ),
    )
    store.put(
        "kit",
        RecoveryRecord(
            name="kit",
            public=kit.public.raw,
            vouch=kit.vouch,
            created_at=NOW,
            local_half=Seed(SECRET),
        ),
    )
    assert store.get(PasswordRecord, "nightly").recipient() == password
    assert store.get(PasswordRecord, "nightly").seed == seed
    assert store.get(RecoveryRecord, "kit").recipient() == kit


def test_a_record_replaces_the_one_before(store: Keystore, folder: Path) -> None:
    store.put("nightly", a_password(Seed(SECRET)))
    store.put("nightly", a_password(None))
    assert store.get(PasswordRecord, "nightly").seed is None
    assert store.names(PasswordRecord) == ["nightly"]
    assert len(files(folder / "passwords")) == 1


def test_what_is_added_takes_no_other_record_s_place(store: Keystore, folder: Path) -> None:
    first, second = (IdentityRecord(seed=random.seed()) for _ in range(2))
    store.add("own", first)
    with pytest.raises(ConflictError):
        store.add("own", second)
    assert store.get(IdentityRecord, "own").seed == first.seed
    assert [path.name for path in folder.rglob(".*")] == []


def test_kinds_do_not_share_names(store: Keystore) -> None:
    store.put("one", a_password(None))
    store.put("one", IdentityRecord(seed=Seed(SECRET)))
    assert store.get(PasswordRecord, "one").hint == "birds"
    with pytest.raises(NotFoundError):
        store.get(RecoveryRecord, "one")
    store.delete(PasswordRecord, "one")
    store.delete(PasswordRecord, "one")
    assert store.names(PasswordRecord) == []
    assert store.names(IdentityRecord) == ["one"]


def test_names_come_in_order(store: Keystore) -> None:
    for name in ("c", "a", "b"):
        store.put(name, HeadRecord(chain_id=CHAIN, number=1, entry_hash=b""))
    assert store.names(HeadRecord) == ["a", "b", "c"]


def test_a_value_that_no_record_holds_is_not_stored() -> None:
    with pytest.raises(NotImplementedError):
        keystore._encoder.encode(object())
    with pytest.raises(NotImplementedError):
        keystore._conceal(Seed, "text")


def test_a_chain_goes_by_its_id(store: Keystore) -> None:
    with pytest.raises(ValueError, match="id"):
        store.put("nightly", a_chain())


def test_nothing_in_the_folder_tells_a_name_or_a_secret(folder: Path, store: Keystore) -> None:
    for record in every_record():
        store.put(CHAIN.hex() if isinstance(record, ChainRecord) else "nightly", record)
    store.put_metakey(CHAIN, b"s" * 16, MetaKey(SECRET))
    everything = b"".join(
        str(file.relative_to(folder)).encode() + file.read_bytes() for file in files(folder)
    )
    for trace in (SECRET, SECRET.hex().encode(), b"nightly", b"birds", CHAIN, CHAIN.hex().encode()):
        assert trace not in everything


def test_everything_is_the_owner_s_alone(folder: Path, store: Keystore) -> None:
    before = os.umask(0)
    try:
        store.put("nightly", a_password(None))
        store.put_metakey(CHAIN, b"s" * 16, MetaKey(SECRET))
    finally:
        os.umask(before)
    for one in folder.rglob("*"):
        assert one.stat().st_mode & 0o777 == (0o700 if one.is_dir() else 0o600)


@pytest.mark.parametrize("record", every_record(), ids=RECORDS)
def test_a_record_is_neither_shown_nor_pickled(record: Record) -> None:
    for text in (repr(record), f"{record}", pretty_repr(record), str([record])):
        assert "seen" not in text
        assert "987654321987654321" not in text
    with pytest.raises(TypeError):
        pickle.dumps(record)


# --- a moved, altered or interrupted keystore ------------------------------------------------


def test_a_keystore_moved_to_another_machine_stays_locked(tmp_path: Path, folder: Path) -> None:
    file = KeyFile.create(tmp_path / "key")
    Keystore(folder, file.key(MACHINE)).put("nightly", a_password(Seed(SECRET)))
    before = [one.read_bytes() for one in files(folder)]
    for key in (file.key(b"another machine"), KeyFile.create(tmp_path / "new").key(MACHINE)):
        with pytest.raises(KeystoreLockedError):
            Keystore(folder, key)
    assert [one.read_bytes() for one in files(folder)] == before
    assert Keystore(folder, file.key(MACHINE)).get(PasswordRecord, "nightly").seed is not None


def test_a_keystore_whose_check_was_removed_is_not_begun_anew(
    folder: Path, store: Keystore
) -> None:
    store.put("nightly", a_password(None))
    (folder / "keystore.check").unlink()
    with pytest.raises(IntegrityError):
        Keystore(folder, KEY)
    assert not (folder / "keystore.check").exists()


@pytest.mark.parametrize("at", [0, 32, 50, -1])
def test_an_altered_record_is_noticed(folder: Path, store: Keystore, at: int) -> None:
    store.put("nightly", a_password(None))
    (file,) = files(folder / "passwords")
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)
    with pytest.raises(IntegrityError):
        store.get(PasswordRecord, "nightly")
    with pytest.raises(IntegrityError):
        store.names(PasswordRecord)


@pytest.mark.parametrize("length", [0, 10, 70])
def test_a_truncated_record_is_noticed(folder: Path, store: Keystore, length: int) -> None:
    store.put("nightly", a_password(None))
    (file,) = files(folder / "passwords")
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(IntegrityError):
        store.get(PasswordRecord, "nightly")


def test_a_record_as_long_as_a_disk_is_not_read(folder: Path, store: Keystore) -> None:
    store.put("nightly", a_password(None))
    (file,) = files(folder / "passwords")
    os.truncate(file, 1 << 40)
    with pytest.raises(IntegrityError, match="longer"):
        store.get(PasswordRecord, "nightly")


def test_one_record_does_not_stand_in_for_another(folder: Path, store: Keystore) -> None:
    store.put("one", a_password(None))
    (one,) = files(folder / "passwords")
    store.put("two", a_password(Seed(SECRET)))
    (two,) = (file for file in files(folder / "passwords") if file != one)
    shutil.copy(two, one)
    with pytest.raises(IntegrityError):
        store.get(PasswordRecord, "one")
    (folder / "identities").mkdir()
    shutil.copy(two, folder / "identities" / two.name)
    with pytest.raises(IntegrityError):
        store.names(IdentityRecord)


def test_a_record_of_a_newer_release_is_not_misread(folder: Path, store: Keystore) -> None:
    store.put("nightly", IdentityRecord(seed=Seed(SECRET)))
    (file,) = files(folder / "identities")
    context = store._context(IdentityRecord, file)
    for payload in (("nightly", {"seed": SECRET, "more": 1}), ("nightly", {"seed": b"short"}), 7):
        store._store(file, keystore._encoder.encode(payload), context)
        with pytest.raises(IntegrityError) as raised:
            store.get(IdentityRecord, "nightly")
        assert "seen" not in str(raised.value)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_record_that_could_not_be_written_leaves_the_one_before(
    folder: Path, store: Keystore, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("nightly", a_password(Seed(SECRET)))
    fired = []

    def fails(*_: Any) -> None:
        fired.append(step)
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(*((os, "fsync", fails) if step == "fsync" else (_Path, "replace", fails)))
    with pytest.raises(StorageFullError):
        store.put("nightly", a_password(None))
    monkeypatch.undo()

    assert fired
    assert Keystore(folder, KEY).get(PasswordRecord, "nightly").seed == Seed(SECRET)
    assert len(files(folder / "passwords")) == 1


def test_what_a_killed_process_left_is_no_record(folder: Path, store: Keystore) -> None:
    store.put("nightly", a_password(None))
    (folder / "passwords" / ".0123456789abcdef").write_bytes(b"half")
    assert store.names(PasswordRecord) == ["nightly"]


def test_an_error_of_the_system_is_one_of_ours(
    store: Keystore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "permission denied")

    monkeypatch.setattr(_Path, "open", fails)
    with pytest.raises(RefusedError, match="permission denied"):
        store.get(PasswordRecord, "nightly")


# --- metakeys --------------------------------------------------------------------------------


def _metakeys(number: int) -> dict[bytes, MetaKey]:
    return {n.to_bytes(16, "big"): MetaKey(random.token(32)) for n in range(number)}


def test_metakeys_come_back_by_chain_and_session(folder: Path, store: Keystore) -> None:
    ours, others = _metakeys(5), _metakeys(3)
    for chain_id, metakeys in ((CHAIN, ours), (b"d" * 16, others)):
        for session_id, metakey in metakeys.items():
            store.put_metakey(chain_id, session_id, metakey)
    again = Keystore(folder, KEY)
    assert again.metakeys(CHAIN) == ours
    assert again.metakeys(b"d" * 16) == others
    assert again.metakeys(b"e" * 16) == {}
    first = next(iter(ours))
    assert again.metakey(CHAIN, first) == ours[first]
    again.delete_metakey(CHAIN, first)
    again.delete_metakey(CHAIN, first)
    with pytest.raises(NotFoundError):
        again.metakey(CHAIN, first)
    assert again.metakeys(CHAIN).keys() == ours.keys() - {first}


def test_one_more_metakey_writes_one_file_and_touches_no_other(
    folder: Path, store: Keystore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", lambda _: None)  # the disk is not what is tested
        for session_id, metakey in _metakeys(1000).items():
            store.put_metakey(CHAIN, session_id, metakey)
    store.put(CHAIN.hex(), a_chain())
    before = {file: file.stat().st_mtime_ns for file in files(folder)}

    store.put_metakey(CHAIN, b"s" * 16, MetaKey(SECRET))

    after = {file: file.stat().st_mtime_ns for file in files(folder)}
    assert len(after) == len(before) + 1
    assert before.items() <= after.items()
    assert len(store.metakeys(CHAIN)) == 1001


def test_a_metakey_does_not_stand_in_for_another_s(folder: Path, store: Keystore) -> None:
    one, two = _metakeys(2)
    store.put_metakey(CHAIN, one, MetaKey(SECRET))
    store.put_metakey(b"d" * 16, one, MetaKey(SECRET))
    kept, other = files(folder / "metakeys")
    shutil.copy(kept, kept.parent / two.hex())
    shutil.copy(kept, other)
    for chain_id in (CHAIN, b"d" * 16):
        with pytest.raises(IntegrityError):
            store.metakeys(chain_id)


def test_a_stranger_s_file_among_metakeys_is_noticed(folder: Path, store: Keystore) -> None:
    store.put_metakey(CHAIN, b"s" * 16, MetaKey(SECRET))
    (file,) = files(folder / "metakeys")
    (file.parent / "README").write_bytes(b"?")
    with pytest.raises(IntegrityError):
        store.metakeys(CHAIN)


def test_forgetting_a_chain_forgets_its_metakeys_too(folder: Path, store: Keystore) -> None:
    store.put(CHAIN.hex(), a_chain())
    store.put_metakey(CHAIN, b"s" * 16, MetaKey(SECRET))
    store.put_metakey(b"d" * 16, b"s" * 16, MetaKey(SECRET))
    store.delete(ChainRecord, CHAIN.hex())
    assert store.names(ChainRecord) == []
    assert store.metakeys(CHAIN) == {}
    assert len(store.metakeys(b"d" * 16)) == 1
    assert len(list((folder / "metakeys").iterdir())) == 1


@pytest.fixture(autouse=True)
def _quiet_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)
