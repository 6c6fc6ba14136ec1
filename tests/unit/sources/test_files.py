from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from strongroom import errors
from strongroom.model.entry import EntryKind
from strongroom.sources import files
from strongroom.sources.base import ChangedError, Problem, reason
from strongroom.sources.directory import MOST_OPEN, Directory
from strongroom.sources.files import FilesSource, data_extents, is_racy
from tests.support.descriptors import open_descriptors, open_now

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
SECOND = 1_000_000_000
TAG = b"Signature: 8a477f597d28d172789f06886806bc55\n# a cache\n"


class Tree:
    """A directory to fill, and what a walk of it says."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[Problem] = []

    def __truediv__(self, name: str) -> Path:
        return self.root / name

    def file(self, name: str, data: bytes = b"") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def folder(self, name: str) -> Path:
        path = self.root / name
        path.mkdir(parents=True)
        return path

    def source(self, root: Path | bytes | None = None, **options) -> FilesSource:
        return FilesSource(root or self.root, report=self.problems.append, **options)

    def steps(self, root: Path | bytes | None = None, **options) -> list[str]:
        return list(map(show, self.source(root, **options).walk()))

    def problem_names(self) -> list[str]:
        root = os.fsencode(self.root)
        return [os.fsdecode(problem.path.removeprefix(root + b"/")) for problem in self.problems]


def show(found: files.Found) -> str:
    kind, name, _, parent = found
    if kind == EntryKind.LEAVE:
        return "leave"
    path = b"/".join(part for part in (parent.path, name) if part)
    return f"{EntryKind(kind).name.lower()} {os.fsdecode(path)}"


def parent_of(source: FilesSource) -> tuple[Iterator[files.Found], Directory]:
    """Begin a walk, and return the open root with it."""
    walk = source.walk()
    return walk, next(walk)[3]


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
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "root").mkdir()
    return Tree(tmp_path / "root")


@pytest.fixture
def public() -> Iterator[Tree]:
    """Yield a tree that every user can reach, as pytest's own directories are not."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o755)
        yield Tree(Path(path))


# --- the walk -------------------------------------------------------------------------------


def test_a_walk_yields_every_kind_of_entry_with_its_lstat(tree: Tree) -> None:
    tree.file("file", b"data")
    tree.folder("folder")
    (tree / "link").symlink_to("folder")
    os.mkfifo(tree / "fifo")
    os.mknod(tree / "character", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod(tree / "block", stat.S_IFBLK | 0o600, os.makedev(7, 200))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "socket"))
    assert tree.steps() == [
        "directory .",
        "block_device block",
        "character_device character",
        "fifo fifo",
        "file file",
        "directory folder",
        "leave",
        "symlink link",
        "socket socket",
        "leave",
    ]
    for kind, name, st, _ in tree.source().walk():
        if kind != EntryKind.LEAVE:
            assert st.st_ino == os.lstat(os.fsencode(tree.root) + b"/" + name).st_ino
    assert not tree.problems


def test_children_come_in_the_order_of_their_raw_bytes(tree: Tree) -> None:
    root = os.fsencode(tree.root)
    names = [b"a", b"a-", b"a.b", b"\x01", b"Z", b"\xc3\xa9", b"\xff\xfe", b"\xef\xbf\xbd", b" "]
    for name in names:
        Path(os.fsdecode(root + b"/" + name)).touch()
    found = [name for kind, name, _, _ in tree.source().walk() if kind == EntryKind.FILE]
    assert found == sorted(names)


def test_a_subtree_comes_right_after_its_directory(tree: Tree) -> None:
    tree.file("a/x")
    tree.file("a/b/y")
    tree.file("a.txt")
    assert tree.steps() == [
        "directory .",
        "directory a",
        "directory a/b",
        "file a/b/y",
        "leave",
        "file a/x",
        "leave",
        "file a.txt",
        "leave",
    ]


