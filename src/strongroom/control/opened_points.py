"""Points that recovery responses opened on this server, each for a while and for itself alone.

The keystore keeps the session keys that a response brought. They would open other points that
share these sessions; nothing here offers that. What has expired is removed at the next use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom import logs
from strongroom.crypto.envelope import SessionSecrets
from strongroom.errors import PointDamagedError
from strongroom.format.header import session_context
from strongroom.keystore import OpenedPointRecord
from strongroom.repository.keyring import Keyring

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.control.context import Context
    from strongroom.crypto.envelope import PackedSecrets
    from strongroom.engine.points import PointView
    from strongroom.repository.chain import Chain, LivePoint, Trust


def records(ctx: Context) -> list[OpenedPointRecord]:
    """Return what is open here, after removing what has expired."""
    found = []
    for name in ctx.keystore.names(OpenedPointRecord):
        record = ctx.keystore.get(OpenedPointRecord, name)
        if record.expires_at <= ctx.clock.now():
            ctx.keystore.delete(OpenedPointRecord, name)
            logs.event("recovery.expired", point=name)
        else:
            found.append(record)
    return found


class OpenedPoints:
    """What recovery responses opened, for whoever reads points."""

    def __init__(self, ctx: Context) -> None:
        self._records = {record.point_id: record for record in records(ctx)}

    def opened(self, view: PointView, believed: Trust) -> PointView:
        """Return the point opened by what a response brought for it, if one did.

        Session keys vouch for nobody, so the chain's signer has to be believed without them.
        """
        record = self._records.get(view.point_id)
        if record is None or record.chain_id != view.chain.chain_id:
            return view
        if view.keyring is not None and view.keyring.opens_data:
            return view
        if not believed.knows(view.chain.identity):
            return view
        from strongroom.engine.points import PointView, open_point

        try:
            keyring = keyring_of(view.chain, view.live, record.sessions)
        except PointDamagedError as error:
            return PointView(view.chain, view.live, None, None, problem=error)
        return open_point(view.chain, view.live, keyring)


def keyring_of(chain: Chain, live: LivePoint, sessions: Mapping[bytes, PackedSecrets]) -> Keyring:
    """Return a keyring for one point, of keys that are those its signed records commit to.

    Raises:
        PointDamagedError: keys of a session are missing, or not the right ones.
    """
    keyring = Keyring(chain.origin_id)
    for record in dict(chain.sessions(live.body).items()).values():
        packed = sessions.get(record.session_id)
        what = f"session {record.session_id.hex()[:12]} of point {live.point.point_id.hex()[:12]}"
        if packed is None:
            raise PointDamagedError(f"the recovery response has no keys of {what}")
        context = session_context(chain.origin_id, record.session_id)
        try:
            secrets = SessionSecrets.unpack(packed)
        except ValueError:
            secrets = None
        if secrets is None or not secrets.match(context, record.commitment):
            raise PointDamagedError(
                f"the recovery response has other keys of {what} than its points commit to"
            )
        keyring.add(record.session_id, secrets)
    return keyring
