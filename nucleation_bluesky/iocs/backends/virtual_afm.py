"""Backend of the virtual AFM: the world of :mod:`nucleation_bluesky.worlds.afm` in real time.

The virtual controller looks at every sample: whenever the front end finds a trip in a block, the
abort takes effect ``latency`` after the tripping sample in the instrument's time, whatever was
computed ahead. Samples and physics are therefore the same at any speed and block size.

A software ramp has a plan in its loop, and the plan's time is wall time: while one is under way
the instrument lives through real time at any ``speed``, so that its overshoot is honest. Only
``software_dwell`` (for tests) replaces the wall time between calls by a fixed instrument time.
"""

import asyncio
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nucleation_bluesky.contract.enums import AbortLocation, AfterTrip, SafeState
from nucleation_bluesky.contract.ramp import RampSpec
from nucleation_bluesky.iocs.backend import Aborted, AfmBackend, Block, Capabilities, Snapshot
from nucleation_bluesky.iocs.backends.virtual_clock import Mark, VirtualClock
from nucleation_bluesky.worlds.afm import AfmWorld, AfmWorldParameters
from nucleation_bluesky.worlds.afm.exposure import Exposure
from nucleation_bluesky.worlds.afm.path import BiasPath
from nucleation_bluesky.worlds.afm.truth import TruthWriter

BLOCK_TIME = 0.02  # wall time per block, s
SAMPLE_RATES = (200.0, 50e3)
FILTERS = (30.0, 50e3)  # Hz
GAINS = (1e7, 1e12)  # V/A, in decades
_MAX_BLOCK = 2**17
_AFTER_NUCLEATION = 64  # samples computed beyond a nucleation before the front end looks


@dataclass
class _Ramp:
    """A controller-run ramp in progress."""

    exposure: Exposure
    spec: RampSpec
    zero: float  # instrument time of sample 0
    mark: Mark
    next_index: int = 0
    trip_index: int = -1
    end: float = math.nan  # s after sample 0
    safe: tuple[SafeState, float] | None = None  # safe state already part of the path

    @property
    def interval(self) -> float:
        return 1.0 / self.spec.sample_rate


@dataclass
class _Stepped:
    """A software ramp in progress; the sums run since the last change of bias."""

    exposure: Exposure
    zero: float
    wall: float
    count: int = 0  # samples so far
    n: int = 0
    current: float = 0.0
    height: float = 0.0
    saturated: bool = False


