"""Jobs that go on in a chain of another server, and in that of a lost keystore."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Self

import pytest

from strongroom.catalog import heads, jobs
from strongroom.clock import SystemClock
from strongroom.control import chain_jobs, chains, keys, passwords, recovery, sessions
from strongroom.control.access import Access
from strongroom.control.jobs import JobRequest
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.errors import (
    ConflictError,
    InvalidInputError,
    LockedError,
    RefusedError,
    SecretNeededError,
    UnlockError,
    UnvouchedError,
)
from strongroom.format.journal import SuccessionBody
from strongroom.repository import layout, locks
from tests.support.engine_job import settle
from tests.support.installation import PASSWORD, Installation, secret

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.control.sessions import SessionResult
    from strongroom.control.views.jobs import JobResult

NEWER = "Quiet-harbours-sell-9-violins"
THEIRS = "Green-tables-lift-4-oranges"


@pytest.fixture
def first(tmp_path: Path) -> Installation:
    """A server that made two points, the second of them after a change of its password."""
    first = Installation.at_work(tmp_path, file=b"one", large=bytes(range(256)) * 4000)
    passwords.edit(first.ctx, "office", secret=secret(NEWER))
    first.run()
    return first


@pytest.fixture
def second(first: Installation) -> Installation:
    return first.another(THEIRS)


def go_on(
    there: Installation,
    text: str | None = NEWER,
    name: str = "nightly",
    repoint: tuple[tuple[str, str], ...] = (),
    **options: object,
) -> JobResult:
    given = {"encrypt": "password:theirs", "sources": (), **options}
    request = JobRequest(name=name, repository="main", **given)  # type: ignore[arg-type]
    chain_id = there.chain_ids()[0]
    access = Access(secrets=() if text is None else (secret(text),))
    return chain_jobs.create(there.ctx, request, chain_id, access, repoint=repoint)


def run(there: Installation, old: str) -> SessionResult:
    return sessions.run(
        there.ctx,
        "nightly",
        full=False,
        progress=NullProgress(),
        cancel=Cancellation(),
        old=secret(old),
    )


def contents(there: Installation, point: str, **access: object) -> str:
    target = there.folder / f"out-{SystemClock().monotonic()}"
    there.bare(**access).restore(point, target)
    return (target / "file").read_text()


def test_the_first_session_is_an_increment_in_the_chain(
    first: Installation, second: Installation
) -> None:
    go_on(second)
    settle()
    (second.tree / "file").write_text("three")

    done = second.run()

    assert (done.kind, done.reason, done.warnings) == ("incremental", "", ())
    assert done.stored_bytes < 10_000
    assert second.chain_ids() == first.chain_ids()
    assert [point.details.job for point in second.here().reading().points if point.details] == [
        "nightly"
    ] * 3


def test_the_jobs_secret_opens_all_and_each_older_one_what_it_opened(second: Installation) -> None:
    go_on(second)
    settle()
    (second.tree / "file").write_text("three")
    newest = second.run().points[0]
    oldest = second.here().reading().points[0].id

    def reads(text: str) -> list[bool]:
        reading = second.bare(recovery_keys=(), secrets=(secret(text),)).reading()
        return [view.details is not None for view in reading.points]

    assert reads(THEIRS) == [True, True, True]
    assert reads(NEWER) == [True, True]
    assert reads(PASSWORD) == [True, False]
    assert contents(second, newest, recovery_keys=(), secrets=(secret(THEIRS),)) == "three"
    assert contents(second, oldest, recovery_keys=(), secrets=(secret(PASSWORD),)) == "one"
    assert contents(second, oldest) == "one"  # with the kit of the server before


def test_with_every_secret_given_lost_links_are_made_anew(second: Installation) -> None:
    for info in list(second.storage.list()):
        if "/links/" in info.key:
            second.storage.delete(info.key)
    request = JobRequest(name="nightly", repository="main", encrypt="password:theirs", sources=())
    access = Access(secrets=(secret(NEWER), secret(PASSWORD)))
    chain_jobs.create(second.ctx, request, second.chain_ids()[0], access)

    machine = second.bare(recovery_keys=(), secrets=(secret(THEIRS),))
    reading = machine.reading()
    assert len(reading.points) == 2
    for view in reading.points:
        reading.check_whole(view)


def test_a_fingerprint_lets_an_older_secret_see_who_went_on(second: Installation) -> None:
    go_on(second)
    second.run()
    own = second.ctx.identity.public.fingerprint

    reading = second.bare(recovery_keys=(), secrets=(secret(NEWER),), signers=(own,)).reading()

    assert len(reading.points) == 3
    assert [view.details is not None for view in reading.points] == [True, True, False]


def test_what_retention_let_go_since_is_told_to_an_older_secret(second: Installation) -> None:
    go_on(second, keep_last=1)
    for content in ("three", "four", "five"):
        settle()
        (second.tree / "file").write_text(content)
        second.run()
    (chain_id,) = map(bytes.fromhex, second.chain_ids())
    second.storage.delete(layout.entry(chain_id, 1))  # as prune does once nothing needs it

    reading = second.bare(recovery_keys=(), secrets=(secret(NEWER),)).reading()

    ((_, problem),) = reading.problems
    assert problem.code == "point-withheld"
    assert second.ctx.identity.public.fingerprint in (problem.hint or "")
    assert second.bare(recovery_keys=(), secrets=(secret(THEIRS),)).reading().problems == []


def test_the_server_before_is_refused_and_reads_what_it_wrote(
    first: Installation, second: Installation
) -> None:
    go_on(second)
    second.run()

    with pytest.raises(RefusedError, match="taken over"):
        first.run()
    assert len(first.here().reading().points) == 2
    begun = first.run(full=True)
    assert begun.reason == "active-full"
    assert second.run().kind == "incremental"


def test_a_server_that_was_set_back_can_be_given_the_chain_again(
    first: Installation, second: Installation
) -> None:
    go_on(second)
    second.run()

    with pytest.raises(UnvouchedError):
        run(first, NEWER)  # the secret of before does not vouch for who has the chain
    done = run(first, THEIRS)

    assert done.kind == "incremental"
    assert any("another identity" in warning for warning in done.warnings)
    with pytest.raises(RefusedError):
        second.run()


def lose_keystore(there: Installation) -> None:
    there.ctx.close()
    shutil.rmtree(there.folder / "server" / "keystore")
    recovery.create(there.ctx, there.folder / "new kit")


def test_a_lost_keystore_goes_on_in_its_chain_with_the_secret(first: Installation) -> None:
    lose_keystore(first)
    passwords.edit(first.ctx, "office", secret=secret(NEWER))

    done = run(first, NEWER)

    assert done.kind == "incremental"
    assert first.run().warnings == ()
    assert len(first.chain_ids()) == 1
    assert len(first.here().reading().points) == 4


def test_a_change_of_the_password_takes_the_chain_of_a_lost_keystore_over(
    first: Installation,
) -> None:
    lose_keystore(first)

    passwords.edit(first.ctx, "office", secret=secret(THEIRS), old=secret(NEWER))

    assert first.run().kind == "incremental"
    opened = first.bare(recovery_keys=(), secrets=(secret(THEIRS),)).reading()
    assert all(view.details is not None for view in opened.points)
    assert len(opened.points) == 3


def test_without_the_secret_a_lost_keystore_begins_a_chain(first: Installation) -> None:
    lose_keystore(first)
    passwords.edit(first.ctx, "office", secret=secret(NEWER))

    assert first.run().reason == "keys-lost"


def test_what_was_kept_when_it_was_unlocked_needs_no_secret_again(second: Installation) -> None:
    (chain_id,) = second.chain_ids()
    access = Access(secrets=(secret(NEWER),))
    chains.unlock(second.ctx, chain_id, access, progress=NullProgress())
    with pytest.raises(SecretNeededError):
        go_on(second, None)

    chains.unlock(second.ctx, chain_id, access, keep_secret=True, progress=NullProgress())
    go_on(second, None)

    assert second.run().kind == "incremental"


def test_a_write_only_password_keeps_nothing_that_opens_the_chain(first: Installation) -> None:
    second = first.another(THEIRS, write_only=True)
    (chain_id,) = map(bytes.fromhex, second.chain_ids())
    access = Access(secrets=(secret(NEWER),))
    chains.unlock(second.ctx, chain_id.hex(), access, keep_secret=True, progress=NullProgress())

    go_on(second, None)

    record = keys.chain_record(second.ctx, chain_id)
    assert record is not None
    assert record.chain_key_seed is None
    assert second.run().kind == "incremental"
    with pytest.raises(UnlockError):
        second.here().restore("nightly@latest", second.folder / "out")


def test_an_older_secret_takes_no_chain_over(second: Installation) -> None:
    with pytest.raises(UnlockError):
        go_on(second, PASSWORD)

    assert jobs.find(second.ctx.database, "nightly") is None
    (chain_id,) = map(bytes.fromhex, second.chain_ids())
    assert second.repository().chain(chain_id).lines == (0,)


def test_a_chain_whose_server_is_at_work_is_left_alone(
    first: Installation, second: Installation
) -> None:
    job = jobs.get(first.ctx.database, "nightly")
    elsewhere = locks.Whereabouts("elsewhere", "m", "b", "n", 1, 1)
    with (
        locks.acquire(
            first.storage, layout.job_lock(job.job_id), "00", first.ctx.clock, here=elsewhere
        ),
        pytest.raises(LockedError),
    ):
        go_on(second)
    (chain_id,) = map(bytes.fromhex, second.chain_ids())
    assert second.repository().chain(chain_id).lines == (0,)


def test_a_session_that_ran_while_the_chain_was_taken_over_does_not_publish(
    first: Installation, second: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "acquire", lambda *_, **__: _NoLock())
    settle()
    (first.tree / "file").write_text("three")

    class Slow(NullProgress):
        def begin(self, stage: str, total_bytes: int | None = None) -> None:
            go_on(second)

    with pytest.raises((ConflictError, RefusedError)):
        sessions.run(first.ctx, "nightly", full=False, progress=Slow(), cancel=Cancellation())
    (chain_id,) = map(bytes.fromhex, second.chain_ids())
    chain = second.repository().chain(chain_id)
    assert isinstance(chain.entry(chain.listing[-1]).body, SuccessionBody)
    assert second.run().kind == "incremental"


class _NoLock:
    """What two servers have that do not see each other's locks."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def refresh(self) -> None:
        pass

    def confirm(self) -> None:
        pass


