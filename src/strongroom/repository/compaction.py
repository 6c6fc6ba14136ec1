"""Dead blocks in packs that live: what is left is written anew, and what it was in removed.

No key is needed, for sealed blocks move as they are, and no entry is written, for nothing signed
says where a block lies (docs/format.md, "Thinned packs"). So it goes on beside running sessions:
whatever a session may still refer to is used by the state that it builds on.

A block is dead when *no session entry that is there* uses it, be its points given up or not. What
was given up waits for prune, which first condemns; readers of such points lose nothing here.

The order is what a crash cannot hurt: the new form is stored whole, and read back, before the
old one goes. Of two forms of one pack either is right.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from strongroom.crypto import random
from strongroom.errors import (
    IntegrityError,
    LockedError,
    MalformedError,
    ObjectExistsError,
    ObjectMissingError,
    RefusedError,
)
from strongroom.format import thinned
from strongroom.format.journal import SessionBody
from strongroom.format.pack import FOOTER_LENGTH
from strongroom.model.phrases import counted
from strongroom.repository import copy_marks, layout, locks
from strongroom.repository.packs import Expected, check_pack
from strongroom.repository.progress import Silent
from strongroom.repository.reach import Reach, used_packs
from strongroom.repository.stored_packs import Form, forms_of_all, next_generation, read_form
from strongroom.storage.base import Composed, LockingStorage, ObjectRange

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from strongroom.clock import Clock
    from strongroom.repository.chain import Chain
    from strongroom.repository.progress import Cancellation, Progress
    from strongroom.repository.reach import UsedPack
    from strongroom.repository.stored_packs import StoredPack
    from strongroom.storage.base import Part, Storage

DEAD_SHARE: Final = 1 / 3
"""A pack is rewritten when this much of it is dead: at most two bytes move for each that is won."""
SPARED_SHARE: Final = 1 / 20
"""So much of a chain may be dead, in packs that are less dead; beyond it the deadest go as well."""
_LEAST: Final = 64 << 10
"""Less than this is not worth an object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinning:
    """One pack that is worth rewriting."""

    object: str
    """The form that there is of it."""
    stored_bytes: int
    live_bytes: int
    """Bytes of blocks that stay."""
    dead_bytes: int
    """What is won, about."""


@dataclass(frozen=True, kw_only=True)
class CompactionPlan:
    """What compaction of one chain would do."""

    chain: str
    job: str
    stored_bytes: int
    """Of all packs."""
    live_bytes: int
    dead_bytes: int
    """Of blocks that no entry uses, in packs that are to be rewritten and in those that are not."""
    packs: tuple[Thinning, ...]
    leftovers: tuple[str, ...]
    """Forms of packs that another one took the place of, before a crash."""

    @property
    def moved_bytes(self) -> int:
        """What is copied, or cloned."""
        return sum(one.live_bytes for one in self.packs)

    @property
    def freed_bytes(self) -> int:
        """What is won, about; leftovers come on top."""
        return sum(one.dead_bytes for one in self.packs)

    def text(self) -> str:
        """Return the plan for people."""
        name = f"chain {self.chain[:12]}"
        dead = f"{self.dead_bytes:,} of {self.stored_bytes:,} bytes in packs are dead"
        if not self.packs and not self.leftovers:
            return f"{name}: {dead}, nothing to compact"
        lines = [f"{name}: {dead}"]
        if self.packs:
            lines.append(
                f"  {counted(len(self.packs), 'pack is', 'packs are')} rewritten: "
                f"{self.moved_bytes:,} bytes move, {self.freed_bytes:,} are freed"
            )
        if self.leftovers:
            lines.append(f"  {counted(len(self.leftovers), 'object')} of an earlier run go")
        return "\n".join(lines)


@dataclass(slots=True, kw_only=True)
class CompactionResult:
    """What compaction of one chain did."""

    chain: str
    packs: int = 0
    """Rewritten."""
    freed_bytes: int = 0
    cloned_bytes: int = 0
    """Moved without copying, where the file system can share them."""
    copied_bytes: int = 0
    locked: int = 0
    """Packs that a vault keeps as they are for now."""
    problems: list[str] = field(default_factory=list)
    """Packs that were left as they are, and why."""
    left: str | None = None
    """Why nothing was done: who else takes care of the chain."""


@dataclass(slots=True)
class _Pack:
    """A pack that entries use."""

    used: UsedPack
    forms: list[Form]

    @property
    def bits(self) -> int:
        return self.used.used

    @property
    def expected(self) -> Expected:
        return Expected(self.used.session_id, self.used.encoded, self.used.directory)

    @property
    def live_bytes(self) -> int:
        return self.used.used_bytes