class VirtualController:
    """Bias, current and height of the virtual AFM (:class:`ControllerBackend`).

    Parameters
    ----------
    world : AfmWorld
        Sample and instrument.
    clock : VirtualClock
        Instrument time.
    block_time : float
        Wall time covered by a block, s; without speed limit blocks are as long as possible.
    software_dwell : float or None
        Instrument time between calls in a software ramp, s; None for the wall time that passed.
    """

    def __init__(
        self,
        world: AfmWorld,
        clock: VirtualClock,
        *,
        block_time: float = BLOCK_TIME,
        software_dwell: float | None = None,
    ) -> None:
        self._world, self._clock = world, clock
        self._block_time, self._software_dwell = block_time, software_dwell
        self._ramp: _Ramp | None = None
        self._stepped: _Stepped | None = None
        self._safe = (SafeState.OPEN_CIRCUIT, 0.0)
        self.settle = 0.0
        p = world.parameters
        self.capabilities = Capabilities(
            bias_range=(-p.bias_limit, p.bias_limit),
            sample_rate_range=SAMPLE_RATES,
            current_range=p.adc_full_scale / p.amplifier_gain,
            current_bandwidth=1 / (2 * math.pi * p.amplifier_tau),
            height_bandwidth=1 / (2 * math.pi * p.height_tau),
            abort=AbortLocation.CONTROLLER,
            latency=p.latency,
            safe_states=frozenset(SafeState),
        )

    # ---- safe state ----------------------------------------------------------------------
    async def safe_state(self, policy: SafeState, bias: float) -> None:
        """Bring the safe state now; a ramp in progress ends at the present instrument time."""
        self._check_bias(bias)
        self._safe = (policy, bias)
        if self._stepped is not None:
            self._end_stepped(self._stepped)
        if self._ramp is not None:
            self._end_ramp(self._ramp)

    def _append_safe(self, path: BiasPath, lasting: float) -> None:
        policy, target = self._safe
        p, bias = self._world.parameters, path.bias
        if policy is SafeState.RETRACT_THEN_ZERO:
            path.add(p.retract_time, bias)
        if policy in {SafeState.HOLD, SafeState.ZERO}:
            target = target if policy is SafeState.HOLD else 0.0
            path.add(abs(bias - target) / p.bias_slew, target)
            path.add(lasting, target)
        else:
            path.add(lasting, bias, driven=False)

    def _end_ramp(self, ramp: _Ramp) -> None:
        self._ramp = None
        exposure, path = ramp.exposure, ramp.exposure.path
        if math.isnan(ramp.end):
            reached = max(ramp.next_index - 1, 0) * ramp.interval
            if ramp.next_index >= ramp.spec.n_samples:
                reached = ramp.spec.duration
            elif not self._clock.unlimited:
                reached = max(reached, self._clock.paced(ramp.mark) - ramp.zero)
            ramp.end = min(reached, ramp.spec.duration)
            path.cut(ramp.end)
        if ramp.safe != self._safe:
            self._append_safe(path, self._world.parameters.dwell)
            exposure.replan()
        self._world.finish(
            exposure,
            ramp.zero,
            "ramp",
            ramp.trip_index,
            ramp.end,
            ramp.next_index - 1 if ramp.trip_index < 0 else ramp.trip_index + ramp.spec.n_post,
        )
        self._clock.advance(ramp.zero + path.end)

    def _check_bias(self, *values: float) -> None:
        low, high = self.capabilities.bias_range
        for value in values:
            if not low <= value <= high:
                raise ValueError(
                    f"a bias of {value:g} V is outside the range of {low:g} to {high:g} V"
                )

    def _require_idle(self, what: str) -> None:
        if self._ramp is not None or self._stepped is not None:
            raise RuntimeError(f"{what} while an exposure is under way: bring the safe state first")

    # ---- ramps ---------------------------------------------------------------------------
    async def start_ramp(self, spec: RampSpec) -> None:
        """Start a ramp; physics begins with the settling at the start bias."""
        self._require_idle("a ramp was started")
        self._check_bias(spec.start, *spec.vertices)
        low, high = self.capabilities.sample_rate_range
        if not low <= spec.sample_rate <= high:
            raise ValueError(
                f"a sample rate of {spec.sample_rate:g} Hz is outside {low:g} to {high:g} Hz"
            )
        wait = self._world.parameters.start_settle
        path = BiasPath(start=-wait, initial=spec.start)
        path.add_until(0.0, spec.start)
        for vertex, end in zip(spec.vertices, spec.segment_ends, strict=True):
            path.add_until(float(end), vertex)
        mark = self._clock.mark()
        exposure = self._world.begin(path, spec.sample_rate, self._clock.now, spec.n_samples)
        self._ramp = _Ramp(exposure, spec, self._clock.now + wait, mark)

    def _block_end(self, ramp: _Ramp) -> int:
        """Return the number of the sample after the next block."""
        begin, total = ramp.next_index, ramp.spec.n_samples
        if not self._clock.unlimited:
            n = round(self._block_time * self._clock.speed * ramp.spec.sample_rate)
            return min(begin + min(max(n, 1), _MAX_BLOCK), total)
        end = min(begin + _MAX_BLOCK, total)
        first = ramp.exposure.signals.first
        if math.isfinite(first):  # most ramps trip soon after: do not compute far beyond
            soon = math.ceil(first * ramp.spec.sample_rate) + _AFTER_NUCLEATION
            end = min(end, max(soon, begin + 4 * _AFTER_NUCLEATION))
        return end

    async def next_block(self) -> Block | None:
        """Return the next samples when their time has come."""
        ramp = self._ramp
        if ramp is None or not math.isnan(ramp.end) or ramp.next_index >= ramp.spec.n_samples:
            return None
        begin, end = ramp.next_index, self._block_end(ramp)
        # Instrument time advances when the ramp has ended: an abort may lie before this.
        await self._clock.wait(ramp.mark, ramp.zero + (end - 1) * ramp.interval)
        if ramp is not self._ramp or not math.isnan(ramp.end):
            return None
        exposure = ramp.exposure
        exposure.recorder.extend(exposure.signals, end)
        ramp.next_index = end
        return self._block(exposure, begin, end)

    @staticmethod
    def _block(exposure: Exposure, begin: int, end: int) -> Block:
        current, height, saturated = exposure.recorder.samples(begin, end)
        return Block(begin, exposure.bias(begin, end), current, height, saturated)

    async def abort(self, trip_index: int, spec: RampSpec) -> Aborted:
        """Abort ``latency`` after sample ``trip_index``, as if found when it was taken.

        The samples after the action are those of the safe state last asked for. The net charge
        is that of the controller's own integrator: the tail of the amplifier's pole included.
        """
        ramp = self._ramp
        if ramp is None or not math.isnan(ramp.end):
            empty = np.empty(0)
            return Aborted(Block(trip_index + 1, empty, empty, empty), 0.0, 0.0)
        if not 0 <= trip_index < ramp.next_index:
            raise ValueError(f"sample {trip_index} has not been taken: it cannot have tripped")
        p, exposure = self._world.parameters, ramp.exposure
        path, recorder = exposure.path, exposure.recorder
        trip = trip_index * ramp.interval
        ramp.trip_index, ramp.end = trip_index, trip + p.latency
        path.cut(ramp.end)
        path.add_until(ramp.end, path.bias)
        if spec.after_trip is AfterTrip.HOLD:
            path.add(spec.after_time, path.bias)
        elif spec.after_trip is AfterTrip.REVERSE_SWEEP:
            path.add(abs(path.bias - spec.start) / spec.rates[-1], spec.start)
        safe_at = path.end
        last = (trip_index + spec.n_post) * ramp.interval
        self._append_safe(path, max(p.dwell, last - safe_at + ramp.interval))
        ramp.safe = self._safe
        exposure.replan()
        recorder.rewind(trip_index + 1)
        recorder.extend(exposure.signals, trip_index + 1 + spec.n_post)
        post = self._block(exposure, trip_index + 1, trip_index + 1 + spec.n_post)
        charge = recorder.charge_after(exposure.signals, trip_index, safe_at)
        await self._clock.wait(ramp.mark, ramp.zero + max(safe_at, last))
        return Aborted(post, p.latency, charge)

    # ---- software ramps ------------------------------------------------------------------
    async def set_bias(self, bias: float) -> None:
        """Step the bias of a software ramp (the first step opens the exposure)."""
        self._check_bias(bias)
        if self._ramp is not None:
            raise RuntimeError("the bias was set while a ramp is under way: end the ramp first")
        run = self._stepped or self._begin_stepped()
        self._live(run, self._elapsed(run))
        p, path = self._world.parameters, run.exposure.path
        slew = abs(bias - path.bias) / p.bias_slew
        path.add(slew, bias)
        settled = math.ceil((slew + p.software_settle) * p.software_rate) or 1
        self._live(run, settled)
        run.n, run.current, run.height, run.saturated = 0, 0.0, 0.0, False
        if self._software_dwell is None:
            await asyncio.sleep(settled / p.software_rate)
        run.wall = time.monotonic()

    async def measure(self) -> Snapshot:
        """Average since the last change of bias; away from an exposure, of the idle inputs."""
        run = self._stepped
        if run is None:
            policy, bias = self._safe
            bias = bias if policy is SafeState.HOLD else 0.0
            driven = policy in {SafeState.HOLD, SafeState.ZERO}
            return Snapshot(bias, *self._world.idle_reading(bias, driven))
        self._live(run, self._elapsed(run))
        bias = run.exposure.path.bias
        return Snapshot(bias, run.current / run.n, run.height / run.n, run.saturated)

    def _begin_stepped(self) -> _Stepped:
        policy, bias = self._safe
        begin = bias if policy is SafeState.HOLD else 0.0
        rate = self._world.parameters.software_rate
        path = BiasPath(initial=begin)
        path.add_until(1 / rate, begin)
        exposure = self._world.begin(path, rate, self._clock.now)
        exposure.recorder.extend(exposure.signals, 2)
        exposure.rebase()
        self._stepped = _Stepped(exposure, self._clock.now, time.monotonic(), count=2)
        return self._stepped

    def _elapsed(self, run: _Stepped) -> int:
        """Count the samples since the last call: at least one."""
        now = time.monotonic()
        passed, run.wall = now - run.wall, now
        passed = passed if self._software_dwell is None else self._software_dwell
        return max(1, round(passed * self._world.parameters.software_rate))

    def _live(self, run: _Stepped, samples: int) -> None:
        """Let the instrument live through ``samples`` of its internal sampling intervals."""
        exposure, rate = run.exposure, self._world.parameters.software_rate
        while samples > 0:
            n = min(samples, _MAX_BLOCK)
            begin, end = run.count, run.count + n
            path = exposure.path
            path.add_until((end - 1) / rate, path.bias)
            exposure.replan()
            exposure.recorder.extend(exposure.signals, end)
            current, height, saturated = exposure.recorder.samples(begin, end)
            run.n, run.count = run.n + n, end
            run.current += float(current.sum())
            run.height += float(height.sum())
            run.saturated |= bool(saturated.any())
            exposure.rebase()
            samples -= n
        self._clock.advance(run.zero + (run.count - 1) / rate)

    def _end_stepped(self, run: _Stepped) -> None:
        self._live(run, self._elapsed(run))
        self._stepped = None
        exposure = run.exposure
        end = exposure.path.end
        self._append_safe(exposure.path, self._world.parameters.dwell)
        exposure.replan()
        self._world.finish(exposure, run.zero, "software", -1, end, run.count - 1)
        self._clock.advance(run.zero + exposure.path.end)

    # ---- settings ------------------------------------------------------------------------
    async def set_parameter(self, name: str, value: float) -> float:
        """Apply ``AMP:GAIN`` (V/A), ``AMP:FILTER`` (Hz), ``Z:FEEDBACK`` or ``STAGE:SETTLE`` (s)."""
        self._require_idle(f"{name} was set")
        if not math.isfinite(value):
            raise ValueError("the value must be a finite number")
        full_scale = self._world.parameters.adc_full_scale
        if name == "AMP:GAIN":
            if not GAINS[0] <= value <= GAINS[1]:
                raise ValueError(f"gains go from {GAINS[0]:g} to {GAINS[1]:g} V/A in decades")
            value = float(f"1e{round(math.log10(value))}")
            self._world.change(gain=value)
            self.capabilities = replace(self.capabilities, current_range=full_scale / value)
        elif name == "AMP:FILTER":
            if not FILTERS[0] <= value <= FILTERS[1]:
                raise ValueError(f"the filter can be set from {FILTERS[0]:g} to {FILTERS[1]:g} Hz")
            self._world.change(tau=1 / (2 * math.pi * value))
            self.capabilities = replace(self.capabilities, current_bandwidth=value)
        elif name == "Z:FEEDBACK":
            value = float(value != 0)
            self._world.change(feedback=bool(value))
        elif name == "STAGE:SETTLE":
            if value < 0:
                raise ValueError("a settling time must not be negative")
            self.settle = value
        else:
            raise ValueError(f"this instrument has no setting {name}")
        return value


