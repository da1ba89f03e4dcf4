"""Starting the courier from a session, and keeping it alive."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from nucleation_bluesky.callbacks.journal_reader import journals
from nucleation_bluesky.storage.courier import KEY_VARIABLE
from nucleation_bluesky.storage.courier_files import EMBEDDED, JOURNAL_DIR, CourierFiles
from nucleation_bluesky.storage.server import ServerInfo, is_embedded

logger = logging.getLogger(__name__)
WATCH = 1.0  # s between looks at the courier process, and before it is started again
LONGEST = 30.0  # s before it is started again, of one that ends again and again
SOUND = 60.0  # s: one that has run for so long ended for a reason of its own


def next_pause(pause: float, lived: float) -> float:
    """Return how long to wait before the next start, after a courier that lived ``lived`` s."""
    return WATCH if lived > SOUND else min(2 * pause, LONGEST)


class CourierProcess:
    """A session's hold on its courier.

    The courier ends by itself when no session is left and everything is delivered; a courier
    that died in between is started again by a small thread, at once for the first time.
    """

    def __init__(
        self,
        data_dir: Path,
        external: ServerInfo | None = None,
        container: str = "",
        patience: float = 300.0,
    ) -> None:
        self.data_dir = data_dir
        self._external = external
        self._command = [sys.executable, "-m", "nucleation_bluesky.storage.courier"]
        self._command += ["--data", str(data_dir), "--patience", str(patience)]
        self._command += ["--session", str(os.getpid())]
        target = EMBEDDED
        if external is not None:
            self._command += ["--uri", external.uri, "--container", container]
            target = f"{external.uri.rstrip('/')}/{container}"
        self.files = CourierFiles(data_dir / JOURNAL_DIR, target)
        self.files.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.files.users.register()
        self._stopping = threading.Event()
        self.process = self._spawn()
        self._watcher = threading.Thread(target=self._watch, name="courier-watch", daemon=True)
        self._watcher.start()

    @property
    def log(self) -> Path:
        """Log file of the courier."""
        return self.files.directory / ".courier.log"

    def _spawn(self) -> "subprocess.Popen[bytes]":
        environment = dict(os.environ)
        if self._external is not None:
            environment[KEY_VARIABLE] = self._external.api_key
        fd = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return subprocess.Popen(  # noqa: S603 (our own module)
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=fd,
                stderr=fd,
                env=environment,
                start_new_session=True,  # Ctrl-C in a terminal must not stop it
            )
        finally:
            os.close(fd)

    def _watch(self) -> None:
        """Start a courier that ended again, ever more seldom while it keeps ending."""
        pause, told = WATCH / 2, False
        started = time.monotonic()
        while not self._stopping.wait(WATCH):
            if (code := self.process.poll()) is None:
                told = told and time.monotonic() - started < SOUND
                continue
            pause = next_pause(pause, time.monotonic() - started)
            if not told:
                told = True
                logger.warning(
                    "the courier ended with code %s and is started again; what it said is in %s",
                    code,
                    self.log,
                )
            if self._stopping.wait(pause - WATCH):
                return
            started = time.monotonic()
            try:
                self.process = self._spawn()
            except OSError as error:  # no memory, no file handle: it may be there the next time
                logger.warning("the courier cannot be started: %s", error)

    def undelivered(self) -> list[Path]:
        """Journals not yet delivered, quarantined ones included."""
        return [p for p in journals(self.files.directory) if not self.files.delivered(p)]

    def wait_delivered(self, runs: Iterable[str] | None = None, timeout: float = 30.0) -> bool:
        """Wait until runs are in Tiled, verified.

        Parameters
        ----------
        runs : iterable of str, optional
            uids; all journals if not given.
        timeout : float
            Longest wait, s.

        Returns
        -------
        bool
            False if something is still on its way, or quarantined.
        """
        wanted = None if runs is None else set(runs)
        deadline = time.monotonic() + timeout
        pause = threading.Event()
        while True:
            waiting = [
                path
                for path in self.undelivered()
                if wanted is None or any(uid in path.name for uid in wanted)
            ]
            if not waiting:
                return True
            stuck = all(self.files.quarantined(path) for path in waiting)
            if stuck or time.monotonic() > deadline:
                return False
            pause.wait(0.1)

    def release(self) -> None:
        """End this session's use; the courier finishes its deliveries and ends by itself."""
        self._stopping.set()
        self._watcher.join(timeout=2 * WATCH)
        self.files.users.unregister()

    def stop(self, timeout: float = 10.0) -> None:
        """End the courier now; what is not delivered is delivered by the next one."""
        self.release()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is not None:
                return
            self.process.send_signal(number)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                continue


def start(
    data_dir: Path | str,
    server: ServerInfo | None = None,
    *,
    container: str = "",
    patience: float = 300.0,
) -> CourierProcess:
    """Start a courier for the journals of a data directory.

    Parameters
    ----------
    data_dir : Path
        Data directory.
    server : ServerInfo, optional
        Tiled server. The embedded one of the data directory if not given, or if it is that one:
        the courier starts it on demand, and again should it die.
    container : str
        Container of runs on the external server.
    patience : float
        After the last session ended the courier tries for so long to deliver what is left, s.
    """
    data = Path(data_dir).resolve()
    embedded = server is None or is_embedded(data, server)
    return CourierProcess(data, None if embedded else server, container, patience)
