"""One thread per device for what must not block the RunEngine or a Channel Access callback."""

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from ophyd.status import StatusBase

S = TypeVar("S", bound=StatusBase)


class Worker:
    """Runs jobs one after another on a daemon thread that starts with the first job.

    Parameters
    ----------
    name : str
        Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[tuple[Callable[[], None], StatusBase]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._never = threading.Event()

    def pause(self, seconds: float) -> None:
        """Wait between two looks at something that must change (s)."""
        self._never.wait(seconds)

    def submit(self, status: S, job: Callable[[], None]) -> S:
        """Run ``job`` and mark ``status`` with its outcome; return the status."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        self._jobs.put((job, status))
        return status

    def _run(self) -> None:
        while True:
            job, status = self._jobs.get()
            try:
                job()
            except Exception as exc:  # noqa: BLE001 - whatever it is, it belongs to the Status
                status.set_exception(exc)
            else:
                status.set_finished()
            # an idle thread must not keep devices alive
            del job, status
