"""KMS servers: added, shown, tested, changed, removed.

What a KMS is to know us by goes into the keystore; the catalog has where it is. Which of its
keys backups are sealed for, and how these change, is `control.kms_keys`'.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import msgspec

from strongroom.catalog import chains, jobs, missing_links, points
from strongroom.catalog import kms as rows
from strongroom.control import audit, copy_jobs, keys, kms_keys, kms_views
from strongroom.control.views.kms import KmsEndpointTest, KmsResult, KmsTestResult, KmsView
from strongroom.crypto import certificates, random
from strongroom.crypto.keys import SecretBytes
from strongroom.crypto.rsa import SIZES
from strongroom.errors import (
    ConflictError,
    InUseError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
    StrongroomError,
    UnavailableError,
)
from strongroom.keystore import KmsKeyRecord, KmsRecord
from strongroom.kms.base import DEFAULT_BITS, vouching_name
from strongroom.kms.location import kind_of
from strongroom.model.ids import checked_name
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.control.context import Context
    from strongroom.control.secrets import SecretSource
    from strongroom.kms.base import Kms

_LARGEST_FILE: Final = 1 << 20
_PROBE: Final = "strongroom-probe"
"""A name that no key has; asking for it shows whether an endpoint answers us."""
_UNVOUCHED: Final = (
    "this KMS does not vouch for this server: {}. Readers elsewhere have to pin the signer, "
    "{}, with --signer"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a KMS is to know us by, as the operator gave it; None leaves what is there."""

    account: str | None = None
    secret: SecretSource | None = None
    certificate: Path | None = None
    key: Path | None = None
    authorities: Path | None = None

    @property
    def anything(self) -> bool:
        return any(
            part is not None
            for part in (self.account, self.secret, self.certificate, self.key, self.authorities)
        )


_NOTHING: Final = KmsRecord(
    account="", secret=None, certificate=b"", key=None, authorities=b"", vouch=b""
)


# --- add, edit, remove ------------------------------------------------------------------------


def add(
    ctx: Context,
    name: str,
    urls: tuple[str, ...],
    given: Given,
    *,
    bits: int = DEFAULT_BITS,
    strict: bool = False,
) -> KmsResult:
    """Add a KMS: look whether it answers, and have it vouch for this server if it can.

    Args:
        ctx: Surroundings.
        name: What it is to be called here.
        urls: Its endpoints, in the order in which they are to be tried.
        given: What it is to know us by.
        bits: Of the RSA keys to be made there.
        strict: Whether sessions fail while it is away.

    Raises:
        ConflictError: the name is taken.
        InvalidInputError: a URL, a file or a size cannot be right.
        KmsUnavailableError, RefusedError: it does not answer, or not us.
    """
    audit.require(ctx)
    checked_name("KMS", name)
    if rows.find(ctx.database, name) is not None:
        raise ConflictError(
            f"there is a KMS {name} already", hint=f"'strongroom kms edit {name}' changes it"
        )
    kind = kind_of(urls)
    _check_bits(bits)
    record = _record(_NOTHING, given, name, kind)
    now = ctx.clock.now()
    row = rows.KmsRow(
        kms_id=random.token(16),
        name=name,
        kind=kind,
        endpoints=urls,
        bits=bits,
        strict=strict,
        vouching_key=None,
        created_at=now,
        changed_at=now,
    )
    ctx.keystore.put(row.kms_id.hex(), record)
    try:
        kms = ctx.kms(row.kms_id, urls)
        _ask(kms)
        row, record, notice = _vouched(ctx, row, record, kms)
    except StrongroomError:
        ctx.forget_kms()
        ctx.keystore.delete(KmsRecord, row.kms_id.hex())
        raise
    ctx.keystore.put(row.kms_id.hex(), record)
    rows.insert(ctx.database, row)
    audit.record(ctx, "kms.added", kms=name, kind=kind, endpoints=urls)
    return KmsResult(
        kms=kms_views.view(ctx, row),
        notices=(f"jobs use it with --encrypt kms:{name}", *([notice] if notice else [])),
        warnings=tuple(kms_views.expiry_warnings(ctx, row)),
    )


