"""`strongroom recovery …`: the key that opens everything when a password is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from strongroom.cli.options import FILE, repository_names
from strongroom.cli.output import Column, pairs, table, when
from strongroom.cli.words import Group, pass_door
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.cli.door import Door
    from strongroom.control.views import ChainProof, RecoveryKeyView


_NEW_KIT_HINT: Final = (
    "a job is sealed for a new kit from its next session on: 'strongroom job run --all', then "
    "test again"
)
_AWAY_HINT: Final = "is its disk mounted? then test again"


@click.group("recovery", cls=Group)
def recovery() -> None:
    r"""The key that opens everything when a password is lost.

    \b
    Exit status:
      0   done
      2   the request cannot be right
    """


@recovery.command("create")
@click.argument("file", type=FILE)
@pass_door
def create(door: Door, file: Path) -> None:
    r"""Make a recovery key and write its kit to FILE, which must not exist.

    The kit opens every encrypted backup made from then on. It is kept nowhere else: print it, or
    move it off this machine.

    \b
    Exit status:
      0   the kit is written
      14  FILE cannot be written
      15  there is a FILE already
    """
    from strongroom.control import recovery as control

    with door.context() as ctx:
        result = control.create(ctx, file)
    door.show(result, [f"wrote the recovery kit to {result.path}", *_lines(result.key)])
    for notice in result.notices:
        door.speaker.say(notice)


@recovery.command("show")
@pass_door
def show(door: Door) -> None:
    r"""Show the recovery key's public side: its id, its age, when it was tested.

    \b
    Exit status:
      0   it was shown
      10  there is no recovery key
    """
    from strongroom.control import recovery as control

    with door.home_context() as ctx:
        view = control.show(ctx)
    door.show({"key": view}, _lines(view))


@recovery.command("test")
@click.argument("file", type=FILE)
@click.option(
    "--repository",
    "wheres",
    multiple=True,
    metavar="R",
    shell_complete=repository_names,
    help="Test there: a repository's name or its location; several times.",
)
@pass_door
def test(door: Door, file: Path, wheres: tuple[str, ...]) -> None:
    r"""Prove that the kit in FILE opens the newest point of every encrypted chain.

    \b
    Exit status:
      0   it opens all of them
      2   FILE holds no kit
      10  there is no such repository
      12  there is a chain that it does not open, or none, or a repository is away
      13  the storage did not answer
      20  a chain is damaged or not to be believed
    """
    from strongroom.control import recovery as control
    from strongroom.errors import NoRecipientMatchedError

    with door.context() as ctx:
        result = control.prove(ctx, file, wheres)
    columns = [
        Column("REPOSITORY", flexible=True),
        Column("CHAIN"),
        Column("NEWEST POINT"),
        Column("OPENS"),
    ]
    rows = [
        (
            proof.repository,
            (proof.chain or "-")[:12],
            (proof.point or "-")[:12],
            "yes" if proof.opened else "no",
        )
        for proof in result.chains
    ]
    lines = table(columns, rows) if rows else []
    if result.ok:
        door.show(result, lines)
        return
    chains = [proof for proof in result.chains if proof.chain]
    closed = sum(not proof.opened for proof in chains)
    absent = len(result.chains) - len(chains)
    problems = []
    if closed:
        problems.append(f"the kit does not open {closed} of {counted(len(chains), 'chain')}")
    if absent:
        problems.append(f"{counted(absent, 'repository', 'repositories')} did not open")
    error = NoRecipientMatchedError(
        " and ".join(problems) or "there is no encrypted chain to prove the kit on",
        hint=_AWAY_HINT if absent and not closed else _NEW_KIT_HINT,
        key=result.key_id,
    )
    for proof in result.chains:
        if proof.problem is not None:
            door.speaker.warn(f"{_subject(proof)}: {proof.problem}")
    door.show_with_error(result, lines, error)


def _subject(proof: ChainProof) -> str:
    return f"chain {proof.chain[:12]}" if proof.chain else f"repository {proof.repository}"


def _lines(view: RecoveryKeyView) -> list[str]:
    return pairs(
        [
            ("key", view.key_id),
            ("signer", view.signer),
            ("created", when(view.created_at)),
            ("tested", when(view.tested_at)),
            ("jobs", view.jobs),
        ]
    )
