"""The report as one page for a browser: no scripts, nothing from elsewhere."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from strongroom.clock import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable

    from strongroom.control.views.keys import KeyReport

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0}"
    "td,th{border-bottom:1px solid #ccc;padding:.25em .75em;text-align:left}"
    ".problem{font-weight:bold}code{font-size:90%}"
)


def report_page(made: KeyReport) -> str:
    """Return the page."""
    verdict = "Nothing is wrong" if made.ok else "Something is wrong"
    findings = "".join(
        f'<li class="{"problem" if one.problem else "notice"}">'
        f"{'Problem: ' if one.problem else ''}{escape(one.text)}</li>"
        for one in made.findings
    )
    jobs = _table(
        ("Job", "Encryption", "Key age", "Protected", "Guarded", "Points", "Opened by", "Copies"),
        (
            (
                one.job,
                one.encrypt,
                "" if one.key_age_days is None else f"{one.key_age_days} days",
                "yes" if one.protected else "no",
                "yes" if one.secret_to_read else "no",
                str(one.points),
                str(one.opened_by),
                str(one.copies),
            )
            for one in made.jobs
        ),
    )
    keys = _table(
        ("Kind", "Name", "Key", "In force", "State", "Age", "Proven", "Points", "Alone"),
        (
            (
                one.kind,
                one.name,
                one.key_id[:16],
                "yes" if one.present else "no",
                one.state,
                f"{one.age_days} days",
                rfc3339(one.proven_at) if one.proven_at else "",
                str(one.points),
                str(one.alone),
            )
            for one in made.keys
        ),
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>Strongroom: keys</title><style>{_STYLE}</style></head><body>"
        f"<h1>{verdict}</h1><p>{escape(rfc3339(made.made_at))}</p><ul>{findings}</ul>"
        f"<h2>Jobs</h2>{jobs}<h2>Keys</h2>{keys}</body></html>"
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    header = "".join(f"<th>{escape(one)}</th>" for one in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"
