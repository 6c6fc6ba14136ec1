from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from strongroom import errors
from strongroom.engine import target as target_module
from strongroom.engine.target import ImageTarget, TreeTarget
from strongroom.model.entry import Attributes, EntryKind
from strongroom.sources.directory import MOST_OPEN
from tests.support.descriptors import open_descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from strongroom.sources.base import Problem

NOBODY = 65534
MTIME = 1_234_567_890_123_456_789
HOSTILE = [b"", b".", b"..", b"/", b"a/b", b"../x", b"/etc/x", b"a\0b"]
CLUSTER = 65536
MIB = 1 << 20


def attributes(
    mode: int = 0o644, uid: int = 0, gid: int = 0, mtime_ns: int = MTIME, **xattrs: bytes
) -> Attributes:
    pairs = sorted((f"user.{name}".encode(), value) for name, value in xattrs.items())
    return Attributes(mode, uid, gid, "", "", mtime_ns, tuple(pairs))


def with_xattrs(*pairs: tuple[bytes, bytes], mode: int = 0o644) -> Attributes:
    return Attributes(mode, 0, 0, "", "", MTIME, pairs)


class Place:
    """A target directory with things around it that have to stay as they are."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.outside = folder / "outside"
        self.outside.mkdir()
        (self.outside / "kept").write_bytes(b"kept")
        self.problems: list[Problem] = []

    def target(self, *, restore_owners: bool = True) -> TreeTarget:
        return TreeTarget(self.root, report=self.problems.append, restore_owners=restore_owners)

    def assert_outside_is_untouched(self) -> None:
        assert names(self.outside) == ["kept"]
        assert (self.outside / "kept").read_bytes() == b"kept"
        assert (self.outside / "kept").stat().st_nlink == 1


@contextmanager
def nobody() -> Iterator[None]:
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def public() -> Iterator[Place]:
    """Yield a place that every user can write to, as pytest's own directories are not."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o777)
        yield Place(Path(path))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def seen(path: Path) -> tuple[int, int, int, int]:
    st = path.lstat()
    return stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns


# --- every kind of entry --------------------------------------------------------------------


def test_every_kind_of_entry_gets_all_its_attributes(place: Place) -> None:
    target = place.target()
    assert target.enter(b"folder")
    target.small_file(b"small", b"data", attributes(0o4751, 12, 34, colour=b"red"))
    writer = target.file(b"large")
    writer.write_at(MIB, b"end")
    writer.write_at(0, b"begin")
    writer.finish(2 * MIB, attributes(0o640, 12, 34))
    target.hard_link(b"other", [b"folder", b"small"])
    target.symlink(b"link", b"no\xff/where", attributes(0o777, 12, 34))
    target.special(EntryKind.FIFO, b"fifo", 0, attributes(0o620, 12, 34))
    target.special(EntryKind.SOCKET, b"socket", 0, attributes(0o755))
    target.special(EntryKind.CHARACTER_DEVICE, b"null", os.makedev(1, 3), attributes(0o666))
    target.special(EntryKind.BLOCK_DEVICE, b"loop", os.makedev(7, 99), attributes(0o660, 0, 6))
    target.leave(attributes(0o2550, 12, 34, shape=b"round"))
    target.leave(attributes(0o711, 1, 2))
    target.finish()

    folder = place.root / "folder"
    assert seen(place.root) == (0o711, 1, 2, MTIME)
    assert seen(folder) == (0o2550, 12, 34, MTIME)
    assert os.getxattr(folder, "user.shape") == b"round"
    assert seen(folder / "small") == (0o4751, 12, 34, MTIME)
    assert (folder / "small").read_bytes() == b"data"
    assert os.getxattr(folder / "small", "user.colour") == b"red"
    assert (folder / "other").samefile(folder / "small")
    assert seen(folder / "large") == (0o640, 12, 34, MTIME)
    large = (folder / "large").read_bytes()
    assert large == b"begin" + bytes(MIB - 5) + b"end" + bytes(MIB - 3)
    assert (folder / "large").stat().st_blocks * 512 < MIB // 2
    assert os.fsencode((folder / "link").readlink()) == b"no\xff/where"
    assert seen(folder / "link")[1:] == (12, 34, MTIME)
    assert seen(folder / "fifo") == (0o620, 12, 34, MTIME)
    assert stat.S_ISFIFO((folder / "fifo").lstat().st_mode)
    assert stat.S_ISSOCK((folder / "socket").lstat().st_mode)
    assert seen(folder / "socket") == (0o755, 0, 0, MTIME)
    assert stat.S_ISCHR((folder / "null").lstat().st_mode)
    assert (folder / "null").lstat().st_rdev == os.makedev(1, 3)
    assert stat.S_ISBLK((folder / "loop").lstat().st_mode)
    assert (folder / "loop").lstat().st_rdev == os.makedev(7, 99)
    assert seen(folder / "loop") == (0o660, 0, 6, MTIME)
    assert names(folder) == sorted(
        ["small", "large", "other", "link", "fifo", "socket", "null", "loop"]
    )
    assert not place.problems


