"""Sessions, removals, holds and prunes in any order, against a dictionary of what points hold.

Real sessions of the real engine on tiny sources, of which some fail. After every step each
promised point restores byte for byte; after a prune nothing is left that nothing needs.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from strongroom.errors import SessionFailedError, SourceUnavailableError, StorageUnavailableError
from strongroom.format.codec import decode
from strongroom.format.journal import SessionBody
from strongroom.format.pack import Directory
from strongroom.repository import layout
from strongroom.repository.state import StateBlocks
from strongroom.testing.faulty_storage import FaultyStorage
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.engine_job import Point, look_at, source
from tests.support.jobs import Job, a_job, write_tree

NAMES = ("a", "b", "d/c", "d/e/f")
CONTENTS = st.binary(max_size=8) | st.integers(0, 7).map(lambda n: bytes([n]) * 9_000)
TREES = st.dictionaries(st.sampled_from(NAMES), CONTENTS, max_size=4)


class PruneStates(RuleBasedStateMachine):
    """One job with two trees and a command, kept for ever or pruned."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.model: dict[bytes, object] = {}
        self.held: set[bytes] = set()

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @initialize(sealed=st.booleans(), cached=st.booleans())
    def begin(self, sealed: bool, cached: bool) -> None:
        self.trees = [self.folder / "one", self.folder / "two"]
        self.words = self.folder / "words"
        for tree in self.trees:
            write_tree(tree, {})
        self.words.write_bytes(b"words")
        self.faulty = FaultyStorage(MemoryStorage())
        self.job: Job = a_job(
            self.faulty,
            *(source("files", tree) for tree in self.trees),
            source("command", f"cat {self.words}"),
            sealed=sealed,
            cache=self.folder / "cache" if cached else None,
        )

    # --- what happens ------------------------------------------------------------------------

    @rule(which=st.integers(0, 1), files=TREES)
    def change(self, which: int, files: dict[str, bytes]) -> None:
        write_tree(self.trees[which], files)

    @rule(words=CONTENTS)
    def say(self, words: bytes) -> None:
        self.words.write_bytes(words)

    @rule(failing=st.sets(st.integers(0, 2), max_size=2))
    def back_up(self, failing: set[int]) -> None:
        away = [self._sources[index] for index in failing]
        for path in away:
            path.rename(path.with_suffix(".away"))
        try:
            self.job.run()
        except (SourceUnavailableError, SessionFailedError):
            pass
        finally:
            for path in away:
                path.with_suffix(".away").rename(path)
        for point in self.job.points():
            if point.id not in self.model:
                self.model[point.id] = self._now(point)

    @rule(nth=st.integers(1, 8))
    def die_in_a_session(self, nth: int) -> None:
        self._fail(nth)
        try:
            self.job.run()
        except StorageUnavailableError:
            pass
        finally:
            self._recover()
        for point in self.job.points():
            if point.id not in self.model:
                self.model[point.id] = self._now(point)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        points = self.job.points()
        gone = data.draw(st.lists(st.sampled_from(points), min_size=1, unique_by=lambda p: p.id))
        self.job.remove(*gone)
        for point in gone:
            del self.model[point.id]
            self.held.discard(point.id)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def hold_or_release(self, data: st.DataObject) -> None:
        point = data.draw(st.sampled_from(self.job.points()))
        if point.id in self.held:
            self.job.release(point)
            self.held.remove(point.id)
        else:
            self.job.hold(point)
            self.held.add(point.id)

    @rule()
    def prune(self) -> None:
        self.job.prune()
        assert self.job.plan_prune().removals == ()
        assert {*self.job.keys_of("packs")} == self._needed_packs()

    @rule(nth=st.integers(1, 12))
    def die_in_a_prune(self, nth: int) -> None:
        self._fail(nth)
        try:
            self.job.prune()
        except StorageUnavailableError:
            pass
        finally:
            self._recover()

    # --- what holds --------------------------------------------------------------------------

    @invariant()
    def every_promised_point_restores(self) -> None:
        if hasattr(self, "job"):
            assert self.job.contents() == self.model
            held = {live.point.point_id for live in self.job.chain().live_points() if live.held}
            assert held == self.held

    @invariant()
    def a_scrub_finds_nothing(self) -> None:
        if hasattr(self, "job"):
            assert self.job.scrub().damaged == ()

    # --- inside ------------------------------------------------------------------------------

    @property
    def _sources(self) -> list[Path]:
        return [*self.trees, self.words]

    def _now(self, point: Point) -> object:
        """Return what the point's source holds at this moment."""
        ids = [one.source_id for one in self.job.sources]
        index = ids.index(point.public.source_id)
        return look_at(self.trees[index]) if index < 2 else self.words.read_bytes()

    def _fail(self, nth: int) -> None:
        self.faulty.kill_after(nth)

    def _recover(self) -> None:
        self.faulty.kill_after(1 << 60)

    def _needed_packs(self) -> set[str]:
        """Return the packs that a kept entry's block set names, asked of each entry alone."""
        chain = self.job.chain()
        entries = {entry.number: entry for entry in chain.kept_entries()}
        if chain.newest_session is not None:
            entries[chain.newest_session.number] = chain.newest_session
        found = set()
        for entry in entries.values():
            body = entry.body
            assert isinstance(body, SessionBody)
            sessions = chain.sessions(body)
            for slot, ordinal in StateBlocks(chain, body).all_bits():
                record = sessions.get(slot)
                assert record is not None
                page = chain.ledger(record.ledger).get(ordinal)
                assert page is not None
                directory = decode(Directory, page.directory, "a directory")
                found.add(layout.pack(chain.chain_id, directory.pack_id))
        return found


PruneStates.TestCase.settings = settings(
    max_examples=20, stateful_step_count=14, deadline=None, print_blob=True
)
TestPruneStates = PruneStates.TestCase
