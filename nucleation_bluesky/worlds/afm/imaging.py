"""Topography as a tip of finite size sees it."""

import math

import numpy as np
from scipy.ndimage import grey_dilation, map_coordinates

from nucleation_bluesky.worlds.afm.keyed import keyed_generator
from nucleation_bluesky.worlds.afm.parameters import AfmWorldParameters
from nucleation_bluesky.worlds.afm.sample import Sample
from nucleation_bluesky.worlds.afm.stage import Stage

_MAX_OVERSAMPLING = 4
_MAX_REACH = 40  # grid points, half width of the tip's footprint


def tip_profile(r: np.ndarray, radius: float, half_angle: float) -> np.ndarray:
    """Height of the tip's surface above its apex at distance ``r`` from the axis, m.

    A sphere that goes over tangentially into a cone of the given half angle (rad).
    """
    joint = radius * math.cos(half_angle)
    sphere = radius - np.sqrt(np.maximum(radius**2 - np.minimum(r, joint) ** 2, 0.0))
    return sphere + np.maximum(r - joint, 0.0) / math.tan(half_angle)


def dilate(surface: np.ndarray, step: float, radius: float, half_angle: float) -> np.ndarray:
    """Grey dilation of a surface by a tip: the height of the apex on contact.

    Parameters
    ----------
    surface : ndarray, shape (ny, nx)
        Heights on a square grid, m.
    step : float
        Grid step, m.
    radius, half_angle : float
        Tip apex (m) and cone (rad).

    Returns
    -------
    ndarray, shape (ny, nx)
    """
    relief = float(np.ptp(surface))
    reach = min(math.ceil((radius + relief * math.tan(half_angle)) / step), _MAX_REACH)
    offsets = np.arange(-reach, reach + 1) * step
    tip = tip_profile(np.hypot(offsets[None, :], offsets[:, None]), radius, half_angle)
    keep = reach + 1
    while keep > 1 and tip[reach, reach + keep - 1] > relief:
        keep -= 1
    low, high = reach - keep + 1, reach + keep
    shape = tip[low:high, low:high]
    return grey_dilation(surface, structure=-shape, mode="nearest")


def take_image(
    seed: int,
    number: int,
    sample: Sample,
    stage: Stage,
    parameters: AfmWorldParameters,
    centre: tuple[float, float],
    size: float,
    pixels: int,
    time: float,
) -> np.ndarray:
    """Image centred on ``centre`` of the stage's frame, m, shape (pixels, pixels), row along +y.

    Lines are taken one after the other from ``time`` on, while the sample drifts.
    """
    p = parameters
    rng = keyed_generator(seed, "image", number)
    pixel = size / pixels
    step = pixel / min(_MAX_OVERSAMPLING, max(1, math.ceil(pixel / p.tip_radius)))
    times = time + p.image_line_time * np.arange(pixels)
    drift_x = np.array([stage.drift("x", t) for t in times])
    drift_y = np.array([stage.drift("y", t) for t in times])
    nominal = (np.arange(pixels) - (pixels - 1) / 2) * pixel
    y_lines = centre[1] + nominal + drift_y
    margin = 3 * pixel + 4 * step
    x_axis = np.arange(
        centre[0] + nominal[0] + drift_x.min() - margin,
        centre[0] + nominal[-1] + drift_x.max() + margin,
        step,
    )
    y_axis = np.arange(y_lines.min() - margin, y_lines.max() + margin, step)
    seen = dilate(sample.surface(x_axis, y_axis), step, p.tip_radius, p.tip_half_angle)
    columns = (centre[0] + nominal[None, :] + drift_x[:, None] - x_axis[0]) / step
    rows = np.broadcast_to(((y_lines - y_axis[0]) / step)[:, None], columns.shape)
    image = map_coordinates(seen, [rows, columns], order=1, mode="nearest")
    image += p.image_tilt_x * nominal[None, :] + p.image_tilt_y * nominal[:, None]
    image += rng.normal(0, p.image_offset)
    image += rng.normal(0, p.image_line_noise, (pixels, 1))
    image += rng.normal(0, p.image_noise, (pixels, pixels))
    return image
