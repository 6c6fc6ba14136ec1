"""Backing up what a command prints: one object, cut by content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.engine.index_writer import ChunkListWriter, stream_root
from strongroom.engine.work import SourceOutcome, Work
from strongroom.format.point import StreamRoot
from strongroom.repository.usage import BlockUsage

if TYPE_CHECKING:
    from strongroom.engine.content import ReadInto


def back_up_stream(read_into: ReadInto, work: Work) -> SourceOutcome:
    """Read a stream to its end and write its index.

    Every byte is read in every session; what the chain holds already is recognised by content.
    """
    usage = BlockUsage()
    outcome = SourceOutcome(StreamRoot(0, None, 0), usage, files=1)
    writer = ChunkListWriter(work.pages, usage)
    stored = work.content.stored_raw_bytes
    for piece in work.content.put_stream(read_into):
        work.cancel.check()
        writer.add(piece)
        outcome.size_bytes += piece[3]
        work.progress.advance(piece[3])
    outcome.read_bytes = outcome.size_bytes
    outcome.changed_bytes = work.content.stored_raw_bytes - stored
    outcome.root = stream_root(writer, outcome.size_bytes)
    return outcome
