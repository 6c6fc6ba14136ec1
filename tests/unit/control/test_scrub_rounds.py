"""A repository scrubbed in daily shares: over many days, with packs that come and go."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from strongroom.catalog import scrubs
from strongroom.control import care, repositories, sessions
from strongroom.control.context import Context
from strongroom.crypto import random
from strongroom.engine import pipeline
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.errors import CancelledError, InvalidInputError
from strongroom.repository import layout
from strongroom.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.repository.scrub_report import ScrubReport
    from strongroom.storage.base import Storage

ROUND = timedelta(days=10)


BLOCK = 256 << 10


@pytest.fixture
def kept(shop, monkeypatch: pytest.MonkeyPatch):
    """A repository with some twenty packs, and a job that adds to it."""
    monkeypatch.setattr(pipeline, "PACK_RAW_BYTES", 1)  # each block in a pack of its own
    (shop.folder / "image").write_bytes(random.token(20 * BLOCK))
    shop.repository()
    shop.job(sources=(f"image:{shop.folder / 'image'}",), block_size=BLOCK)
    run(shop)
    return shop


def run(shop) -> None:
    sessions.run(shop.ctx, "nightly", full=False, progress=NullProgress(), cancel=Cancellation())


def add_packs(shop) -> None:
    with (shop.folder / "image").open("r+b") as image:
        image.write(random.token(BLOCK))
    run(shop)


def scrub(shop, every: timedelta | None = ROUND, **more: object) -> ScrubReport:
    options = {"progress": NullProgress(), "cancel": Cancellation(), **more}
    return care.scrub(shop.ctx, "main", every=every, **options)


def next_day(shop, days: int = 1) -> ScrubReport:
    shop.clock.advance(timedelta(days=days))
    return scrub(shop)


def packs(shop) -> list[str]:
    return [info.key for info in shop.storages["/main"].list("") if "/packs/" in info.key]


def repository_id(shop) -> bytes:
    return repositories.list_all(shop.ctx)[0].repository_id


def reads(report: ScrubReport) -> int:
    assert report.coverage is not None
    return report.coverage.read_now


def test_in_one_round_everything_is_read_once(kept) -> None:
    stored = len(packs(kept))
    reports = [scrub(kept), *(next_day(kept) for _ in range(9))]

    assert all(report.ok for report in reports)
    assert sum(map(reads, reports)) == stored
    assert max(map(reads, reports)) < stored
    last = reports[-1].coverage
    assert last is not None
    assert (last.packs, last.read_packs, last.never_read) == (stored, stored, 0)
    assert last.read_bytes == last.bytes
    assert last.oldest_days is not None
    assert last.oldest_days < 10


def test_what_is_not_a_pack_is_read_every_time(kept) -> None:
    scrub(kept)
    again = scrub(kept)

    others = [info for info in kept.storages["/main"].list("") if "/packs/" not in info.key]
    assert reads(again) == 0
    assert again.bytes_read == sum(
        info.size for info in others if not info.key.startswith(layout.LOCKS)
    )
    assert "every byte that was read" in again.text()


def test_packs_that_come_later_are_read_within_a_round(kept) -> None:
    for _ in range(10):
        next_day(kept)
    add_packs(kept)
    came = scrub(kept).coverage
    assert came is not None
    assert came.never_read > 0

    for _ in range(10):
        report = next_day(kept)
    assert report.coverage is not None
    assert report.coverage.never_read == 0


def test_days_that_were_missed_are_made_up_for(kept) -> None:
    first = reads(scrub(kept))

    assert first + reads(next_day(kept, days=9)) == len(packs(kept))


def test_damage_is_found_on_the_day_of_its_pack_and_told_until_it_is_gone(kept) -> None:
    storage = kept.storages["/main"]
    key = packs(kept)[7]
    whole = storage.get(key)
    storage.delete(key)
    storage.put(key, whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])

    reports = [scrub(kept), *(next_day(kept) for _ in range(9))]
    found = [[damage.object for damage in report.damaged] for report in reports]
    day = found.index([key])
    assert found == [[]] * day + [[key]] * (10 - day)
    assert scrub(kept).damaged[0].object == key, "the same day, too"

    storage.delete(key)
    storage.put(key, whole)
    assert next_day(kept).ok
    assert reads(scrub(kept)) == 0


def test_a_pack_that_is_gone_or_cut_short_is_missed_at_once(kept) -> None:
    for _ in range(10):
        next_day(kept)
    storage = kept.storages["/main"]
    gone, cut = packs(kept)[:2]
    rest = storage.get(cut)[:150]
    for key in (gone, cut):
        storage.delete(key)
    storage.put(cut, rest)

    assert {damage.object for damage in scrub(kept).damaged} >= {gone, cut}


def test_packs_that_went_are_forgotten(kept) -> None:
    for _ in range(10):
        next_day(kept)
    before = kept.ctx.database.query("SELECT pack_id FROM scrubbed_packs")
    assert len(before) == len(packs(kept))

    kept.storages["/main"].delete(packs(kept)[0])
    scrub(kept)

    assert len(kept.ctx.database.query("SELECT pack_id FROM scrubbed_packs")) == len(before) - 1


def test_a_scrub_of_everything_counts_for_the_next_share(kept) -> None:
    whole = scrub(kept, every=None)
    assert whole.coverage is None

    part = scrub(kept)

    assert reads(part) == 0
    assert part.coverage is not None
    assert part.coverage.read_packs == part.coverage.packs


def test_a_scrub_that_is_stopped_keeps_what_it_has_read(kept) -> None:
    cancel = Cancellation()

    class Stopping(NullProgress):
        packs = 0

        def advance(self, byte_count: int = 0, files: int = 0) -> None:
            self.packs += byte_count >= BLOCK
            if self.packs == 3:
                cancel.cancel()

    with pytest.raises(CancelledError):
        scrub(kept, every=None, progress=Stopping(), cancel=cancel)
    known = scrubs.packs(kept.ctx.database, bytes.fromhex(repository_id(kept)))
    assert 0 < len(known) < len(packs(kept))
    assert scrubs.last(kept.ctx.database, bytes.fromhex(repository_id(kept))) is None


def test_a_machine_without_a_home_remembers_in_one_that_holds_no_key(kept, tmp_path: Path) -> None:
    def open_storage(location: str, create: bool) -> Storage:
        return kept.storages[location]

    settings = Settings(tmp_path / "other", tmp_path / "other-key")
    for every, has_home in ((None, False), (ROUND, True)):
        with Context(settings, kept.clock, open_storage=open_storage) as ctx:
            care.scrub(ctx, "/main", every=every, progress=NullProgress(), cancel=Cancellation())
            assert ctx.has_catalog is has_home
    assert not settings.keystore_file.exists()
    assert not settings.key_file.exists()


def test_a_repository_that_is_forgotten_takes_its_scrubs_with_it(shop) -> None:
    shop.repository()
    scrub(shop, every=None)
    repositories.remove(shop.ctx, "main")

    assert kept_rows(shop) == 0


def kept_rows(shop) -> int:
    return sum(
        len(shop.ctx.database.query(f"SELECT repository_id FROM {table}"))
        for table in ("scrubs", "scrubbed_packs")
    )


def test_a_round_that_is_too_short_is_refused(shop) -> None:
    shop.repository()

    with pytest.raises(InvalidInputError, match="less than an hour"):
        scrub(shop, every=timedelta(minutes=5))
