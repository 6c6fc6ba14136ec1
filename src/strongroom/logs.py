"""Structured records: one line of JSON an event, with a stable name and fields.

    logs.event("session.finished", session=…, state="success", seconds=4.2)

Redaction is by type and not by name: fields may hold text, numbers, booleans, moments, paths
and collections of them. Anything else, key types above all, is written as the name of its
type, and bytes as their number; whoever wants an id in the log passes it as hexadecimal text.

The standard library's `logging` carries the records: importing structlog takes 170 ms, more
than `--help` may take (docs/decisions, "Start-up"). Errors are recorded where the session
ends, not on the way.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_ROOT: Final = "strongroom"
_FIELDS: Final = "strongroom_fields"
_DEEPEST: Final = 6
_logger: Final = logging.getLogger(_ROOT)
# Records of an embedding program's own making: without a handler nothing is printed.
_logger.addHandler(logging.NullHandler())


def event(name: str, *, level: int = logging.INFO, **fields: object) -> None:
    """Record that something happened.

    Args:
        name: Stable, with dots: `session.finished`.
        level: One of `logging`'s.
        fields: What there is to know; see the module about their types.
    """
    if _logger.isEnabledFor(level):
        _logger.log(level, name, extra={_FIELDS: fields})


def debug(name: str, **fields: object) -> None:
    """Record a detail that only a search for a fault wants."""
    event(name, level=logging.DEBUG, **fields)


def wants_debug() -> bool:
    """Tell whether anybody reads such details."""
    return _logger.isEnabledFor(logging.DEBUG)


def warning(name: str, **fields: object) -> None:
    """Record something that needs a look."""
    event(name, level=logging.WARNING, **fields)


def failure(name: str, error: BaseException, **fields: object) -> None:
    """Record an error, with its code if it is one of ours."""
    told = {"error": type(error).__name__, "message": str(error), **fields}
    code = getattr(error, "code", None)
    if isinstance(code, str):
        told["code"] = code
    event(name, level=logging.ERROR, **told)


def to_file(path: Path, level: str) -> logging.Handler:
    """Write records of `level` and above to `path` from now on; return what `stop` takes.

    The file is its owner's alone: names of jobs and paths stand in it.
    """
    handler = _OwnFile(path)
    handler.setFormatter(JsonLines())
    handler.setLevel(level.upper())
    _logger.addHandler(handler)
    _logger.setLevel(level.upper())
    _logger.propagate = False
    return handler


def stop(handler: logging.Handler) -> None:
    """End what `to_file` began."""
    _logger.removeHandler(handler)
    handler.close()


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, _FIELDS, {})
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "event": record.msg if not record.args else record.getMessage(),
            "pid": record.process,
        }
        line.update((str(name), redacted(value)) for name, value in fields.items())
        if record.exc_info and record.exc_info[0] is not None:
            # The type only: a library's message may repeat what it was given.
            line["exception"] = record.exc_info[0].__name__
        return json.dumps(line, ensure_ascii=True)


def redacted(value: object, depth: int = 0) -> object:
    """Return `value` as JSON may show it, and the name of its type where it may not."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, os.PathLike):
        return str(value)
    if depth < _DEEPEST:
        if isinstance(value, Mapping):
            return {str(name): redacted(one, depth + 1) for name, one in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [redacted(one, depth + 1) for one in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    return f"<{type(value).__name__}>"


class _OwnFile(logging.FileHandler):
    """A log file that nobody else may read, opened when the first record comes."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", delay=True)

    def _open(self):  # type: ignore[no-untyped-def]  # noqa: ANN202 - typeshed's is private
        descriptor = os.open(
            self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        return os.fdopen(descriptor, "a", encoding="utf-8")

    def emit(self, record: logging.LogRecord) -> None:
        # A log that cannot be written stops no backup.
        with suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: the standard library would print a traceback."""
