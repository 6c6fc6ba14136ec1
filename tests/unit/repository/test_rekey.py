"""Envelopes are replaced so that at every instant an intact one opens the chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from strongroom import errors
from strongroom.clock import SystemClock
from strongroom.crypto import random
from strongroom.crypto.recipients import RecoveryUnlocker, make_recovery_recipient
from strongroom.crypto.signing import SigningKey
from strongroom.repository import layout
from strongroom.repository.chain import Chain, Trust
from strongroom.repository.rekey import Replaced, has_both_copies, replace_envelope, start_chain
from strongroom.testing.faulty_storage import FaultyStorage
from strongroom.testing.memory_storage import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.crypto.envelope import ChainKey
    from strongroom.crypto.keys import Seed
    from strongroom.storage.base import ObjectInfo, Storage


@dataclass
class Sealed:
    """A chain sealed for `old`, to be re-wrapped for `new`."""

    memory: MemoryStorage
    chain_id: bytes
    key: ChainKey
    signer: SigningKey
    old: Seed
    new: Seed

    def replace(self, storage: Storage) -> Replaced:
        chain = Chain(storage, self.chain_id)
        recipient = make_recovery_recipient(self.new, "new", self.signer.public)
        held = chain.wrapped.envelopes()[self.key.id]
        return replace_envelope(chain, self.key, held, [recipient], self.signer)

    def opens(self, seed: Seed, storage: Storage | None = None) -> bool:
        chain = Chain(storage or self.memory, self.chain_id)
        try:
            return self.key.id in chain.wrapped.unlock(RecoveryUnlocker(seed), Trust()).chain_keys
        except errors.NoRecipientMatchedError:
            return False

    def names(self) -> set[str]:
        return {info.key for info in self.memory.list(layout.envelopes(self.chain_id))}


@pytest.fixture
def sealed() -> Sealed:
    memory, signer = MemoryStorage(), SigningKey.from_seed(random.seed())
    old = random.seed()
    recipient = make_recovery_recipient(old, "old", signer.public)
    chain, key = start_chain(memory, random.token(16), [recipient], signer, SystemClock(), None)
    assert key is not None
    return Sealed(memory, chain.chain_id, key, signer, old, random.seed())


def test_a_replaced_envelope_opens_with_the_new_secret_alone(sealed: Sealed) -> None:
    before = sealed.names()
    replaced = sealed.replace(sealed.memory)
    assert (replaced.generation, replaced.remaining) == (2, {})
    assert sealed.opens(sealed.new)
    assert not sealed.opens(sealed.old)
    assert not before & sealed.names()


@pytest.mark.parametrize("nth", range(4))
def test_cut_short_it_leaves_an_intact_envelope_and_goes_on(sealed: Sealed, nth: int) -> None:
    faulty = FaultyStorage(sealed.memory)
    faulty.kill_after(nth)
    with pytest.raises(errors.StorageUnavailableError):
        sealed.replace(faulty)
    faulty.assert_all_hit()
    assert sealed.opens(sealed.old) != sealed.opens(sealed.new)
    sealed.replace(sealed.memory)
    assert sealed.opens(sealed.new)
    assert not sealed.opens(sealed.old)
    assert len(sealed.names()) == 2


@pytest.mark.parametrize("nth", [1, 2])
def test_an_envelope_that_does_not_read_back_costs_none_of_those_before(
    sealed: Sealed, nth: int
) -> None:
    before = sealed.names()
    faulty = FaultyStorage(sealed.memory)
    chain = Chain(faulty, sealed.chain_id)
    held = chain.wrapped.envelopes()[sealed.key.id]
    recipient = make_recovery_recipient(sealed.new, "new", sealed.signer.public)
    faulty.fail("get", nth, errors.StorageUnavailableError("away"))
    with pytest.raises(errors.StorageUnavailableError):
        replace_envelope(chain, sealed.key, held, [recipient], sealed.signer)
    faulty.assert_all_hit()
    assert before <= sealed.names()


def test_what_the_storage_does_not_let_go_of_is_named(sealed: Sealed) -> None:
    faulty = FaultyStorage(sealed.memory)
    faulty.fail("delete", 1, errors.RefusedError("locked until spring"))
    replaced = sealed.replace(faulty)
    faulty.assert_all_hit()
    (kept,) = replaced.remaining
    assert kept == layout.envelope(sealed.chain_id, sealed.key.id, 1, "a")
    assert kept in sealed.names()
    # A reader goes by the highest generation, whatever else is still there.
    assert not sealed.opens(sealed.old)


def test_an_old_envelope_under_the_name_of_a_newer_one_is_refused(sealed: Sealed) -> None:
    (old, _) = [sealed.memory.get(key) for key in sorted(sealed.names())]
    sealed.replace(sealed.memory)
    for key in sealed.names():
        sealed.memory.delete(key)
        sealed.memory.put(key, old)
    for seed in (sealed.old, sealed.new):
        with pytest.raises(errors.EnvelopeDamagedError, match="something else"):
            sealed.opens(seed)


def test_a_missing_copy_is_seen(sealed: Sealed) -> None:
    chain = Chain(sealed.memory, sealed.chain_id)
    envelope = chain.wrapped.envelopes()[sealed.key.id]
    assert has_both_copies(chain, envelope)
    sealed.memory.delete(layout.envelope(sealed.chain_id, sealed.key.id, 1, "b"))
    assert not has_both_copies(chain, envelope)


class _RewrappedAfterListing(MemoryStorage):
    """Re-wraps the chain between a reader's listing and its first look at an envelope."""

    sealed: Sealed | None = None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        listed = [*super().list(prefix)]
        if self.sealed is not None and prefix.endswith("envelopes/"):
            sealed, self.sealed = self.sealed, None
            sealed.replace(self)
        return iter(listed)


def test_a_reader_at_work_while_envelopes_are_replaced_opens_the_chain(sealed: Sealed) -> None:
    storage = _RewrappedAfterListing()
    for info in sealed.memory.list():
        storage.put(info.key, sealed.memory.get(info.key))
    storage.sealed = sealed
    assert sealed.opens(sealed.new, storage)
    assert storage.sealed is None
