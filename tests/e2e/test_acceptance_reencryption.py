"""Re-encryption: old points under new keys, without their source, and the old keys open nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from strongroom import errors
from strongroom.catalog import chains, reencryptions
from strongroom.catalog import points as point_rows
from strongroom.control import audit, care, jobs, passwords, points, reencryption
from strongroom.control.access import Access
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.keystore import ChainRecord
from strongroom.repository import layout
from tests.support.installation import PASSWORD, Installation, secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from strongroom.control.views.rewrapping import ReencryptResult

NEWER = "Teal-badgers-collect-9-compasses"


class Stopping(Cancellation):
    """Stops at the nth look."""

    def __init__(self, nth: int) -> None:
        super().__init__()
        self._left = nth

    def check(self) -> None:
        self._left -= 1
        if self._left < 0:
            self.cancel()
        super().check()


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation.with_password_alone(tmp_path)
    yield installation
    installation.ctx.close()


def change(installation: Installation, **options: object) -> None:
    passwords.edit(installation.ctx, "office", secret=secret(NEWER), **options)  # type: ignore[arg-type]


def reencrypt(installation: Installation, **options: object) -> ReencryptResult:
    given = {"yes": True, "progress": NullProgress(), "cancel": Cancellation(), **options}
    return reencryption.reencrypt(installation.ctx, "nightly", **given)  # type: ignore[arg-type]


def check_restores(
    installation: Installation, made: dict[str, str], target: Path, password: str = NEWER
) -> None:
    """Every point restores on a machine that has one password, and there is no other point."""
    machine = installation.bare(recovery_keys=(), secrets=(secret(password),))
    reading = machine.reading()
    assert {view.id for view in reading.points} == {*made}
    for point, content in made.items():
        machine.restore(point, target / point, reading)
        assert (target / point / "file").read_text() == content


def one_chain(installation: Installation) -> dict[str, str]:
    """Make points before and after a change; a link lets the newer password open both."""
    made = {installation.point_of("one"): "one"}
    change(installation)
    made[installation.point_of("two")] = "two"
    return made


def two_chains(installation: Installation) -> dict[str, str]:
    made = {installation.point_of("one"): "one"}
    made[installation.point_of("two", full=True)] = "two"
    change(installation)
    made[installation.point_of("three")] = "three"
    return made


def test_old_passwords_open_nothing_and_today_s_opens_all(
    installation: Installation, tmp_path: Path
) -> None:
    made = two_chains(installation)
    held = next(iter(made))
    points.hold(installation.ctx, (held,))
    before = installation.chain_ids()
    listed = {row.point_id: row for row in _rows(installation)}

    planned = reencrypt(installation, dry_run=True, yes=False)
    with pytest.raises(errors.ConfirmationNeededError):
        reencrypt(installation, yes=False)
    assert installation.chain_ids() == before
    result = reencrypt(installation)

    assert [one.state for one in planned.chains] == ["due", "due"]
    assert [one.state for one in result.chains] == ["reencrypted", "reencrypted"]
    assert sum(one.points for one in result.chains) == 3
    assert result.warnings == ()
    check_restores(installation, made, tmp_path / "after")
    assert {row.point_id: row.taken_at for row in _rows(installation)} == {
        point_id: row.taken_at for point_id, row in listed.items()
    }
    assert [row.point_id.hex() for row in _rows(installation) if row.held] == [held]
    (installation.tree / "more").write_text("more")
    session = installation.run()
    assert (session.kind, session.warnings) == ("incremental", ())
    current = chains.current(installation.ctx.database, _job_id(installation))
    assert current is not None
    assert current.chain_id.hex() == result.chains[-1].new_chain
    installation.ctx.settings = replace(installation.ctx.settings, quarantine_hours=0)
    for _ in range(2):
        care.prune(installation.ctx, "main")
    assert not {*before} & {*installation.chain_ids()}
    kept = installation.ctx.keystore.names(ChainRecord)
    assert not {*before} & {*kept}
    check_restores(installation, {**made, session.points[0]: "three"}, tmp_path / "pruned")
    assert care.scrub(installation.ctx, "main", progress=NullProgress(), cancel=Cancellation()).ok
    with pytest.raises(errors.NoRecipientMatchedError):
        installation.bare(recovery_keys=(), secrets=(secret(PASSWORD),)).reading()
    events = [one.event for one in audit.list_records(installation.ctx)]
    assert events.count("job.reencrypted") == 2


def test_of_a_write_only_password_it_has_to_be_given(
    installation: Installation, tmp_path: Path
) -> None:
    made = {installation.point_of("one"): "one"}
    change(installation, write_only=True)
    made[installation.point_of("two")] = "two"

    left = reencrypt(installation)
    assert [one.state for one in left.chains] == ["left"]
    result = reencrypt(installation, old=Access(secrets=(secret(NEWER),)))

    assert [one.state for one in result.chains] == ["reencrypted"]
    check_restores(installation, made, tmp_path / "after")
    (installation.tree / "file").write_text("three")
    session = installation.run()
    assert session.kind == "incremental"
    check_restores(installation, {**made, session.points[0]: "three"}, tmp_path / "later")


def test_of_a_guarded_job_it_has_to_be_given_though_it_is_kept(
    installation: Installation,
) -> None:
    point = installation.point_of("one")
    changes = jobs.JobChanges(secret_to_read=True)
    jobs.edit(installation.ctx, "nightly", changes)
    assert [one.state for one in reencrypt(installation).chains] == ["left"]
    result = reencrypt(installation, old=Access(secrets=(secret(PASSWORD),)))
    assert [one.state for one in result.chains] == ["reencrypted"]
    assert result.chains[0].new_chain is not None
    events = [one.event for one in audit.list_records(installation.ctx)]
    assert "password.attempted" not in events, "no guess was made"
    with pytest.raises(errors.UnlockError):
        installation.here().restore(point, installation.folder / "target")


def test_stopped_anywhere_it_goes_on_with_every_chain_and_jobs_run_meanwhile(
    installation: Installation, tmp_path: Path
) -> None:
    made = {installation.point_of("older chain"): "older chain"}
    made[installation.point_of("one", full=True)] = "one"
    before = {row.chain_id for row in _rows(installation)}
    stops = 0
    for nth in (0, 1, 3, 14, 100):
        try:
            reencrypt(installation, cancel=Stopping(nth))
        except errors.CancelledError:
            stops += 1
        if nth == 3:
            made[installation.point_of("four")] = "four"
            check_restores(installation, made, tmp_path / "meanwhile", PASSWORD)
    assert stops == 4
    assert len(before) == 2
    assert not before & {row.chain_id for row in _rows(installation)}
    assert reencryptions.of_job(installation.ctx.database, _job_id(installation)) == []
    check_restores(installation, made, tmp_path / "after", PASSWORD)
    made[installation.point_of("five")] = "five"
    check_restores(installation, made, tmp_path / "later", PASSWORD)


def test_what_was_begun_for_other_recipients_is_abandoned_and_leaves_nothing(
    installation: Installation, tmp_path: Path
) -> None:
    made = {installation.point_of("one"): "one"}
    with pytest.raises(errors.CancelledError):
        reencrypt(installation, cancel=Stopping(3))
    report = care.scrub(installation.ctx, "main", progress=NullProgress(), cancel=Cancellation())
    assert report.ok
    with pytest.raises(errors.ConflictError, match="not finished"):
        jobs.remove(installation.ctx, "nightly", yes=True)
    change(installation)
    with pytest.raises(errors.ConflictError, match="recipients"):
        reencrypt(installation)

    result = reencryption.abandon(installation.ctx, "nightly")

    (new_chain,) = [one.new_chain for one in result.chains]
    assert new_chain is not None
    assert [info.key for info in installation.storage.list() if new_chain in info.key] == []
    with pytest.raises(errors.NotFoundError):
        reencryption.abandon(installation.ctx, "nightly")
    assert reencrypt(installation).chains[0].state == "reencrypted"
    check_restores(installation, made, tmp_path / "after")


def test_a_point_removed_and_one_held_meanwhile_are_so_in_the_new_chain(
    installation: Installation, tmp_path: Path
) -> None:
    made = one_chain(installation)
    kept, removed = made

    class Meddling(Cancellation):
        looks = 0

        def check(self) -> None:
            self.looks += 1
            if self.looks == 5:
                points.remove(installation.ctx, (removed,), yes=True)
                points.hold(installation.ctx, (kept,))

    result = reencrypt(installation, cancel=Meddling())

    assert result.chains[0].points == 1
    check_restores(installation, {kept: made[kept]}, tmp_path / "after")
    reading = installation.here().reading()
    assert [(view.id, view.held) for view in reading.points] == [(kept, True)]


def test_a_published_chain_whose_header_is_hidden_is_not_taken_for_an_unfinished_one(
    installation: Installation, tmp_path: Path
) -> None:
    made = one_chain(installation)
    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("strongroom.control.reencryption.promises.take_back", _killed)
        reencrypt(installation)
    (row,) = reencryptions.of_job(installation.ctx.database, _job_id(installation))
    storage, key = installation.storage, layout.header(row.chain_id)
    header = storage.get(key)
    storage.delete(key)
    before = {info.key for info in storage.list(layout.chain(row.chain_id))}

    with pytest.raises(errors.NotFoundError):
        reencrypt(installation)
    with pytest.raises(errors.ConflictError):
        reencryption.abandon(installation.ctx, "nightly")

    assert {info.key for info in storage.list(layout.chain(row.chain_id))} == before
    storage.put(key, header)
    reencrypt(installation)
    check_restores(installation, made, tmp_path / "after")


@pytest.mark.parametrize("step", ["chains.insert", "promises.take_back"])
def test_cut_short_after_it_was_published_a_session_runs_and_it_can_be_finished(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    made = one_chain(installation)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(f"strongroom.control.reencryption.{step}", _killed)
        reencrypt(installation)
    made[installation.point_of("three")] = "three"
    with pytest.raises(errors.ConflictError):
        reencryption.abandon(installation.ctx, "nightly")

    reencrypt(installation)
    check_restores(installation, made, tmp_path / "after")
    assert reencryptions.of_job(installation.ctx.database, _job_id(installation)) == []
    row = chains.current(installation.ctx.database, _job_id(installation))
    assert row is not None
    assert {one.chain_id for one in _rows(installation)} == {row.chain_id}
    made[installation.point_of("four")] = "four"
    check_restores(installation, made, tmp_path / "later")


def test_a_plain_job_is_refused(installation: Installation) -> None:
    installation.job("plain", encrypt=False)
    with pytest.raises(errors.InvalidInputError):
        reencryption.reencrypt(
            installation.ctx, "plain", progress=NullProgress(), cancel=Cancellation()
        )


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def _rows(installation: Installation) -> list[point_rows.PointRow]:
    return point_rows.of_job(installation.ctx.database, _job_id(installation))


def _job_id(installation: Installation) -> bytes:
    from strongroom.catalog import jobs as rows

    return rows.get(installation.ctx.database, "nightly").job_id
