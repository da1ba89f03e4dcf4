"""Entry points that start an IOC."""

import asyncio
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nucleation_bluesky.iocs.afm import AfmFrontEnd
from nucleation_bluesky.iocs.backend import AfmBackend
from nucleation_bluesky.iocs.camera import CameraFrontEnd
from nucleation_bluesky.iocs.environment import EnvironmentFrontEnd
from nucleation_bluesky.iocs.seccm import SeccmFrontEnd
from nucleation_bluesky.iocs.seccm_backend import CameraBackend, SeccmBackend
from nucleation_bluesky.iocs.server import IocError, Part, open_trace, serve_parts


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


async def serve(
    backend: AfmBackend | SeccmBackend,
    prefix: str,
    *,
    camera_prefix: str = "",
    ready: Callable[[], None] | None = None,
    stop: asyncio.Event | None = None,
    trace: Path | None = None,
    interfaces: list[str] | None = None,
) -> None:
    """Serve a lab's own backend until SIGTERM, SIGINT or ``stop``.

    Parameters
    ----------
    backend : AfmBackend or SeccmBackend
        The instrument.
    prefix : str
        Prefix of the PV names, for instance ``NB:AFM:``.
    camera_prefix : str
        Prefix of the camera's PVs; empty serves none.
    ready : callable, optional
        Called once clients can connect.
    stop : asyncio.Event, optional
        Ends serving when set.
    trace : Path, optional
        Trace file (JSON lines); the backend's own by default.
    interfaces : list of str, optional
        Addresses to listen on; ``EPICS_CAS_INTF_ADDR_LIST`` or the loopback by default.

    Raises
    ------
    IocError
        If the port or the trace file cannot be opened.
    """
    shared = open_trace(trace or backend.trace)
    parts: list[Part] = []
    if isinstance(backend, SeccmBackend):
        parts.append(SeccmFrontEnd(backend, prefix, trace=shared))
        if camera_prefix and backend.camera is not None:
            parts.append(CameraFrontEnd(backend.camera, camera_prefix, trace=shared))
    else:
        parts.append(AfmFrontEnd(backend, prefix, trace=shared))
    await serve_parts(parts, ready=ready, stop=stop, interfaces=interfaces)


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
    check_prefix(prefix)
    backend: AfmBackend = _make(factory, seed, speed, truth, world)
    parts: list[Part] = [AfmFrontEnd(backend, prefix, trace=open_trace(trace or backend.trace))]
    if environment:
        parts.append(EnvironmentFrontEnd(environment, seed))
    asyncio.run(serve_parts(parts, ready=ready))


def run_seccm_ioc(
    prefix: str = "NB:SECCM:",
    camera_prefix: str = "NB:IRM:",
    *,
    seed: int = 0,
    speed: str | float = 1.0,
    truth: Path | None = None,
    trace: Path | None = None,
    world: Mapping[str, Any] | None = None,
    ready: Callable[[], None] | None = None,
    factory: str = "nucleation_bluesky.iocs.backends.virtual_seccm:make_virtual_seccm",
    camera: str = "virtual",
    camera_settings: Mapping[str, Any] | None = None,
    environment: str = "",
) -> None:
    """Run a virtual SECCM and its camera as one IOC until SIGTERM or SIGINT.

    Parameters
    ----------
    prefix, camera_prefix : str
        Prefixes of the PV names; an empty ``camera_prefix`` serves no camera.
    seed, speed, truth, trace, world, ready, environment
        As `run_afm_ioc`; the trace is that of both front ends.
    factory : str
        ``module:function(seed, speed, truth, **world) -> SeccmBackend``.
    camera : str
        'virtual' for the factory's own camera, 'micromanager' for one driven by Micro-Manager.
    camera_settings : mapping, optional
        Keywords of `make_micromanager`.

    Raises
    ------
    IocError
        If a setting is unknown or the server cannot start.
    """
    check_prefix(prefix)
    backend: SeccmBackend = _make(factory, seed, speed, truth, world)
    shared = open_trace(trace or backend.trace)
    parts: list[Part] = [SeccmFrontEnd(backend, prefix, trace=shared)]
    if camera_prefix:
        check_prefix(camera_prefix)
        chosen = _camera(camera, backend, dict(camera_settings or {}))
        parts.append(CameraFrontEnd(chosen, camera_prefix, trace=shared))
    if environment:
        parts.append(EnvironmentFrontEnd(environment, seed))
    asyncio.run(serve_parts(parts, ready=ready))


def _camera(name: str, backend: SeccmBackend, settings: dict[str, Any]) -> CameraBackend:
    if name == "micromanager":
        module = importlib.import_module("nucleation_bluesky.iocs.backends.micromanager")
        try:
            return module.make_micromanager(**settings)
        except (ImportError, RuntimeError, OSError, TypeError, ValueError) as error:
            raise IocError(f"the Micro-Manager camera cannot be used: {error}") from error
    if name != "virtual":
        raise IocError(f"no camera '{name}': choose 'virtual' or 'micromanager'")
    if backend.camera is None:
        raise IocError("this instrument has no camera of its own: give an empty camera prefix")
    return backend.camera


def check_prefix(prefix: str) -> None:
    """Refuse a prefix that no PV name can have.

    Raises
    ------
    IocError
        If it is empty or holds spaces.
    """
    if not prefix or any(c.isspace() for c in prefix):
        raise IocError(f"the prefix {prefix!r} must be non-empty and without spaces")


def _make(
    factory: str,
    seed: int,
    speed: str | float,
    truth: Path | None,
    world: Mapping[str, Any] | None,
) -> Any:
    """Make a backend by ``module:function``."""
    module, _, name = factory.partition(":")
    make = getattr(importlib.import_module(module), name)
    try:
        return make(seed, parse_speed(speed), truth, **dict(world or {}))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise IocError(f"the setting '{name}' cannot be used: {first['msg']}") from error
    except (TypeError, ValueError) as error:
        raise IocError(f"the virtual instrument cannot be made: {error}") from error
