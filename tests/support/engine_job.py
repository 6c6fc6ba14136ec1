"""Sessions driven as the control plane drives them, without catalog, lock or keystore.

`EngineJob` is one job on one machine: its chain, the metakeys that its keystore would keep, its
cache. What was published is read back from the repository alone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.clock import SystemClock
from strongroom.crypto import random
from strongroom.crypto.envelope import SessionSecrets
from strongroom.crypto.keys import DedupKey, MetaKey
from strongroom.crypto.recipients import make_recovery_recipient
from strongroom.crypto.signing import SigningKey
from strongroom.engine import backup, index_reader
from strongroom.engine.backup import NewPoint, SessionOutcome, SourcePlan
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.image_backup import count_disk
from strongroom.engine.pipeline import Compression
from strongroom.engine.progress import NullProgress
from strongroom.engine.tree_backup import count_chunk_list, count_tree
from strongroom.format.block import BlockAddress, BlockClass
from strongroom.format.journal import Entry, PublicPoint, SessionBody
from strongroom.format.point import DiskRoot, PointDetails, StreamRoot, TreeRoot
from strongroom.model.entry import EntryKind
from strongroom.repository import layout, rekey, writer
from strongroom.repository.chain import Chain
from strongroom.repository.keyring import Keyring
from strongroom.repository.reader import BlockReader
from strongroom.repository.state import StateBlocks
from strongroom.repository.usage import BlockUsage
from strongroom.storage.base import Storage

if TYPE_CHECKING:
    from strongroom.engine.progress import Progress


class AheadClock(SystemClock):
    """Runs ahead of the file system, so that what was just written counts as settled.

    A change after a session then needs `settle` before it, as a later one would have anyway.
    """

    def now_ns(self) -> int:
        return super().now_ns() + 3600 * 10**9


def settle() -> None:
    """Wait until the file system's stamps have moved on."""
    SystemClock().sleep(0.012)


def keep_all(_: Sequence[NewPoint]) -> frozenset[bytes]:
    return frozenset()


@dataclass(frozen=True)
class Point:
    """A promised point, opened."""

    entry: Entry
    public: PublicPoint
    details: PointDetails

    @property
    def id(self) -> bytes:
        return self.public.point_id

    @property
    def body(self) -> SessionBody:
        assert isinstance(self.entry.body, SessionBody)
        return self.entry.body


