"""What is told of recovery keys, kits, drills and requests."""

from __future__ import annotations

from datetime import datetime

from strongroom.control.views.base import View


class RecoveryKeyView(View, frozen=True, kw_only=True):
    """A recovery key's public side."""

    key_id: str
    signer: str
    """Fingerprint of this installation's identity, as the kit prints it."""
    created_at: datetime
    """When it was made here, or imported."""
    tested_at: datetime | None
    """When a drill was last held with its kit."""
    tested_ok: bool | None
    """Whether the kit opened everything then."""
    active: bool
    """Jobs are sealed for it from now on; of all keys one is, or none."""
    jobs: tuple[str, ...]
    """Jobs that are sealed for it; of a key that is not active, those that once were."""
    chains: int
    """Chains that have, or had, a chain key sealed for it."""
    points: int
    """Points of these chains: with the kit gone they depend on passwords alone."""


class RecoveryResult(View, frozen=True, kw_only=True):
    """What became of a recovery key, and of its kit where one was written or read."""

    key: RecoveryKeyView
    path: str | None
    """The kit's file, or the folder of its shares."""
    paths: tuple[str, ...] = ()
    """Every file that was written."""
    notices: tuple[str, ...] = ()


class ChainProof(View, frozen=True, kw_only=True):
    """What became of one chain in `recovery test`."""

    repository: str
    chain: str | None
    """None: the repository itself did not open."""
    point: str | None
    """The newest point, that was opened."""
    opened: bool
    problem: str | None = None
    blocks: int = 0
    """How many blocks, chosen at random, were read and opened."""


class RecoveryTestResult(View, frozen=True, kw_only=True):
    """Whether a recovery kit opens what it should."""

    ok: bool
    key_id: str
    chains: tuple[ChainProof, ...]


class RecoveryAsked(View, frozen=True, kw_only=True):
    """A recovery request that was made."""

    request_id: str
    """Its hash, which the response names."""
    point: str
    sessions: int
    """How many sessions' keys are asked for."""
    signer: str
    """Fingerprint of this installation, which signed it: the holder compares it."""
    text: str
    """The request itself; all of it is public."""


class RecoveryQuestion(View, frozen=True, kw_only=True):
    """What a recovery request asks, for the holder of the kit to judge."""

    request_id: str
    machine: str
    """Host name of who asks; only they say so."""
    signer: str
    """Fingerprint of who asks, and signed."""
    made_at: datetime
    repository_id: str
    chain: str
    point: str
    taken_at: datetime
    """When the point was taken; only who asks says so."""
    sessions: int
    """How many sessions' keys a response gives away."""
    key_id: str
    """Of the recovery key that would answer."""


class RecoveryAnswered(View, frozen=True, kw_only=True):
    """A recovery request that was answered."""

    question: RecoveryQuestion
    text: str
    """The response; it opens on the server that asked, and nowhere else."""


class RequestView(View, frozen=True, kw_only=True):
    """A recovery request that waits for its response."""

    request_id: str
    point: str
    repository: str | None
    """Where the point is to be looked for; None: in those of the catalog."""
    made_at: datetime


class OpenedPointView(View, frozen=True, kw_only=True):
    """A point that a recovery response opened on this server."""

    point: str
    sessions: int
    expires_at: datetime
    """It is closed from then on."""


class OpenRequests(View, frozen=True, kw_only=True):
    """What recovery by request has left on this server."""

    requests: tuple[RequestView, ...]
    points: tuple[OpenedPointView, ...]
