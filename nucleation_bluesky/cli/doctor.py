"""``nucleation-bluesky doctor``: whether this machine and this configuration are ready."""

import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer
from rich.text import Text

from nucleation_bluesky.cli.common import ConfigOption, DataOption, configuration, console
from nucleation_bluesky.contract.enums import ControllerState
from nucleation_bluesky.ledger.errors import LedgerError
from nucleation_bluesky.ledger.filesystem import require_local_filesystem
from nucleation_bluesky.ledger.ledger import Ledger
from nucleation_bluesky.session.config import Configuration

PACKAGES = ("bluesky", "ophyd", "pyepics", "caproto", "tiled", "databroker")
NEEDED_BYTES = 2 * 10**9
Check = Callable[[Configuration], str]


class CheckError(RuntimeError):
    """A check failed; the message says what to do."""


def _packages(_config: Configuration) -> str:
    try:
        return ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    except PackageNotFoundError as error:
        raise CheckError(
            f"{error.name} is not installed; install nucleation_bluesky anew"
        ) from error


def _data_directory(config: Configuration) -> str:
    directory = config.data_directory.absolute()
    require_local_filesystem(directory, "the data directory")
    existing = next(p for p in (directory, *directory.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if free < NEEDED_BYTES:
        raise CheckError(
            f"only {free / 1e9:.1f} GB are free at {existing}; a map needs up to "
            f"{NEEDED_BYTES / 1e9:.0f} GB"
        )
    return f"{directory}, {free / 1e9:.0f} GB free"


def _ledger(config: Configuration) -> str:
    path = config.data_directory / "ledger.sqlite"
    if not path.exists():
        return "none yet; the first session makes it"
    with Ledger(path, read_only=True) as ledger:
        return f"{len(ledger.exposures())} exposures on {len(ledger.samples())} samples"


def _instrument(config: Configuration) -> str:
    from nucleation_bluesky.session.instruments import (  # noqa: PLC0415
        make_instrument,
        start_virtual,
    )

    with ExitStack() as stack:
        virtual = config.instrument.virtual.enabled
        if virtual:
            started = start_virtual(config, config.data_directory.absolute() / "logs")
            stack.callback(started.stop)
            started.wait_ready()
        device = make_instrument(config)
        stack.callback(device.destroy)  # before its controller ends, else libca complains
        device.connect()
        clock = device.controller.measure_clock()
        state = ControllerState(int(device.controller.state.get())).label
        return (
            f"{'virtual instrument' if virtual else 'controller'} at {config.instrument.prefix}, "
            f"state {state}, clock {clock.utc_offset * 1e3:+.1f} +/- "
            f"{clock.uncertainty * 1e3:.1f} ms"
        )


def _environment(config: Configuration) -> str:
    if not config.watches_environment:
        return "not watched (environment.watch in the configuration)"
    if config.instrument.virtual.enabled:
        return "watched, on the virtual instrument"
    from nucleation_bluesky.session.environment_watch import make_watch, shown  # noqa: PLC0415

    watch = make_watch(config.environment, lambda _: None)
    watch.device.start()
    try:
        if watch.trouble:
            raise CheckError(f"no site would be used now: {watch.trouble}")
        readings = watch.device.readings.items()
        return ", ".join(f"{name} {shown(name, reading.value)}" for name, reading in readings)
    finally:
        watch.device.stop()


def _queue(config: Configuration) -> str:
    from nucleation_bluesky.session.queue.parts import (  # noqa: PLC0415
        redis_server,
        require_packages,
    )

    require_packages()
    given = config.queue.redis_file
    if given is None:
        return f"Redis at {redis_server()}"
    from nucleation_bluesky.session.queue.redis_access import (  # noqa: PLC0415
        await_redis,
        read_address,
    )

    await_redis(read_address(given), patience=0.0)
    return f"the Redis that {given} names answers"


def _tiled(config: Configuration) -> str:
    from nucleation_bluesky.session.access import serving  # noqa: PLC0415
    from nucleation_bluesky.storage.server import connect  # noqa: PLC0415

    with serving(config) as server:
        kind = "embedded server" if config.tiled.uri is None else "server"
        return f"{kind} at {server.uri}, {len(connect(server))} entries"


CHECKS: dict[str, Check] = {
    "packages": _packages,
    "data directory": _data_directory,
    "ledger": _ledger,
    "instrument": _instrument,
    "environment": _environment,
    "Tiled": _tiled,
    "queue": _queue,
}


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("doctor")
    def doctor(config: ConfigOption = None, data: DataOption = None) -> None:
        """Check packages, disk, ledger, instrument, environment, Tiled and queue."""
        chosen = configuration(config, data)
        failed = 0
        console.print(f"Python {sys.version.split()[0]} at {Path(sys.prefix)}")
        for name, check in CHECKS.items():
            try:
                found, style, told = "ok", "green", check(chosen)
            except (RuntimeError, OSError, ValueError, LedgerError) as error:
                failed += 1
                found, style, told = "fails", "red", str(error)
            line = Text.assemble((f"{found:5}", style), f" {name}: {told}")
            console.print(line, soft_wrap=True)
        raise typer.Exit(min(failed, 1))
