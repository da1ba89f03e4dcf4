"""Shapes of the signals that follow a nucleation, as seen through one-pole channels.

A hemisphere of radius a that grows under interfacial and spreading resistance (Kumar et al. 2013)
obeys (alpha a + beta) da = eta dt. At constant overpotential a rises as t - t0 at first and bends
towards (t - t0)**0.5 beyond a crossover time beta**2 / (alpha eta); the height follows a, the
current a**2 da/dt. Powers of t - t0 stand for whatever else may grow.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.signal import lfilter

_STEP = 0.01  # of tabulated responses, samples


@dataclass(frozen=True)
class Law:
    """Unit signal of a growth law.

    Parameters
    ----------
    degree : float
        The signal begins as ``t**degree``; a power law goes on like that.
    crossover : float
        Time at which the spreading resistance takes over, samples; infinite for a pure power.
    current : bool
        Whether a hemisphere's current is meant and not its radius.
    """

    degree: float
    crossover: float = np.inf
    current: bool = False

    def value(self, elapsed: np.ndarray | float) -> np.ndarray:
        """Return the signal at times since the onset (not negative)."""
        t = np.asarray(elapsed, dtype=float)
        if np.isinf(self.crossover):
            return t**self.degree
        root = np.sqrt(1.0 + 2.0 * t / self.crossover)
        radius = 2.0 * t / (1.0 + root)
        return radius**2 / root if self.current else radius


CROSSOVERS = (np.inf, 48.0, 12.0, 3.0, 0.5)
# equal positions belong together
HEMISPHERE = {
    "height": tuple(Law(1.0, c) for c in CROSSOVERS),
    "current": tuple(Law(2.0, c, current=True) for c in CROSSOVERS),
}
FREE = {
    "height": tuple(Law(p) for p in (0.5, 0.7, 0.85, 1.0, 1.5)),
    "current": tuple(Law(p) for p in (0.5, 1.1, 1.55, 2.0, 3.0)),
}


def current_integral(
    elapsed: np.ndarray | float, degree: np.ndarray | float, crossover: np.ndarray | float
) -> np.ndarray:
    """Integral of a current's `Law` from its onset on; the arguments broadcast."""
    t, q, c = np.broadcast_arrays(
        *(np.asarray(v, dtype=float) for v in (elapsed, degree, crossover))
    )
    with np.errstate(invalid="ignore"):
        radius = 2.0 * t / (1.0 + np.sqrt(1.0 + 2.0 * t / np.where(np.isinf(c), 1.0, c)))
    return np.where(np.isinf(c), t ** (q + 1.0) / (q + 1.0), radius**3 / 3.0)


def onset_grid(longest: float, shortest: float = 0.02, ratio: float = 1.015) -> np.ndarray:
    """Distances of trial onsets before the last sample, in samples, geometrically spaced.

    The attainable resolution of an onset is a constant fraction of the growth's duration, so a
    geometric grid resolves short and long growth alike.
    """
    count = max(2, int(np.ceil(np.log(longest / shortest) / np.log(ratio))) + 1)
    return np.geomspace(shortest, longest, count)


@lru_cache(maxsize=512)
def _response(law: Law, pole: float, lead: float, binning: int, longest: float) -> np.ndarray:
    """Response of a channel at multiples of ``_STEP`` since the onset, mean over a bin."""
    time = _STEP * np.arange(int(np.ceil(longest / _STEP)) + 2)
    out = law.value(time + lead)
    if pole > 0.0:
        # exact for a signal that is linear between the points; a lead begins as a jump
        decay = float(np.exp(-_STEP / pole))
        gain = pole / _STEP * (1.0 - decay)
        out = _filtered(out, decay, gain)
    if binning == 1:
        return out
    parts = min(binning, 8)
    offsets = (np.arange(parts) + 0.5) / parts - 1.0 + 0.5 / binning
    shifts = np.round(-offsets / _STEP).astype(int)
    total = np.zeros_like(out)
    for shift in shifts:
        total[shift:] += out[: len(out) - shift]
    return total / parts


def _filtered(values: np.ndarray, decay: float, gain: float) -> np.ndarray:
    """One-pole low-pass of points joined by lines, from rest at the first point."""
    out = np.zeros_like(values)
    drive = (1.0 - gain) * values[1:] + (gain - decay) * values[:-1]
    out[1:] = lfilter([1.0], [1.0, -decay], drive)
    return out


def templates(
    distance: np.ndarray,
    samples: int,
    laws: tuple[Law, ...],
    pole: float,
    lead: float = 0.0,
    binning: int = 1,
) -> np.ndarray:
    """Return unit signals for every law and trial onset on a window of samples.

    Parameters
    ----------
    distance : ndarray, shape (g,)
        Onset before the end of the last (binned) sample, in binned samples.
    samples : int
        Binned samples in the window.
    laws : tuple of Law
        Times in binned samples.
    pole : float
        Channel's time constant in binned samples.
    lead : float
        Growth time that a nucleus' first radius stands for, binned samples: it begins as if it
        had grown for that time before.
    binning : int
        Raw samples averaged into one; the template is averaged likewise.

    Returns
    -------
    ndarray, shape (len(laws), g, samples)
        Signal through the channel; 0 before the onset.
    """
    longest = float(np.max(distance))
    seen = min(samples, int(np.ceil(longest)) + 1)
    elapsed = np.arange(1 - seen, 1.0)[None, :] + distance[:, None]
    grown = elapsed > 0.0
    out = np.zeros((len(laws), len(distance), samples))
    if pole <= 0.0 and binning == 1:
        for index, law in enumerate(laws):
            out[index, :, -seen:] = law.value(np.maximum(elapsed, 0.0) + lead) * grown
        return out
    place = np.maximum(elapsed, 0.0) / _STEP
    below = place.astype(np.intp)
    part = place - below
    for index, law in enumerate(laws):
        table = _response(law, pole, lead, binning, longest)
        low = table[below]
        out[index, :, -seen:] = (low + part * (table[below + 1] - low)) * grown
    return out
