"""A link of stated latency and bandwidth to a server on loopback, which counts what crosses it.

with Link(port, LinkSpeed(0.025, 100e6)) as link:
    ...                                     # speak to http://127.0.0.1:{link.port}
    link.traffic()

Each direction has its bandwidth for all connections together, and every byte arrives so much later
than it was sent; a new connection takes a round trip before its first byte. Nothing else of a
network is here: no loss, no TLS, no slow start.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Self

_CHUNK = 256 << 10
_BUFFER = 1 << 20
_AHEAD_SECONDS = 0.005
"""How far a direction may be booked before a sender waits: a timer is no finer than this."""
_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True)
class LinkSpeed:
    one_way_seconds: float
    bytes_per_second: float

    @property
    def round_trip_seconds(self) -> float:
        return 2 * self.one_way_seconds

    def own_seconds(self, traffic: Traffic) -> float:
        """Return what the link alone takes: the fuller direction, and one round trip."""
        most = max(traffic.sent_bytes, traffic.received_bytes)
        return most / self.bytes_per_second + self.round_trip_seconds


@dataclass(frozen=True)
class Traffic:
    """What crossed a link, seen from the client."""

    requests: dict[str, int]
    connections: int
    sent_bytes: int
    received_bytes: int


class RequestCounter:
    """Finds where requests begin in what one connection sends to a server."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._head = bytearray()
        self._body_left = 0

    def feed(self, data: bytes) -> None:
        position = 0
        while position < len(data):
            skipped = min(self._body_left, len(data) - position)
            self._body_left -= skipped
            position += skipped
            if position == len(data):
                return
            self._head += data[position:]
            end = self._head.find(_HEAD_END)
            if end < 0:
                return
            head, rest = self._head[:end].decode("latin-1"), self._head[end + len(_HEAD_END) :]
            self._head.clear()
            self._begin(head)
            data, position = bytes(rest), 0

    def _begin(self, head: str) -> None:
        first, *lines = head.split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
        }
        if "transfer-encoding" in headers:
            raise ValueError("a request without a length: where it ends is not known here")
        self._body_left = int(headers.get("content-length", 0))
        method, target, _ = first.split(" ")
        self._counts[kind_of(method, target)] += 1


def kind_of(method: str, target: str) -> str:
    """Return what providers charge a request as."""
    path, _, query = target.partition("?")
    if method == "GET" and (path.strip("/").count("/") == 0 or "list-type=" in query):
        return "LIST"
    if method == "POST" and query.startswith("delete"):
        return "DELETE"
    return method


class _Direction:
    """One way along the link, shared by all connections."""

    def __init__(self, speed: LinkSpeed) -> None:
        self._speed = speed
        self._free_at = 0.0
        self.bytes = 0

    async def carry(self, size: int) -> float:
        """Book the way for so many bytes; return when the last of them arrives."""
        now = asyncio.get_running_loop().time()
        self.bytes += size
        self._free_at = max(now, self._free_at) + size / self._speed.bytes_per_second
        arrival = self._free_at + self._speed.one_way_seconds
        if self._free_at - now > _AHEAD_SECONDS:
            await asyncio.sleep(self._free_at - now)
        return arrival


class Link:
    def __init__(self, server_port: int, speed: LinkSpeed) -> None:
        self.port = 0
        self.speed = speed
        self._server_port = server_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self.reset()

    def reset(self) -> None:
        self._counts: Counter[str] = Counter()
        self._connections = 0
        self._up, self._down = _Direction(self.speed), _Direction(self.speed)

    def traffic(self) -> Traffic:
        return Traffic(
            dict(sorted(self._counts.items())), self._connections, self._up.bytes, self._down.bytes
        )

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=_BUFFER)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._listener.close()
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(
        self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._connections += 1
        counter = RequestCounter(self._counts)
        from_server, to_server = await asyncio.open_connection(
            "127.0.0.1", self._server_port, limit=_BUFFER
        )
        try:
            await asyncio.sleep(self.speed.round_trip_seconds)
            await asyncio.gather(
                self._pass(self._up, from_client, to_server, counter),
                self._pass(self._down, from_server, to_client, None),
            )
        except (OSError, asyncio.CancelledError):
            pass  # a side that goes ends the connection
        finally:
            self._tasks.discard(task)
            to_client.close()
            to_server.close()

    async def _pass(
        self,
        way: _Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        counter: RequestCounter | None,
    ) -> None:
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        arriving = asyncio.create_task(self._deliver(on_the_way, writer))
        try:
            while data := await reader.read(_CHUNK):
                if counter is not None:
                    counter.feed(data)
                on_the_way.put_nowait((await way.carry(len(data)), data))
            on_the_way.put_nowait((self._loop.time() + self.speed.one_way_seconds, b""))
            await arriving
        finally:
            arriving.cancel()

    async def _deliver(
        self, on_the_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        while True:
            arrival, data = await on_the_way.get()
            await asyncio.sleep(max(0.0, arrival - self._loop.time()))
            if not data:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            writer.write(data)
            await writer.drain()
