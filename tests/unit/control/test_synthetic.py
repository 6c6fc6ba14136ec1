"""Synthetic fulls: what is stored, made into a chain that stands alone, without the source."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from strongroom.catalog import synthetic_fulls
from strongroom.control import care, jobs, passwords, points, repositories, sessions
from strongroom.control.access import Access
from strongroom.control.context import Context
from strongroom.control.sessions import SessionResult
from strongroom.crypto import random
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.errors import (
    ConflictError,
    NotFoundError,
    StorageUnavailableError,
)
from strongroom.repository import layout
from strongroom.storage.local import LocalStorage
from strongroom.testing.faulty_storage import FaultyStorage
from tests.support.installation import Installation, Machine, secret
from tests.support.loop_mounts import file_system

STORED = 12_000_000


def synthesise(installation: Installation, ctx: Context | None = None) -> SessionResult:
    return sessions.run(
        ctx or installation.ctx,
        "nightly",
        full=False,
        synthetic=True,
        progress=NullProgress(),
        cancel=Cancellation(),
    )


@pytest.fixture(params=[True, False], ids=["sealed", "plain"])
def at_work(request: pytest.FixtureRequest, tmp_path: Path) -> Installation:
    """A server with three points of a growing tree."""
    installation = Installation.create(tmp_path)
    installation.tree.mkdir()
    installation.job(encrypt=request.param)
    for number in range(3):
        (installation.tree / f"file{number}").write_bytes(bytes([number]) * 5_000 * (number + 1))
        installation.run()
    return installation


def contents(machine: Machine, which: str, folder: Path) -> dict[str, bytes]:
    shutil.rmtree(folder, ignore_errors=True)
    machine.restore(which, folder)
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def own(installation: Installation) -> Machine:
    return Machine(installation.ctx, Access(where="main"))


def scrubbed(installation: Installation) -> bool:
    return care.scrub(installation.ctx, "main", progress=NullProgress(), cancel=Cancellation()).ok


@contextmanager
def on_a_folder(folder: Path, repository: Path) -> Iterator[Installation]:
    """A server with 12 MB in a repository in a real folder."""
    installation = Installation.create(folder)
    storage = LocalStorage(repository)
    installation.ctx._open_storage = lambda _location, _create: storage
    repository.mkdir()
    repositories.remove(installation.ctx, "main")
    repositories.add(installation.ctx, "main", str(repository))
    installation.tree.mkdir()
    (installation.tree / "large").write_bytes(random.token(STORED))
    installation.job()
    installation.run()
    try:
        yield installation
    finally:
        storage.close()


def test_a_file_system_that_shares_blocks_holds_them_once(tmp_path: Path) -> None:
    with (
        file_system("xfs", tmp_path) as place,
        on_a_folder(tmp_path, place / "repository") as installation,
    ):
        free = shutil.disk_usage(place).free

        result = synthesise(installation)

        assert result.cloned_bytes > 0.98 * STORED
        assert free - shutil.disk_usage(place).free < 0.05 * STORED
        assert scrubbed(installation)


def test_one_that_does_not_copies_them_and_says_so(tmp_path: Path) -> None:
    with on_a_folder(tmp_path, tmp_path / "repository") as installation:
        result = synthesise(installation)

    assert result.copied_bytes > STORED
    assert result.cloned_bytes == 0


def test_it_equals_the_last_point_and_needs_no_source(
    at_work: Installation, tmp_path: Path
) -> None:
    last = at_work.chain_ids()
    before = {path.name: path.read_bytes() for path in at_work.tree.iterdir()}
    shutil.rmtree(at_work.tree)

    result = synthesise(at_work)

    assert (result.kind, result.state, result.read_bytes) == ("synthetic-full", "success", 0)
    assert contents(own(at_work), result.points[0], tmp_path / "out") == before
    assert len(at_work.chain_ids()) == 2
    assert at_work.chain_ids()[0] == last[0]
    assert scrubbed(at_work)


def test_it_takes_the_place_of_the_point_it_is_made_from(at_work: Installation) -> None:
    there = {view.id for view in own(at_work).reading().points}

    result = synthesise(at_work)

    assert len(result.given_up) == 1
    [gone] = result.given_up
    after = {view.id for view in own(at_work).reading().points}
    assert after == there - {gone.id} | {result.points[0]}
    made = own(at_work).reading().select(result.points[0])
    assert made.details is not None
    assert made.details.parent == b""


def test_the_next_session_is_an_increment_on_it(at_work: Installation, tmp_path: Path) -> None:
    synthesise(at_work)
    (at_work.tree / "fresh").write_bytes(b"fresh" * 1_000)

    result = at_work.run()

    assert result.kind == "incremental"
    assert result.changed_bytes == 5_000
    assert result.warnings == ()
    expected = {path.name: path.read_bytes() for path in at_work.tree.iterdir()}
    assert contents(own(at_work), result.points[0], tmp_path / "out") == expected
    assert scrubbed(at_work)


def test_it_stands_when_the_old_chain_is_gone(at_work: Installation, tmp_path: Path) -> None:
    expected = {path.name: path.read_bytes() for path in at_work.tree.iterdir()}
    old = at_work.chain_ids()[0]
    result = synthesise(at_work)
    for info in list(at_work.storage.list(layout.chain(bytes.fromhex(old)))):
        at_work.storage.delete(info.key)
    at_work.storage.delete(layout.header(bytes.fromhex(old)))

    made = contents(own(at_work), result.points[0], tmp_path / "out")

    assert made == expected


def test_a_bare_machine_opens_it_with_the_kit_alone(tmp_path: Path) -> None:
    installation = Installation.at_work(tmp_path, one=b"1" * 4_000)
    installation.run()

    result = synthesise(installation)

    assert contents(installation.bare(), result.points[0], tmp_path / "out") == {
        "one": b"1" * 4_000
    }


def test_a_synthetic_full_of_a_synthetic_full_is_bound_to_the_same_origin(
    at_work: Installation, tmp_path: Path
) -> None:
    first = synthesise(at_work)
    second = synthesise(at_work)

    chains = map(at_work.repository().chain, at_work.repository().chain_ids())
    assert len({chain.origin_id for chain in chains}) == 1
    assert first.points != second.points
    expected = {path.name: path.read_bytes() for path in at_work.tree.iterdir()}
    assert contents(own(at_work), second.points[0], tmp_path / "out") == expected


def test_a_held_point_stays_beside_it(at_work: Installation) -> None:
    newest = own(at_work).reading().points[-1].id
    points.hold(at_work.ctx, [newest])

    result = synthesise(at_work)

    assert result.given_up == ()
    assert newest in {view.id for view in own(at_work).reading().points}


def test_the_password_can_change_between_full_and_increment(tmp_path: Path) -> None:
    installation = Installation.at_work(tmp_path, one=b"1" * 4_000)
    synthesise(installation)
    passwords.add(installation.ctx, "other", secret("Brown-foxes-juggle-9-buckets"))
    jobs.edit(installation.ctx, "nightly", jobs.JobChanges(encrypt="password:other"))

    result = installation.run()

    assert result.kind == "incremental"
    assert scrubbed(installation)


# --- refusals --------------------------------------------------------------------------------


def test_a_job_without_a_point_has_nothing_to_make_one_from(tmp_path: Path) -> None:
    installation = Installation.create(tmp_path)
    installation.tree.mkdir()
    installation.job()

    with pytest.raises(NotFoundError, match="has no point"):
        synthesise(installation)


def test_where_a_full_is_due_anyway_it_is_read(at_work: Installation) -> None:
    jobs.detach(at_work.ctx, "nightly")

    with pytest.raises(ConflictError, match="begins a new chain in any case"):
        synthesise(at_work)


# --- bad days --------------------------------------------------------------------------------


def test_a_crash_at_any_write_leaves_every_point_and_no_remainder(tmp_path: Path) -> None:
    installation = Installation.at_work(tmp_path, one=b"1" * 4_000)
    there = {view.id for view in own(installation).reading().points}
    inner = installation.storage
    nth = 0
    while True:
        faulty = FaultyStorage(inner)
        faulty.kill_after(nth)
        ctx = installation.ctx
        ctx._open_storage = lambda _location, _create, faulty=faulty: faulty
        try:
            synthesise(installation)
        except StorageUnavailableError:
            ctx._open_storage = lambda _location, _create: inner
            _break_lock(installation)
            assert there <= {view.id for view in own(installation).reading().points}
            assert scrubbed(installation)
            nth += 1
            continue
        break
    assert nth > 8
    ctx._open_storage = lambda _location, _create: inner
    installation.run()
    assert (
        synthetic_fulls.of_job(ctx.database, bytes.fromhex(jobs.show(ctx, "nightly").job_id)) == []
    )


def _break_lock(installation: Installation) -> None:
    for info in list(installation.storage.list("locks/")):
        installation.storage.delete(info.key)
