"""`strongroom repository …`: where backups are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from strongroom.cli.chain_lines import chain_pairs
from strongroom.cli.options import (
    FINGERPRINT,
    SPAN,
    Reading,
    confirmation_options,
    copy_limit_option,
    credential_names,
    floor_of,
    floor_options,
    job_names,
    limit_option,
    reading_options,
    repository_argument,
    repository_names,
    repository_option,
    signer_option,
)
from strongroom.cli.output import Column, pairs, printable, size, table, when, yes
from strongroom.cli.words import Group, pass_door
from strongroom.errors import InvalidInputError
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import timedelta

    from strongroom.cli.door import Door
    from strongroom.control.views.repositories import RepositoryDetails, VaultView


@click.group("repository", cls=Group)
def repository() -> None:
    r"""Where backups are kept: add, look at, check, tidy up.

    R is a repository's name. A word with a slash or scheme: is a location and needs no home:

    \b
      /mnt/backup  ./backup  file:/mnt/backup            a folder
      sftp://[USER@]HOST[:PORT]/PATH
      s3://BUCKET/PREFIX[?endpoint=URL][&region=R][&profile=P]
      gs://BUCKET/PREFIX  az://CONTAINER/PREFIX[?account=A]

    \b
    Exit status:
      0   done
      2   the request cannot be right
    """


def _immutability_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--batch-days",
            metavar="G",
            type=click.IntRange(min=0),
            help="Extend locks once in G days, in one go; they last G longer. 10 by default.",
        ),
        click.option(
            "--immutable-days",
            metavar="N",
            type=click.IntRange(min=0),
            help="Let nobody remove anything before the newest point that needs it is N days "
            "old; 0 locks nothing.",
        ),
    ):
        function = option(function)
    return function


_standing_limit = click.option(
    "--limit",
    metavar="RATES",
    help="How fast this machine reads and writes there, all together: 10MB/s, or "
    "'10MB/s mon-fri 8:00-18:00; 50MB/s'; none for no limit.",
)


@repository.command("add")
@click.argument("name")
@click.argument("location")
@click.option(
    "--credential",
    metavar="NAME",
    shell_complete=credential_names,
    help="Open the bucket with this credential of the catalog.",
)
@click.option("--vault", is_flag=True, help="Take nothing that is not encrypted.")
@_immutability_options
@_standing_limit
@pass_door
def add(
    door: Door,
    name: str,
    location: str,
    credential: str | None,
    vault: bool,
    immutable_days: int | None,
    batch_days: int | None,
    limit: str | None,
) -> None:
    r"""Create a repository at LOCATION, or attach to the one that is there.

    If repository NAME was moved to LOCATION, its jobs go on there. A bucket has to be there, and
    is tried first: one whose server overwrites what is to be written once is refused. A folder
    that is to be a vault with --immutable-days needs a guard ('strongroom guard run'), a bucket
    Object Lock.

    \b
    Exit status:
      0   it is known as NAME from now on
      2   NAME, LOCATION or RATES cannot be one
      10  there is no such bucket or credential
      13  the storage, or its guard, did not answer
      14  nothing can be written there, or it breaks a promise or loses a lock
      15  NAME is taken by another, or LOCATION holds something else
    """
    from strongroom.control import repositories, vaults

    if not vault and (immutable_days is not None or batch_days is not None):
        raise InvalidInputError("--immutable-days and --batch-days go with --vault")
    asked = vaults.wanted(immutable_days, batch_days) if vault else None
    with door.context() as ctx:
        added = repositories.add(
            ctx, name, location, credential=credential, vault=asked, limit=limit
        )
    place = added.repository.location
    if added.moved:
        door.show(added, [f"repository {name} is at {place} now"])
        return
    did = "created" if added.created else "attached"
    door.show(added, [f"{did} repository {name} at {place}"])
    if added.chains:
        count = counted(added.chains, "chain is", "chains are")
        door.speaker.hint(f"{count} there: 'strongroom repository rescan {name}' takes them in")


@repository.command("edit")
@click.argument("name", shell_complete=repository_names)
@click.option(
    "--vault/--no-vault", default=None, help="Take nothing that is not encrypted, or anything."
)
@_immutability_options
@_standing_limit
@click.option("--yes-weaken", is_flag=True, help="Agree to what protects less; do not ask.")
@pass_door
def edit(
    door: Door,
    name: str,
    vault: bool | None,
    immutable_days: int | None,
    batch_days: int | None,
    limit: str | None,
    yes_weaken: bool,
) -> None:
    r"""Change what is set of repository NAME, or make it a vault. What is not named stays.

    What is locked in a vault stays locked, whatever is changed.

    RATES are rules with ; between them: a rate, days and hours at which it holds (mon-fri,
    sat,sun, 22:00-6:00, by this machine's clock). Of rules that hold at once the lowest counts.
    Where none holds nothing is limited.

    kB, MB and GB are 1000 bytes and so on, KiB, MiB and GiB 1024; kbit, Mbit and Gbit are bits.
    All that goes on at a time shares the rate. What runs already goes on as it began.

    \b
    Exit status:
      0    it is as was asked for
      2    it or RATES cannot be like that, or nobody agreed to what protects less
      10   there is no such repository
      13   the storage, or its guard, did not answer
      14   a job there is not encrypted, or the storage loses what it locked
      130  the answer was no
    """
    from strongroom.control import repositories, vaults

    with door.home_context() as ctx:
        if limit is not None:
            edited = repositories.edit(ctx, name, limit=limit)
        if limit is not None and (vault, immutable_days, batch_days) == (None, None, None):
            did = (
                "changed repository {}" if edited.changed else "repository {} is like that already"
            )
            door.show({"repository": edited.repository}, [did.format(name)])
            return
        changed = door.confirmed(
            lambda agreed: vaults.edit(
                ctx,
                name,
                vault=vault,
                immutable_days=immutable_days,
                batch_days=batch_days,
                yes_weaken=agreed,
            ),
            yes_weaken,
            "--yes-weaken",
        )
    door.show({"repository": changed}, [f"repository {name}: {_vault_words(changed.vault)}"])
    if (
        changed.vault is not None
        and changed.vault.immutable_days
        and not changed.vault.locked_until
    ):
        door.speaker.hint(f"'strongroom repository protect {name}' locks what is there already")


@repository.command("protect")
@click.argument("name", shell_complete=repository_names)
@click.option("--anew", is_flag=True, help="Lock everything again, due or not.")
@pass_door
def protect(door: Door, name: str, anew: bool) -> None:
    r"""Extend the locks of all that the newest points of vault NAME need, where due.

    Sessions do it by themselves; this is for a job that does not run, and for a server that lost
    what it knew. Whether locks hold is seen by trying to remove something.

    \b
    Exit status:
      0   all that the newest points need is locked long enough
      2   NAME locks nothing
      10  there is no such repository
      13  the storage, or its guard, did not answer
      14  the storage does not keep what was locked
      20  a chain is damaged or not to be believed
    """
    from strongroom.control import vaults

    with door.home_context() as ctx:
        result = vaults.protect(ctx, name, anew=anew)
    lines = [
        f"chain {one.chain[:12]}: {counted(one.extended, 'lock')} extended, "
        f"locked until {when(one.locked_until)}"
        for one in result.chains
    ]
    door.show(result, lines or [f"repository {name} holds no chain yet"])
    if result.hidden:
        door.speaker.warn(vaults.hidden_words(name, len(result.hidden)))


@repository.command("unhide")
@click.argument("name", shell_complete=repository_names)
@click.option("--dry-run", is_flag=True, help="Say which, and change nothing.")
@pass_door
def unhide(door: Door, name: str, dry_run: bool) -> None:
    r"""Bring back what somebody hid in vault NAME and could not remove.

    In a bucket with versions, whoever has its credentials can put a delete marker or another
    version on a locked object. What was put first is there, and is shown again.

    \b
    Exit status:
      0   nothing is hidden any longer
      2   NAME locks nothing
      10  there is no such repository
      13  the storage did not answer
      14  the storage refused
    """
    from strongroom.control import vaults

    with door.home_context() as ctx:
        result = vaults.unhide(ctx, name, dry_run=dry_run)
    did = "brought back" if result.done else "would be brought back"
    door.show(result, [*result.objects, f"{did}: {counted(len(result.objects), 'object')}"])


def _vault_words(vault: VaultView | None) -> str:
    if vault is None:
        return "no vault"
    if vault.immutable_days is None:
        return "takes encrypted backups only"
    until = f"; newest points locked until {when(vault.locked_until)}" if vault.locked_until else ""
    return (
        f"takes encrypted backups only, immutable for {vault.immutable_days} days, locks extended "
        f"every {vault.batch_days}{until}"
    )


@repository.command("check")
@repository_argument
@repository_option
@click.option(
    "--credential",
    metavar="NAME",
    shell_complete=credential_names,
    help="Open the bucket with this credential of the catalog.",
)
@pass_door
def check(door: Door, where: str, credential: str | None) -> None:
    r"""Try whether the place R keeps what a repository needs, before or after it is one.

    R may be a place that is no repository yet. Objects of some 35 MB are made there under a name
    that nobody has, and removed again.

    \b
    Exit status:
      0   every promise is kept
      2   the request cannot be right
      10  there is no such repository, bucket or credential
      13  the storage did not answer
      14  a promise is broken, or nothing can be written there
    """
    from strongroom.control import place_checks

    with door.context() as ctx:
        result = place_checks.check(ctx, where, credential=credential)
    columns = [Column("PROMISE"), Column("KEPT"), Column("MEANS", flexible=True)]
    rows = [(one.promise, yes(one.kept), one.problem or one.means) for one in result.promises]
    if result.error is None:
        door.show(result.fields, table(columns, rows))
        return
    door.show_with_error(result.fields, table(columns, rows), result.error)


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
    columns = [
        Column("NAME", flexible=True),
        Column("LOCATION", flexible=True),
        Column("JOBS"),
        Column("VAULT"),
    ]
    rows = [
        (view.name, view.location, str(len(view.jobs)), _vault_cell(view.vault)) for view in views
    ]
    door.show({"repositories": views}, table(columns, rows) if rows else [])
    if not views:
        door.speaker.hint("'strongroom repository add NAME LOCATION' makes the first repository")


def _vault_cell(vault: VaultView | None) -> str:
    if vault is None:
        return "no"
    return "encrypted only" if vault.immutable_days is None else f"{vault.immutable_days} days"


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
            ("vault", _vault_words(details.vault)),
            *([("limit", details.limit)] if details.limit else []),
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
@limit_option
@click.option(
    "--every",
    type=SPAN,
    metavar="SPAN",
    help="Read only what is due for everything to be read once in SPAN: 30d, 4w.",
)
@pass_door
def scrub(
    door: Door,
    where: str,
    signers: tuple[str, ...],
    limit: str | None,
    every: timedelta | None,
) -> None:
    r"""Read every stored byte of repository R and compare it with what was recorded.

    Needs no key. Says which restore points a damaged object hurts.

    With --every a scrub that runs daily reads its share of the packs; what was missed is made
    up for, and damage is told again until it is gone. Everything else is read each time. What
    was read when is kept in the home of the machine that scrubs, which is made for it.

    \b
    Exit status:
      0    every byte that was read is what was written
      2    the request cannot be right
      10   there is no repository
      13   the storage did not answer
      20   something is damaged, missing or forged
      130  stopped on request
    """
    from strongroom.cli import reports
    from strongroom.control import care

    with door.context() as ctx, door.work() as (progress, cancel):
        report = care.scrub(
            ctx,
            where,
            signers=signers,
            limit=limit,
            every=every,
            progress=progress,
            cancel=cancel,
        )
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
@limit_option
@reading_options
@pass_door
def verify(door: Door, where: str, limit: str | None, reading: Reading) -> None:
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
        report = care.verify(ctx, access, limit=limit, progress=progress, cancel=cancel)
    reports.show_verify(door, report)


@repository.command("copy")
@click.argument("source", metavar="SOURCE", shell_complete=repository_names)
@click.argument("target", metavar="TARGET", shell_complete=repository_names)
@click.option(
    "--job",
    "jobs",
    multiple=True,
    metavar="JOB",
    shell_complete=job_names,
    help="Only chains of this job: its name here, or its id; several times.",
)
@click.option("--create", is_flag=True, help="Make TARGET a repository if it is an empty place.")
@click.option("--check", is_flag=True, help="Read what TARGET has, too, and replace damage.")
@click.option("--with-config", is_flag=True, help="Copy configuration backups as well.")
@floor_options
@copy_limit_option
@click.option("--dry-run", is_flag=True, help="Only say what would be copied.")
@signer_option
@pass_door
def copy(
    door: Door,
    source: str,
    target: str,
    jobs: tuple[str, ...],
    create: bool,
    check: bool,
    with_config: bool,
    least_points: int | None,
    least_days: int | None,
    limit: str | None,
    dry_run: bool,
    signers: tuple[str, ...],
) -> None:
    r"""Bring to repository TARGET what it lacks of SOURCE, as it is.

    Needs no key: sealed stays sealed, and the same secrets open the copy. Only what is missing
    travels, and only if it is what was signed. A copy that stopped goes on when it is made again;
    sessions may run meanwhile.

    \b
    Exit status:
      0    TARGET has all that SOURCE promises
      2    the request cannot be right
      10   there is no such repository, or nothing of the job
      11   somebody is at work on a job at TARGET; what others stored was copied
      13   the storage did not answer
      14   TARGET refused, or is full
      15   both are one place, or TARGET holds something else
      20   SOURCE is damaged or not to be believed; what is whole was copied
      130  stopped on request
    """
    from strongroom.cli import reports
    from strongroom.control import copies

    with door.context() as ctx, door.work() as (progress, cancel):
        result = copies.copy(
            ctx,
            source,
            target,
            jobs_named=jobs,
            signers=signers,
            create=create,
            dry_run=dry_run,
            check=check,
            with_config=with_config,
            floor=floor_of(least_points, least_days),
            limit=limit,
            progress=progress,
            cancel=cancel,
        )
    reports.show_copy(door, result)


@repository.command("prune")
@repository_argument
@repository_option
@floor_options
@confirmation_options
@signer_option
@click.option("--no-compact", is_flag=True, help="Leave dead blocks in packs that stay for others.")
@click.option(
    "--drop-unfinished",
    is_flag=True,
    help="Nothing is being copied to R: what copies and sessions began there and did not "
    "finish goes now, and not when it is 30 days old.",
)
@pass_door
def prune(
    door: Door,
    where: str,
    signers: tuple[str, ...],
    least_points: int | None,
    least_days: int | None,
    yes: bool,
    dry_run: bool,
    no_compact: bool,
    drop_unfinished: bool,
) -> None:
    r"""Give back the space of what no restore point of repository R uses.

    The plan is shown first. What is condemned is removed by a later prune, when no running
    session or restore can still use it. Packs that are dead in part are rewritten.
    Sessions go on meanwhile; what may be theirs stays until a later prune.
    With a floor, points that the signer gave up stay as long as it says; this
    machine remembers it, and --given-up reads them.

    \b
    Exit status:
      0    done, or there was nothing to do
      2    there is no terminal to ask on, and no --yes
      10   there is no repository
      13   the storage did not answer
      14   the storage refused, or the clock jumped: see clock confirm
      15   somebody changed the repository meanwhile
      20   the repository is not to be believed
      130  stopped on request
    """
    from strongroom.cli import reports
    from strongroom.control import care

    with door.context() as ctx:
        floor = floor_of(least_points, least_days)
        plan = care.prune(
            ctx,
            where,
            dry_run=True,
            signers=signers,
            floor=floor,
            keep_floor=not dry_run,
            compacting=not no_compact,
            drop_unfinished=drop_unfinished,
        )
        if dry_run or reports.nothing_to_prune(plan):
            reports.show_prune(door, plan)
            return
        if not yes:
            for line in reports.prune_lines(plan):
                door.speaker.plain(line)
            door.confirm(f"prune {where}?")
        with door.work() as (progress, cancel):
            result = care.prune(
                ctx,
                where,
                dry_run=False,
                signers=signers,
                floor=floor,
                compacting=not no_compact,
                drop_unfinished=drop_unfinished,
                progress=progress,
                cancel=cancel,
            )
    reports.show_prune(door, result)


@repository.command("compact")
@repository_argument
@repository_option
@signer_option
@click.option(
    "--min-dead",
    type=click.IntRange(1, 99),
    metavar="PERCENT",
    help="Rewrite packs of which so much is dead. By default a third, and then the "
    "deadest until 5 % of a chain are dead.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be rewritten.")
@pass_door
def compact(
    door: Door, where: str, signers: tuple[str, ...], min_dead: int | None, dry_run: bool
) -> None:
    r"""Rewrite packs of repository R that are dead in part, to give back their space.

    Needs no key, and runs beside sessions: sealed blocks move as they are, on XFS and btrfs
    without copying. 'repository prune' does it too.

    \b
    Exit status:
      0    done, or there was nothing to do
      10   there is no repository
      13   the storage did not answer
      14   the storage refused, or is full
      20   the repository is not to be believed
      130  stopped on request; what was done is done
    """
    from strongroom.cli import reports
    from strongroom.control import care

    with door.context() as ctx, door.work() as (progress, cancel):
        result = care.compact(
            ctx,
            where,
            dead_share=None if min_dead is None else min_dead / 100,
            dry_run=dry_run,
            signers=signers,
            progress=progress,
            cancel=cancel,
        )
    reports.show_compaction(door, result)


@repository.command("remove")
@click.argument("name", shell_complete=repository_names)
@click.option("--yes-weaken", is_flag=True, help="Forget a vault and what it demands; do not ask.")
@pass_door
def remove(door: Door, name: str, yes_weaken: bool) -> None:
    r"""Forget repository NAME. What is stored in it stays, and can be added again.

    \b
    Exit status:
      0    it is forgotten
      2    it is a vault, and nobody agreed
      10   there is no such repository
      15   a job writes to it
      130  the answer was no
    """
    from strongroom.control import repositories

    with door.home_context() as ctx:
        view = door.confirmed(
            lambda agreed: repositories.remove(ctx, name, yes_weaken=agreed),
            yes_weaken,
            "--yes-weaken",
        )
    door.show({"repository": view}, [f"forgot repository {name}; {view.location} stays as it is"])
