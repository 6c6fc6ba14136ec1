"""What is in a repository, learnt from it alone: no key, no catalog.

Everything public and signed is told, and who signed it; whether to believe the signer is the
caller's to say. A chain that does not check is listed with what is wrong with it, so that one
bad chain hides no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.errors import IntegrityError, NotFoundError, UnsupportedVersionError
from strongroom.format.journal import SessionBody
from strongroom.repository.moments import claimed_moment

if TYPE_CHECKING:
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
class FoundRecipient:
    """Somebody who can open a chain key."""

    recipient_id: bytes
    kind: str
    hint: str
    """As whoever made it wrote it; empty if that cannot be shown."""


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
    present: tuple[FoundRecipient, ...] = ()
    older: tuple[FoundRecipient, ...] = ()
    newest: SessionBody | None = None
    head: Head | None = None
    problem: StrongroomError | None = None
    try:
        signers = tuple(dict.fromkeys(one.fingerprint for one in chain.signers))
        head = chain.head()
        entry = chain.newest_session
        if entry is not None and isinstance(entry.body, SessionBody):
            newest = entry.body
        points = tuple(_found(live) for live in chain.live_points())
    except (IntegrityError, UnsupportedVersionError) as error:
        problem = error
    try:
        if chain.sealed:
            present, older = _recipients(chain)
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
        recipients=present,
        older_recipients=older,
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


def _recipients(
    chain: Chain,
) -> tuple[tuple[FoundRecipient, ...], tuple[FoundRecipient, ...]]:
    """Return who opens the present chain key, and who opens only older ones."""
    current = chain.present_key_id
    present: dict[bytes, FoundRecipient] = {}
    older: dict[bytes, FoundRecipient] = {}
    for chain_key_id, envelope in chain.envelopes().items():
        group = present if chain_key_id == current else older
        for stanza in envelope.stanzas:
            group[stanza.recipient_id] = FoundRecipient(
                recipient_id=stanza.recipient_id,
                kind=stanza.kind,
                # Anybody who can write to the storage could write to the terminal.
                hint=stanza.hint if stanza.hint.isprintable() else "",
            )
    return (
        tuple(present.values()),
        tuple(one for recipient_id, one in older.items() if recipient_id not in present),
    )
