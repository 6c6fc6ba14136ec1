"""New objects from parts of others, for places that cannot do it themselves."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from strongroom.storage.base import Composed, ObjectRange
from strongroom.storage.composing import check_parts, cut
from strongroom.storage.reading import AT_ONCE, GAP_BYTES, RUN_BYTES, is_far, side_by_side

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from strongroom.storage.base import Buffer, ObjectKey, Part, Storage


def by_copying(storage: Storage, target: ObjectKey, parts: Sequence[Part]) -> Composed:
    """Read all ranges and put the whole: a `compose` from `get` and `put`."""
    check_parts(target, parts)
    whole = bytearray()
    composed = Composed()
    ranges = _read(storage, (part for part in parts if isinstance(part, ObjectRange)))
    for part in parts:
        if isinstance(part, ObjectRange):
            data = next(ranges)
            whole += data
            composed += Composed(copied_bytes=len(data))
        else:
            whole += memoryview(part).cast("B")
            composed += Composed(written_bytes=memoryview(part).nbytes)
    storage.put(target, whole)
    return composed


def _read(storage: Storage, ranges: Iterable[ObjectRange]) -> Iterator[Buffer]:
    """Yield what ranges hold, in their order.

    Of a place elsewhere what lies close together comes with one request, and several of these
    are on their way at once.
    """
    far = is_far(storage)
    runs = [*_runs(ranges)] if far else [[one] for one in ranges]
    found = side_by_side(partial(_read_run, storage), runs, AT_ONCE if far else 1)
    for some in found:
        yield from some


def _runs(ranges: Iterable[ObjectRange]) -> Iterator[list[ObjectRange]]:
    """Yield ranges that lie one behind the other in an object, and are worth one request."""
    run: list[ObjectRange] = []
    for one in ranges:
        if run and not _follows(one, run):
            yield run
            run = []
        run.append(one)
    if run:
        yield run


def _follows(one: ObjectRange, run: list[ObjectRange]) -> bool:
    first, last = run[0], run[-1]
    if one.key != first.key or one.length is None or last.length is None:
        return False
    gap = one.offset - (last.offset + last.length)
    return 0 <= gap <= GAP_BYTES and one.offset + one.length - first.offset <= RUN_BYTES


def _read_run(storage: Storage, run: list[ObjectRange]) -> list[Buffer]:
    """Read ranges with one request.

    Raises:
        ObjectCutError: the object ends before one of them does.
    """
    begin, last = run[0].offset, run[-1]
    length = None if last.length is None else last.offset + last.length - begin
    data = memoryview(storage.get(run[0].key, begin, length))
    found: list[Buffer] = []
    for one in run:
        end = None if one.length is None else one.offset - begin + one.length
        piece = data[one.offset - begin : end]
        if len(piece) < (one.length or 0):
            raise cut(storage.location, one, begin + len(data))
        found.append(piece)
    return found
