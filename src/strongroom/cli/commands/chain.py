"""`strongroom chain …`: a full and what builds on it, sealed as one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from strongroom.cli.chain_lines import chain_pairs, recipient_words
from strongroom.cli.options import Reading, reading_options, secret_options
from strongroom.cli.output import Column, pairs, table, when
from strongroom.cli.words import Group, pass_door

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.cli.door import Door, SecretPlace
    from strongroom.control.views.chains import ChainDetails, ChainView


@click.group("chain", cls=Group)
def chain() -> None:
    r"""Chains of restore points: their state, and unlocking them.

    CHAIN is a chain's id, or the beginning of one.

    \b
    Exit status:
      0   done
      2   the request cannot be right
    """


@chain.command("list")
@reading_options
@pass_door
def list_(door: Door, reading: Reading) -> None:
    r"""List the chains of all repositories, or of one.

    \b
    Exit status:
      0   they were listed, be it none; what stays closed was said
      10  there is no repository
      12  a secret given opens nothing there
      13  the storage did not answer
      20  a chain is damaged or not to be believed
    """
    from strongroom.control import chains

    with door.context() as ctx:
        found = chains.list_all(ctx, reading.access(door))
    columns = [
        Column("CHAIN"),
        Column("STATE"),
        Column("JOB", flexible=True),
        Column("SEALED"),
        Column("POINTS"),
        Column("NEWEST"),
    ]
    door.show(found, table(columns, list(map(_row, found.chains))) if found.chains else [])
    door.tell_warnings(found.warnings)
    if any(view.state == "damaged" for view in found.chains):
        from strongroom.cli.errors import INTEGRITY

        door.exit_status = INTEGRITY
    elif any(view.state == "locked" for view in found.chains):
        door.speaker.hint("'strongroom chain unlock CHAIN' opens one with its newest secret")


def _row(view: ChainView) -> tuple[str, ...]:
    return (
        view.chain_id[:12],
        view.state,
        view.job or "-",
        "yes" if view.encrypted else "no",
        str(view.points),
        when(view.newest_at),
    )


@chain.command("show")
@click.argument("which", metavar="CHAIN")
@reading_options
@pass_door
def show(door: Door, which: str, reading: Reading) -> None:
    r"""Show CHAIN: its state, its recipients, its points, what no link leads to.

    \b
    Exit status:
      0   it was shown
      10  there is no such chain
      12  a secret given does not open it
      13  the storage did not answer
      20  it is damaged or not to be believed
    """
    from strongroom.control import chains

    with door.context() as ctx:
        details = chains.show(ctx, which, reading.access(door))
    door.show(details, _lines(details))
    door.tell_warnings(details.warnings)
    if details.chain.state == "damaged":
        from strongroom.cli.errors import INTEGRITY

        door.exit_status = INTEGRITY


def _lines(details: ChainDetails) -> Iterator[str]:
    items = chain_pairs(details.chain)
    if details.sources:
        items.append(("sources", details.sources))
    if details.machines:
        items.append(("machines", details.machines))
    yield from pairs(items)


@chain.command("unlock")
@click.argument("which", metavar="CHAIN")
@reading_options
@secret_options("old-", "an older password that no link leads to", into="old_places", several=True)
@click.option(
    "--keep-secret",
    is_flag=True,
    help="Keep what opens the data of its points on this machine.",
)
@pass_door
def unlock(
    door: Door,
    which: str,
    reading: Reading,
    old_places: tuple[SecretPlace, ...],
    keep_secret: bool,
) -> None:
    r"""Open CHAIN with its newest secret and take it into the catalog.

    The newest secret opens everything that links lead to. Where one is missing, older secrets
    are needed too: name them as well, with --password-file or --old-password-file, which are
    the same; on a terminal they are asked for by key and hint. This machine keeps what lists
    the points and what a next session compares by, and nothing that opens contents unless
    --keep-secret is said. 'strongroom job create --chain CHAIN' then goes on in it.

    Of a chain that this server writes to, the missing links are made.

    \b
    Exit status:
      0   it is open and in the catalog
      2   it is not encrypted, or no secret was named
      3   part of it stays locked: the secrets that would open it are listed
      10  there is no such chain
      12  no secret opens its present key, or one opens nothing
      13  the storage did not answer
      20  it is damaged, or nothing vouches for who signs it
    """
    from strongroom.cli.errors import WARNINGS
    from strongroom.control import chains

    access = replace(reading, places=(*reading.places, *old_places)).access(door)
    with door.context() as ctx, door.work() as (progress, _):
        done = chains.unlock(ctx, which, access, keep_secret=keep_secret, progress=progress)
    view = done.details.chain
    lines = [f"unlocked chain {view.chain_id[:12]}: {len(done.details.points)} points"]
    items = [("job", view.job or "-"), ("sources", done.details.sources)]
    door.show(done, [*lines, *pairs([*items, ("machines", done.details.machines)])])
    for notice in done.notices:
        door.speaker.say(notice)
    door.tell_warnings(done.details.warnings)
    if done.missing:
        shown = "; ".join(map(recipient_words, done.missing))
        door.speaker.warn(f"what stays locked opens with: {shown}")
        door.exit_status = WARNINGS
    if view.state != "known":
        door.speaker.hint(
            f"'strongroom job create NAME --repository {view.repository} --chain "
            f"{view.chain_id[:12]} --encrypt password:NAME' goes on in it"
        )
