"""Serving front ends over Channel Access."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol

from caproto import CaprotoNetworkError, CaprotoRuntimeError, ChannelData
from caproto.asyncio.server import Context, VirtualCircuit
from caproto.server.common import DisconnectedCircuit

from nucleation_bluesky.iocs.trace import Trace

logger = logging.getLogger(__name__)
BATCH_BYTES = 2**16
LOOPBACK = "127.0.0.1"


class IocError(Exception):
    """The IOC cannot start; the message says why and what to do."""


class _Circuit(VirtualCircuit):
    """A client's connection with low latency.

    Nagle's algorithm is switched off: caproto's sockets carry no protocol number, for which
    asyncio leaves it on, and small answers then wait ~40 ms for the client's delayed ACK. Updates
    that are ready go out together and at once, without caproto's 10 ms wait for further ones.
    """

    def __init__(self, circuit: Any, client: Any, context: Any):
        super().__init__(circuit, client, context)
        sock = client.writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def subscription_queue_loop(self) -> None:
        """Send monitor updates."""
        self.events_on.set()
        while True:
            batch, size = [], 0
            reference = await self.subscription_queue.get()
            while True:
                command = reference()
                if command is not None:  # None: dropped in favour of a newer one
                    batch.append(command)
                    size += len(command)
                if size > BATCH_BYTES or self.subscription_queue.empty():
                    break
                reference = self.subscription_queue.get_nowait()
            wanted = {sub.subscriptionid for subs in self.subscriptions.values() for sub in subs}
            batch = [command for command in batch if command.subscriptionid in wanted]
            try:
                if batch:
                    await self.send(*batch)
            except DisconnectedCircuit:
                await self._on_disconnect()
                self.circuit.disconnect()
                await self.context.circuit_disconnected(self)
                return


class _Beacon:
    """A beacon socket that stays silent where no repeater listens."""

    def __init__(self, sock: Any):
        self._sock = sock

    async def send(self, data: bytes) -> None:
        with contextlib.suppress(OSError, CaprotoNetworkError):
            await self._sock.send(data)

    def close(self) -> None:
        self._sock.close()


class _Context(Context):
    CircuitClass = _Circuit

    async def broadcast_beacon_loop(self) -> NoReturn:
        """Send beacons; a machine without a CA repeater is no error."""
        self.beacon_socks = {
            address: (interface, _Beacon(sock))
            for address, (interface, sock) in self.beacon_socks.items()
        }
        return await super().broadcast_beacon_loop()


@contextlib.asynccontextmanager
async def _background(*coroutines: Any) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(c) for c in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _exit_on_signal(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Outside the main thread there are no signals to handle.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, stop.set)


class Part(Protocol):
    """What one server serves: a front end."""

    @property
    def database(self) -> Mapping[str, ChannelData]:
        """Channels by full PV name."""
        ...

    async def boot(self) -> None:
        """Prepare; called before serving."""
        ...

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Return what runs while serving."""
        ...

    async def close(self) -> None:
        """End orderly; a second call does nothing."""
        ...


async def serve_parts(
    parts: Sequence[Part],
    *,
    ready: Callable[[], None] | None = None,
    stop: asyncio.Event | None = None,
    interfaces: list[str] | None = None,
) -> None:
    """Serve front ends until SIGTERM, SIGINT or ``stop``.

    While it serves, garbage collections leave out what was there at its start (`gc.freeze`).

    Parameters
    ----------
    parts : sequence of Part
        Front ends; booted in this order, closed in this order.
    ready : callable, optional
        Called once clients can connect.
    stop : asyncio.Event, optional
        Ends serving when set.
    interfaces : list of str, optional
        Addresses to listen on; ``EPICS_CAS_INTF_ADDR_LIST`` or the loopback by default.

    Raises
    ------
    IocError
        If the port cannot be opened.
    """
    stop = stop or asyncio.Event()
    addresses = interfaces or os.environ.get("EPICS_CAS_INTF_ADDR_LIST", LOOPBACK).split()
    if addresses == [LOOPBACK]:
        os.environ.setdefault("EPICS_CAS_AUTO_BEACON_ADDR_LIST", "NO")
        os.environ.setdefault("EPICS_CAS_BEACON_ADDR_LIST", LOOPBACK)
    _exit_on_signal(stop)
    try:
        database: dict[str, ChannelData] = {}
        for part in parts:
            await part.boot()
            database |= part.database
        context = _Context(database, interfaces=addresses)
        async with _background(*(loop for part in parts for loop in part.loops())):
            server = asyncio.ensure_future(context.run())
            await _until_listening(context, server)
            _tell_of_a_shared_port(context)
            _spare_collections()
            if ready is not None:
                ready()
            stopping = asyncio.ensure_future(stop.wait())
            await asyncio.wait({server, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await _close(parts)  # safe state first, while the watchdogs still run
            stopping.cancel()
            server.cancel()
            await asyncio.gather(server, stopping, return_exceptions=True)
    finally:
        await _close(parts)
        gc.unfreeze()


def _tell_of_a_shared_port(context: Context) -> None:
    """Warn where another server of this machine receives searches at the same UDP port.

    A search that is sent to one address, the loopback's for instance, reaches one of the two only,
    and always the same one for a client; a broadcast reaches both.
    """
    if context.port != context.ca_server_port:
        logger.warning(
            "another Channel Access server of this machine has port %d too, and a client that "
            "looks for both by their address finds only one: give this one another "
            "EPICS_CA_SERVER_PORT, and its 'address:port' to the clients in EPICS_CA_ADDR_LIST",
            context.ca_server_port,
        )


def _spare_collections() -> None:
    """Keep the garbage collector off what was made so far.

    A full collection goes through everything that is imported, which on a busy machine takes half
    a second: the safe state must not wait for one.
    """
    gc.collect()
    gc.freeze()


async def _close(parts: Sequence[Part]) -> None:
    for part in parts:
        await part.close()


def open_trace(path: Path | None) -> Trace:
    """Open a trace file.

    Raises
    ------
    IocError
        If it cannot be written.
    """
    try:
        return Trace(path)
    except OSError as error:
        raise IocError(f"the trace file cannot be written: {error}") from error


async def _until_listening(context: Context, server: "asyncio.Future[None]") -> None:
    async with asyncio.timeout(10):
        while not context.udp_socks:
            if server.done():
                error = server.exception()
                if isinstance(error, (OSError, CaprotoRuntimeError)):
                    raise IocError(
                        f"the Channel Access port cannot be opened ({error}): set "
                        "EPICS_CA_SERVER_PORT to a free port"
                    ) from error
                raise IocError("the Channel Access server ended") from error
            await asyncio.sleep(0.01)
