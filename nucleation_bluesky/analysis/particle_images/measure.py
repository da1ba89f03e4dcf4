"""Measure labelled particles: the table that is written as CSV."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage import measure

from nucleation_bluesky.analysis.particle_images.find import Polarity, segment_image

COLUMNS = (
    "label",
    "centroid_x",
    "centroid_y",
    "area",
    "equivalent_diameter",
    "circularity",
    "touches_border",
)


@dataclass(frozen=True)
class ParticleTable:
    """Particles of an image; every array has shape (n,).

    Lengths are in m where the pixel size is known, else in pixels. Pixel (row, col) is centred at
    ``(col, row) * pixel_size``.

    Parameters
    ----------
    label : ndarray of int
        1..n, the number in `labels`.
    centroid_x, centroid_y : ndarray
        m or px.
    area : ndarray
        m2 or px2.
    equivalent_diameter : ndarray
        Diameter of the disc of the same area, m or px.
    circularity : ndarray
        4 pi area / perimeter^2, at most 1.
    touches_border : ndarray of bool
        Cut by the edge of the picture: its size is a lower limit.
    labels : ndarray of int, shape (rows, cols)
    analysed_area : float
        Of the picture without what was drawn on it, m2 or px2.
    pixel_size : float or None
        m.
    polarity : str
        ``bright`` or ``dark``.
    doubts : tuple of str
        Why the count is uncertain; empty where nothing speaks against it.
    """

    label: np.ndarray
    centroid_x: np.ndarray
    centroid_y: np.ndarray
    area: np.ndarray
    equivalent_diameter: np.ndarray
    circularity: np.ndarray
    touches_border: np.ndarray
    labels: np.ndarray
    analysed_area: float
    pixel_size: float | None
    polarity: str
    doubts: tuple[str, ...] = ()

    @property
    def certain(self) -> bool:
        """Whether nothing speaks against the count."""
        return not self.doubts

    @property
    def count(self) -> int:
        """Number of particles, those at the border included."""
        return int(self.label.size)

    @property
    def density(self) -> float:
        """Particles per analysed area, 1/m2 (1/px2)."""
        return self.count / self.analysed_area if self.analysed_area > 0 else float("nan")

    @property
    def mean_diameter(self) -> float:
        """Mean equivalent diameter, m or px; NaN without particles."""
        return float(self.equivalent_diameter.mean()) if self.count else float("nan")

    @property
    def sd_diameter(self) -> float:
        """Sample standard deviation of the equivalent diameter, m or px; NaN below two."""
        return float(self.equivalent_diameter.std(ddof=1)) if self.count > 1 else float("nan")

    def columns(self) -> dict[str, np.ndarray]:
        """Return the columns of the table by name, in the order of `COLUMNS`."""
        return {name: getattr(self, name) for name in COLUMNS}


def find_particles(
    image: np.ndarray,
    *,
    pixel_size: float | None = None,
    colour: np.ndarray | None = None,
    polarity: Polarity = "auto",
    min_diameter: float | None = None,
    max_area: float | None = None,
    footprint: np.ndarray | None = None,
) -> ParticleTable:
    """Segment and measure the particles of a micrograph.

    Parameters
    ----------
    image : ndarray, shape (rows, cols)
        Grey values in any unit.
    pixel_size : float or None
        m; None: lengths stay in pixels.
    colour : ndarray or None, shape (rows, cols, 3)
        See `segment_image`.
    polarity : {"auto", "bright", "dark"}
    min_diameter : float or None
        Smaller particles are left out, m or px; those under 4 px always are.
    max_area : float or None
        Larger particles are left out, m2 or px2 (the SECCM paper leaves out those over 0.1 um2).
    footprint : ndarray of bool or None, shape (rows, cols)
        Only particles whose centroid lies inside count, and the density refers to its area.

    Raises
    ------
    ValueError
        If the image, the footprint or a limit cannot be used.
    """
    scale = 1.0 if pixel_size is None else float(pixel_size)
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"pixel size {pixel_size!r}: give a positive length")
    for name, limit in (("min_diameter", min_diameter), ("max_area", max_area)):
        if limit is not None and not (np.isfinite(limit) and limit > 0):
            raise ValueError(f"{name} {limit!r}: give a positive value")
    if footprint is not None and np.shape(footprint) != np.shape(image):
        raise ValueError("the footprint mask and the image differ in shape")
    found = segment_image(
        image,
        colour=colour,
        polarity=polarity,
        min_diameter=None if min_diameter is None else min_diameter / scale,
    )
    return measure_labels(
        found.labels,
        valid=found.valid,
        pixel_size=pixel_size,
        polarity=found.polarity,
        max_area=max_area,
        footprint=footprint,
        doubts=found.doubts,
    )


def measure_labels(
    labels: np.ndarray,
    *,
    valid: np.ndarray | None = None,
    pixel_size: float | None = None,
    polarity: str = "bright",
    max_area: float | None = None,
    footprint: np.ndarray | None = None,
    doubts: tuple[str, ...] = (),
) -> ParticleTable:
    """Measure particles that are already labelled (see `find_particles`)."""
    scale = 1.0 if pixel_size is None else float(pixel_size)
    inside = np.ones(labels.shape, dtype=bool) if valid is None else np.asarray(valid, dtype=bool)
    if footprint is not None:
        inside = inside & np.asarray(footprint, dtype=bool)
    props = measure.regionprops_table(
        labels, properties=("label", "centroid", "area", "perimeter_crofton")
    )
    area = props["area"].astype(float)
    row, col = props["centroid-0"], props["centroid-1"]
    keep = np.ones(area.size, dtype=bool)
    if max_area is not None:
        keep &= area * scale**2 <= max_area
    if footprint is not None:
        keep &= np.asarray(footprint)[np.round(row).astype(int), np.round(col).astype(int)] > 0
    perimeter = np.maximum(props["perimeter_crofton"], 1e-9)
    cut = _cut_labels(labels, valid)
    chosen = props["label"][keep]
    table = np.zeros(int(labels.max()) + 1, dtype=np.int32)
    table[chosen] = np.arange(1, chosen.size + 1)
    return ParticleTable(
        label=np.arange(1, chosen.size + 1),
        centroid_x=col[keep] * scale,
        centroid_y=row[keep] * scale,
        area=area[keep] * scale**2,
        equivalent_diameter=2 * np.sqrt(area[keep] / np.pi) * scale,
        circularity=np.minimum(4 * np.pi * area[keep] / perimeter[keep] ** 2, 1.0),
        touches_border=np.isin(chosen, cut),
        labels=table[labels],
        analysed_area=float(inside.sum()) * scale**2,
        pixel_size=pixel_size,
        polarity=polarity,
        doubts=doubts,
    )


def _cut_labels(labels: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """Labels that reach the frame or what was drawn on the picture."""
    edge = np.zeros(labels.shape, dtype=bool)
    edge[[0, -1], :] = True
    edge[:, [0, -1]] = True
    if valid is not None and not valid.all():
        edge |= np.asarray(ndimage.binary_dilation(~valid))
    cut = np.unique(labels[edge])
    return cut[cut > 0]
