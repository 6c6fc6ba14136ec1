"""Whatever tree there is: walked and written again, it is the same."""

# ruff: noqa: PTH101, PTH102, PTH115, PTH211 - the paths are bytes

from __future__ import annotations

import os
import socket
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.engine.target import TreeTarget
from strongroom.model.entry import Attributes, EntryKind
from strongroom.sources.files import FilesSource, data_extents

if TYPE_CHECKING:
    from strongroom.sources.base import Problem
    from strongroom.sources.directory import Directory

HOLE = 1 << 20
IDS = st.one_of(st.sampled_from([0, 1, 1000, 65534]), st.integers(0, 2**32 - 2))
TIMES = st.integers(-(2**31) * 10**9, 2**33 * 10**9)
NAMES = st.one_of(
    st.sampled_from([b"a", b"a-", b"a.b", b"b", b"\xff", b" ", b".strongroom-1-0", b"\n"]),
    st.binary(min_size=1, max_size=255).map(
        lambda name: name.replace(b"/", b"_").replace(b"\0", b"_")
    ),
).filter(lambda name: name not in (b".", b".."))
XATTRS = st.dictionaries(
    st.sampled_from(["user.a", "user.\N{SNOWMAN}", "trusted.b"]), st.binary(max_size=50), max_size=2
)


