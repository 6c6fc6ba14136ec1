"""What no promised point needs any more: decided from signed states, then condemned, then removed.

The order is what a crash and a session at work cannot hurt (docs/format.md, "Order of writes"):

1. the promise is taken back, by a session or by hand; that is not done here;
2. a CONDEMNATION names every object that is to go, so that whoever publishes later has read it;
3. the quarantine passes, for readers who still hold the older state;
4. a prune decides anew and removes what it still finds unneeded *and* finds condemned. Nobody
   removes anything because an entry says so: a condemnation may come from anybody.

What is needed is judged against every kept entry and not only against the neighbours of the
ones that go. Pages that states share are read once, so it costs little more, and it holds even
where a condemnation made a session build on an older entry than the one before it.

All of it happens under the job's lock. So no session is at work, and what no entry leads to was
left by one that is dead. If the lock was broken and it does live, it finds its objects condemned
and does not publish. Packs of a dead session survive the quarantine: the next session of the job
may take them over until then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from strongroom.clock import Clock
from strongroom.repository.chain import Chain

if TYPE_CHECKING:
    from strongroom.crypto.signing import SigningKey
    from strongroom.repository.repository import Repository

_MOST_NAMED: Final = 50_000
"""Objects that one condemnation names: an entry has to stay far below its limit."""
_ATTEMPTS: Final = 20
"""Each lost to somebody else's entry; more than this and somebody is playing games."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """One object that may go."""

    object: str
    """Its key, below the chain; the chain's header by its whole key."""
    stored_bytes: int
    reason: str
    condemned_until: datetime | None
    """End of its quarantine; None where no entry condemns it yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunePlan:
    """What may go from one chain."""

    chain: str
    job: str
    whole_chain: bool
    """Whether all of it goes: no point of it is promised, and the job went on elsewhere."""
    kept_points: int
    entries: tuple[int, ...]
    """Session entries whose points are all given up."""
    removals: tuple[Removal, ...]
    """In the order in which they go."""
    freed_bytes: int
    """Bytes of all removals."""
    live_bytes: int
    """Bytes of blocks that a kept entry uses."""
    dead_bytes: int
    """Bytes of blocks that none uses, in packs that stay for their other blocks."""
    remarks: tuple[str, ...]
    """Why something stays that one might expect to go."""

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to do."""
        return not self.removals

    def text(self) -> str:
        """Return the plan for people."""
        if self.whole_chain:
            lines = [f"chain {self.chain[:12]}: expired, all of it goes"]
        else:
            lines = [f"chain {self.chain[:12]}: {self.kept_points} points stay"]
        reasons: dict[str, tuple[int, int]] = {}
        for one in self.removals:
            count, size = reasons.get(one.reason, (0, 0))
            reasons[one.reason] = (count + 1, size + one.stored_bytes)
        lines.extend(
            f"  {count:,} objects, {size:,} bytes: {reason}"
            for reason, (count, size) in reasons.items()
        )
        if self.dead_bytes:
            lines.append(f"  {self.dead_bytes:,} dead bytes stay in packs with live blocks")
        lines.extend(f"  {remark}" for remark in self.remarks)
        if self.nothing:
            lines.append("  nothing to remove")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneResult:
    """What one prune of a chain did."""

    chain: str
    condemned: int
    """Objects newly condemned."""
    removed: int
    freed_bytes: int
    waiting: int
    """Objects whose quarantine is not over."""
    due_at: datetime | None
    """When the last of them may go."""
    left: str | None
    """Why nothing was done: who holds the job."""


def plan_prune(
    repository: Repository, chain: Chain, clock: Clock, quarantine: timedelta
) -> PreparedPrune:
    """Decide what may go from a chain; changes nothing.

    The caller has checked that it believes the chain's signer, and that the chain is not older
    than what it knows of it: decided from an older state, this would remove what newer points
    need.

    Args:
        repository: Where the chain is; the job's other chains say whether it goes on.
        chain: The chain.
        clock: Tells whose quarantine is over.
        quarantine: How long what is condemned stays.

    Raises:
        IntegrityError: the chain is damaged or withheld in part; nothing may go from it.
    """
    return PreparedPrune(repository, chain, clock, quarantine)


def carry_out(prepared: PreparedPrune, signer: SigningKey | None = None) -> PruneResult:
    """Condemn what the plan names, and remove what was condemned and has served its quarantine.

    Safe to repeat after a crash at any instant. What the chain became since the plan was made
    counts: only what may still go does.

    Args:
        prepared: From `plan_prune`.
        signer: Signs the condemnation, if the chain knows it; keyless machines have none.

    Raises:
        StorageUnavailableError: the storage did not answer; prune again.
        ConflictError: others keep changing the chain.
    """
    return prepared.carry_out(signer)


# --- deciding --------------------------------------------------------------------------------


@dataclass(slots=True)
class _Kept:
    """What kept entries need."""

    packs: set[bytes] = field(default_factory=set)
    sessions: set[bytes] = field(default_factory=set)
    """Sessions that signed tables know; their keys stand there."""
    tables: set[bytes] = field(default_factory=set)
    live_bytes: int = 0
    dead_bytes: int = 0