def edit(
    ctx: Context,
    name: str,
    *,
    new_name: str | None = None,
    urls: tuple[str, ...] = (),
    given: Given | None = None,
    bits: int | None = None,
    strict: bool | None = None,
) -> KmsResult:
    """Change a KMS; jobs and points stay as they are.

    Raises:
        NotFoundError: there is none of this name.
        InvalidInputError: nothing is to be changed, or not to that.
        RefusedError: it does not know us by what is new; nothing was changed.
    """
    audit.require(ctx)
    row = rows.get(ctx.database, name)
    given = given or Given()
    if not (given.anything or new_name or urls or bits is not None or strict is not None):
        raise InvalidInputError(f"nothing is to be changed of KMS {name}")
    if new_name is not None and new_name != name:
        checked_name("KMS", new_name)
        if rows.find(ctx.database, new_name) is not None:
            raise ConflictError(f"there is a KMS {new_name} already")
    if urls and kind_of(urls) != row.kind:
        raise InvalidInputError(
            f"KMS {name} is of kind {row.kind}, and stays of it",
            hint="add the other one under another name",
        )
    if bits is not None:
        _check_bits(bits)
    changed = replace(
        row,
        name=new_name or row.name,
        endpoints=urls or row.endpoints,
        bits=row.bits if bits is None else bits,
        strict=row.strict if strict is None else strict,
        changed_at=ctx.clock.now(),
    )
    before = ctx.keystore.get(KmsRecord, row.kms_id.hex())
    record = _record(before, given, name, row.kind)
    warnings: list[str] = []
    notice = None
    if record != before or changed.endpoints != row.endpoints:
        ctx.keystore.put(row.kms_id.hex(), record)
        ctx.forget_kms()
        try:
            kms = ctx.kms(row.kms_id, changed.endpoints)
            _ask(kms)
            if not record.vouch:
                changed, record, notice = _vouched(ctx, changed, record, kms)
                ctx.keystore.put(row.kms_id.hex(), record)
        except UnavailableError as error:
            # New certificates have to go in before the old ones end, server or no server.
            warnings.append(f"it could not be tried out: {error}")
        except StrongroomError:
            ctx.keystore.put(row.kms_id.hex(), before)
            ctx.forget_kms()
            raise
    rows.update(ctx.database, changed)
    audit.record(ctx, "kms.changed", kms=changed.name, credentials=given.anything)
    return KmsResult(
        kms=kms_views.view(ctx, changed),
        notices=(notice,) if notice else (),
        warnings=(*warnings, *kms_views.expiry_warnings(ctx, changed)),
    )


def remove(ctx: Context, name: str) -> KmsView:
    """Forget a KMS. Its keys stay at the server.

    Raises:
        InUseError: a job names it, or points need it; `fields["users"]` lists them.
    """
    audit.require(ctx)
    row = rows.get(ctx.database, name)
    users = [f"job {job.name}" for job in jobs.of_kms(ctx.database, row.kms_id)]
    users += copy_jobs.sealed_for(ctx, kms=name)
    users += _chains_that_need(ctx, row)
    if users:
        raise InUseError(
            f"KMS {name} is needed by {', '.join(users)}",
            hint="seal the jobs for something else and re-wrap them ('job edit --encrypt', 'job "
            "rewrap'), or let the points expire or remove them",
            users=users,
        )
    view = kms_views.view(ctx, row)
    ctx.forget_kms()
    for key in rows.keys_of(ctx.database, row.kms_id):
        ctx.keystore.delete(KmsKeyRecord, keys.kms_key_name(row.kms_id, key.key))
    ctx.keystore.delete(KmsRecord, row.kms_id.hex())
    rows.remove(ctx.database, row.kms_id)
    audit.record(ctx, "kms.removed", kms=name)
    return view


def _chains_that_need(ctx: Context, row: rows.KmsRow) -> list[str]:
    found: dict[bytes, str] = {}
    for key_id in rows.recipients_of(ctx.database, row.kms_id):
        for chain in chains.opened_by(ctx.database, key_id):
            count = len(points.of_chain(ctx.database, chain.chain_id))
            if count and key_id in missing_links.needed(ctx.database, chain):
                job = jobs.by_id(ctx.database, chain.job_id)
                of = f"job {job.name}" if job else "a removed job"
                found[chain.chain_id] = (
                    f"{counted(count, 'point')} of {of} (chain {chain.chain_id.hex()[:12]})"
                )
    return list(found.values())


def _check_bits(bits: int) -> None:
    if bits not in SIZES:
        raise InvalidInputError(
            f"a key of {bits} bits is not possible", hint=f"choose {' or '.join(map(str, SIZES))}"
        )


def _ask(kms: Kms) -> None:
    """Go on if the KMS answers us."""
    try:
        kms.newest_key(_PROBE)
    except NotFoundError:
        return


