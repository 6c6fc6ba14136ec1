"""What is told of jobs that are sealed anew, for whom and with what."""

from __future__ import annotations

from strongroom.control.views.base import View


class RewrappedKey(View, frozen=True, kw_only=True):
    """One chain key of a job, and what re-wrapping did to its envelope."""

    chain: str
    key_id: str
    state: str
    """`old` (it would be re-wrapped), `rewrapped`, `current` (sealed for today's recipients
    already), `kept` (re-wrapped, and the storage keeps an older envelope) or `closed`."""
    shut_out: str
    """Whose secrets open it no longer, in words; of a `kept` one, whoever has the older
    envelope opens it with them still. Of a `closed` one, whose secrets are needed."""
    reason: str
    """Why it is `kept` or `closed`."""
    points: tuple[str, ...]
    """Ids of the points that need it; told of `kept` and `closed` ones."""


class RewrapResult(View, frozen=True, kw_only=True):
    """What re-wrapping a job did, or would do."""

    job: str
    done: bool
    keys: tuple[RewrappedKey, ...]
    warnings: tuple[str, ...] = ()


class ReencryptedChain(View, frozen=True, kw_only=True):
    """One chain of a job, and what re-encryption did with it."""

    chain: str
    state: str
    """`due` (it would be re-encrypted), `unfinished` (it would be gone on with), `reencrypted`,
    `abandoned`, or `left` as it is."""
    new_chain: str | None
    """Where its points are from now on, or are being made."""
    points: int
    """Live ones."""
    stored_bytes: int
    """What they use, and what the new chain takes."""
    reason: str = ""
    """Why it is left as it is."""


class ReencryptResult(View, frozen=True, kw_only=True):
    """What re-encrypting a job did, or would do."""

    job: str
    done: bool
    chains: tuple[ReencryptedChain, ...]
    warnings: tuple[str, ...] = ()
