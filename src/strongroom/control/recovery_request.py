"""The server's side of a recovery request: ask for one point, take the response, forget it.

The private half of a recovery key never comes here. What comes is the keys of the sessions
that one point uses, sealed to a key pair made for this one request, whose private half lies in
the keystore: a response does nothing on another machine, nothing twice, and nothing for another
request.
"""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from strongroom.clock import to_microseconds
from strongroom.control import audit, keys, opened_points
from strongroom.control.access import Access, open_reading
from strongroom.control.views.recovery import (
    OpenedPointView,
    OpenRequests,
    RecoveryAsked,
    RequestView,
)
from strongroom.crypto import hpke, random
from strongroom.crypto.recipients import RECOVERY
from strongroom.errors import (
    IntegrityError,
    InvalidInputError,
    NoRecipientMatchedError,
    NotFoundError,
    UnsupportedVersionError,
    UnvouchedError,
)
from strongroom.format.codec import MAX_SMALL
from strongroom.format.exchange import (
    MAX_SESSIONS,
    RecoveryRequest,
    SealedSession,
    open_response,
    read_response,
    request_text,
)
from strongroom.format.header import read_link
from strongroom.format.versions import FORMAT
from strongroom.keystore import OpenedPointRecord, RequestRecord
from strongroom.repository import layout
from strongroom.repository.framed import get_framed
from strongroom.storage.location import is_location, normalise

if TYPE_CHECKING:
    from strongroom.control.context import Context
    from strongroom.engine.points import PointView
    from strongroom.format.header import Envelope, Link
    from strongroom.repository.chain import Chain

KEEP: Final = timedelta(hours=24)
"""How long a point stays open, unless somebody says otherwise."""
LONGEST: Final = timedelta(days=7)
"""A point that is open for longer is a secret stored on the server."""

_MOST_LABEL: Final = 255


def request(
    ctx: Context, which: str, *, where: str | None = None, signers: tuple[str, ...] = ()
) -> RecoveryAsked:
    """Ask for the session keys of a point, and remember that it was asked.

    Args:
        ctx: Surroundings.
        which: A point's id, the beginning of one, or JOB@latest.
        where: The repository; those of the catalog by default.
        signers: Fingerprints of signers to believe, and nobody else.

    Raises:
        NotFoundError: there is no such point.
        InvalidInputError: it is not encrypted, or uses too many sessions.
        NoRecipientMatchedError: it is not sealed for any recovery key.
        UnvouchedError: the chain's signer is not believed here.
    """
    view = _view(ctx, which, where, signers)
    sessions = _sessions(view)
    envelopes, links = _way(view.chain, {session.chain_key_id for session in sessions})
    if not envelopes:
        raise NoRecipientMatchedError(
            f"point {view.id} is not sealed for a recovery key, so no kit opens it"
        )
    seed = random.seed()
    made_at = ctx.clock.now()
    asked = RecoveryRequest(
        format_version=FORMAT,
        repository_id=_repository_id(view.chain),
        chain_id=view.chain.chain_id,
        origin_id=view.chain.origin_id,
        point_id=view.point_id,
        taken_at=to_microseconds(view.taken_at),
        made_at=to_microseconds(made_at),
        machine=socket.gethostname()[:_MOST_LABEL],
        identity=ctx.identity.public.raw,
        public=hpke.PrivateKey.from_seed(seed).public.raw,
        envelopes=envelopes,
        links=links,
        sessions=sessions,
    )
    text, request_hash = request_text(asked, ctx.identity)
    ctx.keystore.put(
        request_hash.hex(),
        RequestRecord(
            chain_id=view.chain.chain_id,
            point_id=view.point_id,
            where=normalise(where) if where is not None and is_location(where) else where,
            seed=seed,
            made_at=made_at,
        ),
    )
    audit.record(ctx, "recovery.requested", point=view.id, sessions=len(sessions))
    return RecoveryAsked(
        request_id=request_hash.hex(),
        point=view.id,
        sessions=len(sessions),
        signer=ctx.identity.public.fingerprint,
        text=text,
    )


def accept(
    ctx: Context, text: str, *, keep: timedelta = KEEP, signers: tuple[str, ...] = ()
) -> OpenedPointView:
    """Open a point with the response to a request that was made here.

    Args:
        ctx: Surroundings.
        text: Holds the response.
        keep: How long the point stays open.
        signers: Fingerprints of signers to believe, and nobody else.

    Raises:
        InvalidInputError: the text holds no response, or `keep` is too long.
        NotFoundError: no such request waits here, or the point is gone.
        ForgedError: the response was altered on its way.
        PointDamagedError: its keys are not those that the point commits to.
        UnvouchedError: the chain's signer is not believed here.
    """
    if not timedelta() < keep <= LONGEST:
        raise InvalidInputError(f"a point stays open for at most {LONGEST.days} days")
    response = read_response(text)
    name = response.request_hash.hex()
    try:
        record = ctx.keystore.get(RequestRecord, name)
    except NotFoundError as error:
        raise NotFoundError(
            "no request waits here for this response",
            hint="it was used already, or the request was forgotten, or made on another server: "
            "'strongroom recovery requests' lists those that wait",
        ) from error
    private = hpke.PrivateKey.from_seed(record.seed)
    sessions = open_response(response, private)
    view = _view(ctx, record.point_id.hex(), record.where, signers)
    opened_points.keyring_of(view.chain, view.live, sessions)
    if len(sessions) != len(_sessions(view)):
        raise InvalidInputError("the recovery response holds keys that nobody asked for")
    opened = OpenedPointRecord(
        chain_id=record.chain_id,
        point_id=record.point_id,
        expires_at=ctx.clock.now() + keep,
        sessions=sessions,
    )
    ctx.keystore.put(record.point_id.hex(), opened)
    ctx.keystore.delete(RequestRecord, name)
    audit.record(ctx, "recovery.accepted", point=record.point_id.hex(), sessions=len(sessions))
    return _opened_view(opened)


