"""Writes docs/reference: the command line, its errors and its JSON, from the code itself.

    python -m strongroom.cli.reference docs/reference

A test writes them to a folder of its own and compares, so the documents never lag behind.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import sys
import textwrap
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from strongroom import errors
from strongroom.cli import main
from strongroom.cli.errors import EXIT_CODES, MEANINGS, exit_code_of
from strongroom.cli.output import WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_VIEWS: Final = "strongroom.control.views"


@dataclass(frozen=True, slots=True)
class Answer:
    """What `--json` makes a command answer."""

    shape: str | None
    """Dotted name of the class whose fields the answer has."""
    under: str | None = None
    """Name that the answer stands under, if it does not stand at the top."""
    many: bool = False
    note: str = ""


def _view(name: str, under: str | None = None, *, many: bool = False, note: str = "") -> Answer:
    return Answer(f"{_VIEWS}.{name}", under, many, note)


ANSWERS: Final[dict[str, Answer]] = {
    "": Answer(None, note="`home`, `said` (lines), `next` (commands to type, in their order)"),
    "repository add": _view("repositories.RepositoryAdded"),
    "repository edit": _view("repositories.RepositoryView", "repository"),
    "repository protect": _view("repositories.ProtectedVault"),
    "repository unhide": _view("repositories.UnhiddenVault"),
    "repository list": _view("repositories.RepositoryView", "repositories", many=True),
    "repository show": _view("repositories.RepositoryDetails"),
    "repository rescan": _view("repositories.RepositoryDetails"),
    "repository trust": _view("chains.SignerResult"),
    "repository scrub": Answer(
        "strongroom.repository.scrub_report.ScrubReport",
        note="`ok`, and `error` beside the fields where something is damaged",
    ),
    "repository repair": Answer(
        "strongroom.repository.repair.RepairReport",
        note="`ok`, and `error` beside the fields where something stays damaged",
    ),
    "repository verify": Answer(
        "strongroom.engine.verify.VerifyReport",
        note="`ok`, and `error` beside the fields where something is damaged",
    ),
    "repository copy": Answer(
        "strongroom.control.copies.CopyResult",
        note="with `error` beside the fields where not all was copied",
    ),
    "repository prune": Answer("strongroom.control.care.PruneResult"),
    "repository compact": Answer("strongroom.control.care.CompactResult"),
    "repository remove": _view("repositories.RepositoryView", "repository"),
    "guard run": Answer(None, note="`guarded`: the folder"),
    "guard confirm-clock": Answer(None, note="`folder`, and `reason`: what was the matter"),
    "repository check": Answer(
        None,
        note="`location`, `ok`, `promises`: of each `promise`, `means`, `kept`, `problem`, "
        "`seconds`; and `error` where one is broken",
    ),
    "credential add": _view("repositories.CredentialView", "credential"),
    "credential list": _view("repositories.CredentialView", "credentials", many=True),
    "credential edit": _view("repositories.CredentialView", "credential"),
    "credential remove": _view("repositories.CredentialView", "credential"),
    "password add": _view("passwords.PasswordResult"),
    "password list": _view("passwords.PasswordView", "passwords", many=True),
    "password edit": _view("passwords.PasswordResult"),
    "password verify": _view("passwords.PasswordView", "password"),
    "password remove": Answer(None, note="`removed`: the name"),
    "chain list": _view("chains.ChainList"),
    "chain show": _view("chains.ChainDetails"),
    "chain unlock": _view("chains.ChainUnlocked"),
    "kms add": _view("kms.KmsResult"),
    "kms list": _view("kms.KmsView", "kms", many=True),
    "kms show": _view("kms.KmsResult"),
    "kms test": _view("kms.KmsTestResult"),
    "kms edit": _view("kms.KmsResult"),
    "kms remove": _view("kms.KmsView"),
    "kms sync": _view("kms.KmsSyncResult"),
    "kms rotate": _view("kms.KmsSyncResult"),
    "keys list": _view("keys.KeyView", "keys", many=True),
    "keys show": _view("keys.KeyView", "key"),
    "report": _view("keys.KeyReport"),
    "job create": _view("jobs.JobResult"),
    "job edit": _view("jobs.JobResult"),
    "job list": _view("jobs.JobView", "jobs", many=True),
    "job show": _view("jobs.JobView", "job"),
    "job remove": _view("jobs.JobRemoved"),
    "job reencrypt": _view("rewrapping.ReencryptResult"),
    "job rewrap": _view("rewrapping.RewrapResult"),
    "job retention": _view("points.RetentionPlan"),
    "job detach": _view("jobs.JobResult"),
    "job copy create": _view("jobs.CopyJobView", "copy_job"),
    "job copy list": _view("jobs.CopyJobView", "copy_jobs", many=True),
    "job copy show": _view("jobs.CopyJobView", "copy_job"),
    "job copy run": Answer(
        "strongroom.control.copies.CopyResult",
        note="with `error` beside the fields where not all was copied",
    ),
    "job copy rewrap": _view("rewrapping.RewrapResult"),
    "job copy remove": _view("jobs.CopyJobView", "copy_job"),
    "job run": Answer(
        "strongroom.control.sessions.SessionResult",
        note="with `--all` as a list under `sessions`, where a job that failed has `job`, "
        "`state` (`failed`) and `error`",
    ),
    "point list": _view("points.PointList"),
    "point show": _view("points.PointDetailsView"),
    "point files": Answer("strongroom.engine.listing.ListedFile", "files", many=True),
    "point diff": Answer("strongroom.engine.diff.Change", "changes", many=True),
    "point export": Answer("strongroom.control.exports.ExportResult"),
    "point verify": Answer(
        "strongroom.engine.verify.VerifyReport",
        note="`ok`, and `error` beside the fields where something is damaged",
    ),
    "point hold": _view("points.PointRow", "points", many=True),
    "point release": _view("points.PointRow", "points", many=True),
    "point remove": _view("points.Removed"),
    "restore": Answer(
        "strongroom.engine.restore.RestoreResult",
        note="with `error` beside the fields where `--salvage` left something out; "
        "not possible with `--to -`",
    ),
    "recovery create": _view("recovery.RecoveryResult"),
    "recovery list": _view("recovery.RecoveryKeyView", "keys", many=True, note="oldest first"),
    "recovery show": _view("recovery.RecoveryKeyView", "key"),
    "recovery activate": _view("recovery.RecoveryResult"),
    "recovery deactivate": _view("recovery.RecoveryResult"),
    "recovery import": _view("recovery.RecoveryResult"),
    "recovery test": _view(
        "recovery.RecoveryTestResult",
        note="with `error` beside the fields where a chain does not open",
    ),
    "config set": _view("configuration.ConfigView"),
    "config show": _view("configuration.ConfigView"),
    "config backup": _view("configuration.ConfigView"),
    "config list": _view("configuration.ConfigBackupView", "backups", many=True),
    "config restore": _view("configuration.ConfigRestored"),
    "config reprotect": _view("configuration.Reprotected"),
    "recovery request": _view("recovery.RecoveryAsked"),
    "recovery answer": _view("recovery.RecoveryAnswered"),
    "recovery accept": _view("recovery.OpenedPointView", "point"),
    "recovery requests": _view("recovery.OpenRequests"),
    "recovery forget": _view("recovery.OpenRequests", note="what was forgotten"),
    "session list": _view("jobs.SessionView", "sessions", many=True, note="oldest first"),
    "session show": _view("jobs.SessionView", "session"),
    "status": _view("jobs.StatusReport"),
    "clock confirm": _view("jobs.ClockConfirmed"),
    "audit list": _view("audit.AuditRecord", "records", many=True, note="oldest first"),
    "audit show": _view("audit.AuditRecord", "record"),
    "audit verify": _view("audit.AuditVerified"),
    "completion": Answer(None, note="`shell` and `script`"),
}

_JSON_RULES: Final = """\
With `--json`, anywhere on the line, standard output is exactly one JSON document: the answer
described below, or `{"error": {…}}` if there is none. A command that has an answer and fails all
the same (a salvaging restore, a scrub that found damage) gives both in one document. What is said
to people stays on standard error. The exit status is the same as without.

