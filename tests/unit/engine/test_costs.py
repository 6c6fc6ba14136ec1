"""Cost follows change: bytes stored, objects touched and memory, none of which a machine decides."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from strongroom.clock import SystemClock
from strongroom.engine.backup import SessionOutcome
from strongroom.engine.index_reader import find_entry, pieces_of
from strongroom.format.block import BlockClass
from strongroom.format.index import CLUSTER
from strongroom.format.pack import read_header
from strongroom.format.point import TreeRoot
from strongroom.storage.observing import ObservingStorage
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.engine_job import EngineJob, settle, source

KIB, MIB = 1 << 10, 1 << 20
FILES = 20_000


@dataclass
class Cost:
    """What a session wrote, by kind of object."""

    outcome: SessionOutcome
    written: dict[str, int]
    packs: dict[BlockClass, int]
    """Bytes in packs by what they hold."""

    @property
    def total(self) -> int:
        return sum(self.written.values())


class Watched:
    """A job whose storage tells what each session added."""

    def __init__(self, kind: str, value: Path, folder: Path) -> None:
        self.storage = MemoryStorage()
        self.job = EngineJob(
            self.storage, [source(kind, value)], cache=folder / "cache", compression=3
        )

    def run(self) -> Cost:
        settle()
        before = set(self.storage.snapshot())
        outcome = self.job.run()
        settle()
        assert outcome.warnings == []
        written: dict[str, int] = {}
        packs = dict.fromkeys(BlockClass, 0)
        for key, data in self.storage.snapshot().items():
            if key not in before:
                kind = key.split("/")[2]
                written[kind] = written.get(kind, 0) + len(data)
                if kind == "packs":
                    packs[BlockClass(read_header(data, key).block_class)] += len(data)
        return Cost(outcome, written, packs)


# --- trees -----------------------------------------------------------------------------------


@dataclass
class Tree:
    root: Path
    watched: Watched

    def file(self, number: int) -> Path:
        (path,) = self.root.glob(f"*/f{number:05}")
        return path


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """20,000 files of a few hundred bytes in 20 folders, backed up once."""
    place = tmp_path_factory.mktemp("costs")
    root = place / "root"
    rng = random.Random(1)  # noqa: S311 - a test's
    for number in range(FILES):
        folder = root / f"d{number // 1000:02}"
        if number % 1000 == 0:
            folder.mkdir(parents=True)
        with (folder / f"f{number:05}").open("wb") as file:
            file.write(rng.randbytes(rng.randrange(1, 600)))
    watched = Watched("files", root, place)
    first = watched.run()
    assert first.outcome.files == FILES
    return Tree(root, watched)


def test_ten_changed_files_among_20000_store_under_300_kb(tree: Tree) -> None:
    tree.watched.run()
    for number in range(137, FILES, FILES // 10):
        tree.file(number).write_bytes(b"changed" * 20)
    cost = tree.watched.run()
    assert cost.outcome.changed_bytes == 10 * 140
    assert cost.outcome.read_bytes == 10 * 140
    assert cost.total < 300_000


def test_a_run_that_finds_nothing_changed_writes_its_entry_tables_and_keys_alone(
    tree: Tree,
) -> None:
    tree.watched.run()
    cost = tree.watched.run()
    assert set(cost.written) == {"journal", "tables", "keys"}
    assert cost.total < 40_000
    assert cost.outcome.read_bytes == 0
    assert cost.outcome.stored_bytes == 0
    assert cost.outcome.files == FILES


def test_a_renamed_folder_of_20000_files_stores_under_300_kb(tree: Tree) -> None:
    """Its entries name their last path component only, and their content is recognised."""
    outer = tree.root / "outer"
    outer.mkdir()
    for folder in sorted(tree.root.glob("d*")):
        folder.rename(outer / folder.name)
    tree.watched.run()
    outer.rename(tree.root / "another-name")
    cost = tree.watched.run()
    assert cost.outcome.changed_bytes == 0
    assert cost.total < 300_000
    for folder in sorted((tree.root / "another-name").iterdir()):
        folder.rename(tree.root / folder.name)
    (tree.root / "another-name").rmdir()


def test_a_folder_that_is_renamed_every_day_never_stores_its_content_again(tree: Tree) -> None:
    """What moved is not dead: the blocks it lies in are not worn by it."""
    for day in range(6):
        folder = next(tree.root.glob("d07*"))
        folder.rename(tree.root / f"d07-{day}")
        cost = tree.watched.run()
        assert cost.outcome.changed_bytes == 0, f"on day {day}"
        assert cost.packs[BlockClass.DATA] == 0, f"on day {day}"


def test_a_file_beside_worn_ones_is_not_read_for_ever(tmp_path: Path) -> None:
    """What lives of a worn block is stored again once; from then on nothing changes."""
    rng = random.Random(2)  # noqa: S311 - a test's
    root = tmp_path / "root"
    root.mkdir()
    (root / "a-large").write_bytes(rng.randbytes(3 * MIB + 100 * KIB))
    for number in range(20):
        (root / f"small{number}").write_bytes(rng.randbytes(40 * KIB))
    watched = Watched("files", root, tmp_path)
    watched.run()
    for _ in range(5):
        for number in range(20):
            (root / f"small{number}").write_bytes(rng.randbytes(40 * KIB))
        watched.run()
    watched.run()
    watched.run()
    quiet = watched.run()
    assert quiet.outcome.read_bytes == 0
    assert quiet.outcome.stored_bytes == 0


def test_a_moved_tree_rewrites_what_recognises_its_files_and_no_content(
    tmp_path: Path,
) -> None:
    """New inodes and ctimes, as after a move to another disk: recognition pages only."""
    root, copy = tmp_path / "root", tmp_path / "copy"
    root.mkdir()
    for number in range(2000):
        (root / f"{number:04}").write_bytes(b"%d" % number * 50)
    watched = Watched("files", root, tmp_path)
    first = watched.run()
    subprocess.run(["cp", "-a", root, copy], check=True)
    root.rename(tmp_path / "gone")
    copy.rename(root)
    moved = watched.run()
    assert moved.outcome.changed_bytes == 0
    assert moved.packs[BlockClass.DATA] == 0
    assert moved.packs[BlockClass.INDEX] < first.packs[BlockClass.INDEX] * 0.6


# --- disks -----------------------------------------------------------------------------------


def test_a_thousand_scattered_changes_of_a_disk_write_a_few_mb_of_index(tmp_path: Path) -> None:
    image = tmp_path / "disk"
    rng = random.Random(3)  # noqa: S311 - a test's
    # A synthetic disk of 16 GiB; every 64th cluster holds something, the rest are holes.
    clusters = (16 << 30) // CLUSTER
    with image.open("wb") as file:
        file.truncate(clusters * CLUSTER)
        fd = file.fileno()
        for cluster in range(0, clusters, 64):
            os.pwrite(fd, b"%d" % cluster, cluster * CLUSTER)
    watched = Watched("image", image, tmp_path)
    watched.run()
    with image.open("r+b") as file:
        for cluster in rng.sample(range(0, clusters, 64), 1000):
            os.pwrite(file.fileno(), rng.randbytes(CLUSTER), cluster * CLUSTER)
    cost = watched.run()
    assert cost.outcome.changed_bytes == 1000 * CLUSTER
    assert cost.packs[BlockClass.INDEX] + cost.written["tables"] < 3 * MIB
    assert cost.packs[BlockClass.DATA] < 1000 * CLUSTER * 1.1
    # A second time, so that a page holds blocks of several sessions.
    with image.open("r+b") as file:
        for cluster in rng.sample(range(0, clusters, 64), 1000):
            os.pwrite(file.fileno(), rng.randbytes(CLUSTER), cluster * CLUSTER)
    cost = watched.run()
    assert cost.packs[BlockClass.INDEX] + cost.written["tables"] < 4 * MIB


def test_an_unchanged_image_writes_its_entry_tables_and_keys_alone(tmp_path: Path) -> None:
    image = tmp_path / "disk"
    image.write_bytes(random.Random(4).randbytes(4 * MIB))  # noqa: S311 - a test's
    watched = Watched("image", image, tmp_path)
    watched.run()
    cost = watched.run()
    assert set(cost.written) == {"journal", "tables", "keys"}
    assert cost.total < 20_000


# --- opening -----------------------------------------------------------------------------------


def test_opening_the_newest_of_200_increments_walks_no_chain(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for number in range(300):
        (root / f"{number:03}").write_bytes(b"content of %d" % number)
    watched = Watched("files", root, tmp_path)
    watched.job.run()
    touched = {}
    for session in range(1, 201):
        (root / f"{session:03}").write_bytes(b"changed in %d" % session)
        outcome = watched.job.run()
        if session in (20, 200):
            touched[session] = _open_newest(watched.job, outcome)
    assert touched[200] <= touched[20] + 8
    assert touched[200] <= 40


def _open_newest(job: EngineJob, outcome: SessionOutcome) -> int:
    """Read one file of the newest point with nothing cached; return the objects touched."""
    observed = ObservingStorage(job.storage, SystemClock())
    storage, job.storage = job.storage, observed
    try:
        chain = job.chain()
        newest = chain.newest_session
        assert newest is not None
        assert newest.number == outcome.entry.number
        body = newest.body
        from strongroom.engine.backup import open_details
        from strongroom.format.journal import SessionBody
        from strongroom.repository.reader import BlockReader

        assert isinstance(body, SessionBody)
        keyring = job.keyring()
        details = open_details(chain, keyring, body, body.points[0])
        reader = BlockReader(chain, chain.sessions(body), keyring)
        assert isinstance(details.root, TreeRoot)
        entry = find_entry(reader, details.root, (b"000",))
        assert entry is not None
        (piece,) = pieces_of(reader, entry)
        assert piece.address is not None
        block = reader.read(piece.address, BlockClass.DATA)
        assert block[piece.offset : piece.offset + piece.length] == b"content of 0"
    finally:
        job.storage = storage
    return observed.traffic("get").calls


# --- memory ------------------------------------------------------------------------------------

_MANY_FILES = '''
import json, os, resource, stat, sys
from pathlib import Path
from strongroom.engine import backup
from strongroom.sources.directory import Directory
from strongroom.storage.local import LocalStorage
from tests.support.engine_job import EngineJob, source

COUNT = int(sys.argv[2])
OLD = 1_700_000_000_123_456_789
stats = {}


def a_stat(mode, inode, size):
    return os.stat_result(
        (mode, inode, 1, 1, 0, 0, size, OLD // 10**9, OLD // 10**9, OLD // 10**9),
        {"st_mtime_ns": OLD, "st_ctime_ns": OLD, "st_atime_ns": OLD, "st_blocks": 8, "st_rdev": 0},
    )


real = os.fstat
os.fstat = lambda fd: stats.get(fd) or real(fd)


class Synthetic:
    """A tree that is nowhere, behind the name by which the engine makes its file sources."""

    def __init__(self, root, *, report, **_):
        self.fd = os.memfd_create("file")
        os.truncate(self.fd, 300)

    def walk(self):
        top = Directory(-1, b".", None, a_stat(stat.S_IFDIR | 0o755, 1, 0))
        yield 1, b".", a_stat(stat.S_IFDIR | 0o755, 1, 0), top
        for number in range(COUNT):
            if number % 1000 == 0:
                inner = Directory(-1, b"d%06d" % (number // 1000), top, a_stat(0, 2, 0))
                yield 1, inner.name, a_stat(stat.S_IFDIR | 0o755, 2 + number, 0), top
            mode = stat.S_IFREG | 0o644
            yield 2, b"file-%08d.txt" % number, a_stat(mode, 10 + number, 300), inner
            if number % 1000 == 999:
                yield 0, b"", a_stat(stat.S_IFDIR, 2, 0), top
        yield 0, b"", a_stat(stat.S_IFDIR, 1, 0), top

    def open_file(self, parent, name):
        fd = os.dup(self.fd)
        os.pwrite(fd, name * 10, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        stats[fd] = a_stat(stat.S_IFREG | 0o644, 10 + int(name[5:13]), 300)
        return fd

    def read_xattrs(self, *_, **__):
        return ()

    def owner_name(self, _):
        return "owner"

    group_name = owner_name

    def path_of(self, parent, name):
        return name


backup.FilesSource = Synthetic
place = Path(sys.argv[1])
job = EngineJob(LocalStorage(place / "repository", create=True), [source("files", "/nowhere")],
                cache=place / "cache")
first = job.run()
second = job.run()
print(json.dumps({
    "files": [first.files, second.files],
    "read": [first.read_bytes, second.read_bytes],
    "stored": [first.stored_bytes, second.stored_bytes],
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
}))
'''

_AN_IMAGE = '''
import json, os, resource, sys
from pathlib import Path
from strongroom.storage.local import LocalStorage
from tests.support.engine_job import EngineJob, source

place, mib = Path(sys.argv[1]), int(sys.argv[2])
image = place / "disk"
with image.open("wb") as file:
    file.truncate(mib << 20)
    for at in range(0, mib, 4):
        os.pwrite(file.fileno(), os.urandom(8192), at << 20)
job = EngineJob(LocalStorage(place / "repository", create=True), [source("image", image)],
                cache=place / "cache")
first = job.run()
with image.open("r+b") as file:
    for at in range(0, mib, 64):
        os.pwrite(file.fileno(), os.urandom(8192), at << 20)
second = job.run()
print(json.dumps({
    "changed": [first.changed_bytes, second.changed_bytes],
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
}))
'''


def _measured(script: str, place: Path, size: int) -> dict[str, object]:
    place.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", script, str(place), str(size)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])},
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_200000_files_stay_under_300_mb_of_memory(tmp_path: Path) -> None:
    told = _measured(_MANY_FILES, tmp_path / "many", 200_000)
    assert told["files"] == [200_000, 200_000]
    assert told["read"] == [200_000 * 300, 0]
    assert told["stored"][1] == 0  # type: ignore[index]
    assert told["peak"] < 300 * MIB  # type: ignore[operator]


def test_ten_times_the_disk_takes_no_more_memory(tmp_path: Path) -> None:
    small = _measured(_AN_IMAGE, tmp_path / "small", 800)
    large = _measured(_AN_IMAGE, tmp_path / "large", 8000)
    assert large["changed"][0] == 10 * small["changed"][0]  # type: ignore[index]
    assert large["peak"] < small["peak"] + 48 * MIB  # type: ignore[operator]
    assert large["peak"] < 300 * MIB  # type: ignore[operator]
