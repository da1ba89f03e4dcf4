"""A ramp stepped by the plan, for controllers that cannot abort by themselves.

Read, decide, step: the bias advances in steps that shrink as current or height near compliance
and grow back when they recede. The reaction takes a round trip through the RunEngine instead of
one sample, and the overshoot is larger accordingly; events and analysis are the same.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
from bluesky.protocols import Movable, Readable
from bluesky.utils import Msg, MsgGenerator, plan, short_uid

from nucleation_bluesky.contract.documents import PRIMARY_STREAM
from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.contract.ramp import Compliance, RampSpec, Window
from nucleation_bluesky.plans.decorator import checked_plan
from nucleation_bluesky.plans.protocols import MeasurementLike, SoftwareRampDevice
from nucleation_bluesky.plans.results import RampResult
from nucleation_bluesky.plans.stubs import finished, record

COMMAND_TIMEOUT = 5.0  # s, for each step: a controller that is slower than that is not in control
MIN_BACKGROUND = 6  # measurements


@dataclass(frozen=True)
class StepSettings:
    """How a software ramp advances.

    Parameters
    ----------
    min_step, max_step : float
        Bounds of a step, V.
    dwell : float
        Least time at a step before it is measured, s. The steps are spaced so that the ramp's
        rate is not exceeded.
    growth : float
        Largest ratio of a step to the one before.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    min_step: float = 0.5e-3
    max_step: float = 20e-3
    dwell: float = 0.0
    growth: float = 1.5

    def __post_init__(self) -> None:
        if not 0 < self.min_step <= self.max_step or not math.isfinite(self.max_step):
            raise ValueError(
                f"steps need 0 < min_step <= max_step (got {self.min_step:g}, {self.max_step:g} V)"
            )
        if not (math.isfinite(self.dwell) and self.dwell >= 0):
            raise ValueError("dwell must be a time of 0 s or more")
        if not (math.isfinite(self.growth) and self.growth > 1):
            raise ValueError("growth must be greater than 1")


def nearness(value: float, window: Window | None) -> float:
    """How much of a window a value has used up: 0 at zero, 1 at the edge."""
    if window is None:
        return 0.0
    return value / window.high if value >= 0 else value / window.low


@dataclass
class StepDecision:
    """Compliance and step size of a software ramp; pure, one measurement at a time.

    Parameters
    ----------
    limits : Compliance
        Windows, blanking, confirmation and background as for a controller's ramp. The background
        is a constant plus a charging current proportional to the mean slope since the last
        measurement, fitted over ``background_time`` at the start of each segment, during which
        only the raw current is compared with twice the window.
    settings : StepSettings
        Steps.
    """

    limits: Compliance
    settings: StepSettings
    step: float = 0.0
    _segment_start: float | None = None
    _ticks: float = math.nan
    _count: float = math.nan
    _bias: float = math.nan
    _base_height: float = math.nan
    _rows: list[tuple[float, float]] = field(default_factory=list)
    _background: np.ndarray | None = None
    _outside: int = 0

    def new_segment(self) -> None:
        """Begin blanking and background anew: the sweep rate or direction changes."""
        self._segment_start = None
        self._rows.clear()
        self._background = None
        self._outside = 0
        self.step = self.settings.min_step

    def judge(self, sample: MeasurementLike) -> Termination:
        """Take a measurement; NONE to go on, else why to stop."""
        current, height, ticks = sample.current, sample.height, sample.ticks
        broken = self._broken(sample)
        if broken is not Termination.NONE:
            return broken
        elapsed = ticks - self._ticks
        slope = (sample.bias - self._bias) / elapsed if elapsed > 0 else 0.0
        self._count, self._ticks, self._bias = sample.count, ticks, sample.bias
        if math.isnan(self._base_height):
            self._base_height = height
        if self._segment_start is None:
            self._segment_start = ticks
            return Termination.NONE  # the slope of the first measurement is not known
        age = ticks - self._segment_start
        if age < self.limits.blanking:
            return Termination.NONE
        used = self._used(current, height, slope, age - self.limits.blanking)
        self._next_step(used)
        self._outside = self._outside + 1 if used > 1 else 0
        if self._outside >= self.limits.confirm_samples:
            return Termination.STOPPED_BY_PLAN
        return Termination.NONE

    def _broken(self, sample: MeasurementLike) -> Termination:
        if sample.count == self._count:
            return Termination.STALE
        if not all(math.isfinite(v) for v in (sample.current, sample.height, sample.ticks)):
            return Termination.NONFINITE
        return Termination.SATURATED if sample.saturated else Termination.NONE

    def _used(self, current: float, height: float, slope: float, age: float) -> float:
        by_height = nearness(height - self._base_height, self.limits.height)
        if not self.limits.subtract_background:
            return max(nearness(current, self.limits.current), by_height)
        if self._background is None:
            self._rows.append((slope, current))
            if len(self._rows) < MIN_BACKGROUND or age < self.limits.background_time:
                return max(0.5 * nearness(current, self.limits.current), by_height)
            self._fit()
        offset, capacitance = self._background if self._background is not None else (0.0, 0.0)
        net = current - offset - capacitance * slope
        return max(nearness(net, self.limits.current), by_height)

    def _fit(self) -> None:
        slopes, currents = np.array(self._rows).T
        keep = np.abs(currents - np.median(currents)) <= 5 * max(
            float(np.median(np.abs(currents - np.median(currents)))), 1e-15
        )
        spread = float(np.std(slopes[keep]))
        if spread < 0.05 * float(np.max(np.abs(slopes))) or np.count_nonzero(keep) < 4:
            self._background = np.array([float(np.median(currents)), 0.0])
            return
        capacitance, offset = np.polyfit(slopes[keep], currents[keep], 1)
        self._background = np.array([offset, capacitance])

    def _next_step(self, used: float) -> None:
        low, high = self.settings.min_step, self.settings.max_step
        wanted = low + (high - low) * max(0.0, 1.0 - 2.0 * used) ** 2
        self.step = min(max(wanted, low), self.step * self.settings.growth, high)
        self.step = max(self.step, low)


