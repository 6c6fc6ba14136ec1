"""What all tests share: a collected heap, and servers that start when the first test asks."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.support import quick_argon2
from tests.support.s3_server import S3Server, s3_server


def pytest_collection_finish() -> None:
    """Keep thousands of tests out of collections of garbage, of which each took half a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def quick_derivation() -> Iterator[None]:
    """Derive no seeds in this process and its forks; commands that are started do."""
    with pytest.MonkeyPatch.context() as patch:
        quick_argon2.install(patch)
        yield


@pytest.fixture(scope="session", name="s3")
def s3_(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Return an S3 server that keeps its word."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server
