"""`strongroom job …`: what is backed up, where to, kept how long; and running it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from strongroom.cli.errors import WARNINGS, error_fields, exit_code
from strongroom.cli.options import (
    FILE,
    HOURS,
    SIZE,
    Given,
    OrNoneType,
    confirmation_options,
    encrypt_names,
    job_names,
    kms_names,
    kms_option,
    link_later_option,
    old_secret_options,
    recovery_key_option,
    repository_names,
    secret_options,
    signer_option,
    words_of,
)
from strongroom.cli.output import (
    Column,
    pairs,
    printable,
    size,
    table,
    took,
    when,
    wrapped,
)
from strongroom.cli.words import Group, pass_door
from strongroom.errors import InvalidInputError, StrongroomError
from strongroom.model.gfs import Month, Week, Weekday
from strongroom.model.job import DEFAULT_RETENTION, RULES
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from strongroom.cli.door import Door, SecretPlace
    from strongroom.control.access import Access
    from strongroom.control.sessions import FailedRun, SessionResult
    from strongroom.control.views.jobs import JobResult, JobView
    from strongroom.control.views.points import RetentionPlan
    from strongroom.control.views.rewrapping import ReencryptedChain, ReencryptResult

_COMPRESSIONS = ("none", "fast", "balanced", "high")
_SEVERAL_FAILED = 16
_RETENTION = ("keep_last", "keep_days", "keep_weekly", "keep_monthly", "keep_yearly")
_NUMBERS = (
    "block_size",
    *_RETENTION,
    "full_every_points",
    "full_every_days",
    "expect_every_hours",
)
_TEXTS = ("pre_script", "post_script", "on_failure")


@click.group(
    "job",
    cls=Group,
    lazy={
        "copy": (
            "strongroom.cli.commands.job_copy:copy",
            "Copy a job's points to another repository, again and again.",
        )
    },
)
def job() -> None:
    r"""What is backed up, where to, kept how long; and running it.

    \b
    Exit status:
      0   done
      2   the request cannot be right
    """


def _settings(
    kind: Callable[[click.ParamType[Any]], click.ParamType[Any]],
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add what `create` and `edit` both take; `edit` accepts `none` for what has a number."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(
            [
                click.option(
                    "--encrypt",
                    metavar="password:NAME|kms:NAME|none",
                    shell_complete=encrypt_names,
                    help="What the backups are sealed for. There is no default.",
                ),
                click.option(
                    "--with-local-half/--without-local-half",
                    "local_half",
                    default=None,
                    help="Have a KMS's key need a half on this machine too (see docs/keys.md).",
                ),
                click.option(
                    "--exclude",
                    multiple=True,
                    metavar="P",
                    help="Leave out what fits P (gitignore's syntax); several times.",
                ),
                click.option(
                    "--one-file-system/--all-file-systems",
                    default=None,
                    help="Stay on the file system of each source, or cross into others.",
                ),
                click.option(
                    "--exclude-caches/--include-caches",
                    default=None,
                    help="Leave out folders with a CACHEDIR.TAG, or take them in.",
                ),
                click.option(
                    "--compression", type=click.Choice(_COMPRESSIONS), help="How hard to press."
                ),
                click.option(
                    "--block-size",
                    type=kind(SIZE),
                    metavar="S",
                    help="What of an image is sealed as one: 256KiB to 8MiB.",
                ),
                click.option(
                    "--keep-last",
                    type=kind(click.INT),
                    metavar="N",
                    help="Keep the newest N points of each source.",
                ),
                click.option(
                    "--keep-days",
                    type=kind(click.INT),
                    metavar="N",
                    help="Keep points younger than N days.",
                ),
                click.option(
                    "--keep-weekly",
                    type=kind(click.INT),
                    metavar="N",
                    help="Keep one point a week of each source, for N weeks.",
                ),
                click.option(
                    "--keep-monthly",
                    type=kind(click.INT),
                    metavar="N",
                    help="Keep one a month, for N months.",
                ),
                click.option(
                    "--keep-yearly",
                    type=kind(click.INT),
                    metavar="N",
                    help="Keep one a year, for N years.",
                ),
                click.option(
                    "--weekly-on",
                    type=words_of(Weekday),
                    metavar="DAY",
                    help="The weekly point is the first from this day on: sunday.",
                ),
                click.option(
                    "--monthly-on",
                    type=words_of(Week),
                    metavar="WEEK",
                    help="The monthly one from this week of the month on: first, … last.",
                ),
                click.option(
                    "--yearly-in",
                    type=words_of(Month),
                    metavar="MONTH",
                    help="The yearly one from this month on: january.",
                ),
                click.option(
                    "--full-every-points",
                    type=kind(click.INT),
                    metavar="N",
                    help="Read everything anew after N points.",
                ),
                click.option(
                    "--full-every-days",
                    type=kind(click.INT),
                    metavar="N",
                    help="Read everything anew after N days.",
                ),
                click.option(
                    "--expect-every",
                    "expect_every_hours",
                    type=kind(HOURS),
                    metavar="SPAN",
                    help="How often it is meant to run (24h, 7d): status tells when it is late.",
                ),
                click.option(
                    "--limit",
                    metavar="RATES",
                    help="How fast its sessions read and write in the repository: 10MB/s, or none "
                    "(see 'repository edit').",
                ),
                click.option(
                    "--pre-script", metavar="COMMAND", help="Run before; its failure ends it."
                ),
                click.option("--post-script", metavar="COMMAND", help="Run afterwards."),
                click.option(
                    "--on-failure",
                    metavar="COMMAND",
                    help="Run when a session failed or was cancelled.",
                ),
                click.option(
                    "--recovery/--no-recovery",
                    default=None,
                    help="Seal for the recovery key as well, if there is one, or not.",
                ),
                click.option(
                    "--secret-to-read/--no-secret-to-read",
                    default=None,
                    help="Read points only with a secret that is given (see docs/keys.md).",
                ),
            ]
        ):
            function = option(function)
        return function

    return decorate


# --- create, edit -----------------------------------------------------------------------------


@job.command("create")
@click.argument("name")
@click.option("--repository", metavar="R", shell_complete=repository_names, help="Where to.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="KIND:VALUE",
    help="files:PATH, image:PATH or command:'…'; several times for several sources.",
)
@_settings(lambda kind: kind)
@click.option(
    "--chain", "which", metavar="CHAIN", help="Go on in this chain, which another server began."
)
@click.option(
    "--repoint",
    nargs=2,
    multiple=True,
    metavar="OLD NEW",
    help="With --chain: its source OLD is read from NEW now.",
)
@secret_options("old-", "a password of the chain", into="old_places", several=True)
@kms_option("old-")
@recovery_key_option("With --chain: open it with this kit, or share and others")
@signer_option
@pass_door
def create(
    door: Door,
    /,
    name: str,
    repository: str | None,
    sources: tuple[str, ...],
    encrypt: str | None,
    which: str | None,
    repoint: tuple[tuple[str, str], ...],
    old_places: tuple[SecretPlace, ...],
    kms: tuple[str, ...],
    recovery_keys: tuple[Path, ...],
    signers: tuple[str, ...],
    **settings: object,
) -> None:
    r"""Make a job: what to back up, where to, sealed for whom, kept how long.

    Without --keep-last and --keep-days points stay 14 days. Of each source at least three
    points stay, whatever the rules say. --keep-weekly, --keep-monthly and --keep-yearly keep
    some of the new points longer; --keep-last does not count those.

    With --chain the job goes on where the server that began it has ended: its sources are the
    chain's, and its first session is an increment. The chain's newest secret is needed once,
    unless 'strongroom chain unlock' has kept it; older ones, too, where no link leads to their
    keys. That server writes nothing to the chain any
    more.

    \b
    Exit status:
      0   the job can run: strongroom job run NAME
      2   the job cannot be like that
      10  there is no such repository, password, KMS or chain
      11  a session of another server is running in the chain
      12  no secret given opens the chain, or one opens nothing
      13  the KMS that is to make its key does not answer
      15  NAME is taken, or the chain has a job here
      20  nothing vouches for who signs the chain, or it is damaged
    """
    if repository is None:
        raise InvalidInputError(
            f"job {name} has no place to write to", hint="say --repository NAME"
        )
    if not sources and which is None:
        raise InvalidInputError(f"job {name} has no source", hint="say --source files:/path")
    if encrypt is None:
        raise InvalidInputError(
            f"how job {name} is encrypted has to be said",
            hint="say --encrypt password:NAME or kms:NAME, or none: backups that anybody can read",
        )
    if which is None:
        for option, said in (
            ("--repoint", repoint),
            ("--old-password-…", old_places),
            ("--old-kms", kms),
            ("--recovery-key", recovery_keys),
            ("--signer", signers),
        ):
            if said:
                raise InvalidInputError(f"{option} says how to open a chain", hint="say --chain")
    from strongroom.control import jobs

    given: dict[str, Any] = {
        key: value for key, value in settings.items() if value not in (None, ())
    }
    request = jobs.JobRequest(
        name=name, repository=repository, sources=sources, encrypt=encrypt, **given
    )
    with door.context() as ctx:
        if which is None:
            result = jobs.create(ctx, request)
        else:
            from strongroom.control import chain_jobs
            from strongroom.control.access import Access

            access = Access(
                secrets=tuple(map(door.secret, old_places)),
                recovery_keys=recovery_keys,
                kms=kms,
                signers=signers,
            )
            result = chain_jobs.create(ctx, request, which, access, repoint=repoint)
    _show_result(door, result, f"created job {name}")
    nth = "first" if which is None else "next"
    door.speaker.hint(f"'strongroom job run {name}' makes the {nth} backup")


@job.command("edit")
@click.argument("name", shell_complete=job_names)
@click.option("--rename", metavar="NEW", help="Its new name.")
@click.option("--repository", metavar="R", shell_complete=repository_names, help="Where to.")
@click.option(
    "--source", "sources", multiple=True, metavar="KIND:VALUE", help="These and no others."
)
@click.option(
    "--add-source", "add_sources", multiple=True, metavar="KIND:VALUE", help="One more source."
)
@click.option(
    "--remove-source", "remove_sources", multiple=True, metavar="KIND:VALUE", help="One less."
)
@_settings(OrNoneType)
@secret_options("old-", "the present password, if it has to be given", into="old_place")
@click.option(
    "--kms",
    multiple=True,
    metavar="NAME",
    shell_complete=kms_names,
    help="With --no-secret-to-read: it opens the points.",
)
@click.option(
    "--recovery-key",
    "recovery_keys",
    type=FILE,
    multiple=True,
    metavar="FILE",
    help="With --no-secret-to-read: this kit opens the points.",
)
@link_later_option
@click.option("--yes", is_flag=True, help="Agree to a shorter retention; do not ask.")
@click.option("--yes-weaken", is_flag=True, help="Agree to what protects less; do not ask.")
@pass_door
def edit(
    door: Door,
    /,
    name: str,
    rename: str | None,
    old_place: SecretPlace,
    kms: tuple[str, ...],
    recovery_keys: tuple[Path, ...],
    link_later: bool,
    yes: bool,
    yes_weaken: bool,
    **settings: object,
) -> None:
    r"""Change job NAME. What is not named stays.

    The word none takes a number back, '' a script or all exclusions. Turning encryption on or
    off makes the next session a full by itself; another password or KMS does not, as long as
    what opened the job before is at hand or is given. With --link-later it does not either:
    until the older secret is at hand once, both are needed to restore.

    --no-secret-to-read needs a secret that opens all points that are there: a password, a KMS
    or a recovery kit.

    \b
    Exit status:
      0   it is changed; what the next session does because of it was said
      2   it cannot be like that, or nobody agreed to what weakens it
      10  there is no such job, repository, password, KMS or source
      12  the secret given does not open the points
      13  a repository or KMS did not answer: nothing was changed
      15  the new name is taken
    """
    from strongroom.control import jobs

    changes = jobs.JobChanges(**_changes(settings, rename))
    if (kms or recovery_keys) and settings["secret_to_read"] is not False:
        raise InvalidInputError(
            "--kms and --recovery-key say what opens the points", hint="say --no-secret-to-read"
        )
    old = door.secret(old_place)
    with door.home_context() as ctx:

        def change(agreed: bool) -> JobResult:
            return jobs.edit(
                ctx,
                name,
                changes,
                yes=yes or agreed,
                yes_weaken=yes_weaken or agreed,
                old=old if (old.named if link_later else old.can_ask) else None,
                link_later=link_later,
                proof=_proof(door, old_place, kms, recovery_keys),
            )

        result = door.confirmed(change, yes=False, option="--yes or --yes-weaken")
    did = "changed job {}" if result.changed else "job {} is like that already"
    _show_result(door, result, did.format(result.job.name))


def _proof(
    door: Door, place: SecretPlace, kms: tuple[str, ...], recovery_keys: tuple[Path, ...]
) -> Access | None:
    """Return the secret that was named to open the points, if one was."""
    if not (place.named or kms or recovery_keys):
        return None
    # Not at the top: of the commands here hardly one has a use for it.
    from strongroom.control.access import Access

    secret = door.named_secret(place)
    secrets = () if secret is None else (secret,)
    return Access(secrets=secrets, recovery_keys=recovery_keys, kms=kms)


def _changes(settings: dict[str, object], rename: str | None) -> dict[str, Any]:
    """Return what was said, as the control plane takes it: None takes a setting back."""
    changes: dict[str, Any] = {
        key: value for key, value in settings.items() if value not in (None, ())
    }
    for key, value in changes.items():
        if value == (OrNoneType.NONE if key in _NUMBERS else "" if key in _TEXTS else None):
            changes[key] = None
    if changes.get("exclude") == ("",):
        changes["exclude"] = ()
    if rename is not None:
        changes["name"] = rename
    return changes


def _show_result(door: Door, result: JobResult, done: str) -> None:
    door.show(result, [done])
    door.tell_warnings(result.warnings)
    for notice in result.notices:
        door.speaker.say(notice)


# --- list, show, remove, detach ---------------------------------------------------------------


@job.command("list")
@pass_door
def list_(door: Door) -> None:
    r"""List the jobs.

    \b
    Exit status:
      0   they were listed, be it none
    """
    from strongroom.control import jobs

    with door.context() as ctx:
        views = jobs.list_all(ctx) if ctx.has_catalog else ()
    columns = [
        Column("NAME", flexible=True),
        Column("REPOSITORY", flexible=True),
        Column("ENCRYPT", flexible=True),
        Column("LAST RUN"),
        Column("STATE"),
    ]
    rows = [
        (view.name, view.repository, view.encrypt, when(view.last_run_at), view.last_state or "-")
        for view in views
    ]
    door.show({"jobs": views}, table(columns, rows) if rows else [])
    if not views:
        door.speaker.hint("'strongroom job create --help' shows how the first job is made")


@job.command("show")
@click.argument("name", shell_complete=job_names)
@pass_door
def show(door: Door, name: str) -> None:
    r"""Show job NAME with all its settings.

    \b
    Exit status:
      0   it was shown
      10  there is no such job
    """
    from strongroom.control import jobs

    with door.home_context() as ctx:
        view = jobs.show(ctx, name)
    door.show({"job": view}, _job_lines(view))


def _job_lines(view: JobView) -> list[str]:
    items: list[tuple[str, str | Sequence[str]]] = [
        ("job", view.name),
        ("repository", view.repository),
        ("sources", view.sources),
        ("encrypt", view.encrypt),
        *([("links", _unlinked(view))] if view.unlinked else []),
        ("lost password", "covered by the recovery key" if view.protected else "not covered"),
        ("reading", _reads(view)),
        ("exclude", view.exclude),
        ("caches", "left out" if view.exclude_caches else "taken in"),
        ("file systems", "one" if view.one_file_system else "all"),
        ("compression", view.compression),
        ("block size", size(view.block_size)),
        ("keep", _keeps(view).split("; ")),
        ("full", _fulls(view)),
        ("expected", f"every {view.expect_every_hours} h" if view.expect_every_hours else "-"),
        ("limit", view.limit or "-"),
        ("pre script", view.pre_script or "-"),
        ("post script", view.post_script or "-"),
        ("on failure", view.on_failure or "-"),
        ("chain", view.chain or "-"),
        ("last run", when(view.last_run_at)),
        ("last state", view.last_state or "-"),
    ]
    if not view.encrypt.startswith("password:"):
        items = [item for item in items if item[0] != "lost password"]
    return pairs(items)


def _reads(view: JobView) -> str:
    if view.secret_to_read:
        return "needs a secret that is given"
    return "opens with what the keystore holds" if view.encrypt != "none" else "needs no secret"


def _keeps(view: JobView | RetentionPlan) -> str:
    return str(DEFAULT_RETENTION.changed({rule: getattr(view, rule) for rule in RULES}))


def _unlinked(view: JobView) -> str:
    keys = ", ".join(one[:12] for one in view.unlinked)
    return f"none yet to older key {keys}: its secret is needed too"


def _fulls(view: JobView) -> str:
    rules = []
    if view.full_every_points is not None:
        rules.append(f"every {view.full_every_points} points")
    if view.full_every_days is not None:
        rules.append(f"every {view.full_every_days} days")
    return " or ".join(rules) or "when needed"


@job.command("remove")
@click.argument("name", shell_complete=job_names)
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_door
def remove(door: Door, name: str, yes: bool) -> None:
    r"""Remove job NAME. Its points expire by its rules.

    No session decides about them any longer: repository prune does, and lets the last ones go
    as well. Held points stay, and so do as many of the newest as --keep-last says.

    \b
    Exit status:
      0    it is removed
      2    there is no terminal to ask on, and no --yes
      10   there is no such job
      130  the answer was no
    """
    from strongroom.control import jobs

    with door.home_context() as ctx:
        removed = door.confirmed(lambda agreed: jobs.remove(ctx, name, yes=agreed), yes)
    door.show(removed, [f"removed job {name}"])
    for notice in removed.notices:
        door.speaker.say(notice)


# --- re-wrap -------------------------------------------------------------------------------------


@job.command("rewrap")
@click.argument("name", shell_complete=job_names)
@old_secret_options
@confirmation_options
@pass_door
def rewrap(
    door: Door,
    name: str,
    given: Given,
    dry_run: bool,
    yes: bool,
) -> None:
    r"""Seal old points of job NAME for today's recipients, and for nobody else.

    Old envelopes are replaced; blocks stay as they are. Which of three is called for:

    \b
    change      (password edit, job edit) new recipients for what is to come.
                Enough for a password that is due and that nobody else has.
    re-wrap     a lost laptop that had the password, and no copy of the
                repository: shuts out who never copied an old envelope.
                Change first.
    re-encrypt  (job reencrypt) a colleague who left and may have copied
                envelopes; a leaked password whose finder may have seen the
                repository. Shuts out who never copied the old blocks.
                Change first.

    Nothing takes back what somebody has read or copied together with its secret.

    \b
    Exit status:
      0    every chain key is sealed for today's recipients alone
      2    the job is not encrypted, or nobody agreed
      3    some are not: nothing opens them, or the storage keeps an old envelope
      10   there is no such job
      11   a session of the job is running
      12   an old secret cannot be had, or opens nothing
      13   storage did not answer
      130  the answer was no
    """
    from strongroom.cli import reports
    from strongroom.control import rewrapping

    old = given.access(door)
    with door.home_context() as ctx:
        result = door.confirmed(
            lambda agreed: rewrapping.rewrap(ctx, name, old=old, dry_run=dry_run, yes=agreed),
            yes,
        )
    reports.show_rewrap(door, result)


# --- re-encrypt ----------------------------------------------------------------------------------


@job.command("reencrypt")
@click.argument("name", shell_complete=job_names)
@old_secret_options
@click.option(
    "--abandon", is_flag=True, help="Remove what was made of it, if it is not finished yet."
)
@confirmation_options
@pass_door
def reencrypt(
    door: Door,
    name: str,
    given: Given,
    abandon: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    r"""Give old points of job NAME new keys, in a new chain, without reading the source.

    Every block that live points use is opened and sealed again, for today's recipients. Old
    secrets and old envelopes open nothing of it. For a colleague who left and may have copied
    envelopes, or a leaked password; for a lost laptop job rewrap is enough. Change the password
    first. Nobody can take back blocks that were copied.

    Points keep their ids, times and holds. The new chain takes as much room as the old one's
    live points; until all of it is verified it is not seen, and jobs go on in the old one. What
    was stopped goes on when it is said again. The old chain goes with repository prune, after
    its quarantine.

    \b
    Exit status:
      0    all points are in chains with new keys
      2    the job is not encrypted, or nobody agreed
      3    some chains are left: damaged, another server's, or closed
      10   there is no such job; with --abandon: nothing is unfinished
      11   a session of the job is running
      12   an old password cannot be had, or does not open what was begun
      13   storage did not answer; say it again
      14   the storage refused: rights, quota, a full disk
      15   the job's recipients changed since it began; or --abandon too late
      20   what was read back is not what it should be; nothing was given up
      130  stopped on request, or the answer was no; say it again to go on
    """
    from strongroom.control import reencryption

    if abandon and (dry_run or yes):
        raise click.UsageError("--abandon goes alone", click.get_current_context())
    old = given.access(door)
    with door.home_context() as ctx:

        def act(agreed: bool) -> ReencryptResult:
            with door.work() as (progress, cancel):
                return reencryption.reencrypt(
                    ctx,
                    name,
                    old=old,
                    dry_run=dry_run,
                    yes=agreed,
                    progress=progress,
                    cancel=cancel,
                )

        result = reencryption.abandon(ctx, name) if abandon else door.confirmed(act, yes)
    door.show(result, _reencrypt_lines(result))
    left = [one for one in result.chains if one.state == "left"]
    for one in left:
        door.speaker.warn(f"chain {one.chain[:12]} is left as it is: {one.reason}")
    door.tell_warnings(result.warnings)
    if left or result.warnings:
        door.exit_status = WARNINGS
    if any(one.state == "reencrypted" for one in result.chains):
        door.speaker.hint(
            "'strongroom repository prune' removes the old chain once its quarantine is over"
        )


def _reencrypt_lines(result: ReencryptResult) -> list[str]:
    lines = [_reencrypted_line(one) for one in result.chains if one.state != "left"]
    return lines or ["nothing to re-encrypt"]


def _reencrypted_line(one: ReencryptedChain) -> str:
    what = f"{counted(one.points, 'point')}, {size(one.stored_bytes)}"
    states = {
        "due": f"to be re-encrypted: {what}",
        "unfinished": f"begun as chain {(one.new_chain or '')[:12]}, to be gone on with: {what}",
        "reencrypted": f"re-encrypted as chain {(one.new_chain or '')[:12]}: {what}",
        "abandoned": "what was made of a new one is removed",
    }
    return f"chain {one.chain[:12]}: {states[one.state]}"


# --- retention --------------------------------------------------------------------------------


@job.command("retention")
@click.argument("name", shell_complete=job_names)
@click.option(
    "--keep-last",
    type=OrNoneType(click.INT),
    metavar="N",
    help="As if the newest N points of each source were kept; none: as if not.",
)
@click.option(
    "--keep-days",
    type=OrNoneType(click.INT),
    metavar="N",
    help="As if points younger than N days were kept; none: as if not.",
)
@click.option(
    "--keep-weekly",
    type=OrNoneType(click.INT),
    metavar="N",
    help="As if weekly points were kept for N weeks; none: as if not.",
)
@click.option(
    "--keep-monthly",
    type=OrNoneType(click.INT),
    metavar="N",
    help="As if monthly points were kept for N months; none: as if not.",
)
@click.option(
    "--keep-yearly",
    type=OrNoneType(click.INT),
    metavar="N",
    help="As if yearly points were kept for N years; none: as if not.",
)
@pass_door
def retention(door: Door, /, name: str, **settings: object) -> None:
    r"""Show which points of job NAME stay at this moment, which go, and why.

    Nothing is changed. Judged are the points in the job's repository, by the job's rules or,
    where one is given, by others; job edit makes them the job's. The next session judges
    again, together with the points that it makes. Which points are weekly, monthly and yearly
    was decided when they were made.

    \b
    Exit status:
      0   it was shown
      2   rules cannot be like that
      10  there is no such job
    """
    from strongroom.control import retention as control

    rules = _changes(settings, None)
    with door.home_context() as ctx:
        plan = control.plan(ctx, name, rules)
    door.show(plan, _retention_lines(plan))


def _retention_lines(plan: RetentionPlan) -> Iterator[str]:
    """Return a line for each point and its reasons below it."""
    yield f"job {printable(plan.job)} keeps {_keeps(plan)}"
    for one in plan.points:
        yield f"{one.id} {when(one.taken_at)}" + (f" {printable(one.source)}" if one.source else "")
        yield from wrapped(f"{'keeps' if one.stays else 'goes'}: {'; '.join(one.reasons)}", "  ")
    staying = sum(one.stays for one in plan.points)
    yield f"{counted(staying, 'point')} would stay, {len(plan.points) - staying} would go"


@job.command("detach")
@click.argument("name", shell_complete=job_names)
@pass_door
def detach(door: Door, name: str) -> None:
    r"""Split the chain of job NAME off: the next session starts another with a full.

    The points of the present chain stay as long as retention keeps them.

    \b
    Exit status:
      0   it is split off
      10  there is no such job, or it has no chain yet
    """
    from strongroom.control import jobs

    with door.home_context() as ctx:
        result = jobs.detach(ctx, name)
    _show_result(door, result, f"detached the chain of job {name}")


# --- run --------------------------------------------------------------------------------------


@job.command("run")
@click.argument("name", required=False, shell_complete=job_names)
@click.option("--all", "every", is_flag=True, help="Run every job; one that fails stops no other.")
@click.option("--full", is_flag=True, help="Read everything anew, into a new chain.")
@click.option(
    "--synthetic-full",
    "synthetic",
    is_flag=True,
    help="Read nothing: make a full of what is stored, as a new chain.",
)
@click.option(
    "--break-lock",
    is_flag=True,
    help="Take the lock from a session that no longer runs; one that does cannot publish.",
)
@secret_options("old-", "the password of the chain before, if it has to be asked", into="old_place")
@pass_door
def run(
    door: Door,
    name: str | None,
    every: bool,
    full: bool,
    synthetic: bool,
    break_lock: bool,
    old_place: SecretPlace,
) -> None:
    r"""Run job NAME once, or with --all every job.

    \b
    Exit status:
      0    there are new restore points
      2    the request cannot be right
      3    there are new restore points, and warnings
      10   there is no such job, or its repository is not there
      11   another session of the job is running
      12   the keystore does not open
      13   storage, source or a strict KMS did not answer
      14   storage or KMS refused: rights, quota, a full disk, a destroyed key
      16   a script, a command or every source failed; of several jobs more than one
      20   the repository is not what it was
      130  stopped on request; the next run goes on from there
    """
    if (name is None) != every:
        raise click.UsageError("name one job, or say --all", click.get_current_context())
    if full and synthetic:
        raise click.UsageError("a full is either read or made", click.get_current_context())
    for option, given in (
        ("--full", full),
        ("--synthetic-full", synthetic),
        ("--break-lock", break_lock),
    ):
        if every and given:
            raise click.UsageError(f"{option} is for one job", click.get_current_context())
    from strongroom.control import sessions

    old = door.secret(old_place)
    with door.home_context() as ctx, door.work() as (progress, cancel):
        if name is not None:
            results: Sequence[SessionResult | FailedRun] = [
                sessions.run(
                    ctx,
                    name,
                    full=full,
                    synthetic=synthetic,
                    break_lock=break_lock,
                    progress=progress,
                    cancel=cancel,
                    old=old if old.can_ask else None,
                )
            ]
        else:
            results = sessions.run_all(ctx, progress=progress, cancel=cancel)
    documents = [_run_document(result) for result in results]
    lines = [line for result in results for line in _run_lines(result)]
    door.show(documents[0] if name is not None else {"sessions": documents}, lines)
    _tell_how_they_went(door, results, every)
    if not results:
        door.speaker.hint("there is no job: 'strongroom job create --help' shows how one is made")


def _run_document(result: SessionResult | FailedRun) -> object:
    error: StrongroomError | None = getattr(result, "error", None)
    if error is None:
        return result
    return {"job": result.job, "state": "failed", "error": error_fields(error)}


def _run_lines(result: SessionResult | FailedRun) -> list[str]:
    if getattr(result, "error", None) is not None:
        return [f"{result.job}: failed"]
    return _session_lines(result)  # type: ignore[arg-type] # the one without an error


def _session_lines(result: SessionResult) -> list[str]:
    reason = f" ({result.reason})" if result.reason and result.kind != "incremental" else ""
    lines = [
        f"{result.job}: {result.state}, {result.kind}{reason}, {took(result.seconds)}",
        f"  read {size(result.read_bytes)}, changed {size(result.changed_bytes)}, "
        f"stored {size(result.stored_bytes)}, {counted(result.files, 'file')}",
        *(f"  point {point}" for point in result.points),
    ]
    if result.cloned_bytes or result.copied_bytes or result.copied_there_bytes:
        lines.insert(2, f"  {_how_moved(result)}")
    lines += [f"  gave up {gone.id}: {gone.reason}" for gone in result.given_up]
    return lines


def _how_moved(result: SessionResult) -> str:
    """Say whether the storage shares blocks, or had to copy them."""
    if result.cloned_bytes:
        return f"cloned {size(result.cloned_bytes)}, copied {size(result.copied_bytes)}"
    if not result.copied_there_bytes:
        return f"copied, no cloning: {size(result.copied_bytes)}; the storage cannot share blocks"
    here = f", {size(result.copied_bytes)} by this machine" if result.copied_bytes else ""
    return f"copied, no cloning: {size(result.copied_there_bytes)} by the storage itself{here}"


def _tell_how_they_went(
    door: Door, results: Sequence[SessionResult | FailedRun], every: bool
) -> None:
    statuses: set[int] = set()
    for result in results:
        prefix = f"{result.job}: " if every else ""
        error: StrongroomError | None = getattr(result, "error", None)
        if error is not None:
            fields = error_fields(error)
            door.speaker.fail({**fields, "message": f"{prefix}{error}", "job": result.job})
            statuses.add(exit_code(error))
            continue
        warnings: Sequence[str] = getattr(result, "warnings", ())
        door.tell_warnings(f"{prefix}{warning}" for warning in warnings)
        if warnings or getattr(result, "state", "") == "warning":
            statuses.add(WARNINGS)
    failures = statuses - {WARNINGS}
    if len(failures) > 1:
        door.exit_status = _SEVERAL_FAILED
    elif statuses:
        door.exit_status = max(failures, default=WARNINGS)
