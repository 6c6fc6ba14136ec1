"""Points opened and restored as the control plane does it, without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from strongroom.engine.cancellation import Cancellation
from strongroom.engine.points import PointView, open_points
from strongroom.engine.progress import NullProgress
from strongroom.engine.restore import RestoreRequest, RestoreResult, restore

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.engine_job import EngineJob


def views_of(job: EngineJob) -> list[PointView]:
    """Return every point of a job, oldest first, opened with its chain key."""
    return open_points([job.chain()], lambda _: job.keyring())


def bring_back(
    view: PointView, target: Path | None, stream: BinaryIO | None = None, **asked: object
) -> RestoreResult:
    """Restore a point; `asked` are fields of the request."""
    request = RestoreRequest(target=target, **asked)  # type: ignore[arg-type]
    return restore(view, request, progress=NullProgress(), cancel=Cancellation(), stream=stream)
