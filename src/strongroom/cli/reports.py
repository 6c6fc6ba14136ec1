"""What scrub, verify and prune found, as lines, JSON and an exit status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.cli.errors import WARNINGS
from strongroom.cli.output import plain, printable, size, when
from strongroom.errors import IntegrityError
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.cli.door import Door
    from strongroom.control.care import CompactResult, PruneResult
    from strongroom.control.copies import CopyResult
    from strongroom.control.views.repositories import Unfinished
    from strongroom.control.views.rewrapping import RewrappedKey, RewrapResult
    from strongroom.engine.verify import VerifyReport
    from strongroom.repository.compaction import CompactionResult
    from strongroom.repository.prune import PruneResult as Pruned
    from strongroom.repository.repair import RepairReport
    from strongroom.repository.scrub_report import ScrubReport


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


def show_copy(door: Door, result: CopyResult) -> None:
    """Answer with a copy, or with what one would do."""
    error = result.error
    door.tell_warnings(result.warnings)
    if error is None:
        door.show(result, copy_lines(result))
        return
    door.show_with_error(result, copy_lines(result), error)


def copy_lines(result: CopyResult) -> list[str]:
    """Return what travelled of each chain, and what did not."""
    lines: list[str] = []
    would = "" if result.done else "would be "
    for one in result.chains:
        has = f"{counted(len(one.points), 'point')} up to entry {one.newest_entry}"
        if one.nothing and not one.damaged:
            lines.append(f"chain {one.chain[:12]}: all there, {has}")
        else:
            lines.append(
                f"chain {one.chain[:12]}: {counted(one.objects, 'object')}, "
                f"{size(one.stored_bytes)} {would}copied; {has}"
            )
        lines += [f"  {would}replaced: {key}" for key in one.replaced]
        for damage in one.damaged:
            hurts = f"; hurts {', '.join(damage.points)}" if damage.points else ""
            lines.append(f"  NOT COPIED {damage.object}: {damage.what}{hurts}")
    lines += [f"chain {one.chain[:12]}: NOT COPIED: {one.message}" for one in result.problems]
    if result.configurations:
        backups = counted(result.configurations, "configuration backup")
        lines.append(f"{backups} {would}copied")
    return lines or ["there is no chain to copy"]


def show_rewrap(door: Door, result: RewrapResult) -> None:
    """Answer with a re-wrap, or with what one would do."""
    door.show(result, _rewrap_lines(result))
    for one in result.keys:
        if one.state in ("kept", "closed"):
            door.speaker.warn(_not_rewrapped(one))
    door.tell_warnings(result.warnings)
    if result.warnings or any(one.state in ("kept", "closed") for one in result.keys):
        door.exit_status = WARNINGS


def _rewrap_lines(result: RewrapResult) -> list[str]:
    words = {"old": "to be re-wrapped", "current": "sealed for today's recipients already"}
    lines = []
    for one in result.keys:
        shut_out = f"; shut out: {one.shut_out}" if one.shut_out and one.state != "closed" else ""
        state = words.get(one.state, one.state)
        lines.append(f"chain {one.chain[:12]}, chain key {one.key_id[:12]}: {state}{shut_out}")
    return lines


def _not_rewrapped(one: RewrappedKey) -> str:
    """Say of a chain key what still opens with an old secret, or what a secret is missing for."""
    concerned = f"{counted(len(one.points), 'point')}: {', '.join(one.points) or '-'}"
    if one.state == "closed":
        needs = f"; it needs {one.shut_out}" if one.shut_out else ""
        return f"chain key {one.key_id[:12]} stays as it is: {one.reason}{needs} ({concerned})"
    return (
        f"chain key {one.key_id[:12]}: {one.reason}. With it "
        f"{one.shut_out or 'whoever it was sealed for'} still opens {concerned}. "
        "The storage does not say until when; "
        "to re-wrap again removes it as soon as it may"
    )


def nothing_to_prune(result: PruneResult) -> bool:
    """Tell whether no chain has anything to remove, to give up or to compact."""
    return (
        all(plan.nothing for plan in result.plans)
        and not (result.expired or result.ended)
        and not any(plan.packs or plan.leftovers for plan in result.compaction)
        and not any(one.goes_at is None for one in result.unfinished)
    )


def show_prune(door: Door, result: PruneResult) -> None:
    """Answer with a prune, or the plan of one."""
    door.show(result, prune_lines(result))
    door.tell_warnings(result.warnings)


def show_compaction(door: Door, result: CompactResult) -> None:
    """Answer with a compaction, or the plan of one."""
    if result.done:
        lines = [line for one in result.outcomes for line in _compacted(one)]
        lines = lines or ["there is nothing to compact"]
    else:
        lines = [line for plan in result.plans for line in plan.text().splitlines()]
        lines = lines or ["there is no chain to compact"]
    door.show(result, lines)
    door.tell_warnings(result.warnings)


def _compacted(one: CompactionResult) -> Iterator[str]:
    if one.left is not None:
        return
    moved = f"{size(one.copied_bytes)} copied"
    if one.cloned_bytes:
        moved = f"{size(one.cloned_bytes)} cloned, {moved}"
    yield (
        f"chain {one.chain[:12]}: {counted(one.packs, 'pack')} compacted, "
        f"{size(one.freed_bytes)} freed, {moved}"
        + (f", {counted(one.locked, 'pack')} locked for now" if one.locked else "")
    )


def prune_lines(result: PruneResult) -> list[str]:
    """Return what goes from each chain, and what stays."""
    does = "gave" if result.done else "gives"
    lines = [
        f"{does} up {one.id} of removed job {printable(one.job or '-')}: {one.reason}"
        for one in result.expired
    ]
    lines += [
        f"chain {chain[:12]} of a removed job has no point any more: all of it goes"
        for chain in result.ended
    ]
    lines += [
        f"chain {one.chain[:12]} was begun and not finished: {counted(one.objects, 'object')}, "
        f"{size(one.stored_bytes)}; {_until(one, done=result.done)}"
        for one in result.unfinished
    ]
    if not result.done:
        lines += [line for plan in result.plans for line in plan.text().splitlines()]
        lines += [
            line
            for plan in result.compaction
            if plan.packs or plan.leftovers
            for line in plan.text().splitlines()
        ]
        return lines or ["there is no chain to prune"]
    for one in result.outcomes:
        if one.left is not None:
            continue
        waits = f", {counted(one.waiting, 'object')} in quarantine" if one.waiting else ""
        until = f" until {when(one.due_at)}" if one.due_at is not None and waits else ""
        lines.append(
            f"chain {one.chain[:12]}: {counted(one.removed, 'object')} removed, "
            f"{size(one.freed_bytes)} freed, {counted(one.condemned, 'object')} condemned"
            f"{waits}{until}{_locked(one)}"
            + (", beside a session at work" if one.beside is not None else "")
        )
    lines += [line for one in result.compacted for line in _compacted(one)]
    return lines or ["there is no chain to prune"]


def _until(one: Unfinished, *, done: bool) -> str:
    if one.goes_at is None:
        return "removed" if done else "it goes"
    return f"a prune after {when(one.goes_at)} removes it, --drop-unfinished now"


def _locked(one: Pruned) -> str:
    if not one.locked:
        return ""
    return f", {counted(one.locked, 'object')} locked by the vault until {when(one.locked_until)}"
