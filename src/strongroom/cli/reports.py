"""What scrub, verify and prune found, as lines, JSON and an exit status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.cli.output import plain, size, when
from strongroom.errors import IntegrityError
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from strongroom.cli.door import Door
    from strongroom.control.care import PruneResult
    from strongroom.engine.verify import VerifyReport
    from strongroom.repository.repair import RepairReport
    from strongroom.repository.scrub import ScrubReport


def show_verify(door: Door, report: VerifyReport) -> None:
    """Answer with a verification."""
    _show(door, report, "block", len(report.damaged))


def show_scrub(door: Door, report: ScrubReport) -> None:
    """Answer with a scrub."""
    _show(door, report, "object", len(report.damaged))


def show_repair(door: Door, report: RepairReport) -> None:
    """Answer with a repair, or with what there is to repair."""
    fields = plain(report)
    document = {"ok": report.ok, **(fields if isinstance(fields, dict) else {})}
    lines = report.text().splitlines()
    if report.ok:
        door.show(document, lines)
        return
    stays = "stays" if report.done else "is"
    error = IntegrityError(
        f"{counted(len(report.damaged), 'object')} {stays} damaged",
        hint="'repository repair --from COPY' brings back what a copy has; 'job run' makes new "
        "points whole, and 'restore --salvage' restores what is left of others",
    )
    door.show_with_error(document, lines, error)


def _show(door: Door, report: VerifyReport | ScrubReport, what: str, damages: int) -> None:
    lines = report.text().splitlines()
    fields = plain(report)
    document = {"ok": report.ok, **(fields if isinstance(fields, dict) else {})}
    if report.ok:
        door.show(document, lines)
        return
    error = IntegrityError(
        f"{counted(damages, what + ' is', what + 's are')} not what was written",
        hint="the points named are concerned; 'repository repair --from COPY' mends them from a "
        "copy, and the job's next session makes a whole point without one",
    )
    door.show_with_error(document, lines, error)


def nothing_to_prune(result: PruneResult) -> bool:
    """Tell whether no chain has anything to remove."""
    return all(plan.nothing for plan in result.plans)


def show_prune(door: Door, result: PruneResult) -> None:
    """Answer with a prune, or the plan of one."""
    door.show(result, prune_lines(result))
    door.tell_warnings(result.warnings)


def prune_lines(result: PruneResult) -> list[str]:
    """Return what goes from each chain, and what stays."""
    if not result.done:
        lines = [line for plan in result.plans for line in plan.text().splitlines()]
        return lines or ["there is no chain to prune"]
    lines = []
    for one in result.outcomes:
        if one.left is not None:
            continue
        waits = f", {counted(one.waiting, 'object')} in quarantine" if one.waiting else ""
        until = f" until {when(one.due_at)}" if one.due_at is not None and waits else ""
        lines.append(
            f"chain {one.chain[:12]}: {counted(one.removed, 'object')} removed, "
            f"{size(one.freed_bytes)} freed, {counted(one.condemned, 'object')} condemned"
            f"{waits}{until}"
        )
    return lines or ["there is no chain to prune"]
