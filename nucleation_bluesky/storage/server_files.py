"""Files of the embedded Tiled server in ``<data>/tiled``: key, state and registered users."""

import contextlib
import fcntl
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nucleation_bluesky.callbacks.journal_owner import Owner

PAUSE = threading.Event()  # never set: a wait with a timeout on the calling thread
NICE = 5


def write_json(path: Path, content: Any) -> None:
    """Replace a JSON file atomically, mode 0600."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_json(path: Path) -> Any:
    """Content of a JSON file, None where it does not exist or is not JSON."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def give_way() -> None:
    """Lower this process's priority: delivery and serving give way to what measures."""
    if os.nice(0) < NICE:  # a child inherits it
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    # a session of its own is a group of its own where Linux shares processors among groups: within
    # it, nobody is there to give way to
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICE))


def try_lock(fd: int) -> bool:
    """Take an exclusive lock that dies with this process; False if another holds it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@dataclass(frozen=True)
class Users:
    """Processes that use a service: one file each in a directory."""

    directory: Path

    def register(self) -> None:
        """Record this process; the service stays up while it lives."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.directory / f"{os.getpid()}.json"
        if read_json(path) != (mine := Owner.current().to_dict()):
            write_json(path, mine)

    def unregister(self) -> None:
        """Withdraw this process."""
        (self.directory / f"{os.getpid()}.json").unlink(missing_ok=True)

    def any_alive(self) -> bool:
        """Tell whether a registered process lives; forgets those that do not."""
        alive = False
        for path in self.directory.glob("[0-9]*.json"):
            try:
                living = Owner.from_dict(read_json(path) or {}).alive()
            except ValueError:
                living = False
            if living:
                alive = True
            else:
                path.unlink(missing_ok=True)
        return alive


@dataclass(frozen=True)
class ServerState:
    """What a running server says of itself."""

    owner: dict[str, Any]
    port: int
    readable: list[str]
    stopping: bool = False  # it has seen its last user and takes no new ones


@dataclass(frozen=True)
class ServerFiles:
    """Paths below the data directory."""

    data: Path

    @property
    def home(self) -> Path:
        """Directory of the server."""
        return self.data / "tiled"

    @property
    def log(self) -> Path:
        """Log file."""
        return self.home / "server.log"

    @property
    def config(self) -> Path:
        """Generated configuration; the API key is not in it."""
        return self.home / "config.yml"

    @property
    def users(self) -> "Users":
        """Processes that use the server."""
        return Users(self.home / "users")

    def prepare(self) -> None:
        """Create the directories, readable by their owner only."""
        self.data.mkdir(parents=True, exist_ok=True)
        for path in (self.home, self.users.directory, self.home / "files"):
            path.mkdir(exist_ok=True, mode=0o700)

    def api_key(self) -> str:
        """Return the key of this data directory's server, created on first use (mode 0600)."""
        path = self.home / "api_key"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_text("ascii").strip()
        with os.fdopen(fd, "w", encoding="ascii") as file:
            key = secrets.token_hex(32)
            file.write(key + "\n")
        return key

    def state(self) -> ServerState | None:
        """Return the state the last server left, whether it lives or not."""
        found = read_json(self.home / "server.json")
        try:
            return ServerState(**found)
        except TypeError:
            return None

    def write_state(self, state: ServerState) -> None:
        """Publish the state of a server."""
        write_json(self.home / "server.json", asdict(state))

    @contextlib.contextmanager
    def lock(self, deadline: float) -> Iterator[None]:
        """Hold the lock under which servers are started and stopped (freed if we die).

        Raises
        ------
        TimeoutError
            If it is not free before ``deadline`` (`time.monotonic`).
        """
        fd = os.open(self.home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while not try_lock(fd):
                if time.monotonic() > deadline:
                    raise TimeoutError("another process is starting or stopping the Tiled server")
                PAUSE.wait(0.05)
            yield
        finally:
            os.close(fd)
