"""Restore points as whoever reads them finds them: opened as far as keys are at hand.

What is public of a point is in its entry; what it is called, when it was taken and where its
index begins opens with the metakey of its session. A point that does not open is listed
nevertheless: its `details` are None, and `problem` says whether that is for want of a key or
because it is damaged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

from strongroom.clock import from_microseconds
from strongroom.crypto.aead import NotSealedHereError, open_value
from strongroom.crypto.content import ContentHasher
from strongroom.errors import (
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    PointDamagedError,
    RefusedError,
    StrongroomError,
    UnlockError,
)
from strongroom.format.codec import decode
from strongroom.format.header import session_context
from strongroom.format.point import DETAILS_LABEL, PointDetails, check_root
from strongroom.repository.keyring import Keyring, dedup_key_of
from strongroom.repository.reader import BlockReader
from strongroom.storage.reading import batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from strongroom.format.journal import PublicPoint, SessionBody
    from strongroom.repository.chain import Chain, LivePoint

SHORTEST_PREFIX: Final = 4
_LATEST: Final = "@latest"
_AHEAD: Final = 32
"""Points whose sessions' records are read side by side."""


@dataclass(eq=False)
class PointView:
    """One live point, opened as far as possible."""

    chain: Chain
    live: LivePoint
    details: PointDetails | None
    """None while it is locked or damaged."""
    keyring: Keyring | None
    """None where nothing at hand opens the chain, and in plain chains."""
    problem: StrongroomError | None = None
    """Why there are no details."""
    _reader: BlockReader | None = field(default=None, repr=False)

    @property
    def point_id(self) -> bytes:
        return self.live.point.point_id

    @property
    def id(self) -> str:
        return self.live.point.point_id.hex()

    @property
    def encrypted(self) -> bool:
        return self.chain.sealed

    @property
    def held(self) -> bool:
        return self.live.held

    @property
    def kind(self) -> int:
        """A `PointKind`."""
        return self.live.point.kind

    @property
    def taken_at(self) -> datetime:
        """When it was taken; of a locked one, when it was published."""
        if self.details is not None:
            return from_microseconds(self.details.taken_at)
        return from_microseconds(self.live.entry.raw.made_at)

    def opened(self) -> PointDetails:
        """Return the details.

        Raises:
            UnlockError: no key at hand opens the point.
            IntegrityError: it is damaged.
        """
        if self.details is None:
            raise self.problem or UnlockError(f"nothing at hand opens point {self.id}")
        return self.details

    def reader(self) -> BlockReader:
        """Return what reads the point's blocks, the same one each time."""
        if self._reader is None:
            keyring = self.keyring or Keyring(self.chain.origin_id)
            sessions = self.chain.sessions(self.live.body)
            self._reader = BlockReader(self.chain, sessions, keyring)
        return self._reader

    def hasher(self) -> ContentHasher:
        """Return what names content in the point's chain.

        Raises:
            UnlockError: only the index can be opened with what is at hand.
        """
        record = self.chain.sessions(self.live.body).get(self.live.body.slot)
        if record is None:
            raise PointDamagedError(f"point {self.id} lacks the record of its own session")
        return ContentHasher(dedup_key_of(self.chain, record, self.keyring))


def open_points(
    chains: Iterable[Chain], keyring_for: Callable[[Chain], Keyring | None]
) -> list[PointView]:
    """Return every live point of these chains, oldest first; those that do not open included.

    Args:
        chains: Chains that are to be believed.
        keyring_for: Returns the keys at hand for a chain; plain chains need none.

    Raises:
        PointWithheldError: a chain lacks points that it promises.
    """
    views: list[PointView] = []
    for chain in chains:
        keyring = keyring_for(chain) if chain.sealed else None
        for some in batches(chain.live_points(), _AHEAD):
            if keyring is not None:
                chain.pages_ahead(live.body.sessions for live in some)
            views.extend(open_point(chain, live, keyring) for live in some)
    views.sort(key=lambda view: (view.taken_at, view.live.entry.number))
    return views


def open_point(chain: Chain, live: LivePoint, keyring: Keyring | None) -> PointView:
    """Return one live point, opened as far as a keyring opens it."""
    try:
        return PointView(chain, live, open_details(chain, keyring, live.body, live.point), keyring)
    except (UnlockError, RefusedError, IntegrityError) as error:
        return PointView(chain, live, None, keyring, problem=error)


