"""One landing's electrochemistry: samples of time, potential and current, and their noise."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.integrate import cumulative_trapezoid

MAD_TO_SIGMA = 1.4826
_SECOND_DIFFERENCE = np.sqrt(6.0)  # sd of the second difference of white noise of sd 1


@dataclass(frozen=True)
class Trace:
    """Electrochemistry of one landing.

    Parameters
    ----------
    time : ndarray, shape (n,)
        s, increasing; not necessarily equally spaced.
    potential : ndarray, shape (n,)
        V on the record's own scale.
    current : ndarray, shape (n,)
        A, negative reduces.
    step : ndarray of int, shape (n,), or None
        Number of the program's step; below 0 outside the program (-1 approach, -2 after it).
    z : ndarray, shape (n,), or None
        Height of the pipette, m.

    Raises
    ------
    ValueError
        If the arrays differ in length or the time does not increase.
    """

    time: np.ndarray
    potential: np.ndarray
    current: np.ndarray
    step: np.ndarray | None = None
    z: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("potential", "current", "step", "z"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.time):
                raise ValueError(f"{name} has {len(values)} samples, time has {len(self.time)}")
        if len(self.time) > 1 and not np.all(np.diff(self.time) > 0):
            raise ValueError("the time of the samples does not increase")

    def __len__(self) -> int:
        return len(self.time)

    def part(self, chosen: np.ndarray | slice) -> "Trace":
        """Return some of the samples (a mask, indices or a slice)."""
        taken = {
            name: values[chosen]
            for name in ("time", "potential", "current", "step", "z")
            if (values := getattr(self, name)) is not None
        }
        return replace(self, **taken)

    def finite(self) -> "Trace":
        """Return the samples whose potential and current are finite."""
        good = np.isfinite(self.potential) & np.isfinite(self.current)
        return self if good.all() else self.part(good)

    def in_program(self) -> "Trace":
        """Return the samples of the program's steps; all where steps are not recorded."""
        return self if self.step is None else self.part(self.step >= 0)

    @property
    def period(self) -> float:
        """Median time between samples, s; NaN with fewer than two."""
        return float(np.median(np.diff(self.time))) if len(self.time) > 1 else float("nan")

    def charge(self, baseline: float = 0.0) -> np.ndarray:
        """Signed charge since the first sample, C, shape (n,).

        Parameters
        ----------
        baseline : float
            Current without any reaction (an amplifier's offset), A, taken off first.
        """
        if len(self.time) == 0:
            return np.empty(0)
        current = np.asarray(self.current, dtype=float) - baseline
        return cumulative_trapezoid(current, np.asarray(self.time, dtype=float), initial=0.0)


def sample_noise(values: np.ndarray) -> float:
    """Estimate the standard deviation of the white noise of a slowly varying record.

    From the median absolute second difference, which neither trends nor a few jumps enter.
    A staircase (most differences exactly zero) has none.
    """
    values = np.asarray(values, dtype=float)
    second = np.diff(values, 2)
    second = second[np.isfinite(second)]
    if second.size == 0:
        return 0.0
    return float(MAD_TO_SIGMA * np.median(np.abs(second)) / _SECOND_DIFFERENCE)


def noise_of_means(values: np.ndarray, width: int) -> float:
    """Estimate the standard deviation of means over ``width`` samples, slow noise included.

    The greater of what white noise gives and of what blocks of that width show; fewer than 16
    blocks say nothing, then white noise alone counts.
    """
    white = sample_noise(values) / np.sqrt(max(width, 1))
    blocks = len(values) // max(width, 1)
    if width <= 1 or blocks < 16:
        return float(white)
    means = np.asarray(values[: blocks * width], dtype=float).reshape(blocks, width).mean(axis=1)
    return float(max(white, sample_noise(means)))


def running_mean(values: np.ndarray, half: np.ndarray | int) -> np.ndarray:
    """Centred means over ``2 half + 1`` samples, ``half`` per sample; narrower at the ends.

    Parameters
    ----------
    values : ndarray, shape (n,)
    half : ndarray of int, shape (n,), or int
        Samples on either side.
    """
    values = np.asarray(values, dtype=float)
    n = len(values)
    index = np.arange(n)
    reach = np.minimum(np.minimum(half, index), n - 1 - index)
    level = values[0] if n else 0.0  # keeps the sums small
    total = np.concatenate([[0.0], np.cumsum(values - level)])
    return level + (total[index + reach + 1] - total[index - reach]) / (2 * reach + 1)
