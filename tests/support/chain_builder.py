"""Chains built page by page, so that tests can say anything in them.

A `ChainBuilder` is a session that writes what it is told: blocks of any content, index pages of
any shape, points with any root. Keys, packs, ledgers, tables, journal and signatures are real, so
that whatever a reader refuses it refuses for what the test put in.

    built = build_chain(MemoryStorage(), sealed=True, trees=[{"a": b"content", "d/b": b""}])
    view = built.views()[0]
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.clock import SystemClock
from strongroom.crypto import random
from strongroom.crypto.content import ContentHasher
from strongroom.crypto.envelope import ChainKey, SessionSecrets
from strongroom.crypto.keys import DedupKey
from strongroom.crypto.recipients import RecoveryUnlocker, make_recovery_recipient
from strongroom.crypto.signing import SigningKey
from strongroom.engine import index_writer
from strongroom.engine.backup import SourcePlan, SourceResult, seal_details
from strongroom.engine.pipeline import BlockPipeline, Compression
from strongroom.engine.points import PointView, open_points
from strongroom.format.block import BlockClass
from strongroom.format.index import (
    HOLE,
    AttributeRow,
    ChunkNode,
    ChunkPage,
    IndexPage,
    RecognitionPage,
    TreeNode,
    TreePage,
    encode_page,
)
from strongroom.format.journal import PointKind, PublicPoint
from strongroom.format.point import DiskRoot, PointDetails, StreamRoot, TreeRoot
from strongroom.model.entry import EntryKind
from strongroom.repository import rekey, writer
from strongroom.repository.chain import Chain, Trust
from strongroom.repository.usage import BlockUsage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from strongroom.crypto.keys import Seed
    from strongroom.crypto.recipients import Unlocker
    from strongroom.engine.index_writer import Effect
    from strongroom.storage.base import Storage

Pair = tuple[int, int]
Root = TreeRoot | DiskRoot | StreamRoot

ROW: AttributeRow = (0o644, 0, 0, "root", "root", ())
MTIME = 1_700_000_000_123_456_789


@dataclass(frozen=True)
class PagePiece:
    """A run of content as a page says it; `block` None is a hole."""

    block: Pair | None
    offset: int
    length: int
    content_hash: bytes = bytes(32)


@dataclass
class PageEntry:
    """An entry of a page that a test wants."""

    kind: int
    name: bytes = b""
    pieces: list[PagePiece] = field(default_factory=list)
    size: int | None = None
    """Of a file; the sum of its pieces by default."""
    chunk_list: tuple[int, int, int] | None = None
    link: bytes | None = None
    row: AttributeRow = ROW
    mtime_ns: int = MTIME


LEAVE = PageEntry(EntryKind.LEAVE)


def directory(name: str | bytes) -> PageEntry:
    row: AttributeRow = (0o755, *ROW[1:])
    return PageEntry(EntryKind.DIRECTORY, _bytes(name), row=row)


def file(name: str | bytes, *pieces: PagePiece) -> PageEntry:
    return PageEntry(EntryKind.FILE, _bytes(name), list(pieces))


def tree_page(entries: Iterable[PageEntry]) -> TreePage:
    """Return the page of these entries; nothing is checked."""
    kinds = bytearray()
    names: list[bytes] = []
    rows: list[int] = []
    mtimes: list[int] = []
    row_of: dict[AttributeRow, int] = {}
    sizes: list[int] = []
    counts: list[int] = []
    pieces: list[PagePiece] = []
    chunk_lists: list[tuple[int, int, int]] = []
    links: dict[int, bytes] = {}
    for index, entry in enumerate(entries):
        kinds.append(entry.kind)
        names.append(entry.name)
        leaves = entry.kind == EntryKind.LEAVE
        rows.append(0 if leaves else row_of.setdefault(entry.row, len(row_of)))
        mtimes.append(0 if leaves else entry.mtime_ns)
        if entry.kind == EntryKind.FILE:
            total = sum(piece.length for piece in entry.pieces)
            sizes.append(total if entry.size is None else entry.size)
            counts.append(-1 if entry.chunk_list else len(entry.pieces))
            pieces.extend(entry.pieces)
            if entry.chunk_list:
                chunk_lists.append(entry.chunk_list)
        if entry.link is not None:
            links[index] = entry.link
    blocks, indexes = _columns(pieces)
    return TreePage(
        bytes(kinds),
        names,
        rows,
        mtimes,
        list(row_of),
        sizes,
        counts,
        indexes,
        [piece.offset for piece in pieces],
        [piece.length for piece in pieces],
        b"".join(piece.content_hash for piece in pieces),
        blocks,
        chunk_lists,
        links,
        {},
    )


def chunk_page(pieces: Sequence[PagePiece]) -> ChunkPage:
    blocks, indexes = _columns(pieces)
    return ChunkPage(
        blocks,
        indexes,
        [piece.offset for piece in pieces],
        [piece.length for piece in pieces],
        b"".join(piece.content_hash for piece in pieces),
    )


def _columns(pieces: Iterable[PagePiece]) -> tuple[list[Pair], list[int]]:
    block_of: dict[Pair, int] = {}
    indexes = [
        HOLE if piece.block is None else block_of.setdefault(piece.block, len(block_of))
        for piece in pieces
    ]
    return list(block_of), indexes


class ChainBuilder:
    """One session that stores and publishes whatever a test wants."""

    def __init__(
        self,
        chain: Chain,
        chain_key: ChainKey | None,
        signer: SigningKey,
        dedup_key: DedupKey | None = None,
    ) -> None:
        self.chain = chain
        self.session_id = random.token(16)
        self.secrets: SessionSecrets | None = None
        keys = writer.SealedKeys()
        if chain_key is not None:
            self.secrets = SessionSecrets.generate(dedup_key or DedupKey(random.token(32)), 1)
            keys = writer.seal_keys(
                self.secrets, chain_key.public.raw, chain.chain_id, self.session_id
            )
        self.hasher = ContentHasher(self.secrets.dedup_key if self.secrets else None)
        self._writer = writer.SessionWriter(chain, self.session_id, keys, signer, SystemClock())
        self._writer.begin()
        self._pipeline = BlockPipeline(
            chain.chain_id,
            self.session_id,
            self._writer.slot,
            self.secrets,
            Compression(3),
            self._writer.put_pack,
            workers=1,
        )
        self.usage = BlockUsage()
        """What the public block set will name; a test may leave something out."""

    def data(self, content: bytes) -> Pair:
        """Store a block of data."""
        return self._add(BlockClass.DATA, content)

    def piece(self, content: bytes) -> PagePiece:
        """Store content as a block of its own, and return the piece that is all of it."""
        return PagePiece(self.data(content), 0, len(content), self.hasher.digest(content))

    def page(self, page: IndexPage | bytes) -> Pair:
        """Store a page of an index, or what stands in for one."""
        return self._add(BlockClass.INDEX, page if isinstance(page, bytes) else encode_page(page))

    def recognition(self, entries: int) -> Pair:
        return self.page(RecognitionPage([0] * entries, [0] * entries))

    def single(self, entries: Sequence[PageEntry]) -> TreeRoot:
        """Store a tree of one page."""
        return TreeRoot(0, self.page(tree_page(entries)), self.recognition(len(entries)))

    def node(
        self, pages: Sequence[Pair], effects: Sequence[Effect], *, lowest: bool = True
    ) -> Pair:
        """Store a node over pages; what it says of them is the test's to choose."""
        return self.page(
            TreeNode(
                list(pages),
                [self.recognition(effect.entries) for effect in effects] if lowest else [],
                [effect.entries for effect in effects],
                [effect.leaves for effect in effects],
                [effect.lead for effect in effects],
                [effect.enters for effect in effects],
                [effect.first for effect in effects],
            )
        )

    def paged(self, entries: Sequence[PageEntry], per_page: int) -> TreeRoot:
        """Store a tree of pages of a given size, under one node."""
        if len(entries) <= per_page:
            return self.single(entries)
        pages: list[Pair] = []
        effects: list[Effect] = []
        for first in range(0, len(entries), per_page):
            part = entries[first : first + per_page]
            pages.append(self.page(tree_page(part)))
            effects.append(effect_of(part))
        return TreeRoot(1, self.node(pages, effects), None)

    def chunk_list(self, pieces: Sequence[PagePiece]) -> tuple[int, int, int]:
        """Store a chunk list with a node above one page a piece."""
        pages = [self.page(chunk_page([piece])) for piece in pieces]
        node = self.page(ChunkNode(pages, [piece.length for piece in pieces]))
        return (1, *node)

    def publish(self, roots: Iterable[tuple[str, Root]]) -> list[bytes]:
        """Publish one point a root, with the source it is said to be read from."""
        self._pipeline.flush()
        self._pipeline.shut_down()
        points: list[PublicPoint] = []
        for source, root in roots:
            kind, _, value = source.partition(":")
            plan = SourcePlan(source_id=random.token(16), kind=kind, value=value)
            point_id = random.token(16)
            size = 0 if isinstance(root, TreeRoot) else root.size
            details = PointDetails(
                "job", "machine", source, b"", "", 1, 2, size, 0, 0, 0, root, b""
            )
            result = SourceResult(source=plan, point_id=point_id, details=details)
            sealed = seal_details(self.chain, self.session_id, self.secrets, result)
            points.append(PublicPoint(point_id, plan.source_id, PointKind.FULL, sealed))
        self._writer.publish(points, self.usage, give_up=(), counter=1, previous=None, next_due=0)
        return [point.point_id for point in points]

    def _add(self, block_class: BlockClass, raw: bytes) -> Pair:
        content_hash = self.hasher.digest(raw)
        address = self._pipeline.add(block_class, raw, [(0, len(raw), content_hash)])
        self.usage.add(address.slot, address.number, len(raw))
        return (address.slot, address.number)


