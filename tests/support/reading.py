"""Points opened and restored as the control plane does it, without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from strongroom.engine.cancellation import Cancellation
from strongroom.engine.points import PointView, open_points
from strongroom.engine.progress import NullProgress
from strongroom.engine.restore import RestoreRequest, RestoreResult, restore

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.format.block import BlockAddress, BlockClass
    from strongroom.testing.adversary_storage import AdversaryStorage
    from tests.support.engine_job import EngineJob


def views_of(job: EngineJob) -> list[PointView]:
    """Return every point of a job, oldest first, opened with its chain key."""
    return open_points([job.chain()], lambda _: job.keyring())


def flip(
    view: PointView, storage: AdversaryStorage, address: BlockAddress, block_class: BlockClass
) -> str:
    """Change a bit of one block; return the name of the pack that it is in."""
    birth = view.reader().birth(address, block_class)
    index = birth.index_of[address.place]
    storage.flip(birth.key, birth.directory.offsets[index] + 40)
    return birth.key


def bring_back(
    view: PointView, target: Path | None, stream: BinaryIO | None = None, **asked: object
) -> RestoreResult:
    """Restore a point; `asked` are fields of the request."""
    request = RestoreRequest(target=target, **asked)  # type: ignore[arg-type]
    return restore(view, request, progress=NullProgress(), cancel=Cancellation(), stream=stream)
