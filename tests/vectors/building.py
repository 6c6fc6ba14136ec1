"""Real chains in a folder, made by the engine without catalog or command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from strongroom.clock import SystemClock
from strongroom.crypto import random
from strongroom.crypto.envelope import ChainKey, SessionSecrets
from strongroom.crypto.kdf import MINIMUM
from strongroom.crypto.keys import DedupKey, Password, Seed
from strongroom.crypto.recipients import (
    PasswordUnlocker,
    Recipient,
    make_password_recipient,
    make_recovery_recipient,
)
from strongroom.crypto.signing import SigningKey
from strongroom.engine.backup import SessionOutcome, SessionPlan, SourcePlan, run_session
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.pipeline import Compression
from strongroom.engine.progress import NullProgress
from strongroom.engine.reencryption import reencrypt
from strongroom.format.journal import EntryRef
from strongroom.repository import unpublished
from strongroom.repository.chain import Chain, Trust
from strongroom.repository.keyring import Keyring
from strongroom.repository.promises import take_back
from strongroom.repository.rekey import change_recipients, prepare_chain, start_chain
from strongroom.repository.repository import Repository
from strongroom.repository.succession import succeed
from strongroom.repository.writer import SealedKeys, seal_keys
from strongroom.storage.local import LocalStorage


@dataclass
class ARepository:
    """A repository with one job's chain, and everything that its server knows."""

    folder: Path
    password: str | None
    """The password in force; none for a plain chain."""
    signer: SigningKey = field(default_factory=lambda: SigningKey.from_seed(random.seed()))
    sources: tuple[SourcePlan, ...] = ()
    block_size: int = 1 << 20
    recovery: Seed | None = None
    """A recovery key that chains are sealed to as well."""
    counter: int = 0
    previous: EntryRef | None = None
    older: tuple[EntryRef, ...] = ()
    """What the job's earlier chains still promise."""

    def __post_init__(self) -> None:
        self.clock = SystemClock()
        self.folder.mkdir()
        storage = LocalStorage(self.folder)
        self.repository = Repository.create(storage, self.clock)
        self.job_id = random.token(16)
        self.start_chain()

    def start_chain(self) -> None:
        recipients = self._recipients()
        self.chain, self.chain_key = start_chain(
            self.repository.storage,
            self.job_id,
            recipients,
            self.signer,
            self.clock,
            self.previous,
        )
        self.dedup_key = DedupKey(random.token(32))

    def change_password(self, password: str) -> None:
        """Give the chain a new chain key for another password, and a link."""
        assert self.chain_key is not None
        self.password = password
        self.chain_key = change_recipients(
            self.chain, self.chain_key, self._recipients(), self.signer
        )

    def take_over(self, signer: SigningKey, password: str | None) -> None:
        """Be another server from now on, which goes on in the chain for a password of its own."""
        chain = Chain(self.repository.storage, self.chain.chain_id)
        self.signer, self.password = signer, password
        if self.chain_key is not None:
            recipients = self._recipients()
            self.chain_key = change_recipients(chain, self.chain_key, recipients, signer)
        succeed(chain, signer, self.clock)

    def reencrypt(self, password: str) -> None:
        """Let another chain, for another password, take the chain's place."""
        storage, header = self.repository.storage, self.chain.header
        old, old_keys = Chain(storage, self.chain.chain_id), self.keyring()
        self.password = password
        chain_id, data, self.chain_key = prepare_chain(
            storage, self.job_id, self._recipients(), self.signer, header.created_at, None
        )
        assert self.chain_key is not None
        self.counter += 1
        done = reencrypt(
            old,
            old_keys,
            unpublished.view(storage, chain_id, data),
            self.chain_key,
            counter=self.counter,
            older=list(self.older),
            signer=self.signer,
            clock=self.clock,
            keep_metakey=lambda *_: None,
            progress=NullProgress(),
            cancel=Cancellation(),
        )
        unpublished.publish(storage, chain_id, data)
        take_back(old, done.live.keys(), self.signer, self.clock, "re-encrypted")
        self.chain = Chain(storage, chain_id)
        newest = self.chain.newest_session
        assert newest is not None
        self.previous = EntryRef(chain_id, newest.number, newest.hash)

    def copy_plain(self, folder: Path) -> None:
        """Make a plain copy of the chain in a repository of its own, and be that from now on."""
        folder.mkdir()
        storage = LocalStorage(folder)
        repository = Repository.create(storage, self.clock)
        old, old_keys = Chain(self.repository.storage, self.chain.chain_id), self.keyring()
        chain_id, data, _ = prepare_chain(
            storage, random.token(16), [], self.signer, old.header.created_at, None
        )
        reencrypt(
            old,
            old_keys,
            unpublished.view(storage, chain_id, data),
            None,
            counter=None,
            older=[],
            signer=self.signer,
            clock=self.clock,
            keep_metakey=lambda *_: None,
            progress=NullProgress(),
            cancel=Cancellation(),
        )
        unpublished.publish(storage, chain_id, data)
        self.folder, self.repository, self.chain = folder, repository, Chain(storage, chain_id)
        self.password = self.chain_key = None

    def run(self, give_up: tuple[bytes, ...] = ()) -> SessionOutcome:
        """Run a session over `sources`."""
        session_id = random.token(16)
        secrets, keys = self._secrets(session_id)
        self.counter += 1
        outcome = run_session(
            SessionPlan(
                session_id=session_id,
                job="nightly",
                machine="here",
                sources=self.sources,
                compression=Compression(),
                block_size=self.block_size,
                reason="",
                secrets=secrets,
                keys=keys,
                counter=self.counter,
                previous=self.previous,
                next_due=0,
                older=self.older,
            ),
            Chain(self.repository.storage, self.chain.chain_id),
            self.keyring(),
            signer=self.signer,
            clock=self.clock,
            cache=None,
            give_up=lambda fresh: give_up,
            progress=NullProgress(),
            cancel=Cancellation(),
        )
        entry = outcome.entry
        self.previous = EntryRef(self.chain.chain_id, entry.number, entry.hash)
        return outcome

    def keyring(self) -> Keyring:
        if self.password is None:
            return Keyring(self.chain.chain_id)
        unlocker = PasswordUnlocker(Password.from_text(self.password))
        trust = Trust(identities=frozenset({self.signer.public.id}))
        return Chain(self.repository.storage, self.chain.chain_id).wrapped.unlock(unlocker, trust)

    def _recipients(self) -> list[Recipient]:
        if self.password is None:
            return []
        recipients: list[Recipient] = []
        if self.recovery is not None:
            identity = self.signer.public
            recipients.append(make_recovery_recipient(self.recovery, "a kit", identity))
        recipient, _ = make_password_recipient(
            Password.from_text(self.password), "a hint", self.signer.public, MINIMUM
        )
        return [*recipients, recipient]

    def _secrets(self, session_id: bytes) -> tuple[SessionSecrets | None, SealedKeys]:
        if self.chain_key is None:
            return None, SealedKeys()
        assert isinstance(self.chain_key, ChainKey)
        secrets = SessionSecrets.generate(self.dedup_key, 4711)
        public = self.chain_key.public.raw
        return secrets, seal_keys(secrets, public, self.chain.chain_id, session_id)
