"""Coulombic efficiency of every pixel from the film (S25; Martin-Yerga et al. 2024, Fig 2e, S5-S7).

Per cycle the change of intensity on stripping over that on plating; the linear relation between
the footprint's mean ratio and the electrochemical efficiency over the cycles shows that the ratio
measures efficiency; in each cycle the ratio is scaled so that the footprint as a whole has the
electrochemical efficiency. What the first plating alone leaves (nuclei, interphase) is taken off.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, stats

from nucleation_bluesky.analysis.seccm.smooth import Corrected

EDGE = 0.02  # share of a cycle's charge within which its plateaus end
MIDDLE = (0.5, 0.8)  # of the plated charge: an intensity beyond the end's tells inversion
SIGNIFICANT = 4.0
THICK = 1.1  # share at the middle over the usual one, beyond which contrast is compressed
LINE = 0.8  # correlation of the first two platings that makes a line
MOST_ONCE = 0.6  # of the first plating's intensity
NOISE_FRAMES = 24
MIN_PIXELS = 100
MIN_STAYING = 0.1  # share of the charge, below which its reflection cannot be told
WIDER = np.sqrt(2.0)  # smoothing twice as strong: takes as much again as the smoothing itself
MIN_SIGNAL = 4.0  # plated over its noise: a ratio is then known to about a third


@dataclass(frozen=True)
class CycleTimes:
    """One cycle on the film's time: plating from ``start`` to ``turn``, stripping to ``stop`` (s).

    Times are after contact.
    """

    start: float
    turn: float
    stop: float


@dataclass(frozen=True)
class EfficiencyMaps:
    """Efficiencies, arrays of shape (cycle, y, x) unless noted; NaN where not known.

    Parameters
    ----------
    ce, uncertainty : ndarray
        Of every pixel. The uncertainty holds the scatter within the neighbourhood, the camera's
        noise, what the smoothing takes from the map's contrast, the registration's error, that of
        the part that comes once, and the optical response: see `efficiency_maps`.
    valid : ndarray of bool
        Inside the footprint, enough signal, contrast not inverted.
    inverted : ndarray of bool
        Intensity turned round while metal was still plated: a deposit too thick.
    ratio : ndarray, shape (cycle,)
        Mean intensity change on stripping over that on plating, of the whole footprint.
    slope, intercept, correlation : float
        Of efficiency against that ratio over the cycles.
    once : float
        Intensity of the first plating that does not come again, relative to the dry surface.
    residual : ndarray, shape (cycle,)
        Mean intensity left after each stripping relative to before the first plating, relative to
        the dry surface's brightness: inactive metal and films.
    plated : ndarray, shape (cycle,)
        Mean change on plating, likewise.
    spread : ndarray, shape (cycle,)
        Standard deviation of the efficiency between pixels beyond their uncertainty; 0 where all
        of it may be error.
    resolved : ndarray of bool, shape (cycle,)
        Whether that spread is real: larger than the pixels' uncertainty.
    """

    ce: np.ndarray
    uncertainty: np.ndarray
    valid: np.ndarray
    inverted: np.ndarray
    ratio: np.ndarray
    slope: float
    intercept: float
    correlation: float
    once: float
    residual: np.ndarray
    plated: np.ndarray
    spread: np.ndarray
    resolved: np.ndarray


def plateau_frames(
    time: np.ndarray, cycles: Sequence[CycleTimes], charge_time: np.ndarray, charge: np.ndarray
) -> list[np.ndarray]:
    """Frames of the plateaus: before, middle, plated, after by cycle, ``[b0, m0, p0, b1, m1...]``.

    Parameters
    ----------
    time : ndarray, shape (k,)
        Of the frames, s after contact.
    cycles : sequence of CycleTimes
    charge_time, charge : ndarray, shape (n,)
        Signed accumulated charge, C, and its time, s after contact.
    """
    at = np.interp(time, charge_time, charge)
    here = lambda t: float(np.interp(t, charge_time, charge))  # noqa: E731
    frames: list[np.ndarray] = []
    for k, cycle in enumerate(cycles):
        start, turn = here(cycle.start), here(cycle.turn)
        size = max(start - turn, 1e-30)
        plated = (start - at) / size
        rising = (time >= cycle.start) & (time <= cycle.turn)
        earliest = 0.0 if k == 0 else cycles[k - 1].turn
        bare = (time >= earliest) & (time <= cycle.turn) & (plated < EDGE)
        if k > 0:
            before = cycles[k - 1]
            low, high = here(before.turn), here(before.stop)
            bare &= (at - low) > (1 - EDGE) * (high - low)
        full = (time >= cycle.start) & (time <= cycle.stop) & (plated > 1 - EDGE)
        middle = rising & (plated > MIDDLE[0]) & (plated < MIDDLE[1])
        frames += [
            _some(bare, time, cycle.start),
            np.flatnonzero(middle),
            _some(full, time, cycle.turn),
        ]
    last = cycles[-1]
    low, high = here(last.turn), here(last.stop)
    done = (time >= last.turn) & ((at - low) > (1 - EDGE) * (high - low))
    frames.append(_some(done, time, last.stop))
    return frames


def _some(chosen: np.ndarray, time: np.ndarray, near: float) -> np.ndarray:
    """Return the frames chosen, the nearest one where none is."""
    found = np.flatnonzero(chosen)
    return found if len(found) else np.array([int(np.argmin(np.abs(time - near)))])


def efficiency_maps(
    corrected: Corrected,
    time: np.ndarray,
    cycles: Sequence[CycleTimes],
    efficiency: np.ndarray,
    charge_time: np.ndarray,
    charge: np.ndarray,
    *,
    smoothing: float,
    registration: float = 0.0,
) -> EfficiencyMaps:
    """Map the efficiency of every cycle.

    The calibration cannot see that what stays may reflect otherwise than what is stripped, and not
    alike everywhere. With ``r`` the optical ratio of the footprint and ``c`` its electrochemical
    efficiency, a charge that stays reflects ``q = c (1 - r) / (r (1 - c))`` times as much as one
    that is stripped. Of a single pixel ``q`` is known no better than to lie between 1 and twice as
    far from it, a rectangular distribution (GUM 4.3.7), so its efficiency is uncertain by
    ``c (1 - c) |q - 1| / sqrt(3)``. The cycle with the largest ``|q - 1|`` counts for all.

    Parameters
    ----------
    corrected : Corrected
    time : ndarray, shape (k,)
        Of the frames in use, s after contact.
    cycles : sequence of CycleTimes
    efficiency : ndarray, shape (cycle,)
        Electrochemical; NaN where unknown.
    charge_time, charge : ndarray
        As in `plateau_frames`.
    smoothing : float
        Standard deviation of the neighbourhood over which a ratio is taken, m.
    registration : float
        Standard uncertainty of a frame's place, px.

    Raises
    ------
    ValueError
        If there is no cycle, or the film does not reach any.
    """
    inside = [c for c in cycles if c.stop <= time[-1] + 2 * np.median(np.diff(time))]
    if not inside:
        raise ValueError(
            "no cycle lies within the film: check that film and electrochemistry overlap in time"
        )
    stretches = plateau_frames(time, inside, charge_time, charge)
    levels, counts, noise = _levels(corrected, stretches)
    bare, middle, plated, after = (
        levels[0:-1:3],
        levels[1:-1:3],
        levels[2::3],
        levels[3::3],
    )
    n_bare, n_middle, n_plated, n_after = counts[0:-1:3], counts[1:-1:3], counts[2::3], counts[3::3]
    up, down = plated - bare, plated - after
    error_up = noise * np.sqrt(1 / n_plated + 1 / n_bare)[:, None]
    error_down = noise * np.sqrt(1 / n_plated + 1 / n_after)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (middle - bare) / up
    seen = n_middle[:, None] > 0
    inverted = (up < 0) | (seen & (share > 1) & (middle - plated > SIGNIFICANT * error_up))
    usual = np.array([np.median(v[np.isfinite(v)]) for v in share])[:, None]
    thin = (up > MIN_SIGNAL * error_up) & ~inverted & ~(seen & (share > THICK * usual))
    known = np.full(len(inside), np.nan)
    known[: len(efficiency)] = np.asarray(efficiency, dtype=float)[: len(inside)]
    ratio = down.mean(axis=1) / up.mean(axis=1)
    slope, intercept, correlation = _relation(ratio, known)
    smoother = _Smoother(corrected, smoothing)
    wider = _Smoother(corrected, WIDER * smoother.sigma * corrected.film.pixel_size)
    once, once_error = _once(up, thin, smoother)
    again = up.mean(axis=1) - np.where(np.arange(len(inside)) == 0, once, 0.0)
    reflects = _reflection(down.mean(axis=1) / again, known)
    slopes = [smoother.slope(level) for level in bare]
    ce, sigma = np.empty_like(up), np.empty_like(up)
    for k in range(len(inside)):
        part = up[k] - (once if k == 0 else 0.0)
        local, scatter = smoother.ratio(down[k], part, thin[k])
        size = np.maximum(np.abs(smoother.average(part, thin[k])), 1e-30)
        camera = np.hypot(error_down[k], local * error_up[k]) / size
        camera *= corrected.sigma / max(smoother.sigma, corrected.sigma)
        blur = wider.rms(local - wider.ratio(down[k], part, thin[k])[0], thin[k])
        placed = np.sqrt(2.0) * registration * slopes[k] * np.hypot(1.0, local) / size
        mean = down[k][thin[k]].sum() / part[thin[k]].sum() if thin[k].any() else np.nan
        gain = known[k] / mean if np.isfinite(known[k]) else slope
        ce[k] = gain * local + (0.0 if np.isfinite(known[k]) else intercept)
        staying = np.clip(1 - abs(gain) * local, 0.0, 1.0)
        terms = [scatter, camera, blur, placed, local * staying * reflects / np.sqrt(3.0)]
        if k == 0 and thin[k].any():
            share = once_error / size
            terms.append(local * (share - np.mean(share[thin[k]])))
        sigma[k] = abs(gain) * np.sqrt(np.sum(np.square(terms), axis=0))
    usable = thin & np.isfinite(ce)
    spread, resolved = _spread(ce, sigma, usable)
    dry = float(np.mean(levels[0])) or 1.0
    return EfficiencyMaps(
        ce=_images(corrected, ce, np.nan),
        uncertainty=_images(corrected, sigma, np.nan),
        valid=_images(corrected, usable, empty=False),
        inverted=_images(corrected, inverted, empty=False),
        ratio=ratio,
        slope=slope,
        intercept=intercept,
        correlation=correlation,
        once=once / dry,
        residual=(after - bare[:1]).mean(axis=1) / dry,
        plated=up.mean(axis=1) / dry,
        spread=spread,
        resolved=resolved,
    )


class _Smoother:
    """Ratios over neighbourhoods, leaving out pixels that are not usable."""

    def __init__(self, corrected: Corrected, smoothing: float) -> None:
        self.sigma = max(smoothing / corrected.film.pixel_size, corrected.sigma)
        self._rest = np.sqrt(max(self.sigma**2 - corrected.sigma**2, 0.0))
        # neighbours closer than the optics and the first smoothing tell apart count as one
        self._share = min(1.0, 2 * (corrected.sigma / self.sigma) ** 2)
        self._mask, self._where = corrected.mask, corrected.pixels()

    def mean(self, values: np.ndarray, use: np.ndarray) -> np.ndarray:
        """Sum of usable values around every pixel."""
        image = np.zeros(self._mask.size)
        image[self._where] = np.where(use, values, 0.0)
        out = image.reshape(self._mask.shape)
        if self._rest > 0:
            out = np.asarray(ndimage.gaussian_filter(out, self._rest, mode="constant"))
        return out.ravel()[self._where]

    def rms(self, values: np.ndarray, use: np.ndarray) -> np.ndarray:
        """Root of the mean square of usable values around every pixel."""
        known = use & np.isfinite(values)
        total = self.mean(known.astype(float), known)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sqrt(self.mean(np.where(known, values, 0.0) ** 2, known) / total)

    def average(self, values: np.ndarray, use: np.ndarray) -> np.ndarray:
        """Mean of usable values around every pixel."""
        return self.mean(values, use) / np.maximum(self.mean(np.ones(len(values)), use), 1e-12)

    def slope(self, values: np.ndarray) -> np.ndarray:
        """Change by one pixel of the values' neighbourhood means, at every pixel."""
        image = np.zeros(self._mask.size)
        image[self._where] = self.average(values, np.ones(len(values), dtype=bool))
        inside = ndimage.distance_transform_edt(
            ~self._mask, return_distances=False, return_indices=True
        )
        image = image.reshape(self._mask.shape)[tuple(np.asarray(inside))]
        down, across = np.gradient(image)
        return np.hypot(down, across).ravel()[self._where]

    def ratio(
        self, upper: np.ndarray, lower: np.ndarray, use: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ratio of sums, and its standard error from the scatter within the neighbourhood."""
        bottom = self.mean(lower, use)
        with np.errstate(divide="ignore", invalid="ignore"):
            local = self.mean(upper, use) / bottom
            misfit = self.mean(np.where(use, upper - local * lower, 0.0) ** 2, use)
            weight = self.mean(np.ones(len(upper)), use)
            error = np.sqrt(misfit * weight * self._share) / np.abs(bottom)
        return local, error


def _once(up: np.ndarray, thin: np.ndarray, smoother: _Smoother) -> tuple[float, float]:
    """Return the part of the first plating's intensity that does not come again, and its error.

    Nuclei form and the first interphase grows once, everywhere alike; metal comes where plating is
    strong. So the first plating's intensity against the second's is a line whose intercept is the
    part that came once. 0 where there is no second cycle or no such line. Both have errors: the
    line lies between the two regressions, which bound it.
    """
    if len(up) < 2:
        return 0.0, 0.0
    use = thin[0] & thin[1]
    if use.sum() < MIN_PIXELS:
        return 0.0, 0.0
    weight = smoother.mean(np.ones(up.shape[1]), use)
    good = use & (weight > 0.5 * weight.max())
    first, second = (smoother.mean(v, use)[good] / weight[good] for v in up[:2])
    if not (np.ptp(first) > 0 and np.ptp(second) > 0):
        return 0.0, 0.0
    correlation = float(np.corrcoef(first, second)[0, 1])
    if correlation < LINE:
        return 0.0, 0.0
    steep = float(first.std() / second.std() * second.mean())
    bounds = first.mean() - steep * np.array([correlation, 1.0, 1 / correlation])
    low, line, high = np.clip(bounds[::-1], 0.0, MOST_ONCE * first.mean()).tolist()
    return line, (high - low) / np.sqrt(12.0)


def _spread(ce: np.ndarray, sigma: np.ndarray, usable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spread beyond the uncertainty by cycle, and whether it is larger than that."""
    spread, resolved = np.full(len(ce), np.nan), np.zeros(len(ce), dtype=bool)
    for k, use in enumerate(usable):
        if use.sum() < MIN_PIXELS:
            continue
        low, high = np.percentile(ce[k][use], [15.865, 84.135])
        typical = float(np.median(sigma[k][use]))
        spread[k] = np.sqrt(max(((high - low) / 2) ** 2 - typical**2, 0.0))
        resolved[k] = spread[k] > typical
    return spread, resolved


def _reflection(ratio: np.ndarray, known: np.ndarray) -> float:
    """Largest relative difference of reflection, per charge, between what stays and what goes."""
    use = (ratio > 0) & (ratio < 1) & (known > 0) & (known < 1 - MIN_STAYING)
    if not use.any():
        return 0.0
    r, c = ratio[use], known[use]
    return float(np.max(np.abs(c * (1 - r) / (r * (1 - c)) - 1)))


def _levels(
    corrected: Corrected, stretches: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean intensity of every stretch (s, pixels), frames in it, and the noise of one frame."""
    counts = np.array([len(s) for s in stretches])
    levels = np.zeros((len(stretches), int(corrected.mask.sum())))
    for slot, frames in enumerate(stretches):
        if len(frames):
            levels[slot] = corrected.mean(frames)
    longest = stretches[int(np.argmax(counts))][:NOISE_FRAMES]
    records = [b for _, b in corrected.records(int(longest[0]), int(longest[-1]) + 1)]
    third = np.diff(np.concatenate(records), 3, axis=0)
    noise = np.sqrt(np.mean(third**2, axis=0) / 20) if len(third) else np.zeros(levels.shape[1])
    return levels, counts, noise


def _relation(ratio: np.ndarray, efficiency: np.ndarray) -> tuple[float, float, float]:
    """Line from ratios to efficiencies: robust with 4 or more cycles, else by the origin."""
    use = np.isfinite(ratio) & np.isfinite(efficiency)
    if use.sum() == 0:
        return 1.0, 0.0, float("nan")
    x, y = ratio[use], efficiency[use]
    if use.sum() < 4 or np.ptp(x) < 1e-3:
        return float(np.sum(x * y) / np.sum(x * x)), 0.0, float("nan")
    slope, intercept = np.asarray(stats.theilslopes(y, x), dtype=float)[:2]
    return float(slope), float(intercept), float(np.corrcoef(x, y)[0, 1])


def _images(corrected: Corrected, values: np.ndarray, empty: float) -> np.ndarray:
    out = np.full((len(values), corrected.mask.size), empty)
    out[:, corrected.pixels()] = values
    return out.reshape(len(values), *corrected.mask.shape)
