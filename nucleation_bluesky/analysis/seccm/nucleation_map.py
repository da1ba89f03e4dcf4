"""Map of optical nucleation times, with the uncertainty of every pixel.

Per pixel the largest local maximum of dI/dt (Savitzky-Golay on the real times) of frames smoothed
to about the optical resolution: neighbouring pixels are not independent anyway.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from nucleation_bluesky.analysis.seccm.film import Film, bin_frames, group_frames
from nucleation_bluesky.analysis.seccm.filter_choice import Calibration, Sample, calibrate
from nucleation_bluesky.analysis.seccm.optical_time import (
    QUANTISED,
    FilmTooShortError,
    OpticalTime,
)
from nucleation_bluesky.analysis.seccm.peaks import Peaks, find_peaks_in, vertex_noise
from nucleation_bluesky.analysis.seccm.savgol import savgol_operator
from nucleation_bluesky.analysis.seccm.smooth import Corrected

SAMPLE = 1500  # records on which the filter is tried out
SAMPLE_BIN = 4  # px, at most: squares that stand for pixels in the trial
SAMPLES = 16  # frames within the width of the footprint's maximum are enough
SEARCH = 2.0  # widths of the footprint's maximum searched on either side
LIMIT = 0.5  # of the search range: an uncertainty beyond it is no measurement
FWHM = 2.3548  # of a Gaussian, standard deviations
COARSE = 0.5  # of the frame interval: a smaller spread cannot be resolved
SIGNIFICANT = 3.0  # of the maximum over the derivative's noise


@dataclass(frozen=True)
class NucleationMap:
    """Nucleation time of every pixel, arrays of shape (y, x); NaN outside the footprint.

    Parameters
    ----------
    time, uncertainty : ndarray
        s after contact; standard uncertainty (of the differences between pixels).
    valid : ndarray of bool
        A maximum was found inside the range searched and its uncertainty is meaningful.
    window, order : int
        Savitzky-Golay filter: frames, order of the polynomial.
    interval : float
        Between the frames it was applied to, s: those of a fast camera are averaged first.
    searched : (float, float)
        Range of times, s.
    model_uncertainty : float
        The part of the uncertainty that the choice of filter makes, s.
    spread, spread_uncertainty : float
        Standard deviation of the local times beyond their uncertainty, s.
    resolved : bool
        Whether that spread is real: beyond its own error, the pixels' uncertainty and the frame
        interval.
    verdict : str
        In words.
    """

    time: np.ndarray
    uncertainty: np.ndarray
    valid: np.ndarray
    window: int
    order: int
    interval: float
    searched: tuple[float, float]
    model_uncertainty: float
    spread: float
    spread_uncertainty: float
    resolved: bool
    verdict: str


def nucleation_map(
    corrected: Corrected,
    time: np.ndarray,
    first: int,
    footprint: OpticalTime,
    *,
    window: int | None = None,
    order: int | None = None,
    seed: int = 0,
) -> NucleationMap:
    """Map the nucleation time.

    Parameters
    ----------
    corrected : Corrected
        Frames and how to correct them.
    time : ndarray, shape (k,)
        s after contact, of all frames in use.
    first : int
        First frame that is wholly after contact.
    footprint : OpticalTime
        Of the mean over the footprint: tells where to search.
    window, order : int or None
        Savitzky-Golay filter; None: of those that the frame rate allows, the one whose maxima the
        film's own noise moves least.
    seed : int
        Of the noise that is repeated.

    Raises
    ------
    FilmTooShortError
        If the frames after contact do not hold the filter.
    """
    corrected, time, first = _thinned(corrected, time, first, footprint.width)
    after = np.asarray(time[first:], dtype=float)
    interval = float(np.median(np.diff(after)))
    if window is not None and len(after) < window + 2:
        raise FilmTooShortError(
            f"the film is too short: {len(after)} frames after contact for a Savitzky-Golay "
            f"window of {window}; film longer or faster, or choose a shorter window"
        )
    low, high = _search(after, footprint)
    sample = _sample(corrected, after, first, (low, high), footprint, seed)
    choice = calibrate(sample, window, order, np.random.default_rng(seed))
    operator = savgol_operator(after, choice.window, choice.order)
    used = operator[low - 1 : high + 1].indices
    span = (int(used.min()), int(used.max()) + 1)
    blocks = (
        (start - first, block)
        for start, block in corrected.records(first + span[0], first + span[1])
    )
    penalty = sample.penalty(choice.window, choice.order, after)
    peaks = find_peaks_in(blocks, operator, after, low, high, penalty)
    sigma = np.hypot(
        choice.error(peaks, vertex_noise(operator, after)),
        np.hypot(choice.model, interval * QUANTISED),
    )
    valid = np.isfinite(peaks.time) & (sigma < LIMIT * (after[high] - after[low]))
    # a maximum must stand out from the noise of the derivative
    size = np.sqrt(np.asarray(operator.multiply(operator).sum(axis=1)).ravel())
    valid &= peaks.height > SIGNIFICANT * peaks.noise * size[peaks.index]
    sigma = np.hypot(sigma, _disagreement(corrected, peaks.time, valid))
    searched = (float(after[low]), float(after[high - 1]))
    return _result(corrected, peaks, sigma, valid, choice, interval, searched)


def _thinned(
    corrected: Corrected, time: np.ndarray, first: int, width: float
) -> tuple[Corrected, np.ndarray, int]:
    """Average frames of a fast camera to what the width of the maximum needs."""
    size = int(width / float(np.median(np.diff(time[first:]))) // SAMPLES)
    if size < 2:
        return corrected, time, first
    film = group_frames(corrected.film, first, len(time), size)
    count = len(film) * size

    def mean(values: np.ndarray) -> np.ndarray:
        part = values[first : first + count]
        return part.reshape(len(film), size, *part.shape[1:]).mean(axis=1)

    thinned = replace(corrected, film=film, lamp=mean(corrected.lamp), shift=mean(corrected.shift))
    return thinned, mean(np.asarray(time, dtype=float)), 0


def _search(after: np.ndarray, footprint: OpticalTime) -> tuple[int, int]:
    interval = float(np.median(np.diff(after)))
    reach = max(SEARCH * footprint.width, 4 * interval)
    low = int(np.clip(np.searchsorted(after, footprint.peak - reach), 1, len(after) - 2))
    high = int(np.clip(np.searchsorted(after, footprint.peak + reach), low + 1, len(after) - 1))
    return low, high


def _sample(
    corrected: Corrected,
    after: np.ndarray,
    first: int,
    rows: tuple[int, int],
    footprint: OpticalTime,
    seed: int,
) -> Sample:
    """Take squares of a few pixels, smoothed like the pixels, for trying filters out."""
    film = corrected.film
    margin = max(rows[1] - rows[0], 12)  # the widest filter tried reaches so far
    span = (max(0, rows[0] - margin), min(len(after), rows[1] + margin))
    size = int(np.clip(round(corrected.sigma), 1, SAMPLE_BIN))
    frames = np.concatenate(
        [bin_frames(b, size) for _, b in film.blocks(first + span[0], first + span[1])]
    )
    stretch = slice(first + span[0], first + span[1])
    y, x = (n // size * size for n in film.shape)
    squares = corrected.mask[:y, :x].reshape(y // size, size, x // size, size)
    mask = squares.mean(axis=(1, 3)) > 0.5
    binned = Film(frames, film.time[stretch], np.arange(len(frames)), film.pixel_size * size)
    recipe = Corrected(
        film=binned,
        lamp=corrected.lamp[stretch],
        shift=corrected.shift[stretch] / size,
        sigma=max(np.sqrt(max(corrected.sigma**2 - (size**2 - 1) / 12, 0.0)) / size, 0.0),
        mask=mask,
    )
    chosen = np.sort(np.random.default_rng(seed).permutation(int(mask.sum()))[:SAMPLE])
    values = np.concatenate([b[:, chosen] for _, b in recipe.records(0, len(frames))])
    low, high = max(rows[0] - span[0], 1), min(rows[1] - span[0], len(values) - 1)
    return Sample(
        values=values - values[0],
        time=after[span[0] : span[1]],
        rows=(low, high),
        frames=len(after),
        expected=(footprint.peak, footprint.width / FWHM),
    )


def _disagreement(corrected: Corrected, times: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """How far each time is from those within the smoothing around it, s.

    Where times change faster than the optics tell apart, a maximum is that of either side, and
    which one is chance; a lone outlier is found in the same way.
    """
    shape = corrected.mask.shape

    def around(values: np.ndarray) -> np.ndarray:
        image = np.zeros(corrected.mask.size)
        image[corrected.pixels()] = np.where(valid, values, 0.0)
        smooth = np.asarray(ndimage.gaussian_filter(image.reshape(shape), corrected.sigma))
        return smooth.ravel()[corrected.pixels()]

    with np.errstate(divide="ignore", invalid="ignore"):
        mean = around(times) / around(np.ones(len(times)))
    return np.where(valid, np.abs(times - mean), 0.0)


def _result(
    corrected: Corrected,
    peaks: Peaks,
    sigma: np.ndarray,
    valid: np.ndarray,
    choice: Calibration,
    interval: float,
    searched: tuple[float, float],
) -> NucleationMap:
    where, shape = corrected.pixels(), corrected.mask.shape

    def image(values: np.ndarray, empty: float | bool) -> np.ndarray:
        out = np.full(corrected.mask.size, empty)
        out[where] = values
        return out.reshape(shape)

    spread, error, verdict = _verdict(peaks.time[valid], sigma[valid], valid, interval)
    return NucleationMap(
        time=image(peaks.time, np.nan),
        uncertainty=image(sigma, np.nan),
        valid=image(valid, False),
        window=choice.window,
        order=choice.order,
        interval=interval,
        searched=searched,
        model_uncertainty=choice.model,
        spread=spread,
        spread_uncertainty=error,
        resolved=not verdict.startswith("local spread not"),
        verdict=verdict,
    )


def _verdict(
    times: np.ndarray, sigma: np.ndarray, valid: np.ndarray, interval: float
) -> tuple[float, float, str]:
    if times.size < 50:
        why = f"local spread not resolved: only {times.size} pixels show a maximum of dI/dt"
        return float("nan"), float("nan"), why
    low, high = np.percentile(times, [15.865, 84.135])
    total = (high - low) / 2
    typical = float(np.median(sigma))
    spread = float(np.sqrt(max(total**2 - typical**2, 0.0)))
    # how well the uncertainty itself is known limits what can be told beyond it
    error = float(0.25 * typical**2 / max(spread, 0.5 * typical))
    if spread < typical or spread < 2 * error or spread < interval * COARSE or valid.mean() < 0.3:
        return (
            spread,
            error,
            (
                f"local spread not resolved: {spread:.3g} s beyond noise, with {typical:.3g} s "
                f"uncertainty of a pixel and {interval:.3g} s between frames; film faster"
            ),
        )
    return (
        spread,
        error,
        (f"local spread resolved: {spread:.3g} s, uncertainty of a pixel {typical:.3g} s"),
    )