def test_acls_and_capabilities_survive_owner_and_mode(place: Place, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.write_bytes(b"#!")
    subprocess.run(["setfacl", "-m", "u:1:r,g:2:rwx", model], check=True)
    kinds = ("security.capability", "system.posix_acl_access")
    subprocess.run(["setcap", "cap_net_raw+ep", model], check=True)
    pairs = tuple((name.encode(), os.getxattr(model, name)) for name in kinds)
    mode = stat.S_IMODE(model.stat().st_mode)
    wanted = Attributes(mode, 12, 34, "", "", MTIME, pairs)
    target = place.target()
    target.enter(b"new")
    target.small_file(b"small", b"#!", wanted)
    target.leave(None)
    writer = target.file(b"large")
    writer.write_at(0, b"#!")
    writer.finish(2, wanted)
    target.finish()
    for path in (place.root / "new" / "small", place.root / "large"):
        assert seen(path) == (mode, 12, 34, MTIME)
        assert tuple((n.encode(), os.getxattr(path, n)) for n in kinds) == pairs


def test_what_the_target_bequeaths_is_not_added_to_what_is_restored(place: Place) -> None:
    place.root.mkdir()
    place.root.chmod(0o2755)
    os.chown(place.root, 0, 77)
    command = ["setfacl", "-d", "-m", "u:1:rwx", place.root]
    subprocess.run(command, check=True)
    target = place.target()
    target.small_file(b"file", b"", attributes(0o644))
    target.special(EntryKind.FIFO, b"fifo", 0, attributes(0o600))
    target.enter(b"folder")
    target.small_file(b"file", b"", attributes(0o600))
    target.leave(attributes(0o755))
    target.enter(b"plain")
    target.leave(None)
    target.finish()
    for name, mode in (
        ("file", 0o644),
        ("fifo", 0o600),
        ("folder", 0o755),
        ("folder/file", 0o600),
    ):
        assert seen(place.root / name) == (mode, 0, 0, MTIME), name
        assert os.listxattr(place.root / name) == [], name
    assert stat.S_IMODE((place.root / "plain").stat().st_mode) & 0o777 == 0o755


def test_an_existing_directory_becomes_like_the_one_in_the_point(place: Place) -> None:
    folder = place.root / "folder"
    folder.mkdir(parents=True)
    os.setxattr(folder, "user.old", b"1")
    command = ["setfacl", "-m", "u:1:rwx,d:u:1:rwx", folder]
    subprocess.run(command, check=True)
    target = place.target()
    assert not target.enter(b"folder")
    target.leave(attributes(0o750, 3, 4, new=b"2"))
    target.enter(b"folder")
    target.leave(None)
    target.finish()
    assert seen(folder) == (0o750, 3, 4, MTIME)
    assert os.listxattr(folder) == ["user.new"]


def test_a_new_directory_is_closed_to_others_until_it_is_left(place: Place) -> None:
    target = place.target()
    target.enter(b"folder")
    assert stat.S_IMODE((place.root / "folder").stat().st_mode) == 0o700
    target.leave(attributes(0o755))
    assert stat.S_IMODE((place.root / "folder").stat().st_mode) == 0o755
    target.close()


# --- never outside, never over something ----------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_one_step_or_refused(place: Place, name: bytes) -> None:
    target = place.target()
    target.small_file(b"file", b"", attributes())
    target.enter(b"folder")
    calls: list[Callable[[], object]] = [
        lambda: target.enter(name),
        lambda: target.small_file(name, b"x", attributes()),
        lambda: target.file(name),
        lambda: target.symlink(name, b"x", attributes()),
        lambda: target.hard_link(name, [b"file"]),
        lambda: target.hard_link(b"y", [name]),
        lambda: target.hard_link(b"y", [name, b"file"]),
        lambda: target.special(EntryKind.FIFO, name, 0, attributes()),
        lambda: target.existing(name),
        lambda: target.remove(name),
    ]
    for call in calls:
        with pytest.raises(errors.MalformedError):
            call()
    target.close()
    assert names(place.root / "folder") == []
    place.assert_outside_is_untouched()


@pytest.mark.parametrize("link", [b"", b"a\0b"])
def test_a_link_to_no_possible_path_is_refused(place: Place, link: bytes) -> None:
    target = place.target()
    with pytest.raises(errors.MalformedError):
        target.symlink(b"link", link, attributes())
    with pytest.raises(errors.MalformedError):
        target.hard_link(b"link", [])
    target.close()


def test_a_link_restored_or_found_is_never_followed(place: Place) -> None:
    target = place.target()
    target.symlink(b"way", os.fsencode(place.outside), attributes(0o777))
    target.symlink(b"file", os.fsencode(place.outside / "kept"), attributes(0o777))
    target.symlink(b"new", os.fsencode(place.outside / "new"), attributes(0o777))
    calls: list[Callable[[], object]] = [
        lambda: target.enter(b"way"),
        lambda: target.small_file(b"file", b"x", attributes()),
        lambda: target.small_file(b"new", b"x", attributes()),
        lambda: target.file(b"new").finish(0, attributes()),
        lambda: target.symlink(b"new", b"x", attributes()),
        lambda: target.special(EntryKind.FIFO, b"new", 0, attributes()),
        lambda: target.hard_link(b"new", [b"file"]),
        lambda: target.hard_link(b"a", [b"way", b"kept"]),
    ]
    for call in calls:
        with pytest.raises(errors.TargetExistsError):
            call()
    target.finish()
    assert names(place.root) == ["file", "new", "way"]
    place.assert_outside_is_untouched()


def test_a_hard_link_to_a_link_is_one_to_the_link_itself(place: Place) -> None:
    target = place.target()
    target.symlink(b"file", os.fsencode(place.outside / "kept"), attributes(0o777))
    target.hard_link(b"again", [b"file"])
    target.finish()
    assert (place.root / "again").is_symlink()
    place.assert_outside_is_untouched()


def test_a_directory_swapped_for_a_link_changes_nothing_outside(place: Place) -> None:
    target = place.target()
    target.enter(b"folder")
    (place.root / "folder").rename(place.root / "moved")
    (place.root / "folder").symlink_to(place.outside)
    target.small_file(b"kept", b"x", attributes())
    writer = target.file(b"large")
    target.symlink(b"link", b"x", attributes())
    target.special(EntryKind.FIFO, b"fifo", 0, attributes())
    target.enter(b"inner")
    with pytest.raises(errors.TargetExistsError):
        target.hard_link(b"y", [b"folder", b"kept"])
    target.leave(attributes(0o700))
    writer.finish(0, attributes())
    target.leave(attributes(0o701))
    target.finish()
    assert names(place.root / "moved") == ["fifo", "inner", "kept", "large", "link"]
    assert seen(place.root / "moved")[0] == 0o701
    place.assert_outside_is_untouched()


@pytest.mark.parametrize("call", ["mkdir", "symlink", "mknod"])
def test_an_entry_swapped_before_its_attributes_leaves_the_other_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    other = place.outside / "kept"
    before = seen(other)
    real = getattr(os, call)

    def swapped(*arguments, **options) -> None:
        real(*arguments, **options)
        path = place.root / "entry"
        path.rmdir() if call == "mkdir" else path.unlink()
        path.symlink_to(other) if call != "symlink" else os.mkfifo(path)

    target = place.target()
    with monkeypatch.context() as patch, pytest.raises(errors.TargetExistsError):
        patch.setattr(target_module.os, call, swapped)
        if call == "mkdir":
            target.enter(b"entry")
        elif call == "symlink":
            target.symlink(b"entry", b"x", attributes(0o777, 12, 34))
        else:
            target.special(EntryKind.FIFO, b"entry", 0, attributes(0o666, 12, 34))
    target.close()
    assert seen(other) == before
    place.assert_outside_is_untouched()


def test_what_is_there_is_not_replaced_unasked(place: Place) -> None:
    place.root.mkdir()
    (place.root / "file").write_bytes(b"old")
    (place.root / "folder").mkdir()
    target = place.target()
    calls: list[Callable[[], object]] = [
        lambda: target.small_file(b"file", b"new", attributes()),
        lambda: target.small_file(b"folder", b"new", attributes()),
        lambda: target.small_file(b"folder", b"new", attributes(), replace=True),
        lambda: target.enter(b"file"),
        lambda: target.symlink(b"file", b"x", attributes()),
        lambda: target.hard_link(b"file", [b"file"]),
    ]
    for call in calls:
        with pytest.raises(errors.TargetExistsError):
            call()
    assert names(place.root) == ["file", "folder"]
    assert (place.root / "file").read_bytes() == b"old"
    target.small_file(b"file", b"new", attributes(), replace=True)
    target.finish()
    assert (place.root / "file").read_bytes() == b"new"
    assert names(place.root) == ["file", "folder"]


def test_a_name_that_comes_twice_in_a_new_directory_is_an_error(place: Place) -> None:
    target = place.target()
    target.enter(b"new")
    target.small_file(b"file", b"1", attributes())
    with pytest.raises(errors.TargetExistsError):
        target.small_file(b"file", b"2", attributes())
    with pytest.raises(errors.TargetExistsError):
        target.file(b"file").finish(0, attributes())
    target.close()
    assert (place.root / "new" / "file").read_bytes() == b"1"
    assert names(place.root / "new") == ["file"]


def test_replacing_a_link_replaces_the_link_and_not_what_it_points_to(place: Place) -> None:
    place.root.mkdir()
    (place.root / "file").symlink_to(place.outside / "kept")
    (place.root / "twin").hardlink_to(place.root / "file")
    target = place.target()
    target.small_file(b"file", b"new", attributes(0o666), replace=True)
    target.finish()
    assert (place.root / "file").read_bytes() == b"new"
    assert not (place.root / "file").is_symlink()
    place.assert_outside_is_untouched()


def test_existing_and_remove_go_by_name_without_following(place: Place) -> None:
    place.root.mkdir()
    (place.root / "link").symlink_to(place.outside)
    (place.root / "empty").mkdir()
    (place.root / "full" / "x").mkdir(parents=True)
    target = place.target()
    assert target.existing(b"missing") is None
    found = target.existing(b"link")
    assert found is not None
    assert stat.S_ISLNK(found.st_mode)
    for name in (b"link", b"empty", b"missing"):
        target.remove(name)
        assert target.existing(name) is None
    with pytest.raises(errors.TargetExistsError):
        target.remove(b"full")
    target.finish()
    place.assert_outside_is_untouched()


# --- files in the making --------------------------------------------------------------------


def test_a_file_has_no_name_until_it_is_finished(place: Place) -> None:
    target = place.target()
    writer = target.file(b"file")
    writer.write_at(0, b"half")
    assert "file" not in names(place.root)
    writer.finish(4, attributes())
    other = target.file(b"other")
    other.write_at(0, b"half")
    other.abandon()
    target.finish()
    assert names(place.root) == ["file"]


def test_a_name_taken_meanwhile_is_kept_and_nothing_is_left_over(place: Place) -> None:
    target = place.target()
    writer = target.file(b"file")
    (place.root / "file").write_bytes(b"theirs")
    with pytest.raises(errors.TargetExistsError):
        writer.finish(0, attributes())
    target.close()
    assert names(place.root) == ["file"]
    assert (place.root / "file").read_bytes() == b"theirs"


def test_files_get_names_where_there_are_no_hard_links(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(target_module.os, "link", refused)
    target = place.target()
    target.file(b"file").finish(3, attributes())
    with pytest.raises(errors.TargetExistsError):
        target.file(b"file").finish(0, attributes())
    target.finish()
    assert names(place.root) == ["file"]
    assert (place.root / "file").read_bytes() == bytes(3)


def test_a_full_disk_is_refused_and_leaves_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    target = place.target()
    target.enter(b"new")
    with monkeypatch.context() as patch:
        patch.setattr(target_module.os, "write", full)
        patch.setattr(target_module.os, "pwrite", full)
        with pytest.raises(errors.RefusedError, match="no space left"):
            target.small_file(b"small", b"x", attributes())
        writer = target.file(b"large")
        with pytest.raises(errors.RefusedError, match="no space left"):
            writer.write_at(0, b"x")
        writer.abandon()
        target.leave(None)
        with pytest.raises(errors.RefusedError):
            target.small_file(b"small", b"x", attributes())
    target.close()
    assert names(place.root / "new") == []
    assert names(place.root) == ["new"]


def test_a_short_write_is_completed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    write, pwrite = os.write, os.pwrite
    monkeypatch.setattr(target_module.os, "write", lambda fd, data: write(fd, data[:3]))
    monkeypatch.setattr(target_module.os, "pwrite", lambda fd, data, at: pwrite(fd, data[:3], at))
    target = place.target()
    target.enter(b"new")
    target.small_file(b"small", b"0123456789", attributes())
    target.leave(None)
    target.small_file(b"small", b"0123456789", attributes())
    target.finish()
    for name in ("new/small", "small"):
        assert (place.root / name).read_bytes() == b"0123456789"


def test_a_file_grown_beyond_its_size_is_cut(place: Place) -> None:
    target = place.target()
    writer = target.file(b"file")
    writer.write_at(0, b"0123456789")
    writer.finish(4, attributes())
    target.finish()
    assert (place.root / "file").read_bytes() == b"0123"


# --- what cannot be given -------------------------------------------------------------------


def test_without_root_owners_are_left_out_with_one_problem(public: Place) -> None:
    for restore_owners in (False, True):
        public.problems.clear()
        with nobody():
            target = public.target(restore_owners=restore_owners)
            name = b"own" if restore_owners else b"shared"
            target.enter(name)
            target.small_file(b"mine", b"", attributes(0o4755, NOBODY, NOBODY))
            target.small_file(b"theirs", b"", attributes(0o4755, 12, 34))
            target.symlink(b"link", b"x", attributes(0o777, 12, 34))
            target.special(EntryKind.FIFO, b"fifo", 0, attributes(0o640, 12, 34))
            target.leave(attributes(0o0, 12, 34))
            target.small_file(b"after-" + name, b"", attributes(0o644, 12, 34))
            target.finish()
        folder = public.root / os.fsdecode(name)
        assert seen(folder) == (0o0, NOBODY, NOBODY, MTIME)
        assert seen(folder / "mine") == (0o4755, NOBODY, NOBODY, MTIME)
        # Set-id bits mean something else under another owner.
        assert seen(folder / "theirs") == (0o755, NOBODY, NOBODY, MTIME)
        assert seen(folder / "fifo") == (0o640, NOBODY, NOBODY, MTIME)
        assert len(public.problems) == 1
        assert public.problems[0].path == os.fsencode(folder / "theirs")
        assert "owner" in public.problems[0].message


def test_without_root_ones_own_files_are_no_problem(public: Place) -> None:
    with nobody():
        target = public.target(restore_owners=False)
        mine = attributes(0o600, NOBODY, NOBODY)
        target.enter(b"new")
        target.small_file(b"file", b"", mine)
        target.symlink(b"link", b"x", mine)
        target.leave(mine)
        target.small_file(b"file", b"", mine)
        target.leave(attributes(0o755, NOBODY, NOBODY))
        target.finish()
    assert not public.problems


def test_without_root_devices_and_closed_namespaces_are_one_problem_each(public: Place) -> None:
    with nobody():
        target = public.target(restore_owners=False)
        rdev = os.makedev(1, 3)
        capability = b"\1\0\0\2" + bytes(16)
        closed = ((b"security.capability", capability), (b"trusted.a", b"1"), (b"user.b", b"2"))
        mine = Attributes(0o600, NOBODY, NOBODY, "", "", MTIME, closed)
        for name in (b"1", b"2"):
            target.special(EntryKind.CHARACTER_DEVICE, b"c" + name, rdev, mine)
            target.special(EntryKind.BLOCK_DEVICE, b"b" + name, rdev, mine)
            target.small_file(b"f" + name, b"", mine)
        target.finish()
    assert sorted(problem.path.rpartition(b"/")[2] for problem in public.problems) == [
        b"b1",
        b"c1",
        b"f1",
        b"f1",
    ]
    for name in ("f1", "f2"):
        assert os.listxattr(public.root / name) == ["user.b"]
    assert names(public.root) == ["f1", "f2"]


def test_an_attribute_that_does_not_fit_is_a_problem_each_time(place: Place) -> None:
    target = place.target()
    for name in (b"1", b"2"):
        target.small_file(name, b"", with_xattrs((b"user.a", bytes(100_000)), (b"user.b", b"2")))
    target.finish()
    assert len(place.problems) == 2
    assert os.listxattr(place.root / "2") == ["user.b"]


def test_a_file_system_without_modes_is_one_problem(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "not here")

    monkeypatch.setattr(target_module.os, "fchmod", refused)
    monkeypatch.setattr(target_module.os, "chmod", refused)
    target = place.target()
    target.small_file(b"file", b"data", attributes())
    target.special(EntryKind.FIFO, b"fifo", 0, attributes())
    target.finish()
    assert (place.root / "file").read_bytes() == b"data"
    assert len(place.problems) == 1


@pytest.mark.parametrize(
    "hostile",
    [
        attributes(uid=1 << 70),
        attributes(gid=-(1 << 70)),
        attributes(mtime_ns=1 << 120),
        with_xattrs((b"user.a\0b", b"")),
    ],
)
def test_attributes_that_nothing_can_have_are_malformed(place: Place, hostile: Attributes) -> None:
    target = place.target()
    calls: list[Callable[[], object]] = [
        lambda: target.small_file(b"1", b"", hostile),
        lambda: target.file(b"2").finish(0, hostile),
        lambda: target.symlink(b"3", b"x", hostile),
        lambda: target.special(EntryKind.FIFO, b"4", 0, hostile),
        lambda: target.special(EntryKind.CHARACTER_DEVICE, b"5", 1 << 90, attributes()),
        lambda: target.leave(hostile),
    ]
    for call in calls:
        with pytest.raises(errors.MalformedError):
            call()
    target.close()


def test_a_root_that_is_no_directory_or_cannot_be_made_is_refused(place: Place) -> None:
    place.root.write_bytes(b"")
    with pytest.raises(errors.TargetExistsError):
        place.target()
    with pytest.raises(errors.RefusedError):
        TreeTarget(Path("/proc/no/such"), report=place.problems.append, restore_owners=True)


def test_a_root_is_made_with_its_parents_and_may_be_a_link(place: Place, tmp_path: Path) -> None:
    place.root.symlink_to(tmp_path / "real", target_is_directory=True)
    (tmp_path / "real").mkdir()
    target = place.target()
    target.small_file(b"file", b"", attributes())
    target.finish()
    assert names(tmp_path / "real") == ["file"]
    TreeTarget(tmp_path / "a" / "b", report=place.problems.append, restore_owners=True).finish()
    assert (tmp_path / "a" / "b").is_dir()


# --- deep trees -----------------------------------------------------------------------------


def test_a_path_longer_than_the_kernel_takes_is_restored(place: Place) -> None:
    levels = 3 * MOST_OPEN
    step = b"d" * 60
    before = open_descriptors()
    target = place.target()
    for _ in range(levels):
        target.enter(step)
    target.small_file(b"file", b"deep", attributes())
    assert open_descriptors() - before <= MOST_OPEN + 3
    for level in range(levels):
        target.leave(attributes(0o500))
        target.small_file(b"after", b"%d" % level, attributes())
    target.hard_link(b"deep", [*[step] * levels, b"file"])
    target.finish()
    assert open_descriptors() == before
    assert (place.root / "deep").read_bytes() == b"deep"
    assert (place.root / os.fsdecode(step) / "after").read_bytes() == b"%d" % (levels - 2)


def test_a_directory_moved_while_far_inside_it_ends_the_restore_aloud(place: Place) -> None:
    levels = MOST_OPEN + 10
    target = place.target()
    for _ in range(levels):
        target.enter(b"d")
    (place.root / "d/d/d/d/d").rename(place.outside / "moved")
    (place.root / "d/d/d/d").rename(place.outside / "moved-too")
    with pytest.raises(errors.TargetExistsError, match="moved while"):
        for _ in range(levels):
            target.leave(attributes(0o755))
    target.close()


# --- images ---------------------------------------------------------------------------------


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    """Yield a block device of 1 MiB and a bit with something on every byte of it."""
    backing = tmp_path / "backing"
    backing.write_bytes(b"\xee" * (MIB + 4096))
    attach = ["losetup", "--find", "--show", backing]
    name = subprocess.run(attach, check=True, capture_output=True, text=True)
    yield Path(name.stdout.strip())
    subprocess.run(["losetup", "--detach", name.stdout.strip()], check=True)


def test_the_folders_above_an_image_are_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "image"
    ImageTarget(path, MIB, is_device=False).finish()
    assert path.read_bytes() == bytes(MIB)


def test_an_image_is_sparse_and_has_no_name_until_it_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "image"
    target = ImageTarget(path, 10 * MIB, is_device=False)
    target.write_at(9 * MIB, b"\xee" * MIB)
    target.write_at(0, b"begin")
    assert not path.exists()
    target.finish()
    assert names(tmp_path) == ["image"]
    assert path.read_bytes() == b"begin" + bytes(9 * MIB - 5) + b"\xee" * MIB
    assert path.stat().st_blocks * 512 < 2 * MIB


def test_an_image_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"old")
    with pytest.raises(errors.TargetExistsError):
        ImageTarget(path, MIB, is_device=False)
    assert path.read_bytes() == b"old"
    path.unlink()
    target = ImageTarget(path, MIB, is_device=False)
    path.write_bytes(b"theirs")
    with pytest.raises(errors.TargetExistsError):
        target.finish()
    assert path.read_bytes() == b"theirs"
    assert names(tmp_path) == ["image"]


def test_an_image_that_is_replaced_keeps_its_inode_and_nothing_of_its_content(
    tmp_path: Path,
) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"old" * MIB)
    inode = path.stat().st_ino
    target = ImageTarget(path, MIB, is_device=False, overwrite=True)
    target.write_at(5, b"new")
    target.finish()
    assert path.read_bytes() == bytes(5) + b"new" + bytes(MIB - 8)
    assert path.stat().st_ino == inode


