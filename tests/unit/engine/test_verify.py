import os

import pytest

from strongroom.engine.cancellation import Cancellation
from strongroom.engine.index_reader import find_entry, pieces_of, walk_disk
from strongroom.engine.points import open_points
from strongroom.engine.progress import NullProgress
from strongroom.engine.verify import VerifyReport, verify
from strongroom.errors import CancelledError, UnlockError
from strongroom.format.block import BlockAddress, BlockClass
from strongroom.format.index import DiskLeaf, DiskNode
from strongroom.format.point import DiskRoot, TreeRoot
from strongroom.repository.keyring import Keyring
from strongroom.testing.adversary_storage import AdversaryStorage
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.chain_builder import (
    LEAVE,
    ChainBuilder,
    PagePiece,
    build_chain,
    directory,
    effect_of,
    file,
    start_chain,
    tree_page,
)
from tests.support.engine_job import EngineJob, settle, source
from tests.support.reading import flip, views_of

MIB = 1 << 20


def verified(views) -> VerifyReport:
    return verify(views, progress=NullProgress(), cancel=Cancellation())


@pytest.fixture
def origin(tmp_path):
    root = tmp_path / "origin"
    root.mkdir()
    for number in range(400):
        (root / f"f{number:03}").write_bytes(os.urandom(number))
    (root / "large").write_bytes(os.urandom(8 * MIB))
    (tmp_path / "disk.img").write_bytes(os.urandom(2 * MIB) + bytes(9 * MIB) + b"end")
    return root


@pytest.fixture
def job(origin, tmp_path):
    made = EngineJob(
        AdversaryStorage(MemoryStorage()),
        [
            source("files", origin),
            source("image", tmp_path / "disk.img"),
            source("command", "seq 1 300000"),
        ],
    )
    made.run()
    settle()
    (origin / "f001").write_bytes(b"changed")
    with (tmp_path / "disk.img").open("r+b") as file:
        file.write(b"changed")
    made.run()
    return made


def test_whole_points_are_whole(job) -> None:
    report = verified(views_of(job))
    assert report.ok
    assert report.points == 6
    assert report.damaged == []
    assert report.bytes > 8 * MIB
    assert "everything opens" in report.text()


def test_plain_points_are_verified_too() -> None:
    built = build_chain(MemoryStorage(), sealed=False, trees=[{"a": b"1", "b/c": b"2"}])
    assert verified(built.views()).ok


def test_a_block_that_points_share_is_opened_once(job) -> None:
    alone = verified(views_of(job)[:3])
    both = verified(views_of(job))
    assert both.blocks - alone.blocks < 15
    assert alone.blocks > 15


def test_a_damaged_block_is_told_with_its_points_and_paths(job) -> None:
    views = views_of(job)
    root = views[1].opened().root
    assert isinstance(root, DiskRoot)
    run = list(walk_disk(views[1].reader(), root))[-1]
    key = flip(views[1], job.storage, run.address, BlockClass.DATA)

    report = verified(views_of(job))

    (damage,) = report.damaged
    assert not report.ok
    assert damage.object == key
    assert damage.block == run.address.number
    assert damage.points == [views[1].id, views[4].id]
    assert damage.paths == [views[1].opened().source.removeprefix("image:")]
    assert key in report.text()


def test_damage_that_only_one_point_has_names_only_that_one(job, origin) -> None:
    _old, new = (view for view in views_of(job) if view.opened().source.startswith("files:"))
    root = new.opened().root
    assert isinstance(root, TreeRoot)
    entry = find_entry(new.reader(), root, (b"f001",))
    assert entry is not None
    (piece,) = pieces_of(new.reader(), entry)
    assert piece.address is not None
    flip(new, job.storage, piece.address, BlockClass.DATA)

    report = verified(views_of(job))

    (damage,) = report.damaged
    assert damage.points == [new.id]
    assert damage.paths == [f"{origin}/f001"]


