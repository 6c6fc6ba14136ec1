"""A whole installation in a temporary folder, its repositories in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from strongroom.catalog import chains, heads, jobs, points, repositories
from strongroom.clock import to_microseconds
from strongroom.control import jobs as job_control
from strongroom.control import keys, passwords
from strongroom.control import repositories as repository_control
from strongroom.control.context import Context
from strongroom.control.secrets import SecretSource
from strongroom.crypto import random
from strongroom.crypto.aead import seal_value
from strongroom.crypto.envelope import SessionSecrets
from strongroom.crypto.hpke import PublicKey
from strongroom.crypto.kdf import MINIMUM
from strongroom.crypto.keys import DedupKey
from strongroom.format.codec import encode
from strongroom.format.header import session_context
from strongroom.format.journal import EntryRef, PointKind, PublicPoint, SessionBody
from strongroom.format.paging import Table, TableRoot
from strongroom.format.point import DETAILS_LABEL, PointDetails, StreamRoot
from strongroom.format.tables import SESSION_SPAN, SessionRecord
from strongroom.keystore import ChainRecord
from strongroom.repository.append import append_entry
from strongroom.repository.chain import Chain
from strongroom.repository.pages import PageCollector
from strongroom.repository.promises import updated_history
from strongroom.repository.rekey import start_chain
from strongroom.repository.repository import Repository
from strongroom.settings import Settings
from strongroom.testing.memory_storage import MemoryStorage
from strongroom.testing.turned_clock import TurnedClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from strongroom.control.views.jobs import JobResult
    from strongroom.model.job import Job
    from strongroom.storage.base import Storage

FIRST = "first-Pass-of-2026"
SECOND = "second-Pass-of-2027"


@dataclass
class Workshop:
    """An installation, and short words for what tests do with it."""

    ctx: Context
    clock: TurnedClock
    folder: Path
    storages: dict[str, MemoryStorage] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def secret(self, text: str) -> SecretSource:
        return SecretSource(environment="SECRET", variables={"SECRET": text})

    def typing(self, *texts: str) -> SecretSource:
        """Return a terminal at which someone types these, one after the other."""
        answers = iter(texts)

        def prompt(what: str) -> str:
            self.asked.append(what)
            return next(answers)

        return SecretSource(prompt=prompt)

    def repository(self, name: str = "main") -> str:
        repository_control.add(self.ctx, name, f"/{name}")
        return name

    def password(self, name: str = "office", text: str = FIRST, **options: object) -> None:
        passwords.add(self.ctx, name, self.secret(text), **options)  # type: ignore[arg-type]

    def job(self, name: str = "nightly", encrypt: str = "none", **options: object) -> JobResult:
        request = job_control.JobRequest(
            name=name,
            encrypt=encrypt,
            **{"repository": "main", "sources": ("command:true",), **options},  # type: ignore[arg-type]
        )
        return job_control.create(self.ctx, request)

    def the_job(self, name: str = "nightly") -> Job:
        return jobs.get(self.ctx.database, name)

    def chain(self, name: str = "nightly") -> Chain:
        row = chains.current(self.ctx.database, self.the_job(name).job_id)
        assert row is not None
        return Chain(self.storages[f"/{self.the_job(name).repository}"], row.chain_id)

    def session(self, name: str = "nightly") -> list[bytes]:
        """Publish a point of every source of the job: what a session leaves, without the data."""
        ctx, job = self.ctx, self.the_job(name)
        storage = self.storages[f"/{job.repository}"]
        row = chains.current(ctx.database, job.job_id)
        if row is None or row.detached:
            self._start_chain(job, storage)
            row = chains.current(ctx.database, job.job_id)
        assert row is not None
        chain = Chain(storage, row.chain_id)
        record = keys.chain_record(ctx, row.chain_id)
        session_id = random.token(16)
        context = session_context(chain.chain_id, session_id)
        before = chain.newest_session
        counter = before.body.counter + 1 if before and isinstance(before.body, SessionBody) else 1
        kind = PointKind.INCREMENTAL if before else PointKind.FULL
        published, ids = [], []
        secrets = None
        if record is not None:
            secrets = SessionSecrets.generate(record.dedup_key, record.chunker_seed)
            ctx.keystore.put_metakey(chain.chain_id, session_id, secrets.metakey)
        for source in job.sources:
            point_id = random.token(16)
            details = encode(
                PointDetails(
                    job=job.name,
                    machine="host",
                    source=str(source),
                    parent=b"",
                    reason="",
                    taken_at=self._now(),
                    finished_at=self._now(),
                    size_bytes=1000,
                    stored_bytes=10,
                    files=3,
                    warnings=0,
                    root=StreamRoot(levels=0, page=None, size=0),
                    recognition=b"",
                )
            )
            if secrets is not None:
                details = seal_value(secrets.metakey, DETAILS_LABEL, context + point_id, details)
            published.append(PublicPoint(point_id, source.source_id, kind, details))
            ids.append(point_id)
        pages = PageCollector(chain)
        sessions = Table(SessionRecord, SESSION_SPAN, TableRoot(), pages.load)
        public = b""
        key_id, sealed, commitment = b"", b"", b""
        if secrets is not None and record is not None:
            key = PublicKey(record.chain_key_public)
            public, key_id = key.raw, key.id
            sealed, commitment = secrets.seal(key, context), secrets.commitment(context)
        session_record = SessionRecord(
            session_id=session_id,
            chain_key_id=key_id,
            sealed_keys=sealed,
            commitment=commitment,
            ledger=TableRoot(),
            packs=0,
        )
        sessions_root = sessions.updated({0: session_record}, pages.add)
        history = updated_history(chain, pages)
        pages.store()
        previous = EntryRef(chain.chain_id, before.number, before.hash) if before else None
        body = SessionBody(
            session_id=session_id,
            slot=0,
            base=before.number if before else 0,
            counter=counter,
            previous=previous,
            next_due=0,
            older=[],
            chain_public=public,
            points=published,
            sessions=sessions_root,
            sets=TableRoot(),
            history=history,
        )
        entry = append_entry(chain, body, ctx.identity, ctx.clock)
        heads.remember(ctx.database, chain.chain_id, entry.number, entry.hash, ctx.clock.now())
        points.insert_many(
            ctx.database,
            [
                points.PointRow(
                    point_id=point.point_id,
                    chain_id=chain.chain_id,
                    job_id=job.job_id,
                    source_id=point.source_id,
                    session_id=session_id,
                    entry=entry.number,
                    kind="incremental" if before else "full",
                    taken_at=ctx.clock.now(),
                    size_bytes=1000,
                    stored_bytes=10,
                    files=3,
                )
                for point in published
            ],
        )
        return ids

    def _now(self) -> int:
        return to_microseconds(self.clock.now())

    def _start_chain(self, job: Job, storage: Storage) -> None:
        ctx = self.ctx
        recipients = keys.recipients(ctx, job)
        chain, chain_key = start_chain(
            storage, job.job_id, recipients, ctx.identity, ctx.clock, None
        )
        if chain_key is not None:
            ctx.keystore.put(
                chain.chain_id.hex(),
                ChainRecord(
                    chain_id=chain.chain_id,
                    dedup_key=DedupKey(random.token(32)),
                    chunker_seed=7,
                    chain_key_public=chain_key.public.raw,
                    chain_key_seed=chain_key.seed if keys.keeps_secret(ctx, job) else None,
                ),
            )
        row = chains.ChainRow(
            chain_id=chain.chain_id,
            job_id=job.job_id,
            repository_id=repositories.get(ctx.database, job.repository).repository_id,
            sealed=chain.sealed,
            chain_key_id=chain_key.id if chain_key else None,
            recipient_ids=frozenset(recipient.id for recipient in recipients),
            started_at=ctx.clock.now(),
        )
        chains.insert(ctx.database, row)

    def stored(self) -> Repository:
        return Repository.open(self.storages["/main"])


@pytest.fixture(autouse=True, scope="module")
def _quick_derivation(quick_derivation: None) -> None:
    """Nothing here is about what a derivation costs."""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workshop]:
    clock = TurnedClock()
    storages: dict[str, MemoryStorage] = {}
    said: list[str] = []

    def open_storage(location: str, create: bool) -> Storage:
        return storages.setdefault(location, MemoryStorage())

    ctx = Context(
        Settings(tmp_path / "home", tmp_path / "etc" / "key"),
        clock,
        report=said.append,
        open_storage=open_storage,
        derivation=lambda: MINIMUM,
    )
    with ctx:
        yield Workshop(ctx, clock, tmp_path, storages, said)


@pytest.fixture
def first() -> str:
    return FIRST


@pytest.fixture
def second() -> str:
    return SECOND
