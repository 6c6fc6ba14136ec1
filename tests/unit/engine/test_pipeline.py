"""Blocks on their way to packs: what waits for what, and that nothing waits for ever."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from strongroom.crypto import random
from strongroom.crypto.content import ContentHasher
from strongroom.engine.content import ContentStore
from strongroom.engine.dedup import DedupIndex
from strongroom.engine.pipeline import PACK_RAW_BYTES, BlockPipeline, Compression
from strongroom.errors import RefusedError
from strongroom.format.block import BlockClass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.storage.base import Buffer

SLOT = 1
MIB = 1 << 20
PATIENCE = 30.0


class Packs:
    """What was stored, by ordinal; a store that may be told to fail."""

    def __init__(self) -> None:
        self.stored: dict[int, int] = {}
        self.error: Exception | None = None
        self._changed = threading.Condition()

    def store(self, _: bytes, ordinal: int, __: bytes, data: Buffer) -> None:
        if self.error is not None:
            raise self.error
        with self._changed:
            self.stored[ordinal] = len(data)
            self._changed.notify_all()

    def wait_for(self, ordinal: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: ordinal in self.stored, PATIENCE)


@pytest.fixture
def packs() -> Packs:
    return Packs()


@pytest.fixture
def pipeline(packs: Packs) -> Iterator[BlockPipeline]:
    made = BlockPipeline(
        random.token(32), random.token(16), SLOT, None, Compression(None), packs.store
    )
    yield made
    made.shut_down()


@pytest.fixture
def content(pipeline: BlockPipeline) -> ContentStore:
    return ContentStore(
        pipeline,
        ContentHasher(None),
        DedupIndex(None),
        lambda *_: False,
        lambda *_: None,
        SLOT,
        0,
        MIB,
    )


def put(content: ContentStore, data: bytes) -> None:
    rest = memoryview(data)

    def read_into(view: memoryview) -> int:
        nonlocal rest
        count = min(len(view), len(rest))
        view[:count] = rest[:count]
        rest = rest[count:]
        return count

    assert list(content.put_stream(read_into))


def test_a_full_pack_does_not_wait_for_the_next_small_file(
    packs: Packs, content: ContentStore
) -> None:
    """One small file among large ones: its block has room left, and nothing more comes."""
    content.put_small(b"small")
    put(content, random.token(3 * PACK_RAW_BYTES))
    assert packs.wait_for(0)
    assert packs.wait_for(1)


def test_every_block_of_a_session_is_in_some_pack(
    packs: Packs, pipeline: BlockPipeline, content: ContentStore
) -> None:
    total = 0
    for step in range(40):
        size = 3 * MIB if step % 3 == 0 else 1000 * step
        total += size
        if size > MIB:
            put(content, random.token(size))
        elif size:
            content.put_small(random.token(size))
    content.flush()
    pipeline.flush()
    assert sorted(packs.stored) == list(range(len(packs.stored)))
    assert sum(packs.stored.values()) > total
    assert pipeline.stored_bytes == sum(packs.stored.values())


def test_a_pack_that_cannot_be_stored_stops_the_session(
    packs: Packs, pipeline: BlockPipeline
) -> None:
    packs.error = RefusedError("the disk is full", path="/somewhere")
    with pytest.raises(RefusedError, match="full"):
        for _ in range(20 * PACK_RAW_BYTES // MIB):
            pipeline.add(BlockClass.DATA, bytes(MIB), [])


def test_a_pack_that_somebody_still_looks_at_is_no_hindrance_to_a_larger_one(
    packs: Packs, pipeline: BlockPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The traceback of a put that was repeated keeps what the put was given."""
    kept: list[memoryview] = []
    store = packs.store

    def keeping(pack_id: bytes, ordinal: int, directory: bytes, data: Buffer) -> None:
        kept.append(memoryview(data)[:])
        store(pack_id, ordinal, directory, data)

    monkeypatch.setattr(pipeline, "_store", keeping)
    for size in (MIB, 3 * MIB):
        pipeline.add(BlockClass.DATA, random.token(size), [])
        pipeline.flush()

    assert len(kept) == 2
    assert packs.stored[1] > packs.stored[0] >= MIB


def test_a_reserved_block_that_is_never_filled_does_not_hang_the_end(
    packs: Packs, pipeline: BlockPipeline
) -> None:
    reserved = pipeline.reserve(BlockClass.DATA, MIB)
    assert not reserved.is_due
    for _ in range(PACK_RAW_BYTES // MIB):
        pipeline.add(BlockClass.DATA, bytes(MIB), [])
    assert reserved.is_due
    pipeline.shut_down()
    assert packs.stored == {}
