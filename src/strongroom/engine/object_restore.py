"""Restoring a single object: a disk, what a command printed, or one file to a stream.

To a path, a few threads each open a block and write it where it belongs; blocks are taken in
the order in which they lie in their packs, a window of the object at a time. To a stream,
everything goes out in order, and blocks are opened ahead.

What is damaged. Before anything is written every page of the index has been opened and every
pack looked up. A block that then does not open ends the restore, and of a new file nothing is
left. What goes into a file that is overwritten, or a device, cannot be taken back: there every
block is opened and compared before, which reads all twice; if one is damaged since then, a
part is left, and the error says so. A salvage goes on: what was lost reads as zeros, and a new
file is called `<name>.damaged-<point>`.
"""

from __future__ import annotations

import re
import stat as modes
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from strongroom.engine.blocks_ahead import BlocksAhead, task_bytes_for, workers_for
from strongroom.engine.index_reader import (
    ContentGap,
    DiskRun,
    OnContentGap,
    Piece,
    part_of,
    walk_disk,
    walk_stream,
)
from strongroom.engine.restore_work import SALVAGE_HINT, PacksNeeded, RestoreWork
from strongroom.engine.target import ImageTarget, is_blank
from strongroom.errors import (
    IntegrityError,
    InvalidInputError,
    PointDamagedError,
    StrongroomError,
    TargetExistsError,
    with_words,
)
from strongroom.format.block import BlockAddress, BlockClass
from strongroom.format.codec import HASH_LENGTH
from strongroom.format.index import CLUSTER
from strongroom.format.point import DiskRoot, StreamRoot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from strongroom.crypto.content import ContentHasher

_WINDOW: Final = 16_384
"""Runs that are put in the order of their packs at a time."""
_ZEROS: Final = bytes(1 << 20)


class Run(NamedTuple):
    """A part of an object that lies in one block."""

    position: int
    length: int
    address: BlockAddress
    offset: int
    grain: int
    """Bytes that each hash names; the last may be of fewer, with zeros behind (disks)."""
    hashes: bytes


def restore_object(work: RestoreWork, root: DiskRoot | StreamRoot) -> None:
    """Restore a disk or an object of bytes to a path.

    Raises:
        IntegrityError: something is damaged, and it is no salvage.
        TargetExistsError: there is a file already, or the device holds something; nothing was
            written.
    """
    _ObjectRestore(work, root).run()


def runs(
    work: RestoreWork, root: DiskRoot | StreamRoot, on_gap: OnContentGap | None
) -> Iterator[Run]:
    """Yield what of an object is no hole, in order; as `walk_disk` and `walk_stream`."""
    if isinstance(root, DiskRoot):
        return map(_of_disk, walk_disk(work.reader, root, on_gap))
    return of_pieces(walk_stream(work.reader, root, on_gap))


def _of_disk(run: DiskRun) -> Run:
    return Run(run.position, run.length, run.address, run.offset, CLUSTER, run.hashes)


def of_pieces(pieces: Iterable[Piece]) -> Iterator[Run]:
    """Yield those of a content's pieces that are no holes."""
    for piece in pieces:
        if piece.address is not None:
            yield Run(
                piece.position,
                piece.length,
                piece.address,
                piece.offset,
                piece.length,
                piece.content_hash,
            )


def content_of(block: bytes, run: Run, hasher: ContentHasher, what: str) -> memoryview:
    """Return a run's bytes, which are what its hashes say.

    Raises:
        PointDamagedError: they do not lie in the block, or are others.
    """
    whole = len(run.hashes) // HASH_LENGTH * run.grain
    data = part_of(block, run.offset, whole, what)
    if not is_content(data, run, hasher):
        raise PointDamagedError(
            f"block {run.address.number} of session {run.address.slot} opens, but does not hold "
            f"what the index says of {what}",
            slot=run.address.slot,
            number=run.address.number,
        )
    return data[: run.length]


