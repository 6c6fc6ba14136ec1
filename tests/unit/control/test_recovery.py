from __future__ import annotations

import stat
from datetime import timedelta

import pytest

from strongroom.catalog import recovery_keys
from strongroom.control import jobs, keys, recovery
from strongroom.control.jobs import JobChanges
from strongroom.control.recovery_drill import prove
from strongroom.control.recovery_files import read_kit, read_kits
from strongroom.control.recovery_kit import format_kit, make_kit
from strongroom.crypto import random
from strongroom.crypto.recipients import RecoveryUnlocker
from strongroom.errors import (
    ConfirmationNeededError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
    UnlockError,
)
from strongroom.keystore import RecoveryRecord
from strongroom.repository import layout
from strongroom.repository.chain import Trust


def protected_job(shop) -> None:
    shop.repository()
    shop.password()
    recovery.create(shop.ctx, shop.folder / "kit")
    shop.job(encrypt="password:office")
    shop.session()


def test_a_kit_is_written_once_for_its_owner_alone(shop) -> None:
    result = recovery.create(shop.ctx, shop.folder / "kit")
    file = shop.folder / "kit"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert result.key.signer == shop.ctx.identity.public.fingerprint
    assert result.key.signer in file.read_text()
    assert recovery.show(shop.ctx) == result.key
    before = file.read_bytes()
    with pytest.raises(ConflictError, match="already"):
        recovery.create(shop.ctx, file)
    assert file.read_bytes() == before
    assert recovery.show(shop.ctx) == result.key


def test_a_kit_that_cannot_be_written_makes_no_key(shop) -> None:
    with pytest.raises(RefusedError):
        recovery.create(shop.ctx, shop.folder / "no" / "kit")
    with pytest.raises(NotFoundError, match="no recovery key"):
        recovery.show(shop.ctx)


def test_the_private_half_is_nowhere_but_in_the_kit(shop) -> None:
    recovery.create(shop.ctx, shop.folder / "kit")
    kit = read_kit([shop.folder / "kit"])
    for name in shop.ctx.keystore.names(RecoveryRecord):
        record = shop.ctx.keystore.get(RecoveryRecord, name)
        assert kit.seed.expose() not in (record.public, record.vouch)
    for file in (shop.folder / "home").rglob("*"):
        if file.is_file():
            assert kit.seed.expose() not in file.read_bytes()


def test_a_recovery_key_is_a_recipient_of_every_sealed_job(shop) -> None:
    protected_job(shop)
    kit = read_kit([shop.folder / "kit"])
    keyring = shop.chain().wrapped.unlock(RecoveryUnlocker(kit.seed), Trust())
    assert keyring.opens_data
    assert recovery.show(shop.ctx).jobs == ("nightly",)


def test_a_job_that_declines_is_not_sealed_for_it(shop) -> None:
    protected_job(shop)
    jobs.edit(shop.ctx, "nightly", JobChanges(recovery=False), yes_weaken=True)
    assert len(keys.recipients(shop.ctx, shop.the_job())) == 1
    assert recovery.show(shop.ctx).jobs == ()


def test_the_kit_is_proven_to_open_the_newest_point_of_every_chain(shop) -> None:
    protected_job(shop)
    result = prove(shop.ctx, [shop.folder / "kit"])
    assert result.ok
    (proof,) = result.chains
    assert (proof.repository, proof.opened, proof.problem) == ("main", True, None)
    active = recovery_keys.active(shop.ctx.database)
    assert active is not None
    assert active.tested_at == shop.clock.now()


def test_a_chain_that_the_kit_does_not_open_is_named(shop) -> None:
    protected_job(shop)
    shop.job("unprotected", encrypt="password:office", recovery=False)
    shop.session("unprotected")
    shop.job("plain")
    shop.session("plain")
    result = prove(shop.ctx, [shop.folder / "kit"], ("main",))
    assert not result.ok
    assert sorted(proof.opened for proof in result.chains) == [False, True]
    (failed,) = [proof for proof in result.chains if not proof.opened]
    assert failed.chain == shop.chain("unprotected").chain_id.hex()
    assert "recovery kit" in str(failed.problem)


def test_a_damaged_envelope_fails_the_proof(shop) -> None:
    protected_job(shop)
    storage = shop.storages["/main"]
    for info in list(storage.list(layout.envelopes(shop.chain().chain_id))):
        storage.delete(info.key)
    result = prove(shop.ctx, [shop.folder / "kit"])
    assert not result.ok
    assert "envelope" in str(result.chains[0].problem)


def test_a_repository_that_is_away_hides_no_other(shop) -> None:
    protected_job(shop)
    shop.repository("away")
    del shop.storages["/away"]
    result = prove(shop.ctx, [shop.folder / "kit"])
    assert not result.ok
    by_repository = {proof.repository: proof for proof in result.chains}
    assert by_repository["main"].opened
    assert by_repository["away"].chain is None
    assert "not a repository" in str(by_repository["away"].problem)
    with pytest.raises(NotFoundError, match="not a repository"):
        prove(shop.ctx, [shop.folder / "kit"], ("away",))


