"""Whatever happens to a tree between sessions, every promised point shows its own moment.

A real tree on a real file system; what a session saw is noted by a walk of the test's own, and
read back from the repository with the chain key alone. Whatever no promised entry names is
removed on the way, as prune would, so a block set that misses a block is found out.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from strongroom.engine.wear import load_wear
from strongroom.format.point import TreeRoot
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.engine_job import (
    EngineJob,
    Seen,
    look_at,
    read_tree,
    settle,
    source,
)

NAMES = st.sampled_from(
    [*"abcde", "a.b", "a-", "A", " ", "\n", os.fsdecode(b"\xff"), "ä", "x" * 255]
)
PICKS = st.integers(0, 1 << 16)
MODES = st.sampled_from([0o000, 0o400, 0o644, 0o755, 0o1777, 0o4755, 0o2640])
BLOCK = 256 << 10
"""The smallest average of the chunker: files of a few MiB have many chunks."""


def filler(seed: int, length: int) -> bytes:
    """Return bytes that do not compress and repeat for one seed."""
    import blake3

    return blake3.blake3(seed.to_bytes(4, "big")).digest(length)


class Tree(RuleBasedStateMachine):
    @initialize(
        sealed=st.booleans(), cached=st.booleans(), many=st.sampled_from([0, 0, 0, 300, 900])
    )
    def begin(self, sealed: bool, cached: bool, many: int) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="strongroom-tree-"))
        self.root = self.place / "root"
        self.root.mkdir()
        for number in range(many):
            # Enough for an index of several pages.
            folder = self.root / f"m{number % 3}"
            folder.mkdir(exist_ok=True)
            (folder / f"{number:04}").write_bytes(filler(number, number % 50))
        self.storage = MemoryStorage()
        self.source = source("files", self.root)
        self.job = EngineJob(
            self.storage,
            [self.source],
            sealed=sealed,
            cache=self.place / "cache" if cached else None,
            block_size=BLOCK,
        )
        self.moments: dict[bytes, dict[tuple[bytes, ...], Seen]] = {}

    def teardown(self) -> None:
        if hasattr(self, "place"):
            shutil.rmtree(self.place)

    # --- what there is to choose from ----------------------------------------------------------

    def paths(self, *kinds: str) -> list[Path]:
        found = [
            self.root.joinpath(*(os.fsdecode(name) for name in below))
            for below, seen in look_at(self.root).items()
            if seen.kind in kinds
        ]
        return sorted(found)

    def pick(self, which: int, *kinds: str) -> Path | None:
        found = self.paths(*kinds)
        return found[which % len(found)] if found else None

    def folder(self, which: int) -> Path:
        found = self.pick(which, "DIRECTORY")
        assert found is not None
        return found

    def free(self, which: int, name: str) -> Path | None:
        path = self.folder(which) / name
        return None if os.path.lexists(path) or len(path.parts) > 12 else path

    # --- changes -------------------------------------------------------------------------------

    @rule(
        where=PICKS,
        name=NAMES,
        seed=st.integers(0, 5),
        length=st.sampled_from([0, 1, 100, 4096, 65536, 300_000, (1 << 20), (1 << 20) + 1]),
    )
    def create(self, where: int, name: str, seed: int, length: int) -> None:
        path = self.free(where, name)
        if path is not None:
            path.write_bytes(filler(seed, length))

    @rule(where=PICKS, name=NAMES, seed=st.integers(0, 2), length=st.sampled_from([2, 3, 6]))
    def create_large(self, where: int, name: str, seed: int, length: int) -> None:
        path = self.free(where, name)
        if path is not None and len(self.paths("FILE")) < 1000:
            path.write_bytes(filler(seed, (length << 20) + 12345))

    @rule(where=PICKS, name=NAMES, at=st.lists(st.integers(0, 40), min_size=1, max_size=4))
    def create_sparse(self, where: int, name: str, at: list[int]) -> None:
        path = self.free(where, name)
        if path is not None:
            with path.open("wb") as file:
                for place in at:
                    file.seek(place * 100_000)
                    file.write(filler(place, 5000))
                file.truncate(3_000_000)

    @rule(where=PICKS, name=NAMES)
    def make_folder(self, where: int, name: str) -> None:
        path = self.free(where, name)
        if path is not None:
            path.mkdir()

    @rule(where=PICKS, name=NAMES, to=NAMES)
    def make_symlink(self, where: int, name: str, to: str) -> None:
        path = self.free(where, name)
        if path is not None:
            path.symlink_to(to)

    @rule(where=PICKS, name=NAMES)
    def make_fifo(self, where: int, name: str) -> None:
        path = self.free(where, name)
        if path is not None:
            os.mkfifo(path)

    @rule(which=PICKS, where=PICKS, name=NAMES)
    def make_hard_link(self, which: int, where: int, name: str) -> None:
        file, path = self.pick(which, "FILE"), self.free(where, name)
        if file is not None and path is not None:
            path.hardlink_to(file)

    @rule(
        which=PICKS,
        at=st.floats(0, 1),
        how=st.sampled_from(["over", "insert", "append", "cut", "same", "rewrite"]),
    )
    def change(self, which: int, at: float, how: str) -> None:
        path = self.pick(which, "FILE")
        if path is None:
            return
        data = path.read_bytes()
        place = int(at * len(data))
        new = {
            "over": data[:place] + b"over" + data[place + 4 :],
            "insert": data[:place] + b"insert" + data[place:],
            "append": data + b"append",
            "cut": data[:place],
            "same": data,
            "rewrite": bytes(reversed(data[:10000])) + data[10000:],
        }[how]
        stamps = path.stat()
        path.write_bytes(new)
        if how == "rewrite":
            # Size and time as before: ctime alone tells.
            os.utime(path, ns=(stamps.st_atime_ns, stamps.st_mtime_ns))

    @rule(which=PICKS, mode=MODES)
    def change_mode(self, which: int, mode: int) -> None:
        path = self.pick(which, "FILE", "DIRECTORY", "FIFO")
        if path is not None:
            path.chmod(mode)

    @rule(which=PICKS, uid=st.integers(0, 2000), gid=st.integers(0, 2000))
    def change_owner(self, which: int, uid: int, gid: int) -> None:
        path = self.pick(which, "FILE", "DIRECTORY", "SYMLINK", "FIFO")
        if path is not None and os.geteuid() == 0:
            os.chown(path, uid, gid, follow_symlinks=False)

    @rule(which=PICKS, mtime=st.integers(-(10**18), 4 * 10**18))
    def change_time(self, which: int, mtime: int) -> None:
        path = self.pick(which, "FILE", "DIRECTORY", "SYMLINK", "FIFO")
        if path is not None:
            os.utime(path, ns=(mtime, mtime), follow_symlinks=False)

    @rule(which=PICKS, name=st.sampled_from("ab"), value=st.binary(max_size=100))
    def change_attribute(self, which: int, name: str, value: bytes) -> None:
        path = self.pick(which, "FILE", "DIRECTORY")
        if path is not None:
            os.setxattr(path, f"user.{name}", value)

    @rule(which=PICKS, where=PICKS, name=NAMES)
    def rename(self, which: int, where: int, name: str) -> None:
        path = self.pick(which, "FILE", "DIRECTORY", "SYMLINK", "FIFO")
        to = self.free(where, name)
        if path not in (None, self.root) and to is not None and path not in to.parents:
            path.rename(to)

    @rule(which=PICKS, where=PICKS, name=NAMES)
    def rename_folder(self, which: int, where: int, name: str) -> None:
        path, to = self.folder(which), self.free(where, name)
        if path != self.root and to is not None and path not in to.parents:
            path.rename(to)

    @rule(one=PICKS, other=PICKS)
    def swap(self, one: int, other: int) -> None:
        first, second = self.pick(one, "FILE"), self.pick(other, "FILE")
        if first is not None and second is not None and first != second:
            spare = self.place / "spare"
            first.rename(spare)
            second.rename(first)
            spare.rename(second)

    @rule(which=PICKS)
    def delete(self, which: int) -> None:
        path = self.pick(which, "FILE", "DIRECTORY", "SYMLINK", "FIFO")
        if path is None or path == self.root:
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    @rule(which=PICKS, name=NAMES)
    def change_kind(self, which: int, name: str) -> None:
        path = self.pick(which, "FILE", "SYMLINK", "FIFO")
        if path is not None:
            path.unlink()
            path.mkdir()
            (path / name).write_bytes(b"in place of something else")

    # --- sessions ------------------------------------------------------------------------------

    @rule(keep=st.integers(2, 6))
    def session(self, keep: int) -> None:
        settle()
        moment = look_at(self.root)
        promised = [point.id for point in self.job.points()]
        gone = frozenset(promised[: max(0, len(promised) + 1 - keep)])
        outcome = self.job.run(give_up=lambda _: gone)
        assert outcome.warnings == []
        (result,) = outcome.results
        assert result.point_id is not None
        self.moments[result.point_id] = moment
        settle()

    @rule()
    def session_after_nothing(self) -> None:
        """What has not changed is not read, but to move it out of a place that is worn."""
        self.session(keep=6)
        moves = load_wear(self.job.cache, self.job.chain().hash_of).active
        outcome = self.job.run(give_up=lambda _: frozenset())
        (result,) = outcome.results
        assert result.point_id is not None
        self.moments[result.point_id] = look_at(self.root)
        assert moves or outcome.read_bytes == 0
        assert outcome.changed_bytes == 0

    @precondition(lambda self: self.moments)
    @rule()
    def lose_the_cache(self) -> None:
        if self.job.cache is not None:
            shutil.rmtree(self.job.cache, ignore_errors=True)

    @precondition(lambda self: self.moments)
    @rule()
    def look_back(self) -> None:
        """Every promised point is exactly the tree it saw."""
        self.job.sweep()
        points = self.job.points()
        assert points
        for point in points:
            root = point.details.root
            assert isinstance(root, TreeRoot)
            found = read_tree(self.job.reader(point.body), root)
            assert found == self.moments[point.id]
            regular = [one for one in self.moments[point.id].values() if one.kind == "FILE"]
            assert point.details.size_bytes <= sum(len(one.content) for one in regular)
        self.job.check_block_sets()


Tree.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestEveryPointShowsItsOwnMoment = Tree.TestCase
