"""Jobs that are read only with a secret that is given, on a server that could open them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from strongroom.catalog import chains as chain_rows
from strongroom.catalog import failed_attempts
from strongroom.catalog import passwords as password_rows
from strongroom.control import (
    audit,
    care,
    chain_jobs,
    inventory,
    jobs,
    passwords,
    points,
    recovery,
    recovery_request,
    report,
    repositories,
    rewrapping,
)
from strongroom.control.access import Access, open_reading
from strongroom.control.recovery_answer import answer, consider
from strongroom.crypto import random
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.index_reader import find_entry, pieces_of
from strongroom.engine.progress import NullProgress
from strongroom.errors import (
    AttemptsLockedError,
    ConfirmationNeededError,
    InUseError,
    InvalidInputError,
    NoRecipientMatchedError,
    SecretNeededError,
    SecretRequiredError,
    UnlockError,
)
from strongroom.format.block import BlockClass
from tests.support.installation import PASSWORD, Installation, secret
from tests.support.reading import flip

if TYPE_CHECKING:
    from pathlib import Path

GUARD = jobs.JobChanges(secret_to_read=True)
LIFT = jobs.JobChanges(secret_to_read=False)
OTHER = "Quiet-harbours-sell-9-violins"


@pytest.fixture
def guarded(shop) -> str:
    """A guarded job of a stored password, and the id of its point."""
    shop.repository()
    shop.password()
    shop.job(encrypt="password:office", secret_to_read=True)
    (point,) = shop.session()
    return point.hex()


def events(shop, name: str) -> list[tuple[str, str]]:
    found = audit.list_records(shop.ctx, event=name, limit=1000)
    return [(one.outcome, one.severity) for one in found]


# --- reading --------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [None, "/main"])
def test_what_the_keystore_holds_opens_no_names(shop, guarded, where) -> None:
    access = Access(where=where)
    (row,) = points.list_points(shop.ctx, access).points
    assert (row.locked, row.source, row.size_bytes) == (True, None, None)
    assert points.show(shop.ctx, access, guarded).machine is None
    for which in (guarded, guarded[:6], "nightly@latest", "nightly/command:true@latest"):
        with pytest.raises(SecretRequiredError, match="job nightly"):
            points.files(shop.ctx, access, which)
    with pytest.raises(SecretRequiredError):
        points.diff(shop.ctx, access, guarded, guarded)
    assert events(shop, "reading.refused") == [("refused", "warning")] * 5


def test_a_secret_that_is_given_opens_it(shop, guarded, first, tmp_path) -> None:
    access = Access(secrets=(shop.secret(first),))
    assert open_reading(shop.ctx, access, which=[guarded]).select(guarded).details is not None
    assert open_reading(shop.ctx, access).select("nightly@latest").id == guarded
    assert events(shop, "reading.refused") == []


def test_on_a_terminal_it_is_asked_for_the_point_that_is_meant(shop, guarded, first) -> None:
    shop.job("free", "password:office")
    (free,) = shop.session("free")
    shop.ctx.secrets = shop.typing(first)
    assert open_reading(shop.ctx, Access(), which=[free.hex()]).select("free@latest")
    assert points.list_points(shop.ctx, Access()).points
    assert shop.asked == []
    assert open_reading(shop.ctx, Access(), which=["nightly@latest"]).select(guarded)
    assert len(shop.asked) == 1


def test_other_jobs_are_read_as_before(shop, guarded) -> None:
    shop.job("free", "password:office")
    (free,) = shop.session("free")
    assert open_reading(shop.ctx, Access(), which=[free.hex()]).select(free.hex()).details


def test_the_words_that_tab_completes_are_those_of_the_catalog(shop, guarded) -> None:
    from strongroom.cli import options

    assert list(options._points(shop.ctx)) == ["nightly@latest"]
    assert events(shop, "keys.unwrapped") == []


def test_holding_and_removing_need_no_secret(shop, guarded) -> None:
    points.hold(shop.ctx, ["nightly@latest"])
    points.release(shop.ctx, [guarded])
    assert points.remove(shop.ctx, [guarded], yes=True).done


def test_a_removed_job_leaves_its_points_guarded(shop, guarded, first) -> None:
    jobs.remove(shop.ctx, "nightly", yes=True)
    with pytest.raises(SecretRequiredError, match="a removed job"):
        points.files(shop.ctx, Access(), guarded)
    request = jobs.JobRequest(name="mine", repository="main", sources=(), encrypt="password:office")
    chain = open_reading(shop.ctx, Access()).chains[0].chain_id.hex()
    with pytest.raises(SecretNeededError):
        chain_jobs.create(shop.ctx, request, chain, Access())
    given = Access(secrets=(shop.secret(first),))
    assert chain_jobs.create(shop.ctx, request, chain, given).job.secret_to_read


# --- guesses --------------------------------------------------------------------------------


def guess_wrong(shop, times: int) -> None:
    """Leave the password of the shop with wrong answers, without deriving each."""
    row = password_rows.get(shop.ctx.database, "office")
    for _ in range(times):
        failed_attempts.add(shop.ctx.database, random.token(16), row.password_id, shop.clock.now())


def test_guesses_are_counted_as_those_at_its_password(shop, guarded, first, second) -> None:
    guess_wrong(shop, 14)
    with pytest.raises(NoRecipientMatchedError):
        points.list_points(shop.ctx, Access(secrets=(shop.secret(second),)))
    with pytest.raises(AttemptsLockedError):
        points.list_points(shop.ctx, Access(secrets=(shop.secret(first),)))
    with pytest.raises(AttemptsLockedError):
        passwords.verify(shop.ctx, "office", shop.secret(first))
    assert (
        events(shop, "password.attempted") == [("failed", "warning")] + [("refused", "warning")] * 2
    )


@pytest.mark.parametrize("how", ["password", "rewrap", "lift"])
def test_no_other_command_is_a_way_to_guess(shop, guarded, first, second, how) -> None:
    def guess(text: str) -> None:
        old = shop.secret(text)
        if how == "password":
            passwords.edit(shop.ctx, "office", secret=shop.secret(OTHER), old=old)
        elif how == "rewrap":
            rewrapping.rewrap(shop.ctx, "nightly", old=Access(secrets=(old,)), dry_run=True)
        else:
            jobs.edit(shop.ctx, "nightly", LIFT, yes_weaken=True, proof=Access(secrets=(old,)))

    guess_wrong(shop, 14)
    with suppress(UnlockError):
        guess(second)
    with pytest.raises(AttemptsLockedError):
        guess(first)


def test_a_right_secret_is_no_guess(shop, guarded, first) -> None:
    guess_wrong(shop, 14)
    for _ in range(2):
        points.list_points(shop.ctx, Access(secrets=(shop.secret(first),)))


def test_who_reads_a_free_job_does_not_guess(shop, guarded, first) -> None:
    jobs.edit(
        shop.ctx, "nightly", LIFT, yes_weaken=True, proof=Access(secrets=(shop.secret(first),))
    )
    guess_wrong(shop, 14)
    with pytest.raises(NoRecipientMatchedError):
        points.list_points(shop.ctx, Access(secrets=(shop.secret(OTHER),)))
    points.list_points(shop.ctx, Access(secrets=(shop.secret(first),)))


# --- the setting ----------------------------------------------------------------------------


def test_it_is_shown(shop, guarded) -> None:
    assert jobs.show(shop.ctx, "nightly").secret_to_read
    assert report.make(shop.ctx).jobs[0].secret_to_read
    (key, _) = inventory.list_all(shop.ctx)
    assert (key.kind, key.guarded) == ("password", ("nightly",))


def test_a_job_without_encryption_has_no_secret_to_ask_for(shop) -> None:
    shop.repository()
    with pytest.raises(InvalidInputError, match="no secret"):
        shop.job(secret_to_read=True)
    shop.job()
    with pytest.raises(InvalidInputError, match="no secret"):
        jobs.edit(shop.ctx, "nightly", GUARD)


def test_lifting_it_is_a_weakening_that_needs_the_secret(shop, guarded, first, second) -> None:
    with pytest.raises(ConfirmationNeededError, match="without giving a secret"):
        jobs.edit(shop.ctx, "nightly", LIFT)
    with pytest.raises(InvalidInputError):  # nothing to ask on
        jobs.edit(shop.ctx, "nightly", LIFT, yes_weaken=True)
    with pytest.raises(NoRecipientMatchedError):
        wrong = Access(secrets=(shop.secret(second),))
        jobs.edit(shop.ctx, "nightly", LIFT, yes_weaken=True, proof=wrong)
    assert jobs.show(shop.ctx, "nightly").secret_to_read
    assert events(shop, "weakened") == []
    jobs.edit(
        shop.ctx, "nightly", LIFT, yes_weaken=True, proof=Access(secrets=(shop.secret(first),))
    )
    assert events(shop, "weakened") == [("ok", "critical")]
    assert open_reading(shop.ctx, Access(), which=[guarded]).select(guarded).details is not None
    jobs.edit(shop.ctx, "nightly", GUARD)
    assert len(events(shop, "weakened")) == 1


def test_the_kit_proves_it_as_well(shop, tmp_path) -> None:
    shop.repository()
    shop.password()
    recovery.create(shop.ctx, tmp_path / "kit")
    shop.job(encrypt="password:office", secret_to_read=True)
    shop.session()
    kit = Access(recovery_keys=(tmp_path / "kit",))
    assert jobs.edit(shop.ctx, "nightly", LIFT, yes_weaken=True, proof=kit).changed


def test_a_chain_under_a_secret_of_ones_own_proves_nothing(shop, guarded, first, second) -> None:
    shop.password("mine", second)
    jobs.edit(shop.ctx, "nightly", jobs.JobChanges(encrypt="password:mine"))
    jobs.detach(shop.ctx, "nightly")
    shop.session()
    with pytest.raises(UnlockError):
        proof = Access(secrets=(shop.secret(second),))
        jobs.edit(shop.ctx, "nightly", LIFT, yes_weaken=True, proof=proof)


def test_a_repository_with_guarded_points_is_not_forgotten(shop, guarded) -> None:
    shop.repository("other")
    jobs.edit(shop.ctx, "nightly", jobs.JobChanges(repository="other"))
    with pytest.raises(InUseError, match="guarded chain"):
        repositories.remove(shop.ctx, "main")
    points.remove(shop.ctx, [guarded], yes=True)
    repositories.remove(shop.ctx, "main")


# --- nobody else is let in without it -------------------------------------------------------


def openers(shop, text: str) -> int:
    """Return how many points a password opens without this server's help."""
    reading = open_reading(shop.ctx, Access(secrets=(shop.secret(text),)))
    return sum(view.details is not None for view in reading.points)


