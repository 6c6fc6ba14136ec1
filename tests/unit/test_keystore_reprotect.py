"""A keystore sealed again under another key is whole at every instant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from strongroom.crypto import random
from strongroom.crypto.keys import DedupKey, MetaKey
from strongroom.errors import KeystoreLockedError, UnsupportedVersionError
from strongroom.keystore import (
    AuditHeadRecord,
    ChainRecord,
    Exported,
    IdentityRecord,
    Keystore,
    KeystoreKey,
    reprotect,
    settle,
)

if TYPE_CHECKING:
    from pathlib import Path

OLD = KeystoreKey(random.token(32))
NEW = KeystoreKey(random.token(32))
CHAIN, SESSION = bytes(16), bytes([1]) * 16
META = MetaKey(random.token(32))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    keystore = Keystore(tmp_path / "keystore", OLD)
    keystore.put("own", IdentityRecord(seed=random.seed()))
    record = ChainRecord(
        chain_id=CHAIN,
        dedup_key=DedupKey(random.token(32)),
        chunker_seed=7,
        chain_key_public=b"p",
        chain_key_seed=None,
    )
    keystore.put(CHAIN.hex(), record)
    keystore.put_metakey(CHAIN, SESSION, META)
    return tmp_path / "keystore"


def opens_whole(path: Path, key: KeystoreKey) -> bool:
    settle(path)
    try:
        keystore = Keystore(path, key)
    except KeystoreLockedError:
        return False
    assert keystore.names(IdentityRecord) == ["own"]
    assert keystore.metakey(CHAIN, SESSION) == META
    return True


def test_every_record_opens_under_the_new_key_and_none_under_the_old(path: Path) -> None:
    before = Keystore(path, OLD).export()
    assert reprotect(path, OLD, NEW) == 3
    assert not opens_whole(path, OLD)
    assert opens_whole(path, NEW)
    assert Keystore(path, NEW).export() == before
    assert [one.name for one in path.parent.iterdir()] == ["keystore"]


def test_the_audit_log_goes_on_and_open_requests_stay(path: Path) -> None:
    before = Keystore(path, OLD)
    before.put("head", AuditHeadRecord(number=7, tag=bytes(32)))
    reprotect(path, OLD, NEW)
    reprotect(path, NEW, OLD)
    after = Keystore(path, OLD)
    assert after.audit_key == before.audit_key
    assert after.get(AuditHeadRecord, "head").number == 7
    assert after.export() == before.export()


def test_whatever_rename_it_dies_at_one_key_opens_all(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = type(path).rename
    for dies_at in (1, 2, 3):
        calls = 0

        def dying(one: Path, target: Path) -> Path:
            nonlocal calls
            calls += 1
            if calls == dies_at:  # noqa: B023 - called within its turn of the loop
                raise KeyboardInterrupt
            return rename(one, target)

        with monkeypatch.context() as patched:
            patched.setattr(type(path), "rename", dying)
            with pytest.raises(KeyboardInterrupt):
                reprotect(path, OLD, NEW)
        if opens_whole(path, NEW):
            reprotect(path, NEW, OLD)
        assert opens_whole(path, OLD)


def test_the_wrong_key_changes_nothing(path: Path) -> None:
    with pytest.raises(KeystoreLockedError):
        reprotect(path, NEW, OLD)
    assert opens_whole(path, OLD)


def test_what_was_exported_shows_no_secret(path: Path) -> None:
    assert META.expose().hex() not in repr(Keystore(path, OLD).export())
    assert "redacted" in repr(Keystore(path, OLD).export())


def test_a_record_of_a_later_release_is_refused(tmp_path: Path) -> None:
    keystore = Keystore(tmp_path / "other", NEW)
    with pytest.raises(UnsupportedVersionError):
        keystore.take_in(Exported([("amulets", b"x")], []))