* Fields are added and never renamed or taken away. Ignore those you do not know.
* Times are RFC 3339 in UTC with microseconds: `2026-11-03T14:05:09.123456Z`. Days are the
  server's own: `2026-11-03`.
* Ids are hexadecimal; sizes are bytes; spans are seconds.
* A name that is not UTF-8 keeps its bytes as lone surrogates: byte 0x80 is `\\udc80`, as Python's
  `surrogateescape` has it.
* With `--progress json` standard error is JSON lines, whatever is written there.

## Errors

| field | |
| --- | --- |
| `code` | stable word, see [errors](errors.md) |
| `message` | what was being done to what, and what was found |
| `hint` | what to do, or null |
| `exit_status` | of the command |

Some errors have more fields: `users` of what is in use, `would_remove` of what was not confirmed,
`hints` of passwords that would open it.

## Progress

Lines of `--progress json`, by `event`: `begin`, `progress` (about once a second) and `end` of a
stage; `message`, `warning` and `hint`, each with `message`; `error`, with the fields above.

| field of begin, progress, end | |
| --- | --- |
| `stage` | what is being done |
| `bytes`, `total_bytes` | done, and in all (null if unknown) |
| `files` | done |
| `seconds` | since the stage began |
| `bytes_per_second` | lately |
| `seconds_left` | estimated, or null |
| `reading` | what is being read, or null |
| `bottleneck` | the stage that the others wait for, or null |

