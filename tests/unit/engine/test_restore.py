import errno
import io
import os
import stat
import subprocess
from pathlib import Path

import pytest

from strongroom.engine.cancellation import Cancellation
from strongroom.engine.index_reader import find_entry, pieces_of, walk_disk
from strongroom.engine.points import PointView, open_points
from strongroom.engine.progress import NullProgress
from strongroom.engine.restore import RestoreRequest, restore
from strongroom.errors import (
    BlockDamagedError,
    CancelledError,
    IntegrityError,
    InvalidInputError,
    MalformedError,
    NotFoundError,
    ObjectMissingError,
    PointDamagedError,
    RefusedError,
    TargetExistsError,
    UnlockError,
)
from strongroom.format.block import BlockAddress, BlockClass
from strongroom.format.point import DiskRoot, TreeRoot
from strongroom.repository.keyring import Keyring
from strongroom.testing.adversary_storage import AdversaryStorage
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.chain_builder import (
    LEAVE,
    ChainBuilder,
    PageEntry,
    PagePiece,
    directory,
    effect_of,
    file,
    start_chain,
    tree_page,
)
from tests.support.engine_job import EngineJob, look_at, source
from tests.support.reading import bring_back, views_of

MIB = 1 << 20


@pytest.fixture
def origin(tmp_path):
    """A tree with every kind of entry that any user can make."""
    root = tmp_path / "origin"
    (root / "docs" / "old").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "docs" / "a.txt").write_text("a")
    (root / "docs" / "old" / "b.txt").write_bytes(b"b" * 5000)
    (root / "docs" / "none").write_bytes(b"")
    (root / "big").write_bytes(os.urandom(6 * MIB))
    os.link(root / "big", root / "docs" / "big-too")
    os.link(root / "big", root / "zz-big")
    (root / "link").symlink_to("docs/a.txt")
    (root / "dangling").symlink_to("/nowhere/at all")
    os.mkfifo(root / "fifo")
    os.link(root / "fifo", root / "docs" / "fifo-too")
    os.link(root / "link", root / "link-too", follow_symlinks=False)
    (root / os.fsdecode(b"\xff\xfe")).write_text("not utf-8")
    with (root / "sparse").open("wb") as out:
        out.seek(3 * MIB)
        out.write(os.urandom(MIB // 2))  # a chunk of this size has a block of its own
        out.truncate(8 * MIB)
    os.setxattr(root / "docs" / "a.txt", "user.note", b"kept")
    (root / "docs" / "a.txt").chmod(0o4751)
    (root / "empty").chmod(0o1777)
    for path in sorted(root.rglob("*"), reverse=True):
        os.utime(path, ns=(1, 1_600_000_000_123_456_789), follow_symlinks=False)
    (root / "docs").chmod(0o750)
    return root


@pytest.fixture
def storage():
    return AdversaryStorage(MemoryStorage())


@pytest.fixture
def view(origin, storage):
    return backed_up(storage, origin)


def backed_up(storage, path, kind="files") -> PointView:
    job = EngineJob(storage, [source(kind, path)])
    job.run()
    return views_of(job)[0]


def landed(target, path):
    return target / str(path).lstrip("/")


def everything_below(path):
    return sorted(str(found.relative_to(path)) for found in path.rglob("*"))


def damage_block_of(view: PointView, storage: AdversaryStorage, path: tuple[bytes, ...]) -> None:
    """Flip a bit in the first block of a file: the last chunk of one may share its block."""
    root = view.opened().root
    assert isinstance(root, TreeRoot)
    entry = find_entry(view.reader(), root, path)
    assert entry is not None
    addresses = [piece.address for piece in pieces_of(view.reader(), entry) if piece.address]
    flip_block(view, storage, addresses[0])


def flip_block(
    view: PointView, storage: AdversaryStorage, address: BlockAddress | None, cls=BlockClass.DATA
) -> None:
    assert address is not None
    birth = view.reader().birth(address, cls)
    index = birth.index_of[address.place]
    storage.flip(birth.key, birth.directory.offsets[index] + birth.directory.lengths[index] // 2)


# --- whole trees -------------------------------------------------------------------------------


def test_a_tree_comes_back_with_all_it_had(view, origin, tmp_path) -> None:
    result = bring_back(view, tmp_path / "out")

    assert look_at(landed(tmp_path / "out", origin)) == look_at(origin)
    assert (result.losses, result.warnings) == ([], [])
    assert result.files == 6
    assert result.bytes == view.opened().size_bytes


def test_a_sparse_file_comes_back_sparse(view, origin, tmp_path) -> None:
    bring_back(view, tmp_path / "out")
    st = landed(tmp_path / "out", origin / "sparse").stat()
    assert st.st_size == 8 * MIB
    assert st.st_blocks * 512 < MIB


def test_hard_links_are_one_file_again(view, origin, tmp_path) -> None:
    bring_back(view, tmp_path / "out", strip=True)
    names = ("big", "docs/big-too", "zz-big")
    assert len({(tmp_path / "out" / name).stat().st_ino for name in names}) == 1


@pytest.mark.parametrize(
    ("first", "further"), [("docs/fifo-too", "fifo"), ("link", "link-too")], ids=["fifo", "symlink"]
)
def test_what_is_no_file_has_its_further_names_again(
    view, origin, tmp_path, first, further
) -> None:
    bring_back(view, tmp_path / "out", strip=True)
    one, other = tmp_path / "out" / first, tmp_path / "out" / further
    assert one.lstat().st_ino == other.lstat().st_ino

    bring_back(view, tmp_path / "part", strip=True, include=(further,), verify=True)
    assert stat.S_IFMT((tmp_path / "part" / further).lstat().st_mode) == stat.S_IFMT(
        one.lstat().st_mode
    )


def test_further_names_of_what_cannot_be_made_here_are_left_out_with_it(
    view, origin, tmp_path, monkeypatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "mknod", refuse)
    result = bring_back(view, tmp_path / "out", strip=True)

    expected = everything_below(origin)
    expected.remove("fifo")
    expected.remove("docs/fifo-too")
    assert everything_below(tmp_path / "out") == expected
    assert ["fifo" in warning for warning in result.warnings] == [True]


def test_an_increment_keeps_further_names_of_what_is_no_file(origin, tmp_path) -> None:
    job = EngineJob(MemoryStorage(), [source("files", origin)], cache=tmp_path / "cache")
    job.run()
    os.link(origin / "dangling", origin / "dangling-too", follow_symlinks=False)
    (origin / "fifo").unlink()
    job.run()
    bring_back(views_of(job)[1], tmp_path / "out", strip=True)
    assert look_at(tmp_path / "out") == look_at(origin)


def test_strip_drops_the_sources_own_path(view, origin, tmp_path) -> None:
    bring_back(view, tmp_path / "out", strip=True)
    assert look_at(tmp_path / "out") == look_at(origin)


def test_strip_into_an_empty_directory_gives_it_the_roots_attributes(view, origin, tmp_path):
    (tmp_path / "out").mkdir(mode=0o700)
    origin_mode = stat.S_IMODE(origin.stat().st_mode)
    bring_back(view, tmp_path / "out", strip=True)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == origin_mode


def test_a_plain_point_comes_back_too(origin, tmp_path) -> None:
    job = EngineJob(MemoryStorage(), [source("files", origin)], sealed=False)
    job.run()
    bring_back(views_of(job)[0], tmp_path / "out", strip=True, verify=True)
    assert look_at(tmp_path / "out") == look_at(origin)


def test_a_single_file_is_a_source_too(origin, tmp_path) -> None:
    view = backed_up(MemoryStorage(), origin / "docs" / "a.txt")
    bring_back(view, tmp_path / "out")
    bring_back(view, tmp_path / "flat", strip=True)
    assert landed(tmp_path / "out", origin / "docs" / "a.txt").read_text() == "a"
    assert everything_below(tmp_path / "flat") == ["a.txt"]


def test_many_files_in_many_pages_come_back(tmp_path) -> None:
    origin = tmp_path / "origin"
    for number in range(1500):
        path = origin / f"d{number % 7}" / f"e{number % 3}" / f"file{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(number))
    view = backed_up(MemoryStorage(), origin)
    result = bring_back(view, tmp_path / "out", strip=True, verify=True)
    assert look_at(tmp_path / "out") == look_at(origin)
    assert (result.files, result.verified) == (1500, True)


def test_a_deep_tree_comes_back(tmp_path) -> None:
    origin = tmp_path / "origin"
    origin.mkdir()
    here = os.open(origin, os.O_RDONLY)
    for level in range(300):
        name = b"directory-%03d-of-a-long-way-down" % level
        os.mkdir(name, dir_fd=here)
        inner = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open(b"bottom", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=here))
    os.close(here)
    view = backed_up(MemoryStorage(), origin)

    result = bring_back(view, tmp_path / "out", strip=True, verify=True)

    assert result.files == 1
    here = os.open(tmp_path / "out", os.O_RDONLY)
    for level in range(300):
        name = b"directory-%03d-of-a-long-way-down" % level
        inner = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    assert os.listdir(here) == ["bottom"]
    os.close(here)


# --- parts of trees ----------------------------------------------------------------------------


def test_chosen_paths_come_back_with_the_directories_above_them(view, origin, tmp_path) -> None:
    bring_back(view, tmp_path / "out", include=(f"{origin}/docs/old",), strip=True)

    assert everything_below(tmp_path / "out") == ["docs", "docs/old", "docs/old/b.txt"]
    here, there = look_at(tmp_path / "out"), look_at(origin)
    assert here[(b"docs", b"old", b"b.txt")] == there[(b"docs", b"old", b"b.txt")]
    assert here[(b"docs",)] == there[(b"docs",)]


def test_globs_choose_by_name(view, tmp_path) -> None:
    bring_back(view, tmp_path / "out", include=("*.txt",), strip=True)
    assert everything_below(tmp_path / "out") == [
        "docs",
        "docs/a.txt",
        "docs/old",
        "docs/old/b.txt",
    ]


def test_a_further_name_brings_the_content_when_its_first_is_left_out(
    view, origin, tmp_path
) -> None:
    result = bring_back(
        view, tmp_path / "out", include=("docs/big-too", "zz-big"), strip=True, verify=True
    )
    one, other = tmp_path / "out" / "docs" / "big-too", tmp_path / "out" / "zz-big"
    assert one.read_bytes() == (origin / "big").read_bytes()
    assert one.stat().st_ino == other.stat().st_ino
    assert one.stat().st_mtime_ns == (origin / "big").stat().st_mtime_ns
    assert result.files == 1


def test_a_pattern_that_matches_nothing_restores_nothing(view, tmp_path) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        bring_back(view, tmp_path / "out", include=("docs", "nowhere"))
    assert not (tmp_path / "out").exists()


# --- what is there already ---------------------------------------------------------------------


def test_never_is_the_default_and_a_conflict_restores_nothing(view, origin, tmp_path) -> None:
    out = tmp_path / "out"
    (out / "docs").mkdir(parents=True)
    (out / "docs" / "a.txt").write_text("mine")
    (out / "link").write_text("mine too")

    with pytest.raises(TargetExistsError) as caught:
        bring_back(view, out, strip=True)

    assert caught.value.fields["paths"] == [f"{out}/docs/a.txt", f"{out}/link"]
    assert everything_below(out) == ["docs", "docs/a.txt", "link"]


def test_directories_that_are_there_are_merged_and_stay_as_they_are(view, origin, tmp_path) -> None:
    out = tmp_path / "out"
    (out / "docs").mkdir(parents=True)
    (out / "docs").chmod(0o711)
    (out / "docs" / "mine").write_text("mine")

    bring_back(view, out, strip=True)

    assert (out / "docs" / "mine").read_text() == "mine"
    assert (out / "docs" / "a.txt").read_text() == "a"
    assert stat.S_IMODE((out / "docs").stat().st_mode) == 0o711


def test_if_different_leaves_what_is_the_same(view, origin, tmp_path) -> None:
    out = tmp_path / "out"
    bring_back(view, out, strip=True)
    (out / "docs" / "a.txt").write_text("changed")
    (out / "docs" / "old" / "b.txt").unlink()
    untouched = (out / os.fsdecode(b"\xff\xfe")).stat()

    result = bring_back(view, out, strip=True, overwrite="if-different")

    assert look_at(out) == look_at(origin)
    assert (out / os.fsdecode(b"\xff\xfe")).stat().st_ino == untouched.st_ino
    assert result.files == 2
    assert result.unchanged == 4


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("docs/a.txt", lambda path: path.chmod(0o640)),
        ("big", lambda path: path.chmod(0o640)),
        ("fifo", lambda path: path.chmod(0o640)),
        ("docs/a.txt", lambda path: os.chown(path, 12345, 12345)),
        ("docs/none", lambda path: os.chown(path, 12345, -1)),
        ("fifo", lambda path: os.chown(path, -1, 12345)),
        ("link", lambda path: os.chown(path, 12345, 12345, follow_symlinks=False)),
        ("docs/a.txt", lambda path: os.setxattr(path, "user.note", b"mine")),
        ("docs/a.txt", lambda path: os.removexattr(path, "user.note")),
        ("docs/none", lambda path: os.setxattr(path, "user.other", b"")),
    ],
    ids=[
        "mode of a small file",
        "mode of a large file",
        "mode of a fifo",
        "owner and group of a file",
        "owner of an empty file",
        "group of a fifo",
        "owner of a link",
        "another value of an xattr",
        "a lost xattr",
        "a new xattr",
    ],
)
def test_if_different_puts_attributes_right(view, origin, tmp_path, name, spoil) -> None:
    out = tmp_path / "out"
    bring_back(view, out, strip=True)
    st = (out / name).lstat()
    spoil(out / name)
    os.utime(out / name, ns=(st.st_atime_ns, st.st_mtime_ns), follow_symlinks=False)
    assert look_at(out) != look_at(origin)

    bring_back(view, out, strip=True, overwrite="if-different")

    assert look_at(out) == look_at(origin)


