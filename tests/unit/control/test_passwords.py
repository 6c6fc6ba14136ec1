from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from strongroom.catalog import chains, points
from strongroom.control import jobs, keys, passwords
from strongroom.control.secrets import SecretSource
from strongroom.crypto.keys import Password
from strongroom.crypto.recipients import PasswordUnlocker
from strongroom.errors import (
    ConfirmationNeededError,
    ConflictError,
    InUseError,
    InvalidInputError,
    NoRecipientMatchedError,
    NotFoundError,
    SecretNeededError,
    StorageUnavailableError,
    UnlockError,
    WeakPasswordError,
)
from strongroom.keystore import PasswordRecord
from strongroom.repository.chain import Trust
from tests.support.installation import PASSWORD, Installation, secret

if TYPE_CHECKING:
    from strongroom.repository.keyring import Keyring


def opened(shop, text: str, name: str = "nightly") -> Keyring:
    """Open the job's chain as a clean machine does: with the repository and one password."""
    return shop.chain(name).wrapped.unlock(PasswordUnlocker(Password.from_text(text)), Trust())


def seeds(shop) -> dict[str, bool]:
    keystore = shop.ctx.keystore
    return {
        name.rpartition("/")[2]: keystore.get(PasswordRecord, name).seed is not None
        for name in keystore.names(PasswordRecord)
    }


def test_an_added_password_is_listed_without_its_secret(shop, first) -> None:
    result = passwords.add(shop.ctx, "office", shop.secret(first), hint="blue note")
    assert any("public" in notice for notice in result.notices)
    (view,) = passwords.list_all(shop.ctx)
    assert view == result.password == passwords.show(shop.ctx, "office")
    assert (view.name, view.hint, view.version, view.write_only) == (
        "office",
        "blue note",
        1,
        False,
    )
    assert first not in repr(view)


def test_two_passwords_of_one_text_have_different_keys(shop, first) -> None:
    shop.password("a", first)
    shop.password("b", first)
    one, other = passwords.list_all(shop.ctx)
    assert one.key_id != other.key_id


@pytest.mark.parametrize("text", ["short-1A", "alllowercaseletters", "Password1234!"])
def test_a_weak_password_is_refused_and_nothing_is_kept(shop, text) -> None:
    with pytest.raises(WeakPasswordError):
        shop.password(text=text)
    assert passwords.list_all(shop.ctx) == ()


def test_a_name_is_taken_once(shop) -> None:
    shop.password()
    with pytest.raises(ConflictError, match="office"):
        shop.password()
    with pytest.raises(InvalidInputError):
        shop.password("-x")


def test_verify_tells_the_right_secret_from_a_wrong_one(shop, first, second) -> None:
    shop.password(hint="blue note")
    shop.clock.advance(shop.clock.now() - shop.clock.now().replace(hour=11))
    assert passwords.verify(shop.ctx, "office", shop.secret(first)).verified_at == shop.clock.now()
    with pytest.raises(NoRecipientMatchedError, match="blue note"):
        passwords.verify(shop.ctx, "office", shop.secret(second))
    with pytest.raises(NotFoundError):
        passwords.verify(shop.ctx, "home", shop.secret(first))


def test_a_write_only_password_leaves_no_secret_behind(shop) -> None:
    result = passwords.add(shop.ctx, "office", shop.secret("first-Pass-of-2026"), write_only=True)
    assert any("will be asked" in notice for notice in result.notices)
    assert seeds(shop) == {"1": False}


# --- change ---------------------------------------------------------------------------------


def test_a_change_makes_key_and_link_at_once_and_the_newest_opens_all(shop, first, second) -> None:
    shop.repository()
    shop.password()
    shop.job(encrypt="password:office")
    shop.session()
    result = passwords.edit(shop.ctx, "office", secret=shop.secret(second))
    assert (result.rekeyed, result.pending) == (("nightly",), ())
    assert result.password.version == 2
    row = chains.current(shop.ctx.database, shop.the_job().job_id)
    assert row is not None
    assert row.recipient_ids == keys.wanted(shop.ctx, shop.the_job()).recipient_ids
    shop.session()
    body = shop.chain().newest_session.body
    records = [record for _, record in shop.chain().sessions(body).items()]
    assert len(opened(shop, second).chain_keys) == 2
    for record in records:
        opened(shop, second).secrets(record)
    assert len(opened(shop, first).chain_keys) == 1
    with pytest.raises(UnlockError):
        opened(shop, first).secrets(records[-1])