def test_an_abandoned_image_leaves_nothing(tmp_path: Path) -> None:
    target = ImageTarget(tmp_path / "image", MIB, is_device=False, overwrite=True)
    target.write_at(0, b"x")
    target.abandon()
    assert names(tmp_path) == []


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (MIB, 1), (MIB - 1, 2), (5 * MIB, 5)])
def test_nothing_is_written_beyond_an_image(tmp_path: Path, offset: int, length: int) -> None:
    target = ImageTarget(tmp_path / "image", MIB, is_device=False)
    with pytest.raises(errors.RefusedError):
        target.write_at(offset, bytes(length))
    target.write_at(MIB, b"")
    target.abandon()


def test_a_device_reads_as_the_image_and_is_left_alone_beyond_it(device: Path) -> None:
    image = bytearray(MIB)
    target = ImageTarget(device, MIB - 1000, is_device=True)
    for offset, data in (
        (5 * CLUSTER, b"a" * CLUSTER),
        (2 * CLUSTER + 100, b"b" * CLUSTER),
        (100, b"c"),
        (200, b"d"),
        (0, b""),
    ):
        target.write_at(offset, data)
        image[offset : offset + len(data)] = data
    target.finish()
    image[MIB - 1000 :] = b"\xee" * 1000
    assert device.read_bytes() == bytes(image) + b"\xee" * 4096