def test_a_damaged_page_is_told_and_the_rest_is_verified(job) -> None:
    views = views_of(job)
    root = views[3].opened().root
    assert isinstance(root, TreeRoot)
    flip(views[3], job.storage, BlockAddress(*root.page), BlockClass.INDEX)
    report = verified(views_of(job))
    assert report.blocks > 15
    assert {view_id for damage in report.damaged for view_id in damage.points} == {views[3].id}


def test_a_damaged_recognition_page_is_told() -> None:
    storage = AdversaryStorage(MemoryStorage())
    built = build_chain(storage, trees=[{"a": b"x"}])
    view = built.views()[0]
    root = view.opened().root
    assert isinstance(root, TreeRoot)
    assert root.recognition is not None
    flip(view, storage, BlockAddress(*root.recognition), BlockClass.INDEX)
    assert len(verified(built.views()).damaged) == 1


def test_a_missing_pack_is_one_damage(job) -> None:
    views = views_of(job)
    key = views[0].reader().birth(BlockAddress(1, 0), BlockClass.DATA).key
    job.storage.hide(key)
    report = verified(views_of(job))
    (damage,) = report.damaged
    assert damage.object == key
    assert damage.block is None
    assert damage.paths


def test_without_data_keys_nothing_is_verified(job) -> None:
    keyring = Keyring(job.chain_id, {}, job.metakeys)
    with pytest.raises(UnlockError):
        verified(open_points([job.chain()], lambda _: keyring))


def test_a_verification_stops_on_request(job) -> None:
    cancel = Cancellation()
    cancel.cancel()
    with pytest.raises(CancelledError):
        verify(views_of(job), progress=NullProgress(), cancel=cancel)


# --- what only a hostile or broken writer makes --------------------------------------------------


def damages(root_of, name: str = "files:/source") -> list[str]:
    built = start_chain(MemoryStorage())
    session = built.session()
    session.publish([(name, root_of(session))])
    return [damage.reason for damage in verified(built.views()).damaged]


def test_a_piece_beyond_its_block_is_told() -> None:
    def root_of(session: ChainBuilder) -> TreeRoot:
        piece = session.piece(b"12345")
        long = PagePiece(piece.block, 3, 5, piece.content_hash)
        return session.single([directory("."), file("a", long), LEAVE])

    (reason,) = damages(root_of)
    assert "has 5 bytes, and a piece is said to end at 8" in reason


def test_a_block_that_the_public_set_lacks_is_told() -> None:
    def root_of(session: ChainBuilder) -> TreeRoot:
        root = session.single([directory("."), file("a", session.piece(b"12345")), LEAVE])
        session.usage = type(session.usage)()
        session.usage.add(*root.page, 1)
        return root

    (reason,) = damages(root_of)
    assert "lacks 2 blocks" in reason


def test_a_node_that_says_something_else_than_its_page_is_told() -> None:
    parts = [[directory("."), file("a")], [file("b"), LEAVE]]

    def root_of(session: ChainBuilder) -> TreeRoot:
        pages = [session.page(tree_page(part)) for part in parts]
        effects = [effect_of(part) for part in parts]
        effects[1] = effects[1]._replace(first=b"c")
        return TreeRoot(1, session.node(pages, effects), None)

    (reason,) = damages(root_of)
    assert "not what the page above says" in reason


def test_a_map_beyond_its_disk_is_told() -> None:
    def root_of(session: ChainBuilder) -> DiskRoot:
        block = session.data(bytes(2 << 16))
        page = session.page(DiskLeaf([block], [0], [2], [0], [0], bytes(64)))
        node = session.page(DiskNode([page, page]))
        return DiskRoot(1, node, (64 << 16) + 65536, 1 << 20)

    (reason,) = damages(root_of, "image:/disk")
    assert "not what the page above says" in reason


def test_a_page_of_garbage_is_told() -> None:
    (reason,) = damages(
        lambda session: TreeRoot(0, session.page(b"garbage"), session.recognition(1))
    )
    assert "malformed" in reason
