"""`strongroom kms …`: key services that backups are sealed for, and their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from strongroom.cli.errors import WARNINGS
from strongroom.cli.options import FILE, job_names, kms_names, secret_options
from strongroom.cli.output import Column, pairs, table, when, wrapped
from strongroom.cli.output import yes as yes_or_no
from strongroom.cli.words import Group, pass_door

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from strongroom.cli.door import Door, SecretPlace
    from strongroom.control.kms import Given
    from strongroom.control.views.kms import KmsKeyView, KmsSyncResult, KmsView

_REFUSED = 14


@click.group("kms", cls=Group)
def kms() -> None:
    r"""Key services that backups are sealed for, and their keys.

    A URL says where one is:

    \b
      kmip://HOST[:5696]                    KMIP 1.4 over mutual TLS
      aws://REGION[?endpoint=URL]           AWS KMS
      transit+https://HOST:8200/MOUNT       Vault's or OpenBao's transit engine
      pkcs11:token=LABEL?module-path=/X.so  a PKCS#11 token

    \b
    Exit status:
      0   done
      2   the request cannot be right
    """


def _credentials(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what a KMS is to know us by."""
    for option in (
        click.option(
            "--ca",
            "authorities",
            type=FILE,
            metavar="F",
            help="File F has the certificates that sign the server's (PEM, CRLs too).",
        ),
        click.option(
            "--client-key", type=FILE, metavar="F", help="File F has that certificate's key (PEM)."
        ),
        click.option(
            "--client-certificate",
            type=FILE,
            metavar="F",
            help="File F has the certificate to show (PEM).",
        ),
        secret_options(what="the token, PIN or secret access key", into="place", noun="secret"),
        click.option(
            "--account", metavar="ID", help="Access key id (AWS) or role id (AppRole of transit)."
        ),
    ):
        function = option(function)
    return function


def _given(door: Door, place: SecretPlace, values: dict[str, Any]) -> Given:
    from strongroom.control.kms import Given

    return Given(
        account=values["account"],
        secret=door.named_secret(place),
        certificate=values["client_certificate"],
        key=values["client_key"],
        authorities=values["authorities"],
    )


@kms.command("add")
@click.argument("name")
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@_credentials
@click.option(
    "--bits", type=click.Choice(["3072", "4096"]), default="3072", help="Of the keys made there."
)
@click.option(
    "--strict/--no-strict", default=False, help="Have sessions fail while it is away, or go on."
)
@pass_door
def add(
    door: Door,
    /,
    name: str,
    urls: tuple[str, ...],
    place: SecretPlace,
    bits: str,
    strict: bool,
    **values: Path | str | None,
) -> None:
    r"""Add the KMS at URL as NAME. Further URLs are tried where it does not answer.

    \b
    Exit status:
      0   jobs can be sealed for it: job create … --encrypt kms:NAME
      2   a URL, a file or what it is to know us by cannot be right
      13  it does not answer
      14  it does not know us, or its library is not installed
      15  NAME is taken
    """
    from strongroom.control import kms as control

    given = _given(door, place, values)
    with door.context() as ctx:
        result = control.add(ctx, name, urls, given, bits=int(bits), strict=strict)
    door.show(result, [f"added KMS {name}"])
    door.tell_warnings(result.warnings)
    for notice in result.notices:
        door.speaker.say(notice)


@kms.command("list")
@pass_door
def list_(door: Door) -> None:
    r"""List the key services.

    \b
    Exit status:
      0   they were listed, be it none
    """
    from strongroom.control import kms as control

    with door.context() as ctx:
        views = control.list_all(ctx) if ctx.has_catalog else ()
    columns = [
        Column("NAME", flexible=True),
        Column("KIND"),
        Column("VOUCHES"),
        Column("SYNCED"),
        Column("JOBS", flexible=True),
        Column("ENDPOINTS", flexible=True),
    ]
    rows = [
        (
            view.name,
            view.kind,
            yes_or_no(view.vouches),
            when(view.synced_at),
            ", ".join(view.jobs) or "-",
            " ".join(view.endpoints),
        )
        for view in views
    ]
    door.show({"kms": views}, table(columns, rows) if rows else [])
    if not views:
        door.speaker.hint("'strongroom kms add NAME URL' adds one")


@kms.command("show")
@click.argument("name", shell_complete=kms_names)
@pass_door
def show(door: Door, name: str) -> None:
    r"""Show KMS NAME, its keys, and the points that depend on them.

    \b
    Exit status:
      0   it was shown
      3   one of its certificates ends within 30 days, or has ended
      10  there is none of this name
    """
    from strongroom.control import kms as control

    with door.home_context() as ctx:
        result = control.show(ctx, name)
    door.show(result, _lines(result.kms))
    door.tell_warnings(result.warnings)
    if result.warnings:
        door.exit_status = WARNINGS


def _lines(view: KmsView) -> list[str]:
    facts = [
        ("name", view.name),
        ("kind", view.kind),
        *(("endpoint", endpoint) for endpoint in view.endpoints),
        ("keys are", f"RSA-{view.bits}"),
        ("while away", "sessions fail" if view.strict else "sessions go on, with a warning"),
        ("vouches", yes_or_no(view.vouches)),
        ("synced", when(view.synced_at)),
        ("jobs", ", ".join(view.jobs) or "-"),
        *(
            (f"{one.role} until", f"{one.not_after:%Y-%m-%d}, {one.subject}")
            for one in view.certificates
        ),
    ]
    return [*pairs(facts), *_key_lines(view.keys)]