@checked_plan
def stepped_bias_ramp(
    ramp: SoftwareRampDevice,
    spec: RampSpec,
    compliance: Compliance,
    *,
    settings: StepSettings | None = None,
    also: Sequence[Readable] = (),
    stream: str = PRIMARY_STREAM,
) -> MsgGenerator[RampResult]:
    """Ramp the bias step by step from the plan, record the exposure in the open run.

    Parameters
    ----------
    ramp : SoftwareRampDevice
        Its guard claims the site.
    spec : RampSpec
        Start, vertices and rates; the rates are not exceeded. ``sample_rate``, ``after_trip``
        and ``n_post`` do not apply.
    compliance : Compliance
        Windows as for a controller's ramp.
    settings : StepSettings, optional
        Steps.
    also, stream
        As `stubs.bias_ramp`.

    Returns
    -------
    RampResult
        With termination ``stopped_by_plan`` where compliance ended it.

    Raises
    ------
    TypeError
        If the device cannot be stepped.
    TimeoutError
        If the controller does not answer within 5 s.
    """
    if not isinstance(ramp, SoftwareRampDevice):
        raise TypeError(f"{ramp!r} cannot be stepped by a plan; use the controller's own ramp")
    return _stepped(ramp, spec, compliance, settings or StepSettings(), also, stream)


@plan
def _stepped(
    ramp: SoftwareRampDevice,
    spec: RampSpec,
    compliance: Compliance,
    settings: StepSettings,
    also: Sequence[Readable],
    stream: str,
) -> MsgGenerator[RampResult]:
    def kill(_: BaseException) -> MsgGenerator[None]:
        yield Msg("stop", ramp)

    def expose() -> MsgGenerator[RampResult]:
        yield from bpp.contingency_wrapper(
            _climb(ramp, spec, StepDecision(compliance, settings)), except_plan=kill
        )
        return (yield from record(ramp, also=also, stream=stream))

    return (yield from bpp.rewindable_wrapper(expose(), False))


def _climb(ramp: SoftwareRampDevice, spec: RampSpec, decision: StepDecision) -> MsgGenerator[None]:
    group = short_uid("begin")
    status = yield from bps.trigger(ramp.begin, group=group)
    yield from finished(group, [status], timeout=COMMAND_TIMEOUT, what="the software ramp")
    verdict, bias = Termination.NONE, spec.start
    yield from _set(ramp.bias, bias)
    stepped = time.monotonic()
    for vertex, rate in zip(spec.vertices, spec.rates, strict=True):
        decision.new_segment()
        sign = math.copysign(1.0, vertex - bias)
        while bias != vertex and verdict is Termination.NONE:
            step = min(decision.step, abs(vertex - bias))
            # the round trip of the last step counts: the ramp keeps its rate where it can
            due = stepped + max(decision.settings.dwell, step / rate)
            if (pause := due - time.monotonic()) > 0:
                yield Msg("sleep", None, pause)
            stepped = time.monotonic()
            bias = vertex if step == abs(vertex - bias) else bias + sign * step
            yield from _set(ramp.bias, bias)
            measured = ramp.bias.last
            verdict = Termination.STALE if measured is None else decision.judge(measured)
    yield from _set(ramp.end, Termination.COMPLETED if verdict is Termination.NONE else verdict)


def _set(part: Movable, value: Any) -> MsgGenerator[None]:
    group = short_uid("step")
    status = yield Msg("set", part, value, group=group)
    yield from finished(group, [status], timeout=COMMAND_TIMEOUT, what="the software ramp")
