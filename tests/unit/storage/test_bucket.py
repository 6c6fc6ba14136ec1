"""What is asked of each provider, and what their refusals become, by a server of few words."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from strongroom import errors
from strongroom.storage.base import Storage
from strongroom.storage.credential import Credential
from strongroom.storage.location import open_storage


class _Server(ThreadingHTTPServer):
    """Gives one answer to everybody."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.body = 200, b""
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, status: int, code: str = "") -> None:
        self.status = status
        self.body = f"<Error><Code>{code}</Code><Message>said why</Message></Error>".encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        server.asked.append((self.command, self.path, headers))
        body = b"" if self.command == "HEAD" else server.body
        self.send_response(server.status)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_DELETE = do_PUT

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _s3(server: _Server) -> Storage:
    return open_storage(f"s3://bucket/x?endpoint={server.url}", credential=Credential("AK", "hush"))


def _az(server: _Server) -> Storage:
    credential = Credential("ours", base64.b64encode(b"k" * 32).decode())
    return open_storage(f"az://bucket/x?endpoint={server.url}", credential=credential)


def _gs(server: _Server) -> Storage:
    service = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
    credential = Credential("", json.dumps(service))
    return open_storage(f"gs://bucket/x?endpoint={server.url}", credential=credential)


@pytest.mark.parametrize(
    ("opened", "condition"),
    [
        (_s3, ("if-none-match", "*")),
        (_az, ("if-none-match", "*")),
        (_gs, ("x-goog-if-generation-match", "0")),
    ],
)
def test_every_provider_is_asked_to_write_once(
    server: _Server, opened: Callable[[_Server], Storage], condition: tuple[str, str]
) -> None:
    storage = opened(server)

    storage.put("a", b"1")

    ((verb, _, headers),) = server.asked
    assert verb == "PUT"
    assert headers[condition[0]] == condition[1]
    server.answer(412 if opened is not _az else 409)
    with pytest.raises(errors.ObjectExistsError):
        storage.put("a", b"1")


@pytest.mark.parametrize(
    ("status", "code", "family", "words"),
    [
        (500, "InternalError", errors.StorageUnavailableError, "InternalError: said why"),
        (503, "SlowDown", errors.StorageUnavailableError, "SlowDown"),
        (429, "", errors.StorageUnavailableError, "429"),
        (409, "ConditionalRequestConflict", errors.StorageUnavailableError, "Conflict"),
        (409, "OperationAborted", errors.StorageUnavailableError, "Aborted"),
        (507, "", errors.StorageFullError, "507"),
        (403, "QuotaExceeded", errors.StorageFullError, "QuotaExceeded"),
        (403, "AccessDenied", errors.RefusedError, "credential add"),
        (400, "ExpiredToken", errors.RefusedError, "credential add"),
        (403, "RequestTimeTooSkewed", errors.RefusedError, "clock"),
        (400, "AuthorizationHeaderMalformed", errors.RefusedError, "region"),
        (400, "InvalidArgument", errors.RefusedError, "InvalidArgument"),
        (404, "NoSuchBucket", errors.NotFoundError, "no bucket"),
    ],
)
def test_a_refusal_becomes_the_family_that_says_what_to_do(
    server: _Server, status: int, code: str, family: type[errors.StrongroomError], words: str
) -> None:
    storage = _s3(server)
    server.answer(status, code)

    for call in (lambda: storage.put("a", b"1"), lambda: storage.put("b", bytes(2 << 20))):
        with pytest.raises(family) as caught:
            call()
        assert words in f"{caught.value} {caught.value.hint}"
        assert isinstance(caught.value, errors.StorageFullError) == (
            family is errors.StorageFullError
        )
    assert len(server.asked) == 2, "whoever repeats calls stands above"


def test_an_answer_that_is_no_range_is_a_broken_promise(server: _Server) -> None:
    storage = _s3(server)
    server.status, server.body = 200, b"0123456789"

    with pytest.raises(errors.PromiseBrokenError):
        storage.get("a", 3, 4)