def _key_lines(keys: tuple[KmsKeyView, ...]) -> list[str]:
    if not keys:
        return []
    columns = [
        Column("KEY", flexible=True),
        Column("VERSION"),
        Column("STATE"),
        Column("MADE"),
        Column("POINTS"),
        Column("JOB", flexible=True),
    ]
    rows = [
        (
            key.name,
            f"{key.version}{' *' if key.present else ''}",
            key.state,
            when(key.made_at),
            str(key.points),
            key.job or "-",
        )
        for key in keys
    ]
    return ["", *table(columns, rows)]


@kms.command("test")
@click.argument("name", shell_complete=kms_names)
@pass_door
def test(door: Door, name: str) -> None:
    r"""Ask every endpoint of KMS NAME, and have it open something with every key in use.

    \b
    Exit status:
      0   all of them do
      3   a certificate ends within 30 days; all else is well
      10  there is none of this name
      14  an endpoint or a key does not do what it should
    """
    from strongroom.control import kms as control

    with door.home_context() as ctx:
        result = control.test(ctx, name)
    lines = [
        line
        for one in result.endpoints
        for line in (
            f"{'ok ' if one.ok else '!! '} {one.endpoint} ({one.seconds:.2f} s)",
            *wrapped(one.problem or "", "     "),
        )
    ]
    lines += [
        line
        for key in result.keys
        for line in (
            f"{'ok ' if key.opened else '!! '} key {key.name} of job {key.job or '-'}: {key.state}",
            *wrapped(key.problem or "", "     "),
        )
    ]
    lines.append("all is well" if result.ok else "something needs attention")
    door.show(result, lines)
    door.tell_warnings(result.warnings)
    if not result.ok:
        door.exit_status = _REFUSED
    elif result.warnings:
        door.exit_status = WARNINGS


@kms.command("edit")
@click.argument("name", shell_complete=kms_names)
@click.option("--rename", metavar="NEW", help="Its new name.")
@click.option(
    "--url", "urls", multiple=True, metavar="URL", help="Its endpoints: these and no others."
)
@_credentials
@click.option(
    "--bits", type=click.Choice(["3072", "4096"]), help="Of the keys made there from now on."
)
@click.option(
    "--strict/--no-strict", default=None, help="Have sessions fail while it is away, or go on."
)
@pass_door
def edit(
    door: Door,
    /,
    name: str,
    rename: str | None,
    urls: tuple[str, ...],
    place: SecretPlace,
    bits: str | None,
    strict: bool | None,
    **values: Path | str | None,
) -> None:
    r"""Change KMS NAME: where it is, what it is to know us by. What is not named stays.

    New certificates and tokens are tried out before they take the old ones' place. Jobs and
    points are not touched.

    \b
    Exit status:
      0   it is changed
      2   a URL, a file or what it is to know us by cannot be right
      10  there is none of this name
      14  it does not know us by what is new: nothing was changed
      15  the new name is taken
    """
    from strongroom.control import kms as control

    given = _given(door, place, values)
    with door.home_context() as ctx:
        result = control.edit(
            ctx,
            name,
            new_name=rename,
            urls=urls,
            given=given,
            bits=None if bits is None else int(bits),
            strict=strict,
        )
    door.show(result, [f"changed KMS {result.kms.name}"])
    door.tell_warnings(result.warnings)
    for notice in result.notices:
        door.speaker.say(notice)


@kms.command("remove")
@click.argument("name", shell_complete=kms_names)
@pass_door
def remove(door: Door, name: str) -> None:
    r"""Forget KMS NAME. Its keys stay at the server.

    \b
    Exit status:
      0   it is forgotten
      10  there is none of this name
      15  jobs or points need it
    """
    from strongroom.control import kms as control

    with door.home_context() as ctx:
        view = control.remove(ctx, name)
    door.show(view, [f"removed KMS {name}"])
    for key in view.keys:
        door.speaker.say(f"key {key.name} ({key.key}) is still there: destroy it at the server")


@kms.command("sync")
@click.argument("name", shell_complete=kms_names)
@pass_door
def sync(door: Door, name: str) -> None:
    r"""Learn which keys of KMS NAME were rotated, disabled or destroyed.

    A session does the same where the last time is more than 24 hours ago.

    \b
    Exit status:
      0   every key that points need opens
      3   a key opens nothing any longer, or a certificate ends soon
      10  there is none of this name
      13  it does not answer
      14  it does not know us
    """
    from strongroom.control import kms_keys

    with door.home_context() as ctx:
        result = kms_keys.sync(ctx, name)
    _show_sync(door, result, f"KMS {name} is in step")


@kms.command("rotate")
@click.argument("name", shell_complete=kms_names)
@click.option(
    "--job",
    metavar="JOB",
    shell_complete=job_names,
    help="Only the key of this job, or copy job.",
)
@pass_door
def rotate(door: Door, name: str, job: str | None) -> None:
    r"""Have KMS NAME make the next key of each job, and copy job, that is sealed for it.

    The next session of a job is an increment under the new key, and so is the next copy. Points
    that are there open with the old one, and through the new one too.

    \b
    Exit status:
      0   the new keys are made
      3   they are, and some other key opens nothing any longer
      10  there is no such KMS or job
      13  it does not answer
      14  it makes no keys for us
    """
    from strongroom.control import kms_keys

    with door.home_context() as ctx:
        result = kms_keys.rotate(ctx, name, job)
    _show_sync(door, result, f"rotated {', '.join(result.rotated) or 'nothing'}")


def _show_sync(door: Door, result: KmsSyncResult, done: str) -> None:
    door.show(result, [done, *_key_lines(result.kms.keys)])
    for name in result.rotated:
        door.speaker.say(f"key {name} is new: the next session is sealed for it")
    door.tell_warnings(result.warnings)
    if result.warnings:
        door.exit_status = WARNINGS
