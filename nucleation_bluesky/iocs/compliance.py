"""Compliance on every sample, computed in blocks with the result of a sample-by-sample loop.

Rules, in the order in which they bind at one and the same sample:

1. A sample whose bias, current or height is not finite trips (NONFINITE); one that is not fresh
   trips (STALE); one at full scale trips (SATURATED). Blanking and ``confirm_samples`` do not
   apply.
2. In the first ``ceil(blanking * sample_rate)`` samples of each segment nothing is compared.
3. Current is compared as measured, or after subtracting the background (see
   :class:`BackgroundTracker`). Height is compared relative to its baseline: the median of the first
   5 ms of the ramp (3 samples at least); it is not compared before that baseline exists.
4. A channel trips at the sample that completes ``confirm_samples`` consecutive samples outside
   its window; a sample that is not compared breaks the sequence. Current goes before height.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np

from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.contract.program import Limits
from nucleation_bluesky.contract.ramp import Compliance, RampSpec, Window
from nucleation_bluesky.iocs.backend import Block

BASELINE_TIME = 0.005
MIN_BASELINE_SAMPLES = 3
OUTLIER_MADS = 5.0
SLOPE_BUDGET = 0.25  # share of the nearer limit that the slope's uncertainty may reach


@dataclass(frozen=True)
class Trip:
    """Sample ``index`` of the ramp tripped."""

    index: int
    termination: Termination


@dataclass(frozen=True)
class _Span:
    """Sample numbers at which the rules of one segment change."""

    start: int
    compare: int
    provisional: int
    fit: int
    end: int


def baseline_samples(sample_rate: float) -> int:
    """Return the number of samples of the height baseline."""
    return max(MIN_BASELINE_SAMPLES, round(BASELINE_TIME * sample_rate))


def fit_background(
    index: np.ndarray, current: np.ndarray, end: int, budget: float
) -> tuple[float, float, float]:
    """Estimate leakage and C dV/dt from the first samples of a segment.

    Samples further than 5 median absolute deviations from the median-slope line are left out
    (glitches). The slope (leakage: bias is linear in time within a segment) is used only where its
    standard error, extrapolated to the segment's end, stays below ``budget``; otherwise a constant
    is subtracted, because an uncertain slope would cause false trips far from the window.

    Parameters
    ----------
    index : ndarray, shape (n,)
        Sample numbers.
    current : ndarray, shape (n,)
        Measured current, A.
    end : int
        One past the last sample of the segment.
    budget : float
        Largest accepted extrapolated standard error, A.

    Returns
    -------
    offset, slope, origin : float
        Background at sample i is ``offset + slope * (i - origin)``, A.
    """
    origin = float(index.mean())
    x = index - origin
    half = len(x) // 2
    # Robust first line: medians of both halves; single glitches cannot move it.
    run = float(np.median(x[half:]) - np.median(x[:half])) if half else 0.0
    rough = float(np.median(current[half:]) - np.median(current[:half])) / run if run else 0.0
    residual = current - rough * x
    residual = residual - np.median(residual)
    spread = float(np.median(np.abs(residual)))
    keep = np.abs(residual) <= OUTLIER_MADS * spread
    offset = float(np.mean(current[keep]))
    kept_x = x[keep] - x[keep].mean()
    kept_origin = origin + float(x[keep].mean())
    sxx = float(np.sum(kept_x**2))
    if np.count_nonzero(keep) < 4 or sxx == 0:
        return offset, 0.0, kept_origin
    slope = float(np.sum(kept_x * current[keep]) / sxx)
    rest = current[keep] - offset - slope * kept_x
    error = math.sqrt(float(np.sum(rest**2)) / (len(rest) - 2) / sxx)
    if error * max(end - 1 - kept_origin, 0.0) > budget:
        slope = 0.0
    return offset, slope, kept_origin


class BackgroundTracker:
    """Background of the current within one segment.

    After blanking, the median of the first 5 ms (3 samples at least; the height baseline's length)
    serves as a provisional constant, so that a strong current already trips inside the estimation
    window; those few samples themselves are not compared. At the end of the window the fit of
    :func:`fit_background` replaces it until the segment ends.
    """

    def __init__(self, budget: float):
        self._budget = budget
        self._index: list[np.ndarray] = []
        self._current: list[np.ndarray] = []
        self._line: tuple[float, float, float] | None = None

    def reset(self) -> None:
        """Start a new segment."""
        self._index, self._current, self._line = [], [], None

    def collect(self, index: np.ndarray, current: np.ndarray) -> None:
        """Take samples of the estimation window."""
        self._index.append(index)
        self._current.append(current)

    def fix_provisional(self) -> None:
        """Use the median of what was collected."""
        self._line = (float(np.median(np.concatenate(self._current))), 0.0, 0.0)

    def fix(self, end: int) -> None:
        """Fit what was collected."""
        self._line = fit_background(
            np.concatenate(self._index), np.concatenate(self._current), end, self._budget
        )

    def subtract(self, index: np.ndarray, current: np.ndarray) -> np.ndarray | None:
        """Return current less background, None while there is no estimate."""
        if self._line is None:
            return None
        offset, slope, origin = self._line
        return current - (offset + slope * (index - origin))


class ConsecutiveOutside:
    """Consecutive samples outside a window, carried across blocks."""

    def __init__(self, window: Window | Limits, confirm: int):
        self._window = window
        self._confirm = confirm
        self._count = 0

    def reset(self) -> None:
        """Begin anew."""
        self._count = 0

    def feed(self, values: np.ndarray) -> int | None:
        """Position of the sample that trips, None if none does."""
        outside = (values < self._window.low) | (values > self._window.high)
        if not outside.any():
            self._count = 0
            return None
        position = np.arange(len(values))
        inside = np.where(outside, -1 - self._count, position)
        length = position - np.maximum.accumulate(inside)
        hits = np.flatnonzero(outside & (length >= self._confirm))
        self._count = int(length[-1]) if outside[-1] else 0
        return int(hits[0]) if len(hits) else None


class ComplianceChecker:
    """Checks consecutive blocks of one exposure.

    Parameters
    ----------
    compliance : Compliance
        Windows and how they are compared.
    spec : RampSpec
        The ramp.
    """

    def __init__(self, compliance: Compliance, spec: RampSpec):
        confirm = compliance.confirm_samples
        self._current = (
            ConsecutiveOutside(compliance.current, confirm) if compliance.current else None
        )
        self._height = ConsecutiveOutside(compliance.height, confirm) if compliance.height else None
        self._background = None
        if compliance.subtract_background and compliance.current:
            nearest = min(-compliance.current.low, compliance.current.high)
            self._background = BackgroundTracker(SLOPE_BUDGET * nearest)
        self._baseline_at = baseline_samples(spec.sample_rate)
        self._baseline: float | None = None
        self._heights: list[np.ndarray] = []
        self._next = 0
        self._spans = _spans(compliance, spec)
        self._edges = np.unique(
            [self._baseline_at, *(v for s in self._spans for v in vars(s).values())]
        )

    @property
    def baseline(self) -> float:
        """Height baseline, m; before it is complete the median so far, NaN without samples."""
        if self._baseline is not None:
            return self._baseline
        return float(np.median(np.concatenate(self._heights))) if self._heights else math.nan

    def check(self, block: Block) -> Trip | None:
        """Check the next block.

        Returns
        -------
        Trip or None
            The first sample that trips.

        Raises
        ------
        ValueError
            If the block does not follow the one before.
        """
        if block.first_index != self._next:
            raise ValueError(f"block starts at sample {block.first_index}, expected {self._next}")
        bad = _first_bad(block)
        count = bad.index if bad else len(block)
        first = block.first_index
        inner = self._edges[(self._edges > first) & (self._edges < first + count)] - first
        bounds = [0, *inner.tolist(), count]
        for low, high in itertools.pairwise(bounds):
            if high > low and (trip := self._check_part(block, low, high)):
                return trip
        self._next = first + len(block)
        return Trip(first + bad.index, bad.termination) if bad else None

    def _check_part(self, block: Block, low: int, high: int) -> Trip | None:
        """Check samples [low, high) of the block, between two edges: one rule holds for all."""
        first = block.first_index + low
        span = next(s for s in reversed(self._spans) if s.start <= first)
        current = np.asarray(block.current[low:high], dtype=float)
        height = np.asarray(block.height[low:high], dtype=float)
        index = np.arange(first, first + len(current))
        compared = self._compared_current(span, index, current)
        relative = self._relative_height(first, height)
        if first < span.compare:
            compared = relative = None
        hits = []
        for run, values, termination in (
            (self._current, compared, Termination.CURRENT_COMPLIANCE),
            (self._height, relative, Termination.HEIGHT_COMPLIANCE),
        ):
            if run is None:
                continue
            if values is None:
                run.reset()
            elif (hit := run.feed(values)) is not None:
                hits.append(Trip(first + hit, termination))
        return min(hits, key=lambda trip: trip.index) if hits else None

    def _relative_height(self, first: int, height: np.ndarray) -> np.ndarray | None:
        if first < self._baseline_at:
            self._heights.append(height)
            return None
        if self._baseline is None:
            self._baseline = float(np.median(np.concatenate(self._heights)))
        return height - self._baseline

    def _compared_current(
        self, span: _Span, index: np.ndarray, current: np.ndarray
    ) -> np.ndarray | None:
        tracker = self._background
        if tracker is None:
            return current
        first = int(index[0])
        if first == span.start:
            tracker.reset()
        if first < span.compare:
            return None
        if first == span.provisional:
            tracker.fix_provisional()
        if first == span.fit:
            tracker.fix(span.end)
        if first < span.fit:
            tracker.collect(index, current)
        return tracker.subtract(index, current)


def _spans(compliance: Compliance, spec: RampSpec) -> list[_Span]:
    edges = [0]
    for end in spec.segment_ends[:-1]:
        guess = max(math.floor(end * spec.sample_rate) - 1, 0)
        while spec.segment_at(guess) < len(edges) and guess < spec.n_samples:
            guess += 1
        edges.append(guess)
    edges.append(spec.n_samples)
    blank = math.ceil(compliance.blanking * spec.sample_rate - 1e-9)
    provisional = baseline_samples(spec.sample_rate)
    window = max(provisional, round(compliance.background_time * spec.sample_rate))
    spans = []
    for start, end in itertools.pairwise(edges):
        if end > start:
            compare = start + blank
            spans.append(_Span(start, compare, compare + provisional, compare + window, end))
    return spans


def _first_bad(block: Block) -> Trip | None:
    """First sample that trips whatever the windows say (index within the block)."""
    finite = np.isfinite(block.bias) & np.isfinite(block.current) & np.isfinite(block.height)
    masks = (
        (~finite, Termination.NONFINITE),
        (None if block.fresh is None else ~np.asarray(block.fresh, dtype=bool), Termination.STALE),
        (block.saturated, Termination.SATURATED),
    )
    found = [
        Trip(int(np.argmax(mask)), why) for mask, why in masks if mask is not None and np.any(mask)
    ]
    return min(found, key=lambda trip: trip.index) if found else None
