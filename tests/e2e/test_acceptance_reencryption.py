"""Re-encryption: old points under new keys, without their source, and the old keys open nothing."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from strongroom import errors
from strongroom.catalog import chains, reencryptions, sessions
from strongroom.catalog import points as point_rows
from strongroom.control import audit, care, jobs, passwords, points, reencryption
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.repository import layout
from tests.support.installation import LOCATION, PASSWORD, Installation, secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from strongroom.control.views import ReencryptResult

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
    installation = Installation.create(tmp_path)
    installation.tree.mkdir()
    job = installation.job()
    jobs.edit(installation.ctx, job.job.name, jobs.JobChanges(recovery=False), yes_weaken=True)
    yield installation
    installation.ctx.close()


def run(installation: Installation, content: str, *, full: bool = False) -> str:
    (installation.tree / "file").write_text(content)
    return installation.run(full=full).points[0]


def change(installation: Installation, **options: object) -> None:
    passwords.edit(installation.ctx, "office", secret=secret(NEWER), **options)  # type: ignore[arg-type]


def reencrypt(installation: Installation, **options: object) -> ReencryptResult:
    given = {"yes": True, "progress": NullProgress(), "cancel": Cancellation(), **options}
    return reencryption.reencrypt(installation.ctx, "nightly", **given)  # type: ignore[arg-type]


def check_restores(
    installation: Installation, made: dict[str, str], target: Path, password: str = NEWER
) -> None:
    """Every point restores on a machine that has one password, and there is no other point."""
    machine = installation.bare(recovery_keys=(), secret=secret(password))
    reading = machine.reading()
    assert {view.id for view in reading.points} == {*made}
    for point, content in made.items():
        machine.restore(point, target / point, reading)
        assert (target / point / "file").read_text() == content


def two_chains(installation: Installation) -> dict[str, str]:
    made = {run(installation, "one"): "one"}
    made[run(installation, "two", full=True)] = "two"
    change(installation)
    made[run(installation, "three")] = "three"
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
    check_restores(installation, made, tmp_path / "after")
    assert {row.point_id: row.taken_at for row in _rows(installation)} == {
        point_id: row.taken_at for point_id, row in listed.items()
    }
    assert [row.point_id.hex() for row in _rows(installation) if row.held] == [held]
    run(installation, "three")
    care.prune(installation.ctx, "main")
    installation.ctx.settings = _without_quarantine(installation)
    for _ in range(2):
        care.prune(installation.ctx, "main")
    assert not {*before} & {*installation.chain_ids()}
    assert care.scrub(
        installation.ctx, "main", progress=NullProgress(), cancel=Cancellation()
    ).ok
    with pytest.raises(errors.NoRecipientMatchedError):
        installation.bare(recovery_keys=(), secret=secret(PASSWORD)).reading()
    events = [one.event for one in audit.list_records(installation.ctx)]
    assert events.count("job.reencrypted") == 2


def test_the_next_session_is_an_increment_in_the_new_chain(
    installation: Installation, tmp_path: Path
) -> None:
    made = two_chains(installation)
    result = reencrypt(installation)
    (installation.tree / "more").write_text("more")
    session = installation.run()
    assert session.kind == "incremental"
    assert session.warnings == ()
    current = chains.current(installation.ctx.database, _job_id(installation))
    assert current is not None
    assert current.chain_id.hex() == result.chains[-1].new_chain
    check_restores(installation, {**made, session.points[0]: "three"}, tmp_path / "after")


def test_of_a_write_only_password_it_has_to_be_given(
    installation: Installation, tmp_path: Path
) -> None:
    made = {run(installation, "one"): "one"}
    change(installation, write_only=True)
    made[run(installation, "two")] = "two"

    left = reencrypt(installation)
    assert [one.state for one in left.chains] == ["left"]
    result = reencrypt(installation, old=(secret(NEWER),))

    assert [one.state for one in result.chains] == ["reencrypted"]
    check_restores(installation, made, tmp_path / "after")
    made[run(installation, "three")] = "three"
    assert chains.of_job(installation.ctx.database, _job_id(installation))[-1].current
    check_restores(installation, made, tmp_path / "later")


def test_stopped_anywhere_it_goes_on_and_jobs_run_meanwhile(
    installation: Installation, tmp_path: Path
) -> None:
    made = two_chains(installation)
    stops = 0
    for nth in range(40):
        try:
            result = reencrypt(installation, cancel=Stopping(nth))
        except errors.CancelledError as error:
            assert "goes on from here" in (error.hint or "")
            stops += 1
        else:
            break
        check_restores(installation, made, tmp_path / str(nth))
        if nth == 3:
            made[run(installation, "four")] = "four"
    assert stops > 5
    assert result.chains[-1].state == "reencrypted"
    assert reencryptions.of_job(installation.ctx.database, _job_id(installation)) == []
    check_restores(installation, made, tmp_path / "after")
    made[run(installation, "five")] = "five"
    check_restores(installation, made, tmp_path / "later")


def test_what_was_abandoned_leaves_nothing(installation: Installation, tmp_path: Path) -> None:
    made = two_chains(installation)
    before = {info.key for info in installation.storage.list() if _lasts(info.key)}
    with pytest.raises(errors.CancelledError):
        reencrypt(installation, cancel=Stopping(3))
    with pytest.raises(errors.ConflictError):
        jobs.remove(installation.ctx, "nightly", yes=True)
    report = care.scrub(installation.ctx, "main", progress=NullProgress(), cancel=Cancellation())
    assert report.ok

    reencryption.abandon(installation.ctx, "nightly")

    assert {info.key for info in installation.storage.list() if _lasts(info.key)} == before
    with pytest.raises(errors.NotFoundError):
        reencryption.abandon(installation.ctx, "nightly")
    check_restores(installation, made, tmp_path / "after")


def test_recipients_changed_since_it_began_are_not_passed_over(
    installation: Installation,
) -> None:
    run(installation, "one")
    with pytest.raises(errors.CancelledError):
        reencrypt(installation, cancel=Stopping(1))
    change(installation)
    with pytest.raises(errors.ConflictError, match="recipients"):
        reencrypt(installation)
    reencryption.abandon(installation.ctx, "nightly")
    assert reencrypt(installation).chains[0].state == "reencrypted"


def test_cut_short_after_it_was_published_it_is_finished_by_a_session_or_by_itself(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {run(installation, "one"): "one"}
    change(installation)
    made[run(installation, "two")] = "two"
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(reencryption._Work, "_settle", _killed)
        reencrypt(installation)
    check_restores(installation, made, tmp_path / "between")

    made[run(installation, "three")] = "three"

    reencrypt(installation)
    check_restores(installation, made, tmp_path / "after")
    assert reencryptions.of_job(installation.ctx.database, _job_id(installation)) == []
    row = chains.current(installation.ctx.database, _job_id(installation))
    assert row is not None
    assert {one.chain_id for one in _rows(installation)} == {row.chain_id}
    made[run(installation, "four")] = "four"
    check_restores(installation, made, tmp_path / "later")


def test_a_plain_job_is_refused(installation: Installation) -> None:
    installation.job("plain", encrypt=False)
    with pytest.raises(errors.InvalidInputError):
        reencryption.reencrypt(
            installation.ctx, "plain", progress=NullProgress(), cancel=Cancellation()
        )


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def _lasts(key: str) -> bool:
    return not key.startswith(layout.LOCKS)


def _rows(installation: Installation) -> list[point_rows.PointRow]:
    return point_rows.of_job(installation.ctx.database, _job_id(installation))


def _job_id(installation: Installation) -> bytes:
    from strongroom.catalog import jobs as rows

    return rows.get(installation.ctx.database, "nightly").job_id
