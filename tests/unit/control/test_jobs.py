from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from strongroom.catalog import chains
from strongroom.control import jobs, keys, recovery
from strongroom.control.attempts import MOST_FAILURES
from strongroom.control.jobs import UNSET, JobChanges
from strongroom.errors import (
    AttemptsLockedError,
    ConfirmationNeededError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    UnlockError,
)


def change(shop, **changes: Any):
    confirmed = {
        name: changes.pop(name) for name in ("yes", "yes_weaken", "old") if name in changes
    }
    return jobs.edit(shop.ctx, "nightly", JobChanges(**changes), **confirmed)


def test_a_created_job_is_shown_as_it_was_asked_for(shop) -> None:
    shop.repository()
    shop.password()
    result = shop.job(encrypt="password:office", sources=("files:/", "command:date"), keep_last=9)
    view = jobs.show(shop.ctx, "nightly")
    assert view == result.job == jobs.list_all(shop.ctx)[0]
    assert view.sources == ("files:/", "command:date")
    assert (view.encrypt, view.keep_last, view.keep_days) == ("password:office", 9, None)
    assert (view.chain, view.last_state, view.protected) == (None, None, False)


def test_without_rules_fourteen_days_are_kept(shop) -> None:
    shop.repository()
    assert (shop.job().job.keep_last, shop.job("b").job.keep_days) == (None, 14)


def test_an_encrypted_job_without_recovery_key_says_what_a_lost_password_costs(shop) -> None:
    shop.repository()
    shop.password()
    (warning,) = shop.job(encrypt="password:office").warnings
    assert "lost" in warning
    assert "recovery create" in warning
    recovery.create(shop.ctx, shop.folder / "kit")
    protected = shop.job("b", encrypt="password:office")
    assert protected.warnings == ()
    assert protected.job.protected
    assert shop.job("c", encrypt="password:office", recovery=False).warnings != ()


def test_a_plain_job_says_who_can_read_it(shop) -> None:
    shop.repository()
    (warning,) = shop.job().warnings
    assert "not encrypted" in warning


def test_a_relative_path_is_taken_from_the_present_folder(shop, monkeypatch) -> None:
    shop.repository()
    monkeypatch.chdir(shop.folder)
    result = shop.job(sources=("files:data",))
    assert result.job.sources == (f"files:{shop.folder}/data",)
    assert any("not there" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"name": ".x"}, InvalidInputError),
        ({"encrypt": "password:nobody"}, NotFoundError),
        ({"encrypt": ""}, InvalidInputError),
        ({"sources": ()}, InvalidInputError),
        ({"sources": ("tape:/x",)}, InvalidInputError),
        ({"compression": "best"}, InvalidInputError),
        ({"block_size": 3}, InvalidInputError),
        ({"keep_days": 0}, InvalidInputError),
    ],
)
def test_a_job_that_cannot_be_is_refused(shop, options, error) -> None:
    shop.repository()
    with pytest.raises(error):
        shop.job(**options)
    assert jobs.list_all(shop.ctx) == ()


def test_a_job_needs_its_repository_and_a_name_of_its_own(shop) -> None:
    with pytest.raises(NotFoundError, match="main"):
        shop.job()
    shop.repository()
    shop.job()
    with pytest.raises(ConflictError, match="nightly"):
        shop.job()


# --- change ---------------------------------------------------------------------------------


def test_what_is_not_said_stays(shop) -> None:
    shop.repository()
    before = shop.job(keep_last=5, exclude=("*.o",), pre_script="true").job
    after = change(shop, compression="high", pre_script=None).job
    assert after.compression == "high"
    assert after.pre_script is None
    assert (after.keep_last, after.exclude, after.job_id) == (5, ("*.o",), before.job_id)
    assert repr(UNSET) == "UNSET"


def test_a_source_that_stays_keeps_its_id(shop) -> None:
    shop.repository()
    shop.job(sources=("files:/", "command:date"))
    kept = shop.the_job().sources[1]
    change(shop, sources=("command:date", "command:true"))
    assert shop.the_job().sources[0] == kept
    change(shop, remove_sources=("command:true",), add_sources=("files:/etc",))
    assert [str(source) for source in shop.the_job().sources] == ["command:date", "files:/etc"]
    with pytest.raises(NotFoundError, match="no source"):
        change(shop, remove_sources=("files:/nowhere",))


