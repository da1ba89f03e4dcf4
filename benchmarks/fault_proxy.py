"""A network between client and controller that can fail: Channel Access through a proxy.

UDP searches and TCP circuits pass on the loopback; what they carry can be held back, delayed, cut
in the middle of a message, or refused. TCP loses nothing by itself: a lossy network shows as delay,
a dead one as silence.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from typing import Any

from nucleation_bluesky.session.channel_access import LOOPBACK

SEARCH = 6  # Channel Access command whose answer names the port of the circuit
HEADER = struct.Struct("!HHHHII")
CHUNK = 65536


def redirected(datagram: bytes, port: int) -> bytes:
    """Replace the circuit's port in the answers to searches."""
    data, at = bytearray(datagram), 0
    while at + HEADER.size <= len(data):
        command, payload, _, count, first, second = HEADER.unpack_from(data, at)
        if command == SEARCH:
            HEADER.pack_into(data, at, command, payload, port, count, first, second)
        at += HEADER.size + payload
    return bytes(data)


class _Upstream(asyncio.DatagramProtocol):
    """Towards the controller, for one client."""

    def __init__(self, proxy: "Proxy", client: tuple[str, int]):
        self.proxy, self.client = proxy, client

    def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ARG002 - protocol
        self.proxy.answer(redirected(data, self.proxy.port), self.client)

    def error_received(self, exc: Exception) -> None:
        """The controller does not run: nobody answers."""


class _Searches(asyncio.DatagramProtocol):
    """From the clients."""

    def __init__(self, proxy: "Proxy"):
        self.proxy = proxy

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.proxy.search(data, addr)


class Proxy:
    """Listens on ``port`` for clients of the controller at ``server_port``; runs in a thread."""

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        self._delay = 0.0
        self._refusing = False
        self._tear = ""  # direction whose next message is torn
        self._circuits: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._upstream: dict[Any, asyncio.DatagramTransport] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._tcp, self._udp, self.port = _sockets()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._started = threading.Event()
        self._thread.start()
        if not self._started.wait(10):
            raise RuntimeError("the proxy did not start")

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._open = asyncio.Event()
        self._open.set()
        self._loop.run_until_complete(self._serve())
        self._loop.run_forever()

    async def _serve(self) -> None:
        self._server = await asyncio.start_server(self._circuit, sock=self._tcp)
        self._answers, _ = await self._loop.create_datagram_endpoint(
            lambda: _Searches(self), sock=self._udp
        )
        self._started.set()

    # -- searches --------------------------------------------------------------------------------

    def search(self, data: bytes, client: Any) -> None:
        """Pass a search on, unless the network is silent."""
        if self._refusing or not self._open.is_set():
            return
        task = self._loop.create_task(self._search(data, client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _search(self, data: bytes, client: Any) -> None:
        if self._delay:
            await asyncio.sleep(self._delay)
        if client not in self._upstream:
            self._upstream[client], _ = await self._loop.create_datagram_endpoint(
                lambda: _Upstream(self, client), remote_addr=(LOOPBACK, self.server_port)
            )
        self._upstream[client].sendto(data)

    def answer(self, data: bytes, client: Any) -> None:
        """Pass an answer back."""
        if self._open.is_set() and not self._refusing:
            self._answers.sendto(data, client)

    # -- circuits --------------------------------------------------------------------------------

    async def _circuit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._refusing:
                return
            there, back = await asyncio.open_connection(LOOPBACK, self.server_port)
        except OSError:  # the controller does not run
            return
        finally:
            if self._refusing or "back" not in locals():
                writer.transport.abort()
        pair = (writer, back)
        self._circuits.add(pair)
        for end in pair:
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pumps = [
            asyncio.ensure_future(self._pump(reader, back, "up")),
            asyncio.ensure_future(self._pump(there, writer, "down")),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._circuits.discard(pair)
            for end in pair:
                end.transport.abort()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, direction: str
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK):
                if self._delay:
                    await asyncio.sleep(self._delay)
                await self._open.wait()
                if self._tear == direction:
                    self._tear = ""
                    sink.write(data[: max(1, len(data) // 2)])
                    await sink.drain()
                    return
                sink.write(data)
                await sink.drain()

    # -- faults, from any thread -----------------------------------------------------------------

    def _do(self, what: Any) -> None:
        done = threading.Event()

        def act() -> None:
            what()
            done.set()

        self._loop.call_soon_threadsafe(act)
        if not done.wait(10):
            raise RuntimeError("the proxy does not answer")

    def hold(self) -> None:
        """Pass nothing on, and keep it."""
        self._do(self._open.clear)

    def cut(self) -> None:
        """Reset every circuit."""

        def act() -> None:
            for pair in self._circuits:
                for end in pair:
                    end.transport.abort()

        self._do(act)

    def tear(self, direction: str) -> None:
        """End a circuit in the middle of the next message ``up`` or ``down``."""
        self._do(lambda: setattr(self, "_tear", direction))

    def refuse(self) -> None:
        """Let no new circuit or search pass."""
        self._do(lambda: setattr(self, "_refusing", True))

    def delay(self, seconds: float) -> None:
        """Hold each message back for a while."""
        self._do(lambda: setattr(self, "_delay", seconds))

    def heal(self) -> None:
        """Pass everything again, first what was kept."""

        def act() -> None:
            self._delay, self._refusing, self._tear = 0.0, False, ""
            self._open.set()

        self._do(act)

    def close(self) -> None:
        """End it."""
        self.heal()
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._tcp.close()
        self._udp.close()


def _sockets() -> tuple[socket.socket, socket.socket, int]:
    """TCP and UDP sockets of one free port."""
    while True:
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        tcp.bind((LOOPBACK, 0))
        port = tcp.getsockname()[1]
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind((LOOPBACK, port))
        except OSError:
            tcp.close()
            udp.close()
            continue
        return tcp, udp, port