def plan_compaction(chain: Chain, dead_share: float | None = None) -> CompactionPlan:
    """Decide which packs to rewrite; changes nothing.

    The caller has checked that it believes the chain's signer, and that the chain is not older
    than what it knows of it.

    Args:
        chain: The chain.
        dead_share: How much of a pack has to be dead, from 0 to 1. By default `DEAD_SHARE`, and
            of the others the deadest, until no more than `SPARED_SHARE` of the chain is dead.

    Raises:
        IntegrityError: the chain is damaged or withheld in part; nothing may go from it.
    """
    chain.refresh()
    least = SPARED_SHARE if dead_share is None else dead_share
    worth_it: list[Thinning] = []
    leftovers: list[str] = []
    stored = live = dead = 0
    for pack in _packs(chain):
        current, *others = pack.forms
        alive = pack.live_bytes
        dying = _dead_bytes(chain, pack, least)
        stored += sum(form.size for form in pack.forms)
        live += alive
        dead += dying
        leftovers.extend(form.key for form in others)
        if _is_worth_it(dying, current.size, least):
            worth_it.append(
                Thinning(
                    object=current.key,
                    stored_bytes=current.size,
                    live_bytes=alive,
                    dead_bytes=dying,
                )
            )
    chosen = worth_it if dead_share is not None else _deadest(worth_it, stored, dead)
    return CompactionPlan(
        chain=chain.chain_id.hex(),
        job=chain.header.job_id.hex(),
        stored_bytes=stored,
        live_bytes=live,
        dead_bytes=dead,
        packs=tuple(sorted(chosen, key=lambda one: -one.dead_bytes)),
        leftovers=tuple(leftovers),
    )


def _deadest(packs: Iterable[Thinning], stored: int, dead: int) -> Iterator[Thinning]:
    """Yield packs that are mostly dead, and others as long as too much of the chain is."""
    for one in sorted(packs, key=lambda one: one.dead_bytes / one.stored_bytes, reverse=True):
        if one.dead_bytes < DEAD_SHARE * one.stored_bytes and dead <= SPARED_SHARE * stored:
            return
        stored -= one.dead_bytes
        dead -= one.dead_bytes
        yield one


def _dead_bytes(chain: Chain, pack: _Pack, dead_share: float) -> int:
    """Return how much of a pack's form is blocks that no entry uses."""
    current, directory = pack.forms[0], pack.expected.directory
    if not current.generation:
        return sum(directory.lengths) - pack.live_bytes
    # What else a thinned pack holds, only its trailer says; it is read where that may decide.
    most = current.size - pack.live_bytes - min(directory.offsets) - FOOTER_LENGTH
    if not _is_worth_it(most, current.size, dead_share):
        return 0
    try:
        stored = read_form(chain.storage, current, chain.origin_id)
    except (IntegrityError, ObjectMissingError):
        return 0  # scrub's business
    return sum(
        length
        for place, length in zip(directory.places, directory.lengths, strict=True)
        if place in stored.offsets and not pack.bits >> place & 1
    )


def _is_worth_it(dead_bytes: int, size: int, dead_share: float) -> bool:
    return dead_bytes >= max(_LEAST, dead_share * size)


def compact(
    chain: Chain,
    plan: CompactionPlan,
    clock: Clock,
    progress: Progress,
    cancel: Cancellation,
) -> CompactionResult:
    """Rewrite the packs of a plan, the deadest first. Safe to repeat after a crash at any instant.

    What is to stay is decided anew, by what the chain is now.

    Raises:
        IntegrityError: the chain is damaged or withheld in part.
        StorageUnavailableError: the storage did not answer; compact again.
        CancelledError: on request; what was done is done.
    """
    result = CompactionResult(chain=plan.chain)
    storage = chain.storage
    try:
        lock = locks.acquire(
            storage,
            layout.care_lock(chain.chain_id),
            random.token(16).hex(),
            clock,
            command="repository compact",
        )
    except LockedError as error:
        result.left = str(error)
        return result
    with lock:
        chain.refresh()
        result.left = copy_marks.why_unfinished(storage, chain.chain_id)
        if result.left is not None:
            return result
        wanted = {one.object for one in plan.packs}
        packs = sorted(_packs(chain), key=lambda pack: pack.live_bytes - pack.forms[0].size)
        progress.begin("compacting", plan.moved_bytes)
        for pack in packs:
            cancel.check()
            lock.refresh()
            if pack.forms[0].key in wanted:
                _thin(chain, pack, result, progress, cancel)
            elif len(pack.forms) > 1:
                _remove_leftovers(chain, pack, result, cancel)
        progress.finish()
    return result


def _packs(chain: Chain) -> Iterable[_Pack]:
    """Yield every stored pack that an entry uses, with all that any of them uses of it.

    Raises:
        IntegrityError: something of it is not what was signed.
    """
    entries = map(chain.entry, chain.listing)
    sessions = [entry for entry in entries if isinstance(entry.body, SessionBody)]
    listed = chain.storage.list(layout.packs(chain.chain_id))
    stored = forms_of_all((info.key, info.size) for info in listed)
    for used in used_packs(Reach(chain), chain, sessions):
        forms = stored.get(used.directory.pack_id)
        if forms:
            yield _Pack(used, forms)


