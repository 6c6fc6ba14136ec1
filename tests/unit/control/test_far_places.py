"""Of a place elsewhere little is asked, and that side by side: numbers that no machine changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from strongroom.control import jobs, known_chains, points
from strongroom.crypto import random
from strongroom.engine import pipeline
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.engine.verify import verify
from strongroom.repository.chain import Trust
from strongroom.repository.repository import Repository
from strongroom.repository.scrub import scrub
from strongroom.storage.reading import AskedAhead
from strongroom.testing.adversary_storage import AdversaryStorage
from tests.support.far_storage import FarStorage
from tests.support.installation import Installation

MIB = 1 << 20
IMAGE_BYTES = 8 * MIB


@dataclass
class Far:
    """A server whose repository is elsewhere, with one image that does not compress."""

    server: Installation
    storage: FarStorage

    @classmethod
    def create(cls, folder: Path, *sources: str) -> Far:
        storage = FarStorage()
        server = Installation.create(folder, AdversaryStorage(storage))
        request = jobs.JobRequest(
            name="nightly",
            repository="main",
            encrypt="password:office",
            sources=sources or (f"image:{folder / 'image'}",),
        )
        jobs.create(server.ctx, request)
        return cls(server, storage)

    def requests_of_a_session(self) -> int:
        self.storage.count_anew()
        self.server.run()
        return self.storage.count


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(random.token(IMAGE_BYTES))
    return path


@pytest.fixture
def packs_of_2_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strongroom.engine.backup.FAR_PACK_RAW_BYTES", 2 * MIB)


def test_a_session_of_a_gib_takes_fewer_than_64_requests_and_one_that_finds_nothing_26(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packs_of_a_gib = (1 << 30) // pipeline.FAR_PACK_RAW_BYTES
    scaled = IMAGE_BYTES // packs_of_a_gib
    monkeypatch.setattr("strongroom.engine.backup.FAR_PACK_RAW_BYTES", scaled)
    far = Far.create(tmp_path)
    jobs.edit(far.server.ctx, "nightly", jobs.JobChanges(block_size=scaled))
    assert image.stat().st_size == IMAGE_BYTES
    assert packs_of_a_gib < far.requests_of_a_session() < 64
    assert far.storage.requests["put", "packs"] == packs_of_a_gib + 1
    assert far.requests_of_a_session() < 26


def test_a_session_that_finds_nothing_waits_for_few_answers_one_after_the_other(
    tmp_path: Path,
) -> None:
    far = with_points(tmp_path, 6)
    assert far.requests_of_a_session() > 25
    # Lock and journal are changed step by step, and an index is found by what leads to it.
    assert far.storage.in_turn <= 15


def test_a_restore_of_an_image_asks_for_several_blocks_at_once_and_for_several_pieces_at_a_time(
    image: Path, tmp_path: Path
) -> None:
    far = Far.create(tmp_path)
    point = far.server.run().points[0]
    far.storage.hold_reads(2, of_bytes=MIB)
    far.server.here().restore(point, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == image.read_bytes()
    assert far.storage.most_at_once >= 2
    # Of 8 blocks in one pack, and the index.
    assert far.storage.requests["get", "packs"] <= 5


@pytest.mark.parametrize(
    ("files", "size", "at_once"), [(24, 500_000, 4), (6000, 600, 3)], ids=["large", "small"]
)
def test_a_restore_of_a_tree_reads_blocks_ahead_side_by_side(
    files: int, size: int, at_once: int, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    contents = {f"{number:04}": random.token(size) for number in range(files)}
    for name, content in contents.items():
        (tree / name).write_bytes(content)
    far = Far.create(tmp_path, f"files:{tree}")
    point = far.server.run().points[0]
    far.storage.hold_reads(at_once, of_bytes=MIB)
    far.server.here().restore(point, tmp_path / "back")
    assert {one.name: one.read_bytes() for one in (tmp_path / "back").iterdir()} == contents
    assert far.storage.most_at_once >= at_once


@pytest.mark.usefixtures("image", "packs_of_2_mib")
def test_verify_and_scrub_read_several_packs_at_once_in_pieces_of_several_blocks(
    tmp_path: Path,
) -> None:
    far = Far.create(tmp_path)
    far.server.run()
    views = far.server.here().reading().points
    far.storage.hold_reads(3, of_bytes=MIB)
    report = verify(views, progress=NullProgress(), cancel=Cancellation())
    assert report.ok
    assert far.storage.most_at_once >= 3
    # Of 8 blocks in 4 packs, and the index.
    assert far.storage.requests["get", "packs"] <= 7

    far.storage.hold_reads(3, of_bytes=MIB)
    found = scrub(
        far.server.repository(),
        Trust(identities=frozenset({far.server.ctx.identity.public.id})),
        {},
        progress=NullProgress(),
        cancel=Cancellation(),
    )
    assert found.ok
    assert far.storage.most_at_once >= 3
    # Of each pack its end, its header and its blocks.
    assert far.storage.requests["get", "packs"] <= 20


def with_points(folder: Path, count: int) -> Far:
    """Return one that has so many points of a tree with one file."""
    tree = folder / "tree"
    tree.mkdir()
    far = Far.create(folder, f"files:{tree}")
    for number in range(count):
        (tree / "file").write_text(f"{number}")
        far.server.run()
    return far


def test_many_points_are_found_with_few_requests_one_after_the_other(tmp_path: Path) -> None:
    far = with_points(tmp_path, 12)
    far.storage.requests.clear()
    reading = far.server.here().reading()
    assert len(reading.points) == 12
    assert far.storage.requests["get", "journal"] == 12
    assert far.storage.requests["list", "journal"] == 1
    # By this is known where a chain lies that a point is held in, or copied from.
    assert all(chain.storage is reading.repositories[0].storage for chain in reading.chains)


def test_what_opens_a_chain_is_asked_for_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = with_points(tmp_path, 3)
    waves: list[list[str]] = []
    ask = AskedAhead.ask

    def asked(ahead: AskedAhead, objects: Iterable[str], folders: Iterable[str] = ()) -> None:
        keys, prefixes = [*objects], [*folders]
        waves.append(sorted(f"/{key}".split("/")[-2] for key in keys + prefixes))
        ask(ahead, keys, prefixes)

    monkeypatch.setattr(AskedAhead, "ask", asked)
    assert len(far.server.here().reading().points) == 3
    assert waves == [
        ["", "headers"],
        ["envelopes", "headers", "journal", "links"],
        ["envelopes", "envelopes", "journal", "journal", "journal"],
    ]


def test_what_another_command_adds_after_the_journal_was_asked_for_is_no_roll_back(
    tmp_path: Path,
) -> None:
    far = with_points(tmp_path, 2)
    server = far.server
    (chain_id,) = server.repository().chain_ids()
    repository = Repository.open(AskedAhead(far.storage))
    with repository.asked_for_session([chain_id]):
        held = points.hold(server.ctx, ["nightly@latest"])
        assert [row.held for row in held] == [True]
        chain = repository.chain(chain_id)
        known_chains.compare_with_seen(server.ctx, chain)
    assert len(chain.listing) == 3
