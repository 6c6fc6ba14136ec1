"""Re-encryption of a test's job, as the control plane drives it, without catalog or keystore.

clone = Clone.begin(job)
clone.fill()              # may be cut short, and called again
newer = clone.publish()   # the same job, in the new chain
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.crypto import random
from strongroom.crypto.recipients import make_recovery_recipient
from strongroom.engine import extension, reencryption
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.carried import Carried
from strongroom.engine.progress import NullProgress
from strongroom.repository import promises, rekey, unpublished
from strongroom.repository.chain import Chain
from strongroom.repository.repository import Repository

if TYPE_CHECKING:
    from strongroom.crypto.envelope import ChainKey
    from strongroom.crypto.keys import MetaKey
    from strongroom.crypto.recipients import Recipient
    from strongroom.storage.base import Storage
    from tests.support.jobs import Job


@dataclass
class Clone:
    """A new chain for a job's old one."""

    job: Job
    chain_id: bytes
    header: bytes
    chain_key: ChainKey
    metakeys: dict[bytes, MetaKey] = field(default_factory=dict)

    @classmethod
    def begin(cls, job: Job, recipient: Recipient | None = None) -> Clone:
        old = job.chain().header
        recipient = recipient or make_recovery_recipient(random.seed(), "kit", job.signer.public)
        chain_id, header, chain_key = rekey.prepare_chain(
            job.storage, old.job_id, [recipient], job.signer, old.created_at, old.previous
        )
        assert chain_key is not None
        return cls(job, chain_id, header, chain_key)

    def fill(self, storage: Storage | None = None, cancel: Cancellation | None = None) -> Carried:
        job = self.job
        storage = storage or job.storage
        return reencryption.reencrypt(
            job.chain(),
            job.keyring(),
            unpublished.view(storage, self.chain_id, self.header),
            self.chain_key,
            counter=job.counter + 1,
            older=[],
            signer=job.signer,
            clock=job.clock,
            keep_metakey=self.metakeys.__setitem__,
            progress=NullProgress(),
            cancel=cancel or Cancellation(),
        )

    def publish(self) -> Job:
        """Let the new chain be seen, give the old one's points up, and go on in the new one."""
        job = self.job
        unpublished.publish(job.storage, self.chain_id, self.header)
        live = [one.point.point_id for one in job.chain().live_points()]
        promises.take_back(job.chain(), live, job.signer, job.clock, "re-encrypted")
        newer = copy(job)
        newer.chain_id, newer.chain_key, newer.metakeys = (
            self.chain_id,
            self.chain_key,
            self.metakeys,
        )
        newer.cache = None
        newer.counter = job.counter + 1
        return newer


@dataclass
class SealedCopy:
    """A clone of a test's job in another storage, under keys of its own, that follows the job.

    copy = SealedCopy.begin(job, MemoryStorage())
    copy.fill()               # may be cut short, and called again
    copy.publish()
    copy.follow()             # may be cut short, and called again
    assert copy.job.contents() == job.contents()
    """

    source: Job
    job: Job
    """The copy, as if it was a job of its own: to read, prune and scrub."""
    header: bytes

    @classmethod
    def begin(cls, source: Job, storage: Storage) -> SealedCopy:
        repository = Repository.create(storage, source.clock)
        recipient = make_recovery_recipient(random.seed(), "kit", source.signer.public)
        created_at = source.chain().header.created_at
        chain_id, header, chain_key = rekey.prepare_chain(
            storage, random.token(16), [recipient], source.signer, created_at, None
        )
        assert chain_key is not None
        job = copy(source)
        job.repository, job.storage = repository, storage
        job.chain_id, job.chain_key = chain_id, chain_key
        job.metakeys, job.cache = {}, None
        return cls(source, job, header)

    def fill(self, storage: Storage | None = None) -> None:
        job, source = self.job, self.source
        reencryption.reencrypt(
            source.chain(),
            source.keyring(),
            unpublished.view(storage or job.storage, job.chain_id, self.header),
            self.chain_key,
            counter=None,
            older=[],
            signer=job.signer,
            clock=job.clock,
            keep_metakey=job.metakeys.__setitem__,
            progress=NullProgress(),
            cancel=Cancellation(),
        )

    @property
    def chain_key(self) -> ChainKey:
        assert self.job.chain_key is not None
        return self.job.chain_key

    def publish(self) -> None:
        unpublished.publish(self.job.storage, self.job.chain_id, self.header)

    def follow(self, storage: Storage | None = None, *, keyless: bool = False) -> tuple[int, int]:
        """Add what the source has since; return how many packs were stored, and their bytes."""
        job, source = self.job, self.source
        old, new = source.chain(), Chain(storage or job.storage, job.chain_id)
        return extension.extend(
            old,
            source.keyring(),
            new,
            self.chain_key.public,
            None if keyless else self.chain_key,
            extension.Lacking(old, new),
            older=[],
            signer=job.signer,
            clock=job.clock,
            keep_metakey=job.metakeys.__setitem__,
            progress=NullProgress(),
            cancel=Cancellation(),
        )
