"""An S3 server that breaks its word: rclone's ignores `If-None-Match`, and overwrites."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY
from tests.support.server_process import free_ports, is_listening, running


@contextmanager
def rclone_server(folder: Path) -> Iterator[str]:
    """Run the server, and return where a repository could be if it kept its word."""
    port = free_ports()
    (folder / "data" / BUCKET).mkdir(parents=True)
    command = [
        str(Path(sys.executable).with_name("rclone")),
        "serve",
        "s3",
        "--addr",
        f"127.0.0.1:{port}",
        "--auth-key",
        f"{ACCESS_KEY},{SECRET_KEY}",
        str(folder / "data"),
    ]
    with running(command, folder, lambda: is_listening(port)):
        yield f"s3://{BUCKET}/strongroom?endpoint=http://127.0.0.1:{port}"
