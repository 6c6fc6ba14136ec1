"""What is told of who opens a chain, and of keys that are missing for it."""

from __future__ import annotations

from strongroom.control.views.base import View


class ChainRecipient(View, frozen=True, kw_only=True):
    """Somebody whose secret opens a chain key."""

    kind: str
    """`password`, `recovery`, or `kms-` and the kind of KMS."""
    key_id: str
    hint: str


class NeededKey(View, frozen=True, kw_only=True):
    """A key that stays closed, and the points that need it: a link to it lacks, or all of them."""

    chain: str
    key_id: str
    """Of the chain key."""
    recipients: tuple[ChainRecipient, ...]
    """Any one of these secrets opens it; none where its envelope is gone."""
    points: tuple[str, ...]
    """Ids of points that are locked, or whose contents are, oldest first."""
