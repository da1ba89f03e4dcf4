"""The courier: follows the journals of a data directory and keeps Tiled equal to them.

It is a process of its own, so that neither a dead nor a frozen server can hold up a RunEngine.
What is delivered follows from journal and Tiled alone: it may be killed at any moment.
"""

import argparse
import importlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nucleation_bluesky.callbacks.journal_reader import journals, stem
from nucleation_bluesky.callbacks.journal_recovery import recover
from nucleation_bluesky.storage.courier_files import EMBEDDED, JOURNAL_DIR, CourierFiles
from nucleation_bluesky.storage.server_files import ServerFiles, give_way, try_lock

POLL = 0.15  # s between looks at the journals
SCAN = 0.5  # s between looks for new journals
STATUS = 1.0  # s between two status files
REQUEST = 10.0  # s, longest wait for one answer of the server
MAX_BACKOFF = 5.0  # s between two tries to reach the server
KEY_VARIABLE = "NUCLEATION_TILED_API_KEY"  # key of an external server, for this process only
logger = logging.getLogger(__name__)


class Courier:
    """Delivers every journal of a directory.

    Parameters
    ----------
    data_dir : Path
        Data directory; journals are in ``journal`` below it.
    connect : callable
        Returns a client for the container of runs; called again after every trouble.
    target : str
        Name of the Tiled delivered to.
    readable : callable
        Returns the directories the server may read (empty where unknown).
    patience : float
        Without any user, undelivered journals are given up after this time, s (they are
        delivered by the next courier).
    """

    def __init__(
        self,
        data_dir: Path,
        connect: Callable[[], Any],
        *,
        target: str = EMBEDDED,
        readable: Callable[[], list[Path]] = list,
        patience: float = 300.0,
    ) -> None:
        self.files = CourierFiles(data_dir / JOURNAL_DIR, target)
        self.patience = patience
        self._connect = connect
        self._readable = readable
        self._client: Any = None
        self._jobs: dict[str, Any] = {}
        self._settled: set[str] = set()  # delivered or quarantined before
        self._next_scan = 0.0
        self._next_status = 0.0
        self._retry_at = 0.0
        self._backoff = 0.2
        self._trouble = ""
        self._stop = threading.Event()

    def stop(self) -> None:
        """Have `run` return soon."""
        self._stop.set()

    def run(self) -> None:
        """Deliver until no user is left and everything is delivered."""
        alone_since: float | None = None
        closed_dead = False
        while not self._stop.is_set():
            self.step()
            if self.files.users.any_alive():
                alone_since, closed_dead = None, False
            else:
                alone_since = alone_since or time.monotonic()
                alone = time.monotonic() - alone_since
                if alone > 1.0 and not closed_dead:
                    recover(self.files.directory)
                    closed_dead, self._next_scan = True, 0.0
                elif (alone > 2.0 and self.all_delivered()) or alone > self.patience:
                    break
            self._stop.wait(POLL)
        self._write_status("ended")

    def all_delivered(self) -> bool:
        """Tell whether nothing waits."""
        return all(job.idle for job in self._jobs.values())

    def step(self) -> None:
        """Look once at every journal and deliver what is due."""
        now = time.monotonic()
        if now >= self._next_scan:
            self._scan()
            self._next_scan = now + SCAN
        if now >= self._retry_at:
            self._deliver()
        for key in [key for key, job in self._jobs.items() if job.done]:
            self._settled.add(key)
            del self._jobs[key]
        if now >= self._next_status:
            self._write_status("running")
            self._next_status = now + STATUS

    def _scan(self) -> None:
        from nucleation_bluesky.storage.courier_job import Job  # noqa: PLC0415 (see main)

        found = journals(self.files.directory)
        for path in found:
            key = stem(path)
            if key in self._settled:
                if not self.files.quarantined(path) and not self.files.delivered(path):
                    self._settled.discard(key)  # someone asked for another try
                continue
            if key in self._jobs:
                self._jobs[key].path = path
            elif self.files.delivered(path) or self.files.quarantined(path):
                self._settled.add(key)
            else:
                try:
                    self._jobs[key] = Job(path, self.files, self._readable())
                except FileNotFoundError:
                    continue  # closed (renamed) just now: the next scan finds it
        present = {stem(path) for path in found}
        for key in [key for key in self._jobs if key not in present]:
            self._jobs.pop(key).close()

    def _deliver(self) -> None:
        for job in list(self._jobs.values()):
            try:
                job.step(self._get_client)
            except Exception as error:  # noqa: BLE001 (any trouble with the server is retried)
                self._client = None
                self._trouble = f"{type(error).__name__}: {error}"
                self._retry_at = time.monotonic() + self._backoff
                self._backoff = min(MAX_BACKOFF, 2 * self._backoff)
                logger.warning("the Tiled server: %s; trying again", self._trouble)
                return
        if self._jobs:
            self._backoff, self._trouble = 0.2, ""

    def _get_client(self) -> Any:
        if self._client is None:
            self._client = self._connect()
        return self._client

    def _write_status(self, state: str) -> None:
        waiting = {key: job.error for key, job in self._jobs.items() if not job.idle or job.error}
        try:
            self.files.write_status({"state": state, "waiting": waiting, "server": self._trouble})
        except OSError as error:  # a full disk must not end the deliveries
            logger.warning("cannot write the status file: %s", error)


