"""Arithmetic behind the independent controller: its toy's physics, and compliance on its samples.

Written from docs/reference/pv-contract.md alone; imports nothing of nucleation_bluesky.
"""

from dataclasses import dataclass

import numpy as np

COMPLETED, CURRENT_COMPLIANCE, HEIGHT_COMPLIANCE = 1, 2, 3


def waveform(
    start: float, vertices: np.ndarray, rates: np.ndarray, sample_rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """Bias (V) and segment of every sample."""
    bounds = np.concatenate([[start], vertices])
    ends = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(bounds)) / rates)])
    n = int(ends[-1] * sample_rate + 1e-6) + 1
    t = np.arange(n) / sample_rate
    return np.interp(t, ends, bounds), np.minimum(
        np.searchsorted(ends[1:], t, side="left"), len(vertices) - 1
    )


def physics(bias: np.ndarray, x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
    """Current (A) and height (m) along a falling bias: nucleation, then a power law."""
    onset = -1.0 - 0.4 * ((x * 7 + y * 3) % 100 / 100)
    rng = np.random.default_rng(abs(int(x * 131 + y * 17)))
    over = np.clip(onset - bias, 0, None)
    current = -1e-9 * over**2 / 0.01 + rng.normal(0, 2e-13, len(bias))
    current += 2e-12 * bias - 3e-12  # leakage and C dV/dt
    height = 100e-9 * over + rng.normal(0, 3e-11, len(bias))
    return current, height


@dataclass
class Comparison:
    """The COMP: PVs, SI; a window is None where it is off."""

    sample_rate: float
    current: tuple[float, float] | None
    height: tuple[float, float] | None
    edge: float  # A: the nearer current limit, whether it is on or not
    confirm: int
    blanking: float
    background: bool
    background_time: float

    @property
    def early(self) -> int:
        """Samples of the height baseline."""
        return max(3, round(5e-3 * self.sample_rate))

    def trip(
        self, current: np.ndarray, height: np.ndarray, segment: np.ndarray
    ) -> tuple[int | None, int]:
        """Sample that trips (None without) and the termination."""
        found: list[tuple[int, int]] = []
        early = self.early
        base = np.median(height[:early])
        first = np.searchsorted(segment, segment, side="left")  # each sample's segment begins there
        since = np.arange(len(current)) - first
        blank = round(self.blanking * self.sample_rate)
        quiet = since < blank
        quiet_current = quiet | (since < blank + early) if self.background else quiet
        if self.background:
            current = current - self._background(current, segment, blank)
        for window, values, silent, cause in (
            (self.current, current, quiet_current, CURRENT_COMPLIANCE),
            (self.height, height - base, quiet | (np.arange(len(height)) < early),
             HEIGHT_COMPLIANCE),
        ):  # fmt: skip
            if window is None:
                continue
            outside = ((values < window[0]) | (values > window[1])) & ~silent
            run = np.convolve(outside, np.ones(self.confirm), "valid")
            hit = np.flatnonzero(run >= self.confirm)
            if len(hit):
                found.append((int(hit[0]) + self.confirm - 1, cause))
        return min(found) if found else (None, COMPLETED)

    def _background(self, current: np.ndarray, segment: np.ndarray, blank: int) -> np.ndarray:
        """Leakage and C dV/dt, from the window after the blanking of each segment."""
        out = np.zeros(len(current))
        window = round(self.background_time * self.sample_rate)
        for number in np.unique(segment):
            where = np.flatnonzero(segment == number)[blank:]
            inside = where[:window]
            if len(inside) < 3:
                continue
            values, t = current[inside], np.arange(len(inside), dtype=float)
            good = np.ones(len(t), dtype=bool)
            for _ in range(3):
                slope, level = np.polyfit(t[good], values[good], 1)
                rest = values - level - slope * t
                spread = np.median(np.abs(rest - np.median(rest[good])))
                good = np.abs(rest) <= 5 * max(spread, 1e-18)
            error = np.std(rest[good]) / np.sqrt(np.sum((t[good] - t[good].mean()) ** 2))
            if error * len(where) > self.edge / 4:
                slope, level = 0.0, float(np.mean(values[good]))
            out[where] = level + slope * np.arange(len(where))
            out[inside] = np.median(values[: self.early])
        return out
