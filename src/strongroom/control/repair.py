"""Repair of repositories: what a copy can bring back now, and what the next sessions mend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.control import audit, damage, keys
from strongroom.control.access import storage_of
from strongroom.control.care import known_heads, unfinished_chains
from strongroom.errors import InvalidInputError
from strongroom.repository.repository import Repository

if TYPE_CHECKING:
    from strongroom.control.context import Context
    from strongroom.engine.cancellation import Cancellation
    from strongroom.engine.progress import Progress
    from strongroom.repository.repair import RepairReport


def repair(
    ctx: Context,
    where: str,
    *,
    source: str | None,
    signers: tuple[str, ...] = (),
    dry_run: bool = False,
    progress: Progress,
    cancel: Cancellation,
) -> RepairReport:
    """Find what is damaged, and bring it back from a copy if there is one.

    Args:
        ctx: Surroundings.
        where: What to repair: a repository's name or location.
        source: A copy of it; None to say only what is damaged.
        signers: Fingerprints of signers to believe, and no others.
        dry_run: Say what could be brought back, and change nothing.
        progress: Is told how it goes.
        cancel: Stops it.

    Raises:
        InvalidInputError: the copy is the repository itself.
        NotARepositoryError: one of them is none.
        CancelledError: on request; what was brought back stays.
    """
    from strongroom.repository import repair as repairing
    from strongroom.repository.scrub import scrub

    repository = Repository.open(storage_of(ctx, where))
    trust = keys.readers_trust(ctx, signers)
    heads = known_heads(ctx, repository)
    unfinished = unfinished_chains(ctx, repository)
    if source is None:
        found = scrub(
            repository, trust, heads, unfinished=unfinished, progress=progress, cancel=cancel
        )
        report = repairing.only_found(found)
    else:
        copy = Repository.open(storage_of(ctx, source))
        if copy.storage.location == repository.storage.location:
            raise InvalidInputError(
                f"{source} is the repository that is to be repaired, not a copy of it"
            )
        report = repairing.repair(
            repository,
            copy,
            trust,
            heads,
            clock=ctx.clock,
            unfinished=unfinished,
            dry_run=dry_run,
            progress=progress,
            cancel=cancel,
        )
    damage.note_scrub(ctx, repository, report.scrubbed)
    audit.record(
        ctx,
        "repository.repaired",
        needed=False,
        repository=where,
        copy=source,
        done=report.done,
        mended=len(report.mended),
        damaged=len(report.damaged),
    )
    return report