def _thin(
    chain: Chain,
    pack: _Pack,
    result: CompactionResult,
    progress: Progress,
    cancel: Cancellation,
) -> None:
    """Write what is left of a pack, read it back, and remove what it was made from."""
    storage, current = chain.storage, pack.forms[0]
    locked = storage.locked_until(current.key) if isinstance(storage, LockingStorage) else None
    if locked is not None:
        # Both forms would stay: what is locked goes when its lock ends, if it still lives then.
        result.locked += 1
        return
    try:
        before = read_form(storage, current, chain.origin_id)
        _check_source(before, pack)
        generation = next_generation(pack.forms)
        key = layout.thinned(chain.chain_id, before.directory.pack_id, generation)
        parts = thinned_parts(before, pack.bits)
        done = storage.compose(key, parts)
    except ObjectExistsError:
        return  # somebody else is at it
    except (IntegrityError, ObjectMissingError) as error:
        result.problems.append(f"{current.key} is left as it is: {error}")
        return
    form = Form(key, done.size, generation)
    problems = _problems(chain, form, pack, done, cancel)
    if problems:
        storage.delete(key)
        result.problems.append(f"{current.key} is left as it is: {'; '.join(problems)}")
        return
    result.packs += 1
    result.freed_bytes += _remove(storage, pack.forms, result) - form.size
    result.cloned_bytes += done.cloned_bytes
    result.copied_bytes += done.copied_bytes + done.copied_there_bytes
    progress.advance(done.taken_bytes)


def _check_source(before: StoredPack, pack: _Pack) -> None:
    if before.encoded != pack.expected.encoded:
        raise MalformedError("its directory is not the one that was signed")
    lacking = [
        place
        for place in before.directory.places
        if pack.bits >> place & 1 and place not in before.offsets
    ]
    if lacking:
        raise MalformedError(f"it lacks {counted(len(lacking), 'block')} that entries use")


def _problems(
    chain: Chain, form: Form, pack: _Pack, done: Composed, cancel: Cancellation
) -> tuple[str, ...]:
    """Return what is wrong with a form just written.

    What was copied is read back for it; what was cloned is what it was. Where there were several
    forms, another one may be the better.
    """
    if done.copied_bytes or done.copied_there_bytes or len(pack.forms) > 1:
        state = check_pack(chain.storage, form, chain.origin_id, pack.expected, Silent(), cancel)
        return state.problems
    try:
        read_form(chain.storage, form, chain.origin_id)
    except IntegrityError as error:
        return (str(error),)
    return ()


def thinned_parts(before: StoredPack, bits: int) -> list[Part]:
    """Return what a thinned pack is composed of.

    Args:
        before: The form that it is made from.
        bits: Places of the blocks that stay.
    """
    directory = before.directory
    keep = {place for place in before.offsets if bits >> place & 1}
    header = thinned.header_of(before.header_bytes)
    places, offsets, order, _ = thinned.arrange(directory, keep, len(header))
    parts: list[Part] = [header]
    begin = end = 0
    for index in order:
        offset = before.offsets[directory.places[index]]
        if offset != end:
            if end > begin:
                parts.append(ObjectRange(before.key, begin, end - begin))
            begin = offset
        end = offset + directory.lengths[index]
    parts.append(ObjectRange(before.key, begin, end - begin))
    trailer = thinned.ThinnedTrailer(before.encoded, before.contents, places, offsets)
    parts.append(thinned.finish(header, trailer))
    return parts


def _remove_leftovers(
    chain: Chain, pack: _Pack, result: CompactionResult, cancel: Cancellation
) -> None:
    """Remove forms that a crash left beside the one that counts, if that one is as it should be."""
    current, *others = pack.forms
    try:
        _check_source(read_form(chain.storage, current, chain.origin_id), pack)
        problems = check_pack(
            chain.storage, current, chain.origin_id, pack.expected, Silent(), cancel
        ).problems
    except (IntegrityError, ObjectMissingError) as error:
        problems = (str(error),)
    if problems:
        result.problems.append(f"{current.key} has forms beside it: {'; '.join(problems)}")
        return
    result.freed_bytes += _remove(chain.storage, others, result)


def _remove(storage: Storage, forms: Iterable[Form], result: CompactionResult) -> int:
    """Remove forms that another one stands in for; return how many bytes went."""
    freed = 0
    for form in forms:
        try:
            storage.delete(form.key)
        except RefusedError as error:
            result.problems.append(f"{form.key} stays: {error}")
        else:
            freed += form.size
    return freed
