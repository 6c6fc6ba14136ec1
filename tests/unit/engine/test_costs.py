"""What a backup costs: figures that depend on the work and not on the machine."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
        tree.file(number).write_bytes(b"changed %5d" % number * 10)
    cost = tree.watched.run()
    assert cost.outcome.changed_bytes == 10 * 130
    assert cost.outcome.read_bytes == 10 * 130
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


def test_a_folder_that_is_renamed_every_day_never_stores_its_content_again(
    tmp_path: Path,
) -> None:
    """What moved is not dead: the blocks it lies in are not worn by it."""
    root = tmp_path / "root"
    folder = root / "day-0"
    folder.mkdir(parents=True)
    rng = random.Random(5)  # noqa: S311 - a test's
    for number in range(500):
        (folder / f"{number:03}").write_bytes(rng.randbytes(3000))
    watched = Watched("files", root, tmp_path)
    watched.run()
    for day in range(1, 9):
        folder = folder.rename(root / f"day-{day}")
        cost = watched.run()
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


def test_giving_up_worn_blocks_costs_a_session_no_more_than_its_budget(tmp_path: Path) -> None:
    """And what is stored again for that reason has not changed."""
    rng = random.Random(6)  # noqa: S311 - a test's
    root = tmp_path / "root"
    root.mkdir()
    for number in range(160):
        (root / f"{number:03}").write_bytes(rng.randbytes(256 * KIB))
    watched = Watched("files", root, tmp_path)
    watched.job.compression = None
    watched.run()
    for number in range(160):
        if number % 4:  # of four that share a block, three
            (root / f"{number:03}").write_bytes(b"changed %d" % number)
    watched.run()
    costs = [watched.run() for _ in range(3)]
    assert sum(cost.packs[BlockClass.DATA] for cost in costs) > 9 * MIB
    assert max(cost.packs[BlockClass.DATA] for cost in costs) < 9 * MIB
    assert [cost.outcome.changed_bytes for cost in costs] == [0, 0, 0]


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


# --- much, in a process of its own ---------------------------------------------------------------


def _measured(what: str, place: Path, amount: int) -> dict[str, Any]:
    """Run two sessions in a process of their own and return what it tells."""
    place.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.memory_probe", what, place, str(amount)],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_ten_changed_files_among_a_million_store_under_300_kb_and_stay_under_500_mb_of_memory(
    tmp_path: Path,
) -> None:
    told = _measured("files", tmp_path / "many", 1_000_000)
    assert told["files"] == [1_000_000, 1_000_000]
    assert told["read_bytes"] == [1_000_000 * 300, 10 * 300]
    assert told["changed_bytes"][1] == 10 * 300
    assert told["written_bytes"][1] < 300_000
    assert told["peak"] < 500 * MIB


def test_a_renamed_folder_of_100000_files_writes_under_100_kb(tmp_path: Path) -> None:
    """It holds a hundred folders, whose pages are the same under another name."""
    told = _measured("renamed", tmp_path / "renamed", 100_000)
    assert told["files"] == [100_000, 100_000]
    assert told["changed_bytes"][1] == 0
    assert told["written_bytes"][1] < 100_000


def test_a_disk_of_1_tib_stays_under_512_mb_of_memory_and_a_few_mb_of_index(
    tmp_path: Path,
) -> None:
    told = _measured("sparse", tmp_path / "sparse", 1 << 20)
    # 1,024 clusters, each a GiB from the next.
    assert told["changed_bytes"][1] == 1024 * CLUSTER
    assert told["written_bytes"][1] - told["changed_bytes"][1] < 4 * MIB
    assert told["peak"] < 512 * MIB


def test_ten_times_the_disk_takes_no_more_memory(tmp_path: Path) -> None:
    small = _measured("image", tmp_path / "small", 800)
    large = _measured("image", tmp_path / "large", 8000)
    assert large["changed_bytes"][0] == 10 * small["changed_bytes"][0]
    assert large["peak"] < small["peak"] + 48 * MIB
    assert large["peak"] < 300 * MIB