def test_a_leave_carries_stat_and_parent_of_the_directory_it_ends(tree: Tree) -> None:
    tree.folder("inner")
    walk = list(tree.source().walk())
    assert [(step[0], step[2].st_ino, step[3].path) for step in walk] == [
        (EntryKind.DIRECTORY, tree.root.stat().st_ino, b""),
        (EntryKind.DIRECTORY, (tree / "inner").stat().st_ino, b""),
        (EntryKind.LEAVE, (tree / "inner").stat().st_ino, b""),
        (EntryKind.LEAVE, tree.root.stat().st_ino, b""),
    ]


def test_kinds_are_plain_numbers_and_equal_the_formats(tree: Tree) -> None:
    tree.file("x")
    assert [step[0] for step in tree.source().walk()] == [1, 2, 0]


def test_a_root_that_is_a_file_is_the_only_entry(tree: Tree) -> None:
    path = tree.file("file", b"data")
    tree.file("other")
    source = tree.source(path)
    walk = source.walk()
    kind, name, st, parent = next(walk)
    assert (kind, name, st.st_size) == (EntryKind.FILE, b"file", 4)
    fd, _ = source.open_file(parent, name)
    assert os.read(fd, 10) == b"data"
    os.close(fd)
    assert list(walk) == []
    assert source.path_of(parent, name) == os.fsencode(path)


def test_a_root_that_links_to_a_directory_is_followed(tree: Tree) -> None:
    tree.file("folder/x")
    (tree / "link").symlink_to("folder")
    assert tree.steps(tree / "link") == ["directory .", "file x", "leave"]


def test_a_root_that_links_to_a_file_is_the_link_and_says_so(tree: Tree) -> None:
    tree.file("file")
    (tree / "link").symlink_to("file")
    assert tree.steps(tree / "link") == ["symlink link"]
    assert tree.problem_names() == ["link"]


def test_a_missing_root_is_unavailable(tree: Tree) -> None:
    with pytest.raises(errors.SourceUnavailableError, match="no such file"):
        tree.source(tree / "missing").walk()


def test_a_root_that_may_not_be_read_is_unavailable(public: Tree) -> None:
    public.folder("closed").chmod(0o700)
    with nobody(), pytest.raises(errors.SourceUnavailableError, match="permission denied"):
        public.source(public / "closed").walk()


def test_a_walk_that_is_given_up_holds_nothing_open(tree: Tree) -> None:
    tree.file("a/b/c/d")
    before = open_descriptors()
    walk = tree.source().walk()
    for _ in range(4):
        next(walk)
    assert open_descriptors() > before
    walk.close()  # type: ignore[attr-defined]
    assert open_descriptors() == before


# --- what is left out -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["*.o"], ["a", "a/b", "a/b/c.txt", "a/keep", "d", "d/a", "d/a/x"]),
        (["/a/"], ["d", "d/a", "d/a/x"]),
        (["a/"], ["d"]),
        (["/d/a/x", "*.txt", "keep"], ["a", "a/b", "a/b/x.o", "d", "d/a"]),
        (["*.o", "!x.o"], ["a", "a/b", "a/b/c.txt", "a/b/x.o", "a/keep", "d", "d/a", "d/a/x"]),
        (["a/**", "# no pattern", ""], ["a", "d", "d/a", "d/a/x"]),
        (["a/**", "!a/keep"], ["a", "a/keep", "d", "d/a", "d/a/x"]),
        (["/*", "!/d/"], ["d", "d/a", "d/a/x"]),
        (["/a/", "!/a/keep"], ["d", "d/a", "d/a/x"]),
        (["keep/"], ["a", "a/b", "a/b/c.txt", "a/b/x.o", "a/keep", "d", "d/a", "d/a/x"]),
    ],
)
def test_patterns_leave_out_what_they_match(
    tree: Tree, patterns: list[str], expected: list[str]
) -> None:
    for name in ("a/b/c.txt", "a/b/x.o", "a/keep", "d/a/x"):
        tree.file(name)
    steps = [step.partition(" ")[2] for step in tree.steps(exclude=patterns) if step != "leave"]
    assert steps[1:] == expected