@dataclass(frozen=True)
class BuiltChain:
    """A chain in a storage, and what opens it."""

    storage: Storage
    chain_id: bytes
    chain_key: ChainKey | None
    seed: Seed
    """Of the recovery kit that the chain is sealed to."""
    signer: SigningKey

    @property
    def unlocker(self) -> Unlocker:
        return RecoveryUnlocker(self.seed)

    def chain(self, storage: Storage | None = None) -> Chain:
        """Return the chain as a reader finds it, maybe through another storage."""
        return Chain(storage or self.storage, self.chain_id)

    def views(self, storage: Storage | None = None) -> list[PointView]:
        """Return every point, oldest first."""
        chain = self.chain(storage)
        keyring = chain.wrapped.unlock(self.unlocker, Trust()) if chain.sealed else None
        return open_points([chain], lambda _: keyring)

    def session(self) -> ChainBuilder:
        """Begin another session."""
        return ChainBuilder(self.chain(), self.chain_key, self.signer)


def start_chain(storage: Storage, *, sealed: bool = True) -> BuiltChain:
    """Begin a chain without sessions."""
    seed = random.seed()
    signer = SigningKey.from_seed(random.seed())
    recipients = [make_recovery_recipient(seed, "kit", signer.public)] if sealed else []
    chain, chain_key = rekey.start_chain(
        storage, random.token(16), recipients, signer, SystemClock(), None
    )
    return BuiltChain(storage, chain.chain_id, chain_key, seed, signer)