@dataclass(frozen=True)
class Look:
    """What every entry has, as far as its kind takes it."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: dict[str, bytes]


@dataclass(frozen=True)
class File:
    runs: list[tuple[int, bytes]]
    size: int
    look: Look


@dataclass(frozen=True)
class Link:
    target: bytes
    look: Look


@dataclass(frozen=True)
class Special:
    kind: int
    rdev: int
    look: Look


@dataclass(frozen=True)
class FurtherName:
    """A hard link to one of the files made before, if there is one."""

    which: int


@dataclass(frozen=True)
class Folder:
    content: dict[bytes, Node]
    look: Look


Node: TypeAlias = File | Link | Special | FurtherName | Folder

LOOKS = st.builds(Look, st.integers(0, 0o7777), IDS, IDS, TIMES, XATTRS)
FILES = st.builds(
    File,
    st.lists(st.tuples(st.integers(0, HOLE), st.binary(min_size=1, max_size=100)), max_size=3),
    st.integers(0, 2 * HOLE),
    LOOKS,
)
LINKS = st.builds(
    Link, st.binary(min_size=1, max_size=300).map(lambda to: to.replace(b"\0", b"0")), LOOKS
)
SPECIALS = st.builds(
    Special,
    st.sampled_from([stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK]),
    st.builds(os.makedev, st.integers(0, 4095), st.integers(0, 2**20 - 1)),
    LOOKS,
)
NODES: st.SearchStrategy[Node] = st.recursive(
    st.one_of(FILES, LINKS, SPECIALS, st.builds(FurtherName, st.integers(0, 9))),
    lambda nodes: st.builds(Folder, st.dictionaries(NAMES, nodes, max_size=5), LOOKS),
    max_leaves=20,
)
TREES = st.builds(Folder, st.dictionaries(NAMES, NODES, max_size=6), LOOKS)


def build(folder: Folder, path: bytes, files: list[bytes]) -> None:
    """Make the tree below `path`, which is there."""
    for name, node in folder.content.items():
        inner = path + b"/" + name
        match node:
            case Folder():
                os.mkdir(inner)
                build(node, inner, files)
                continue
            case File():
                fd = os.open(inner, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                for offset, data in node.runs:
                    os.pwrite(fd, data, offset)
                os.ftruncate(fd, node.size)
                os.close(fd)
                files.append(inner)
            case Link():
                os.symlink(node.target, inner)
            case Special():
                device = node.kind in (stat.S_IFCHR, stat.S_IFBLK)
                os.mknod(inner, node.kind | 0o600, node.rdev if device else 0)
            case FurtherName():
                if files:
                    os.link(files[node.which % len(files)], inner)
                continue
        dress(inner, node.look)
    dress(path, folder.look)


def dress(path: bytes, look: Look) -> None:
    mode = os.lstat(path).st_mode
    os.chown(path, look.uid, look.gid, follow_symlinks=False)
    for name, value in look.xattrs.items():
        if name.startswith("trusted.") or stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            os.setxattr(path, name, value, follow_symlinks=False)
    if not stat.S_ISLNK(mode):
        os.chmod(path, look.mode)
    os.utime(path, ns=(look.mtime_ns, look.mtime_ns), follow_symlinks=False)


def copy(root: bytes, to: Path, problems: list[Problem]) -> None:
    """Restore what a walk of `root` finds."""
    source = FilesSource(root, report=problems.append, exclude_caches=False)
    target = TreeTarget(to, report=problems.append, restore_owners=True)
    entered: list[Attributes] = []
    first: dict[int, list[bytes]] = {}
    for kind, name, found, parent in source.walk():
        if kind == EntryKind.LEAVE:
            target.leave(entered.pop())
            continue
        attributes = Attributes(
            stat.S_IMODE(found.st_mode),
            found.st_uid,
            found.st_gid,
            source.owner_name(found.st_uid),
            source.group_name(found.st_gid),
            found.st_mtime_ns,
            source.read_xattrs(parent, name),
        )
        if kind == EntryKind.DIRECTORY:
            if name != b".":
                target.enter(name)
            entered.append(attributes)
        elif kind == EntryKind.SYMLINK:
            target.symlink(name, source.read_link(parent, name), attributes)
        elif kind != EntryKind.FILE:
            target.special(EntryKind(kind), name, found.st_rdev, attributes)
        elif found.st_ino in first:
            target.hard_link(name, first[found.st_ino])
        else:
            first[found.st_ino] = [*(step.name for step in parent.way()), name]
            copy_file(source, target, parent, name, found.st_size, attributes)
    target.finish()


def copy_file(
    source: FilesSource,
    target: TreeTarget,
    parent: Directory,
    name: bytes,
    size: int,
    attributes: Attributes,
) -> None:
    fd, _ = source.open_file(parent, name)
    assert source.read_xattrs(parent, name, fd=fd) == attributes.xattrs
    if size < 1000:
        target.small_file(name, os.read(fd, size), attributes)
    else:
        writer = target.file(name)
        for offset, length in data_extents(fd, size):
            writer.write_at(offset, os.pread(fd, length, offset))
        writer.finish(size, attributes)
    os.close(fd)


def differences(one: bytes, other: bytes) -> str:
    """Return what rsync would have to do, which knows nothing of our code."""
    command = ["rsync", "-naXAHc", "--delete", "--itemize-changes", "--devices", "--specials"]
    compared = subprocess.run([*command, one + b"/", other + b"/"], check=True, capture_output=True)
    return compared.stdout.decode("utf-8", "surrogateescape")


def sketch(root: bytes) -> list[object]:
    """Return all of a tree that can be seen, further names as the places of their files."""
    seen: list[object] = []
    inodes: dict[int, int] = {}
    source = FilesSource(root, report=lambda problem: seen.append(problem), exclude_caches=False)
    for kind, name, found, parent in source.walk():
        if kind == EntryKind.LEAVE:
            seen.append("leave")
            continue
        path = root + b"/" + parent.path + b"/" + name
        content: object = None
        if kind == EntryKind.FILE:
            content = Path(os.fsdecode(path)).read_bytes()
        elif kind == EntryKind.SYMLINK:
            content = os.readlink(path)
        seen.append(
            (
                kind,
                name,
                found.st_mode,
                found.st_uid,
                found.st_gid,
                found.st_mtime_ns,
                found.st_rdev,
                found.st_nlink,
                inodes.setdefault(found.st_ino, len(inodes)),
                {
                    attribute: os.getxattr(path, attribute, follow_symlinks=False)
                    for attribute in os.listxattr(path, follow_symlinks=False)
                },
                content,
            )
        )
    return seen


@settings(max_examples=60, deadline=None)
@given(tree=TREES)
def test_any_tree_is_the_same_after_a_walk_and_a_restore(tree: Folder) -> None:
    problems: list[Problem] = []
    with tempfile.TemporaryDirectory() as place:
        one = os.fsencode(place) + b"/one"
        os.mkdir(one)
        build(tree, one, [])
        copy(one, Path(place, "two"), problems)
        assert sketch(os.fsencode(place) + b"/two") == sketch(one)
    assert not problems


def test_a_tree_with_every_kind_of_entry_is_the_same_to_rsync(tmp_path: Path) -> None:
    one = tmp_path / "one"
    deep = one / "folder" / "deep"
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"data")
    (one / "z").hardlink_to(deep / "file")
    (one / "empty").touch()
    with (one / "sparse").open("wb") as file:
        file.seek(50 * HOLE)
        file.write(b"end")
        file.truncate(51 * HOLE)
    (one / "link").symlink_to("folder/deep")
    (one / os.fsdecode(b"\xff\xfe name\n")).write_bytes(b"x")
    os.mkfifo(one / "fifo", 0o640)
    os.mknod(one / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(one / "loop", stat.S_IFBLK | 0o660, os.makedev(7, 9))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(one / "socket"))
    os.chown(deep / "file", 12, 34)
    (deep / "file").chmod(0o6755)
    os.setxattr(deep / "file", "user.note", b"a\0b")
    os.setxattr(one / "link", "trusted.note", b"c", follow_symlinks=False)
    acl = "u:1:rwx,g:2:r"
    for command in (
        ["setfacl", "-m", f"{acl},d:u:3:rx", deep],
        ["setfacl", "-m", acl, one / "empty"],
        ["setcap", "cap_net_bind_service+ep", one / "empty"],
    ):
        subprocess.run(command, check=True)
    deep.chmod(0o2751)
    (one / "folder").chmod(0o500)
    for path in (*one.rglob("*"), one):
        os.utime(path, ns=(1, 1_000_000_007 + len(path.name)), follow_symlinks=False)

    problems: list[Problem] = []
    copy(os.fsencode(one), tmp_path / "two", problems)
    assert not problems
    assert differences(os.fsencode(one), os.fsencode(tmp_path / "two")) == ""
    assert sketch(os.fsencode(tmp_path / "two")) == sketch(os.fsencode(one))
    assert (tmp_path / "two" / "sparse").stat().st_blocks * 512 < HOLE
    # And the comparison does tell a difference.
    (tmp_path / "two" / "empty").chmod(0o600)
    assert "empty" in differences(os.fsencode(one), os.fsencode(tmp_path / "two"))
