"""A server whose job, copies and every operation of care run by name, on storages of a test's own.

    prepared = Caretaker.prepared(folder, in_memory())     # once
    caretaker = prepared.moved(folder / "case", storages)  # for each attempt
    caretaker.begin("prune")
    caretaker.do("prune")
    caretaker.check("prune")

What is prepared gives every operation work to do. Each one opens catalog, keystore and
repositories anew, as a command does, and no clock makes anybody wait.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import pytest

from strongroom.control import (
    care,
    copies,
    copy_jobs,
    exports,
    jobs,
    passwords,
    points,
    repair,
    repositories,
    sessions,
)
from strongroom.control.access import Access, open_reading
from strongroom.control.context import Context
from strongroom.crypto import random
from strongroom.crypto.kdf import MINIMUM
from strongroom.engine import pipeline
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.errors import StrongroomError
from strongroom.format.codec import decode
from strongroom.format.journal import SessionBody
from strongroom.format.pack import Directory
from strongroom.format.point import DiskRoot, TreeRoot
from strongroom.repository import layout
from strongroom.repository.compaction import plan_compaction
from strongroom.repository.prune import plan_prune
from strongroom.repository.repository import Repository
from strongroom.repository.state import StateBlocks
from strongroom.settings import Settings
from strongroom.storage.archive import ArchiveStorage
from strongroom.storage.local import LocalStorage
from strongroom.storage.location import open_storage
from strongroom.storage.retrying import RetryingStorage
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.dying_storage import Death, DyingStorage
from tests.support.engine_job import AheadClock, read_disk, read_tree
from tests.support.installation import PASSWORD, secret
from tests.support.jobs import write_tree
from tests.support.s3_server import CREDENTIAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from strongroom.engine.points import PointView
    from strongroom.format.tables import SessionRecord
    from strongroom.repository.chain import Chain
    from strongroom.storage.base import Storage

MAIN: Final = "/main"
AWAY: Final = "/away"
"""Holds the chain as it is, without its newest points."""
OWN: Final = "/own"
"""Holds it under a key of its own, without its newest points."""
FIRST: Final = "/first"
"""Is to hold it one way or the other, and does not yet."""
PLACES: Final = (MAIN, AWAY, OWN, FIRST)
OPERATIONS: Final = (
    "session", "prune", "compact", "scrub", "copy", "first_copy", "copy_under_own_key",
    "first_copy_under_own_key", "synthetic", "repair", "export",
)  # fmt: skip
AREA: Final = 256 << 10
"""What a block of the image holds."""
_AREAS: Final = 4
_CHANGES: Final = (0, 1, 2, 0, 3)
"""Which area changes when: the last session hits what the one before stored again, so that a
half-dead pack is left, which sessions would empty otherwise."""
_COPIED: Final = {
    "copy": AWAY,
    "first_copy": FIRST,
    "copy_under_own_key": OWN,
    "first_copy_under_own_key": FIRST,
}
_LOCK_ROW: Final = re.compile(r"locks/[^/]+/[0-9]{10}", re.ASCII)
_LATER: Final = timedelta(days=3)

Contents: TypeAlias = "Mapping[str, object]"


def with_small_packs(patch: pytest.MonkeyPatch) -> None:
    """Let every session store several packs, of two areas each."""
    patch.setattr(pipeline, "PACK_RAW_BYTES", 2 * AREA)


class HastyClock(AheadClock):
    """Nobody waits by it: what they would have waited for passes at once."""

    def __init__(self, waited: Callable[[], None] = lambda: None) -> None:
        """Stand where the machine's clock stands.

        Args:
            waited: Is called whenever somebody would wait.
        """
        self._passed = timedelta()
        self._passing = threading.Lock()
        self._waited = waited

    def advance(self, by: timedelta) -> None:
        with self._passing:
            self._passed += by

    def now(self) -> datetime:
        return super().now() + self._passed

    def now_ns(self) -> int:
        return super().now_ns() + self._passed // timedelta(microseconds=1) * 1000

    def monotonic(self) -> float:
        return super().monotonic() + self._passed.total_seconds()

    def running(self) -> tuple[str, float]:
        start, seconds = super().running()
        return start, seconds + self._passed.total_seconds()

    def sleep(self, seconds: float) -> None:
        self.advance(timedelta(seconds=seconds))
        self._waited()


def in_memory() -> dict[str, Storage]:
    """Return storages for every place."""
    return {place: MemoryStorage(location=place) for place in PLACES}


def in_folders(folder: Path) -> dict[str, Storage]:
    """Return storages for every place, in folders below one."""
    places = {place: folder / "places" / place[1:] for place in PLACES}
    for path in places.values():
        path.mkdir(parents=True, exist_ok=True)
    return {place: LocalStorage(path) for place, path in places.items()}


@dataclass
class Caretaker:
    """The server: a folder of its own, sources, and storages by location."""

    folder: Path
    sources: Path
    storages: dict[str, Storage]
    clock: HastyClock = field(default_factory=HastyClock)
    promised: dict[str, object] = field(default_factory=dict)
    """What the points hold that were promised before the operation, by their ids."""

    # --- where it begins ----------------------------------------------------------------------

    @classmethod
    def prepared(cls, folder: Path, storages: dict[str, Storage]) -> Caretaker:
        """Return a server with four points of each of two sources, of which the oldest are gone."""
        made = cls(folder, folder / "sources", storages)
        made.sources.mkdir()
        with made.context() as ctx:
            for place in PLACES:
                repositories.add(ctx, place[1:], place)
            for name in ("office", "vault"):
                passwords.add(ctx, name, secret(PASSWORD))
            request = jobs.JobRequest(
                name="nightly",
                repository="main",
                encrypt="password:office",
                sources=(f"files:{made.sources / 'tree'}", f"image:{made.sources / 'disk'}"),
                block_size=AREA,
                keep_last=50,
                recovery=False,
            )
            jobs.create(ctx, request)
            for place, encrypt in (
                (AWAY, None),
                (OWN, "password:vault"),
                (FIRST, "password:vault"),
            ):
                name = place[1:]
                copy_jobs.create(
                    ctx, name, "nightly", name, after_run=False, encrypt=encrypt, recovery=False
                )
        for turn in range(4):
            if turn == 3:
                made.do("copy")
                made.do("copy_under_own_key")
            made.change(turn)
            made.do("session")
        with made.context() as ctx:
            oldest = [view.id for view in made._views(ctx, "main")[:4]]
            points.remove(ctx, oldest, where="main", yes=True)
        made.promised = dict(made.contents("main"))
        made.change(4)
        return made

    def change(self, turn: int) -> None:
        """Change a part of what the sources hold: of the image another area each time."""
        files = {"same": b"same" * 9_000, "own": random.token(5_000 + turn)}
        write_tree(self.sources / "tree", files)
        disk = self.sources / "disk"
        with disk.open("r+b" if turn else "wb") as file:
            for area in range(_AREAS):
                if not turn or area == _CHANGES[turn]:
                    file.seek(area * AREA)
                    file.write(random.token(AREA))

    def moved(self, folder: Path, storages: dict[str, Storage]) -> Caretaker:
        """Return the same server in another folder, with all it has in other storages."""
        folder.mkdir(exist_ok=True)
        shutil.copytree(self.folder / "home", folder / "home")
        shutil.copy(self.folder / "key", folder / "key")
        if self.archive.exists():
            shutil.copy(self.archive, folder)
        for place, storage in storages.items():
            for info in self.storages[place].list():
                storage.put(info.key, self.storages[place].get(info.key))
        return Caretaker(folder, self.sources, storages, self.clock, dict(self.promised))

    def copied(self, folder: Path) -> Caretaker:
        """Return the same server in another folder, where its storages are `in_folders`."""
        left_out = shutil.ignore_patterns("sources")
        shutil.copytree(self.folder, folder, ignore=left_out)
        storages = in_folders(folder)
        return Caretaker(folder, self.sources, storages, self.clock, dict(self.promised))

    def dying(self, death: Death) -> Caretaker:
        """Return the same server, whose process dies."""
        storages = {place: DyingStorage(one, death) for place, one in self.storages.items()}
        return replace(self, storages=storages)

    def context(self) -> Context:
        return Context(
            Settings(self.folder / "home", self.folder / "key"),
            self.clock,
            open_storage=lambda location, _create: self.storages[location],
            derivation=lambda: MINIMUM,
        )

    # --- what it does -------------------------------------------------------------------------

    def do(self, operation: str) -> None:
        """Do one of `OPERATIONS` as its command does.

        Raises:
            StrongroomError: what kept it from doing all of it.
        """
        with self.context() as ctx:
            getattr(self, f"_{operation}")(ctx)

    def begin(self, operation: str) -> None:
        """Make what the operation needs beside what is prepared."""
        if operation == "compact":
            # All but the newest points go, and no session comes that would empty worn packs.
            with self.context() as ctx:
                *older, _, _ = (view.id for view in self._views(ctx, "main"))
                points.remove(ctx, older, where="main", yes=True)
            for one in older:
                del self.promised[one]
            self._tidy((MAIN,), compacting=False)
        if operation == "repair":
            self._damage_a_pack()

    def _session(self, ctx: Context) -> None:
        self._run(ctx)

    def _synthetic(self, ctx: Context) -> None:
        self._run(ctx, synthetic=True)

    def _run(self, ctx: Context, *, synthetic: bool = False) -> None:
        sessions.run(
            ctx,
            "nightly",
            full=False,
            synthetic=synthetic,
            progress=NullProgress(),
            cancel=Cancellation(),
        )

    def _prune(self, ctx: Context) -> None:
        care.prune(ctx, "main")

    def _compact(self, ctx: Context) -> None:
        care.compact(ctx, "main", progress=NullProgress(), cancel=Cancellation())

    def _scrub(self, ctx: Context) -> None:
        report = care.scrub(
            ctx,
            "main",
            every=timedelta(hours=2),
            progress=NullProgress(),
            cancel=Cancellation(),
        )
        assert report.ok, report.damaged

    def _copy(self, ctx: Context) -> None:
        self._run_copy(ctx, "away")

    def _copy_under_own_key(self, ctx: Context) -> None:
        self._run_copy(ctx, "own")

    def _first_copy_under_own_key(self, ctx: Context) -> None:
        self._run_copy(ctx, "first")

    def _run_copy(self, ctx: Context, name: str) -> None:
        self._raise_of(
            copy_jobs.run(ctx, name, progress=NullProgress(), cancel=Cancellation()).error
        )

    def _first_copy(self, ctx: Context) -> None:
        self._raise_of(
            copies.copy(ctx, "main", "first", progress=NullProgress(), cancel=Cancellation()).error
        )

    def _repair(self, ctx: Context) -> None:
        report = repair.repair(
            ctx, "main", source="away", progress=NullProgress(), cancel=Cancellation()
        )
        assert not report.damaged, report.damaged

    def _export(self, ctx: Context) -> None:
        newest = self._views(ctx, "main")[-1].id
        exports.export(
            ctx,
            Access(where="main"),
            newest,
            self.archive,
            progress=NullProgress(),
            cancel=Cancellation(),
        )

    @property
    def archive(self) -> Path:
        """Where `export` puts the newest point."""
        return self.folder / "newest"

    def _raise_of(self, error: StrongroomError | None) -> None:
        if error is not None:
            raise error

    def _tidy(self, places: Iterable[str], *, compacting: bool = True) -> None:
        for _ in range(2):  # condemned, and out of quarantine
            for place in places:
                with self.context() as ctx:
                    care.prune(ctx, place[1:], compacting=compacting)
            self.clock.advance(_LATER)

    def _damage_a_pack(self) -> None:
        """Flip a bit in a pack that the copy has, too, and whose blocks all live."""
        here = self.storages[MAIN]
        with self.context() as ctx:
            oldest = self._views(ctx, "main")[0]
            chain, body = oldest.chain, oldest.live.body
            record = chain.sessions(body).get(body.slot)
            assert record is not None
            packs = _packs_of(chain, record)
        key = max((layout.pack(chain.chain_id, one) for one in packs.values()), key=here.size)
        data = bytearray(here.get(key))
        data[len(data) // 2] ^= 1
        here.delete(key)
        here.put(key, data)

    def started(self, operation: str) -> subprocess.Popen[bytes]:
        """Let a process of its own do it, in buckets: it begins when it is sent a line.

        What connects to buckets does not work behind a fork.
        """
        locations = {place: storage.location for place, storage in self.storages.items()}
        words = json.dumps([str(self.folder), str(self.sources), locations, operation])
        return subprocess.Popen(
            [sys.executable, "-m", "tests.support.caretaker", words],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
        )

    # --- what is there ------------------------------------------------------------------------

    def _views(self, ctx: Context, where: str) -> list[PointView]:
        return list(open_reading(ctx, Access(where=where), unseen=True).points)

    def contents(self, where: str) -> Contents:
        """Return what every promised point of a repository holds, by its id."""
        with self.context() as ctx:
            views = self._views(ctx, where)
            found = {view.id: _content(view) for view in views}
            assert len(found) == len(views), "a point is there twice"
            return found

    def check_promised(self, *, replaced: bool = False) -> Contents:
        """Every point that was promised before holds what it held.

        Args:
            replaced: Another point may have taken the place of one, and then holds the same.

        Returns:
            What all points hold.
        """
        found = self.contents("main")
        for point, content in self.promised.items():
            if replaced and point not in found:
                assert content in found.values()
            else:
                assert found[point] == content
        return found

    def check(self, *operations: str) -> None:
        """After operations were repeated: all is there once, and nothing that nobody uses."""
        expected = self.check_promised(replaced="synthetic" in operations)
        if "export" in operations:
            self._check_archive()
        places = {MAIN: True} | {_COPIED[one]: True for one in operations if one in _COPIED}
        self._tidy(places)
        for operation in operations:
            if operation in _COPIED:
                self.do(operation)
        if len(places) > 1:
            self._tidy(places)
        for place in places:
            assert self.contents(place[1:]) == expected, f"{place} holds other points"
            with self.context() as ctx:
                report = care.scrub(ctx, place[1:], progress=NullProgress(), cancel=Cancellation())
            assert report.ok, report.damaged
            assert report.notes == ()
            check_nothing_leaks(self.storages[place], place, self.clock)

    def _check_archive(self) -> None:
        self.storages[str(self.archive)] = ArchiveStorage(self.archive)
        with self.context() as ctx:
            newest = self._views(ctx, "main")[-1]
            (archived,) = self._views(ctx, str(self.archive))
            assert _content(archived) == _content(newest)


def _content(view: PointView) -> object:
    root = view.opened().root
    if isinstance(root, TreeRoot):
        tree = read_tree(view.reader(), root)
        return {path: seen.content for path, seen in tree.items() if seen.kind == "FILE"}
    assert isinstance(root, DiskRoot)
    return read_disk(view.reader(), root)


def check_nothing_leaks(storage: Storage, place: str, clock: HastyClock) -> None:
    """After prunes and their quarantine all that is held is led to by what is kept."""
    repository = Repository.open(storage)
    chains = {chain_id: repository.chain(chain_id) for chain_id in repository.chain_ids()}
    for chain in chains.values():
        assert plan_prune(repository, chain, clock, timedelta()).nothing, place
        plan = plan_compaction(chain)
        assert not plan.packs, place
        assert not plan.leftovers, place
    used = {(chain.chain_id, pack) for chain in chains.values() for pack in _used_packs(chain)}
    forms: Counter[tuple[bytes, bytes]] = Counter()
    prefixes = tuple(map(layout.chain, chains))
    for info in storage.list():
        if _LOCK_ROW.fullmatch(info.key) or info.key == layout.MARKER:
            continue
        if info.key.startswith("headers/"):
            assert bytes.fromhex(info.key.removeprefix("headers/")) in chains, info.key
            continue
        assert info.key.startswith(prefixes), f"{place}: nobody leads to {info.key}"
        _, chain_id, kind, *_ = info.key.split("/")
        assert kind != "keys", f"{place}: {info.key} is left"
        assert "/journal/upto-" not in info.key, f"{place}: {info.key} is left"
        form = layout.pack_form(info.key) if kind == "packs" else None
        if form is not None:
            forms[bytes.fromhex(chain_id), form[0]] += 1
    assert {*forms} == used, f"{place}: packs that nobody uses, or lacks"
    assert {*forms.values()} <= {1}, f"{place}: a pack in two forms"


def _packs_of(chain: Chain, record: SessionRecord) -> dict[int, bytes]:
    """Return the ids of the packs that a session wrote, by their ordinals."""
    return {
        ordinal: decode(Directory, page.directory, "a directory").pack_id
        for ordinal, page in chain.ledger(record.ledger).items()
    }


def _used_packs(chain: Chain) -> set[bytes]:
    used: set[bytes] = set()
    entries = {entry.number: entry for entry in chain.kept_entries()}
    if chain.newest_session is not None:
        entries[chain.newest_session.number] = chain.newest_session
    for entry in entries.values():
        assert isinstance(entry.body, SessionBody)
        records = chain.sessions(entry.body)
        for (slot, ordinal), bits in StateBlocks(chain, entry.body).all_bits().items():
            if bits:
                record = records.get(slot)
                assert record is not None
                used.add(_packs_of(chain, record)[ordinal])
    return used


def main() -> None:
    folder, sources, locations, operation = json.loads(sys.argv[1])
    with_small_packs(pytest.MonkeyPatch())
    clock = HastyClock()
    storages: dict[str, Storage] = {
        place: RetryingStorage(open_storage(where, credential=CREDENTIAL), clock, jitter=lambda: 1)
        for place, where in locations.items()
    }
    caretaker = Caretaker(Path(folder), Path(sources), storages, clock)
    sys.stdin.readline()
    caretaker.do(operation)


if __name__ == "__main__":
    main()
