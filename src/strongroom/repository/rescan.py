"""What is in a repository, learnt from it alone: no key, no catalog.

Everything public and signed is told, and who signed it; whether to believe the signer is the
caller's to say. A chain that does not check is listed with what is wrong with it, so that one
bad chain hides no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.crypto.hpke import PublicKey
from strongroom.errors import IntegrityError, NotFoundError, UnsupportedVersionError
from strongroom.format.journal import SessionBody
from strongroom.repository.moments import claimed_moment
from strongroom.repository.needs import FoundRecipient, recipients_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from strongroom.errors import StrongroomError
    from strongroom.repository.chain import Chain, Head, LivePoint
    from strongroom.repository.repository import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPoint:
    """What anybody may know of a restore point."""

    point_id: bytes
    source_id: bytes
    session_id: bytes
    entry: int
    kind: int
    """A `PointKind`."""
    published_at: datetime
    held: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundChain:
    """One chain, as its signed history shows it."""

    chain_id: bytes
    job_id: bytes
    sealed: bool
    started_at: datetime
    signers: tuple[str, ...]
    """Fingerprints: of the header's identity, then of those introduced since."""
    points: tuple[FoundPoint, ...]
    """Promised ones, oldest first."""
    recipients: tuple[FoundRecipient, ...]
    """Of the chain key that the newest session sealed to."""
    older_recipients: tuple[FoundRecipient, ...]
    """Of the chain keys before it, as far as they are not among those."""
    recipients_of: Mapping[bytes, tuple[FoundRecipient, ...]]
    """Of each chain key in use, by its id; none where its envelope is gone."""
    present_key_id: bytes
    """The chain key that the newest session sealed to; empty in a plain chain."""
    unlinked: tuple[bytes, ...]
    """Chain keys that points need and no link leads to from the present one."""
    counter: int
    """Sessions of the job up to the newest one here, over all its chains."""
    next_due: datetime | None
    """When the next point was due; later than that, newer ones may be withheld."""
    head: Head | None
    """The newest signed entry: what to remember, and to compare with what was remembered."""
    problem: StrongroomError | None
    """Why the rest of this is incomplete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundNothing:
    """A chain of which not even the header can be read."""

    chain_id: bytes
    problem: StrongroomError


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescan:
    """What is in a repository."""

    repository_id: bytes
    chains: tuple[FoundChain, ...]
    """Oldest first."""
    unreadable: tuple[FoundNothing, ...]


def rescan(repository: Repository) -> Rescan:
    """Return what is in the repository.

    Raises:
        StorageUnavailableError: the storage did not answer.
    """
    chains: list[FoundChain] = []
    unreadable: list[FoundNothing] = []
    for chain_id in repository.chain_ids():
        try:
            chains.append(look_through(repository.chain(chain_id)))
        except NotFoundError:
            continue  # removed since it was listed
        except (IntegrityError, UnsupportedVersionError) as error:
            unreadable.append(FoundNothing(chain_id=chain_id, problem=error))
    chains.sort(key=lambda found: found.started_at)
    return Rescan(
        repository_id=repository.repository_id, chains=tuple(chains), unreadable=tuple(unreadable)
    )


def look_through(chain: Chain) -> FoundChain:
    """Return what a chain tells of itself; damage behind its header is told, not raised.

    Raises:
        StorageUnavailableError: the storage did not answer.
    """
    points: tuple[FoundPoint, ...] = ()
    signers: tuple[str, ...] = (chain.founder.fingerprint,)
    keys = _Keys()
    newest: SessionBody | None = None
    head: Head | None = None
    problem: StrongroomError | None = None
    try:
        signers = tuple(dict.fromkeys(one.fingerprint for one in chain.signers))
        head = chain.head()
        entry = chain.newest_session
        if entry is not None and isinstance(entry.body, SessionBody):
            newest = entry.body
        live = chain.live_points()
        points = tuple(map(_found, live))
        if chain.sealed:
            keys.look_at(chain, live)
    except (IntegrityError, UnsupportedVersionError) as error:
        problem = error
    try:
        if chain.sealed:
            keys.look_at_envelopes(chain)
    except (IntegrityError, UnsupportedVersionError) as error:
        problem = problem or error
    due = newest.next_due if newest else 0
    return FoundChain(
        chain_id=chain.chain_id,
        job_id=chain.header.job_id,
        sealed=chain.sealed,
        started_at=claimed_moment(chain.header.created_at),
        signers=signers,
        points=points,
        recipients=keys.present,
        older_recipients=keys.older,
        recipients_of=keys.recipients_of,
        present_key_id=keys.present_id,
        unlinked=keys.unlinked,
        counter=newest.counter if newest else 0,
        next_due=claimed_moment(due) if due else None,
        head=head,
        problem=problem,
    )


def _found(live: LivePoint) -> FoundPoint:
    return FoundPoint(
        point_id=live.point.point_id,
        source_id=live.point.source_id,
        session_id=live.body.session_id,
        entry=live.entry.number,
        kind=live.point.kind,
        published_at=claimed_moment(live.entry.raw.made_at),
        held=live.held,
    )


class _Keys:
    """What anybody may know of a chain's keys."""

    def __init__(self) -> None:
        self.present_id = b""
        self.unlinked: tuple[bytes, ...] = ()
        self.present: tuple[FoundRecipient, ...] = ()
        self.older: tuple[FoundRecipient, ...] = ()
        self.recipients_of: dict[bytes, tuple[FoundRecipient, ...]] = {}

    def look_at(self, chain: Chain, live: Sequence[LivePoint]) -> None:
        """Learn which keys the points need, and which of them the present one leads to."""
        self.present_id = chain.present_key_id
        needed = {PublicKey(one.body.chain_public).id: None for one in live}
        newest = chain.newest_session
        if newest is not None and isinstance(newest.body, SessionBody):
            records = chain.sessions(newest.body).items()
            needed |= dict.fromkeys(record.chain_key_id for _, record in records)
        by_newer: dict[bytes, list[bytes]] = {}
        for newer, older in chain.wrapped.links():
            by_newer.setdefault(newer, []).append(older)
        reached = [self.present_id]
        for key_id in reached:  # which grows meanwhile
            reached += [one for one in by_newer.get(key_id, []) if one not in reached]
        self.unlinked = tuple(key_id for key_id in needed if key_id not in reached)
        self.recipients_of = dict.fromkeys(needed, ())

    def look_at_envelopes(self, chain: Chain) -> None:
        """Learn who opens the present chain key, and who opens only older ones."""
        current = chain.present_key_id
        present: dict[bytes, FoundRecipient] = {}
        older: dict[bytes, FoundRecipient] = {}
        for chain_key_id, envelope in chain.wrapped.envelopes().items():
            group = present if chain_key_id == current else older
            found = recipients_in(envelope)
            group.update((one.recipient_id, one) for one in found)
            self.recipients_of[chain_key_id] = found
        self.present = tuple(present.values())
        self.older = tuple(one for one in older.values() if one.recipient_id not in present)
