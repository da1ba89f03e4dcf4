"""The Tiled server of a data directory: started on demand, shared, gone after its last user."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import psutil

from nucleation_bluesky.callbacks.journal_owner import Owner
from nucleation_bluesky.storage.server_files import PAUSE, ServerFiles, ServerState

if TYPE_CHECKING:
    from nucleation_bluesky.storage.catalog import RunCatalog

LOCAL = ("127.0.0.1", "localhost", "::1")
# Each thread that answers a request keeps free memory of its own otherwise, in Arrow's allocator
# and in the C library's: the server grows until all of them have answered often
ALLOCATORS = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2"}
WAVEFORM_DIR = "waveforms"  # of the data directory; always readable by the server


class ServerError(RuntimeError):
    """The Tiled server cannot be reached or started."""


@dataclass(frozen=True)
class ServerInfo:
    """Where a Tiled server is, and the key to it (not shown by `repr`)."""

    uri: str
    api_key: str = field(repr=False)

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine: no proxy of the environment gets to see its key then."""
        try:
            return urlsplit(self.uri).hostname in LOCAL
        except ValueError:  # no address at all: who uses it will say so
            return False

    @property
    def web_ui(self) -> str:
        """Address of the web pages; the key is asked for, it is not part of the address."""
        return f"{self.uri.rstrip('/')}/ui/browse/"

    @property
    def api(self) -> str:
        """Address of the programs' interface."""
        return f"{self.uri.rstrip('/')}/api/v1"


def connect(
    info: ServerInfo, *, structure_clients: str = "numpy", timeout: float = 30.0
) -> "RunCatalog":
    """Return a Tiled client; the key travels in a header.

    Parameters
    ----------
    info : ServerInfo
        Embedded or external server.
    structure_clients : str
        "numpy", or "dask" for lazy arrays.
    timeout : float
        Longest wait for one request, s.

    Raises
    ------
    ServerError
        If the server does not answer.
    """
    from tiled.client import from_uri  # noqa: PLC0415 - starting a server needs no client

    from nucleation_bluesky.storage.catalog import as_catalog  # noqa: PLC0415 - slow import

    with named(info):
        client = from_uri(
            info.api,
            structure_clients,
            api_key=info.api_key,
            timeout=time_limits(timeout),
            trust_env=not info.is_local,
        )
    return as_catalog(client)


def time_limits(timeout: float) -> httpx.Timeout:
    """Return the limits of one request: an address where nobody is must not cost as long."""
    return httpx.Timeout(timeout, connect=min(5.0, timeout))


@contextmanager
def named(info: ServerInfo) -> Iterator[None]:
    """Say of a failing request which server it was sent to.

    Raises
    ------
    ServerError
        If the server does not answer, or refuses.
    """
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServerError(
            f"the Tiled server at {info.uri} cannot be used ({type(error).__name__}); "
            "check the address, the key and whether the server is running"
        ) from error


def is_embedded(data_dir: Path | str, info: ServerInfo) -> bool:
    """Tell whether a server is the embedded one of a data directory."""
    state = ServerFiles(Path(data_dir).resolve()).state()
    return state is not None and info.uri.rstrip("/") == _uri(state)


def is_healthy(uri: str, timeout: float = 2.0) -> bool:
    """Tell whether a server answers within ``timeout`` seconds."""
    try:
        with httpx.Client(trust_env=False, timeout=timeout) as client:
            return client.get(f"{uri}/healthz").status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def ensure_server(
    data_dir: Path | str,
    *,
    readable: Sequence[Path | str] = (),
    timeout: float = 120.0,
    linger: float = 5.0,
) -> ServerInfo:
    """Return the embedded server of a data directory, starting it if none is up.

    This process is registered as a user: the server stays up while any registered process lives
    and stops ``linger`` seconds after the last one ended, however it ended.

    Parameters
    ----------
    data_dir : Path
        Data directory; the server's files are in ``tiled`` below it.
    readable : sequence of Path
        Directories of waveform files outside ``<data>/waveforms``. A running server that cannot
        read one of them is restarted.
    timeout : float
        Longest wait for the server, s.
    linger : float
        Time the server stays after its last user, s.

    Raises
    ------
    ServerError
        If it does not answer in time.
    """
    files = ServerFiles(Path(data_dir).resolve())
    files.prepare()
    (files.data / WAVEFORM_DIR).mkdir(exist_ok=True)
    files.users.register()
    key = files.api_key()
    deadline = time.monotonic() + timeout
    try:
        with files.lock(deadline):
            state = files.state()
            wanted = _readable(files, readable, state)
            if state is not None and _alive(state):
                if set(wanted) <= set(state.readable) and not state.stopping:
                    return ServerInfo(_wait_healthy(files, None, deadline), key)
                _stop(state, deadline)
            process = _start(files, wanted, linger)
            return ServerInfo(_wait_healthy(files, process, deadline), key)
    except TimeoutError as error:
        raise ServerError(f"{error}; try again") from error


def stop_server(data_dir: Path | str, timeout: float = 15.0) -> None:
    """Stop the server of a data directory now, if one is up."""
    files = ServerFiles(Path(data_dir).resolve())
    if not files.home.is_dir():
        return
    with files.lock(time.monotonic() + timeout):
        state = files.state()
        if state is not None and _alive(state):
            _stop(state, time.monotonic() + timeout)


def release_server(data_dir: Path | str) -> None:
    """Withdraw this process as a user of the server."""
    ServerFiles(Path(data_dir).resolve()).users.unregister()


def _uri(state: ServerState) -> str:
    return f"http://127.0.0.1:{state.port}"


def _alive(state: ServerState) -> bool:
    return Owner.from_dict(state.owner).alive()


def _readable(
    files: ServerFiles, more: Sequence[Path | str], state: ServerState | None
) -> list[str]:
    wanted = [str(files.data / WAVEFORM_DIR), *(str(Path(p).resolve()) for p in more)]
    return list(dict.fromkeys([*wanted, *(state.readable if state else [])]))


def _start(files: ServerFiles, readable: list[str], linger: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "nucleation_bluesky.storage.server_main"]
    command += ["--data", str(files.data), "--readable", json.dumps(readable)]
    command += ["--linger", str(linger)]
    fd = os.open(files.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(  # noqa: S603 (our own module)
            command,
            stdin=subprocess.DEVNULL,
            stdout=fd,
            stderr=fd,
            env=os.environ | ALLOCATORS,
            start_new_session=True,  # Ctrl-C in a terminal must not stop it
        )
    finally:
        os.close(fd)


def _wait_healthy(
    files: ServerFiles, process: subprocess.Popen[bytes] | None, deadline: float
) -> str:
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise ServerError(
                f"the Tiled server ended with code {process.returncode} while starting; "
                f"see {files.log}"
            )
        state = files.state()
        ours = process is None or (state is not None and state.owner["pid"] == process.pid)
        if state is not None and ours:
            if is_healthy(uri := _uri(state)):
                return uri
            if process is None and not _alive(state):
                break
        PAUSE.wait(0.1)
    raise ServerError(
        f"the Tiled server of {files.data} does not answer; see {files.log}, or end its process "
        "and try again"
    )


def _stop(state: ServerState, deadline: float) -> None:
    owner = Owner.from_dict(state.owner)
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not owner.alive():
            return
        os.kill(owner.pid, number)
        try:
            psutil.Process(owner.pid).wait(max(1.0, min(8.0, deadline - time.monotonic())))
        except psutil.NoSuchProcess:
            return
        except psutil.TimeoutExpired:
            continue
