"""A chain in words, for every command that shows one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.cli.output import when, wrapped
from strongroom.cli.output import yes as yes_or_no
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.control.views.chains import ChainView
    from strongroom.control.views.recipients import ChainRecipient, NeededKey


def chain_pairs(chain: ChainView) -> list[tuple[str, str | Sequence[str]]]:
    """Return what a chain is, as names and values."""
    opens = {
        "all": "open",
        "part": "open in part",
        "names": "open by names only",
        "nothing": "locked",
    }[chain.opens]
    items: list[tuple[str, str | Sequence[str]]] = [
        ("chain", chain.chain_id),
        ("state", chain.state),
        ("job", chain.job or f"unknown, id {chain.job_id}"),
        ("encrypted", f"yes, {opens}" if chain.encrypted else "no"),
        ("points", str(chain.points)),
        ("started", when(chain.started_at)),
        ("newest", when(chain.newest_at)),
        ("signer", chain.signer or "-"),
        ("believed", yes_or_no(chain.trusted)),
        ("entries", str(chain.entries)),
    ]
    if chain.key_id:
        items.append(("key", chain.key_id[:12]))
    if chain.recipients:
        words = [wrapped(recipient_words(one), width=60) for one in chain.recipients]
        items.append(("opens with", [line for lines in words for line in lines]))
    if chain.needed and (chain.unlinked or chain.opens == "part"):
        words = [wrapped(needed_words(one), width=60) for one in chain.needed]
        items.append(("needs", [line for lines in words for line in lines]))
    if chain.unlinked:
        count = counted(len(chain.unlinked), "older key has", "older keys have")
        items.append(("links", f"{count} none: {', '.join(one[:12] for one in chain.unlinked)}"))
    if chain.problem:
        items.append(("problem", chain.problem))
    return items


def needed_words(needed: NeededKey) -> str:
    """Return for how many points which of whose secrets is needed."""
    secrets = " or ".join(map(recipient_words, needed.recipients))
    return f"{counted(len(needed.points), 'point')}: {secrets or 'no envelope is left'}"


def recipient_words(recipient: ChainRecipient) -> str:
    """Return whose secret it is, as people look for it."""
    hint = f", hint: {recipient.hint}" if recipient.hint else ""
    return f"{recipient.kind} {recipient.key_id[:12]}{hint}"
