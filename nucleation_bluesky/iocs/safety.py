"""Bringing the safe state, again and again until the driver has done it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from nucleation_bluesky.contract.enums import Fault, SafeState
from nucleation_bluesky.iocs.state import ControlState
from nucleation_bluesky.iocs.trace import Trace

logger = logging.getLogger(__name__)
SAFE_TIMEOUT = 2.0
RETRY_PERIOD = 0.2
Bring = Callable[[SafeState, float], Awaitable[None]]


class Safety:
    """Safe state of one controller.

    Parameters
    ----------
    state : ControlState
        Where a failure latches.
    trace : Trace
        Where each attempt is written.
    """

    def __init__(self, state: ControlState, trace: Trace):
        self._state, self._trace = state, trace
        self._lock = asyncio.Lock()
        self._unsafe_since: float | None = None

    @property
    def reached(self) -> bool:
        """Whether the last attempt succeeded."""
        return self._unsafe_since is None

    def retry_due(self, now: float) -> bool:
        """Whether the safe state has to be tried again."""
        return self._unsafe_since is not None and now - self._unsafe_since > RETRY_PERIOD

    async def bring(
        self, bring: Bring, policy: SafeState, bias: float, *, reason: str, now: float
    ) -> bool:
        """Bring the safe state; False if the driver fails (the watchdog then tries again)."""
        async with self._lock:
            try:
                async with asyncio.timeout(SAFE_TIMEOUT):
                    await bring(policy, bias)
            except Exception as error:  # any driver error: keep trying, and say so
                logger.exception("safe state")
                self._unsafe_since = now
                text = f"the safe state failed ({type(error).__name__}: {error}); trying again"
                self._trace("unsafe", reason=reason, text=text)
                self._state.fail(Fault.BACKEND_ERROR, text)
                return False
            self._unsafe_since = None
            self._trace("safe", reason=reason, policy=policy.label, bias=bias)
        return True
