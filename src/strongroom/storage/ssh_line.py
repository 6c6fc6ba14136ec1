"""A connection to an SSH server for SFTP, logged in as `ssh` would be, that never asks.

Keys come from ssh-agent, `~/.ssh` and `~/.ssh/config`, and the server's own key has to be known:
there is nobody to ask, so an unknown key is refused like a changed one.

The library speaks from one thread of its own, whichever thread calls. A lost connection ends
the calls that wait on it; the next one connects again.
"""

from __future__ import annotations

import asyncio
import shlex
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import asyncssh

from strongroom import errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from strongroom.storage.sftp_place import SftpPlace

T = TypeVar("T")

LOST: Final = (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection)

_PATIENCE_SECONDS: Final = 30
_FAREWELL_SECONDS: Final = 2
_FAST_CIPHERS: Final = "^aes256-gcm@openssh.com,aes128-gcm@openssh.com"
"""Tried first: half the work of what the library tries first."""
_KNOWN_HOSTS: Final = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")


class Line:
    """One connection to a server, made when it is needed, and the thread that speaks on it."""

    def __init__(self, place: SftpPlace) -> None:
        self._place = place
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._speaking: _Speaking | None = None
        self._end: Callable[[], object] | None = None

    def run(self, call: Callable[[asyncssh.SFTPClient], Awaitable[T]]) -> T:
        """Return what `call` comes to on the connection; may be called from any thread."""
        loop, speaking = self._started()
        future = asyncio.run_coroutine_threadsafe(speaking.speak(call), loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def later(self, ending: Coroutine[object, object, None]) -> None:
        """Have something ended, nobody waiting; called on the line's thread."""
        if self._speaking is None:  # hung up meanwhile, and all has ended with that
            ending.close()
        else:
            self._speaking.later(ending)

    def hang_up(self) -> None:
        with self._starting:
            if self._end is not None:
                self._end()
            self._loop = self._speaking = self._end = None

    def _started(self) -> tuple[asyncio.AbstractEventLoop, _Speaking]:
        with self._starting:
            if self._loop is None or self._speaking is None:
                self._loop = loop = asyncio.new_event_loop()
                self._speaking = _Speaking(self._place)
                thread = threading.Thread(target=loop.run_forever, name="sftp", daemon=True)
                thread.start()
                self._end = weakref.finalize(self, _end, loop, thread, self._speaking)
            return self._loop, self._speaking


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread, speaking: _Speaking) -> None:
    if threading.current_thread() is thread:  # where the line's last trace was swept up
        loop.create_task(speaking.end()).add_done_callback(lambda _: loop.stop())
        return
    asyncio.run_coroutine_threadsafe(speaking.end(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


class _Speaking:
    """What of a line lives on its thread."""

    def __init__(self, place: SftpPlace) -> None:
        self._place = place
        self._connecting = asyncio.Lock()
        self._connection: asyncssh.SSHClientConnection | None = None
        self._client: asyncssh.SFTPClient | None = None
        self._endings: set[asyncio.Task[None]] = set()

    async def speak(self, call: Callable[[asyncssh.SFTPClient], Awaitable[T]]) -> T:
        client = await self._connected()
        try:
            return await call(client)
        except (*LOST, asyncssh.DisconnectError, OSError):
            # The connection may stand while only the server's end of SFTP is gone.
            if self._client is client:
                await self._hang_up()
            raise

    async def _connected(self) -> asyncssh.SFTPClient:
        """Return who speaks SFTP, connected anew if the last connection is gone."""
        async with self._connecting:
            if self._client is None or self._connection is None or self._connection.is_closed():
                await self._hang_up()
                self._connection = await _log_in(self._place)
                self._client = await _open_sftp(self._place, self._connection)
            return self._client

    def later(self, ending: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(_quietly(ending))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others - self._endings:
            task.cancel()
        await asyncio.wait(others, timeout=1) if others else None
        await self._hang_up()

    async def _hang_up(self) -> None:
        connection, self._connection, self._client = self._connection, None, None
        if connection is not None:
            connection.close()
            with suppress(asyncssh.Error, OSError, TimeoutError):
                await asyncio.wait_for(connection.wait_closed(), _FAREWELL_SECONDS)


async def _log_in(place: SftpPlace) -> asyncssh.SSHClientConnection:
    """Log in as `ssh` would, and refuse where it would ask."""
    try:
        options = asyncssh.SSHClientConnectionOptions(
            host=place.host,
            config=(),  # OpenSSH's own
            **({"port": place.port} if place.port else {}),
            **({"username": place.user} if place.user else {}),
            password_auth=False,
            kbdint_auth=False,
            compression_algs=["none"],  # what is sealed does not shrink
            connect_timeout=_PATIENCE_SECONDS,
            login_timeout=_PATIENCE_SECONDS,
            keepalive_interval=_PATIENCE_SECONDS / 3,  # three of them unanswered, and it is lost
        )
    except (ValueError, OSError) as error:
        raise errors.RefusedError(
            f"cannot log in to {place.location}: {error}",
            hint="look at ~/.ssh/config and the keys it names; give a key with a passphrase to "
            "ssh-agent",
            location=place.location,
        ) from error
    if options.known_hosts is None:
        raise errors.RefusedError(
            f"cannot log in to {place.location}: ~/.ssh/config has its key checked against nothing",
            hint="whoever sits between could be the server: take UserKnownHostsFile none away",
            location=place.location,
        )
    known_hosts = _known_hosts(options.known_hosts)
    ciphers = options.config.get("Ciphers") or _FAST_CIPHERS
    ssh = _ssh(options)
    try:
        return await asyncssh.connect(
            place.host, options=options, known_hosts=known_hosts, encryption_algs=ciphers
        )
    except asyncssh.HostKeyNotVerifiable as error:
        raise _distrusted(place, options, known_hosts, ssh) from error
    except asyncssh.PermissionDenied as error:
        raise errors.RefusedError(
            f"{place.location} does not let us in as {options.username}: no key is accepted there",
            hint="put a key there that ssh-agent, ~/.ssh or ~/.ssh/config offers; to see it asked: "
            f"{ssh}",
            location=place.location,
        ) from error
    except asyncssh.KeyExchangeFailed as error:
        raise errors.RefusedError(
            f"cannot log in to {place.location}: {error.reason}",
            hint=f"server and client have no algorithm in common, or the key of the server that "
            f"~/.ssh/known_hosts has is of a kind it no longer offers; to see more: {ssh}",
            location=place.location,
        ) from error
    except (asyncssh.Error, OSError) as error:
        raise errors.StorageUnavailableError(
            f"cannot reach {place.location}: {words(error)}",
            hint="does the machine run, and its sshd?",
            location=place.location,
        ) from error


async def _open_sftp(
    place: SftpPlace, connection: asyncssh.SSHClientConnection
) -> asyncssh.SFTPClient:
    try:
        return await connection.start_sftp_client()
    except (asyncssh.ChannelOpenError, asyncssh.SFTPBadMessage) as error:
        raise errors.RefusedError(
            f"{place.location} offers no SFTP: {words(error)}",
            hint="its sshd needs a Subsystem sftp, and a shell there must print nothing",
            location=place.location,
        ) from error


def _known_hosts(configured: object) -> Sequence[str] | bytes:
    """Return the files that say which key a server has, those of OpenSSH by default."""
    files = configured if isinstance(configured, list) and configured else _KNOWN_HOSTS
    return [str(path) for file in files if (path := Path(file).expanduser()).is_file()] or b""


def _ssh(options: asyncssh.SSHClientConnectionOptions) -> str:
    """Return the command that logs in to the same place by hand."""
    port = () if options.port == asyncssh.DEFAULT_PORT else ("-p", str(options.port))
    return shlex.join(["ssh", *port, f"{options.username}@{options.host}", "exit"])


def _distrusted(
    place: SftpPlace,
    options: asyncssh.SSHClientConnectionOptions,
    known_hosts: Sequence[str] | bytes,
    ssh: str,
) -> errors.RefusedError:
    """Tell a server never seen from one whose key is another than it was."""
    host = options.host_key_alias or options.host
    port = None if options.port == asyncssh.DEFAULT_PORT else options.port
    shown = f"[{host}]:{port}" if port else host
    if any(asyncssh.match_known_hosts(known_hosts, host, "", port)):
        return errors.RefusedError(
            f"the key of {place.location} is another than the one known for {shown}: somebody may "
            "sit between, or the server was set up anew",
            hint="ask who runs it; if its key did change, forget the old one with 'ssh-keygen -R "
            f"{shlex.quote(shown)}' and accept the new one with '{ssh}'",
            location=place.location,
        )
    return errors.RefusedError(
        f"the key of {place.location} is not known: no known_hosts file has one for {shown}",
        hint=f"accept it with '{ssh}', once the fingerprint it shows is the one that the server's "
        "owner says",
        location=place.location,
    )


async def _quietly(ending: Coroutine[object, object, None]) -> None:
    with suppress(asyncssh.Error, OSError):
        await ending


def words(error: BaseException) -> str:
    """Return what the library or the system says, which may be nothing."""
    reason = getattr(error, "reason", "") or getattr(error, "strerror", "") or str(error)
    return str(reason) or type(error).__name__
