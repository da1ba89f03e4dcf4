"""Work on a backend that is ended from outside at any time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.iocs.driver_threads import Cut, watch_threads

BLOCK_TIMEOUT = 5.0  # s: a backend owes a block at least this often
STOP_TIMEOUT = 0.2  # s: how long a stopped driver call may linger


class Stoppable:
    """One exposure over a backend; whoever stops it brings the safe state himself."""

    def __init__(self) -> None:
        self._stopped: Termination | None = None
        self._task: asyncio.Task[None] | None = None
        self.cut_off: Cut = set()  # a driver's threads that run on after the stop

    def stop(self, termination: Termination) -> None:
        """End it; the first reason counts."""
        if self._stopped is None:
            self._stopped = termination
            if self._task is not None:
                self._task.cancel()

    async def _until_stopped(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do the work, but no longer than until `stop`, even where a driver swallows that."""
        if self._stopped is not None:
            return  # nothing may start after the safe state was ordered
        watch_threads(self.cut_off)
        self._task = asyncio.create_task(work())
        try:
            while not self._task.done():
                await asyncio.wait({self._task}, timeout=STOP_TIMEOUT)
                if self._stopped is not None:
                    break
        finally:
            self._task.cancel()
