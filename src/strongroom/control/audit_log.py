"""The audit log's file: lines chained by keyed hashes, appended by several processes.

    audit.log             the newest lines
    audit-0000000001.log  older ones, named by their last line's number; never written again

A line is one JSON document that ends in its tag, an HMAC over everything before it. The number
and the tag of the line before stand in it, so a line that is altered, taken out or moved breaks
the chain; the key comes from the keystore, so who can write the file cannot make another chain.
The newest number and tag are kept sealed in the keystore: against them a log that was cut, put
back from a copy or removed is too short. Lines beyond that head are a crash between the two
writes: nobody else has the key, so they are as good as the others.

A line whose writing was broken off has no newline and was told to nobody; the next one takes its
place. What is damaged stays damaged: the chain goes on from the head, and the hole shows for ever.
"""

from __future__ import annotations

import errno
import fcntl
import hmac
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from strongroom.durable import sync_folder
from strongroom.errors import AuditAlteredError, NotFoundError
from strongroom.keystore import AuditHeadRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from strongroom.crypto.keys import AuditKey
    from strongroom.keystore import Keystore

LARGEST_FILE: Final = 16 << 20
"""A file that is longer is closed, and the next line begins another."""
LONGEST_LINE: Final = 64 << 10
_NAME: Final = "audit.log"
_FOREIGN: Final = "audit.log.foreign-"
_HEAD: Final = "head"
_TAG_FIELD: Final = b', "tag": "'
_TAG_LENGTH: Final = 64
_ENDING: Final = len(_TAG_FIELD) + _TAG_LENGTH + len(b'"}')
_APPEND: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_NONE: Final = bytes(_TAG_LENGTH // 2)


@dataclass(frozen=True, slots=True)
class AuditHead:
    """How far a log goes."""

    number: int
    tag: bytes


class AuditLog:
    """The log of one home."""

    def __init__(self, home: Path, keystore: Keystore) -> None:
        self._home = home
        self._file = home / _NAME
        self._keystore = keystore
        self._key: AuditKey = keystore.audit_key

    def append(self, fields: Mapping[str, object]) -> int:
        """Write one line, durably, and return its number.

        Raises:
            OSError: it cannot be written.
            StrongroomError: the keystore cannot be.
        """
        with self._alone():
            self._drop_torn_line()
            end = self._end()
            number = end.number + 1
            document = {"number": number, **fields, "previous": end.tag.hex()}
            body = json.dumps(document, ensure_ascii=True).encode()[:-1]
            if len(body) > LONGEST_LINE - _ENDING - 1:
                raise OSError(errno.EMSGSIZE, "the record is longer than a line may be")
            tag = self._key.tag(body)
            self._roll_over(end)
            self._write(body + _TAG_FIELD + tag.hex().encode() + b'"}\n')
            self._keystore.put(_HEAD, AuditHeadRecord(number=number, tag=tag), durable=False)
        return number

    def check(self) -> None:
        """Go on if a line can be written now.

        Raises:
            OSError: it cannot.
        """
        with self._alone():
            os.close(os.open(self._file, _APPEND, 0o600))
        status = os.statvfs(self._home)
        if status.f_bavail * status.f_frsize < LONGEST_LINE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def lines(self) -> Iterator[bytes]:
        """Yield every line, oldest first, believed or not."""
        for file in self._files():
            with file.open("rb") as stream:
                while line := stream.readline(LONGEST_LINE):
                    yield line

    def verify(self, noted: AuditHead | None = None) -> AuditHead:
        """Check every line, and that none is missing; return the newest.

        Args:
            noted: A head that was written down elsewhere: the log has to lead through it.

        Raises:
            AuditAlteredError: a line does not hold, or one is missing.
        """
        with self._alone():
            for foreign in sorted(self._home.glob(f"{_FOREIGN}*")):
                raise AuditAlteredError(
                    f"{foreign.name} was not written with this keystore",
                    hint="was the keystore lost? If not, the log was replaced. Move the file away "
                    "once that is explained",
                    line=1,
                )
            head = self._head()
            last = AuditHead(0, _NONE)
            for line in self.lines():
                last = self._next(last, line)
                for known in (head, noted):
                    if known is not None and last.number == known.number and last != known:
                        raise _broken(last.number, "is another one than was known")
            if head is not None and last.number < head.number:
                raise _broken(last.number + 1, "is missing, and so is everything after it: cut")
            if noted is not None and last.number < noted.number:
                raise _broken(last.number + 1, "is missing: the head given is newer")
        return last

    def _next(self, last: AuditHead, line: bytes) -> AuditHead:
        number = last.number + 1
        if not line.endswith(b"\n"):
            if self._unfinished(line, last):
                return last
            raise _broken(number, "is broken off")
        body, tag = _taken_apart(line)
        if tag is None:
            raise _broken(number, "is altered: it has not the form of a line")
        right = self._key.tag(body)
        if not hmac.compare_digest(right.hex().encode(), tag):
            raise _broken(number, "is altered, or was written by somebody without the key")
        document = json.loads(line)
        if document["number"] != number:
            what = "is removed" if document["number"] > number else "is out of its place"
            raise _broken(number, f"{what}: line {document['number']} stands there")
        if document["previous"] != last.tag.hex():
            raise _broken(number, "does not follow the one before it")
        return AuditHead(number, right)

    def _unfinished(self, line: bytes, last: AuditHead) -> bool:
        """Tell whether this is the rest of a crash: newer than the head, so nobody was told."""
        head = self._head()
        return bool(line) and (head is None or last.number >= head.number)

    # --- files ------------------------------------------------------------------------------

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes out. A file of its own, since the log's may be renamed."""
        descriptor = os.open(
            self._home / "audit.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _files(self) -> list[Path]:
        older = sorted(self._home.glob("audit-??????????.log"))
        return [*older, *([self._file] if self._file.exists() else [])]

    def _head(self) -> AuditHead | None:
        try:
            record = self._keystore.get(AuditHeadRecord, _HEAD)
        except NotFoundError:
            return None
        return AuditHead(record.number, record.tag)

    def _end(self) -> AuditHead:
        """Return where the chain goes on: after the last line, or the head if that is newer."""
        head = self._head() or AuditHead(0, _NONE)
        last = self._last_line()
        if last is None:
            return head
        body, tag = _taken_apart(last)
        if tag is None or not hmac.compare_digest(self._key.tag(body).hex().encode(), tag):
            return head
        end = AuditHead(json.loads(last)["number"], bytes.fromhex(tag.decode()))
        return end if end.number > head.number else head

    def _last_line(self) -> bytes | None:
        files = self._files()
        if not files:
            return None
        with files[-1].open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - LONGEST_LINE))
            lines = stream.read().splitlines(keepends=True)
        return lines[-1] if lines else None

    def _drop_torn_line(self) -> None:
        if not self._file.exists():
            return
        with self._file.open("r+b") as stream:
            length = stream.seek(0, os.SEEK_END)
            begin = max(0, length - LONGEST_LINE)
            stream.seek(begin)
            tail = stream.read()
            if tail and not tail.endswith(b"\n"):
                stream.truncate(begin + tail.rfind(b"\n") + 1)

    def _roll_over(self, end: AuditHead) -> None:
        """Close a file that is long enough, and one that another keystore wrote."""
        if not self._file.exists() or self._file.stat().st_size == 0:
            return
        if self._file.stat().st_size < LARGEST_FILE and end.number > 0:
            return
        # Nothing is known here of a log that is there: its keystore was lost, and with it the
        # key. It stays under another name for `verify` to show, and a new one begins.
        name = f"audit-{end.number:010}.log" if end.number else f"{_FOREIGN}{_stamp(self._file)}"
        self._file.rename(self._home / name)

    def _write(self, line: bytes) -> None:
        fresh = not self._file.exists()
        descriptor = os.open(self._file, _APPEND, 0o600)
        try:
            if os.write(descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if fresh:
            sync_folder(self._home)


def _taken_apart(line: bytes) -> tuple[bytes, bytes | None]:
    """Return what a line's tag is over, and the tag as it is written; none if it has no form."""
    whole = line.removesuffix(b"\n")
    body, ending = whole[:-_ENDING], whole[-_ENDING:]
    if not (body and ending.startswith(_TAG_FIELD) and ending.endswith(b'"}')):
        return b"", None
    return body, ending[len(_TAG_FIELD) : -2]


def _stamp(file: Path) -> int:
    return file.stat().st_mtime_ns


def _broken(number: int, what: str) -> AuditAlteredError:
    return AuditAlteredError(f"line {number} of the audit log {what}", line=number)
