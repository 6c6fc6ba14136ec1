"""Signers that an operator accepts on this machine, once and for all that it reads.

Who is accepted counts for readers, like a signer pinned with `--signer`, and for scrub and
prune. Sessions go on after nobody but this installation itself (`control.keys`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.catalog import signers
from strongroom.control import audit
from strongroom.control.access import storage_of
from strongroom.control.keys import normal_fingerprint
from strongroom.control.views.chains import AcceptedSigner, SignerResult
from strongroom.errors import (
    ConfirmationNeededError,
    IntegrityError,
    NotFoundError,
    UnsupportedVersionError,
)
from strongroom.repository.repository import Repository

if TYPE_CHECKING:
    from strongroom.control.context import Context
    from strongroom.repository.chain import Chain


def trust(ctx: Context, where: str, fingerprint: str, *, yes: bool = False) -> SignerResult:
    """Accept a signer that a repository shows.

    Raises:
        NotFoundError: no chain there is signed by it.
        ConfirmationNeededError: nobody said yes.
    """
    wanted = normal_fingerprint(fingerprint)
    signed = [chain for chain in _chains(ctx, where) if _signer_of(chain) == wanted]
    if not signed:
        raise NotFoundError(
            f"no chain in {where} is signed by {wanted}",
            hint=f"'strongroom repository show {where}' shows who signs there",
            fingerprint=wanted,
        )
    if not yes:
        count = len(signed)
        raise ConfirmationNeededError(
            f"compare {wanted} with the recovery kit, or with the server that makes the backups: "
            f"this machine would believe every backup that it signed, in {where} "
            f"{count} chain{'' if count == 1 else 's'}",
            hint="say --yes if it is the same",
            fingerprint=wanted,
        )
    with ctx.database.transaction():
        signers.accept(ctx.database, signers.SignerRow(wanted, ctx.clock.now(), where))
        audit.weakened(ctx, ["another signer is believed"], fingerprint=wanted, repository=where)
        audit.record(ctx, "signer.accepted", fingerprint=wanted, repository=where)
    chains = tuple(chain.chain_id.hex() for chain in signed)
    return SignerResult(fingerprint=wanted, accepted=True, chains=chains)


def revoke(ctx: Context, fingerprint: str) -> SignerResult:
    """Accept a signer no longer.

    Raises:
        NotFoundError: it was not accepted.
    """
    wanted = normal_fingerprint(fingerprint)
    if not (ctx.has_catalog and signers.revoke(ctx.database, wanted)):
        raise NotFoundError(f"signer {wanted} is not accepted on this machine", fingerprint=wanted)
    audit.record(ctx, "signer.revoked", fingerprint=wanted)
    return SignerResult(fingerprint=wanted, accepted=False)


def accepted(ctx: Context) -> tuple[AcceptedSigner, ...]:
    """Return the signers that are accepted on this machine, in the order of acceptance."""
    rows = signers.accepted(ctx.database) if ctx.has_catalog else ()
    return tuple(
        AcceptedSigner(
            fingerprint=row.fingerprint, accepted_at=row.accepted_at, repository=row.note
        )
        for row in rows
    )


def _signer_of(chain: Chain) -> str:
    """Return whose a chain is; where its journal cannot be read, who began it."""
    try:
        return chain.identity.fingerprint
    except (IntegrityError, UnsupportedVersionError):
        return chain.founder.fingerprint


def _chains(ctx: Context, where: str) -> list[Chain]:
    """Return the chains whose headers are signed as they say."""
    repository = Repository.open(storage_of(ctx, where))
    found: list[Chain] = []
    for chain_id in repository.chain_ids():
        try:
            found.append(repository.chain(chain_id))
        except IntegrityError:
            continue  # a damaged header shows no signer, and keeps no other from being accepted
    return found
