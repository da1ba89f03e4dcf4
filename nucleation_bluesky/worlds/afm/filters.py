"""First-order filters and coloured noise, exact at any sample rate."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from scipy.signal import lfilter

_EPS = 1e-11  # s, to either side of a jump


def hold_weights(x: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decay and weights of a first-order low pass over a step of ``x`` time constants.

    For an input linear from u0 to u1, ``y1 = decay y0 + w0 u0 + w1 u1`` exactly.
    """
    x = np.asarray(x, dtype=float)
    decay = np.exp(-x)
    small = x < 1e-5
    mean = np.where(small, 1 - x / 2, -np.expm1(-x) / np.where(small, 1.0, x))
    w0 = np.where(small, x / 2, mean - decay)
    w1 = np.where(small, x / 2, 1 - mean)
    return decay, w0, w1


def low_pass(
    inputs: Callable[[np.ndarray], np.ndarray],
    grid: np.ndarray,
    step: float,
    values: np.ndarray,
    events: np.ndarray,
    tau: float,
    state: float,
) -> np.ndarray:
    """Response of a first-order low pass on an equidistant grid.

    Parameters
    ----------
    inputs : callable
        Input as a function of time, right-continuous.
    grid : ndarray, shape (n + 1,)
        Times, s; the response is returned for all but the first.
    step : float
        Distance of the grid's points, s (given, so that no rounding depends on its length).
    values : ndarray, shape (n + 1,)
        ``inputs(grid)``.
    events : ndarray
        Times of kinks and jumps of the input; steps that hold one are split there.
    tau : float
        Time constant, s.
    state : float
        Output at ``grid[0]``.

    Returns
    -------
    ndarray, shape (n,)
    """
    decay, w0, w1 = (float(v) for v in hold_weights(step / tau))
    gain = w0 * values[:-1] + w1 * values[1:]
    events = events[(events > grid[0]) & (events <= grid[-1])]
    if len(events):
        cells = np.searchsorted(grid, events, side="left") - 1
        for cell in np.unique(cells):
            edges = np.concatenate([[grid[cell]], events[cells == cell], [grid[cell + 1]]])
            total = 0.0
            for low, high in pairwise(edges):
                if high - low > 2 * _EPS:
                    u0, u1 = inputs(np.array([low + _EPS, high - _EPS]))
                    e, a, b = (float(v) for v in hold_weights((high - low) / tau))
                    total = e * total + a * u0 + b * u1
            gain[cell] = total
    return lfilter([1.0], [1.0, -decay], gain, zi=np.array([decay * state]))[0]


class ColouredNoise:
    """White noise of one-sided density behind a first-order pole (exact AR(1) update).

    rms ``density / sqrt(4 tau)`` and autocorrelation ``exp(-t/tau)`` at every sample rate; drawn
    in any portions, the sequence is the same.
    """

    def __init__(
        self, rng: np.random.Generator, density: float, tau: float, interval: float
    ) -> None:
        self._rng = rng
        self.rms = density / math.sqrt(4 * tau)
        self._decay = math.exp(-interval / tau)
        self._kick = math.sqrt(-math.expm1(-2 * interval / tau))
        self._last: float | None = None

    def draw(self, n: int) -> np.ndarray:
        """Next ``n`` values."""
        white = self._rng.standard_normal(n) * self.rms
        if not n:
            return white
        if self._last is None:
            white[0] /= self._kick
            state = 0.0
        else:
            state = self._decay * self._last
        out = lfilter([self._kick], [1.0, -self._decay], white, zi=np.array([state]))[0]
        self._last = float(out[-1])
        return out


class RandomWalk:
    """Random walk from 0 with a step of ``rate * sqrt(interval)``."""

    def __init__(self, rng: np.random.Generator, rate: float, interval: float) -> None:
        self._rng = rng
        self._step = rate * math.sqrt(interval)
        self._last: float | None = None

    def draw(self, n: int) -> np.ndarray:
        """Next ``n`` values."""
        steps = self._rng.standard_normal(n) * self._step
        if not n:
            return steps
        if self._last is None:
            steps[0] = 0.0
            self._last = 0.0
        out = np.cumsum(np.concatenate([[self._last], steps]))[1:]
        self._last = float(out[-1])
        return out
