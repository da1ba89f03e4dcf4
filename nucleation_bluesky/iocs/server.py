"""Serving a front end over Channel Access, and the entry points that start an IOC."""

import asyncio
import contextlib
import importlib
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from caproto import CaprotoNetworkError, CaprotoRuntimeError
from caproto.asyncio.server import Context, VirtualCircuit
from caproto.server.common import DisconnectedCircuit
from pydantic import ValidationError

from nucleation_bluesky.iocs.afm import AfmFrontEnd
from nucleation_bluesky.iocs.backend import AfmBackend
from nucleation_bluesky.iocs.environment import EnvironmentFrontEnd
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


async def serve(
    backend: AfmBackend,
    prefix: str,
    *,
    ready: Callable[[], None] | None = None,
    stop: asyncio.Event | None = None,
    trace: Path | None = None,
    interfaces: list[str] | None = None,
    environment: EnvironmentFrontEnd | None = None,
) -> None:
    """Serve an AFM backend until SIGTERM, SIGINT or ``stop``.

    Parameters
    ----------
    backend : AfmBackend
        The instrument.
    prefix : str
        Prefix of the PV names, for instance ``NB:AFM:``.
    ready : callable, optional
        Called once clients can connect.
    stop : asyncio.Event, optional
        Ends serving when set.
    trace : Path, optional
        Trace file (JSON lines); the backend's own by default.
    interfaces : list of str, optional
        Addresses to listen on; ``EPICS_CAS_INTF_ADDR_LIST`` or the loopback by default.
    environment : EnvironmentFrontEnd, optional
        Environment PVs to serve next to the instrument's.

    Raises
    ------
    IocError
        If the port or the trace file cannot be opened.
    """
    stop = stop or asyncio.Event()
    try:
        front = AfmFrontEnd(backend, prefix, trace=Trace(trace or backend.trace))
    except OSError as error:
        raise IocError(f"the trace file cannot be written: {error}") from error
    addresses = interfaces or os.environ.get("EPICS_CAS_INTF_ADDR_LIST", LOOPBACK).split()
    if addresses == [LOOPBACK]:
        os.environ.setdefault("EPICS_CAS_AUTO_BEACON_ADDR_LIST", "NO")
        os.environ.setdefault("EPICS_CAS_BEACON_ADDR_LIST", LOOPBACK)
    _exit_on_signal(stop)
    try:
        await front.boot()
        database, loops = (
            dict(front.channels.database),
            [front.watchdog.run(), front.software.run()],
        )
        if environment is not None:
            database |= environment.database
            loops.append(environment.run())
        context = _Context(database, interfaces=addresses)
        async with _background(*loops):
            server = asyncio.ensure_future(context.run())
            await _until_listening(context, server)
            if ready is not None:
                ready()
            stopping = asyncio.ensure_future(stop.wait())
            await asyncio.wait({server, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await front.close()  # safe state first, while the watchdog still runs
            stopping.cancel()
            server.cancel()
            await asyncio.gather(server, stopping, return_exceptions=True)
    finally:
        await front.close()


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


def parse_speed(text: str | float) -> float:
    """Return the speed factor of a virtual instrument; 'max' is infinity.

    Raises
    ------
    IocError
        If it is not a number above 0 or 'max'.
    """
    if isinstance(text, str) and text.strip().lower() == "max":
        return float("inf")
    try:
        speed = float(text)
    except ValueError:
        speed = float("nan")
    if not speed > 0:
        raise IocError(f"speed must be a number above 0, or 'max' (got {text!r})")
    return speed


def run_afm_ioc(
    prefix: str = "NB:AFM:",
    *,
    seed: int = 0,
    speed: str | float = 1.0,
    truth: Path | None = None,
    trace: Path | None = None,
    world: Mapping[str, Any] | None = None,
    ready: Callable[[], None] | None = None,
    factory: str = "nucleation_bluesky.iocs.backends.virtual_afm:make_virtual_afm",
    environment: str = "",
) -> None:
    """Run a virtual AFM as an IOC until SIGTERM or SIGINT.

    Parameters
    ----------
    prefix : str
        Prefix of the PV names.
    seed : int
        Seed of the virtual sample.
    speed : float or 'max'
        Speed of the instrument's clock.
    truth : Path, optional
        File for the ground truth.
    trace : Path, optional
        Trace file.
    world : mapping, optional
        Settings of the virtual world by name.
    ready : callable, optional
        Called once clients can connect.
    factory : str
        ``module:function(seed, speed, truth, **world) -> AfmBackend``.
    environment : str
        Prefix of the environment PVs; empty serves none.

    Raises
    ------
    IocError
        If a setting is unknown or the server cannot start.
    """
    if not prefix or any(c.isspace() for c in prefix):
        raise IocError(f"the prefix {prefix!r} must be non-empty and without spaces")
    module, _, name = factory.partition(":")
    make = getattr(importlib.import_module(module), name)
    try:
        backend = make(seed, parse_speed(speed), truth, **dict(world or {}))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise IocError(f"the setting '{name}' cannot be used: {first['msg']}") from error
    except (TypeError, ValueError) as error:
        raise IocError(f"the virtual instrument cannot be made: {error}") from error
    around = EnvironmentFrontEnd(environment, seed) if environment else None
    asyncio.run(serve(backend, prefix, ready=ready, trace=trace, environment=around))