@pytest.mark.parametrize("write_only", [False, True])
@pytest.mark.parametrize("changed", ["the password", "which password"])
def test_the_newest_opens_what_earlier_fulls_began_as_well(
    tmp_path, second, write_only: bool, changed: str
) -> None:
    there = Installation.with_password_alone(tmp_path)
    if write_only:
        passwords.edit(there.ctx, "office", write_only=True)
    older = [there.point_of("first"), there.point_of("second", full=True)]
    newest = there.point_of("third", full=True)
    assert len(there.chain_ids()) == 3
    if changed == "the password":
        result = passwords.edit(there.ctx, "office", secret=secret(second), old=secret(PASSWORD))
        assert result.rekeyed == ("nightly",)
    else:
        passwords.add(there.ctx, "other", secret(second))
        changes = jobs.JobChanges(encrypt="password:other")
        jobs.edit(there.ctx, "nightly", changes, old=secret(PASSWORD), yes_weaken=True)

    bare = there.bare(recovery_keys=(), secrets=(secret(second),))

    for number, (point, content) in enumerate(
        zip([*older, newest], ["first", "second", "third"], strict=True)
    ):
        bare.restore(point, tmp_path / f"restored-{number}")
        assert (tmp_path / f"restored-{number}" / "file").read_text() == content


def test_a_chain_that_was_split_off_stays_closed_to_what_comes_later(tmp_path, second) -> None:
    there = Installation.with_password_alone(tmp_path)
    before = there.point_of("before")
    jobs.detach(there.ctx, "nightly")
    there.point_of("after")
    passwords.edit(there.ctx, "office", secret=secret(second))

    with pytest.raises(UnlockError):
        there.bare(recovery_keys=(), secrets=(secret(second),)).restore(before, tmp_path / "out")


def test_an_older_chain_that_cannot_be_linked_holds_up_nothing(tmp_path, second) -> None:
    there = Installation.with_password_alone(tmp_path)
    there.point_of("before")
    (lost,) = there.chain_ids()
    there.point_of("after", full=True)
    there.storage.hide(f"headers/{lost}")

    result = passwords.edit(there.ctx, "office", secret=secret(second))

    assert result.rekeyed == ("nightly",)
    assert any(f"older chain {lost[:12]}" in notice for notice in result.notices)


def test_the_old_seed_goes_once_the_link_is_made(shop, second) -> None:
    shop.repository()
    shop.password()
    shop.job(encrypt="password:office")
    shop.session()
    passwords.edit(shop.ctx, "office", secret=shop.secret(second))
    assert seeds(shop) == {"1": False, "2": True}


def test_the_old_seed_stays_while_a_chain_still_needs_it(shop, first, second) -> None:
    shop.repository()
    shop.password()
    shop.job(encrypt="password:office")
    shop.session()
    jobs.detach(shop.ctx, "nightly")
    result = passwords.edit(shop.ctx, "office", secret=shop.secret(second))
    assert result.rekeyed == ()
    assert seeds(shop) == {"1": True, "2": True}
    opened(shop, first)


def test_a_stored_secret_can_wait_for_a_repository_that_does_not_answer(
    shop, second, monkeypatch
) -> None:
    shop.repository()
    shop.password()
    shop.job(encrypt="password:office")
    shop.session()
    with monkeypatch.context() as away:
        away.setattr(shop.ctx, "_open_storage", unreachable)
        result = passwords.edit(shop.ctx, "office", secret=shop.secret(second))
    assert result.pending == ("nightly",)
    assert any("next session" in notice for notice in result.notices)
    assert seeds(shop) == {"1": True, "2": True}