def test_turning_encryption_off_is_confirmed_and_announced(shop) -> None:
    shop.repository()
    shop.password()
    shop.job(encrypt="password:office")
    shop.session()
    for confirmation in ({}, {"yes": True}):
        with pytest.raises(ConfirmationNeededError, match="encryption is turned off"):
            change(shop, encrypt="none", **confirmation)
    assert jobs.show(shop.ctx, "nightly").encrypt == "password:office"
    result = change(shop, encrypt="none", yes_weaken=True)
    assert any("full in a new chain" in notice for notice in result.notices)
    assert any("not encrypted" in warning for warning in result.warnings)


def test_turning_encryption_on_is_announced_and_needs_no_confirmation(shop) -> None:
    shop.repository()
    shop.password()
    shop.job()
    shop.session()
    result = change(shop, encrypt="password:office")
    assert any("encryption is turned on" in notice for notice in result.notices)


def test_dropping_the_recovery_key_is_confirmed(shop) -> None:
    shop.repository()
    shop.password()
    shop.job(encrypt="password:office")
    with pytest.raises(ConfirmationNeededError, match="recovery key"):
        change(shop, recovery=False)
    change(shop, recovery=False, yes_weaken=True)


def test_lowering_retention_shows_what_would_go_and_needs_yes(shop) -> None:
    shop.repository()
    shop.job(keep_days=30)
    ids = []
    for _ in range(10):
        ids += shop.session()
        shop.clock.advance(timedelta(days=1))
    with pytest.raises(ConfirmationNeededError) as caught:
        change(shop, keep_days=5)
    # Ten points of one to ten days; those of five days and more go.
    assert caught.value.fields["would_remove"] == [point.hex() for point in ids[:6]]
    assert jobs.show(shop.ctx, "nightly").keep_days == 30
    result = change(shop, keep_days=5, yes=True)
    assert result.would_remove == tuple(point.hex() for point in ids[:6])
    assert jobs.show(shop.ctx, "nightly").keep_days == 5


@pytest.mark.parametrize(
    ("before", "after", "shorter"),
    [
        ({"keep_days": 5}, {"keep_days": 6}, False),
        ({"keep_days": 5}, {"keep_last": 3}, False),
        ({"keep_days": 5}, {"keep_days": 4}, True),
        ({"keep_days": 5, "keep_last": 3}, {"keep_last": None}, True),
        ({"keep_days": 5, "keep_last": 3}, {"keep_last": 9, "keep_days": None}, True),
    ],
)
def test_what_could_let_a_point_go_counts_as_shorter(shop, before, after, shorter) -> None:
    shop.repository()
    shop.job(**before)
    if not shorter:
        change(shop, **after)
        return
    with pytest.raises(ConfirmationNeededError, match="retention is shortened"):
        change(shop, **after)
    change(shop, **after, yes=True)


def test_a_retention_without_rules_is_refused(shop) -> None:
    shop.repository()
    shop.job(keep_days=5)
    with pytest.raises(InvalidInputError):
        change(shop, keep_days=None, yes=True)


def test_another_password_makes_key_and_link_at_once(shop, second) -> None:
    shop.repository()
    shop.password()
    shop.password("home", second)
    shop.job(encrypt="password:office")
    shop.session()
    before = chains.current(shop.ctx.database, shop.the_job().job_id)
    result = change(shop, encrypt="password:home")
    after = chains.current(shop.ctx.database, shop.the_job().job_id)
    assert before is not None
    assert after is not None
    assert after.chain_id == before.chain_id
    assert after.chain_key_id != before.chain_key_id
    assert after.recipient_ids == keys.wanted(shop.ctx, shop.the_job()).recipient_ids
    assert any("increment" in notice for notice in result.notices)


