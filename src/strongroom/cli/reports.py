"""What scrub, verify and prune found, as lines, JSON and an exit status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.cli.output import counted, plain
from strongroom.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.cli.door import Door
    from strongroom.control.care import PruneResult
    from strongroom.engine.verify import VerifyReport
    from strongroom.repository.scrub import ScrubReport


def show_verify(door: Door, report: VerifyReport) -> None:
    """Answer with a verification."""
    _show(door, report, "block", len(report.damaged))


def show_scrub(door: Door, report: ScrubReport) -> None:
    """Answer with a scrub."""
    _show(door, report, "object", len(report.damaged))


def _show(door: Door, report: VerifyReport | ScrubReport, what: str, damages: int) -> None:
    lines = report.text().splitlines()
    fields = plain(report)
    document = {"ok": report.ok, **(fields if isinstance(fields, dict) else {})}
    if report.ok:
        door.show(document, lines)
        return
    error = IntegrityError(
        f"{counted(damages, what + ' is', what + 's are')} not what was written",
        hint="the points named are concerned; a new full does not depend on them: "
        "'strongroom job run JOB --full'",
    )
    door.show_with_error(document, lines, error)
