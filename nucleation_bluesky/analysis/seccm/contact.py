"""Contact of the meniscus and its footprint, from the step it makes in the image.

The wetted area changes its reflectivity at once, the rest does not (Martin-Yerga et al. 2024,
Methods: the first frame with a change is the start of the electrochemistry). That frame was taken
up to one interval after contact: half an interval is taken off, and the width of a uniform
distribution over it is the uncertainty.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops

from nucleation_bluesky.analysis.seccm.film import NoFootprintError, Survey

LEVELS = 12  # frames averaged before contact
AFTER = 3  # frames averaged after it: nucleation may follow within a second
SMOOTH = 1.5  # px, of the step image
SEPARATION = 3.0  # classes at least this many standard deviations apart
SOLIDITY = 0.75
MIN_AREA = 25  # px
STEP_RATIO = 1.3  # mean frame-to-frame change at contact against the usual one


@dataclass(frozen=True)
class Contact:
    """When the meniscus touched.

    Parameters
    ----------
    frame : int
        First frame (of those in use) that shows the wetted area.
    time : float
        s on the film's clock, corrected for the camera's delay.
    uncertainty : float
        Standard uncertainty, s.
    step : float
        Relative change of intensity in the footprint.
    source : str
        ``"images"``, or ``"clock"`` where the recorded time was taken.
    """

    frame: int
    time: float
    uncertainty: float
    step: float
    source: str = "images"


@dataclass(frozen=True)
class Footprint:
    """The wetted area.

    Parameters
    ----------
    mask : ndarray of bool, shape (y, x)
        On the frame of contact.
    area : float
        m2.
    source : str
        ``"contact"`` (step at contact), ``"change"`` (what changed during the film) or
        ``"contrast"`` (against the dry surface).
    cut : bool
        Whether it touches the edge of the frame: its area is then a lower bound.
    """

    mask: np.ndarray
    area: float
    source: str
    cut: bool


def find_footprint(seen: Survey) -> tuple[Footprint, Contact | None]:
    """Find the wetted area and, where the film saw it, the contact.

    Parameters
    ----------
    seen : Survey

    Returns
    -------
    Footprint, Contact or None
        None where the film starts after contact.

    Raises
    ------
    NoFootprintError
        If no area stands out, neither by a step nor by change nor by contrast.
    """
    frame = _contact_frame(seen.binned)
    if frame is not None:
        mask = _segment(_step_image(seen, frame), SMOOTH)
        if mask is not None:
            footprint = _footprint(mask, seen, "contact")
            return footprint, _contact(seen, frame, mask)
    for source, image in (("change", _change_image(seen)), ("contrast", seen.averages[0])):
        mask = _segment(image, 3 * SMOOTH)
        if mask is not None:
            return _footprint(mask, seen, source), None
    raise NoFootprintError(
        "film without footprint: no area changes at contact or during the film, or differs from "
        "its surroundings; check that the pipette is in the field of view and that the film "
        "shows dry surface around the meniscus"
    )


def _contact_frame(binned: np.ndarray) -> int | None:
    """Return the first frame after the largest lasting step, None where there is none."""
    if len(binned) < 3:
        return None
    change = np.diff(binned, axis=0)
    change -= np.median(change, axis=(1, 2), keepdims=True)  # the lamp
    size = np.abs(change).mean(axis=(1, 2))
    usual = np.median(size)
    large = (size >= 0.5 * size.max()) & (size > STEP_RATIO * usual)
    for k in np.flatnonzero(large):
        before = np.median(binned[max(0, k - 2) : k + 1], axis=0)
        after = np.median(binned[k + 1 : k + 4], axis=0)
        lasting = after - before
        if np.abs(lasting - np.median(lasting)).mean() > 0.5 * size[k]:
            return int(k + 1)
    return None


def _step_image(seen: Survey, frame: int) -> np.ndarray:
    before = _mean(seen, max(0, frame - LEVELS), frame)
    # the meniscus may still spread in the frame of contact
    first = min(frame + 1, len(seen.film) - 1)
    after = _mean(seen, first, min(len(seen.film), first + AFTER))
    return after - before


def _mean(seen: Survey, first: int, last: int) -> np.ndarray:
    total = np.zeros(seen.film.shape)
    for _, block in seen.film.blocks(first, last):
        total += block.sum(axis=0, dtype=np.float64)
    return total / max(last - first, 1)


def _change_image(seen: Survey) -> np.ndarray:
    part = max(1, len(seen.averages) // 4)
    first, last = seen.averages[:part].mean(axis=0), seen.averages[-part:].mean(axis=0)
    ratio = float(np.median(last) / max(np.median(first), 1e-30))
    return last - ratio * first


def _segment(image: np.ndarray, smooth: float) -> np.ndarray | None:
    """Return the one compact area that stands out; None where there is none."""
    flat = np.asarray(ndimage.gaussian_filter(np.asarray(image, dtype=float), smooth))
    if not np.ptp(flat) > 0:
        return None
    split = threshold_otsu(flat)
    upper = flat > split
    if not 0 < upper.mean() < 1:
        return None
    low, high = np.median(flat[~upper]), np.median(flat[upper])
    upper = flat > 0.5 * (low + high)
    # dry surface surrounds the meniscus
    rim = np.concatenate([upper[0], upper[-1], upper[:, 0], upper[:, -1]])
    inside = ~upper if rim.mean() > 0.5 else upper
    inside = ndimage.binary_opening(inside, iterations=2)
    parts = np.asarray(label(np.asarray(inside), connectivity=1))
    if parts.max() == 0:
        return None
    sizes = np.bincount(parts.ravel())[1:]
    largest = parts == 1 + int(np.argmax(sizes))
    mask = np.asarray(ndimage.binary_fill_holes(largest), dtype=bool)
    if mask.sum() < MIN_AREA or mask.all():
        return None
    core = np.asarray(ndimage.binary_erosion(mask, iterations=2), dtype=bool)
    around = ~np.asarray(ndimage.binary_dilation(mask, iterations=2), dtype=bool)
    if not core.any() or not around.any():
        return None
    noise = np.hypot(_spread(flat[core]), _spread(flat[around])) / np.sqrt(2)
    apart = abs(np.median(flat[core]) - np.median(flat[around]))
    solidity = regionprops(label(mask.astype(np.uint8)))[0].solidity
    return mask if apart > SEPARATION * noise and solidity > SOLIDITY else None


def _spread(values: np.ndarray) -> float:
    low, high = np.percentile(values, [25, 75])
    return float((high - low) / 1.349)


def _footprint(mask: np.ndarray, seen: Survey, source: str) -> Footprint:
    rim = mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()
    return Footprint(mask, float(mask.sum() * seen.film.pixel_size**2), source, bool(rim))


def coarse_mask(mask: np.ndarray, size: int, *, share: float = 0.999) -> np.ndarray:
    """Squares of ``size`` pixels of which at least ``share`` lies in the mask."""
    rows, cols = mask.shape[0] // size * size, mask.shape[1] // size * size
    squares = mask[:rows, :cols].reshape(rows // size, size, cols // size, size)
    return squares.mean(axis=(1, 3)) >= share


def surroundings(mask: np.ndarray, margin: int) -> np.ndarray:
    """Pixels farther than ``margin`` px from the footprint."""
    distance = np.asarray(ndimage.distance_transform_edt(~mask))
    return distance > margin


def _contact(seen: Survey, frame: int, mask: np.ndarray) -> Contact:
    inside, outside = mask_traces(seen, mask)
    level = inside - outside
    first = max(0, frame - LEVELS)
    before = level[first:frame]
    after = level[frame + 1 : frame + 1 + AFTER]
    final = float(np.median(after)) if len(after) else float(level[-1])
    start = float(np.median(before))
    # the first frame that shows a tenth of the step, where the noise allows to see it
    noise = float(np.std(before)) if len(before) > 2 else 0.0
    threshold = max(0.1 * abs(final - start), 5 * noise)
    while frame - 1 > first and abs(level[frame - 1] - start) > threshold:
        frame -= 1
    time = seen.film.time
    interval = float(time[frame] - time[frame - 1])
    reference = float(np.median(inside[first:frame])) or 1.0
    return Contact(
        frame=frame,
        time=float(time[frame] - interval / 2),
        uncertainty=interval / np.sqrt(12.0),
        step=(final - start) / reference,
    )


def mask_traces(seen: Survey, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean intensity of each frame inside and around the footprint (0 where no surroundings)."""
    size = seen.bin
    inside = coarse_mask(mask, size)
    if not inside.any():
        inside = coarse_mask(mask, size, share=0.5)
    around = coarse_mask(surroundings(mask, 8), size)
    dry = seen.binned[:, around].mean(axis=1) if around.any() else np.zeros(len(seen.film))
    return seen.binned[:, inside].mean(axis=1), dry


def settle_contact(
    found: Contact | None, recorded: float | None, recorded_uncertainty: float, interval: float
) -> tuple[Contact | None, str]:
    """Weigh the contact seen in the images against the one the controller recorded.

    Parameters
    ----------
    found : Contact or None
        From the images.
    recorded : float or None
        Contact on the film's clock as the controller recorded it, s.
    recorded_uncertainty : float
        Of it, s.
    interval : float
        Between frames, s.

    Returns
    -------
    Contact or None, str
        The contact to use and what speaks against it (empty where both agree). The clock is used
        where both agree, for it is finer; else the images.
    """
    if recorded is None:
        return found, ""
    if found is None:
        return Contact(-1, recorded, recorded_uncertainty, float("nan"), "clock"), ""
    apart = recorded - found.time
    allowed = max(interval, 3 * np.hypot(found.uncertainty, recorded_uncertainty))
    if abs(apart) > allowed:
        return found, (
            f"the recorded contact is {apart:+.3f} s from the one in the images (allowed "
            f"{allowed:.3f} s): the clocks differ; the images are used"
        )
    if recorded_uncertainty < found.uncertainty:
        return Contact(found.frame, recorded, recorded_uncertainty, found.step, "clock"), ""
    return found, ""
