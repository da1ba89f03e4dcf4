"""The bias as a function of time, piecewise linear, and its integrals at one site."""

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import brentq

from nucleation_bluesky.worlds.afm.kinetics import hazard, hazard_primitive


@dataclass
class BiasPath:
    """Bias against time: segments ``(t0, t1, v0, v1, driven)`` in s and V.

    A segment that is not driven passes no current (open circuit, or no contact).
    """

    start: float = 0.0
    initial: float = 0.0
    segments: list[tuple[float, float, float, float, bool]] = field(default_factory=list)

    @property
    def end(self) -> float:
        """End of the last segment, s."""
        return self.segments[-1][1] if self.segments else self.start

    @property
    def bias(self) -> float:
        """Bias at the end, V."""
        return self.segments[-1][3] if self.segments else self.initial

    def add(
        self, duration: float, to: float, *, begin: float | None = None, driven: bool = True
    ) -> None:
        """Append a segment that ends at bias ``to``; it begins where the last ended."""
        if duration <= 0:
            return
        t0 = self.end
        v0 = self.bias if begin is None else begin
        self.segments.append((t0, t0 + duration, v0, to, driven))

    def add_until(self, t1: float, to: float, *, begin: float | None = None) -> None:
        """Append a driven segment that ends at time ``t1`` exactly."""
        if t1 > self.end:
            v0 = self.bias if begin is None else begin
            self.segments.append((self.end, t1, v0, to, True))

    def restart(self, time: float, bias: float) -> None:
        """Empty the path; it will begin at ``time`` from ``bias``."""
        self.segments, self.start, self.initial = [], time, bias

    def cut(self, time: float) -> None:
        """Forget what comes after ``time``."""
        kept = [s for s in self.segments if s[0] < time]
        if kept and kept[-1][1] > time:
            t0, t1, v0, v1, driven = kept[-1]
            kept[-1] = (t0, time, v0, v0 + (v1 - v0) * (time - t0) / (t1 - t0), driven)
        self.segments = kept

    def bias_at(self, time: np.ndarray) -> np.ndarray:
        """Bias at ``time``, V, shape as given; 0 V where the output is disconnected."""
        t0, t1, v0, v1, driven = (np.array(c) for c in zip(*self.segments, strict=True))
        i = np.clip(np.searchsorted(t0, time, side="right") - 1, 0, len(t0) - 1)
        value = v0[i] + (v1[i] - v0[i]) * (np.minimum(time, t1[i]) - t0[i]) / (t1[i] - t0[i])
        return np.where(driven[i], value, 0.0)


