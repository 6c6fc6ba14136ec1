"""The audit log: a chain of lines that shows every change made to it afterwards."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from strongroom.control import audit, jobs, passwords, signers
from strongroom.control import repositories as repository_control
from strongroom.control.audit_log import AuditHead, AuditLog
from strongroom.control.jobs import JobChanges
from strongroom.errors import (
    AttemptsLockedError,
    AuditAlteredError,
    AuditUnwritableError,
    ConfirmationNeededError,
    NoRecipientMatchedError,
)
from strongroom.keystore import AuditHeadRecord, Keystore, KeystoreKey

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = KeystoreKey(bytes(range(32)))


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    made = AuditLog(tmp_path, Keystore(tmp_path / "keystore", KEY))
    for number in range(1, 6):
        made.append({"event": "something.happened", "fields": {"number": number}})
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


def rewritten(file: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    file.write_bytes(b"".join(change(file.read_bytes().splitlines(keepends=True))))


def broken(log: AuditLog, noted: AuditHead | None = None) -> tuple[object, str]:
    with pytest.raises(AuditAlteredError) as caught:
        log.verify(noted)
    return caught.value.fields["line"], str(caught.value)


# --- the chain ------------------------------------------------------------------------------


def test_an_untouched_log_holds_and_names_its_newest_line(log, file) -> None:
    head = log.verify()
    assert head.number == 5
    assert json.loads(file.read_bytes().splitlines()[-1])["tag"] == head.tag.hex()
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_altered_field_is_found_on_its_line(log, file) -> None:
    rewritten(file, lambda lines: [one.replace(b'"number": 3}', b'"number": 4}') for one in lines])
    line, message = broken(log)
    assert line == 3
    assert "altered" in message


@pytest.mark.parametrize("removed", [1, 2, 4])
def test_a_line_that_was_taken_out_is_missed(log, file, removed) -> None:
    rewritten(file, lambda lines: lines[: removed - 1] + lines[removed:])
    line, message = broken(log)
    assert line == removed
    assert "removed" in message


def test_a_log_without_its_last_line_is_cut(log, file) -> None:
    rewritten(file, lambda lines: lines[:-1])
    line, message = broken(log)
    assert line == 5
    assert "cut" in message


def test_lines_that_changed_places_are_found(log, file) -> None:
    rewritten(file, lambda lines: [lines[0], lines[2], lines[1], *lines[3:]])
    assert broken(log)[0] == 2


def test_an_older_copy_of_the_log_is_too_short(log, file, tmp_path) -> None:
    shutil.copy(file, tmp_path / "copy")
    log.append({"event": "weakened"})
    shutil.copy(tmp_path / "copy", file)
    assert broken(log)[0] == 6


def test_a_log_that_was_removed_is_missed(log, file) -> None:
    file.unlink()
    assert broken(log)[0] == 1


@pytest.mark.parametrize("kept", [0, 4])
def test_a_hole_stays_visible_however_much_is_written_after_it(log, file, kept) -> None:
    rewritten(file, lambda lines: lines[:kept])
    for _ in range(3):
        log.append({"event": "something.happened"})
    assert broken(log)[0] == kept + 1


def test_a_chain_made_with_another_key_is_foreign(log, file, tmp_path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    forger = AuditLog(other, Keystore(other / "keystore", KeystoreKey(bytes(32))))
    for _ in range(5):
        forger.append({"event": "something.happened"})
    shutil.copy(other / "audit.log", file)
    assert broken(log)[0] == 1


def test_a_log_of_a_keystore_that_was_lost_is_set_aside_and_shown(log, tmp_path) -> None:
    shutil.rmtree(tmp_path / "keystore")
    fresh = AuditLog(tmp_path, Keystore(tmp_path / "keystore", KeystoreKey(bytes(32))))
    assert fresh.append({"event": "something.happened"}) == 1
    assert "not written with this keystore" in broken(fresh)[1]
    for aside in tmp_path.glob("audit.log.foreign-*"):
        aside.unlink()
    assert fresh.verify().number == 1


def test_a_chain_without_its_head_in_the_keystore_goes_on(log, tmp_path) -> None:
    Keystore(tmp_path / "keystore", KEY).delete(AuditHeadRecord, "head")
    assert log.append({"event": "something.happened"}) == 6
    assert log.verify().number == 6


# --- crashes --------------------------------------------------------------------------------


def test_a_line_whose_head_was_lost_in_a_crash_is_no_attack(log, tmp_path) -> None:
    keystore = Keystore(tmp_path / "keystore", KEY)
    before = keystore.get(AuditHeadRecord, "head")
    log.append({"event": "something.happened"})
    keystore.put("head", before)
    assert log.verify().number == 6
    assert log.append({"event": "something.happened"}) == 7
    assert log.verify().number == 7


def test_a_line_torn_by_a_crash_is_no_attack_and_the_next_takes_its_place(log, file) -> None:
    with file.open("ab") as stream:
        stream.write(b'{"number": 6, "event": "someth')
    assert log.verify().number == 5
    assert log.append({"event": "something.happened"}) == 6
    assert log.verify().number == 6


def test_a_torn_line_that_the_head_knows_is_a_cut(log, file) -> None:
    os.truncate(file, file.stat().st_size - 1)
    assert broken(log)[0] == 5
    log.append({"event": "something.happened"})
    assert broken(log)[0] == 5


# --- several at once, and for long ----------------------------------------------------------


def _append_many(home: Path, count: int) -> None:
    log = AuditLog(home, Keystore(home / "keystore", KEY))
    for _ in range(count):
        log.append({"event": "something.happened", "pid": os.getpid()})


def test_two_processes_at_once_make_one_chain(log, tmp_path) -> None:
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=_append_many, args=(tmp_path, 200)) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [one.exitcode for one in both] == [0, 0]
    assert log.verify().number == 405


def test_a_log_goes_on_in_another_file_and_needs_all_of_them(log, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("strongroom.control.audit_log.LARGEST_FILE", 1)
    for _ in range(3):
        log.append({"event": "something.happened"})
    older = sorted(tmp_path.glob("audit-*.log"))
    assert len(older) == 3
    assert log.verify().number == 8
    older[1].unlink()
    assert broken(log)[0] == 6


def test_a_head_that_was_noted_shows_a_log_that_was_written_anew(log, tmp_path) -> None:
    noted = log.verify()
    log.append({"event": "something.happened"})
    assert log.verify(noted).number == 6
    shutil.rmtree(tmp_path / "keystore")
    (tmp_path / "audit.log").unlink()
    _append_many(tmp_path, 7)
    assert log.verify().number == 7
    assert broken(log, noted)[0] == 5
    assert broken(log, AuditHead(8, bytes(32)))[0] == 8


# --- records --------------------------------------------------------------------------------


def events(shop, prefix: str = "") -> list[str]:
    return [one.event for one in audit.list_records(shop.ctx, event=prefix, limit=1000)]


def test_a_record_says_who_and_when_and_shows_no_secret(shop) -> None:
    shop.repository()
    audit.record(shop.ctx, "something.happened", key=KEY, raw=b"secret", job="nightly")
    one = audit.list_records(shop.ctx)[-1]
    assert one.who["uid"] == os.getuid()
    assert one.at == "2026-11-24T12:00:00.000000Z"
    assert one.fields == {"key": "<KeystoreKey>", "raw": "<6 bytes>", "job": "nightly"}


def test_every_change_of_settings_leaves_a_record(shop, second) -> None:
    shop.repository()
    shop.password()
    shop.job(encrypt="password:office")
    jobs.edit(shop.ctx, "nightly", JobChanges(keep_last=40))
    shop.session()
    jobs.detach(shop.ctx, "nightly")
    passwords.edit(shop.ctx, "office", hint="blue note")
    shop.password("spare", second)
    passwords.remove(shop.ctx, "spare")
    jobs.remove(shop.ctx, "nightly", yes=True)
    repository_control.remove(shop.ctx, "main")
    assert [one for one in events(shop) if not one.startswith("keys.")] == [
        *("repository.added", "password.added", "job.created", "job.changed", "job.detached"),
        *("password.changed", "password.added", "password.removed", "job.removed"),
        "repository.removed",
    ]
    assert audit.verify(shop.ctx).lines == 10


def test_what_weakens_is_a_critical_record_at_once(shop, first) -> None:
    shop.repository()
    shop.password(write_only=True)
    shop.job(encrypt="password:office", keep_last=30)
    with pytest.raises(ConfirmationNeededError):
        jobs.edit(shop.ctx, "nightly", JobChanges(encrypt="none"))
    assert events(shop, "weakened") == []
    passwords.edit(shop.ctx, "office", write_only=False, old=shop.secret(first), yes_weaken=True)
    for change in (JobChanges(keep_last=3), JobChanges(recovery=False), JobChanges(encrypt="none")):
        jobs.edit(shop.ctx, "nightly", change, yes_weaken=True)
    found = audit.list_records(shop.ctx, event="weakened")
    assert {one.severity for one in found} == {"critical"}
    told = [str(one.fields["what"]) for one in found]
    assert len(told) == 4
    for one, word in zip(told, ("write-only", "retention", "recovery", "encryption"), strict=True):
        assert word in one


def test_accepting_a_signer_is_a_weakening(shop) -> None:
    shop.repository()
    shop.job()
    shop.session()
    signer = shop.ctx.identity.public.fingerprint
    signers.trust(shop.ctx, "main", signer, yes=True)
    assert events(shop)[-2:] == ["weakened", "signer.accepted"]


def test_a_change_that_cannot_be_written_down_is_not_made(shop, monkeypatch) -> None:
    shop.repository()
    shop.job()
    monkeypatch.setattr(AuditLog, "_write", full_disk)
    with pytest.raises(AuditUnwritableError):
        jobs.edit(shop.ctx, "nightly", JobChanges(keep_last=2), yes_weaken=True)
    assert jobs.show(shop.ctx, "nightly").keep_last != 2
    with pytest.raises(AuditUnwritableError):
        jobs.remove(shop.ctx, "nightly", yes=True)
    assert jobs.show(shop.ctx, "nightly").name == "nightly"


def test_what_may_go_on_unseen_says_so(shop, monkeypatch) -> None:
    shop.repository()
    told: list[str] = []
    shop.ctx.warn = told.append
    monkeypatch.setattr(AuditLog, "_write", full_disk)
    audit.record(shop.ctx, "session.started", needed=False)
    (warning,) = told
    assert "No space left" in warning
    assert "session.started" in warning


def full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_home_whose_log_and_head_are_gone_is_not_taken_for_new(shop) -> None:
    shop.repository()
    (shop.ctx.settings.home / "audit.log").unlink()
    shop.ctx.keystore.delete(AuditHeadRecord, "head")
    with pytest.raises(AuditAlteredError, match="gone"):
        audit.verify(shop.ctx)


# --- too many wrong passwords ---------------------------------------------------------------


def fail(shop, wrong: str, times: int) -> None:
    for _ in range(times):
        with pytest.raises(NoRecipientMatchedError):
            passwords.verify(shop.ctx, "office", shop.secret(wrong))
        shop.clock.advance(timedelta(seconds=1))


def outcomes(shop) -> list[str]:
    found = audit.list_records(shop.ctx, event="password.attempted", limit=1000)
    return [one.outcome for one in found]


def test_after_15_wrong_answers_in_a_minute_the_right_one_waits_5_minutes(
    shop, first, second
) -> None:
    shop.password()
    fail(shop, second, 15)
    with pytest.raises(AttemptsLockedError, match="12:05:14"):
        passwords.verify(shop.ctx, "office", shop.secret(first))
    assert outcomes(shop) == ["failed"] * 15 + ["refused"]
    shop.clock.advance(timedelta(minutes=4, seconds=58))
    with pytest.raises(AttemptsLockedError):
        passwords.verify(shop.ctx, "office", shop.secret(first))
    shop.clock.advance(timedelta(seconds=1))
    assert passwords.verify(shop.ctx, "office", shop.secret(first)).name == "office"


def test_a_right_answer_gives_a_guesser_no_fresh_start(shop, first, second) -> None:
    shop.password()
    fail(shop, second, 14)
    passwords.verify(shop.ctx, "office", shop.secret(first))
    fail(shop, second, 1)
    with pytest.raises(AttemptsLockedError):
        passwords.verify(shop.ctx, "office", shop.secret(first))


def test_right_answers_never_lock_and_slow_wrong_ones_do_not_either(shop, first, second) -> None:
    shop.password()
    for _ in range(16):
        passwords.verify(shop.ctx, "office", shop.secret(first))
    fail(shop, second, 10)
    shop.clock.advance(timedelta(minutes=1))
    fail(shop, second, 10)
    passwords.verify(shop.ctx, "office", shop.secret(first))


def test_one_password_that_is_locked_leaves_the_others_open(shop, first, second) -> None:
    shop.password()
    shop.password("home")
    fail(shop, second, 15)
    assert passwords.verify(shop.ctx, "home", shop.secret(first)).name == "home"


def test_a_locked_password_is_guessed_by_no_other_command(shop, first, second) -> None:
    shop.password(write_only=True)
    fail(shop, second, 15)
    with pytest.raises(AttemptsLockedError):
        passwords.edit(
            shop.ctx, "office", write_only=False, old=shop.secret(first), yes_weaken=True
        )
    with pytest.raises(AttemptsLockedError):
        passwords.edit(shop.ctx, "office", secret=shop.secret(first))