@pytest.mark.parametrize("how", ["job", "password"])
def test_another_secret_gets_into_its_chain_only_beside_the_present_one(
    shop, guarded, first, second, how
) -> None:
    def change(old) -> None:
        if how == "job":
            jobs.edit(shop.ctx, "nightly", jobs.JobChanges(encrypt="password:mine"), old=old)
        else:
            passwords.edit(shop.ctx, "office", secret=shop.secret(second), old=old)

    shop.password("mine", second)
    change(None)
    row = chain_rows.current(shop.ctx.database, shop.the_job().job_id)
    assert row is not None
    assert row.recipient_ids == row.recipient_ids - {bytes.fromhex(_key_id(shop, "mine"))}
    with pytest.raises(NoRecipientMatchedError):
        openers(shop, second)
    if how == "job":
        jobs.edit(shop.ctx, "nightly", jobs.JobChanges(encrypt="password:office"))
        with pytest.raises(UnlockError):
            change(shop.secret(OTHER))
        change(shop.secret(first))
        assert openers(shop, second) == 1


def _key_id(shop, name: str) -> str:
    return passwords.show(shop.ctx, name).key_id


# --- with sessions that really run ----------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Installation:
    server = Installation.at_work(tmp_path, file=b"content")
    jobs.edit(server.ctx, "nightly", GUARD)
    return server


