"""Software ramps of the virtual AFM: a plan steps the bias, the instrument lives on meanwhile.

A plan in the loop takes wall time: while a software ramp is under way the instrument lives through
real time at any speed of its clock, so that the overshoot is honest. Only ``dwell`` (for tests)
replaces the wall time between calls by a fixed instrument time.
"""

import asyncio
import math
import time

from nucleation_bluesky.contract.enums import SafeState
from nucleation_bluesky.iocs.backend import Snapshot
from nucleation_bluesky.iocs.backends.virtual_clock import VirtualClock
from nucleation_bluesky.iocs.backends.virtual_safe_state import add_safe_state
from nucleation_bluesky.worlds.afm import AfmWorld
from nucleation_bluesky.worlds.afm.path import BiasPath

_MAX_BLOCK = 2**17


class SteppedRamp:
    """One software ramp, from its first step to its safe state.

    Parameters
    ----------
    world : AfmWorld
        Sample and instrument.
    clock : VirtualClock
        Instrument time.
    begin : float
        Bias before the first step, V.
    dwell : float or None
        Instrument time between calls, s; None for the wall time that passed.
    """

    def __init__(
        self, world: AfmWorld, clock: VirtualClock, begin: float, dwell: float | None
    ) -> None:
        self._world, self._clock, self._dwell = world, clock, dwell
        self._rate = world.parameters.software_rate
        path = BiasPath(initial=begin)
        path.add_until(1 / self._rate, begin)
        self._exposure = world.begin(path, self._rate, clock.now)
        self._exposure.recorder.extend(self._exposure.signals, 2)
        self._exposure.rebase()
        self._zero = clock.now
        self._wall = time.monotonic()
        self._count = 2  # samples so far
        self._forget()

    def _forget(self) -> None:
        """Start the sums anew: they run since the last change of bias."""
        self._n, self._current, self._height, self._saturated = 0, 0.0, 0.0, False

    async def set_bias(self, bias: float) -> None:
        """Step the bias; returns when the output has settled."""
        self._live(self._elapsed())
        p, path = self._world.parameters, self._exposure.path
        slew = abs(bias - path.bias) / p.bias_slew
        path.add(slew, bias)
        settled = math.ceil((slew + p.software_settle) * self._rate) or 1
        self._live(settled)
        self._forget()
        if self._dwell is None:
            await asyncio.sleep(settled / self._rate)
        self._wall = time.monotonic()

    def measure(self) -> Snapshot:
        """Average since the last change of bias."""
        self._live(self._elapsed())
        n = self._n
        return Snapshot(
            self._exposure.path.bias, self._current / n, self._height / n, self._saturated
        )

    def end(self, safe: tuple[SafeState, float]) -> None:
        """End the ramp now, with the way to the safe state."""
        self._live(self._elapsed())
        exposure = self._exposure
        end = exposure.path.end
        parameters = self._world.parameters
        add_safe_state(exposure.path, parameters, safe, parameters.dwell)
        exposure.replan()
        self._world.finish(exposure, self._zero, "software", -1, end, self._count - 1)
        self._clock.advance(self._zero + exposure.path.end)

    def _elapsed(self) -> int:
        """Count the samples since the last call: at least one."""
        now = time.monotonic()
        passed, self._wall = now - self._wall, now
        passed = passed if self._dwell is None else self._dwell
        return max(1, round(passed * self._rate))

    def _live(self, samples: int) -> None:
        """Let the instrument live through ``samples`` of its internal sampling intervals."""
        exposure, rate = self._exposure, self._rate
        while samples > 0:
            n = min(samples, _MAX_BLOCK)
            begin, end = self._count, self._count + n
            path = exposure.path
            path.add_until((end - 1) / rate, path.bias)
            exposure.replan()
            exposure.recorder.extend(exposure.signals, end)
            current, height, saturated = exposure.recorder.samples(begin, end)
            self._n, self._count = self._n + n, end
            self._current += float(current.sum())
            self._height += float(height.sum())
            self._saturated |= bool(saturated.any())
            exposure.rebase()
            samples -= n
        self._clock.advance(self._zero + (self._count - 1) / rate)
