"""Watchdog in wall time: heartbeat, expiry of ARM, and suspension of our own process."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

PERIOD = 0.02
STALL_TIME = 0.5
LATE = 0.06  # a tick this late gives queued beats one more period to be read
QUIET_TIME = 0.1  # commands that arrive this soon after a stall were queued before it
SCHEDULER = Path("/proc/thread-self/schedstat")  # Linux: ns on a processor, ns waiting for one


def busy_time() -> float:
    """Time in which this thread ran or was ready to run, s.

    A thread that waits for a processor on a busy machine is slow, not suspended.
    """
    try:
        waited = int(SCHEDULER.read_bytes().split()[1])
    except (OSError, IndexError, ValueError):
        waited = 0
    return time.thread_time() + waited * 1e-9


class Watchdog:
    """Calls ``check(now)`` every 20 ms and notices that the process was suspended.

    Time in which the process computed, or was ready to, does not count as suspended: a fast
    virtual instrument may occupy the event loop, a busy machine may keep it waiting, but a
    stopped process uses no processor time and asks for none.

    Parameters
    ----------
    check : coroutine function (now)
        Run at each tick.
    stalled : coroutine function (seconds)
        Run once after a suspension, before any command.
    clock, busy : callables, optional
        Monotonic time, and time in which this thread ran or could have run, s.
    """

    def __init__(
        self,
        check: Callable[[float], Awaitable[None]],
        stalled: Callable[[float], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
        busy: Callable[[], float] = busy_time,
    ):
        self._check, self._stalled = check, stalled
        self._clock, self._busy = clock, busy
        self._tick, self._tick_busy = clock(), busy()
        self._quiet_until = float("-inf")

    async def notice_stall(self) -> bool:
        """Handle a suspension since the last tick; True while queued commands are void."""
        now, busy = self._clock(), self._busy()
        idle = (now - self._tick) - (busy - self._tick_busy)
        self._tick, self._tick_busy = now, busy
        if idle > STALL_TIME:
            self._quiet_until = now + QUIET_TIME
            await self._stalled(idle)
        return now < self._quiet_until

    async def run(self) -> None:
        """Tick until cancelled."""
        self._tick, self._tick_busy = self._clock(), self._busy()
        while True:
            before = self._clock()
            await asyncio.sleep(PERIOD)
            await self.notice_stall()
            if self._clock() - before > LATE:
                await asyncio.sleep(PERIOD)
                await self.notice_stall()
            await self._check(self._clock())
