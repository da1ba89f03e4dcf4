"""Place the outline of each particle between its own grey and that of its ground.

Half-way, or lower where the grey falls more steeply there.

The ground is taken next to the particle, so a background that varies over the image, or particles
of several brightnesses, do not shift the outlines.
"""

import numpy as np
from scipy import ndimage
from skimage import measure

from nucleation_bluesky.analysis.particle_images.splitting import fill_hollow

# an outline that moves more than this has found something else
LARGEST_GROWTH = 1.6
LARGEST_LOSS = 0.5
# square root of the area below which blur matters, px
SMALL = 12.0
# candidate heights of an outline between ground and particle: the edge of a sphere seen in
# transmission is steepest far below half-height
HEIGHTS = (0.5, 0.4, 0.3, 0.2)


def refine_outlines(
    image: np.ndarray, labels: np.ndarray, valid: np.ndarray, *, reject: bool = False
) -> np.ndarray:
    """Move each outline to its own half-height.

    Parameters
    ----------
    image : ndarray, shape (rows, cols)
        Lightly smoothed; particles are bright.
    labels : ndarray of int, shape (rows, cols)
        0 outside.
    valid : ndarray of bool
        Pixels of the picture itself.
    reject : bool
        Drop a region that falls apart at its half-height, instead of keeping its old outline.

    Returns
    -------
    ndarray of int, shape (rows, cols)
        The same numbers; a rejected region is absent.
    """
    out = np.zeros_like(labels)
    rows, cols = labels.shape
    for k, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        area = np.count_nonzero(labels[box] == k)
        pad = 4 + round(0.3 * np.sqrt(area))
        window = (
            slice(max(0, box[0].start - pad), min(rows, box[0].stop + pad)),
            slice(max(0, box[1].start - pad), min(cols, box[1].stop + pad)),
        )
        local, grey, usable = labels[window], image[window], valid[window]
        own = local == k
        found = _half_height(own, (local > 0) & ~own, grey, usable, np.sqrt(area))
        moved, whole = found if found is not None else (None, False)
        # an outline drawn in the halo may shrink a lot, if one piece remains
        least = LARGEST_LOSS * area * (0.3 if whole else 1.0)
        if moved is None or not least < moved.sum() < LARGEST_GROWTH * area:
            if reject and moved is not None:
                continue
            moved = own
        view = out[window]
        view[moved & (view == 0)] = k
    return out


def _half_height(
    own: np.ndarray, others: np.ndarray, grey: np.ndarray, usable: np.ndarray, size: float
) -> tuple[np.ndarray, bool] | None:
    """Outline at half height inside a window, and whether it is nearly all there is above it.

    None where there is too little ground to see.
    """
    distance = np.asarray(ndimage.distance_transform_edt(~own))
    reach = max(2.0, 0.12 * size)
    ring = (distance > reach) & (distance <= reach + max(2.0, 0.12 * size)) & usable
    free = ring & ~others
    if free.sum() < 0.25 * ring.sum() or free.sum() < 8:
        return None
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(own, 1)))[1:-1, 1:-1]
    core = own & (depth > 0.3 * depth.max())
    # a particle of a few pixels has no plateau: blur has lowered all but its summit
    inside = np.percentile(grey[core], 50 if size > SMALL else 85)
    ground = np.median(grey[free])
    room = (distance <= reach) & ~others & usable
    gradient = np.hypot(ndimage.sobel(grey, 0), ndimage.sobel(grey, 1))
    best: tuple[np.ndarray, bool] | None = None
    steepest = 0.0
    for height in HEIGHTS:
        piece, whole = _piece((grey > ground + height * (inside - ground)) & room, own)
        edge = piece & np.logical_not(ndimage.binary_erosion(piece, border_value=1))
        slope = float(gradient[edge].mean()) if edge.any() else 0.0
        # half-height stands unless the grey falls clearly more steeply further out
        if best is None or slope > 1.08 * steepest:
            best, steepest = (piece & ~others, whole), slope
    return best


def _piece(mask: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the largest piece of the mask inside the region, and whether it is nearly all."""
    pieces = np.asarray(measure.label(mask, connectivity=1))
    share = np.bincount(pieces[own], minlength=1)
    share[0] = 0
    if not share.any():
        return np.zeros_like(own), False
    piece = fill_hollow(pieces == int(share.argmax()))
    return piece, bool(share.max() > 0.85 * share.sum())
