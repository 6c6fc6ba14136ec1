"""Servers that tests of several folders share, started when the first one asks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.s3_server import S3Server, s3_server


@pytest.fixture(scope="session", name="s3")
def s3_(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Return an S3 server that keeps its word."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server
