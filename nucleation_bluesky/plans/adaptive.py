"""Adaptive ramps: approach fast to a bias that sites measured nearby say is still safe.

The ramp of a site has two segments: a fast approach that ends at ``predicted |V| - margin`` and
the measuring rate from there on. Both numbers are learned from the map itself:

* the prediction is simple kriging (exponential covariance with a nugget) over the nucleated sites
  nearby; length scale and nugget are those which predicted the sites so far best, each before it
  was measured (prequential selection, Dawid, J. R. Stat. Soc. A 147, 278, 1984);
* the margin is a far quantile of the past prediction residuals, from a peaks-over-threshold fit
  with an exponential tail (Pickands, Ann. Stat. 3, 119, 1975, shape 0), separately for sites
  beside a site that did not nucleate, where the bias drops.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.distance import cdist

from nucleation_bluesky.contract.enums import Termination

TRIPS = (Termination.CURRENT_COMPLIANCE, Termination.HEIGHT_COMPLIANCE, Termination.STOPPED_BY_PLAN)


@dataclass(frozen=True)
class AdaptiveSettings:
    """How boldly the approach is shortened; all else is learned.

    Parameters
    ----------
    fast_rate : float
        Sweep rate of the approach, V/s.
    risk : float
        Share of sites whose onset may fall into the approach.
    first_sites : int
        Nucleated sites measured at a constant rate before the first approach.
    neighbours : int
        Nucleated sites nearby that a prediction uses.
    settle : float
        Time that the measuring segment needs before compliance acts again (blanking and
        background window after the change of rate), s; the approach ends earlier by it.

    Raises
    ------
    ValueError
        If a number is outside its range.
    """

    fast_rate: float
    risk: float = 0.002
    first_sites: int = 40
    neighbours: int = 24
    settle: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.fast_rate) and self.fast_rate > 0):
            raise ValueError("the fast rate must be finite and greater than 0 V/s")
        if not 0 < self.risk < 0.2:
            raise ValueError("risk is a share of sites between 0 and 0.2")
        if self.first_sites < 20:
            raise ValueError("first_sites must be 20 or more: a margin is learned from them")
        if self.neighbours < 1:
            raise ValueError("neighbours must be 1 or more")
        if not (math.isfinite(self.settle) and self.settle >= 0):
            raise ValueError("settle must be a time of 0 s or more")


def tail_quantile(values: Sequence[float] | np.ndarray, probability: float) -> float:
    """Value exceeded with a small probability, extrapolated with an exponential tail.

    Parameters
    ----------
    values : array_like, shape (n,)
        Past values, n >= 10.
    probability : float
        Probability of exceedance.

    Returns
    -------
    float
        The quantile; never below the empirical one where that exists.
    """
    data = np.sort(np.asarray(values, dtype=float))
    n = len(data)
    n_tail = max(5, math.ceil(0.1 * n))
    threshold = data[-n_tail - 1]
    excess = float(np.mean(data[-n_tail:] - threshold))
    # the mean excess of k values is uncertain by 1/sqrt(k): take its upper side
    excess *= 1 + 1 / math.sqrt(n_tail)
    share = n_tail / n
    fitted = threshold + excess * math.log(max(share / probability, 1.0))
    rank = math.ceil((n + 1) * (1 - probability))
    return max(fitted, float(data[rank - 1])) if rank <= n else fitted


@dataclass(frozen=True)
class Approach:
    """Ramp of one site as decided: vertices (V), rates (V/s), and the end of the fast segment."""

    vertices: tuple[float, ...]
    rates: tuple[float, ...]
    fast_end: float  # V; NaN where there is no approach
    predicted: float  # V; NaN where there is no prediction


class _Rows:
    """Rows that are appended one by one and read as one array."""

    def __init__(self, width: int) -> None:
        self._table = np.empty((64, width))
        self._n = 0

    def __len__(self) -> int:
        return self._n

    @property
    def array(self) -> np.ndarray:
        """What was appended, shape (n, width); a view."""
        return self._table[: self._n]

    def append(self, *row: float) -> None:
        """Add a row."""
        if self._n == len(self._table):
            self._table = np.concatenate([self._table, np.empty_like(self._table)])
        self._table[self._n] = row
        self._n += 1


@dataclass
class StopBiasPredictor:
    """Prediction of a site's stop bias from the sites measured so far.

    Parameters
    ----------
    spacing : float
        Typical distance between sites, m; the candidate length scales are multiples of it.
    risk : float
        Share of sites that may stop before ``predict`` minus ``margin``.
    neighbours : int
        Nucleated sites that a prediction uses.
    """

    spacing: float
    risk: float = 0.002
    neighbours: int = 24
    scales: tuple[float, ...] = (0.75, 1.5, 3.0, 6.0, 12.0)
    nuggets: tuple[float, ...] = (0.1, 0.5, 2.0)
    _nucleated: _Rows = field(default_factory=lambda: _Rows(3))  # x, y, magnitude
    _empty: _Rows = field(default_factory=lambda: _Rows(2))
    _residuals: dict[bool, _Rows] = field(default_factory=lambda: {False: _Rows(1), True: _Rows(1)})
    _loss: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.spacing) and self.spacing > 0):
            raise ValueError("the spacing of sites must be finite and greater than 0 m")
        self._loss = np.zeros(len(self.scales) * len(self.nuggets))

    @property
    def n_nucleated(self) -> int:
        """Nucleated sites learned from."""
        return len(self._nucleated)

    def beside_empty(self, x: float, y: float) -> bool:
        """Whether a site without nucleation lies within two spacings."""
        if not len(self._empty):
            return False
        gap = self._empty.array - (x, y)
        return bool(np.min(np.einsum("ij,ij->i", gap, gap)) <= (2.01 * self.spacing) ** 2)

    def candidates(self, x: float, y: float) -> np.ndarray:
        """Predictions of every candidate covariance, V (magnitude), shape (n_candidates,)."""
        positions, values = self._nucleated.array[:, :2], self._nucleated.array[:, 2]
        gap = np.hypot(*(positions - (x, y)).T)
        if len(gap) > self.neighbours:
            near = np.argpartition(gap, self.neighbours)[: self.neighbours]
        else:
            near = np.arange(len(gap))
        mean = float(np.median(values))
        scales = np.asarray(self.scales)[:, None, None] * self.spacing
        between = np.exp(-cdist(positions[near], positions[near])[None] / scales)
        towards = np.exp(-gap[near][None] / scales[:, 0])
        nuggets = np.asarray(self.nuggets)[None, :, None, None] * np.eye(len(near))
        matrix = between[:, None] + nuggets
        right = np.broadcast_to((values[near] - mean)[:, None], (*matrix.shape[:2], len(near), 1))
        weights = np.linalg.solve(matrix, right)[..., 0]
        return mean + np.einsum("sk,snk->sn", towards, weights).ravel()

    def predict(self, x: float, y: float) -> float:
        """Predicted magnitude of the stop bias, V; NaN before any nucleated site."""
        if not len(self._nucleated):
            return math.nan
        return float(self.candidates(x, y)[int(np.argmin(self._loss))])

    def margin(self, x: float, y: float) -> float:
        """Margin to keep below the prediction at this place, V; infinite without data."""
        own = self._residuals[self.beside_empty(x, y)].array[:, 0]
        if sum(map(len, self._residuals.values())) < 10:
            return math.inf
        if len(own) < 30:
            every = np.concatenate([rows.array[:, 0] for rows in self._residuals.values()])
            general = tail_quantile(every, self.risk)
            # too few of its kind to say that it is harmless
            return max(general, tail_quantile(own, self.risk) if len(own) >= 10 else 0.0)
        return tail_quantile(own, self.risk)

    def learn(self, x: float, y: float, magnitude: float | None) -> None:
        """Add a measured site: magnitude of its stop bias, V, or None without nucleation."""
        if magnitude is None:
            self._empty.append(x, y)
            return
        values = self._nucleated.array[:, 2]
        if len(values) >= 3:
            candidates = self.candidates(x, y)
            if len(values) >= 10:
                residual = candidates[int(np.argmin(self._loss))] - magnitude
                self._residuals[self.beside_empty(x, y)].append(float(residual))
            error = np.abs(candidates - magnitude)
            scale = 1.4826 * float(np.median(np.abs(values - np.median(values)))) or 1.0
            # Huber's loss: one odd site must not choose the length scale
            self._loss += np.where(error < scale, 0.5 * (error / scale) ** 2, error / scale - 0.5)
        self._nucleated.append(x, y, magnitude)


class AdaptiveRamp:
    """Decides each site's ramp and learns from its result.

    Parameters
    ----------
    start, end : float
        Ends of the ramp, V, signed.
    rate : float
        Measuring sweep rate, V/s.
    spacing : float
        Typical distance between sites, m.
    settings : AdaptiveSettings
        Rates and risk.

    Raises
    ------
    ValueError
        If the fast rate is not greater than the measuring rate.
    """

    def __init__(
        self, *, start: float, end: float, rate: float, spacing: float, settings: AdaptiveSettings
    ) -> None:
        if settings.fast_rate <= rate:
            raise ValueError(
                f"the fast rate ({settings.fast_rate:g} V/s) must be greater than the measuring "
                f"rate ({rate:g} V/s)"
            )
        self.start, self.end, self.rate, self.settings = start, end, rate, settings
        self.predictor = StopBiasPredictor(
            spacing=spacing, risk=settings.risk, neighbours=settings.neighbours
        )
        self.n_flagged = 0
        self._rise = _Rows(1)

    def decide(self, x: float, y: float) -> Approach:
        """Ramp of the site at (x, y), m."""
        constant = Approach((self.end,), (self.rate,), math.nan, math.nan)
        if self.predictor.n_nucleated < self.settings.first_sites:
            return constant
        predicted = self.predictor.predict(x, y)
        margin = self.predictor.margin(x, y) + self.rate * self.settings.settle
        sign = math.copysign(1.0, self.end - self.start)
        fast_end = sign * (predicted - margin)
        span = abs(self.end - self.start)
        progress = (fast_end - self.start) * sign
        if not math.isfinite(fast_end) or progress < 0.05 * span or progress > 0.98 * span:
            return Approach((self.end,), (self.rate,), math.nan, sign * predicted)
        return Approach(
            (fast_end, self.end),
            (self.settings.fast_rate, self.rate),
            fast_end,
            sign * predicted,
        )

    def learn(
        self,
        x: float,
        y: float,
        *,
        termination: Termination,
        stop_bias: float,
        height_change: float = math.nan,
        flagged: bool = False,
    ) -> None:
        """Learn from a site's result.

        A current trip without a rise of the height is an amplifier glitch, not a nucleus; it
        teaches nothing. What counts as a rise is learned from the trips before.
        """
        if termination == Termination.COMPLETED:
            self.predictor.learn(x, y, None)
            return
        if termination not in TRIPS:
            return
        self.n_flagged += flagged
        if termination == Termination.CURRENT_COMPLIANCE and math.isfinite(height_change):
            self._rise.append(height_change)
            if len(self._rise) > 10 and height_change < 0.25 * float(np.median(self._rise.array)):
                return
        sign = math.copysign(1.0, self.end - self.start)
        self.predictor.learn(x, y, sign * stop_bias)