## Answers
"""


def write(folder: Path) -> None:
    """Write all pages to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("cli.md", command_line()),
        ("errors.md", error_list()),
        ("json.md", json_answers()),
    ):
        (folder / name).write_text(text, encoding="utf-8")


# --- the command line -------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Yield every command and group with its words and a context to ask it for its help."""
    yield from _below("", main.cli, _context(main.cli, None, main.PROGRAM))


def _below(
    words: str, command: click.Command, ctx: click.Context
) -> Iterator[tuple[str, click.Command, click.Context]]:
    yield words, command, ctx
    if not isinstance(command, click.Group):
        return
    for name in command.list_commands(ctx):
        inner = command.get_command(ctx, name)
        if inner is not None:
            yield from _below(f"{words} {name}".strip(), inner, _context(inner, ctx, name))


def _context(command: click.Command, parent: click.Context | None, name: str) -> click.Context:
    settings = command.context_settings
    return click.Context(command, parent, info_name=name, terminal_width=WIDTH, **settings)


def command_line() -> str:
    """Return the page of all help texts."""
    parts = [
        "# Command line\n\nThe help of every command; written by `strongroom.cli.reference`.\n"
    ]
    for words, command, ctx in commands():
        title = f"{main.PROGRAM} {words}".strip()
        parts.append(f"## {title}\n\n```\n{command.get_help(ctx).rstrip()}\n```\n")
    return "\n".join(parts)


# --- errors -----------------------------------------------------------------------------------


def members(root: type[errors.StrongroomError]) -> Iterator[type[errors.StrongroomError]]:
    """Yield every error below `root`, families before their members."""
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield kind
            yield from members(kind)


def error_list() -> str:
    """Return the page of all errors and exit statuses."""
    lines = ["# Errors and exit statuses", "", "Written by `strongroom.cli.reference`.", ""]
    lines += ["| exit status | means |", "| --- | --- |"]
    lines += [f"| {status} | {meaning} |" for status, meaning in MEANINGS.items()]
    for family in EXIT_CODES:
        first, *rest = _paragraph(family)
        lines += ["", f"## {family.__name__}, exit status {EXIT_CODES[family]}", "", first, *rest]
        lines += ["", "| code | means | hint |", "| --- | --- | --- |"]
        lines += [
            f"| `{kind.code}` | {' '.join(_paragraph(kind))} | {kind.hint or ''} |"
            for kind in (family, *members(family))
            if exit_code_of(kind) == EXIT_CODES[family]
        ]
    return "\n".join(lines) + "\n"


def _paragraph(kind: type) -> list[str]:
    return (inspect.getdoc(kind) or "").split("\n\n")[0].splitlines()


# --- JSON -------------------------------------------------------------------------------------


def json_answers() -> str:
    """Return the page of all JSON documents."""
    shapes: list[type] = []
    for answer in ANSWERS.values():
        if answer.shape is not None:
            _collect(_load(answer.shape), shapes)
    titles = _titles(shapes)
    lines = ["# JSON", "", "Written by `strongroom.cli.reference`.", "", _JSON_RULES]
    for words, answer in ANSWERS.items():
        lines += [f"### {main.PROGRAM} {words}".rstrip(), "", _answer_text(answer, titles), ""]
    lines += ["## Values", ""]
    for kind in sorted(shapes, key=lambda kind: titles[kind]):
        lines += _shape_text(kind, titles)
    return "\n".join(lines).rstrip() + "\n"


