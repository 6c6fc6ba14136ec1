"""Audit records at a syslog: received on loopback, and read as RFC 5424 has it."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from strongroom.control import audit, jobs
from strongroom.control.audit_log import AuditLog
from strongroom.control.jobs import JobChanges
from strongroom.control.syslog import SyslogTarget, message_of
from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path

# RFC 5424, 6. Syslog Message Format: no field may be anything else.
_MESSAGE = re.compile(
    rb"<(?P<priority>\d{1,3})>1 "
    rb"(?P<at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)) "
    rb"(?P<host>[!-~]{1,255}) (?P<app>[!-~]{1,48}) (?P<process>[!-~]{1,128}) "
    rb"(?P<id>[!-~]{1,32}) "
    rb"\[(?P<element>[!#-<>-\\^-~]{1,32})"
    rb'(?P<data>(?: [!#-<>-\\^-~]{1,32}="(?:[^"\\\]]|\\["\\\]])*")*)\]'
    rb" \xef\xbb\xbf(?P<text>.*)",
    re.DOTALL,
)
_PARAMETER = re.compile(rb' ([!#-<>-\\^-~]{1,32})="((?:[^"\\\]]|\\["\\\]])*)"')


@dataclass
class Received:
    """A message, taken apart."""

    facility: int
    severity: int
    event: str
    element: str
    data: dict[str, str]
    fields: dict[str, object]


def read(message: bytes) -> Received:
    match = _MESSAGE.fullmatch(message)
    assert match, message
    priority = int(match["priority"])
    return Received(
        priority // 8,
        priority % 8,
        match["id"].decode(),
        match["element"].decode(),
        {
            name.decode(): re.sub(rb'\\(["\\\]])', rb"\1", value).decode()
            for name, value in _PARAMETER.findall(match["data"])
        },
        json.loads(match["text"]),
    )


def counted(stream: bytes) -> list[bytes]:
    """Return the messages of a stream, framed by octet counting (RFC 6587, 3.4.1)."""
    found = []
    while stream:
        length, _, rest = stream.partition(b" ")
        found.append(rest[: int(length)])
        assert len(found[-1]) == int(length)
        stream = rest[int(length) :]
    return found


def sending_to(shop, place: str) -> None:
    shop.ctx.settings = replace(shop.ctx.settings, syslog=place)


def test_a_weakening_is_critical_at_a_local_syslog_at_once(shop, tmp_path: Path) -> None:
    shop.repository()
    shop.password()
    shop.job(encrypt="password:office")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "log"))
        receiver.settimeout(5)
        sending_to(shop, f"unix:{tmp_path}/log")
        jobs.edit(shop.ctx, "nightly", JobChanges(encrypt="none"), yes_weaken=True)
        message = read(receiver.recv(65536))
    assert (message.facility, message.severity, message.event) == (10, 2, "weakened")
    assert message.element == "strongroom@32473"
    assert message.fields == {"what": ["encryption is turned off"], "job": "nightly"}
    assert message.data["line"] == "4"


def test_a_syslog_elsewhere_gets_datagrams(shop) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        sending_to(shop, f"udp://127.0.0.1:{receiver.getsockname()[1]}")
        shop.repository()
        message = read(receiver.recv(65536))
    assert (message.severity, message.event, message.data["outcome"]) == (
        5,
        "repository.added",
        "ok",
    )


def test_a_syslog_elsewhere_gets_counted_octets_over_a_stream(shop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as receiver:
        sending_to(shop, f"tcp://127.0.0.1:{receiver.getsockname()[1]}")
        shop.repository()
        connection, _ = receiver.accept()
        with connection:
            stream = b"".join(iter(lambda: connection.recv(65536), b""))
    assert [read(one).event for one in counted(stream)] == ["repository.added"]


def test_what_would_end_a_value_is_escaped() -> None:
    hostile = 'a"] b\\ <0>1 é'
    record = {
        "at": "2026-11-24T12:00:00.000000Z",
        "event": "job.changed",
        "severity": "notice",
        "outcome": "ok",
        "command": hostile,
        "who": {"uid": 0, "user": hostile},
        "fields": {"job": "two\nlines"},
    }
    message = read(message_of(7, record))
    assert message.data["command"] == message.data["user"] == hostile
    assert message.fields == {"job": "two\nlines"}


def test_a_syslog_that_is_away_is_warned_about_once_and_the_file_has_it_all(shop, tmp_path) -> None:
    told: list[str] = []
    shop.ctx.warn = told.append
    sending_to(shop, f"unix:{tmp_path}/nothing")
    shop.repository()
    shop.password()
    (warning,) = told
    assert "does not take audit records" in warning
    assert audit.verify(shop.ctx).lines == 2


def test_a_record_that_the_file_does_not_take_reaches_syslog(shop, tmp_path, monkeypatch) -> None:
    shop.repository()

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(AuditLog, "_write", full_disk)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "log"))
        receiver.settimeout(5)
        sending_to(shop, f"unix:{tmp_path}/log")
        audit.record(shop.ctx, "session.started", needed=False)
        message = read(receiver.recv(65536))
    assert (message.event, message.data["line"]) == ("session.started", "0")


@pytest.mark.parametrize(
    "text", ["/dev/log", "unix:log", "udp://host", "tcp://host:x", "tls://h:1"]
)
def test_what_is_no_place_for_syslog_is_refused(text) -> None:
    with pytest.raises(InvalidInputError):
        SyslogTarget.parse(text)
