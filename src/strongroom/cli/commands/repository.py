"""`strongroom repository …`: where backups are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from strongroom.cli.chain_lines import chain_pairs
from strongroom.cli.options import (
    FINGERPRINT,
    Reading,
    confirmation_options,
    reading_options,
    repository_argument,
    repository_names,
    repository_option,
    signer_option,
)
from strongroom.cli.output import Column, pairs, printable, size, table, when
from strongroom.cli.words import Group, pass_door
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.cli.door import Door
    from strongroom.control.views import RepositoryDetails


@click.group("repository", cls=Group)
def repository() -> None:
    r"""Where backups are kept: add, look at, check, tidy up.

    R is a repository's name. A word with a slash or scheme: is a location and needs no home:
    /mnt/backup, ./backup, file:/mnt/backup.

    \b
    Exit status:
      0   done
      2   the request cannot be right
    """


@repository.command("add")
@click.argument("name")
@click.argument("location")
@pass_door
def add(door: Door, name: str, location: str) -> None:
    r"""Create a repository at LOCATION, or attach to the one that is there.

    If repository NAME was moved to LOCATION, its jobs go on there.

    \b
    Exit status:
      0   it is known as NAME from now on
      2   NAME or LOCATION cannot be one
      13  the storage did not answer
      14  nothing can be written there
      15  NAME is taken by another, or LOCATION holds something else
    """
    from strongroom.control import repositories

    with door.context() as ctx:
        added = repositories.add(ctx, name, location)
    place = added.repository.location
    if added.moved:
        door.show(added, [f"repository {name} is at {place} now"])
        return
    did = "created" if added.created else "attached"
    door.show(added, [f"{did} repository {name} at {place}"])
    if added.chains:
        count = counted(added.chains, "chain is", "chains are")
        door.speaker.hint(f"{count} there: 'strongroom repository rescan {name}' takes them in")


@repository.command("list")
@pass_door
def list_(door: Door) -> None:
    r"""List the repositories.

    \b
    Exit status:
      0   they were listed, be it none
    """
    from strongroom.control import repositories

    with door.context() as ctx:
        views = repositories.list_all(ctx) if ctx.has_catalog else ()
    columns = [Column("NAME", flexible=True), Column("LOCATION", flexible=True), Column("JOBS")]
    rows = [(view.name, view.location, str(len(view.jobs))) for view in views]
    door.show({"repositories": views}, table(columns, rows) if rows else [])
    if not views:
        door.speaker.hint("'strongroom repository add NAME LOCATION' makes the first repository")


@repository.command("show")
@repository_argument
@reading_options
@pass_door
def show(door: Door, where: str, reading: Reading) -> None:
    r"""Show what repository R holds: its chains, who made them, who can open them.

    \b
    Exit status:
      0   it was shown
      2   the request cannot be right
      10  there is no repository
      12  a secret given opens nothing there
      13  the storage did not answer
      20  a chain is damaged or not to be believed
    """
    from dataclasses import replace

    from strongroom.control import repositories

    with door.context() as ctx:
        details = repositories.show(ctx, where, replace(reading.access(door), where=where))
    _show_details(door, details)


@repository.command("rescan")
@repository_argument
@reading_options
@pass_door
def rescan(door: Door, where: str, reading: Reading) -> None:
    r"""Learn what repository R holds from it alone, and take it into the catalog.

    Chains that nothing at hand opens are listed as locked, with the hints of their passwords and
    the ids of the keys: 'strongroom chain unlock' opens them.

    \b
    Exit status:
      0   the catalog knows what is there
      2   the request cannot be right
      10  there is no repository
      12  a secret given opens nothing there
      13  the storage did not answer
      20  a chain is damaged or not to be believed
    """
    from dataclasses import replace

    from strongroom.control import repositories

    with door.context() as ctx:
        details = repositories.rescan(ctx, where, replace(reading.access(door), where=where))
    _show_details(door, details)


def _show_details(door: Door, details: RepositoryDetails) -> None:
    door.show(details, _detail_lines(details))
    door.tell_warnings(details.warnings)
    broken = [chain for chain in details.chains if chain.problem]
    for chain in broken:
        door.speaker.warn(f"chain {chain.chain_id[:12]}: {chain.problem}")
    if broken:
        from strongroom.cli.errors import INTEGRITY

        door.exit_status = INTEGRITY


def _detail_lines(details: RepositoryDetails) -> Iterator[str]:
    free = size(details.free_bytes) if details.free_bytes is not None else "unknown"
    yield from pairs(
        [
            ("repository", details.name or "(not in the catalog)"),
            ("location", details.location),
            ("id", details.repository_id),
            ("free", free),
            ("chains", str(len(details.chains))),
        ]
    )
    for chain in details.chains:
        yield ""
        yield from pairs(chain_pairs(chain))
    if details.damaged:
        yield ""
        yield from details.damaged
    if details.accepted_signers:
        yield ""
        yield "signers accepted on this machine:"
        for signer in details.accepted_signers:
            since = f"since {when(signer.accepted_at)}, seen in {printable(signer.repository)}"
            yield from (f"  {signer.fingerprint}", f"    {since}")


@repository.command("trust")
@click.argument("where", metavar="R", shell_complete=repository_names)
@click.argument("fingerprint", metavar="FINGERPRINT", type=FINGERPRINT)
@click.option("--revoke", is_flag=True, help="Accept it no longer.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_door
def trust(door: Door, where: str, fingerprint: str, revoke: bool, yes: bool) -> None:
    r"""Believe, on this machine, what the signer with FINGERPRINT signed.

    It has to be one that repository R shows. Compare it first, with the recovery kit or the
    server that makes the backups: whoever can write to a repository can sign. Jobs go on
    writing to chains of this machine only.

    \b
    Exit status:
      0    it is accepted, or revoked
      2    there is no terminal to ask on, and no --yes
      10   there is no repository, R does not show it, or it was not accepted
      13   the storage did not answer
      130  the answer was no
    """
    from strongroom.control import signers

    with door.context() as ctx:
        if revoke:
            result = signers.revoke(ctx, fingerprint)
        else:
            result = door.confirmed(
                lambda agreed: signers.trust(ctx, where, fingerprint, yes=agreed), yes
            )
    did = "accepted" if result.accepted else "revoked"
    door.show(result, [f"{did} signer {result.fingerprint}"])


@repository.command("scrub")
@repository_argument
@repository_option
@signer_option
@pass_door
def scrub(door: Door, where: str, signers: tuple[str, ...]) -> None:
    r"""Read every stored byte of repository R and compare it with what was recorded.

    Needs no key. Says which restore points a damaged object hurts.

    \b
    Exit status:
      0    every byte is what was written
      10   there is no repository
      13   the storage did not answer
      20   something is damaged, missing or forged
      130  stopped on request
    """
    from strongroom.cli import reports
    from strongroom.control import care

    with door.context() as ctx, door.work() as (progress, cancel):
        report = care.scrub(ctx, where, signers=signers, progress=progress, cancel=cancel)
    reports.show_scrub(door, report)


@repository.command("repair")
@repository_argument
@repository_option
@click.option(
    "--from",
    "source",
    metavar="COPY",
    shell_complete=repository_names,
    help="Bring back from this copy: a repository's name or its location.",
)
@signer_option
@click.option("--dry-run", is_flag=True, help="Say what could be brought back; change nothing.")
@pass_door
def repair(
    door: Door, where: str, source: str | None, signers: tuple[str, ...], dry_run: bool
) -> None:
    r"""Find what is damaged in repository R, and bring it back from a copy.

    Needs no key: what comes back is compared with what was signed. Without a copy it says what
    is damaged; the job's next session reads that again from the source.

    \b
    Exit status:
      0    nothing is damaged, or nothing stays damaged
      2    the request cannot be right
      10   there is no repository, or no copy
      13   a storage did not answer
      20   something stays damaged, or would after a dry run
      130  stopped on request; what was brought back stays
    """
    from strongroom.cli import reports
    from strongroom.control import repair as repairing

    with door.context() as ctx, door.work() as (progress, cancel):
        report = repairing.repair(
            ctx,
            where,
            source=source,
            signers=signers,
            dry_run=dry_run,
            progress=progress,
            cancel=cancel,
        )
    reports.show_repair(door, report)


@repository.command("verify")
@repository_argument
@reading_options
@pass_door
def verify(door: Door, where: str, reading: Reading) -> None:
    r"""Open every block that the points of repository R use, with their keys.

    \b
    Exit status:
      0    every block opens in its place
      10   there is no repository
      12   nothing at hand opens a point
      13   the storage did not answer
      20   something is damaged or missing
      130  stopped on request
    """
    from dataclasses import replace

    from strongroom.cli import reports
    from strongroom.control import care

    with door.context() as ctx, door.work() as (progress, cancel):
        access = replace(reading.access(door), where=where)
        report = care.verify(ctx, access, progress=progress, cancel=cancel)
    reports.show_verify(door, report)


@repository.command("prune")
@repository_argument
@repository_option
@confirmation_options
@signer_option
@pass_door
def prune(door: Door, where: str, signers: tuple[str, ...], yes: bool, dry_run: bool) -> None:
    r"""Give back the space of what no restore point of repository R uses.

    The plan is shown first. What is condemned is removed by a later prune, when no running
    session or restore can still use it.

    \b
    Exit status:
      0    done, or there was nothing to do
      2    there is no terminal to ask on, and no --yes
      10   there is no repository
      13   the storage did not answer
      14   the storage refused
      15   somebody changed the repository meanwhile
      20   the repository is not to be believed
      130  stopped on request
    """
    from strongroom.cli import reports
    from strongroom.control import care

    with door.context() as ctx:
        plan = care.prune(ctx, where, dry_run=True, signers=signers)
        if dry_run or reports.nothing_to_prune(plan):
            reports.show_prune(door, plan)
            return
        if not yes:
            for line in reports.prune_lines(plan):
                door.speaker.plain(line)
            door.confirm(f"prune {where}?")
        result = care.prune(ctx, where, dry_run=False, signers=signers)
    reports.show_prune(door, result)


@repository.command("remove")
@click.argument("name", shell_complete=repository_names)
@pass_door
def remove(door: Door, name: str) -> None:
    r"""Forget repository NAME. What is stored in it stays, and can be added again.

    \b
    Exit status:
      0   it is forgotten
      10  there is no such repository
      15  a job writes to it
    """
    from strongroom.control import repositories

    with door.home_context() as ctx:
        view = repositories.remove(ctx, name)
    door.show({"repository": view}, [f"forgot repository {name}; {view.location} stays as it is"])
