"""`strongroom job copy …`: standing orders that points are copied to another repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from strongroom.cli.options import (
    Given,
    confirmation_options,
    copy_job_names,
    copy_limit_option,
    encrypt_names,
    given_options,
    job_names,
    old_secret_options,
    repository_names,
)
from strongroom.cli.output import Column, pairs, table, when
from strongroom.cli.words import Group, pass_door

if TYPE_CHECKING:
    from strongroom.cli.door import Door
    from strongroom.control.views.jobs import CopyJobView


@click.group("copy", cls=Group)
def copy() -> None:
    r"""Copy a job's points to another repository, again and again.

    \b
    Two commands give a job a second place:
      strongroom repository add offsite /mnt/offsite
      strongroom job copy create NAME --from JOB --to offsite

    \b
    Exit status:
      0   done
      2   the request cannot be right
    """


@copy.command("create")
@click.argument("name")
@click.option(
    "--from",
    "job",
    required=True,
    metavar="JOB",
    shell_complete=job_names,
    help="The job whose points are copied.",
)
@click.option(
    "--to",
    "repository",
    required=True,
    metavar="R",
    shell_complete=repository_names,
    help="The repository that they are copied to.",
)
@click.option(
    "--after-run/--by-hand",
    "after_run",
    default=True,
    help="Copy behind every session of JOB (so it is by default), or only when it is run.",
)
@click.option(
    "--encrypt",
    metavar="password:NAME|kms:NAME|none",
    shell_complete=encrypt_names,
    help="Give the copy a key of its own, sealed for this; by default it stays as it is.",
)
@click.option(
    "--with-local-half",
    "local_half",
    is_flag=True,
    help="Have a KMS's key need a half on this machine too (see docs/keys.md).",
)
@click.option(
    "--recovery/--no-recovery",
    default=True,
    help="Seal it for the recovery key as well, if there is one (so it is), or not.",
)
@click.option("--no-encryption", is_flag=True, help="The same as --encrypt none.")
@click.option(
    "--force",
    is_flag=True,
    help="With --encrypt none: yes, anybody shall be able to read the copy.",
)
@given_options("a password of the points, for a plain copy of a guarded job")
@pass_door
def create(
    door: Door,
    name: str,
    job: str,
    repository: str,
    after_run: bool,
    encrypt: str | None,
    local_half: bool,
    recovery: bool,
    no_encryption: bool,
    force: bool,
    given: Given,
) -> None:
    r"""Make copy job NAME. Sealed points stay sealed, unless you insist.

    By default they are copied as they are: no key is needed, and what opens them opens the
    copy. With --encrypt every block is sealed again under new keys: what opens the points does
    not open the copy, nor the reverse. Then the points' secret is needed to copy: that is the
    stored one, or one that is given to job copy run.

    With --encrypt none and --force encrypted points are opened and stored for anybody to read.
    Each copy then warns, and report calls it a problem. No vault takes such a copy, and who
    asks for one of a guarded job gives its secret here and with each copy.

    A copy that fails makes a session end with warnings; its points are made all the same.

    \b
    Exit status:
      0   it is made
      2   the request cannot be right
      10  there is no such job, repository, password or KMS
      12  a guarded job's secret is needed; or whom to seal for was lost
      13  the KMS did not answer
      14  a plain copy takes --force, and no vault; or the KMS refused
      15  the name is taken
    """
    from strongroom.control import copy_jobs

    if no_encryption and encrypt is not None:
        raise click.UsageError(
            "--no-encryption and --encrypt exclude each other", click.get_current_context()
        )
    access = given.access(door)
    with door.home_context() as ctx:
        view = copy_jobs.create(
            ctx,
            name,
            job,
            repository,
            after_run=after_run,
            encrypt="none" if no_encryption else encrypt,
            local_half=local_half,
            recovery=recovery,
            force=force,
            given=access,
        )
    plain = view.encrypt == "none"
    sealed = ", not encrypted" if plain else f", sealed for {view.encrypt}" if view.encrypt else ""
    if plain:
        door.speaker.warn(
            f"copy {name} is not encrypted: whoever reads repository {repository} reads the points "
            f"of job {job}"
        )
    door.show({"copy_job": view}, [f"created copy job {name}: {job} to {repository}{sealed}"])
    door.speaker.hint(f"'strongroom job copy run {name}' copies what is there already")


@copy.command("list")
@pass_door
def list_(door: Door) -> None:
    r"""List the copy jobs.

    \b
    Exit status:
      0   they were listed, be it none
    """
    from strongroom.control import copy_jobs

    with door.context() as ctx:
        views = copy_jobs.list_all(ctx) if ctx.has_catalog else ()
    columns = [
        Column("NAME", flexible=True),
        Column("FROM", flexible=True),
        Column("TO", flexible=True),
        Column("ENCRYPT", flexible=True),
        Column("WHEN"),
        Column("LAST"),
    ]
    rows = [
        (
            view.name,
            view.job,
            view.repository,
            _encrypt(view),
            _when(view),
            _last(view, brief=True),
        )
        for view in views
    ]
    door.show({"copy_jobs": views}, table(columns, rows) if rows else [])


@copy.command("show")
@click.argument("name", shell_complete=copy_job_names)
@pass_door
def show(door: Door, name: str) -> None:
    r"""Show copy job NAME, and how its last copy ended.

    \b
    Exit status:
      0   it was shown
      10  there is no such copy job
    """
    from strongroom.control import copy_jobs

    with door.home_context() as ctx:
        view = copy_jobs.show(ctx, name)
    lines = pairs(
        [
            ("copy job", view.name),
            ("from", f"job {view.job}"),
            ("to", f"repository {view.repository}"),
            ("encrypt", _encrypt(view)),
            ("when", _when(view)),
            ("last", _last(view, brief=False)),
        ]
    )
    door.show({"copy_job": view}, lines)


@copy.command("run")
@click.argument("name", shell_complete=copy_job_names)
@click.option("--check", is_flag=True, help="Read what the copy has, too, and replace damage.")
@copy_limit_option
@given_options("a password of the points")
@pass_door
def run(
    door: Door,
    name: str,
    check: bool,
    limit: str | None,
    given: Given,
) -> None:
    r"""Copy now what copy job NAME is for.

    A copy with a key of its own opens the points and seals them again, and a plain one opens
    them. Where what opens them is not stored, because their password is write-only or the job
    is guarded, say it here.

    \b
    Exit status:
      0    the copy has all that the job's chains promise
      2    it takes no secret, or, with a key of its own or plain, no --check
      10   there is no such copy job, or its job has no points yet
      11   somebody is at work on the job there
      12   the points do not open with what is at hand; give their secret
      13   the storage did not answer
      14   the storage refused, or is full
      20   the source is damaged or not to be believed; what is whole was copied
      130  stopped on request
    """
    from strongroom.cli import reports
    from strongroom.control import copy_jobs

    access = given.access(door)
    with door.home_context() as ctx, door.work() as (progress, cancel):
        result = copy_jobs.run(
            ctx, name, check=check, given=access, limit=limit, progress=progress, cancel=cancel
        )
    reports.show_copy(door, result)


@copy.command("rewrap")
@click.argument("name", shell_complete=copy_job_names)
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
    r"""Seal what copy job NAME made for its recipients of today, and for nobody else.

    A copy with a key of its own follows a changed password by itself: what comes is sealed for
    the new one, which opens what was there as well. The old one goes on to open that until its
    envelopes are replaced here, as job rewrap does for a job. Blocks stay as they are, so who
    copied an old envelope goes on to open what it leads to.

    \b
    Exit status:
      0    every chain key is sealed for today's recipients alone
      2    the copy has no key of its own, or nobody agreed
      3    some are not: nothing opens them, or the storage keeps an old envelope
      10   there is no such copy job
      11   a copy is being made
      12   an old secret cannot be had, or opens nothing
      13   the storage did not answer
      130  the answer was no
    """
    from strongroom.cli import reports
    from strongroom.control import rewrapping

    old = given.access(door)
    with door.home_context() as ctx:
        result = door.confirmed(
            lambda agreed: rewrapping.rewrap_copy(ctx, name, old=old, dry_run=dry_run, yes=agreed),
            yes,
        )
    reports.show_rewrap(door, result)


@copy.command("remove")
@click.argument("name", shell_complete=copy_job_names)
@pass_door
def remove(door: Door, name: str) -> None:
    r"""Forget copy job NAME. What it copied stays.

    \b
    Exit status:
      0   it is forgotten
      10  there is no such copy job
    """
    from strongroom.control import copy_jobs

    with door.home_context() as ctx:
        view = copy_jobs.remove(ctx, name)
    stays = f"what it copied to {view.repository} stays"
    door.show({"copy_job": view}, [f"forgot copy job {name}; {stays}"])


def _encrypt(view: CopyJobView) -> str:
    return "none: anybody can read it" if view.encrypt == "none" else view.encrypt or "as it is"


def _when(view: CopyJobView) -> str:
    return "after each session" if view.after_run else "by hand"


def _last(view: CopyJobView, *, brief: bool) -> str:
    if view.ran_at is None:
        return "never"
    at = when(view.ran_at)
    if view.problem is None:
        return at
    return f"{at}, not all" if brief else f"{at}: {view.problem}"
