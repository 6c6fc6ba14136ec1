"""One point as one file: an archive that is a repository with a single point.

The archive holds the sealed blocks that the point uses, as they are, and the ways in: whoever
opens the point's chain opens the archive, with the same secrets, and nobody else. It is signed by
this server, so that it is believed where this server is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from strongroom.clock import to_microseconds
from strongroom.control import audit
from strongroom.control.access import open_reading
from strongroom.crypto import random
from strongroom.crypto.envelope import SessionSecrets
from strongroom.engine import derivation
from strongroom.engine.carried import used_by
from strongroom.engine.image_backup import count_disk
from strongroom.engine.tree_backup import count_chunk_list, count_tree
from strongroom.errors import ConflictError, NotFoundError, PointDamagedError, RefusedError
from strongroom.format.journal import SessionBody
from strongroom.format.point import DiskRoot, TreeRoot
from strongroom.keystore import ChainRecord
from strongroom.repository import rekey, unpublished, writer
from strongroom.repository.repository import Repository
from strongroom.repository.usage import BlockUsage
from strongroom.storage.archive import ArchiveBeingWritten

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.control.access import Access
    from strongroom.control.context import Context
    from strongroom.engine.cancellation import Cancellation
    from strongroom.engine.carried import Carried
    from strongroom.engine.points import PointView
    from strongroom.engine.progress import Progress

_REASON = "exported"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """An archive that was written."""

    point: str
    file: str
    stored_bytes: int
    encrypted: bool


def export(
    ctx: Context,
    access: Access,
    which: str,
    target: Path,
    *,
    progress: Progress,
    cancel: Cancellation,
) -> ExportResult:
    """Write a point into an archive.

    Args:
        ctx: Surroundings: the server that signs the point's chain.
        access: Where the point is, and what opens it beside what is kept.
        which: The point.
        target: The file to make.
        progress: Is told how it goes.
        cancel: Stops it between two packs.

    Raises:
        ConflictError: the file is there already, or its folder is not.
        NotFoundError: there is no such point.
        RefusedError: another server signs the point's chain.
        UnlockError: nothing at hand opens the point's index.
        IntegrityError: something that it needs is not what was signed.
    """
    if target.exists() or not target.parent.is_dir():
        what = "is there already" if target.exists() else "cannot be made: its folder is not there"
        raise ConflictError(f"{target} {what}", hint="choose another name for the archive")
    reading = open_reading(ctx, access, which=(which,))
    view = reading.select(which)
    if view.chain.signs_as(ctx.identity.public) is None:
        raise RefusedError(
            f"point {view.id} is in a chain that {view.chain.identity.fingerprint} signs, and only "
            "that server can say of an archive that all of it is there",
            hint="export it there; 'strongroom repository copy' brings whole chains anywhere",
        )
    archive = ArchiveBeingWritten(target)
    try:
        _fill(ctx, archive, view, progress, cancel)
        size = archive.finish()
    finally:
        archive.abandon()
    audit.record(ctx, "point.exported", needed=False, point=view.id, file=str(target))
    return ExportResult(
        point=view.id, file=str(target), stored_bytes=size, encrypted=view.encrypted
    )


def _fill(
    ctx: Context,
    archive: ArchiveBeingWritten,
    view: PointView,
    progress: Progress,
    cancel: Cancellation,
) -> None:
    old, body = view.chain, view.live.body
    Repository.create(archive, ctx.clock)
    chain_id, header = rekey.prepare_derived(
        old, old.present_key_id, ctx.identity, to_microseconds(ctx.clock.now()), None, archive
    )
    new = unpublished.view(archive, chain_id, header)
    what = _used(view)
    derivation.carry_packs(old, new, what, progress, cancel)
    session_id = random.token(16)
    secrets, sealed = _session_keys(ctx, view, session_id)
    session = derivation.DerivingSession(
        session_id=session_id,
        keys=sealed,
        secrets=secrets,
        counter=body.counter,
        previous=None,
        next_due=0,
        older=(),
    )
    details = msgspec.structs.replace(view.opened(), parent=b"", reason=_REASON)
    point = derivation.DerivedPoint(
        point_id=view.point_id, source_id=view.live.point.source_id, details=details
    )
    derivation.publish(old, new, what, [point], session, ctx.identity, ctx.clock)
    unpublished.publish(archive, chain_id, header)


def _used(view: PointView) -> Carried:
    """Return what a point uses, and no other of its session."""
    usage, reader, root = BlockUsage(), view.reader(), view.opened().root
    if isinstance(root, TreeRoot):
        count_tree(reader, usage, root)
    elif isinstance(root, DiskRoot):
        count_disk(reader, usage, root)
    elif root.page is not None:
        count_chunk_list(reader, usage, root.levels, root.page)
    what = used_by(view.chain, [view.live.entry])
    wanted = usage.bitmaps()
    if any(bits & ~what.used.get(key, 0) for key, bits in wanted.items()):
        raise PointDamagedError(f"point {view.id} uses blocks that its block set lacks")
    what.used = wanted
    return what


def _session_keys(
    ctx: Context, view: PointView, session_id: bytes
) -> tuple[SessionSecrets | None, writer.SealedKeys]:
    """Return keys for the session that publishes in the archive, sealed as the point's is."""
    chain, body = view.chain, view.live.body
    if not chain.sealed:
        # What the content hashes of a plain copy are keyed with, the archive tells, too.
        own = chain.sessions(body).get(body.slot)
        return None, writer.SealedKeys(sealed=own.sealed_keys if own is not None else b"")
    try:
        kept = ctx.keystore.get(ChainRecord, chain.chain_id.hex())
        dedup_key, seed = kept.dedup_key, kept.chunker_seed
    except NotFoundError:
        record = chain.sessions(body).get(body.slot)
        assert record is not None
        assert view.keyring is not None
        before = view.keyring.secrets(record)
        dedup_key, seed = before.dedup_key, before.chunker_seed
    secrets = SessionSecrets.generate(dedup_key, seed)
    # For whom the chain is sealed today: links lead from there to what is older.
    newest = chain.newest_session
    assert newest is not None
    assert isinstance(newest.body, SessionBody)
    public = newest.body.chain_public
    return secrets, writer.seal_keys(secrets, public, chain.origin_id, session_id)