def test_nothing_to_open_proves_nothing(shop) -> None:
    shop.repository()
    recovery.create(shop.ctx, shop.folder / "kit")
    assert not prove(shop.ctx, [shop.folder / "kit"]).ok


def test_a_new_kit_takes_over_and_the_old_one_opens_old_points(shop) -> None:
    protected_job(shop)
    result = recovery.create(shop.ctx, shop.folder / "kit2")
    assert any("older kit" in notice for notice in result.notices)
    assert recovery.show(shop.ctx).key_id == result.key.key_id
    jobs.edit(shop.ctx, "nightly", JobChanges(encrypt="password:office"))
    shop.session()
    old, new = (read_kit([shop.folder / name]) for name in ("kit", "kit2"))
    chain = shop.chain()
    assert len(chain.wrapped.unlock(RecoveryUnlocker(new.seed), Trust()).chain_keys) == 2
    assert len(chain.wrapped.unlock(RecoveryUnlocker(old.seed), Trust()).chain_keys) == 1
    assert prove(shop.ctx, [shop.folder / "kit2"]).ok
    assert not prove(shop.ctx, [shop.folder / "kit"]).ok


@pytest.mark.parametrize("content", [b"", b"nothing", b"x" * 100_000, b"\xff" * 50])
def test_a_file_that_is_no_kit_is_refused(shop, content) -> None:
    (shop.folder / "file").write_bytes(content)
    with pytest.raises(InvalidInputError):
        read_kit([shop.folder / "file"])
    with pytest.raises(InvalidInputError):
        read_kit([shop.folder / "missing"])


# --- keysets ----------------------------------------------------------------------------------


def test_keys_are_listed_with_what_depends_on_each(shop) -> None:
    protected_job(shop)
    shop.clock.advance(timedelta(hours=1))
    recovery.create(shop.ctx, shop.folder / "kit2")
    old, new = recovery.list_all(shop.ctx)
    assert (old.active, old.jobs, old.chains) == (False, ("nightly",), 1)
    assert (new.active, new.jobs, new.chains) == (True, ("nightly",), 0)
    assert recovery.show(shop.ctx, old.key_id[:8]) == old
    with pytest.raises(NotFoundError, match="no recovery key"):
        recovery.show(shop.ctx, "0123" * 8)
    with pytest.raises(InvalidInputError, match="at least 4"):
        recovery.show(shop.ctx, "0")


def test_an_older_key_can_be_gone_back_to(shop) -> None:
    first = recovery.create(shop.ctx, shop.folder / "kit").key.key_id
    recovery.create(shop.ctx, shop.folder / "kit2")
    result = recovery.activate(shop.ctx, first)
    assert recovery.show(shop.ctx).key_id == first == result.key.key_id
    assert any("older kit" in notice for notice in result.notices)
    assert [view.active for view in recovery.list_all(shop.ctx)].count(True) == 1


def test_a_key_whose_public_half_is_gone_is_not_gone_back_to(shop) -> None:
    first = recovery.create(shop.ctx, shop.folder / "kit").key.key_id
    second = recovery.create(shop.ctx, shop.folder / "kit2").key.key_id
    shop.ctx.keystore.delete(RecoveryRecord, first)
    with pytest.raises(UnlockError, match="no record"):
        recovery.activate(shop.ctx, first)
    assert recovery.show(shop.ctx).key_id == second
    recovery.import_kit(shop.ctx, [shop.folder / "kit"])
    assert recovery.show(shop.ctx).key_id == first


def test_ending_the_protection_has_to_be_confirmed(shop) -> None:
    protected_job(shop)
    key_id = recovery.show(shop.ctx).key_id
    with pytest.raises(ConfirmationNeededError, match="lost backups"):
        recovery.deactivate(shop.ctx, key_id)
    assert len(keys.recipients(shop.ctx, shop.the_job())) == 2
    recovery.deactivate(shop.ctx, key_id, yes_weaken=True)
    assert len(keys.recipients(shop.ctx, shop.the_job())) == 1
    with pytest.raises(NotFoundError, match="not the active one"):
        recovery.deactivate(shop.ctx, key_id, yes_weaken=True)
    assert prove(shop.ctx, [shop.folder / "kit"]).ok


def test_an_imported_kit_protects_and_leaves_nothing_of_its_secret(shop) -> None:
    kit = make_kit(random.seed(), "aaaa-bbbb", shop.clock.now())
    (shop.folder / "kit").write_text(format_kit(kit))
    result = recovery.import_kit(shop.ctx, [shop.folder / "kit"])
    assert any("does not say" in notice for notice in result.notices)
    shop.repository()
    shop.password()
    shop.job(encrypt="password:office")
    shop.session()
    assert shop.chain().wrapped.unlock(RecoveryUnlocker(kit.seed), Trust()).opens_data
    for file in (shop.folder / "home").rglob("*"):
        if file.is_file():
            assert kit.seed.expose() not in file.read_bytes()
    again = recovery.import_kit(shop.ctx, [shop.folder / "kit"])
    assert len(recovery.list_all(shop.ctx)) == 1
    assert not any("older kit" in notice for notice in again.notices)


