"""What stays closed of a chain that is open in part: told by key id and hint, and asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.control.views import recipients
from strongroom.crypto.recipients import PASSWORD, PasswordUnlocker
from strongroom.errors import UnlockError
from strongroom.model.phrases import counted
from strongroom.repository.chain import Trust
from strongroom.repository.needs import needed_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from strongroom.control.secrets import SecretSource
    from strongroom.repository.chain import Chain
    from strongroom.repository.keyring import Keyring
    from strongroom.repository.needs import FoundRecipient, NeededKey


def missing(chain: Chain, keyring: Keyring | None) -> tuple[NeededKey, ...]:
    """Return what has to be opened of a sealed chain beside what is open.

    Nothing where names alone can be read: contents are closed there on purpose, or a KMS is
    asked for them when they are read.

    Raises:
        IntegrityError: what says so is damaged.
    """
    if keyring is not None and not keyring.chain_keys:
        return ()
    return needed_keys(chain, keyring.chain_keys if keyring is not None else ())


def in_words(needed: Iterable[NeededKey]) -> str:
    """Say what is needed: `password 01… (hint: blue) for 2 points, KMS key 02… for 1 point`."""
    return ", ".join(f"{one} for {counted(len(one.points), 'point')}" for one in needed)


def recipient_view(recipient: FoundRecipient) -> recipients.ChainRecipient:
    """Return a recipient as the doors show it."""
    return recipients.ChainRecipient(
        kind=recipient.kind, key_id=recipient.recipient_id.hex(), hint=recipient.hint
    )


def needed_views(chain: Chain, needed: Iterable[NeededKey]) -> tuple[recipients.NeededKey, ...]:
    """Return needed keys as the doors show them."""
    return tuple(
        recipients.NeededKey(
            chain=chain.chain_id.hex(),
            key_id=one.chain_key_id.hex(),
            recipients=tuple(map(recipient_view, one.recipients)),
            points=tuple(point_id.hex() for point_id in one.points),
        )
        for one in needed
    )


def ask_for(secrets: SecretSource, chain: Chain, keyring: Keyring) -> list[str]:
    """Ask for the passwords that are missing, one by one; an empty answer leaves one out.

    Args:
        secrets: Asks, where there is a terminal and no place was named.
        chain: A chain that was found to be believed.
        keyring: Gets what opens.

    Returns:
        What is to be said of answers that were none of the chain's passwords.
    """
    said: list[str] = []
    asked: set[bytes] = set()
    believed = Trust(identities=frozenset({chain.identity.id}))
    while (recipient := _next(missing(chain, keyring), asked)) is not None:
        asked.add(recipient.recipient_id)
        what = f"password with key {recipient.recipient_id.hex()[:12]}"
        password = secrets.ask_for(what, hint=recipient.hint)
        if password is None:
            continue
        try:
            found = chain.wrapped.unlock(PasswordUnlocker(password), believed)
        except UnlockError as error:
            said.append(str(error))
        else:
            keyring.chain_keys.update(found.chain_keys)
    return said


def _next(needed: Sequence[NeededKey], asked: set[bytes]) -> FoundRecipient | None:
    for one in needed:
        for recipient in one.recipients:
            if recipient.kind == PASSWORD and recipient.recipient_id not in asked:
                return recipient
    return None