def is_content(data: memoryview, run: Run, hasher: ContentHasher) -> bool:
    """Tell whether `data`, zeros behind its end included, is what a run's hashes say."""
    digest, grain, hashes = hasher.digest, run.grain, run.hashes
    for index in range(len(hashes) // HASH_LENGTH):
        found = digest(data[index * grain : (index + 1) * grain])
        if found != hashes[HASH_LENGTH * index : HASH_LENGTH * (index + 1)]:
            return False
    return True


class _ObjectRestore:
    def __init__(self, work: RestoreWork, root: DiskRoot | StreamRoot) -> None:
        self._work = work
        self._root = root
        self._path = object_path(work)
        self._is_device = _is_device(self._path)
        self._hasher = work.hasher
        self._lost: list[tuple[int, int, str]] = []
        # The kernel lets one thread write a file at a time; others would spin for their turn.
        self._writing = threading.Lock()

    def run(self) -> None:
        work, request = self._work, self._work.request
        stored = self._check()
        if request.dry_run:
            work.result.would.append(str(self._path))
            return
        existed = self._path.exists()
        if existed and not request.salvage:
            self._check_content(stored)
        work.progress.begin("restore", stored)
        work.progress.reading(str(self._path))
        target = ImageTarget(
            self._path,
            self._root.size,
            is_device=self._is_device,
            overwrite=request.overwrite != "never",
        )
        try:
            self._open_all(target)
        except BaseException as error:
            target.abandon()
            if existed and isinstance(error, StrongroomError):
                raise with_words(error, f"; {self._path} holds a part of the restore") from error
            if isinstance(error, StrongroomError):
                raise with_words(error, f"; nothing is left at {self._path}") from error
            raise
        target.finish()
        work.progress.finish()
        if self._lost:
            self._tell_losses(existed=existed)
        else:
            work.result.files += 1
        work.result.bytes += self._root.size

    def _check(self) -> int:
        """Open every page, look up every pack, and return how many bytes are no hole."""
        on_gap = self._lose_gap if self._work.request.salvage else None
        packs = PacksNeeded(self._work)
        if self._work.request.overwrite == "never":
            self._refuse_to_replace()
        if self._is_device:
            # One that is in use or too small is found out before much is read.
            ImageTarget(self._path, self._root.size, is_device=True).abandon()
        stored = 0
        last: BlockAddress | None = None
        for run in runs(self._work, self._root, on_gap):
            stored += run.length
            if run.address != last:
                packs.need((run.address,))
                last = run.address
        packs.look_up()
        return stored

    def _refuse_to_replace(self) -> None:
        """Refuse a file that is there, and a device that holds something."""
        words, hint = "it is there already", TargetExistsError.hint
        if self._is_device:
            if is_blank(self._path):
                return
            words, hint = "it holds something", "if nobody needs that: --overwrite always"
        elif not self._path.exists():
            return
        raise TargetExistsError(
            f"cannot restore to {self._path}: {words}", hint=hint, path=str(self._path)
        )

    def _lose_gap(self, gap: ContentGap) -> None:
        self._lost.append((gap.position, gap.length, str(gap.error)))

    def _check_content(self, stored: int) -> None:
        """Open and compare everything that would be written."""
        self._work.progress.begin("check", stored)
        try:
            self._open_all(None)
        except IntegrityError as error:
            raise with_words(error, "; nothing was restored", SALVAGE_HINT) from error
        self._work.progress.finish()

    # --- writing ---------------------------------------------------------------------------

    def _open_all(self, target: ImageTarget | None) -> None:
        """Have every block opened, and written if there is a target, a few at a time."""
        work = self._work
        on_gap = (lambda _: None) if work.request.salvage else None
        pending: deque[Future[int]] = deque()
        workers, task_bytes = workers_for(work.reader), task_bytes_for(work.reader)
        with ThreadPoolExecutor(workers, "restore") as pool:
            try:
                found = self._located(runs(work, self._root, on_gap))
                for batch in _batches(found, task_bytes):
                    work.cancel.check()
                    while len(pending) >= 2 * workers:
                        work.progress.advance(pending.popleft().result())
                    pending.append(pool.submit(self._open_batch, target, batch))
                while pending:
                    work.progress.advance(pending.popleft().result())
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _located(self, found: Iterator[Run]) -> Iterator[list[Run]]:
        """Yield the runs block by block, in the order in which the blocks lie in their packs."""
        reader = self._work.reader
        ended = False
        while not ended:
            window: dict[BlockAddress, list[Run]] = {}
            ended = True
            for run in islice(found, _WINDOW):
                window.setdefault(run.address, []).append(run)
                ended = False
            where: list[tuple[int, int, int, BlockAddress]] = []
            for address in window:
                try:
                    offset = reader.offset(address, BlockClass.DATA)
                except IntegrityError:
                    offset = 0  # it fails where its error can be told
                where.append((address.slot, address.ordinal, offset, address))
            where.sort()
            for _, _, _, address in where:
                yield window[address]

    def _open_batch(self, target: ImageTarget | None, batch: list[list[Run]]) -> int:
        """Open blocks and write what they hold; runs on a worker."""
        done = 0
        reader = self._work.reader
        stored = reader.with_stored((group[0].address for group in batch), BlockClass.DATA)
        for group, (address, data) in zip(batch, stored, strict=True):
            try:
                block = reader.read_uncached(address, BlockClass.DATA, data)
            except IntegrityError as error:
                self._lose_runs(group, error)
                continue
            for run in group:
                try:
                    content = content_of(block, run, self._hasher, str(self._path))
                except IntegrityError as error:
                    self._lose_runs([run], error)
                    continue
                if target is not None:
                    with self._writing:
                        target.write_at(run.position, content)
                done += run.length
        return done

    def _lose_runs(self, group: list[Run], error: IntegrityError) -> None:
        if not self._work.request.salvage:
            first = group[0]
            words = f"; it concerns {self._path} from {first.position}, {first.length} bytes"
            raise with_words(error, words, paths=[str(self._path)]) from error
        self._lost.extend((run.position, run.length, str(error)) for run in group)

    def _tell_losses(self, *, existed: bool) -> None:
        """Name every lost range, and see that a new file does not look whole."""
        where = self._path
        if not existed:
            where = self._path.with_name(f"{self._path.name}.damaged-{self._work.view.id[:8]}")
            with suppress(OSError):
                self._path.rename(where)
        for position, length, reason in sorted(self._lost):
            self._work.lose(
                str(where), f"bytes {position} to {position + length} read as zeros: {reason}"
            )


def _batches(groups: Iterator[list[Run]], task_bytes: int) -> Iterator[list[list[Run]]]:
    """Yield blocks put together to pieces of work of about a size."""
    batch: list[list[Run]] = []
    held = 0
    for group in groups:
        batch.append(group)
        held += sum(run.length for run in group)
        if held >= task_bytes:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


# --- where to --------------------------------------------------------------------------------


def object_path(work: RestoreWork) -> Path:
    """Return the file or device that an object is restored to.

    A directory takes it under a name made from the source's.
    """
    target = work.request.target
    assert target is not None
    if not target.is_dir():
        return target
    return target / object_name(work.details.source)


def object_name(source: str) -> str:
    """Return a file name for what a source holds: of a path its last name, of a command its words.

    Nothing of it leads out of a directory or hides.
    """
    kind, _, value = source.partition(":")
    if kind == "image":
        value = value.rstrip("/").rpartition("/")[2]
    name = re.sub(r"[^A-Za-z0-9._+=@-]+", "-", value).strip("-.")[:100]
    return name or kind or "object"


def _is_device(path: Path) -> bool:
    try:
        return modes.S_ISBLK(path.stat().st_mode)
    except OSError:
        return False


# --- streams ---------------------------------------------------------------------------------


def stream_runs(
    work: RestoreWork,
    size: int,
    walk: Callable[[OnContentGap | None], Iterator[Run]],
    stream: BinaryIO,
    what: str,
) -> None:
    """Write a content to a stream in order, zeros for its holes.

    Args:
        work: The restore.
        size: Bytes of the content.
        walk: Yields its runs, in order; called more than once.
        stream: Takes the bytes; a short write is gone on with.
        what: Names the content in messages.

    Raises:
        IntegrityError: something is damaged; the stream ends before it, unless it is a salvage.
    """
    salvage = work.request.salvage
    packs = PacksNeeded(work)
    stored = 0

    def lose(gap: ContentGap) -> None:
        work.lose(what, _zeros(gap.position, gap.length, gap.error))

    for run in walk(lose if salvage else None):
        packs.need((run.address,))
        stored += run.length
    packs.look_up()
    if work.request.dry_run:
        work.result.would.append(what)
        return
    work.progress.begin("restore", stored)
    work.progress.reading(what)
    hasher = work.hasher
    ignore = (lambda _: None) if salvage else None
    at = 0
    with BlocksAhead(work.reader) as ahead:
        ahead.want(_quiet(run.address for run in walk(ignore)))
        for run in walk(ignore):
            work.cancel.check()
            _write_zeros(stream, run.position - at)
            at = run.position
            try:
                data = content_of(ahead.take(run.address), run, hasher, what)
            except IntegrityError as error:
                if not salvage:
                    words = f"; {what} was written up to {at}, and is not whole"
                    raise with_words(error, words, paths=[what], written=at) from error
                work.lose(what, _zeros(run.position, run.length, error))
                continue
            _write_all(stream, data)
            at += run.length
            work.progress.advance(run.length)
        _write_zeros(stream, size - at)
        stream.flush()
    work.progress.finish()
    if not work.result.losses:
        work.result.files += 1
    work.result.bytes += size


def refuse_stream_options(work: RestoreWork) -> None:
    """Refuse what makes no sense for a stream.

    Raises:
        InvalidInputError: it was asked for.
    """
    if work.request.verify:
        raise InvalidInputError(
            "a stream cannot be read back", hint="leave --verify out: content is always compared"
        )


def _quiet(addresses: Iterator[BlockAddress]) -> Iterator[BlockAddress]:
    """Yield as far as the index opens; the one who writes will meet what does not."""
    with suppress(IntegrityError):
        yield from addresses


def _zeros(position: int, length: int, error: IntegrityError) -> str:
    return f"bytes {position} to {position + length} are zeros: {error}"


def _write_zeros(stream: BinaryIO, count: int) -> None:
    while count > 0:
        step = min(count, len(_ZEROS))
        _write_all(stream, memoryview(_ZEROS)[:step])
        count -= step


def _write_all(stream: BinaryIO, data: memoryview) -> None:
    while data:
        data = data[stream.write(data) :]
