"""Coulombic efficiency of every pixel from the film (S25; Martin-Yerga et al. 2024, Fig 2e, S5-S7).

Per cycle the change of intensity on stripping over that on plating; the linear relation between
the footprint's mean ratio and the electrochemical efficiency over the cycles turns ratios into
efficiencies.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from nucleation_bluesky.analysis.seccm.smooth import Corrected

EDGE = 0.02  # share of a cycle's charge within which its plateaus end
MIDDLE = (0.5, 0.8)  # of the plated charge: an intensity beyond the end's tells inversion
SIGNIFICANT = 4.0
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
        Of every pixel; the uncertainty is that of the camera's noise.
    valid : ndarray of bool
        Inside the footprint, enough signal, contrast not inverted.
    inverted : ndarray of bool
        Intensity turned round while metal was still plated: a deposit too thick.
    ratio : ndarray, shape (cycle,)
        Mean intensity change on stripping over that on plating, of the whole footprint.
    slope, intercept, correlation : float
        Of efficiency against that ratio.
    residual : ndarray, shape (cycle,)
        Mean intensity left after each stripping relative to before the first plating, relative to
        the dry surface's brightness: inactive metal and films.
    plated : ndarray, shape (cycle,)
        Mean change on plating, likewise.
    """

    ce: np.ndarray
    uncertainty: np.ndarray
    valid: np.ndarray
    inverted: np.ndarray
    ratio: np.ndarray
    slope: float
    intercept: float
    correlation: float
    residual: np.ndarray
    plated: np.ndarray


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
) -> EfficiencyMaps:
    """Map the efficiency of every cycle.

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
    bare, middle, plated = levels[0:-1:3], levels[1:-1:3], levels[2::3]
    n_bare, n_plated = counts[0:-1:3], counts[2::3]
    after, n_after = levels[3::3], counts[3::3]
    up, down = plated - bare, plated - after
    error_up = noise * np.sqrt(1 / n_plated + 1 / n_bare)[:, None]
    error_down = noise * np.sqrt(1 / n_plated + 1 / n_after)[:, None]
    ratio = down.mean(axis=1) / up.mean(axis=1)
    slope, intercept, correlation = _relation(ratio, np.asarray(efficiency, float)[: len(inside)])
    with np.errstate(divide="ignore", invalid="ignore"):
        local = down / up
        spread = np.hypot(error_down, local * error_up) / np.abs(up) * abs(slope)
        turned = (middle - plated) > SIGNIFICANT * noise * np.sqrt(
            1 / n_plated + 1 / np.maximum(counts[1:-1:3], 1)
        )[:, None]
    turned &= counts[1:-1:3, None] > 0
    inverted = turned | (up < 0)
    valid = np.isfinite(local) & (up > MIN_SIGNAL * error_up) & ~inverted
    dry = float(np.mean(levels[0])) or 1.0
    return EfficiencyMaps(
        ce=_images(corrected, intercept + slope * local, np.nan),
        uncertainty=_images(corrected, spread, np.nan),
        valid=_images(corrected, valid, False),
        inverted=_images(corrected, inverted, False),
        ratio=ratio,
        slope=slope,
        intercept=intercept,
        correlation=correlation,
        residual=(after - bare[:1]).mean(axis=1) / dry,
        plated=up.mean(axis=1) / dry,
    )


def _levels(
    corrected: Corrected, stretches: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean intensity of every stretch (s, pixels), frames in it, and the noise of one frame."""
    pixels = int(corrected.mask.sum())
    total = np.zeros((len(stretches), pixels))
    counts = np.array([len(s) for s in stretches])
    energy, terms = np.zeros(pixels), 0
    wanted: dict[int, list[int]] = {}
    for slot, frames in enumerate(stretches):
        for k in frames:
            wanted.setdefault(int(k), []).append(slot)
    first, last = min(wanted), max(wanted) + 1
    for start, block in corrected.records(first, last):
        for k, record in enumerate(block):
            for slot in wanted.get(start + k, ()):
                total[slot] += record
        if len(block) >= 4:
            third = np.diff(block, 3, axis=0)
            energy += np.einsum("kp,kp->p", third, third)
            terms += len(third)
    noise = np.sqrt(energy / max(terms, 1) / 20)
    return total / np.maximum(counts, 1)[:, None], counts, noise


def _relation(ratio: np.ndarray, efficiency: np.ndarray) -> tuple[float, float, float]:
    """Line from ratios to efficiencies: robust with 4 or more cycles, else by the origin."""
    use = np.isfinite(ratio) & np.isfinite(efficiency)
    if use.sum() == 0:
        return 1.0, 0.0, float("nan")
    x, y = ratio[use], efficiency[use]
    if use.sum() < 4 or np.ptp(x) < 1e-3:
        return float(np.sum(x * y) / np.sum(x * x)), 0.0, float("nan")
    slope, intercept, _, _ = stats.theilslopes(y, x)
    return float(slope), float(intercept), float(np.corrcoef(x, y)[0, 1])


def _images(corrected: Corrected, values: np.ndarray, empty: float | bool) -> np.ndarray:
    out = np.full((len(values), corrected.mask.size), empty)
    out[:, corrected.pixels()] = values
    return out.reshape(len(values), *corrected.mask.shape)