def test_an_excluded_directory_is_not_even_opened(public: Tree) -> None:
    public.folder("closed").chmod(0o700)
    with nobody():
        assert public.steps(exclude=["closed/"]) == ["directory .", "leave"]
    assert not public.problems


def test_patterns_meet_names_that_are_not_utf_8(tree: Tree) -> None:
    root = os.fsencode(tree.root)
    for name in (b"\xff.o", b"\xff.c"):
        Path(os.fsdecode(root + b"/" + name)).touch()
    assert len(tree.steps(exclude=["*.o"])) == 3
    assert len(tree.steps(exclude=[os.fsdecode(b"\xff.*")])) == 2


def test_what_is_no_pattern_is_refused(tree: Tree) -> None:
    with pytest.raises(errors.InvalidInputError, match="gitignore"):
        tree.source(exclude=["!"])


def test_a_cache_keeps_its_tag_and_nothing_else(tree: Tree) -> None:
    tree.file("cache/CACHEDIR.TAG", TAG)
    tree.file("cache/A")
    tree.file("cache/deep/thing")
    assert tree.steps() == [
        "directory .",
        "directory cache",
        "file cache/CACHEDIR.TAG",
        "leave",
        "leave",
    ]
    assert "file cache/deep/thing" in tree.steps(exclude_caches=False)
    assert not tree.problems


@pytest.mark.parametrize("data", [b"", TAG[:42], b"x" + TAG])
def test_a_tag_without_the_signature_is_a_file_like_any_other(tree: Tree, data: bytes) -> None:
    tree.file("no-cache/CACHEDIR.TAG", data)
    tree.file("no-cache/thing")
    assert "file no-cache/thing" in tree.steps()


def test_a_tag_that_is_a_fifo_or_a_link_does_not_hang_the_walk(tree: Tree) -> None:
    os.mkfifo(tree.folder("one") / "CACHEDIR.TAG")
    (tree.folder("two") / "CACHEDIR.TAG").symlink_to(tree.file("tag", TAG))
    tree.file("two/thing")
    assert "file two/thing" in tree.steps()


def test_a_root_that_is_a_cache_was_named_on_purpose(tree: Tree) -> None:
    tree.file("CACHEDIR.TAG", TAG)
    tree.file("thing")
    assert "file thing" in tree.steps()


def test_what_the_running_machine_shows_in_proc_sys_and_run_is_left_out(tree: Tree) -> None:
    assert tree.steps(b"/", exclude=["/*", "!/proc/", "!/sys/", "!/run/"]) == [
        "directory .",
        "directory proc",
        "leave",
        "directory run",
        "leave",
        "directory sys",
        "leave",
        "leave",
    ]


def test_proc_and_sysfs_are_left_out_wherever_they_are_mounted(tree: Tree) -> None:
    # The same file system by another path, where no name says what it is.
    root = b"/proc/self/root"
    assert tree.steps(root, exclude=["/*", "!/proc/", "!/sys/"]) == [
        "directory .",
        "directory proc",
        "leave",
        "directory sys",
        "leave",
        "leave",
    ]


def test_one_file_system_keeps_other_devices_as_empty_directories(tree: Tree) -> None:
    device = Path("/dev").stat().st_dev
    others = [
        str(path.relative_to("/dev"))
        for path in Path("/dev").iterdir()
        if path.is_dir() and not path.is_symlink() and path.stat().st_dev != device
    ]
    assert others, "/dev holds no mount point"
    steps = tree.steps(b"/dev", one_file_system=True)
    for other in others:
        assert steps[steps.index(f"directory {other}") + 1] == "leave"


def test_our_own_repository_home_and_key_file_are_left_out_each_with_a_word(tree: Tree) -> None:
    tree.file("here/repository/packs/1")
    key = tree.file("etc/key")
    os.link(key, tree / "etc" / "key-again")
    tree.file("etc/other")
    (tree / "way").symlink_to(tree / "here")
    own = [os.fsencode(path) for path in (tree / "way/repository", key, tree / "missing")]
    assert tree.steps(own_paths=own) == [
        "directory .",
        "directory etc",
        "file etc/other",
        "leave",
        "directory here",
        "leave",
        "symlink way",
        "leave",
    ]
    assert tree.problem_names() == ["etc/key", "here/repository"]