def waiting(ctx: Context) -> OpenRequests:
    """Return requests that wait for a response, and points that responses have opened."""
    requests = []
    for name in ctx.keystore.names(RequestRecord):
        record = ctx.keystore.get(RequestRecord, name)
        requests.append(
            RequestView(
                request_id=name,
                point=record.point_id.hex(),
                repository=record.where,
                made_at=record.made_at,
            )
        )
    requests.sort(key=lambda one: (one.made_at, one.request_id))
    return OpenRequests(
        requests=tuple(requests),
        points=tuple(_opened_view(record) for record in opened_points.records(ctx)),
    )


def forget(ctx: Context, which: str) -> OpenRequests:
    """Close a point that a response opened, and drop requests for it; return what that was.

    Raises:
        NotFoundError: neither is here.
        InvalidInputError: `which` is no id of a point, nor its beginning, or several begin so.
    """
    if not which or which.lower().strip("0123456789abcdef"):
        raise InvalidInputError(f"{which!r} names no point: give its id, or the beginning of it")
    there = waiting(ctx)
    found = OpenRequests(
        requests=tuple(one for one in there.requests if one.point.startswith(which.lower())),
        points=tuple(one for one in there.points if one.point.startswith(which.lower())),
    )
    named = {one.point for one in found.requests} | {one.point for one in found.points}
    if not named:
        raise NotFoundError(f"no point {which} is open here, and none was asked for")
    if len(named) > 1:
        raise InvalidInputError(f"{which} fits {len(named)} points: {', '.join(sorted(named))}")
    for asked in found.requests:
        ctx.keystore.delete(RequestRecord, asked.request_id)
    for opened in found.points:
        ctx.keystore.delete(OpenedPointRecord, opened.point)
    audit.record(ctx, "recovery.forgotten", point=next(iter(named)))
    return found


def _view(ctx: Context, which: str, where: str | None, signers: tuple[str, ...]) -> PointView:
    """Return a sealed point of a chain whose signer is believed, be it locked."""
    reading = open_reading(ctx, Access(where=where, signers=signers, ask=False), unseen=True)
    for warning in reading.warnings:
        ctx.report(warning)
    try:
        view = reading.find(which)
    except NotFoundError:
        reading.check()
        raise
    if not view.encrypted:
        raise InvalidInputError(f"point {view.id} is not encrypted: nothing has to be recovered")
    identity = view.chain.identity
    if not keys.readers_trust(ctx, signers).knows(identity):
        # No secret is at hand here that could vouch, and the holder's would come too late.
        raise UnvouchedError(
            f"chain {view.chain.name} is signed by {identity.fingerprint}, which is not known here",
            fingerprint=identity.fingerprint,
        )
    return view


def _sessions(view: PointView) -> list[SealedSession]:
    """Return the sessions that the state of the point's entry uses."""
    table = view.chain.sessions(view.live.body)
    records = [record for _, record in table.items()]
    if len(records) > MAX_SESSIONS:
        raise InvalidInputError(
            f"point {view.id} uses {len(records)} sessions, more than the {MAX_SESSIONS} that a "
            "request can hold",
            hint="name the recovery kit itself with --recovery-key",
        )
    return [
        SealedSession(record.session_id, record.chain_key_id, record.sealed_keys, record.commitment)
        for record in records
    ]


def _way(chain: Chain, wanted: set[bytes]) -> tuple[list[Envelope], list[Link]]:
    """Return the envelopes and links by which recovery keys lead to these chain keys.

    Stanzas of passwords stay behind: whoever reads a request shall not guess at them.
    """
    reached, pending = set(wanted), list(wanted)
    by_older: dict[bytes, list[Link]] = {}
    for link in _links(chain):
        by_older.setdefault(link.older_id, []).append(link)
    links = []
    while pending:
        for link in by_older.get(pending.pop(), []):
            links.append(link)
            if link.newer_id not in reached:
                reached.add(link.newer_id)
                pending.append(link.newer_id)
    envelopes = []
    for chain_key_id, envelope in chain.wrapped.envelopes().items():
        stanzas = [stanza for stanza in envelope.stanzas if stanza.kind == RECOVERY]
        if chain_key_id in reached and stanzas:
            envelopes.append(msgspec.structs.replace(envelope, stanzas=stanzas))
    return envelopes, links


def _links(chain: Chain) -> list[Link]:
    found = []
    for ends in chain.wrapped.links():
        key = layout.link(chain.chain_id, *ends)
        try:
            link = read_link(get_framed(chain.storage, key, MAX_SMALL), key)
        except (IntegrityError, UnsupportedVersionError):
            continue  # It closes what is behind it and no more.
        if (link.newer_id, link.older_id) == ends:
            found.append(link)
    return found


def _repository_id(chain: Chain) -> bytes:
    from strongroom.repository.repository import Repository

    return Repository.open(chain.storage).repository_id


def _opened_view(record: OpenedPointRecord) -> OpenedPointView:
    return OpenedPointView(
        point=record.point_id.hex(),
        sessions=len(record.sessions),
        expires_at=record.expires_at,
    )