class VirtualStage:
    """XY stage of the virtual AFM (:class:`StageBackend`); axes move one after the other."""

    def __init__(self, world: AfmWorld, clock: VirtualClock) -> None:
        self._world, self._clock = world, clock
        reach = world.parameters.stage_range
        self.limits = {"x": (-reach, reach), "y": (-reach, reach)}
        self._lock = asyncio.Lock()
        self._stop: asyncio.Event | None = None

    async def move(self, axis: str, target: float, settle: float) -> float:
        """Move, settle, return the measured position, m."""
        low, high = self.limits[axis]
        if not low <= target <= high:
            raise ValueError(f"{axis} = {target:g} m is outside the stage ({low:g} to {high:g} m)")
        async with self._lock:
            clock, stage = self._clock, self._world.stage
            mark = clock.mark()
            arrival = stage.axes[axis].move(target, clock.now)
            end = max(arrival + settle, stage.axes[axis].settled())
            stopped = self._stop = asyncio.Event()
            try:
                if clock.unlimited:
                    await asyncio.sleep(0)
                else:
                    async with asyncio.timeout(clock.delay(mark, end)):
                        await stopped.wait()
            except TimeoutError:
                pass
            finally:
                self._stop = None
            if stopped.is_set():
                end = min(end, clock.paced(mark))
                stage.axes[axis].stop(end)
            clock.advance(end)
            return stage.arrival_reading(axis, end)

    async def position(self, axis: str) -> float:
        """Measured position, m."""
        return self._world.stage.reading(axis, self._clock.now)

    async def stop(self) -> None:
        """Stop the axis that moves."""
        if self._stop is not None:
            self._stop.set()