def test_if_different_gives_no_attributes_to_a_file_linked_from_outside(
    view, origin, tmp_path
) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    bring_back(view, out, strip=True)
    os.link(out / "docs" / "a.txt", outside)
    outside.chmod(0o600)

    bring_back(view, out, strip=True, overwrite="if-different")

    assert stat.S_IMODE(outside.stat().st_mode) == 0o600
    assert look_at(out) == look_at(origin)


def test_always_replaces_what_is_in_the_way(view, origin, tmp_path) -> None:
    out = tmp_path / "out"
    outside = tmp_path / "outside"
    outside.mkdir()
    out.mkdir()
    (out / "docs").symlink_to(outside)
    (out / "big").symlink_to(outside / "file")
    (out / "link").write_text("a file")
    (out / "fifo").write_text("a file")

    bring_back(view, out, strip=True, overwrite="always")

    assert look_at(out) == look_at(origin)
    assert everything_below(outside) == []


@pytest.mark.parametrize("overwrite", ["never", "if-different", "always"])
def test_no_directory_makes_room_for_a_file(view, tmp_path, overwrite) -> None:
    (tmp_path / "out" / "big" / "mine").mkdir(parents=True)
    with pytest.raises(TargetExistsError):
        bring_back(view, tmp_path / "out", strip=True, overwrite=overwrite)
    assert everything_below(tmp_path / "out") == ["big", "big/mine"]


