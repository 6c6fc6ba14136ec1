"""Vaults: what they refuse, what they keep, and what keeping costs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from strongroom.catalog import repositories as rows
from strongroom.catalog import vaults as vault_rows
from strongroom.catalog.vaults import Vault
from strongroom.control import copy_jobs, jobs, points, repositories, retention, vaults
from strongroom.control.context import Context
from strongroom.control.jobs import JobChanges
from strongroom.errors import (
    ConfirmationNeededError,
    EncryptionRequiredError,
    InvalidInputError,
    ObjectLockedError,
    PointLockedError,
)
from strongroom.model.immutability import Immutability
from strongroom.repository import layout
from strongroom.repository.newest_state import objects_of_newest_state
from strongroom.testing.locking_memory import LockingMemory

DAY = timedelta(days=1)
KEPT = Immutability(14, 10)


@pytest.fixture
def vault(shop):
    """Return a workshop whose only repository is a vault."""

    def lock_at(location: str, hold_for: timedelta, _create: bool) -> LockingMemory:
        storage = shop.storages.get(location)
        if storage is None:
            storage = shop.storages[location] = LockingMemory(hold_for, shop.clock)
        storage.hold_for = hold_for
        return storage

    assert isinstance(shop.ctx, Context)
    shop.ctx._open_locking = lock_at
    repositories.add(shop.ctx, "main", "/main", vault=Vault(KEPT))
    shop.password()
    return shop


def run(shop) -> list[bytes]:
    ids = shop.session()
    row = rows.get(shop.ctx.database, "main")
    begun = not vault_rows.locks(shop.ctx.database, row.repository_id)
    assert vaults.after_session(shop.ctx, row, shop.chain(), begun=begun) == []
    return ids


def storage(shop) -> LockingMemory:
    found = shop.storages["/main"]
    assert isinstance(found, LockingMemory)
    return found


# --- what it refuses ------------------------------------------------------------------------


def test_a_plain_job_is_not_copied_into_a_vault_and_that_is_said_at_once(vault) -> None:
    repositories.add(vault.ctx, "open", "/open")
    vault.job("plain", repository="open", encrypt="none")
    with pytest.raises(EncryptionRequiredError, match="job plain is not"):
        copy_jobs.create(vault.ctx, "away", "plain", "main", after_run=True)


def test_a_vault_takes_no_plain_job_and_nothing_is_asked_of_it(vault) -> None:
    vault.ctx._open_storage = vault.ctx._open_locking = None  # whoever opens it now fails
    with pytest.raises(EncryptionRequiredError):
        vault.job(encrypt="none")


def test_a_job_in_a_vault_cannot_be_made_plain_nor_a_plain_one_be_moved_there(vault) -> None:
    vault.job(encrypt="password:office")
    with pytest.raises(EncryptionRequiredError):
        jobs.edit(vault.ctx, "nightly", JobChanges(encrypt="none"), yes_weaken=True)
    vault.repository("other")
    vault.job("plain", repository="other")
    with pytest.raises(EncryptionRequiredError):
        jobs.edit(vault.ctx, "plain", JobChanges(repository="main"))


def test_a_repository_with_a_plain_job_becomes_no_vault(shop) -> None:
    shop.repository()
    shop.job()
    with pytest.raises(EncryptionRequiredError, match="nightly"):
        vaults.edit(shop.ctx, "main", vault=True)


def test_a_vault_without_days_demands_encryption_and_locks_nothing(shop) -> None:
    shop.repository()
    assert vaults.edit(shop.ctx, "main", vault=True).vault is not None
    shop.password()
    shop.job(encrypt="password:office")
    (point,) = shop.session()
    assert points.remove(shop.ctx, [point.hex()], yes=True).done


@pytest.mark.parametrize("days", [-1, 10000])
def test_impossible_days_are_refused(days: int) -> None:
    with pytest.raises(InvalidInputError):
        vaults.wanted(days, None)
    with pytest.raises(InvalidInputError):
        vaults.wanted(0, 5)


def test_protecting_less_is_confirmed_and_protecting_more_is_not(vault) -> None:
    assert vaults.edit(vault.ctx, "main", immutable_days=30).vault.immutable_days == 30
    for change in ({"immutable_days": 7}, {"immutable_days": 0}, {"vault": False}):
        with pytest.raises(ConfirmationNeededError):
            vaults.edit(vault.ctx, "main", **change)
    assert vaults.edit(vault.ctx, "main", vault=False, yes_weaken=True).vault is None


def test_a_vault_is_not_forgotten_by_the_way(vault) -> None:
    with pytest.raises(ConfirmationNeededError):
        repositories.remove(vault.ctx, "main")
    assert repositories.remove(vault.ctx, "main", yes_weaken=True).name == "main"


# --- what it keeps --------------------------------------------------------------------------


def test_every_object_of_a_repository_is_locked_but_those_that_come_and_go(vault) -> None:
    vault.job(encrypt="password:office")
    run(vault)
    keys = [info.key for info in storage(vault).list("")]
    assert {key.split("/")[0] for key in keys} >= {"chains", "headers", layout.MARKER}
    for key in keys:
        if key.startswith(("locks/", "probes/")):
            continue
        with pytest.raises(ObjectLockedError):
            storage(vault).delete(key)


def test_no_point_goes_before_its_day_by_retention_or_by_hand(vault) -> None:
    vault.job(encrypt="password:office", keep_last=1)
    ids = [run(vault)[0].hex() for _ in range(5)]
    assert all(point.stays for point in retention.plan(vault.ctx, "nightly").points)
    with pytest.raises(PointLockedError, match=ids[0]):
        points.remove(vault.ctx, [ids[0]], yes=True)
    vault.clock.advance(14 * DAY - timedelta(seconds=1))
    assert "locked by the vault" in retention.plan(vault.ctx, "nightly").points[0].reasons[0]
    vault.clock.advance(timedelta(seconds=1))
    assert [point.stays for point in retention.plan(vault.ctx, "nightly").points] == [
        *(False, False),
        *(True, True, True),
    ]
    assert points.remove(vault.ctx, [ids[0]], yes=True).done


def test_locks_are_extended_once_in_a_batch_and_hold_from_every_session_on(vault) -> None:
    """40 days, a session each: what the newest point needs never runs out before its day."""
    vault.job(encrypt="password:office")
    times = []
    for day in range(40):
        before = storage(vault).extended
        run(vault)
        if storage(vault).extended > before:
            times.append(day)
        promised = vault.clock.now() + KEPT.days * DAY
        for key in objects_of_newest_state(vault.chain()):
            until = storage(vault).locked_until(key)
            assert until is not None
            assert until >= promised
        vault.clock.advance(DAY)
    assert times == [11, 22, 33]


def test_protect_locks_anew_when_the_server_forgot(vault) -> None:
    vault.job(encrypt="password:office")
    run(vault)
    assert [one.extended for one in vaults.protect(vault.ctx, "main").chains] == [0]
    vault_rows.forget_locks(vault.ctx.database, rows.get(vault.ctx.database, "main").repository_id)
    (chain,) = vaults.protect(vault.ctx, "main").chains
    assert chain.extended == len(objects_of_newest_state(vault.chain()))
    assert chain.locked_until == vault.clock.now() + KEPT.lock_for


def test_a_chain_that_ended_long_ago_is_not_locked_again(vault) -> None:
    vault.job(encrypt="password:office")
    run(vault)
    vault.clock.advance(100 * DAY)
    assert [one.extended for one in vaults.protect(vault.ctx, "main", anew=True).chains] == [0]


def test_only_where_a_vault_locks_anything_is_the_clock_judged_strictly(vault) -> None:
    vault.repository("other")
    vaults.edit(vault.ctx, "other", vault=True)
    asked = ("main", "/main", "other", "/other", "/nowhere")
    assert [vaults.is_immutable(vault.ctx, where) for where in asked] == [
        *(True, True),
        *(False, False, False),
    ]
    assert vault_rows.any_locks(vault.ctx.database)