def _embedded(data_dir: Path) -> Callable[[], Any]:
    from nucleation_bluesky.storage.server import connect, ensure_server  # noqa: PLC0415

    def connection() -> Any:
        client = connect(ensure_server(data_dir), timeout=REQUEST)
        return client.include_data_sources()

    return connection


def _external(uri: str, container: str) -> Callable[[], Any]:
    from nucleation_bluesky.storage.server import ServerInfo, connect  # noqa: PLC0415

    info = ServerInfo(uri, os.environ[KEY_VARIABLE])

    def connection() -> Any:
        client = connect(info, timeout=REQUEST).include_data_sources()
        return client[container] if container else client

    return connection


def _wait_for_turn(files: CourierFiles, session: int) -> bool:
    """Wait until no other courier works here; False when no user is left to work for.

    Who still waits when the session that started it (a process id, 0 for none) has ended is not
    needed either: another courier is at work, and couriers would pile up behind it.
    """
    fd = os.open(files.lock, os.O_RDWR | os.O_CREAT, 0o600)  # held until this process ends
    pause = threading.Event()
    while not try_lock(fd):
        if (session and os.getppid() != session) or not files.users.any_alive():
            return False
        pause.wait(0.5)
    return True


def main() -> None:
    """Run the courier of a data directory."""
    parser = argparse.ArgumentParser(description="Deliver journals to Tiled.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--uri", default="", help="address of an external Tiled server")
    parser.add_argument("--container", default="", help="its container of runs")
    parser.add_argument("--patience", type=float, default=300.0)
    parser.add_argument("--session", type=int, default=0, help="process that starts it")
    options = parser.parse_args()
    data_dir = options.data.resolve()
    give_way()
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    target = f"{options.uri.rstrip('/')}/{options.container}" if options.uri else EMBEDDED
    files = CourierFiles(data_dir / JOURNAL_DIR, target)
    # one try per request: the courier itself decides when to try again. Read by tiled on import,
    # which is also why everything that imports it is imported late.
    os.environ["TILED_RETRY_ATTEMPTS"] = "1"
    os.environ["TILED_RETRY_TIMEOUT"] = str(REQUEST)
    if not _wait_for_turn(files, options.session):
        return

    def readable() -> list[Path]:
        state = None if options.uri else ServerFiles(data_dir).state()
        return [Path(path) for path in state.readable] if state else []

    connection = _external(options.uri, options.container) if options.uri else _embedded(data_dir)
    importlib.import_module(
        "nucleation_bluesky.storage.courier_job"
    )  # takes seconds: now, not when the first run waits
    Courier(data_dir, connection, target=target, readable=readable, patience=options.patience).run()


if __name__ == "__main__":
    main()