@pytest.mark.parametrize("overwrite", ["never", "if-different", "always"])
def test_a_link_on_the_way_is_not_followed(view, origin, tmp_path, overwrite) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    out.mkdir()
    (out / "docs").symlink_to(outside)
    with pytest.raises(TargetExistsError):
        bring_back(view, out, include=("docs/old/b.txt",), strip=True, overwrite=overwrite)
    assert everything_below(outside) == []


def test_a_dry_run_writes_nothing_and_says_what_it_would(view, origin, tmp_path) -> None:
    out = tmp_path / "out"
    result = bring_back(view, out, include=("docs/old", "link"), strip=True, dry_run=True)
    assert not out.exists()
    assert result.would == [f"{out}/docs/old", f"{out}/docs/old/b.txt", f"{out}/link"]


def test_a_dry_run_meets_the_same_conflicts(view, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "big").write_text("mine")
    with pytest.raises(TargetExistsError):
        bring_back(view, tmp_path / "out", strip=True, dry_run=True)


# --- reading back ------------------------------------------------------------------------------


class Meddling(NullProgress):
    """Does something when a stage begins."""

    def __init__(self, stage: str, act) -> None:
        self._stage = stage
        self._act = act

    def begin(self, stage: str, total_bytes: int | None = None) -> None:
        if stage == self._stage:
            self._act()