def unreachable(location: str, create: bool) -> None:
    raise StorageUnavailableError(f"{location} does not answer")


def test_a_write_only_change_asks_for_the_old_password_once(shop, first, second) -> None:
    shop.repository()
    shop.password(write_only=True)
    shop.job("nightly", encrypt="password:office")
    shop.job("hourly", encrypt="password:office")
    shop.session("nightly")
    shop.session("hourly")
    result = passwords.edit(shop.ctx, "office", secret=shop.secret(second), old=shop.typing(first))
    assert sorted(result.rekeyed) == ["hourly", "nightly"]
    assert shop.asked == ["present password office"]
    for job in ("nightly", "hourly"):
        assert len(opened(shop, second, job).chain_keys) == 2
        record = keys.chain_record(shop.ctx, shop.chain(job).chain_id)
        assert record is not None
        assert record.chain_key_seed is None
    assert seeds(shop) == {"1": False, "2": False}


def test_a_write_only_change_without_the_old_password_starts_a_new_chain(shop, second) -> None:
    shop.repository()
    shop.password(write_only=True)
    shop.job(encrypt="password:office")
    shop.session()
    result = passwords.edit(shop.ctx, "office", secret=shop.secret(second))
    assert result.pending == ("nightly",)
    assert any("new chain" in notice for notice in result.notices)


def test_a_wrong_old_password_changes_nothing(shop, first, second) -> None:
    shop.repository()
    shop.password(write_only=True)
    shop.job(encrypt="password:office")
    shop.session()
    before = list(shop.storages["/main"].list())
    with pytest.raises(UnlockError, match="present key"):
        passwords.edit(
            shop.ctx, "office", secret=shop.secret(second), old=shop.secret("not-The-Pass-9")
        )
    with pytest.raises(SecretNeededError, match="once"):
        passwords.edit(shop.ctx, "office", secret=shop.secret(second), old=SecretSource())
    assert list(shop.storages["/main"].list()) == before
    passwords.verify(shop.ctx, "office", shop.secret(first))


def test_a_write_only_change_fails_cleanly_when_the_repository_is_away(
    shop, first, second, monkeypatch
) -> None:
    shop.repository()
    shop.password(write_only=True)
    shop.job(encrypt="password:office")
    shop.session()
    with monkeypatch.context() as away:
        away.setattr(shop.ctx, "_open_storage", unreachable)
        with pytest.raises(StorageUnavailableError) as caught:
            passwords.edit(shop.ctx, "office", secret=shop.secret(second), old=shop.secret(first))
    assert "nothing was changed" in str(caught.value.hint)
    assert passwords.show(shop.ctx, "office").version == 1
    passwords.verify(shop.ctx, "office", shop.secret(first))


@pytest.mark.parametrize("typed", [False, True], ids=["named", "typed"])
def test_the_present_secret_given_again_leaves_password_and_chain_as_they_are(
    shop, first, typed: bool
) -> None:
    shop.repository()
    shop.password(write_only=True)
    shop.job(encrypt="password:office")
    shop.session()
    row = chains.current(shop.ctx.database, shop.the_job().job_id)
    before = list(shop.storages["/main"].list())
    # Typed, it is asked for as the present one, and twice as the new one.
    secret = shop.typing(first, first) if typed else shop.secret(first)
    old = shop.typing(first) if typed else None

    result = passwords.edit(shop.ctx, "office", secret=secret, old=old, hint="blue note")

    assert (result.rekeyed, result.pending, result.password.version) == ((), (), 1)
    assert result.password.hint == "blue note"
    assert chains.current(shop.ctx.database, shop.the_job().job_id) == row
    assert list(shop.storages["/main"].list()) == before
    assert seeds(shop) == {"1": False}


def test_the_present_secret_of_a_write_only_password_is_kept_if_that_was_asked_for(
    shop, first
) -> None:
    shop.password(write_only=True)
    kept = {"secret": shop.secret(first), "write_only": False}
    with pytest.raises(ConfirmationNeededError):
        passwords.edit(shop.ctx, "office", **kept)
    assert not passwords.edit(shop.ctx, "office", yes_weaken=True, **kept).password.write_only
    assert seeds(shop) == {"1": True}


