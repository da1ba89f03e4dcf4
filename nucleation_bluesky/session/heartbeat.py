"""The heartbeat: beats on the RunEngine's own event loop, so a blocked loop stops beating."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import CancelledError, Future

logger = logging.getLogger(__name__)


class Heartbeat:
    """Call ``beat`` periodically on an event loop.

    Parameters
    ----------
    loop : asyncio.AbstractEventLoop
        The RunEngine's loop. A callback that blocks it also stops the heartbeat, which is the
        purpose: the controller then brings the safe state.
    beat : callable
        Writes the heartbeat PV without waiting for completion; gets a growing number.
    period : float
        Wall time between beats, s; a quarter of the controller's timeout or less.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, beat: Callable[[int], None], period: float
    ) -> None:
        self._loop = loop
        self._beat = beat
        self._period = period
        self._task: Future[None] | None = None
        self._given_up = False

    def give_up(self) -> None:
        """Beat never again, from any thread: the instrument has another owner.

        A beat is no session's in particular: it would keep up the lease of the other one, which may
        be dead.
        """
        self._given_up = True

    def start(self) -> None:
        """Start beating; does nothing when already started."""
        if self._task is None:
            self._task = asyncio.run_coroutine_threadsafe(self._run(), self._loop)

    def stop(self, timeout: float = 2.0) -> None:
        """Stop beating.

        Parameters
        ----------
        timeout : float
            How long to wait for the last beat, s.
        """
        if self._task is None:
            return
        self._task.cancel()
        try:
            self._task.result(timeout)
        except (CancelledError, TimeoutError):
            logger.debug("heartbeat stopped")
        self._task = None

    async def _run(self) -> None:
        count = 0
        while not self._given_up:
            count += 1
            try:
                self._beat(count)
            except (OSError, RuntimeError, TimeoutError) as error:
                # A lost connection must not end the heartbeat: it returns with the controller.
                logger.warning("heartbeat not delivered: %s", error)
            await asyncio.sleep(self._period)