@pytest.mark.parametrize("name", ["docs/a.txt", "sparse", "big"])
def test_verify_reads_back_what_was_written(view, tmp_path, name) -> None:
    out = tmp_path / "out"

    def spoil() -> None:
        with (out / name).open("r+b") as file:
            before = file.read(1)
            file.seek(0)
            file.write(bytes([before[0] ^ 0x7F]))

    with pytest.raises(IntegrityError) as caught:
        restore(
            view,
            RestoreRequest(target=out, strip=True, verify=True),
            progress=Meddling("verify", spoil),
            cancel=Cancellation(),
        )
    assert caught.value.fields["paths"] == [f"{out}/{name}"]


def spoil_unseen(path) -> None:
    """Change a byte of a file, and neither its size nor its time."""
    st = path.stat()
    with path.open("r+b") as file:
        file.write(b"~")
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))


@pytest.mark.parametrize("name", ["docs/a.txt", "sparse", "big"])
def test_verify_restores_what_only_seems_the_same(view, origin, tmp_path, name) -> None:
    out = tmp_path / "out"
    bring_back(view, out, strip=True)
    spoil_unseen(out / name)
    assert bring_back(view, out, strip=True, overwrite="if-different").unchanged == 6

    result = bring_back(view, out, strip=True, overwrite="if-different", verify=True)

    assert (result.verified, result.files, result.unchanged) == (True, 1, 5)
    assert look_at(out) == look_at(origin)


def test_a_dry_run_with_verify_names_what_only_seems_the_same(view, tmp_path) -> None:
    out = tmp_path / "out"
    bring_back(view, out, strip=True)
    spoil_unseen(out / "big")
    asked = {"strip": True, "overwrite": "if-different", "dry_run": True}
    assert f"{out}/big" not in bring_back(view, out, **asked).would
    assert f"{out}/big" in bring_back(view, out, verify=True, **asked).would


def test_what_only_seems_the_same_and_is_damaged_in_the_point_is_no_verified_restore(
    view, storage, tmp_path
) -> None:
    out = tmp_path / "out"
    bring_back(view, out, strip=True)
    spoil_unseen(out / "sparse")
    damage_block_of(view, storage, (b"sparse",))
    with pytest.raises(IntegrityError) as caught:
        bring_back(view, out, strip=True, overwrite="if-different", verify=True)
    assert f"{out}/sparse" in caught.value.fields["paths"]


