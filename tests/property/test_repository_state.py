"""Three jobs, all care and a copy in any order, dying or meeting anywhere, against a dictionary.

Whole commands on one server: what the control plane decides is part of what is tested. After
every step every promised point is restored from the repository with the recovery kit alone, and
every point of the copy from the copy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from strongroom.control import jobs
from strongroom.errors import ConflictError, LockedError, NotFoundError, StrongroomError
from tests.support.server_at_work import (
    CLUSTERS,
    COPY,
    DAY,
    JOBS,
    KEPT,
    MAIN,
    PASSWORDS,
    Process,
    ServerAtWork,
    content,
    filler,
)

CONTENTS = st.integers(0, 9).map(lambda seed: filler(seed, seed * seed * 1_500))
TREES = st.dictionaries(st.sampled_from(("a", "b", "d/c", "d/e/f")), CONTENTS, max_size=4)
PICKS = st.integers(0, 1 << 16)
MOMENTS = st.integers(1, 60)
PLACES = st.sampled_from((MAIN, COPY))
SESSIONS = tuple(f"{kind} {name}" for kind in ("run", "full", "synthetic") for name in JOBS)
CARE = ("prune", "compact", "copy", "prune copy", "compact copy", "rescan")
COMMANDS = st.sampled_from(SESSIONS) | st.sampled_from(CARE)


CHOICES = st.builds(
    lambda verb, pick: f"{verb} {pick}", st.sampled_from(("hold", "take-back")), st.integers(0, 5)
)
SLACK = 80 << 10
"""Compaction leaves less than 64 KiB of dead blocks to a pack, and a pack has a directory."""
SERVER: ServerAtWork | None = None


@pytest.fixture(scope="module", autouse=True)
def set_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    global SERVER
    with pytest.MonkeyPatch.context() as patch:
        # No machine dies here, only processes.
        patch.setattr(os, "fsync", lambda _: None)
        SERVER = ServerAtWork(tmp_path_factory.mktemp("server"))
        yield
        SERVER = None


@dataclass(frozen=True)
class Change:
    """What happens to the sources."""

    files: dict[str, bytes]
    clusters: dict[int, int]
    words: bytes

    def make(self, server: ServerAtWork) -> None:
        server.write_tree(self.files)
        server.words.write_bytes(self.words)
        for number, seed in self.clusters.items():
            server.write_cluster(number, seed)


CHANGES = st.builds(
    Change,
    TREES,
    st.dictionaries(st.integers(0, CLUSTERS - 1), st.integers(0, 5), max_size=6),
    CONTENTS,
)


@dataclass(frozen=True)
class Kept:
    """What a point has to bring back."""

    job: str
    source: str
    order: int
    content: object


class RepositoryStates(RuleBasedStateMachine):
    """One server, one repository, one copy."""

    def __init__(self) -> None:
        super().__init__()
        assert SERVER is not None
        self.server = SERVER
        self.server.begin()
        self.promised: dict[bytes, Kept] = {}
        self.held: set[bytes] = set()
        self.ever: dict[bytes, Kept] = {}
        """Every point that there ever was."""
        self.copied: set[bytes] = set()
        """Points that a copy was said to have, and that were not let go since."""
        self.lost_unfinished = False
        self.removed = False
        """A job was made anew: the catalog of the first day does not know it."""

    def teardown(self) -> None:
        self.server.ctx.close()

    # --- commands ----------------------------------------------------------------------------

    @initialize(change=CHANGES)
    def begin(self, change: Change) -> None:
        self.back_up(change)

    @rule(change=CHANGES)
    def back_up(self, change: Change) -> None:
        change.make(self.server)
        process = Process(self.server.ctx)
        for name in JOBS:
            process.run(name)
        self._settle(*(f"run {name}" for name in JOBS))

    @rule(change=CHANGES)
    def work_goes_on(self, change: Change) -> None:
        change.make(self.server)

    @rule(command=COMMANDS)
    def command(self, command: str) -> None:
        result = None
        with suppress(NotFoundError, ConflictError):
            result = self._do(Process(self.server.ctx), command)
        self._settle(command)
        if command == "copy":
            self._settle_copied(result)

    @rule(command=COMMANDS, nth=MOMENTS)
    def die_in(self, command: str, nth: int) -> None:
        place = self.server.interrupted[f"/{COPY if 'copy' in command else MAIN}"]
        place.at(nth, place.die)
        try:
            with self.server.process(interrupted=True) as process:
                self._do(process, command)
        except StrongroomError:
            pass
        finally:
            place.calm()
        self.server.renew()
        self._settle(command)

    @rule(outer=COMMANDS, inner=COMMANDS | CHOICES, nth=MOMENTS)
    def meet(self, outer: str, inner: str, nth: int) -> None:
        place = self.server.interrupted[f"/{MAIN}"]
        place.at(nth, lambda: self._in_another_process(inner))
        try:
            with (
                self.server.process(interrupted=True) as process,
                suppress(NotFoundError, ConflictError, LockedError),
            ):
                self._do(process, outer)
        finally:
            came = place.calm()
        if not came:
            self._in_another_process(inner)
        self.server.renew()
        self._settle(outer, inner)

    @precondition(lambda self: self.promised)
    @rule(picks=st.lists(PICKS, min_size=1, max_size=3))
    def let_go(self, picks: list[int]) -> None:
        gone = {self._pick(pick) for pick in picks} - self.held
        if gone:
            Process(self.server.ctx).take_back(*gone)
            for point_id in gone:
                del self.promised[point_id]
        self._settle()

    @precondition(lambda self: self.promised)
    @rule(pick=PICKS)
    def hold_or_release(self, pick: int) -> None:
        point_id = self._pick(pick)
        process = Process(self.server.ctx)
        if point_id in self.held:
            process.release(point_id)
            self.held.remove(point_id)
        else:
            process.hold(point_id)
            self.held.add(point_id)
        self._settle()

    @rule(name=st.sampled_from(JOBS[:2]), password=st.sampled_from(PASSWORDS))
    def seal_for_another_password(self, name: str, password: str) -> None:
        Process(self.server.ctx).seal_for(name, password)
        self._settle()

    @precondition(lambda self: not self.removed)
    @rule()
    def forget_all_that_the_catalog_knew(self) -> None:
        self.server.forget()
        self.lost_unfinished = True
        self._settle()
        assert self.server.catalogued() == {*self.promised}

    @rule(where=PLACES)
    def scrub(self, where: str) -> None:
        report = Process(self.server.ctx).scrub(where)
        assert report.ok, report

    @rule(where=PLACES)
    def prune_and_wait(self, where: str) -> None:
        Process(self.server.ctx).prune(where)
        self.server.clock.advance(2 * DAY)
        self._settle()

    @rule()
    def copy(self) -> None:
        self.command("copy")

    @rule(where=PLACES)
    def prune_to_the_end(self, where: str) -> None:
        self._prune_to_the_end(where)
        self._settle()
        for plan in self.server.plans(where):
            packs = self.server.packs(where, plan.chain)
            assert sum(packs) <= plan.live_bytes * 3 / 2 + len(packs) * SLACK

    @rule(name=st.sampled_from(JOBS))
    def remove_a_job(self, name: str) -> None:
        """Let go all that a job has: after quarantine nothing of it is left."""
        process = Process(self.server.ctx)
        process.run(name)
        process.rescan()
        self._prune_to_the_end(MAIN)  # an empty chain, of a session that died, goes by the next
        self._settle(f"run {name}")
        gone = [point_id for point_id, kept in self.promised.items() if kept.job == name]
        for point_id in {*gone} & self.held:
            process.release(point_id)
            self.held.remove(point_id)
        process.take_back(*gone)
        for point_id in gone:
            del self.promised[point_id]
        job_id = jobs.show(self.server.ctx, name).job_id
        jobs.remove(self.server.ctx, name, yes=True)
        process.prune()
        assert process.copy().error is None
        for where in (MAIN, COPY):
            self._prune_to_the_end(where)
        self._settle("prune copy")
        left = {
            where: [plan for plan in self.server.plans(where) if plan.job == job_id]
            for where in (MAIN, COPY)
        }
        assert left == {MAIN: [], COPY: []}, left
        assert self.lost_unfinished or self.server.stray_packs(MAIN) == []
        self.server.create(process, name)
        self.removed = True

    # --- inside ------------------------------------------------------------------------------

    def _prune_to_the_end(self, where: str) -> None:
        """Prune until nothing is left to go: of chains that name each other one after the other."""
        for _ in range(2 * len(self.server.plans(where)) + 2):
            Process(self.server.ctx).prune(where)
            self.server.clock.advance(2 * DAY)
            if all(plan.nothing for plan in self.server.plans(where)):
                return
        raise AssertionError([plan.text() for plan in self.server.plans(where)])

    def _do(self, process: Process, command: str) -> object:
        verb, _, of = command.partition(" ")
        calls: dict[str, Callable[[], object]] = {
            "run": lambda: process.run(of),
            "full": lambda: process.run(of, full=True),
            "synthetic": lambda: process.run(of, synthetic=True),
            "prune": lambda: process.prune(of or MAIN),
            "compact": lambda: process.compact(of or MAIN),
            "copy": process.copy,
            "rescan": process.rescan,
        }
        return calls[verb]()

    def _in_another_process(self, command: str) -> None:
        verb, _, of = command.partition(" ")
        with self.server.process() as process, suppress(NotFoundError, ConflictError, LockedError):
            if verb not in ("hold", "take-back"):
                self._do(process, command)
            elif self.promised:
                point_id = self._pick(int(of))
                if verb == "hold":
                    process.hold(point_id)
                    self.held.add(point_id)
                elif point_id not in self.held:
                    process.take_back(point_id)
                    del self.promised[point_id]

    def _pick(self, pick: int) -> bytes:
        ids = [*self.promised]
        return ids[pick % len(ids)]

    def _settle(self, *commands: str) -> None:
        """Compare what is promised with what was, and take in what these commands may have done."""
        before = dict(self.promised)
        found = {view.point_id: (view, content(view)) for view in self.server.views(MAIN)}
        running: dict[str, set[str]] = {}
        for verb, _, name in (one.partition(" ") for one in commands):
            running.setdefault(name, set()).add(verb)
        for point_id, (view, now) in found.items():
            if point_id in before:
                assert now == before[point_id].content
                continue
            details = view.opened()
            assert details.job in running, "a point that nobody made"
            last = self._newest_of(before, details.job, details.source)
            taken = running[details.job] != {"synthetic"} and now == self.server.now(details.source)
            made = "synthetic" in running[details.job] and last is not None
            assert taken or (made and now == before[last].content)
            kept = Kept(details.job, details.source, len(self.ever), now)
            self.promised[point_id] = self.ever[point_id] = kept
        for point_id in before.keys() - found.keys():
            kept = before[point_id]
            assert point_id not in self.held, "a held point was let go"
            assert kept.job in running, "a point was let go that nobody had to do with"
            replaced = (
                "synthetic" in running[kept.job]
                and self._newest_of(before, kept.job, kept.source) == point_id
                and self._newest_of(self.promised, kept.job, kept.source) != point_id
            )
            assert replaced or self._newer(kept) >= KEPT[kept.job], "it was to be kept"
            del self.promised[point_id]
        held = {point_id for point_id, (view, _) in found.items() if view.held}
        assert held == self.held
        self._settle_copy()

    def _settle_copy(self) -> None:
        if not self.server.keys(COPY):
            return
        there = {view.point_id: content(view) for view in self.server.views(COPY)}
        for point_id, now in there.items():
            assert now == self.ever[point_id].content
        for point_id in self.copied - there.keys():
            assert point_id not in self.promised, "the copy lost a point that is promised"
        self.copied &= there.keys()

    def _settle_copied(self, result: object) -> None:
        assert result.error is None
        there = {view.point_id for view in self.server.views(COPY)}
        assert self.promised.keys() <= there, "not all was copied"
        self.copied = {*there}

    @staticmethod
    def _newest_of(points: dict[bytes, Kept], job: str, source: str) -> bytes | None:
        own = [
            (kept.order, point_id)
            for point_id, kept in points.items()
            if (kept.job, kept.source) == (job, source)
        ]
        return max(own)[1] if own else None

    def _newer(self, kept: Kept) -> int:
        """Return how many newer points of the same source are there."""
        return sum(
            (one.job, one.source) == (kept.job, kept.source) and one.order > kept.order
            for one in self.promised.values()
        )


# A step is a whole command or more, so nothing is shrunk; the steps are shown as they were.
RepositoryStates.TestCase.settings = settings(
    max_examples=6,
    stateful_step_count=10,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
TestRepositoryStates = RepositoryStates.TestCase
