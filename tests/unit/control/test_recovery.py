from __future__ import annotations

import stat

import pytest

from strongroom.catalog import recovery_keys
from strongroom.control import jobs, keys, recovery
from strongroom.control.jobs import JobChanges
from strongroom.control.recovery_drill import prove
from strongroom.control.recovery_files import read_kit
from strongroom.crypto.recipients import RecoveryUnlocker
from strongroom.errors import ConflictError, InvalidInputError, NotFoundError, RefusedError
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
    keyring = shop.chain().unlock(RecoveryUnlocker(kit.seed), Trust())
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
    assert len(chain.unlock(RecoveryUnlocker(new.seed), Trust()).chain_keys) == 2
    assert len(chain.unlock(RecoveryUnlocker(old.seed), Trust()).chain_keys) == 1
    assert prove(shop.ctx, [shop.folder / "kit2"]).ok
    assert not prove(shop.ctx, [shop.folder / "kit"]).ok


@pytest.mark.parametrize("content", [b"", b"nothing", b"x" * 100_000, b"\xff" * 50])
def test_a_file_that_is_no_kit_is_refused(shop, content) -> None:
    (shop.folder / "file").write_bytes(content)
    with pytest.raises(InvalidInputError):
        read_kit([shop.folder / "file"])
    with pytest.raises(InvalidInputError):
        read_kit([shop.folder / "missing"])
