"""New objects from parts of others, for places that can copy whole objects at most."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from strongroom.errors import ObjectExistsError, PromiseBrokenError, RefusedError
from strongroom.storage.base import Composed, ObjectRange
from strongroom.storage.composing import check_parts, cut
from strongroom.storage.reading import AT_ONCE, is_far, side_by_side, worth_one_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

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


def by_the_place(
    storage: Storage,
    target: ObjectKey,
    parts: Sequence[Part],
    copy: Callable[[ObjectKey, ObjectKey], None],
) -> Composed:
    """Let the place itself copy the object that makes the whole; all else is read and put.

    Args:
        storage: The place.
        target: What to make.
        parts: Of what.
        copy: Asks the place to copy one object to another key.

    Raises:
        ObjectExistsError: there is such an object.
        PromiseBrokenError: what the place made is not as long as what it was to copy.
    """
    check_parts(target, parts)
    source = _whole_object(parts)
    if source is None:
        return by_copying(storage, target, parts)
    size = storage.size(source)
    # Not every server heeds the condition of a copy.
    if storage.exists(target):
        raise ObjectExistsError(f"{storage.location} has an object {target} already", key=target)
    try:
        copy(source, target)
    except RefusedError:
        return by_copying(storage, target, parts)
    if storage.size(target) != size:
        raise PromiseBrokenError(
            f"{storage.location} copied {source} to {target}, and what is there is not as long",
            promises=["reads-back"],
            key=target,
            location=storage.location,
        )
    return Composed(copied_there_bytes=size)


def _whole_object(parts: Sequence[Part]) -> ObjectKey | None:
    """Return the key of the object that parts are, whole and alone, if they are one."""
    if len(parts) == 1 and isinstance(one := parts[0], ObjectRange):
        return one.key if one.offset == 0 and one.length is None else None
    return None


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
    return worth_one_request(
        first.offset, last.offset + last.length, one.offset, one.offset + one.length
    )


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