def _titles(shapes: list[type]) -> dict[type, str]:
    """Return a title for each class; of two with one name, with the module's name before it."""
    names = [kind.__name__ for kind in shapes]
    return {
        kind: kind.__name__
        if names.count(kind.__name__) == 1
        else f"{kind.__module__.rpartition('.')[2]}-{kind.__name__}"
        for kind in shapes
    }


def _link(title: str) -> str:
    return f"[{title}](#{title.lower()})"


def _answer_text(answer: Answer, titles: dict[type, str]) -> str:
    if answer.shape is None:
        return f"{answer.note}."
    link = _link(titles[_load(answer.shape)])
    text = f"The fields of {link}"
    if answer.under is not None:
        text = f"`{answer.under}`: " + (f"a list of {link}" if answer.many else link)
    return f"{text}{'; ' + answer.note if answer.note else ''}."


def _load(dotted: str) -> type:
    module, _, name = dotted.rpartition(".")
    loaded: type = getattr(importlib.import_module(module), name)
    return loaded


def _field_names(kind: type) -> Iterable[str]:
    if is_dataclass(kind):
        return [field.name for field in fields(kind)]
    names: tuple[str, ...] = getattr(kind, "__struct_fields__", ())
    return names


def _collect(kind: type, shapes: list[type]) -> None:
    """Add `kind`, and every class of ours that its fields mention, to `shapes`."""
    if kind in shapes:
        return
    shapes.append(kind)
    for annotation, _ in _documented(kind).values():
        for node in ast.walk(ast.parse(annotation, mode="eval")):
            found = _class_named(kind, node)
            if found is not None:
                _collect(found, shapes)


def _class_named(kind: type, node: ast.AST) -> type | None:
    """Return the class with fields that a name in an annotation of `kind`'s means."""
    if not isinstance(node, ast.Name):
        return None
    found: Any = getattr(sys.modules[kind.__module__], node.id, None)
    if found is None:  # imported for annotations alone
        found = _imported_for_types(kind.__module__).get(node.id)
    return found if isinstance(found, type) and _field_names(found) else None


@functools.cache
def _imported_for_types(module: str) -> dict[str, type]:
    """Return the classes of ours that a module imports under `if TYPE_CHECKING`."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {
        alias.name: _load(f"{node.module}.{alias.name}")
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("strongroom.")
        for alias in node.names
    }


@functools.cache
def _documented(kind: type) -> dict[str, tuple[str, str]]:
    """Return each field's annotation and the sentence under it, as the source has them."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef)).body
    shown = set(_field_names(kind))
    found: dict[str, tuple[str, str]] = {}
    name = ""
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
            if name in shown:
                found[name] = (ast.unparse(node.annotation), "")
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and name in found:
            sentence = " ".join(str(node.value.value).split())
            found[name] = (found[name][0], sentence)
            name = ""
        else:
            name = ""
    return found


def _shape_text(kind: type, titles: dict[type, str]) -> list[str]:
    lines = [f"### {titles[kind]}", "", *_paragraph(kind), ""]
    lines += ["| field | is | |", "| --- | --- | --- |"]
    for name, (annotation, sentence) in _documented(kind).items():
        node = ast.parse(annotation, mode="eval").body
        lines.append(f"| `{name}` | {_words_for(node, kind, titles)} | {sentence} |")
    return [*lines, ""]


_PLAIN_KINDS: Final = {
    "str": "text",
    "int": "number",
    "float": "number",
    "bool": "true or false",
    "datetime": "time",
    "date": "day",
    "timedelta": "seconds",
    "bytes": "hexadecimal",
    "Path": "text",
    "None": "null",
    "object": "any",
}


def _words_for(node: ast.expr, kind: type, titles: dict[type, str]) -> str:
    """Return an annotation of `kind`'s in JSON's words."""
    if isinstance(node, ast.BinOp):
        both = (_words_for(side, kind, titles) for side in (node.left, node.right))
        return " or ".join(both)
    if isinstance(node, ast.Subscript):
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if ast.unparse(node.value) in ("dict", "Mapping"):
            return f"object of {_words_for(inner[-1], kind, titles)}"
        return f"list of {_words_for(inner[0], kind, titles)}"
    found = _class_named(kind, node)
    if found is not None:
        return _link(titles[found])
    return _PLAIN_KINDS.get(ast.unparse(node), "text")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference"))