def build_chain(
    storage: Storage,
    *,
    sealed: bool = True,
    trees: Sequence[Mapping[str, bytes]] = ({"a": b"content"},),
    per_page: int = 64,
    source: str = "files:/source",
) -> BuiltChain:
    """Return a chain with one session, and one point a tree.

    Args:
        storage: Takes the chain.
        sealed: Encrypted or plain.
        trees: Contents by path; directories are made of the paths.
        per_page: Entries in a page of the index.
        source: What the points say they were read from.
    """
    built = start_chain(storage, sealed=sealed)
    session = built.session()
    roots = [(source, session.paged(tree_entries(session, tree), per_page)) for tree in trees]
    session.publish(roots)
    return built


def tree_entries(session: ChainBuilder, tree: Mapping[str, bytes]) -> list[PageEntry]:
    """Return a tree's entries in walk order, its content stored."""
    entries = [directory(b".")]
    open_names: list[bytes] = []
    for path in sorted(tuple(path.encode().split(b"/")) for path in tree):
        content = tree[b"/".join(path).decode()]
        kept = 0
        while kept < len(open_names) and path[kept : kept + 1] == (open_names[kept],):
            kept += 1
        entries.extend([LEAVE] * (len(open_names) - kept))
        del open_names[kept:]
        for name in path[kept:-1]:
            entries.append(directory(name))
            open_names.append(name)
        entries.append(file(path[-1], *([session.piece(content)] if content else [])))
    entries.extend([LEAVE] * (len(open_names) + 1))
    return entries


def effect_of(entries: Sequence[PageEntry]) -> Effect:
    """Return what a node has to say of a page with these entries, as the engine's writer does."""
    return index_writer.effect_of(tree_page(entries))


def _bytes(name: str | bytes) -> bytes:
    return name.encode() if isinstance(name, str) else name
