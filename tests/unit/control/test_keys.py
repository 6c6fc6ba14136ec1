from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest

from strongroom.catalog import signers
from strongroom.control import keys
from strongroom.crypto import random
from strongroom.crypto.signing import SigningKey
from strongroom.errors import KeystoreLockedError, NotFoundError, UnlockError
from strongroom.keystore import HeadRecord, KeyFile, Keystore, PasswordRecord
from strongroom.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path
RECORD = HeadRecord(chain_id=bytes(16), number=1, entry_hash=bytes(32))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "home", tmp_path / "etc" / "key")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    path = tmp_path / "machine-id"
    path.write_text("0123456789abcdef\n")
    return path


def test_a_new_home_gets_a_key_file_outside_of_it(settings: Settings, machine: Path) -> None:
    keys.open_keystore(settings, (machine,)).put("x", RECORD)
    assert stat.S_IMODE(settings.key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.home.stat().st_mode) == 0o700
    assert keys.open_keystore(settings, (machine,)).get(HeadRecord, "x") == RECORD


def test_a_copied_home_opens_on_no_other_machine(
    settings: Settings, machine: Path, tmp_path: Path
) -> None:
    keys.open_keystore(settings, (machine,))
    machine.write_text("another machine")
    with pytest.raises(KeystoreLockedError):
        keys.open_keystore(settings, (machine,))
    without_key = replace(settings, key_file=tmp_path / "other" / "key")
    with pytest.raises(KeystoreLockedError, match="cannot read the key file"):
        keys.open_keystore(without_key, (machine,))
    assert not without_key.key_file.exists()


def test_a_machine_without_an_id_is_bound_by_its_key_file_alone(
    settings: Settings, machine: Path, tmp_path: Path
) -> None:
    keys.open_keystore(settings, (tmp_path / "none",)).put("x", RECORD)
    keys.open_keystore(settings, (tmp_path / "none",))
    # It gets one later, and the keystore still opens.
    assert keys.open_keystore(settings, (machine,)).names(HeadRecord) == ["x"]


def test_a_passphrase_is_asked_for_beside_the_key_file(
    settings: Settings, machine: Path, tmp_path: Path
) -> None:
    (tmp_path / "passphrase").write_text("open sesame\n")
    guarded = replace(settings, key_passphrase_file=tmp_path / "passphrase")
    keys.open_keystore(guarded, (machine,))
    keys.open_keystore(guarded, (machine,))
    with pytest.raises(KeystoreLockedError):
        keys.open_keystore(settings, (machine,))


def test_a_credential_of_systemd_stands_in_for_the_key_file(
    settings: Settings, machine: Path, tmp_path: Path
) -> None:
    credential = tmp_path / "credentials" / "strongroom-key"
    credential.parent.mkdir()
    credential.write_bytes(bytes(range(32)))
    credential.chmod(0o600)
    service = replace(settings, credentials=credential.parent)
    keys.open_keystore(service, (machine,))
    assert not settings.key_file.exists()
    with pytest.raises(KeystoreLockedError):
        keys.open_keystore(settings, (machine,))


def test_an_installation_keeps_its_identity(shop) -> None:
    identity = shop.ctx.identity.public
    shop.ctx.close()
    assert shop.ctx.identity.public == identity
    assert keys.known_identity(shop.ctx.database) == identity


def test_of_two_first_commands_at_one_instant_both_use_the_one_identity(shop) -> None:
    class Late(Keystore):
        """Another command makes the identity just after this one found none."""

        def get(self, kind: Any, name: str) -> Any:
            try:
                return super().get(kind, name)
            except NotFoundError:
                others.append(keys.own_identity(shop.ctx.keystore, shop.ctx.database))
                raise

    others: list[SigningKey] = []
    key = KeyFile.create(shop.folder / "late" / "key").key(b"machine")
    shop.ctx.__dict__["keystore"] = Keystore(shop.folder / "late" / "keystore", key)
    late = Late(shop.folder / "late" / "keystore", key)
    identity = keys.own_identity(late, shop.ctx.database)
    assert [other.public for other in others] == [identity.public]
    assert keys.known_identity(shop.ctx.database) == identity.public


def test_first_commands_at_one_instant_agree_on_key_file_and_keystore(
    tmp_path: Path, machine: Path
) -> None:
    for attempt in range(10):
        settings = Settings(tmp_path / f"home{attempt}", tmp_path / f"etc{attempt}" / "key")
        start = Barrier(6)

        def first(number: int, settings: Settings = settings, start: Barrier = start) -> None:
            start.wait(10)
            keys.open_keystore(settings, (machine,)).put(f"{number}", RECORD)

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(first, range(6)))
        assert len(keys.open_keystore(settings, (machine,)).names(HeadRecord)) == 6


def test_readers_believe_ourselves_and_whom_we_accepted(shop) -> None:
    assert keys.readers_trust(shop.ctx).identities == frozenset()
    assert not shop.ctx.settings.home.exists()
    own = shop.ctx.identity.public
    signers.accept(shop.ctx.database, signers.SignerRow("cccc-dddd", shop.clock.now()))
    believed = keys.readers_trust(shop.ctx)
    assert believed.knows(own)
    assert believed.accepted == {"cccc-dddd"}


def test_whom_the_command_pins_is_believed_alone(shop) -> None:
    own = shop.ctx.identity.public
    believed = keys.readers_trust(shop.ctx, (" AAAA-bbbb ",))
    assert believed.pinned == {"aaaa-bbbb"}
    assert not believed.knows(own)
    assert keys.readers_trust(shop.ctx, (own.fingerprint.upper(),)).knows(own)


def test_sessions_go_on_after_nobody_but_this_installation(shop) -> None:
    own, other = shop.ctx.identity.public, SigningKey.from_seed(random.seed()).public
    signers.accept(shop.ctx.database, signers.SignerRow(other.fingerprint, shop.clock.now()))
    assert keys.readers_trust(shop.ctx).knows(other)
    assert not keys.trust(shop.ctx).knows(other)
    assert keys.trust(shop.ctx).knows(own)


def test_a_password_whose_record_was_lost_says_how_to_give_it_again(shop) -> None:
    shop.repository()
    shop.password()
    shop.job(encrypt="password:office")
    for name in shop.ctx.keystore.names(PasswordRecord):
        shop.ctx.keystore.delete(PasswordRecord, name)
    with pytest.raises(UnlockError) as caught:
        keys.recipients(shop.ctx, shop.the_job())
    assert "password edit office" in str(caught.value.hint)


def test_a_plain_job_is_sealed_for_nobody(shop) -> None:
    shop.repository()
    shop.job()
    wish = keys.wanted(shop.ctx, shop.the_job())
    assert (wish.sealed, wish.recipient_ids) == (False, frozenset())
    assert keys.stored_unlockers(shop.ctx, shop.the_job()) == []
    assert keys.keeps_secret(shop.ctx, shop.the_job())