def open_details(
    chain: Chain, keyring: Keyring | None, body: SessionBody, point: PublicPoint
) -> PointDetails:
    """Return what a point says under seal.

    Raises:
        UnlockError: no key at hand opens it.
        PointDamagedError: it was altered, or its session's record is missing.
    """
    encoded = point.details
    what = f"point {point.point_id.hex()}"
    if chain.sealed:
        if keyring is None:
            raise UnlockError(f"{what} is sealed, and nothing at hand opens chain {chain.name}")
        record = chain.sessions(body).get(body.slot)
        if record is None:
            raise PointDamagedError(f"{what} lacks the record of its own session")
        if record.session_id != body.session_id:
            raise PointDamagedError(f"{what} has the record of another session as its own")
        context = session_context(chain.origin_id, body.session_id) + point.point_id
        try:
            encoded = open_value(keyring.metakey(record), DETAILS_LABEL, context, encoded)
        except NotSealedHereError as error:
            raise PointDamagedError(
                f"{what} does not open with its session's key: altered, or a wrong key was kept",
                points=[point.point_id.hex()],
            ) from error
    details = decode(PointDetails, encoded, what)
    check_root(details.root)
    return details


# --- choosing ------------------------------------------------------------------------------


def select(points: Sequence[PointView], text: str) -> PointView:
    """Return the point that an operator's words mean.

    Args:
        points: Those there are.
        text: An id, a prefix of one that no other shares, `JOB@latest` or `JOB/SOURCE@latest`.

    Raises:
        NotFoundError: there is none.
        InvalidInputError: several fit, or the words can mean none.
        UnlockError: the newest point of the job is locked, so another is not the latest.
    """
    if text.endswith(_LATEST):
        return _latest(points, text.removesuffix(_LATEST))
    wanted = text.lower()
    if not wanted or wanted.strip("0123456789abcdef"):
        raise InvalidInputError(
            f"{text!r} names no point", hint="give an id, the beginning of one, or JOB@latest"
        )
    if len(wanted) < SHORTEST_PREFIX:
        raise InvalidInputError(
            f"{text!r} is too short: give at least {SHORTEST_PREFIX} digits of a point's id"
        )
    found = {view.point_id: view for view in points if view.id.startswith(wanted)}
    if not found:
        raise NotFoundError(f"there is no point {text}", hint="'strongroom point list' shows all")
    if len(found) > 1:
        ids = [view.id for view in found.values()]
        raise InvalidInputError(f"{text} fits {len(ids)} points: {', '.join(ids)}", points=ids)
    return next(iter(found.values()))


def _latest(points: Sequence[PointView], words: str) -> PointView:
    """Return the newest point of a job, or of one of its sources."""
    job, _, source = words.partition("/")
    found = [view for view in points if view.details is not None and view.details.job == job]
    if not found:
        _nothing(points, f"there is no point of job {job}")
    # Whose a locked point is, is sealed; the id of its job is not.
    job_ids = {view.chain.header.job_id for view in found}
    if source:
        found = [view for view in found if _is_source(view, source)]
        if not found:
            _nothing(points, f"job {job} has no point of a source {source}")
    sources = {view.live.point.source_id: view for view in found}
    if len(sources) > 1:
        words = ", ".join(sorted(_source(view) for view in sources.values()))
        raise InvalidInputError(
            f"job {job} has several sources: {words}",
            hint=f"say which one: '{job}/SOURCE@latest', or give a point's id",
        )
    newest = max(found, key=_age)
    for view in points:
        if (
            view.details is None
            and view.chain.header.job_id in job_ids
            and view.live.point.source_id in sources
            and _age(view) > _age(newest)
        ):
            raise view.problem or UnlockError(f"point {view.id}, newer than all others, is locked")
    return newest


def _nothing(points: Sequence[PointView], words: str) -> NoReturn:
    locked = sum(view.details is None for view in points)
    also = f"; {locked} points are locked and may be its" if locked else ""
    raise NotFoundError(words + also, hint="'strongroom point list' shows all")


def _age(view: PointView) -> tuple[int, int, datetime]:
    """Return what orders the points of one job, over all its chains."""
    return view.live.body.counter, view.live.entry.number, view.taken_at


def _is_source(view: PointView, words: str) -> bool:
    """Tell whether a point's source is meant: with or without its kind, or the leading slash."""
    source = _source(view)
    value = source.partition(":")[2]
    return words in (source, value, value.lstrip("/"))


def _source(view: PointView) -> str:
    return view.details.source if view.details is not None else ""
