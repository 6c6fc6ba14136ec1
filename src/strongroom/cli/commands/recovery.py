"""`strongroom recovery …`: the key that opens everything when a password is lost."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import click

from strongroom.cli.options import FILE, PLACE, repository_names
from strongroom.cli.output import Column, pairs, table, when
from strongroom.cli.output import yes as yes_or_no
from strongroom.cli.words import Group, pass_door
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.cli.door import Door
    from strongroom.control.views import ChainProof, RecoveryKeyView, RecoveryResult


_NEW_KIT_HINT: Final = (
    "a job is sealed for a new kit from its next session on: 'strongroom job run --all', then "
    "test again"
)
_AWAY_HINT: Final = "is its disk mounted? then test again"
_SHARING: Final = re.compile(r"(\d{1,2})-(?:of-)?(\d{1,2})", re.IGNORECASE)


class SharingType(click.ParamType[Any]):
    """How a key is split: `3-of-5`."""

    name = "sharing"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click hands over what it parsed
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:  # noqa: ANN401
        match = _SHARING.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is no sharing: write 3-of-5", param, ctx)
        return int(match[1]), int(match[2])


@click.group("recovery", cls=Group)
def recovery() -> None:
    r"""The key that opens everything when a password is lost.

    KIT is the file of a recovery kit, as a text or a page, or that of one share; of a key that was
    split, name as many shares as are needed.

    \b
    Exit status:
      0   done
      2   the request cannot be right
    """


# --- keys -------------------------------------------------------------------------------------


@recovery.command("create")
@click.argument("file", type=PLACE, required=False)
@click.option("--page", type=PLACE, metavar="PAGE", help="Write it to PAGE, to be printed (HTML).")
@click.option(
    "--shares",
    "sharing",
    type=SharingType(),
    metavar="K-of-N",
    help="Split it into N shares of which any K open what it opens.",
)
@pass_door
def create(
    door: Door, file: Path | None, page: Path | None, sharing: tuple[int, int] | None
) -> None:
    r"""Make a recovery key and write its kit to FILE, which must not exist.

    The kit opens every encrypted backup made from then on. It is kept nowhere else: print it, or
    move it off this machine. With --shares FILE and PAGE are folders, for one file a share.

    \b
    Exit status:
      0   the kit is written
      2   neither FILE nor PAGE is named, or the key cannot be split so
      14  FILE cannot be written
      15  there is a FILE already
    """
    from strongroom.control import recovery as control

    with door.context() as ctx:
        split = None if sharing is None else control.Sharing(*sharing)
        result = control.create(ctx, file, page=page, sharing=split)
    _show(door, result, [f"wrote {path}" for path in result.paths])


@recovery.command("list")
@pass_door
def list_(door: Door) -> None:
    r"""List recovery keys, oldest first, and what depends on each.

    \b
    Exit status:
      0   they were listed, be it none
      10  nothing is set up here
    """
    from strongroom.control import recovery as control

    with door.home_context() as ctx:
        views = control.list_all(ctx)
    columns = [
        Column("KEY"),
        Column("ACTIVE"),
        Column("MADE"),
        Column("TESTED"),
        Column("CHAINS", right=True),
        Column("POINTS", right=True),
        Column("JOBS", flexible=True),
    ]
    rows = [
        (
            view.key_id[:12],
            yes_or_no(view.active),
            when(view.created_at),
            _tested(view),
            str(view.chains),
            str(view.points),
            ", ".join(view.jobs) or "-",
        )
        for view in views
    ]
    door.show({"keys": views}, table(columns, rows) if rows else [])
    if not views:
        door.speaker.say("there is no recovery key")


@recovery.command("show")
@click.argument("which", metavar="[KEY]", required=False)
@pass_door
def show(door: Door, which: str | None) -> None:
    r"""Show a recovery key's public side: its id, its age, when it was tested.

    KEY is the beginning of a key's id; without it the active one is shown.

    \b
    Exit status:
      0   it was shown
      2   several keys begin like this
      10  there is no such recovery key
    """
    from strongroom.control import recovery as control

    with door.home_context() as ctx:
        view = control.show(ctx, which)
    door.show({"key": view}, _lines(view))


@recovery.command("activate")
@click.argument("which", metavar="KEY")
@pass_door
def activate(door: Door, which: str) -> None:
    r"""Go back to an older recovery KEY: jobs are sealed for it from then on.

    \b
    Exit status:
      0   it is active
      2   several keys begin like this
      10  there is no such recovery key
      12  the keystore does not have it: import its kit
    """
    from strongroom.control import recovery as control

    with door.home_context() as ctx:
        result = control.activate(ctx, which)
    _show(door, result)


@recovery.command("deactivate")
@click.argument("which", metavar="KEY")
@click.option("--yes-weaken", is_flag=True, help="Agree to what protects less; do not ask.")
@pass_door
def deactivate(door: Door, which: str, yes_weaken: bool) -> None:
    r"""Seal nothing more for the recovery KEY, nor for another.

    What was sealed for it still opens with its kit.

    \b
    Exit status:
      0    no recovery key is active
      2    it was not confirmed
      10   the key is not the active one
      130  the answer was no
    """
    from strongroom.control import recovery as control

    def act(agreed: bool) -> RecoveryResult:
        return control.deactivate(ctx, which, yes_weaken=agreed)

    with door.home_context() as ctx:
        result = door.confirmed(act, yes_weaken, "--yes-weaken")
    _show(door, result)


@recovery.command("import")
@click.argument("files", metavar="KIT...", type=FILE, nargs=-1, required=True)
@pass_door
def import_(door: Door, files: tuple[Path, ...]) -> None:
    r"""Protect the jobs here by a KIT that was made elsewhere.

    Its public half is kept here, and nothing else of it.

    \b
    Exit status:
      0   it is active
      2   KIT holds no recovery kit, or too few shares
    """
    from strongroom.control import recovery as control

    with door.context() as ctx:
        result = control.import_kit(ctx, files)
    _show(door, result)


def _show(door: Door, result: RecoveryResult, lines: list[str] | None = None) -> None:
    door.show(result, [*(lines or []), *_lines(result.key)])
    for notice in result.notices:
        door.speaker.say(notice)


# --- drill ------------------------------------------------------------------------------------


@recovery.command("test")
@click.argument("files", metavar="KIT...", type=FILE, nargs=-1, required=True)
@click.option(
    "--repository",
    "wheres",
    multiple=True,
    metavar="R",
    shell_complete=repository_names,
    help="Test there: a repository's name or its location; several times.",
)
@pass_door
def test(door: Door, files: tuple[Path, ...], wheres: tuple[str, ...]) -> None:
    r"""Prove that KIT opens the newest point of every encrypted chain.

    Blocks chosen at random are read and opened as well. 'recovery list' shows when this was last
    done, and whether all of it opened.

    \b
    Exit status:
      0   it opens all of them
      2   KIT holds no recovery kit, or too few shares
      10  there is no such repository
      12  there is a chain that it does not open, or none, or a repository is away
      13  the storage did not answer
      20  a chain is damaged or not to be believed
    """
    from strongroom.control import recovery_drill
    from strongroom.errors import NoRecipientMatchedError

    with door.context() as ctx:
        result = recovery_drill.prove(ctx, files, wheres)
    columns = [
        Column("REPOSITORY", flexible=True),
        Column("CHAIN"),
        Column("NEWEST POINT"),
        Column("OPENS"),
        Column("BLOCKS", right=True),
    ]
    rows = [
        (
            proof.repository,
            (proof.chain or "-")[:12],
            (proof.point or "-")[:12],
            yes_or_no(proof.opened),
            str(proof.blocks) if proof.opened else "-",
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


def _tested(view: RecoveryKeyView) -> str:
    if view.tested_ok is None:
        return when(view.tested_at)
    return f"{when(view.tested_at)}, {'passed' if view.tested_ok else 'failed'}"


def _lines(view: RecoveryKeyView) -> list[str]:
    return pairs(
        [
            ("key", view.key_id),
            ("active", yes_or_no(view.active)),
            ("signer", view.signer),
            ("created", when(view.created_at)),
            ("tested", _tested(view)),
            ("jobs", view.jobs),
            ("chains", str(view.chains)),
            ("points", str(view.points)),
        ]
    )