def test_sessions_and_verification_run_by_themselves(server: Installation) -> None:
    assert server.run().kind == "incremental"
    report = care.verify(server.ctx, Access(), progress=NullProgress(), cancel=Cancellation())
    assert report.ok
    assert report.points == 2
    assert care.prune(server.ctx, "main").done
    repositories.rescan(server.ctx, "main")


def test_verification_names_damaged_files_to_who_gives_the_secret(server: Installation) -> None:
    view = open_reading(server.ctx, Access(), unseen=True).select("nightly@latest")
    entry = find_entry(view.reader(), view.opened().root, (b"file",))
    (piece,) = pieces_of(view.reader(), entry)
    flip(view, server.storage, piece.address, BlockClass.DATA)
    work = {"progress": NullProgress(), "cancel": Cancellation()}
    alone = care.verify(server.ctx, Access(), **work)
    assert [one.paths for one in alone.damaged] == [[]]
    given = care.verify(server.ctx, Access(secrets=(secret(PASSWORD),)), **work)
    assert [one.paths for one in given.damaged] == [[f"{server.tree}/file"]]


def test_a_new_kit_opens_nothing_that_was_there_before_it(
    server: Installation, tmp_path: Path
) -> None:
    recovery.create(server.ctx, tmp_path / "newer")
    assert server.run().kind == "full"
    kit = server.bare(recovery_keys=(tmp_path / "newer",))
    assert [view.details is not None for view in kit.reading().points] == [False, True]
    result = rewrapping.rewrap(server.ctx, "nightly", yes=True)
    assert {one.state for one in result.keys} == {"closed"}
    kit = server.bare(recovery_keys=(tmp_path / "newer",))
    assert [view.details is not None for view in kit.reading().points] == [False, True]


def test_the_holder_of_the_kit_may_open_one_point(server: Installation) -> None:
    server.run()
    older, newest = points.list_points(server.ctx, Access()).points
    text = recovery_request.request(server.ctx, "nightly@latest").text
    recovery_request.accept(server.ctx, answer(consider(text, [server.kit], ())))
    reading = open_reading(server.ctx, Access(), which=[newest.id])
    assert reading.select(newest.id).details is not None
    with pytest.raises(UnlockError):
        reading.select(older.id)


def test_fewer_recipients_need_no_new_chain(server: Installation) -> None:
    jobs.edit(server.ctx, "nightly", jobs.JobChanges(recovery=False), yes_weaken=True)
    assert server.run().kind == "incremental"