class EngineJob:
    """One job, its chain, and what its machine remembers."""

    secret_is_stored = False

    def __init__(
        self,
        storage: Storage,
        sources: Iterable[SourcePlan] = (),
        *,
        sealed: bool = True,
        cache: Path | None = None,
        block_size: int = 1 << 20,
        compression: int | None = 3,
    ) -> None:
        self.storage = storage
        self.sources = tuple(sources)
        self.cache = cache
        self.block_size = block_size
        self.compression = compression
        self.clock = AheadClock()
        self.signer = SigningKey.from_seed(random.seed())
        recipients = [make_recovery_recipient(random.seed(), "kit", self.signer.public)]
        started, self.chain_key = rekey.start_chain(
            storage,
            random.token(16),
            recipients if sealed else [],
            self.signer,
            self.clock,
            None,
        )
        self.chain_id = started.chain_id
        self.dedup_key = DedupKey(random.token(32))
        self.chunker_seed = random.number(1, 2**63 - 1)
        self.metakeys: dict[bytes, MetaKey] = {}
        self.counter = 0
        """Whether sessions have the chain key at hand, as where a job's secret is stored."""

    @property
    def sealed(self) -> bool:
        return self.chain_key is not None

    def chain(self) -> Chain:
        return Chain(self.storage, self.chain_id)

    def plan(self, sources: Iterable[SourcePlan] | None = None) -> backup.SessionPlan:
        """Decide a session as the control plane would, its metakey kept before it begins."""
        session_id = random.token(16)
        secrets, keys = None, writer.SealedKeys()
        if self.chain_key is not None:
            secrets = SessionSecrets.generate(self.dedup_key, self.chunker_seed)
            keys = writer.seal_keys(secrets, self.chain_key.public.raw, self.chain_id, session_id)
            self.metakeys[session_id] = secrets.metakey
        self.counter += 1
        return backup.SessionPlan(
            session_id=session_id,
            job="job",
            machine="machine",
            sources=self.sources if sources is None else tuple(sources),
            compression=Compression(self.compression),
            block_size=self.block_size,
            reason="",
            secrets=secrets,
            keys=keys,
            counter=self.counter,
            previous=None,
            next_due=0,
        )

    def run(
        self,
        plan: backup.SessionPlan | None = None,
        *,
        chain: Chain | None = None,
        give_up: Callable[[Sequence[NewPoint]], Collection[bytes]] = keep_all,
        cancel: Cancellation | None = None,
        progress: Progress | None = None,
        metakeys: dict[bytes, MetaKey] | None = None,
    ) -> SessionOutcome:
        """Run a session to its end."""
        return backup.run_session(
            plan or self.plan(),
            chain or self.chain(),
            Keyring(
                self.chain_id,
                {self.chain_key.id: self.chain_key}
                if self.chain_key is not None and self.secret_is_stored
                else {},
                self.metakeys if metakeys is None else metakeys,
            ),
            signer=self.signer,
            clock=self.clock,
            cache=self.cache,
            give_up=give_up,
            progress=progress or NullProgress(),
            cancel=cancel or Cancellation(),
        )

    # --- reading back --------------------------------------------------------------------------

    def keyring(self) -> Keyring:
        """Return all keys of the chain, as its secret opens them."""
        keys = {} if self.chain_key is None else {self.chain_key.id: self.chain_key}
        return Keyring(self.chain_id, keys)

    def points(self) -> list[Point]:
        """Return every promised point, oldest first, opened with the chain key alone."""
        chain, keyring = self.chain(), self.keyring()
        return [
            Point(
                live.entry,
                live.point,
                backup.open_details(chain, keyring, live.body, live.point),
            )
            for live in chain.live_points()
        ]

    def reader(self, body: SessionBody) -> BlockReader:
        chain = self.chain()
        return BlockReader(chain, chain.sessions(body), self.keyring())

    def read_image(self, point: Point) -> bytes:
        root = point.details.root
        assert isinstance(root, DiskRoot)
        return read_disk(self.reader(point.body), root)

    def check_block_sets(self) -> None:
        """Every promised entry's public block set is what its points use, carried ones included."""
        chain = self.chain()
        newest: dict[bytes, Point] = {}
        by_entry: dict[int, list[Point]] = {}
        for point in self.points():
            by_entry.setdefault(point.entry.number, []).append(point)
        for number in sorted(by_entry):
            newest.update({point.public.source_id: point for point in by_entry[number]})
            body = by_entry[number][0].body
            reader = self.reader(body)
            public = StateBlocks(chain, body).all_bits()
            used = BlockUsage()
            for point in by_entry[number]:
                count_root(reader, used, point.details.root)
            for key, bits in used.bitmaps().items():
                assert bits & ~public.get(key, 0) == 0, "a point uses what its block set lacks"
            if number == max(by_entry):
                whole = BlockUsage()
                for point in newest.values():
                    count_root(reader, whole, point.details.root)
                assert whole.bitmaps() == {key: bits for key, bits in public.items() if bits}

    def sweep(self) -> int:
        """Remove every pack that no entry with promised points uses, as prune would.

        Returns:
            How many went.
        """
        chain = self.chain()
        used: set[bytes] = set()
        entries = {entry.number: entry for entry in chain.kept_entries()}
        if chain.newest_session is not None:
            entries[chain.newest_session.number] = chain.newest_session
        for entry in entries.values():
            assert isinstance(entry.body, SessionBody)
            reader = BlockReader(chain, chain.sessions(entry.body), self.keyring())
            for (slot, ordinal), bits in StateBlocks(chain, entry.body).all_bits().items():
                if bits:
                    place = (bits & -bits).bit_length() - 1
                    used.add(_pack_id(reader, slot, ordinal, place))
        gone = 0
        for info in list(self.storage.list(layout.packs(self.chain_id))):
            if info.key not in {layout.pack(self.chain_id, one) for one in used}:
                self.storage.delete(info.key)
                gone += 1
        return gone


def _pack_id(reader: BlockReader, slot: int, ordinal: int, place: int) -> bytes:
    address = BlockAddress(slot, ordinal << 16 | place)
    try:
        return reader.birth(address, BlockClass.DATA).directory.pack_id
    except Exception:  # noqa: BLE001 - the other class, or the assertion below says it
        return reader.birth(address, BlockClass.INDEX).directory.pack_id


def count_root(reader: BlockReader, usage: BlockUsage, root: object) -> None:
    """Count every block below a root."""
    if isinstance(root, TreeRoot):
        count_tree(reader, usage, root)
    elif isinstance(root, DiskRoot):
        count_disk(reader, usage, root)
    elif isinstance(root, StreamRoot) and root.page is not None:
        count_chunk_list(reader, usage, root.levels, root.page)