def test_a_new_recovery_key_is_linked_when_a_write_only_job_is_given_its_password(
    shop, first
) -> None:
    shop.repository()
    shop.password(write_only=True)
    shop.job(encrypt="password:office")
    shop.session()
    made = recovery.create(shop.ctx, shop.folder / "kit")
    assert any("job edit nightly --encrypt password:office" in line for line in made.notices)
    result = change(shop, encrypt="password:office", old=shop.secret(first))
    assert any("increment" in notice for notice in result.notices)
    row = chains.current(shop.ctx.database, shop.the_job().job_id)
    assert row is not None
    assert len(row.recipient_ids) == 2


def test_guesses_at_the_present_password_of_a_write_only_job_are_counted(
    shop, first, second
) -> None:
    shop.repository()
    shop.password(write_only=True)
    shop.password("home", second)
    shop.job(encrypt="password:office")
    shop.session()
    for _ in range(MOST_FAILURES):
        with pytest.raises(UnlockError):
            change(shop, encrypt="password:home", old=shop.secret(second))
    with pytest.raises(AttemptsLockedError):
        change(shop, encrypt="password:home", old=shop.secret(first))


def test_sealing_it_for_whom_it_is_sealed_changes_nothing(shop) -> None:
    shop.repository()
    shop.password()
    shop.job(encrypt="password:office")
    shop.session()
    assert not change(shop, encrypt="password:office").changed


def test_a_job_can_be_renamed_but_not_to_anothers_name(shop) -> None:
    shop.repository()
    shop.job()
    shop.job("hourly")
    with pytest.raises(ConflictError):
        change(shop, name="hourly")
    assert change(shop, name="daily").job.name == "daily"


def test_another_repository_is_announced(shop) -> None:
    shop.repository()
    shop.repository("second")
    shop.job()
    shop.session()
    result = change(shop, repository="second")
    assert any("full in second" in notice for notice in result.notices)
    result = change(shop, repository="main")
    assert any("goes on from the points that are in main" in notice for notice in result.notices)


def test_a_change_that_changes_nothing_says_so(shop) -> None:
    shop.repository()
    shop.job(keep_days=5)
    assert not change(shop, keep_days=5).changed
    assert change(shop, keep_days=6).changed


# --- the rest -------------------------------------------------------------------------------


def test_removing_a_job_is_confirmed_and_leaves_its_points(shop) -> None:
    shop.repository()
    shop.job()
    shop.session()
    with pytest.raises(ConfirmationNeededError, match=r"its points \(1\) go on by its rules"):
        jobs.remove(shop.ctx, "nightly")
    chain = shop.chain()
    assert jobs.remove(shop.ctx, "nightly", yes=True).job.name == "nightly"
    with pytest.raises(NotFoundError):
        jobs.show(shop.ctx, "nightly")
    assert len(chain.live_points()) == 1


def test_a_detached_chain_is_followed_by_another(shop) -> None:
    shop.repository()
    shop.job()
    with pytest.raises(NotFoundError, match="no chain"):
        jobs.detach(shop.ctx, "nightly")
    shop.session()
    chain = shop.chain()
    result = jobs.detach(shop.ctx, "nightly")
    assert any("full in a new chain" in notice for notice in result.notices)
    shop.session()
    assert shop.chain().chain_id != chain.chain_id


def test_a_home_directory_is_expanded(shop, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(shop.folder))
    shop.repository()
    assert shop.job(sources=("files:~/x",)).job.sources == (f"files:{Path(shop.folder)}/x",)


def test_a_pattern_that_names_the_source_s_own_path_is_told_to_fit_nothing(shop, tmp_path) -> None:
    shop.repository()
    (tmp_path / "logs").mkdir()
    given = {"sources": (f"files:{tmp_path}",)}
    right = shop.job("other", exclude=("/logs", "*.tmp", f"{tmp_path}x"), **given)
    wrong = shop.job(exclude=(f"{tmp_path}/logs",), **given)
    (told,) = set(wrong.warnings) - {one.replace("other", "nightly") for one in right.warnings}
    assert told.endswith("; /logs may be meant")
    assert told not in change(shop, keep_days=30).warnings
    assert told in change(shop, exclude=(*wrong.job.exclude, "*.tmp")).warnings