# --- shares and pages -------------------------------------------------------------------------


def test_shares_are_written_for_their_owner_alone_and_any_few_are_the_kit(shop) -> None:
    folder = shop.folder / "shares"
    result = recovery.create(shop.ctx, folder, sharing=recovery.Sharing(2, 3))
    files = sorted(folder.iterdir())
    assert result.paths == tuple(map(str, files))
    assert [file.name for file in files] == [f"share-{n}-of-3.txt" for n in (1, 2, 3)]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    for chosen in (files[:2], files[1:], files[::2]):
        assert read_kit(chosen).key_id.hex() == result.key.key_id
    with pytest.raises(InvalidInputError, match="1 more of the 3"):
        read_kit(files[:1])
    with pytest.raises(ConflictError):
        recovery.create(shop.ctx, folder, sharing=recovery.Sharing(2, 3))
    assert sorted(folder.iterdir()) == files
    assert recovery.show(shop.ctx) == result.key


def test_half_a_set_of_shares_is_taken_back(shop) -> None:
    folder = shop.folder / "shares"
    folder.mkdir()
    (folder / "share-3-of-3.txt").write_text("in the way")
    with pytest.raises(ConflictError):
        recovery.create(shop.ctx, folder, sharing=recovery.Sharing(2, 3))
    assert [file.name for file in folder.iterdir()] == ["share-3-of-3.txt"]
    with pytest.raises(NotFoundError):
        recovery.show(shop.ctx)


def test_text_and_page_are_one_kit(shop) -> None:
    kit, page = shop.folder / "kit", shop.folder / "kit.html"
    result = recovery.create(shop.ctx, kit, page=page)
    assert read_kit([kit]) == read_kit([page])
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert result.paths == (str(kit), str(page))
    with pytest.raises(InvalidInputError, match="one recovery kit"):
        read_kit([kit, page])


def test_pages_of_shares_join_as_texts_do(shop) -> None:
    folder = shop.folder / "pages"
    result = recovery.create(shop.ctx, None, page=folder, sharing=recovery.Sharing(2, 2))
    assert read_kit(sorted(folder.iterdir())).key_id.hex() == result.key.key_id


def test_a_kit_and_a_share_do_not_mix(shop) -> None:
    recovery.create(shop.ctx, shop.folder / "kit")
    recovery.create(shop.ctx, shop.folder / "shares", sharing=recovery.Sharing(2, 2))
    with pytest.raises(InvalidInputError, match="not several keys"):
        read_kit([shop.folder / "kit", shop.folder / "shares" / "share-1-of-2.txt"])


def test_readers_take_kits_and_shares_of_several_keys_together(shop) -> None:
    kit, page = shop.folder / "kit", shop.folder / "kit.html"
    old = recovery.create(shop.ctx, kit, page=page)
    new = recovery.create(shop.ctx, shop.folder / "shares", sharing=recovery.Sharing(2, 2))
    shares = sorted((shop.folder / "shares").iterdir())
    found = read_kits([kit, shares[0], page, shares[1]])
    assert [one.key_id.hex() for one in found] == [old.key.key_id, new.key.key_id]
    assert read_kits([]) == []
    with pytest.raises(InvalidInputError, match="1 more"):
        read_kits([kit, shares[0]])


def test_nowhere_to_write_makes_no_key(shop) -> None:
    with pytest.raises(InvalidInputError, match="where"):
        recovery.create(shop.ctx, None)
    with pytest.raises(NotFoundError):
        recovery.show(shop.ctx)


# --- drill ------------------------------------------------------------------------------------


def test_a_failed_drill_is_remembered_as_failed(shop) -> None:
    protected_job(shop)
    assert prove(shop.ctx, [shop.folder / "kit"]).ok
    assert recovery.show(shop.ctx).tested_ok is True
    shop.clock.advance(timedelta(days=1))
    storage = shop.storages["/main"]
    for info in list(storage.list(layout.envelopes(shop.chain().chain_id))):
        storage.delete(info.key)
    assert not prove(shop.ctx, [shop.folder / "kit"]).ok
    view = recovery.show(shop.ctx)
    assert (view.tested_ok, view.tested_at) == (False, shop.clock.now())


def test_a_drill_with_nothing_to_open_is_no_drill(shop) -> None:
    shop.repository()
    recovery.create(shop.ctx, shop.folder / "kit")
    prove(shop.ctx, [shop.folder / "kit"])
    assert recovery.show(shop.ctx).tested_at is None


def test_a_recovery_key_that_the_keystore_lost_is_said_to_be_and_comes_back_from_its_kit(
    shop,
) -> None:
    protected_job(shop)
    for name in shop.ctx.keystore.names(RecoveryRecord):
        shop.ctx.keystore.delete(RecoveryRecord, name)
    with pytest.raises(UnlockError, match="recovery key") as caught:
        keys.recipients(shop.ctx, shop.the_job())
    assert "recovery import" in str(caught.value.hint)
    recovery.import_kit(shop.ctx, [shop.folder / "kit"])
    assert len(keys.recipients(shop.ctx, shop.the_job())) == 2
