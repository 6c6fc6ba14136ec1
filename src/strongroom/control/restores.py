"""Restores: find the point, open it, hand it to the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.control import audit
from strongroom.control.access import open_reading
from strongroom.control.traffic import Traffic
from strongroom.errors import StrongroomError

if TYPE_CHECKING:
    from typing import BinaryIO

    from strongroom.control.access import Access
    from strongroom.control.context import Context
    from strongroom.engine.cancellation import Cancellation
    from strongroom.engine.progress import Progress
    from strongroom.engine.restore import RestoreRequest, RestoreResult


def restore(
    ctx: Context,
    access: Access,
    which: str,
    request: RestoreRequest,
    *,
    progress: Progress,
    cancel: Cancellation,
    stream: BinaryIO | None = None,
    limit: str | None = None,
) -> RestoreResult:
    """Restore a point, or paths of it.

    Args:
        ctx: Surroundings.
        access: Where the point is, and what opens it.
        which: An id, a unique prefix, JOB@latest or JOB/SOURCE@latest.
        request: What to restore, and where to.
        progress: Is told how it goes.
        cancel: Stops it.
        stream: Where the bytes go if the request has no target.
        limit: How fast to read, or `none`, in place of what the repository says.

    Raises:
        NotFoundError: there is no such point.
        UnlockError: nothing at hand opens it, or not whole.
        DowngradedError: it is plain, and a secret was given.
        TargetExistsError: something is in the way; nothing was restored.
    """
    from strongroom.engine.restore import restore as bring_back

    ctx.traffic = Traffic.of_command(limit, cancel)
    reading = open_reading(ctx, access, which=(which,))
    for warning in reading.warnings:
        ctx.report(warning)
    view = reading.select(which)
    reading.check_whole(view)
    target = "standard output" if request.target is None else str(request.target)
    audit.record(ctx, "restore.started", needed=False, point=view.id, target=target)
    try:
        result = bring_back(view, request, progress=progress, cancel=cancel, stream=stream)
    except StrongroomError as error:
        audit.failure(ctx, "restore.finished", error, needed=False, point=view.id, target=target)
        raise
    audit.record(
        ctx,
        "restore.finished",
        needed=False,
        point=view.id,
        target=target,
        files=result.files,
        bytes=result.bytes,
        losses=len(result.losses),
        dry_run=request.dry_run,
    )
    return result