class VirtualImager:
    """Topography imaging of the virtual AFM (:class:`ImagerBackend`)."""

    def __init__(self, world: AfmWorld, clock: VirtualClock) -> None:
        self._world, self._clock = world, clock

    async def image(self, x: float, y: float, size: float, pixels: int) -> np.ndarray:
        """Take an image; its lines take instrument time."""
        clock = self._clock
        mark, begin = clock.mark(), clock.now
        image = await asyncio.to_thread(self._world.image, (x, y), size, pixels, begin)
        duration = pixels * self._world.parameters.image_line_time
        await clock.wait(mark, begin + duration)
        clock.advance(begin + duration)
        return image


def make_virtual_afm(
    seed: int = 0,
    speed: float = 1.0,
    truth: Path | None = None,
    *,
    block_time: float = BLOCK_TIME,
    software_dwell: float | None = None,
    parameters: AfmWorldParameters | None = None,
    **overrides: Any,
) -> AfmBackend:
    """Virtual AFM as a backend.

    Parameters
    ----------
    seed : int
        Of sample and chance.
    speed : float
        Instrument seconds per wall second; ``inf`` for as fast as it can.
    truth : Path or None
        File for the ground truth (JSON lines), with the grain mask next to it.
    block_time, software_dwell : float
        See :class:`VirtualController`.
    parameters : AfmWorldParameters or None
        The world; defaults where None.
    **overrides
        Fields of :class:`AfmWorldParameters` to change.

    Raises
    ------
    pydantic.ValidationError
        If an override is unknown or out of range.
    """
    base = parameters.model_dump() if parameters is not None else {}
    world_parameters = AfmWorldParameters(**(base | overrides))
    writer = TruthWriter(truth, seed, world_parameters) if truth is not None else None
    world = AfmWorld(seed, world_parameters, writer)
    clock = VirtualClock(speed)
    return AfmBackend(
        VirtualController(world, clock, block_time=block_time, software_dwell=software_dwell),
        VirtualStage(world, clock),
        VirtualImager(world, clock),
    )