class Drive:
    """What a bias path does at a site: overpotential, its integral, and the integrated hazard.

    The overpotential is ``eta = -V - |E_eq|``: positive plates, negative strips. All integrals
    are closed forms, so they depend on no step width.

    Parameters
    ----------
    path : BiasPath
        Bias against time.
    equilibrium : float
        ``|E_eq|`` at the site, V.
    prefactor, barrier : float
        A (1/s) and B (V^2) of the hazard.
    reversibility : float
        Weight of the integral of negative overpotentials, 0 to 1.
    """

    def __init__(
        self,
        path: BiasPath,
        equilibrium: float,
        prefactor: float,
        barrier: float,
        reversibility: float,
    ) -> None:
        self.equilibrium = equilibrium
        self._prefactor, self._barrier = prefactor, barrier
        rows: list[tuple[float, float, float, float, bool]] = []
        for t0, t1, v0, v1, driven in path.segments:
            e0, e1 = -v0 - equilibrium, -v1 - equilibrium
            if e0 * e1 < 0:
                middle = t0 + (t1 - t0) * e0 / (e0 - e1)
                if t0 < middle < t1:
                    rows += [(t0, middle, e0, 0.0, driven), (middle, t1, 0.0, e1, driven)]
                    continue
            rows.append((t0, t1, e0, e1, driven))
        self.t0, self.t1, self._e0, e1, self.driven = (np.array(c) for c in zip(*rows, strict=True))
        self._slope = (e1 - self._e0) / (self.t1 - self.t0)
        plating = self._e0 + e1 > 0
        self.weight = np.where(self.driven, np.where(plating, 1.0, reversibility), 0.0)
        self._active = self.driven & plating
        length = self.t1 - self.t0
        drive = self.weight * (self._e0 + e1) / 2 * length
        self._drive0 = np.concatenate([[0.0], np.cumsum(drive)])
        hazards = np.array([self._hazard_in(i, t) for i, t in enumerate(self.t1)])
        self._hazard0 = np.concatenate([[0.0], np.cumsum(hazards)])

    @property
    def knots(self) -> np.ndarray:
        """Times at which the bias or the drive has a kink or a jump, s."""
        return np.append(self.t0, self.t1[-1])

    def index(self, time: np.ndarray | float) -> np.ndarray:
        """Segment in force just after ``time``."""
        return np.maximum(np.searchsorted(self.t0, time, side="right") - 1, 0)

    def eta(self, time: np.ndarray | float, index: np.ndarray) -> np.ndarray:
        """Overpotential, V."""
        return self._e0[index] + self._slope[index] * (time - self.t0[index])

    def bias_rate(self, index: np.ndarray) -> np.ndarray:
        """Sweep rate of the bias, V/s, signed."""
        return -self._slope[index]

    def integral(self, time: np.ndarray | float, index: np.ndarray) -> np.ndarray:
        """Weighted integral of the overpotential from the path's start, V s."""
        dt = np.minimum(time, self.t1[index]) - self.t0[index]
        inside = self._e0[index] * dt + self._slope[index] * dt**2 / 2
        return self._drive0[index] + self.weight[index] * inside

    def integral_at(self, time: float) -> float:
        """:meth:`integral` at one time."""
        return float(self.integral(time, self.index(time)))

    def _hazard_in(self, i: int, time: float) -> float:
        """Hazard integrated over segment ``i`` up to ``time``."""
        if not self._active[i]:
            return 0.0
        start, slope = self._e0[i], self._slope[i]
        dt = time - self.t0[i]
        if abs(slope) * (self.t1[i] - self.t0[i]) < 1e-9:  # constant bias
            return float(hazard(start, self._prefactor, self._barrier)) * dt
        stop = start + slope * dt
        span = hazard_primitive(np.array([start, stop]), self._barrier)
        return float(self._prefactor / slope * (span[1] - span[0]))

    def hazard_integral(self, time: float) -> float:
        """Hazard integrated from the path's start to ``time``."""
        i = int(self.index(time))
        return float(self._hazard0[i] + self._hazard_in(i, min(time, self.t1[i])))

    def time_of_hazard(self, target: float) -> float:
        """First time at which the integrated hazard reaches ``target``, s; NaN if never."""
        i = int(np.searchsorted(self._hazard0, target, side="left")) - 1
        if i < 0:
            return float(self.t0[0])
        if i >= len(self.t0):
            return math.nan
        rest = target - self._hazard0[i]
        low, high = float(self.t0[i]), float(self.t1[i])
        if self._hazard_in(i, high) <= rest:
            return high
        found = brentq(lambda t: self._hazard_in(i, t) - rest, low, high, xtol=1e-13)
        return float(found)  # type: ignore[arg-type] - brentq without full output

    def time_of_loss(self, amount: float, since: float) -> float:
        """First time after ``since`` at which the integral has dropped by ``amount``, or NaN."""
        target = self.integral_at(since) - amount
        first = int(self.index(since))
        for i in range(first, len(self.t0)):
            if self._drive0[i + 1] > target or self.weight[i] == 0 or self._active[i]:
                continue
            # weight (e0 dt + slope dt^2/2) = target - drive0, with eta < 0 in the segment
            need = (target - self._drive0[i]) / self.weight[i]
            e0, slope = self._e0[i], self._slope[i]
            root = math.sqrt(max(e0**2 + 2 * slope * need, 0.0))
            return float(self.t0[i] + 2 * need / (e0 - root))
        return math.nan
