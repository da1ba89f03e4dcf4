"""Shapes of the signals that follow a nucleation, as seen through one-pole channels.

A hemisphere of radius a that grows under interfacial and spreading resistance obeys
(alpha a + beta) da = eta dt: a rises as t - t0 at first and bends towards (t - t0)**0.5. The
height follows a, the current a**2 da/dt. Both are powers of t - t0 over the short stretch that
decides an onset; a family of powers stands for the growth laws between and around these limits.
"""

from functools import lru_cache

import numpy as np
from scipy.special import hyp1f1

# equal positions belong together: a ~ t**p gives a**2 da/dt ~ t**(3 p - 1)
HEIGHT_POWERS = (0.5, 0.7, 0.85, 1.0, 1.5)
CURRENT_POWERS = (0.5, 1.1, 1.55, 2.0, 3.0)
HEMISPHERE_LAWS = 4  # the first of them lie between interfacial and spreading resistance
_TABLE_END = 60.0


@lru_cache(maxsize=64)
def _table(power: float) -> tuple[np.ndarray, np.ndarray]:
    """Response of exp(-x) to x**power for x up to _TABLE_END, divided by x**power."""
    x = np.concatenate([[0.0], np.geomspace(1e-3, _TABLE_END, 600)])
    # int_0^x exp(s - x) s**p ds = x**(p + 1) / (p + 1) * 1F1(1; p + 2; -x)
    return x, x / (power + 1.0) * hyp1f1(1.0, power + 2.0, -x)


def filtered_power(elapsed: np.ndarray, power: float, pole: float) -> np.ndarray:
    """Return ``elapsed**power`` (0 before 0) after a one-pole low-pass of time constant ``pole``.

    Parameters
    ----------
    elapsed : ndarray
        Time since the onset, any unit.
    power : float
        Exponent of the growth law, greater than 0.
    pole : float
        Time constant in the same unit; 0 for none.

    Returns
    -------
    ndarray
        Same shape as ``elapsed``.
    """
    u = np.maximum(elapsed, 0.0)
    raw = u if power == 1.0 else u**power
    if pole <= 0.0:
        return raw
    x, ratio = _table(power)
    scaled = u / pole
    gain = np.interp(scaled, x, ratio)
    gain = np.where(scaled > _TABLE_END, 1.0 - power / np.maximum(scaled, 1.0), gain)
    return raw * gain


def started_power(elapsed: np.ndarray, power: float, pole: float, lead: float) -> np.ndarray:
    """Return ``(elapsed + lead)**power`` from elapsed = 0 on, behind a one-pole low-pass.

    A nucleus begins with a finite radius, as if it had grown for the time ``lead`` before.
    """
    if lead <= 0.0:
        return filtered_power(elapsed, power, pole)
    born = elapsed > 0.0
    whole = filtered_power(np.where(born, elapsed + lead, 0.0), power, pole)
    if pole <= 0.0:
        return whole
    held = filtered_power(np.array(lead), power, pole)
    return whole - np.where(born, np.exp(-np.maximum(elapsed, 0.0) / pole) * held, 0.0)


def onset_grid(longest: float, shortest: float = 0.02, ratio: float = 1.015) -> np.ndarray:
    """Distances of trial onsets before the last sample, in samples, geometrically spaced.

    The attainable resolution of an onset is a constant fraction of the growth's duration, so a
    geometric grid resolves short and long growth alike.
    """
    count = max(2, int(np.ceil(np.log(longest / shortest) / np.log(ratio))) + 1)
    return np.geomspace(shortest, longest, count)


def templates(
    distance: np.ndarray,
    samples: int,
    powers: tuple[float, ...],
    pole: float,
    lead: float = 0.0,
    binning: int = 1,
) -> np.ndarray:
    """Return unit signals for every power and trial onset on a window of samples.

    Parameters
    ----------
    distance : ndarray, shape (g,)
        Onset before the end of the last (binned) sample, in binned samples.
    samples : int
        Binned samples in the window.
    powers : tuple of float
        Exponents.
    pole : float
        Channel's time constant in binned samples.
    lead : float
        See `started_power`, binned samples.
    binning : int
        Raw samples averaged into one; the template is averaged likewise.

    Returns
    -------
    ndarray, shape (len(powers), g, samples)
        Signal ``(t - t0)**power`` through the channel, t in binned samples.
    """
    parts = min(binning, 8)
    offsets = (np.arange(parts) + 0.5) / parts - 1.0 + 0.5 / binning if binning > 1 else np.zeros(1)
    position = np.arange(samples) - (samples - 1.0)
    out = np.zeros((len(powers), len(distance), samples))
    for offset in offsets:
        elapsed = position[None, :] + offset + distance[:, None]
        for index, power in enumerate(powers):
            out[index] += started_power(elapsed, power, pole, lead)
    return out / len(offsets)