def test_a_link_that_was_left_out_can_be_made_up_for_with_both_secrets(shop, first, second) -> None:
    shop.repository()
    shop.password(write_only=True)
    shop.job(encrypt="password:office")
    shop.session()
    assert passwords.edit(shop.ctx, "office", secret=shop.secret(second)).pending == ("nightly",)

    both = {"secret": shop.secret(second), "old": shop.secret(first)}
    assert passwords.edit(shop.ctx, "office", **both).rekeyed == ("nightly",)

    assert len(opened(shop, second).chain_keys) == 2


def test_a_hint_changes_without_a_new_secret(shop, first) -> None:
    shop.password(hint="old note")
    result = passwords.edit(shop.ctx, "office", hint="new note")
    assert (result.password.hint, result.password.version) == ("new note", 1)
    with pytest.raises(NoRecipientMatchedError, match="new note"):
        passwords.verify(shop.ctx, "office", shop.secret("not-The-Pass-9"))
    passwords.verify(shop.ctx, "office", shop.secret(first))


def test_becoming_write_only_forgets_what_opens_the_backups(shop, first) -> None:
    shop.repository()
    shop.password()
    shop.job(encrypt="password:office")
    shop.session()
    result = passwords.edit(shop.ctx, "office", write_only=True)
    assert any("will be asked" in notice for notice in result.notices)
    assert seeds(shop) == {"1": False}
    record = keys.chain_record(shop.ctx, shop.chain().chain_id)
    assert record is not None
    assert record.chain_key_seed is None
    opened(shop, first)


def test_dropping_write_only_is_a_weakening_and_needs_the_password(shop, first) -> None:
    shop.password(write_only=True)
    with pytest.raises(ConfirmationNeededError):
        passwords.edit(shop.ctx, "office", write_only=False, old=shop.secret(first))
    with pytest.raises(InvalidInputError, match="given"):
        passwords.edit(shop.ctx, "office", write_only=False, yes_weaken=True)
    with pytest.raises(NoRecipientMatchedError):
        passwords.edit(
            shop.ctx, "office", write_only=False, old=shop.secret("not-The-Pass-9"), yes_weaken=True
        )
    passwords.edit(shop.ctx, "office", write_only=False, old=shop.secret(first), yes_weaken=True)
    assert seeds(shop) == {"1": True}


def test_a_change_of_nothing_is_refused(shop) -> None:
    shop.password()
    with pytest.raises(InvalidInputError, match="nothing"):
        passwords.edit(shop.ctx, "office")


# --- remove ---------------------------------------------------------------------------------


def test_a_password_that_a_job_names_is_not_removed(shop) -> None:
    shop.repository()
    shop.password()
    shop.job(encrypt="password:office")
    with pytest.raises(InUseError) as caught:
        passwords.remove(shop.ctx, "office")
    assert caught.value.fields["users"] == ["job nightly"]


def test_a_password_that_points_need_is_not_removed(shop) -> None:
    shop.repository()
    shop.password()
    shop.job(encrypt="password:office")
    ids = shop.session()
    jobs.remove(shop.ctx, "nightly", yes=True)
    with pytest.raises(InUseError, match="1 point of a removed job"):
        passwords.remove(shop.ctx, "office")
    points.remove_many(shop.ctx.database, ids)
    passwords.remove(shop.ctx, "office")
    assert passwords.list_all(shop.ctx) == ()
    assert seeds(shop) == {}


def test_a_password_is_free_when_another_took_its_place_in_the_chain(shop, second) -> None:
    shop.repository()
    shop.password()
    shop.password("home", second)
    shop.job(encrypt="password:office")
    shop.session()
    jobs.edit(shop.ctx, "nightly", jobs.JobChanges(encrypt="password:home"))
    passwords.remove(shop.ctx, "office")
    opened(shop, second)
