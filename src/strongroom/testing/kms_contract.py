"""What every KMS promises, as tests.

A test class inherits `KmsContract`, gives it fixtures `kms` and `administrator`, and, where one
can be made, `stranger`: the same endpoint with credentials that are not the server's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from strongroom import errors
from strongroom.crypto import random, rsa
from strongroom.kms.base import VOUCHING_PREFIX, KeyState, KmsKey

if TYPE_CHECKING:
    from strongroom.kms.base import Kms


class Administrator(Protocol):
    """What is done to a KMS from its own side, by its own means."""

    def rotate(self, name: str) -> None:
        """Make the next key under a name, as its administrator would."""
        ...

    def disable(self, key: str) -> None: ...

    def enable(self, key: str) -> None: ...

    def destroy(self, key: str) -> None:
        """Destroy a key, or schedule that where the server does no more at once."""
        ...


def _fresh(prefix: str = "strongroom-test") -> str:
    return f"{prefix}-{random.token(4).hex()}"


def _seal(key: KmsKey, text: bytes) -> bytes:
    return rsa.PublicKey(key.public).encrypt(text, key.oaep)


class KmsContract:
    """The promises."""

    can_disable = True
    """Whether its administrator can disable a key and enable it again."""
    lists_other_kinds = False
    """Whether `keys` has keys that decrypt nothing too, since telling takes a call for each."""

    @pytest.fixture
    def kms(self) -> Kms:
        """Return the KMS under test, with credentials that may do everything."""
        raise NotImplementedError

    @pytest.fixture
    def administrator(self) -> Administrator:
        raise NotImplementedError

    @pytest.fixture
    def stranger(self) -> Kms:
        """Return the same endpoint for somebody whom the server does not know."""
        raise NotImplementedError

    @pytest.fixture
    def nowhere(self) -> Kms:
        """Return a KMS of this kind whose endpoint nobody listens at."""
        raise NotImplementedError

    @pytest.fixture
    def key(self, kms: Kms) -> KmsKey:
        return kms.make_key(_fresh(), 3072)

    def test_it_says_what_and_where_it_is(self, kms: Kms) -> None:
        assert kms.kind
        assert kms.endpoint

    @pytest.mark.parametrize("bits", [3072, 4096])
    def test_what_is_encrypted_to_the_public_half_is_decrypted(self, kms: Kms, bits: int) -> None:
        key = kms.make_key(_fresh(), bits)
        assert rsa.PublicKey(key.public).length == bits // 8
        secret = random.token(32)
        assert kms.decrypt(key.key, _seal(key, secret), key.oaep) == secret

    def test_a_key_is_active_when_it_is_made_and_is_listed(self, kms: Kms, key: KmsKey) -> None:
        assert kms.state(key.key) is KeyState.ACTIVE
        assert key.key in set(kms.keys())

    def test_another_key_does_not_decrypt(self, kms: Kms, key: KmsKey) -> None:
        other = kms.make_key(_fresh(), 3072)
        with pytest.raises(errors.UnlockError):
            kms.decrypt(other.key, _seal(key, b"secret"), key.oaep)

    def test_an_altered_ciphertext_does_not_decrypt(self, kms: Kms, key: KmsKey) -> None:
        sealed = bytearray(_seal(key, b"secret"))
        sealed[-1] ^= 1
        with pytest.raises(errors.UnlockError):
            kms.decrypt(key.key, bytes(sealed), key.oaep)

    def test_a_key_that_is_not_there_is_destroyed(self, kms: Kms, key: KmsKey) -> None:
        absent = self.absent_key(key)
        assert kms.state(absent) is KeyState.DESTROYED
        with pytest.raises(errors.NotFoundError):
            kms.decrypt(absent, _seal(key, b"secret"), key.oaep)

    def absent_key(self, key: KmsKey) -> str:
        """Return an id of the right form that no key has."""
        raise NotImplementedError

    def test_the_newest_key_of_a_name_is_the_one_made_last(self, kms: Kms) -> None:
        name = _fresh()
        with pytest.raises(errors.NotFoundError):
            kms.newest_key(name)
        first = kms.make_key(name, 3072)
        assert kms.newest_key(name) == first
        second = kms.rotate(name, 3072)
        assert second.key != first.key
        assert second.public != first.public
        assert kms.newest_key(name) == second

    def test_what_was_sealed_before_a_rotation_still_opens(self, kms: Kms) -> None:
        name = _fresh()
        first = kms.make_key(name, 3072)
        sealed = _seal(first, b"old")
        second = kms.rotate(name, 3072)
        assert kms.decrypt(first.key, sealed, first.oaep) == b"old"
        assert kms.decrypt(second.key, _seal(second, b"new"), second.oaep) == b"new"

    def test_a_rotation_by_the_administrator_is_seen(
        self, kms: Kms, administrator: Administrator
    ) -> None:
        name = _fresh()
        first = kms.make_key(name, 3072)
        administrator.rotate(name)
        newest = kms.newest_key(name)
        assert newest.key != first.key
        assert kms.decrypt(newest.key, _seal(newest, b"new"), newest.oaep) == b"new"
        assert kms.decrypt(first.key, _seal(first, b"old"), first.oaep) == b"old"

    def test_a_disabled_key_says_so_and_opens_nothing_until_it_is_enabled(
        self, kms: Kms, key: KmsKey, administrator: Administrator
    ) -> None:
        if not self.can_disable:
            return  # said by the attribute, which the class explains
        administrator.disable(key.key)
        assert kms.state(key.key) is KeyState.DISABLED
        with pytest.raises(errors.RefusedError):
            kms.decrypt(key.key, _seal(key, b"secret"), key.oaep)
        administrator.enable(key.key)
        assert kms.state(key.key) is KeyState.ACTIVE
        assert kms.decrypt(key.key, _seal(key, b"secret"), key.oaep) == b"secret"

    def test_a_destroyed_key_says_so_and_opens_nothing(
        self, kms: Kms, key: KmsKey, administrator: Administrator
    ) -> None:
        administrator.destroy(key.key)
        assert kms.state(key.key) in (KeyState.CONDEMNED, KeyState.DESTROYED)
        with pytest.raises((errors.RefusedError, errors.NotFoundError)):
            kms.decrypt(key.key, _seal(key, b"secret"), key.oaep)

    def test_a_mac_is_the_same_each_time_and_another_for_another_message(self, kms: Kms) -> None:
        if not kms.can_vouch:
            with pytest.raises(errors.RefusedError):
                kms.make_vouching_key(_fresh(VOUCHING_PREFIX))
            return
        key = kms.make_vouching_key(VOUCHING_PREFIX + random.token(4).hex())
        other = kms.make_vouching_key(VOUCHING_PREFIX + random.token(4).hex())
        mac = kms.mac(key, b"m" * 32)
        assert len(mac) == 32
        assert kms.mac(key, b"m" * 32) == mac
        assert kms.mac(key, b"n" * 32) != mac
        assert kms.mac(other, b"m" * 32) != mac
        assert {key, other} <= set(kms.vouching_keys())
        assert self.lists_other_kinds or key not in set(kms.keys())

    def test_a_mac_verifies_for_its_own_key_and_message_alone(self, kms: Kms) -> None:
        if not kms.can_vouch:
            return  # it makes none, as tested above
        made = kms.make_vouching_key(VOUCHING_PREFIX + random.token(4).hex())
        other = kms.make_vouching_key(VOUCHING_PREFIX + random.token(4).hex())
        mac = kms.mac(made, b"m" * 32)
        assert kms.verify_mac(made, b"m" * 32, mac)
        assert not kms.verify_mac(made, b"n" * 32, mac)
        assert not kms.verify_mac(other, b"m" * 32, mac)
        assert not kms.verify_mac(made, b"m" * 32, bytes([mac[0] ^ 1]) + mac[1:])
        assert not kms.verify_mac(made, b"m" * 32, mac[:16])
        absent = self.absent_key(KmsKey(made, b"", rsa.OaepHash.SHA256))
        with pytest.raises(errors.NotFoundError):
            kms.verify_mac(absent, b"m" * 32, mac)

    def test_who_is_not_known_gets_nothing(self, stranger: Kms, key: KmsKey) -> None:
        with pytest.raises((errors.RefusedError, errors.KmsUnavailableError)):
            stranger.decrypt(key.key, _seal(key, b"secret"), key.oaep)
        with pytest.raises((errors.RefusedError, errors.KmsUnavailableError)):
            stranger.make_key(_fresh(), 3072)

    def test_an_endpoint_that_nobody_listens_at_is_away(self, nowhere: Kms) -> None:
        for call in (
            lambda: nowhere.newest_key("strongroom-test"),
            lambda: list(nowhere.keys()),
            lambda: nowhere.make_key("strongroom-test", 3072),
        ):
            with pytest.raises(errors.KmsUnavailableError) as caught:
                call()
            assert all(one in str(caught.value) for one in nowhere.endpoint.split(", "))

    def test_a_call_after_closing_connects_again(self, kms: Kms, key: KmsKey) -> None:
        kms.close()
        kms.close()
        assert kms.state(key.key) is KeyState.ACTIVE