def test_a_root_that_is_our_own_is_empty(tree: Tree) -> None:
    key = tree.file("key")
    assert tree.steps(own_paths=[os.fsencode(tree.root)]) == ["directory .", "leave"]
    assert tree.steps(key, own_paths=[os.fsencode(key)]) == []
    assert tree.problem_names() == [str(tree.root), "key"]


# --- what changes meanwhile -----------------------------------------------------------------


def test_what_vanishes_after_its_directory_was_listed_is_a_problem(tree: Tree) -> None:
    tree.file("a")
    tree.file("b").parent.joinpath("c").mkdir()
    tree.file("d")
    walk = tree.source().walk()
    next(walk)
    (tree / "a").unlink()
    (tree / "c").rmdir()
    assert list(map(show, walk)) == ["file b", "file d", "leave"]
    assert tree.problem_names() == ["a", "c"]
    assert "vanished" in tree.problems[0].message


@pytest.mark.parametrize("moment", ["before its lstat", "between lstat and open"])
def test_a_directory_swapped_for_a_link_is_not_followed(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").touch()
    tree.folder("b")
    tree.file("c")

    def swap() -> None:
        (tree / "b").rmdir()
        (tree / "b").symlink_to(tmp_path / "outside")

    opened = files.open_directory
    if moment == "between lstat and open":

        def swap_and_open(name: bytes, dir_fd: int | None, *, follow: bool = False) -> int:
            if name == b"b":
                swap()
            return opened(name, dir_fd, follow=follow)

        monkeypatch.setattr(files, "open_directory", swap_and_open)
    walk = tree.source().walk()
    next(walk)
    if moment == "before its lstat":
        swap()
    steps = list(map(show, walk))
    assert not [step for step in steps if "secret" in step]
    assert steps[-2:] == ["file c", "leave"]
    if moment == "between lstat and open":
        assert tree.problem_names() == ["b"]


def test_a_directory_swapped_for_another_is_not_entered(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.folder("b")
    opened = files.open_directory

    def swap_and_open(name: bytes, dir_fd: int | None, *, follow: bool = False) -> int:
        if name == b"b":
            (tree / "b").rename(tree / "old")
            tree.file("b/new")
            fd = opened(name, dir_fd, follow=follow)
            shutil.rmtree(tree / "b")
            (tree / "old").rename(tree / "b")
            return fd
        return opened(name, dir_fd, follow=follow)

    monkeypatch.setattr(files, "open_directory", swap_and_open)
    assert tree.steps() == ["directory .", "directory b", "leave", "leave"]
    assert tree.problems[0].message == "was replaced while it was being read"


def test_what_may_not_be_read_is_a_problem_and_stays_as_an_empty_directory(public: Tree) -> None:
    public.folder("closed").chmod(0o700)
    public.file("listed/x").parent.chmod(0o744)
    public.file("z")
    with nobody():
        assert public.steps() == [
            "directory .",
            "directory closed",
            "leave",
            "directory listed",
            "leave",
            "file z",
            "leave",
        ]
    assert public.problem_names() == ["closed", "listed/x"]
    assert "permission denied" in public.problems[0].message


# --- deep trees -----------------------------------------------------------------------------


def dig(root: Path, levels: int, name: bytes) -> None:
    """Make nested directories with a file before and one after the next level."""
    fd = os.open(root, os.O_RDONLY)
    for level in range(levels):
        os.mkdir(name, dir_fd=fd)
        for other in (b"a", b"z"):
            file = os.open(other, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
            os.write(file, b"%d" % level)
            os.close(file)
        inner = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)


def test_a_path_longer_than_the_kernel_takes_is_walked_and_read(tree: Tree) -> None:
    levels = 3 * MOST_OPEN
    dig(tree.root, levels, b"d" * 60)
    before = open_descriptors()
    source = tree.source()
    most = longest = 0
    read = []
    for kind, name, _, parent in source.walk():
        most = max(most, open_now() - before)
        if kind == EntryKind.FILE:
            longest = max(longest, len(source.path_of(parent, name)))
            fd, _ = source.open_file(parent, name)
            read.append((name, int(os.read(fd, 10))))
            os.close(fd)
            assert source.read_xattrs(parent, name) == ()
    assert longest > 5000
    assert most <= MOST_OPEN + 4
    assert read == [
        *((b"a", level) for level in range(levels)),
        *((b"z", level) for level in reversed(range(levels))),
    ]
    assert not tree.problems
    assert open_descriptors() == before


@pytest.mark.parametrize(("lost", "problems"), [(False, 0), (True, 1)])
def test_a_directory_moved_while_far_inside_it_is_found_or_missed_aloud(
    tree: Tree, lost: bool, problems: int
) -> None:
    levels = MOST_OPEN + 10
    dig(tree.root, levels, b"d")
    source = tree.source()
    steps = []
    for found in source.walk():
        steps.append(show(found))
        if len(found[3].path.split(b"/")) == levels - 1 and found[1] == b"d":
            # Out of the fourth level goes the fifth, and with it the way back by "..".
            (tree / "d/d/d/d/d").rename(tree / "moved")
            if lost:
                (tree / "d/d/d/d").rename(tree / "moved-too")
    assert steps.count("leave") == levels + 1
    assert steps[-2:] == ["file z", "leave"]
    assert len(tree.problems) == problems
    assert ("file d/d/d/d/z" in steps) is not lost
    for problem in tree.problems:
        assert "moved" in problem.message


# --- what an entry holds --------------------------------------------------------------------


def test_only_regular_files_are_opened_and_nothing_hangs(tree: Tree) -> None:
    tree.folder("folder")
    os.mkfifo(tree / "fifo")
    os.mknod(tree / "zero", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    (tree / "link").symlink_to(tree.file("file", b"x"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "socket"))
    source = tree.source()
    walk, top = parent_of(source)
    before = open_descriptors()
    for name in (b"folder", b"fifo", b"zero", b"link", b"socket"):
        with pytest.raises(ChangedError):
            source.open_file(top, name)
    with pytest.raises(FileNotFoundError) as missing:
        source.open_file(top, b"missing")
    assert reason(missing.value) == "vanished while it was being read"
    assert open_descriptors() == before
    os.close(source.open_file(top, b"file")[0])
    assert walk


def test_reading_leaves_no_trace_where_that_is_permitted(tree: Tree) -> None:
    path = tree.file("file", b"x")
    os.utime(path, ns=(SECOND, 2 * SECOND))
    source = tree.source()
    walk, top = parent_of(source)
    fd, _ = source.open_file(top, b"file")
    os.read(fd, 1)
    os.close(fd)
    assert path.stat().st_atime_ns == SECOND
    assert walk


def test_a_file_of_another_owner_is_opened_without_the_privilege(public: Tree) -> None:
    public.file("file", b"x").chmod(0o644)
    public.file("closed", b"x").chmod(0o600)
    with nobody():
        source = public.source()
        walk, top = parent_of(source)
        fd, _ = source.open_file(top, b"file")
        assert os.read(fd, 2) == b"x"
        os.close(fd)
        with pytest.raises(PermissionError):
            source.open_file(top, b"closed")
    assert walk


def test_a_link_is_read_as_it_is_and_nothing_else_is_taken_for_one(tree: Tree) -> None:
    (tree / "link").symlink_to(os.fsdecode(b"to/\xff"))
    tree.file("file")
    source = tree.source()
    walk, top = parent_of(source)
    assert source.read_link(top, b"link") == b"to/\xff"
    with pytest.raises(ChangedError):
        source.read_link(top, b"file")
    assert walk


def test_attributes_are_read_sorted_from_every_kind_of_entry(tree: Tree) -> None:
    path = tree.file("file")
    for name in ("user.b", "user.a", "trusted.c"):
        os.setxattr(path, name, name.encode() + b"\0\xff")
    subprocess.run(["setfacl", "-m", "u:1:r", path], check=True)
    os.setxattr(tree.root, "user.root", b"")
    (tree / "link").symlink_to("file")
    os.setxattr(tree / "link", "trusted.link", b"1", follow_symlinks=False)
    os.mkfifo(tree / "fifo")
    os.setxattr(tree / "fifo", "trusted.fifo", b"2")
    source = tree.source()
    walk, top = parent_of(source)
    found = source.read_xattrs(top, b"file")
    assert [name for name, _ in found] == [
        b"system.posix_acl_access",
        b"trusted.c",
        b"user.a",
        b"user.b",
    ]
    assert found[2] == (b"user.a", b"user.a\0\xff")
    fd, _ = source.open_file(top, b"file")
    assert source.read_xattrs(top, b"file", fd=fd) == found
    os.close(fd)
    assert source.read_xattrs(top, b".") == ((b"user.root", b""),)
    assert source.read_xattrs(top, b"link") == ((b"trusted.link", b"1"),)
    assert source.read_xattrs(top, b"fifo") == ((b"trusted.fifo", b"2"),)
    assert not tree.problems
    assert walk


def test_attributes_of_what_vanished_are_a_problem(tree: Tree) -> None:
    source = tree.source()
    walk, top = parent_of(source)
    assert source.read_xattrs(top, b"gone") == ()
    assert tree.problem_names() == ["gone"]
    assert walk


def test_a_file_system_without_attributes_is_no_problem(tree: Tree) -> None:
    source = tree.source(b"/proc/self")
    walk, top = parent_of(source)
    assert source.read_xattrs(top, b"status") == ()
    assert not tree.problems
    walk.close()  # type: ignore[attr-defined]


def test_owners_have_the_names_the_machine_knows(tree: Tree) -> None:
    source = tree.source()
    for _ in range(2):
        assert (source.owner_name(0), source.group_name(0)) == ("root", "root")
        assert (source.owner_name(4_242_424), source.group_name(4_242_424)) == ("", "")


def test_holes_are_told_from_data(tmp_path: Path) -> None:
    block = 65536
    with (tmp_path / "file").open("w+b") as file:
        fd = file.fileno()
        assert data_extents(fd, 0) == []
        os.ftruncate(fd, 10 * block)
        assert data_extents(fd, 10 * block) == []
        os.pwrite(fd, b"x" * block, 2 * block)
        os.pwrite(fd, b"x" * block, 9 * block)
        assert data_extents(fd, 10 * block) == [(2 * block, block), (9 * block, block)]
        assert data_extents(fd, 2 * block + 1) == [(2 * block, 1)]


def test_a_file_that_cannot_tell_is_all_data() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(OSError, match="Illegal seek"):
        data_extents(reading, 10)
    os.close(reading)
    with Path("/proc/self/status").open("rb") as file:
        assert data_extents(file.fileno(), 10) == [(0, 10)]


@pytest.mark.parametrize(
    ("mtime_ns", "ctime_ns", "read_at_ns", "racy"),
    [
        (SECOND + 1, SECOND + 1, 2 * SECOND, False),
        (SECOND + 1, 2 * SECOND - 9_000_000, 2 * SECOND, True),
        (2 * SECOND - 9_000_000, SECOND + 1, 2 * SECOND, True),
        (2 * SECOND - 11_000_000, SECOND + 1, 2 * SECOND, False),
        (2 * SECOND + 5_000_000, SECOND + 1, 2 * SECOND, True),
        (9 * SECOND + 1, SECOND + 1, 2 * SECOND, False),
        (10 * SECOND, 1, 12 * SECOND, True),
        (10 * SECOND, 1, 12 * SECOND + 1, False),
    ],
)
def test_a_time_within_a_tick_of_the_reading_proves_nothing(
    mtime_ns: int, ctime_ns: int, read_at_ns: int, racy: bool
) -> None:
    class Stat:
        st_mtime_ns = mtime_ns
        st_ctime_ns = ctime_ns

    assert is_racy(Stat(), read_at_ns) is racy  # type: ignore[arg-type]