def source(kind: str, value: object) -> SourcePlan:
    return SourcePlan(source_id=random.token(16), kind=kind, value=os.fspath(str(value)))


def read_disk(reader: BlockReader, root: DiskRoot) -> bytes:
    """Return all of a disk."""
    content = bytearray(root.size)
    for run in index_reader.walk_disk(reader, root):
        block = reader.read(run.address, BlockClass.DATA)
        part = index_reader.part_of(block, run.offset, run.length, "a run")
        content[run.position : run.position + run.length] = part
    return bytes(content)


def read_stream(reader: BlockReader, root: StreamRoot) -> bytes:
    """Return all of what a command printed."""
    return b"".join(_pieces(reader, index_reader.walk_stream(reader, root)))


def _pieces(reader: BlockReader, pieces: Iterable[index_reader.Piece]) -> Iterator[bytes]:
    for piece in pieces:
        if piece.address is None:
            yield bytes(piece.length)
            continue
        block = reader.read(piece.address, BlockClass.DATA)
        yield bytes(index_reader.part_of(block, piece.offset, piece.length, "a piece"))


@dataclass(frozen=True)
class Seen:
    """All of an entry that a point has to keep."""

    kind: str
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    content: bytes = b""
    """Of a file; the target of a symlink."""
    device: int = 0
    first_name: tuple[bytes, ...] | None = None
    """Of what has several names: the first of them in the order of a walk."""


def read_tree(reader: BlockReader, root: TreeRoot) -> dict[tuple[bytes, ...], Seen]:
    """Return a tree as its index tells it, by path below the root."""
    found: dict[tuple[bytes, ...], Seen] = {}
    linked: set[tuple[bytes, ...]] = set()
    for entry in index_reader.walk_tree(reader, root):
        kind, attributes = entry.kind, entry.attributes
        content = entry.link
        first: tuple[bytes, ...] | None = None
        if kind is EntryKind.FILE:
            content = b"".join(_pieces(reader, index_reader.pieces_of(reader, entry)))
            assert len(content) == entry.size
        elif kind is EntryKind.HARD_LINK:
            first = tuple(entry.link.split(b"/"))
            linked.add(first)
            content = found[first].content
        found[entry.below] = Seen(
            kind.name if first is None else found[first].kind,
            attributes.mode,
            attributes.uid,
            attributes.gid,
            attributes.mtime_ns,
            attributes.xattrs,
            content,
            entry.device if first is None else found[first].device,
            first,
        )
    for path in linked:
        found[path] = replace(found[path], first_name=path)
    return found


_KINDS = {
    stat.S_IFDIR: "DIRECTORY",
    stat.S_IFREG: "FILE",
    stat.S_IFLNK: "SYMLINK",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "SOCKET",
    stat.S_IFCHR: "CHARACTER_DEVICE",
    stat.S_IFBLK: "BLOCK_DEVICE",
}


def look_at(root: Path) -> dict[tuple[bytes, ...], Seen]:
    """Return a tree as it is, by path below the root; knows nothing of the sources' walk."""
    found: dict[tuple[bytes, ...], Seen] = {}
    first_names: dict[int, tuple[bytes, ...]] = {}

    def visit(path: Path, below: tuple[bytes, ...]) -> None:
        st = path.lstat()
        kind = _KINDS[stat.S_IFMT(st.st_mode)]
        content = b""
        first = None
        if kind != "DIRECTORY" and st.st_nlink > 1:
            first = first_names.setdefault(st.st_ino, below)
        if kind == "FILE":
            content = path.read_bytes()
        elif kind == "SYMLINK":
            content = os.fsencode(path.readlink())
        found[below] = Seen(
            kind,
            stat.S_IMODE(st.st_mode),
            st.st_uid,
            st.st_gid,
            st.st_mtime_ns,
            tuple(
                sorted(
                    (os.fsencode(name), os.getxattr(path, name, follow_symlinks=False))
                    for name in os.listxattr(path, follow_symlinks=False)
                )
            ),
            content,
            st.st_rdev if kind.endswith("DEVICE") else 0,
            first,
        )
        if kind == "DIRECTORY":
            for name in sorted(os.listdir(os.fsencode(path))):
                visit(path / os.fsdecode(name), (*below, name))

    visit(root, ())
    return found