def test_verify_reads_back_a_further_name_whose_first_is_left_out(view, tmp_path) -> None:
    out = tmp_path / "out"
    with pytest.raises(IntegrityError) as caught:
        restore(
            view,
            RestoreRequest(target=out, strip=True, verify=True, include=("zz-big",)),
            progress=Meddling("verify", lambda: spoil_unseen(out / "zz-big")),
            cancel=Cancellation(),
        )
    assert caught.value.fields["paths"] == [f"{out}/zz-big"]


def test_verify_says_that_it_did(view, tmp_path) -> None:
    assert bring_back(view, tmp_path / "out", verify=True).verified


# --- damage ------------------------------------------------------------------------------------


def test_a_missing_pack_is_found_before_anything_is_written(view, storage, tmp_path) -> None:
    packs = [info.key for info in storage.list("chains/") if "/packs/" in info.key]
    address = BlockAddress(1, 0)
    key = next(k for k in packs if k == view.reader().birth(address, BlockClass.DATA).key)
    storage.hide(key)

    with pytest.raises(ObjectMissingError) as caught:
        bring_back(view, tmp_path / "out")

    assert caught.value.fields["object"] == key
    assert not (tmp_path / "out").exists()


def test_a_pack_cut_short_is_found_before_anything_is_written(view, storage, tmp_path) -> None:
    key = view.reader().birth(BlockAddress(1, 0), BlockClass.DATA).key
    storage.truncate(key, -4000)
    with pytest.raises(BlockDamagedError):
        bring_back(view, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("existed", [True, False])
def test_a_damaged_block_leaves_nothing_of_a_fresh_restore(view, storage, tmp_path, existed):
    out = tmp_path / "deep" / "out"
    if existed:
        out.mkdir(parents=True)
    damage_block_of(view, storage, (b"sparse",))

    with pytest.raises(BlockDamagedError, match="nothing is left") as caught:
        bring_back(view, out, strip=True)

    # Small files share a block with it, in an order that is shuffled.
    assert f"{out}/sparse" in caught.value.fields["paths"]
    assert caught.value.fields["object"]
    assert everything_below(tmp_path / "deep") == ["out"] if existed else True
    assert (tmp_path / "deep").exists() == existed


def test_a_damaged_block_names_all_the_paths_it_concerns(view, storage, tmp_path) -> None:
    # Small files share a block.
    damage_block_of(view, storage, (b"docs", b"a.txt"))
    with pytest.raises(BlockDamagedError) as caught:
        bring_back(view, tmp_path / "out", strip=True)
    paths = caught.value.fields["paths"]
    assert isinstance(paths, list)
    assert {f"{tmp_path}/out/docs/a.txt", f"{tmp_path}/out/docs/old/b.txt"} <= set(paths)


@pytest.mark.parametrize("overwrite", ["never", "if-different", "always"])
@pytest.mark.parametrize("path", [(b"sparse",), (b"docs", b"old", b"b.txt"), (b"big",)])
def test_damage_restores_nothing_beside_other_things(
    view, storage, tmp_path, overwrite, path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("mine")
    if overwrite != "never":
        (out / "docs").mkdir(mode=0o711)
        (out / "docs" / "a.txt").write_text("mine")
        (out / "zz-big").symlink_to("mine")
    before = look_at(out)
    damage_block_of(view, storage, path)

    with pytest.raises(BlockDamagedError, match="nothing was restored") as caught:
        bring_back(view, out, strip=True, overwrite=overwrite)

    assert f"{out}/" + os.fsdecode(b"/".join(path)) in caught.value.fields["paths"]
    assert look_at(out) == before


def test_damage_of_what_only_a_further_name_brings_restores_nothing(
    view, storage, tmp_path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("mine")
    damage_block_of(view, storage, (b"big",))
    with pytest.raises(BlockDamagedError, match="nothing was restored"):
        bring_back(view, out, strip=True, include=("docs/a.txt", "zz-big"))
    assert everything_below(out) == ["mine"]


def test_damage_elsewhere_does_not_keep_a_part_from_being_restored(view, storage, tmp_path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("mine")
    damage_block_of(view, storage, (b"big",))
    assert bring_back(view, out, strip=True, include=("sparse",), verify=True).files == 1


def test_salvage_goes_on_beside_other_things(view, storage, tmp_path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("mine")
    damage_block_of(view, storage, (b"big",))
    result = bring_back(view, out, strip=True, salvage=True)
    assert f"{out}/big" in {loss.path for loss in result.losses}
    assert (out / "docs" / "old" / "b.txt").read_bytes() == b"b" * 5000


def test_what_is_damaged_after_the_check_leaves_whole_files_and_names_the_last(
    view, origin, storage, tmp_path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("mine")

    with pytest.raises(BlockDamagedError) as caught:
        restore(
            view,
            RestoreRequest(target=out, strip=True),
            progress=Meddling("restore", lambda: damage_block_of(view, storage, (b"sparse",))),
            cancel=Cancellation(),
        )

    # In walk order everything before `sparse` is whole, and nothing behind it is there.
    assert caught.value.fields["last_restored"] == f"{out}/docs/old/b.txt"
    assert caught.value.fields["restored"] == 4
    assert (out / "mine").read_text() == "mine"
    here, there = look_at(out), look_at(origin)
    del here[(b"mine",)]
    there = {path: seen for path, seen in there.items() if path < (b"sparse",)}
    here.pop(())
    there.pop(())
    for both in (here, there):
        # The third name of `big` comes behind.
        for path in list(both):
            if both[path].kind == "FILE" and b"big" in path[-1]:
                assert both[path].content == (origin / "big").read_bytes()
                del both[path]
    assert here == there


def test_salvage_restores_the_rest_and_lists_the_loss(view, origin, storage, tmp_path) -> None:
    damage_block_of(view, storage, (b"docs", b"a.txt"))
    result = bring_back(view, tmp_path / "out", strip=True, salvage=True)

    lost = {loss.path for loss in result.losses}
    assert f"{tmp_path}/out/docs/a.txt" in lost
    here, there = look_at(tmp_path / "out"), look_at(origin)
    for path, seen in there.items():
        if f"{tmp_path}/out/" + os.fsdecode(b"/".join(path)) not in lost:
            assert here[path] == seen
        else:
            assert path not in here
    error = result.error()
    assert isinstance(error, IntegrityError)
    assert len(error.fields["losses"]) == len(lost)  # type: ignore[arg-type]


def test_salvage_gives_half_a_file_no_name_that_looks_whole(view, origin, storage, tmp_path):
    damage_block_of(view, storage, (b"big",))
    result = bring_back(view, tmp_path / "out", strip=True, salvage=True)

    (left,) = (tmp_path / "out").glob("big*")
    assert left.name == f"big.damaged-{view.id[:8]}"
    content, whole = left.read_bytes(), (origin / "big").read_bytes()
    assert len(content) == len(whole)
    differing = [at for at in range(0, len(whole), 4096) if content[at] != whole[at]]
    assert differing
    assert content[differing[0] : differing[-1]] == bytes(differing[-1] - differing[0])
    # Its further names have nothing to be names of.
    assert [loss.path for loss in result.losses] == [
        f"{tmp_path}/out/{name}" for name in ("big", "docs/big-too", "zz-big")
    ]
    assert not (tmp_path / "out" / "docs" / "big-too").exists()


def test_salvage_of_a_missing_pack_loses_what_was_in_it(view, storage, tmp_path) -> None:
    storage.hide(view.reader().birth(BlockAddress(1, 0), BlockClass.DATA).key)
    result = bring_back(view, tmp_path / "out", strip=True, salvage=True)
    assert result.losses
    assert os.readlink(tmp_path / "out" / "link") == "docs/a.txt"
    assert (tmp_path / "out" / "docs" / "none").read_bytes() == b""


def test_nothing_lost_is_nothing_to_report(view, tmp_path) -> None:
    result = bring_back(view, tmp_path / "out", salvage=True)
    assert result.error() is None


def test_salvage_goes_on_behind_a_page_of_the_index(tmp_path) -> None:
    parts = [
        [directory("."), directory("a"), file("x")],
        [file("lost"), LEAVE, directory("b"), file("lost-too")],
        [file("y"), LEAVE, file("z"), LEAVE],
    ]

    def root_of(session: ChainBuilder) -> TreeRoot:
        pages = [session.page(tree_page(part)) for part in parts]
        pages[1] = session.page(b"garbage")
        return TreeRoot(1, session.node(pages, [effect_of(part) for part in parts]), None)

    view = built_view(root_of)
    with pytest.raises(IntegrityError):
        bring_back(view, tmp_path / "out", strip=True)
    assert not (tmp_path / "out").exists()

    result = bring_back(view, tmp_path / "out", strip=True, salvage=True)
    assert everything_below(tmp_path / "out") == ["a", "a/x", "b", "b/y", "z"]
    assert [loss.path for loss in result.losses] == [f"{tmp_path}/out/a"]


def test_a_restore_stops_on_request(view, tmp_path) -> None:
    cancel = Cancellation()
    with pytest.raises(CancelledError):
        restore(
            view,
            RestoreRequest(target=tmp_path / "out"),
            progress=Meddling("restore", cancel.cancel),
            cancel=cancel,
        )


def test_without_the_data_keys_nothing_is_begun(origin, tmp_path) -> None:
    job = EngineJob(MemoryStorage(), [source("files", origin)])
    job.run()
    keyring = Keyring(job.chain_id, {}, job.metakeys)
    (view,) = open_points([job.chain()], lambda _: keyring)
    with pytest.raises(UnlockError):
        bring_back(view, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- hostile indexes ---------------------------------------------------------------------------


def built_view(root_of, name: str = "files:/source") -> PointView:
    built = start_chain(MemoryStorage())
    session = built.session()
    session.publish([(name, root_of(session))])
    return built.views()[0]


def refused(tmp_path, entries_of, kind: type[Exception] = IntegrityError) -> None:
    view = built_view(lambda session: session.single(entries_of(session)))
    with pytest.raises(kind):
        bring_back(view, tmp_path / "out" / "inner", strip=True)
    assert everything_below(tmp_path) == []


def test_a_piece_beyond_its_block_is_refused(tmp_path) -> None:
    def entries(session: ChainBuilder):
        piece = session.piece(b"12345")
        return [directory("."), file("a", PagePiece(piece.block, 3, 5, piece.content_hash)), LEAVE]

    refused(tmp_path, entries, PointDamagedError)


def test_content_that_is_not_what_its_hash_says_is_refused(tmp_path) -> None:
    def entries(session: ChainBuilder):
        piece = session.piece(b"12345")
        return [directory("."), file("a", PagePiece(piece.block, 0, 5, bytes(32))), LEAVE]

    refused(tmp_path, entries, PointDamagedError)


@pytest.mark.parametrize("link", [b"nothing", b".", b"", b"b", b"d", b"../../etc/passwd", b"/a"])
def test_a_hard_link_that_leads_nowhere_or_out_is_refused(tmp_path, link) -> None:
    refused(
        tmp_path,
        lambda _: [
            directory("."),
            file("a"),
            PageEntry(4, b"b", link=link),
            directory("d"),
            LEAVE,
            LEAVE,
        ],
    )


def test_a_symlink_and_then_a_directory_of_its_name_is_refused(tmp_path) -> None:
    refused(
        tmp_path,
        lambda _: [
            directory("."),
            PageEntry(3, b"a", link=b"/tmp"),
            directory("a"),
            file("f"),
            LEAVE,
            LEAVE,
        ],
        MalformedError,
    )


# --- images ------------------------------------------------------------------------------------


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(3 * MIB) + bytes(5 * MIB) + os.urandom(MIB) + os.urandom(777))
    return path


def test_an_image_comes_back_with_its_holes(image, tmp_path) -> None:
    view = backed_up(MemoryStorage(), image, "image")
    result = bring_back(view, tmp_path / "out.img", verify=True)
    assert (tmp_path / "out.img").read_bytes() == image.read_bytes()
    assert (tmp_path / "out.img").stat().st_blocks * 512 < 6 * MIB
    assert (result.files, result.bytes, result.verified) == (1, image.stat().st_size, True)


def test_an_increment_comes_back_whole(image, tmp_path) -> None:
    job = EngineJob(MemoryStorage(), [source("image", image)])
    job.run()
    before = image.read_bytes()
    with image.open("r+b") as file:
        for at in (0, 70_000, 4 * MIB, 9 * MIB):
            file.seek(at)
            file.write(os.urandom(3000))
    job.run()
    first, second = views_of(job)
    bring_back(first, tmp_path / "one")
    bring_back(second, tmp_path / "two", verify=True)
    assert (tmp_path / "one").read_bytes() == before
    assert (tmp_path / "two").read_bytes() == image.read_bytes()


def test_an_image_is_not_written_over_a_file_unless_told(image, tmp_path) -> None:
    view = backed_up(MemoryStorage(), image, "image")
    (tmp_path / "out").write_bytes(b"mine" * (4 * MIB))
    with pytest.raises(TargetExistsError):
        bring_back(view, tmp_path / "out")
    assert (tmp_path / "out").read_bytes()[:4] == b"mine"
    bring_back(view, tmp_path / "out", overwrite="always", verify=True)
    assert (tmp_path / "out").read_bytes() == image.read_bytes()


@pytest.fixture
def device(tmp_path):
    """A block device of 12 MiB that holds nothing."""
    backing = tmp_path / "backing"
    backing.write_bytes(bytes(12 * MIB))
    attach = ["losetup", "--find", "--show", backing]
    name = subprocess.run(attach, check=True, capture_output=True, text=True).stdout.strip()
    yield Path(name)
    subprocess.run(["losetup", "--detach", name], check=True)


@pytest.mark.parametrize("at", [0, MIB - 1, 11 * MIB, 12 * MIB - 1])
@pytest.mark.parametrize("dry_run", [True, False])
def test_a_device_that_holds_something_is_not_written_unless_told(
    image, device, tmp_path, at, dry_run
) -> None:
    view = backed_up(MemoryStorage(), image, "image")
    with device.open("r+b") as file:
        file.seek(at)
        file.write(b"m")
    before = device.read_bytes()

    with pytest.raises(TargetExistsError, match="holds something") as caught:
        bring_back(view, device, dry_run=dry_run)

    assert "--overwrite always" in caught.value.hint
    assert device.read_bytes() == before
    bring_back(view, device, overwrite="always", verify=True)
    assert device.read_bytes()[: image.stat().st_size] == image.read_bytes()


def test_an_empty_device_is_written(image, device) -> None:
    bring_back(backed_up(MemoryStorage(), image, "image"), device, verify=True)
    assert device.read_bytes()[: image.stat().st_size] == image.read_bytes()


def test_a_directory_takes_an_object_under_a_name_of_its_own(image, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    bring_back(backed_up(MemoryStorage(), image, "image"), tmp_path / "out")
    command = "echo hello; : ../../etc/passwd"
    bring_back(backed_up(MemoryStorage(), command, "command"), tmp_path / "out")
    assert everything_below(tmp_path / "out") == ["disk.img", "echo-hello-..-..-etc-passwd"]
    assert (tmp_path / "out" / "echo-hello-..-..-etc-passwd").read_text() == "hello\n"


def damaged_image(image) -> tuple[PointView, AdversaryStorage]:
    storage = AdversaryStorage(MemoryStorage())
    view = backed_up(storage, image, "image")
    root = view.opened().root
    assert isinstance(root, DiskRoot)
    flip_block(view, storage, next(walk_disk(view.reader(), root)).address)
    return view, storage


def test_a_damaged_image_leaves_no_file(image, tmp_path) -> None:
    view, _ = damaged_image(image)
    with pytest.raises(BlockDamagedError, match="nothing is left"):
        bring_back(view, tmp_path / "out")
    assert everything_below(tmp_path) == ["disk.img"]


def test_a_damaged_image_overwrites_nothing(image, device, tmp_path) -> None:
    view, _ = damaged_image(image)
    (tmp_path / "out").write_bytes(b"mine")
    for target in (tmp_path / "out", device):
        before = target.read_bytes()
        with pytest.raises(BlockDamagedError, match="nothing was restored"):
            bring_back(view, target, overwrite="always")
        assert target.read_bytes() == before


def test_a_dry_run_finds_a_device_too_small(image, device) -> None:
    with image.open("r+b") as file:
        file.truncate(13 * MIB)
    view = backed_up(MemoryStorage(), image, "image")
    with pytest.raises(RefusedError, match="13631488"):
        bring_back(view, device, dry_run=True)


def test_a_salvaged_image_does_not_look_whole(image, tmp_path) -> None:
    view, _ = damaged_image(image)
    result = bring_back(view, tmp_path / "out", salvage=True)
    (left,) = tmp_path.glob("out*")
    assert left.name == f"out.damaged-{view.id[:8]}"
    assert result.losses
    assert all(loss.path == str(left) for loss in result.losses)
    content, whole = left.read_bytes(), image.read_bytes()
    same = [
        content[at : at + 65536] == whole[at : at + 65536] for at in range(0, len(whole), 65536)
    ]
    assert len(content) == len(whole)
    assert sum(same) >= len(same) - 16
    assert not all(same)


def test_patterns_make_no_sense_for_an_image(image, tmp_path) -> None:
    view = backed_up(MemoryStorage(), image, "image")
    with pytest.raises(InvalidInputError):
        bring_back(view, tmp_path / "out", include=("a",))


# --- streams -----------------------------------------------------------------------------------


def test_a_stream_takes_an_image_a_command_and_a_file(image, view, origin) -> None:
    for opened, expected, asked in (
        (backed_up(MemoryStorage(), image, "image"), image.read_bytes(), {}),
        (backed_up(MemoryStorage(), "seq 1 200000", "command"), None, {}),
        (view, (origin / "big").read_bytes(), {"include": (f"{origin}/big",)}),
        (view, (origin / "big").read_bytes(), {"include": ("zz-big",)}),
        (view, (origin / "sparse").read_bytes(), {"include": ("sparse",)}),
        (view, b"", {"include": ("docs/none",)}),
    ):
        out = io.BytesIO()
        result = bring_back(opened, None, out, **asked)
        if expected is None:
            expected = "".join(f"{number}\n" for number in range(1, 200001)).encode()
        assert out.getvalue() == expected
        assert (result.files, result.bytes) == (1, len(expected))


def test_a_stream_takes_one_file_only(view) -> None:
    for include in ((), ("docs",), ("link",)):
        with pytest.raises(InvalidInputError):
            bring_back(view, None, io.BytesIO(), include=include)
    with pytest.raises(NotFoundError):
        bring_back(view, None, io.BytesIO(), include=("nowhere",))
    with pytest.raises(InvalidInputError):
        bring_back(view, None, io.BytesIO(), include=("big",), verify=True)


def test_a_stream_ends_before_damage_and_says_so(view, storage) -> None:
    damage_block_of(view, storage, (b"big",))
    out = io.BytesIO()
    with pytest.raises(BlockDamagedError) as caught:
        bring_back(view, None, out, include=("big",))
    assert caught.value.fields["written"] == len(out.getvalue())


def test_a_salvaged_stream_has_zeros_for_what_is_lost(image) -> None:
    view, _ = damaged_image(image)
    out = io.BytesIO()
    result = bring_back(view, None, out, salvage=True)
    assert len(out.getvalue()) == image.stat().st_size
    assert result.losses
    assert result.files == 0