def test_the_catalog_remembers_the_entry_that_took_the_chain_over(second: Installation) -> None:
    go_on(second)

    (chain_id,) = map(bytes.fromhex, second.chain_ids())
    head = second.repository().chain(chain_id).head()
    assert head is not None
    assert heads.get(second.ctx.database, chain_id) == (head.number, head.entry_hash)


# --- sources ------------------------------------------------------------------------------------


def test_a_source_keeps_its_id(first: Installation, second: Installation) -> None:
    go_on(second, sources=(f"files:{second.tree}", "command:true"))

    before = {str(one): one.source_id for one in jobs.get(first.ctx.database, "nightly").sources}
    after = {str(one): one.source_id for one in jobs.get(second.ctx.database, "nightly").sources}
    assert before.items() <= after.items()
    assert len(after) == 2


def test_a_source_of_the_chain_is_not_left_out_in_silence(second: Installation) -> None:
    with pytest.raises(InvalidInputError, match="would not have"):
        go_on(second, sources=("files:/elsewhere",))
    assert jobs.find(second.ctx.database, "nightly") is None


def test_a_source_can_be_read_from_another_place(first: Installation, second: Installation) -> None:
    moved = second.folder / "moved"
    shutil.copytree(second.tree, moved)
    old, new = f"files:{second.tree}", f"files:{moved}"
    with pytest.raises(InvalidInputError, match="no source"):
        go_on(second, repoint=((new, old),))

    go_on(second, repoint=((old, new),))

    (source,) = jobs.get(second.ctx.database, "nightly").sources
    (before,) = jobs.get(first.ctx.database, "nightly").sources
    assert (str(source), source.source_id) == (new, before.source_id)
    assert second.run().stored_bytes < 10_000


def test_a_job_that_is_not_encrypted_does_not_go_on_in_an_encrypted_chain(
    second: Installation,
) -> None:
    with pytest.raises(InvalidInputError, match="encrypted"):
        go_on(second, encrypt="none")


def test_a_chain_has_one_job(second: Installation) -> None:
    go_on(second)
    with pytest.raises(ConflictError, match="nightly's"):
        go_on(second, name="other")


def test_a_plain_chain_goes_on_once_its_signer_is_pinned(tmp_path: Path) -> None:
    first = Installation.create(tmp_path)
    first.tree.mkdir()
    (first.tree / "file").write_text("one")
    first.job(encrypt=False)
    first.run()
    second = first.another(THEIRS)
    request = JobRequest(name="nightly", repository="main", encrypt="none", sources=())
    (chain_id,) = second.chain_ids()
    with pytest.raises(UnvouchedError):
        chain_jobs.create(second.ctx, request, chain_id, Access())

    pinned = Access(signers=(first.ctx.identity.public.fingerprint,))
    chain_jobs.create(second.ctx, request, chain_id, pinned)

    assert second.run().kind == "incremental"
    assert len(second.here().reading().points) == 2
