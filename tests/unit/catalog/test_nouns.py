"""Every noun of the catalog: what is put in comes back, and what must hold together does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from strongroom.catalog import (
    chains,
    heads,
    jobs,
    passwords,
    points,
    recovery_keys,
    repositories,
    sessions,
    signers,
    values,
)
from strongroom.catalog.database import Database
from strongroom.errors import ConflictError, NotFoundError
from strongroom.model.job import (
    Compression,
    Job,
    NoEncryption,
    PasswordEncryption,
    RetentionRules,
    SourceSpec,
)
from strongroom.model.rate import Timetable
from strongroom.model.session import (
    SessionCounters,
    SessionError,
    SessionRecord,
    SessionState,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOON = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)
LATER = NOON + timedelta(minutes=1)
R, P, J = b"r" * 16, b"p" * 16, b"j" * 16


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "catalog.db")
    repositories.insert(opened, repositories.RepositoryRow(R, "main", "/srv/backup", NOON))
    passwords.insert(
        opened,
        passwords.PasswordRow(P, "office", "the blue one", False, 1, NOON, NOON),
        passwords.PasswordVersion(P, 1, b"key1", NOON),
    )
    yield opened
    opened.close()


def a_job(**changes: object) -> Job:
    job = Job(
        name="nightly",
        job_id=J,
        repository="main",
        sources=(
            SourceSpec.parse("files:/srv/ü", b"1" * 16),
            SourceSpec.parse('command:["a", "b"]', b"2" * 16),
        ),
        encryption=PasswordEncryption("office"),
        exclude=("*.tmp", "/x y/", 'quo"te'),
        one_file_system=True,
        exclude_caches=False,
        compression=Compression.HIGH,
        block_size=1 << 22,
        retention=RetentionRules(5, None),
        full_every_points=30,
        full_every_days=60,
        expect_every_hours=26,
        limit=Timetable.parse("10MB/s mon-fri 8:00-18:00; 50MB/s"),
        pre_script="true",
        post_script="false",
        on_failure="mail root",
        recovery=False,
    )
    return replace(job, **changes)  # type: ignore[arg-type]


def test_a_job_comes_back_as_it_was_put_in(database: Database) -> None:
    jobs.insert(database, a_job(), NOON)
    assert jobs.get(database, "nightly") == a_job()
    assert jobs.by_id(database, J) == a_job()
    assert jobs.all_jobs(database) == [a_job()]
    assert jobs.of_repository(database, R) == jobs.of_password(database, P) == [a_job()]


def test_a_changed_job_keeps_its_id(database: Database) -> None:
    jobs.insert(database, a_job(), NOON)
    changed = a_job(
        name="hourly", encryption=NoEncryption(), sources=a_job().sources[1:], recovery=True
    )
    jobs.update(database, changed)
    assert jobs.find(database, "nightly") is None
    assert jobs.get(database, "hourly") == changed
    assert jobs.of_password(database, P) == []


def test_a_removed_job_is_gone(database: Database) -> None:
    jobs.insert(database, a_job(), NOON)
    jobs.remove(database, J)
    with pytest.raises(NotFoundError, match="nightly"):
        jobs.get(database, "nightly")
    assert database.query("SELECT * FROM job_sources") == []


@pytest.mark.parametrize(
    "changes", [{"repository": "other"}, {"encryption": PasswordEncryption("other")}]
)
def test_a_job_names_only_what_the_catalog_has(
    database: Database, changes: dict[str, object]
) -> None:
    with pytest.raises(NotFoundError, match="other"):
        jobs.insert(database, a_job(**changes), NOON)
    assert jobs.all_jobs(database) == []


def test_two_jobs_cannot_have_one_name(database: Database) -> None:
    jobs.insert(database, a_job(), NOON)
    with pytest.raises(ConflictError):
        jobs.insert(database, a_job(job_id=b"k" * 16), NOON)
    with pytest.raises(NotFoundError):
        jobs.update(database, a_job(job_id=b"k" * 16, name="other"))


def test_what_a_job_needs_cannot_be_removed(database: Database) -> None:
    jobs.insert(database, a_job(), NOON)
    with pytest.raises(ConflictError):
        repositories.remove(database, R)
    with pytest.raises(ConflictError):
        passwords.remove(database, P)


def test_repositories_are_found_by_name_place_and_id(database: Database) -> None:
    row = repositories.get(database, "main")
    assert row == repositories.RepositoryRow(R, "main", "/srv/backup", NOON)
    assert repositories.by_location(database, "/srv/backup") == row
    assert repositories.by_id(database, R) == row
    assert repositories.all_rows(database) == [row]
    assert repositories.find(database, "other") is None
    limit = Timetable.parse("10MB/s")
    repositories.set_limit(database, R, limit)
    assert repositories.get(database, "main") == replace(row, limit=limit)
    with pytest.raises(NotFoundError, match="other"):
        repositories.get(database, "other")


def test_a_password_keeps_all_its_versions(database: Database) -> None:
    row = replace(passwords.get(database, "office"), version=2, hint="red", verified_at=NOON)
    with database.transaction():
        passwords.update(database, row)
        passwords.add_version(database, passwords.PasswordVersion(P, 2, b"key2", NOON))
    assert passwords.get(database, "office") == row
    assert passwords.all_rows(database) == [row]
    assert [v.key_id for v in passwords.versions(database, P)] == [b"key2", b"key1"]
    assert passwords.by_key(database, b"key1") == (row, 1)
    assert passwords.by_key(database, b"key3") is None
    passwords.remove(database, P)
    assert passwords.versions(database, P) == []
    with pytest.raises(NotFoundError):
        passwords.get(database, "office")


def test_one_recovery_key_is_active_and_all_are_remembered(database: Database) -> None:
    assert recovery_keys.active(database) is None
    first = recovery_keys.RecoveryKeyRow(b"one", NOON)
    second = recovery_keys.RecoveryKeyRow(b"two", NOON + timedelta(1))
    for row in (first, second):
        recovery_keys.insert(database, row)
        recovery_keys.activate(database, row.key_id)
    recovery_keys.tested(database, b"one", NOON, ok=False)
    assert recovery_keys.active(database) == replace(second, active=True)
    assert recovery_keys.all_rows(database) == [
        replace(first, tested_at=NOON, tested_ok=False),
        replace(second, active=True),
    ]
    recovery_keys.activate(database, None)
    assert recovery_keys.active(database) is None


def a_chain(number: int, **changes: object) -> chains.ChainRow:
    row = chains.ChainRow(
        chain_id=bytes([number]) * 16,
        job_id=J,
        repository_id=R,
        sealed=True,
        chain_key_id=b"ck%d" % number,
        recipient_ids=frozenset({b"key1", b"rec"}),
        started_at=NOON + timedelta(days=number),
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def test_a_new_chain_takes_over_from_the_one_before(database: Database) -> None:
    chains.insert(database, a_chain(1))
    chains.insert(database, a_chain(2))
    chains.insert(database, a_chain(3, current=False))
    assert chains.current(database, J) == a_chain(2)
    assert chains.of_job(database, J) == [
        a_chain(1, current=False), a_chain(2), a_chain(3, current=False)
    ]  # fmt: skip
    chains.make_current(database, J, bytes([1]) * 16)
    assert chains.current(database, J) == a_chain(1)


def test_a_detached_chain_stays_current_until_another_starts(database: Database) -> None:
    chains.insert(database, a_chain(1))
    chains.detach(database, bytes([1]) * 16)
    assert chains.current(database, J) == a_chain(1, detached=True)


def test_a_rekeyed_chain_is_sealed_for_others_and_remembers_the_ones_before(
    database: Database,
) -> None:
    chains.insert(database, a_chain(1))
    chains.rekeyed(database, bytes([1]) * 16, b"newer", frozenset({b"key2"}))
    changed = a_chain(1, chain_key_id=b"newer", recipient_ids=frozenset({b"key2"}))
    assert chains.current(database, J) == changed
    assert chains.opened_by(database, b"key1") == [changed]
    assert chains.opened_by(database, b"key2") == [changed]
    assert chains.opened_by(database, b"key3") == []


def test_a_plain_chain_has_no_recipients(database: Database) -> None:
    plain = a_chain(1, sealed=False, chain_key_id=None, recipient_ids=frozenset())
    chains.insert(database, plain)
    assert chains.find(database, plain.chain_id) == plain


def test_an_envelope_takes_an_older_ones_place(database: Database) -> None:
    chains.insert(database, a_chain(1))
    chain_id = bytes([1]) * 16
    assert chains.envelope(database, chain_id, b"ck1") is None
    chains.keep_envelope(database, chain_id, b"ck1", b"old")
    chains.keep_envelope(database, chain_id, b"ck1", b"new")
    assert chains.envelope(database, chain_id, b"ck1") == b"new"
    chains.remove(database, chain_id)
    assert chains.envelope(database, chain_id, b"ck1") is None


def a_point(number: int, **changes: object) -> points.PointRow:
    row = points.PointRow(
        point_id=bytes([number]) * 16,
        chain_id=bytes([1]) * 16,
        job_id=J,
        source_id=b"1" * 16,
        session_id=b"s" * 16,
        entry=number,
        kind="incremental",
        taken_at=NOON + timedelta(minutes=number),
        size_bytes=1 << 42,
        stored_bytes=7,
        files=3,
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def test_points_come_oldest_first_and_can_be_held_and_removed(database: Database) -> None:
    chains.insert(database, a_chain(1))
    points.insert_many(database, [a_point(2), a_point(1)])
    points.insert_many(database, [a_point(2, size_bytes=5)])
    assert points.of_job(database, J) == [a_point(1), a_point(2, size_bytes=5)]
    points.set_held(database, [a_point(1).point_id], True)
    assert points.find(database, a_point(1).point_id) == a_point(1, held=True)
    points.remove_many(database, [a_point(2).point_id, b"x" * 16])
    assert points.of_chain(database, bytes([1]) * 16) == [a_point(1, held=True)]
    chains.remove(database, bytes([1]) * 16)
    assert points.of_job(database, J) == []


def a_session(number: int) -> SessionRecord:
    return SessionRecord(
        session_id=bytes([number]) * 16, job_id=J, job="nightly", state=SessionState.RUNNING,
        started_at=NOON + timedelta(hours=number),
    )  # fmt: skip


def test_a_session_comes_back_as_it_ended(database: Database) -> None:
    sessions.insert(database, a_session(1))
    assert sessions.running(database) == sessions.running(database, J) == [a_session(1)]
    assert sessions.running(database, b"k" * 16) == []
    done = replace(
        a_session(1).finish(
            SessionState.WARNING,
            NOON + timedelta(hours=2),
            warnings=("/srv/\udcff could not be read",),
            counters=SessionCounters(1, 2, 3, 4, 5.5),
            points=(b"a" * 16, b"b" * 16),
        ),
        chain_id=b"c" * 16,
        kind="full",
        reason="first",
    )
    sessions.update(database, done)
    assert sessions.find(database, done.session_id) == done
    assert sessions.running(database) == []


def test_the_newest_session_and_the_newest_that_made_points_are_found(database: Database) -> None:
    assert sessions.newest(database, J) is None
    assert sessions.last_success(database, J) is None
    for number, state in enumerate((SessionState.SUCCESS, SessionState.FAILED), 1):
        error = SessionError("locked", "held", None, {"host": "x"})
        record = a_session(number).finish(
            state, NOON, error=error if state is SessionState.FAILED else None
        )
        sessions.insert(database, record)
    newest = sessions.newest(database, J)
    assert newest is not None
    assert (newest.state, newest.error) == (SessionState.FAILED, error)
    success = sessions.last_success(database, J)
    assert success is not None
    assert success.session_id == a_session(1).session_id
    assert [one.session_id[0] for one in sessions.of_job(database, J, 5)] == [2, 1]


def test_a_head_only_moves_forward(database: Database) -> None:
    assert heads.get(database, R) is None
    heads.remember(database, R, 5, b"five" * 8, NOON)
    heads.remember(database, R, 4, b"four" * 8, NOON)
    heads.remember(database, R, 5, b"fork" * 8, NOON)
    assert heads.get(database, R) == (5, b"five" * 8)
    heads.remember(database, R, 6, b"six!" * 8, NOON)
    assert heads.get(database, R) == (6, b"six!" * 8)
    heads.forget(database, R)
    assert heads.get(database, R) is None


def test_a_head_stays_when_its_chain_is_forgotten(database: Database) -> None:
    chains.insert(database, a_chain(1))
    heads.remember(database, a_chain(1).chain_id, 1, b"h" * 32, NOON)
    repositories.remove(database, R)
    assert chains.find(database, a_chain(1).chain_id) is None
    assert heads.get(database, a_chain(1).chain_id) == (1, b"h" * 32)


@pytest.mark.parametrize(
    ("get", "typed", "meant"),
    [(jobs.get, "nihgtly", "nightly"), (repositories.get, "mian", "main")],
    ids=["job", "repository"],
)
def test_a_name_that_is_not_there_brings_the_one_that_was_meant(
    database: Database, get: Callable[[Database, str], object], typed: str, meant: str
) -> None:
    jobs.insert(database, a_job(encryption=NoEncryption()), NOON)
    with pytest.raises(NotFoundError) as caught:
        get(database, typed)
    assert str(caught.value.hint).startswith(f"did you mean '{meant}'? 'strongroom ")
    with pytest.raises(NotFoundError) as caught:
        get(database, "quite-another")
    assert str(caught.value.hint).startswith("'strongroom ")


def test_signers_are_accepted_once_and_can_be_revoked(database: Database) -> None:
    first, second = signers.SignerRow("cccc", NOON, "main"), signers.SignerRow("aaaa", LATER)
    for row in (first, second, signers.SignerRow("cccc", LATER, "elsewhere")):
        signers.accept(database, row)
    assert signers.accepted(database) == (first, second)
    assert signers.revoke(database, "cccc")
    assert not signers.revoke(database, "cccc")
    assert signers.accepted(database) == (second,)


def test_single_values_are_kept(database: Database) -> None:
    assert values.get(database, "n") is None
    values.put(database, "n", b"1")
    values.put(database, "n", b"2")
    assert values.get(database, "n") == b"2"
