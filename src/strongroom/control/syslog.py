"""Audit records as RFC 5424 messages, to a socket of this machine or of another.

    unix:/dev/log   udp://host:port   tcp://host:port, octets counted as RFC 6587 has it

The facility is 10 (authpriv), not 13 ("log audit"): every syslog of today writes 10 to a file
that only the administrator reads, and 13 to where everybody may. Structured data carries the
names `strongroom@32473`: RFC 5424 wants a private enterprise number there, and 32473 is the one
that RFC 5612 keeps for documentation; this project has none of its own.

The file is the truth and syslog is a copy: who does not take a message within two seconds does
not get it, and the operator hears of it once in a command. UDP tells nobody.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

FACILITY: Final = 10
SEVERITIES: Final[Mapping[str, int]] = {
    "critical": 2,
    "error": 3,
    "warning": 4,
    "notice": 5,
    "info": 6,
}
PATIENCE_SECONDS: Final = 2
_SD_ID: Final = "strongroom@32473"
_BOM: Final = b"\xef\xbb\xbf"
_LONGEST_DATAGRAM: Final = 8 << 10
"""RFC 5424 asks receivers for 2 KiB; those in use take this much, and what is more they cut."""
_LONGEST_HOST: Final = 255


@dataclass(frozen=True, slots=True)
class SyslogTarget:
    """Where messages go."""

    scheme: str
    place: str
    """A socket's path, or a host."""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> SyslogTarget:
        """Return the target that a setting names.

        Raises:
            InvalidInputError: it is none.
        """
        scheme, _, rest = text.partition(":")
        if scheme == "unix" and rest.startswith("/"):
            return cls(scheme, rest)
        if scheme in ("udp", "tcp"):
            try:
                parts = urlsplit(text)
                if parts.hostname and parts.port and parts.path in ("", "/"):
                    return cls(scheme, parts.hostname, parts.port)
            except ValueError:
                pass  # a port that is no number: answered like every other mistake
        raise InvalidInputError(
            f"{text!r} is no place for syslog",
            hint="write unix:/dev/log, udp://host:port or tcp://host:port",
        )

    def send(self, message: bytes) -> None:
        """Hand a message over.

        Raises:
            OSError: nobody took it in time.
        """
        if self.scheme == "unix":
            _send_to_socket(self.place, message)
        elif self.scheme == "udp":
            _send_datagram(self.place, self.port, message)
        else:
            address = (self.place, self.port)
            with socket.create_connection(address, PATIENCE_SECONDS) as stream:
                stream.sendall(b"%d %s" % (len(message), message))


def message_of(number: int, record: Mapping[str, object]) -> bytes:
    """Return a line of the audit log as an RFC 5424 message.

    The message's text is the record's fields as JSON; what receivers filter by stands in the
    structured data.
    """
    severity = SEVERITIES[str(record["severity"])]
    who = record["who"]
    who = who if isinstance(who, dict) else {}
    data = {
        "line": number,
        "outcome": record["outcome"],
        "command": record["command"],
        **{name: who[name] for name in ("uid", "user", "sudo_user", "tty") if name in who},
    }
    parameters = "".join(f' {name}="{_quoted(str(value))}"' for name, value in data.items())
    header = " ".join(
        (
            f"<{FACILITY * 8 + severity}>1",
            str(record["at"]),
            _visible(socket.gethostname(), _LONGEST_HOST),
            "strongroom",
            str(os.getpid()),
            _visible(str(record["event"]), 32),
            f"[{_SD_ID}{parameters}]",
        )
    )
    text = json.dumps(record["fields"], ensure_ascii=True)
    return header.encode("utf-8", "replace") + b" " + _BOM + text.encode()


def _visible(text: str, longest: int) -> str:
    """Return a header's field: printable ASCII without spaces, or a dash."""
    return "".join(one for one in text if "!" <= one <= "~")[:longest] or "-"


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def _send_to_socket(path: str, message: bytes) -> None:
    """Send to a socket of either kind: most are for datagrams, some for streams."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local:
            local.settimeout(PATIENCE_SECONDS)
            local.connect(path)
            local.send(message)
    except OSError as error:
        if error.errno != errno.EPROTOTYPE:
            raise
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as local:
            local.settimeout(PATIENCE_SECONDS)
            local.connect(path)
            local.sendall(b"%d %s" % (len(message), message))


def _send_datagram(host: str, port: int, message: bytes) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as remote:
        remote.settimeout(PATIENCE_SECONDS)
        remote.sendto(message[:_LONGEST_DATAGRAM], address)
