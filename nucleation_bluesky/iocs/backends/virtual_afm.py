"""Backend of the virtual AFM: the world of :mod:`nucleation_bluesky.worlds.afm` in real time.

The virtual controller looks at every sample: whenever the front end finds a trip in a block, the
abort takes effect ``latency`` after the tripping sample in the instrument's time, whatever was
computed ahead. Samples and physics are therefore the same at any speed and block size.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nucleation_bluesky.contract.enums import AbortLocation, AfterTrip, SafeState
from nucleation_bluesky.contract.ramp import RampSpec
from nucleation_bluesky.iocs.backend import Aborted, AfmBackend, Block, Capabilities, Snapshot
from nucleation_bluesky.iocs.backends.virtual_clock import Mark, VirtualClock
from nucleation_bluesky.iocs.backends.virtual_imager import VirtualImager
from nucleation_bluesky.iocs.backends.virtual_safe_state import add_safe_state
from nucleation_bluesky.iocs.backends.virtual_stage import VirtualStage
from nucleation_bluesky.iocs.backends.virtual_stepped import SteppedRamp
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
        self._stepped: SteppedRamp | None = None
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
            stepped, self._stepped = self._stepped, None
            stepped.end(self._safe)
        if self._ramp is not None:
            self._end_ramp(self._ramp)

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
            parameters = self._world.parameters
            add_safe_state(path, parameters, self._safe, parameters.dwell)
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
        add_safe_state(path, p, self._safe, max(p.dwell, last - safe_at + ramp.interval))
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
        if self._stepped is None:
            policy, held = self._safe
            begin = held if policy is SafeState.HOLD else 0.0
            self._stepped = SteppedRamp(self._world, self._clock, begin, self._software_dwell)
        await self._stepped.set_bias(bias)

    async def measure(self) -> Snapshot:
        """Average since the last change of bias; away from an exposure, of the idle inputs."""
        if self._stepped is not None:
            return self._stepped.measure()
        policy, bias = self._safe
        bias = bias if policy is SafeState.HOLD else 0.0
        driven = policy in {SafeState.HOLD, SafeState.ZERO}
        return Snapshot(bias, *self._world.idle_reading(bias, driven))

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
