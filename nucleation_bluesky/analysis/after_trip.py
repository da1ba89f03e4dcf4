"""What the samples after an abort tell: the channels' delay, and charge that still flowed.

Once the bias is gone a deposit neither grows nor shrinks, unless the instrument goes on driving
it. What the height still rises then is what its channel lagged behind, and what grew during the
latency of the abort.
"""

import numpy as np

from nucleation_bluesky.analysis.ramps import RampSet
from nucleation_bluesky.analysis.windows import Anchors

_CLEAR = 10.0  # standard deviations


def settling_delay(
    ramps: RampSet, anchors: Anchors, height_noise: float
) -> tuple[float, float] | None:
    """Time by which the height lagged behind the deposit when the ramp was aborted.

    Rise after the trip over the rate of rise before it, of all sites that grew fast enough. The
    latency of the abort is part of it.

    Parameters
    ----------
    ramps : RampSet
    anchors : Anchors
    height_noise : float
        Standard deviation of a sample, m.

    Returns
    -------
    (delay, sd) : tuple of float, or None
        Samples; None where the samples after the trip are missing, do not rest, or disagree.
    """
    if not np.isfinite(height_noise) or height_noise <= 0 or not len(ramps.height):
        return None
    trip = anchors.trip
    sites = np.flatnonzero(
        (ramps.n_post >= 3) & (anchors.last == trip) & (trip - anchors.first >= 8)
    )
    if len(sites) < 10:
        return None
    z = ramps.height
    index = trip[sites]
    rate = (z[index] - z[index - 1]).astype(float)
    count = np.minimum(ramps.n_post[sites], 16)
    # the first sample after the trip may still be settling
    rest = np.array(
        [z[t + 2 : t + 1 + m].astype(float).mean() for t, m in zip(index, count, strict=True)]
    )
    moved = np.array([float(z[t + m] - z[t + 2]) for t, m in zip(index, count, strict=True)])
    clear = np.isfinite(rate) & np.isfinite(rest) & (rate > _CLEAR * height_noise)
    if clear.sum() < 10:
        return None
    rate, moved = rate[clear], moved[clear]
    ratio = (rest[clear] - z[index[clear]].astype(float)) / rate
    delay = float(np.median(ratio))
    spread = 1.4826 * float(np.median(np.abs(ratio - delay)))
    drifted = float(np.median(moved / rate))
    # a deposit that is still driven, dissolves or is left by the tip says nothing of the channel
    if not 0.02 < delay < 1.0 or spread > 0.5 * delay or abs(drifted) > 0.2 * delay:
        return None
    return delay, float(np.hypot(spread / np.sqrt(len(ratio)), 0.1 * delay))


def charge_after_trip(residual: np.ndarray, current: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return the charge after the trip with as much noise removed as the sites allow.

    What a decay adds is in proportion to the current at the trip, the same for all sites. Where
    the sites differ by no more than their noise that common share is the better estimate; where
    they differ (growth that went on) each site's own sum counts (James and Stein 1961).

    Parameters
    ----------
    residual : ndarray, shape (n,)
        Sum over the samples after the trip, C, growth counted positive.
    current : ndarray, shape (n,)
        Current at the trip, A, likewise.
    noise : ndarray, shape (n,)
        Standard deviation of ``residual`` by the noise of the samples alone, C.
    """
    good = np.isfinite(residual) & np.isfinite(current) & (noise > 0)
    if good.sum() < 10:
        return residual
    x, y, weight = current[good], residual[good], noise[good] ** -2.0
    share = float(np.median(y / np.where(x == 0, np.nan, x)))
    for _ in range(3):
        rest = y - share * x
        scale = 1.4826 * np.median(np.abs(rest / noise[good])) + 1e-12
        use = np.abs(rest / noise[good]) < 4.0 * scale
        share = float(np.sum((weight * x * y)[use]) / np.sum((weight * x * x)[use]))
    rest = residual - share * current
    scale2 = float(np.median(np.abs(rest[good] / noise[good]))) ** 2 * 2.198
    own = max(0.0, 1.0 - 1.0 / max(scale2, 1e-12))
    # a site far from all others speaks for itself
    far = np.abs(rest) > 5.0 * np.sqrt(max(scale2, 1.0)) * noise
    return np.where(good, share * current + np.where(far, 1.0, own) * rest, residual)