def test_a_device_that_cannot_zero_is_written_with_zeros(
    device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(target_module.fcntl, "ioctl", refused)
    ImageTarget(device, MIB, is_device=True).finish()
    assert device.read_bytes() == bytes(MIB) + b"\xee" * 4096


def test_a_device_that_is_too_small_or_in_use_stays_as_it_is(device: Path) -> None:
    with pytest.raises(errors.RefusedError, match="1052672 bytes"):
        ImageTarget(device, 2 * MIB, is_device=True)
    holder = os.open(device, os.O_RDONLY | os.O_EXCL)
    with pytest.raises(errors.TargetExistsError, match="busy"):
        ImageTarget(device, MIB, is_device=True)
    os.close(holder)
    assert device.read_bytes() == b"\xee" * (MIB + 4096)


def test_what_is_of_another_kind_than_expected_is_refused(device: Path, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    for wrong, is_device in (
        (path, True),
        (tmp_path / "missing", True),
        (device, False),
        (tmp_path / "folder", False),
        (tmp_path / "fifo", False),
        (tmp_path / "socket", False),
    ):
        with pytest.raises(errors.RefusedError):
            ImageTarget(wrong, 1, is_device=is_device, overwrite=True)
    assert path.read_bytes() == b"x"
    assert device.read_bytes() == b"\xee" * (MIB + 4096)