def _vouched(
    ctx: Context, row: rows.KmsRow, record: KmsRecord, kms: Kms
) -> tuple[rows.KmsRow, KmsRecord, str | None]:
    """Have the KMS vouch for this server; return what to say where it does not."""
    from strongroom.kms.recipients import vouch_for

    identity = ctx.identity.public
    if not kms.can_vouch:
        return row, record, _UNVOUCHED.format("it makes no MACs", identity.fingerprint)
    try:
        key = row.vouching_key or kms.make_vouching_key(vouching_name(identity.raw))
        vouch = vouch_for(kms, key, identity)
    except (RefusedError, NotFoundError) as error:
        return row, record, _UNVOUCHED.format(error, identity.fingerprint)
    return replace(row, vouching_key=key), msgspec.structs.replace(record, vouch=vouch), None


# --- what it is to know us by -----------------------------------------------------------------


def _record(before: KmsRecord, given: Given, name: str, kind: str) -> KmsRecord:
    """Return the record with what was given put in.

    Raises:
        InvalidInputError: a file is none of its sort, or a kind of KMS lacks what it needs.
    """
    record = before
    if given.account is not None:
        record = msgspec.structs.replace(record, account=given.account)
    if given.certificate is not None:
        data = _file(given.certificate)
        certificates.read(data, f"the client certificate {given.certificate}")
        record = msgspec.structs.replace(record, certificate=data)
    if given.key is not None:
        record = msgspec.structs.replace(record, key=SecretBytes(_file(given.key)))
    if given.authorities is not None:
        data = _file(given.authorities)
        certificates.read(data, f"the authority's certificate {given.authorities}")
        record = msgspec.structs.replace(record, authorities=data)
    if given.secret is not None:
        what = {"pkcs11": "PIN", "transit": "token", "aws": "secret access key"}.get(kind, "secret")
        secret = given.secret.get(f"{what} of KMS {name}")
        record = msgspec.structs.replace(record, secret=SecretBytes(secret.expose()))
    if record.key is not None or record.certificate:
        if record.key is None or not record.certificate:
            raise InvalidInputError(
                "a client certificate and its key go together",
                hint="give --client-certificate and --client-key",
            )
        certificates.check_pair(record.certificate, record.key.expose())
    if kind == "kmip" and not (record.certificate and record.authorities):
        raise InvalidInputError(
            "KMIP knows its clients by their certificates",
            hint="give --client-certificate, --client-key and --ca",
        )
    if kind in ("transit", "pkcs11") and record.secret is None:
        raise InvalidInputError(
            f"a KMS of kind {kind} needs a {'PIN' if kind == 'pkcs11' else 'token'}",
            hint="name it with --secret-file, --secret-env or --secret-command",
        )
    return record


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > _LARGEST_FILE:
        raise InvalidInputError(f"{path} is longer than any certificate")
    return data


# --- show, test -------------------------------------------------------------------------------


def list_all(ctx: Context) -> tuple[KmsView, ...]:
    """Return every KMS, by name."""
    return tuple(kms_views.view(ctx, row) for row in rows.all_rows(ctx.database))


def show(ctx: Context, name: str) -> KmsResult:
    """Return one KMS, and what is to be said of its certificates.

    Raises:
        NotFoundError: there is none of this name.
    """
    row = rows.get(ctx.database, name)
    return KmsResult(
        kms=kms_views.view(ctx, row), warnings=tuple(kms_views.expiry_warnings(ctx, row))
    )


def test(ctx: Context, name: str) -> KmsTestResult:
    """Ask every endpoint of a KMS, and have it open something with the key of every job.

    Raises:
        NotFoundError: there is none of this name.
    """
    row = rows.get(ctx.database, name)
    endpoints = tuple(_try_endpoint(ctx, row, url) for url in row.endpoints)
    keys = kms_keys.prove(ctx, row) if any(one.ok for one in endpoints) else ()
    warnings = kms_views.expiry_warnings(ctx, row)
    ok = all(one.ok for one in endpoints) and all(one.opened for one in keys)
    audit.record(ctx, "kms.tested", needed=False, kms=name, ok=ok)
    return KmsTestResult(ok=ok, endpoints=endpoints, keys=keys, warnings=tuple(warnings))


def _try_endpoint(ctx: Context, row: rows.KmsRow, url: str) -> KmsEndpointTest:
    begun = ctx.clock.monotonic()
    problem: StrongroomError | None = None
    try:
        _ask(ctx.kms(row.kms_id, (url,)))
    except StrongroomError as error:
        problem = error
    return KmsEndpointTest(
        endpoint=url,
        ok=problem is None,
        seconds=round(ctx.clock.monotonic() - begun, 3),
        problem=None if problem is None else str(problem),
        code=None if problem is None else problem.code,
    )
