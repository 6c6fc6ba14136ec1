"""Which chain keys stay closed, whose secrets open them, and which points need them.

With all its links a chain needs its newest secret and no other. Where a link was never made or
is lost, an older secret is needed beside it: for the points of its time, and for newer ones as
far as they use what was stored then. No key is needed to tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.crypto.hpke import PublicKey
from strongroom.crypto.recipients import KMS_PREFIX, PASSWORD, RECOVERY

if TYPE_CHECKING:
    from collections.abc import Collection

    from strongroom.format.header import Envelope
    from strongroom.repository.chain import Chain, LivePoint


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRecipient:
    """Somebody who can open a chain key."""

    recipient_id: bytes
    kind: str
    hint: str
    """As whoever made it wrote it; empty if that cannot be shown."""

    def __str__(self) -> str:
        """Return whose secret it is, as people look for it: `password 01… (hint: blue)`."""
        key_id = self.recipient_id.hex()[:12]
        if self.kind == PASSWORD:
            return f"password {key_id}" + (f" (hint: {self.hint})" if self.hint else "")
        hint = f" ({self.hint})" if self.hint else ""
        if self.kind == RECOVERY:
            return f"recovery kit {key_id}{hint}"
        if self.kind.startswith(KMS_PREFIX):
            return f"KMS key {key_id}{hint}"
        return f"secret of an unknown kind {key_id}{hint}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NeededKey:
    """A chain key that stays closed, and the points that do not open whole without it."""

    chain_key_id: bytes
    """The newest one from which links lead to what the points need."""
    recipients: tuple[FoundRecipient, ...]
    """Any one of these opens it; nobody where its envelope is gone."""
    points: tuple[bytes, ...]
    """Ids, oldest first."""

    def __str__(self) -> str:
        return " or ".join(map(str, self.recipients)) or (
            f"chain key {self.chain_key_id.hex()[:12]}, of which no envelope is left"
        )


def recipients_in(envelope: Envelope) -> tuple[FoundRecipient, ...]:
    """Return whom an envelope is sealed for."""
    return tuple(
        FoundRecipient(
            recipient_id=stanza.recipient_id,
            kind=stanza.kind,
            # Anybody who can write to the storage could write to the terminal.
            hint=stanza.hint if stanza.hint.isprintable() else "",
        )
        for stanza in envelope.stanzas
    )


def points_needing(chain: Chain, chain_keys: Collection[bytes]) -> dict[bytes, list[bytes]]:
    """Return the live points that use a session sealed to one of these chain keys."""
    needing: dict[bytes, list[bytes]] = {one: [] for one in chain_keys}
    if not needing:
        return needing
    for live in chain.live_points():
        for one in _keys_of(chain, live):
            if one in needing:
                needing[one].append(live.point.point_id)
    return needing


def _keys_of(chain: Chain, live: LivePoint) -> set[bytes]:
    """Return the chain keys that a point's own session and those it builds on are sealed to."""
    sealed_to = {slot: record.chain_key_id for slot, record in chain.sessions(live.body).items()}
    slots = {live.body.slot, *(slot for slot, _ in chain.sets(live.body).items())}
    return {sealed_to[slot] for slot in slots if slot in sealed_to}


def needed_keys(chain: Chain, opened: Collection[bytes] = ()) -> tuple[NeededKey, ...]:
    """Return what has to be opened so that every live point of a sealed chain opens whole.

    Those that the oldest points need come first.

    Args:
        chain: The chain.
        opened: Ids of the chain keys that are open.

    Raises:
        IntegrityError: what says so is damaged.
    """
    names, links = chain.wrapped.names()
    live = chain.live_points()
    known = {PublicKey(one.body.chain_public).id for one in live}
    known.update(names.values(), *links)
    closed = known - set(opened)
    if not closed or not live:
        return ()
    envelopes = chain.wrapped.envelopes()
    newest = {one: _newest_above(chain, one, links, closed) for one in closed}
    if not opened and len(set(newest.values())) == 1:
        # As it is where no link lacks: there is nothing to tell apart.
        needing = {next(iter(closed)): [one.point.point_id for one in live]}
    else:
        needing = points_needing(chain, closed)
    points: dict[bytes, dict[bytes, None]] = {}
    for one, ids in needing.items():
        points.setdefault(newest[one], {}).update(dict.fromkeys(ids))
    order = [one.point.point_id for one in live]
    needed = (
        NeededKey(
            chain_key_id=one,
            recipients=recipients_in(envelopes[one]) if one in envelopes else (),
            points=tuple(point_id for point_id in order if point_id in ids),
        )
        for one, ids in points.items()
        if ids
    )
    return tuple(sorted(needed, key=lambda one: (order.index(one.points[0]), one.chain_key_id)))


def _newest_above(
    chain: Chain,
    chain_key_id: bytes,
    links: Collection[tuple[bytes, bytes]],
    closed: Collection[bytes],
) -> bytes:
    """Return the newest closed key from which links lead to one; be it itself.

    From one that is open none leads there, or this one would be open too: it is damaged.
    """
    reached = [chain_key_id]
    for one in reached:  # which grows meanwhile
        reached += [
            newer
            for newer, older in links
            if older == one and newer in closed and newer not in reached
        ]
    return chain.present_key_id if chain.present_key_id in reached else reached[-1]
