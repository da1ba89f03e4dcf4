"""Lists of sites: where they are, which lattice they belong to, in which order they are visited.

A site's ``index`` names it for good: a resumed map visits some of the same indices, in any order.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree
from skimage.measure import points_in_poly

ORDERS = ("raster", "snake", "random", "given")
SQRT3_2 = math.sqrt(3) / 2


@dataclass(frozen=True)
class Sites:
    """Sites in order of visit.

    Parameters
    ----------
    index : ndarray of int, shape (n,)
        Name of each site in the complete list (lattice index ``row * cols + col`` where gridded).
    x, y : ndarray, shape (n,)
        Position in the sample frame, m.
    row, col : ndarray of int, shape (n,)
        Lattice indices; -1 where not gridded.
    shape : tuple of int or None
        (rows, cols) of the lattice.
    pitch : float or None
        Distance between nearest lattice sites, m.
    origin : tuple of float or None
        Position of row 0, column 0, m.
    angle : float
        Rotation of the lattice about its origin, rad.
    lattice : str
        "square", "hexagonal", "custom" or "single".
    order : str
        One of ``ORDERS``.
    """

    index: np.ndarray
    x: np.ndarray
    y: np.ndarray
    row: np.ndarray
    col: np.ndarray
    shape: tuple[int, int] | None = None
    pitch: float | None = None
    origin: tuple[float, float] | None = None
    angle: float = 0.0
    lattice: str = "custom"
    order: str = "given"

    def __len__(self) -> int:
        return len(self.index)

    @property
    def positions(self) -> np.ndarray:
        """Positions, m, shape (n, 2)."""
        return np.column_stack([self.x, self.y])

    @property
    def spacing(self) -> float:
        """Pitch, or the median distance to the nearest other site, m (NaN for one site)."""
        if self.pitch is not None:
            return self.pitch
        if len(self) < 2:
            return math.nan
        return float(np.median(KDTree(self.positions).query(self.positions, k=2)[0][:, 1]))

    @property
    def extents(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """((y low, y high), (x low, x high)), m, slow axis first."""
        return (
            (float(self.y.min()), float(self.y.max())),
            (float(self.x.min()), float(self.x.max())),
        )

    def pick(self, which: np.ndarray) -> "Sites":
        """Return a selection by mask or by positions in the order of visit."""
        arrays = {name: getattr(self, name)[which] for name in ("index", "x", "y", "row", "col")}
        return replace(self, **arrays)

    def ordered(self, order: str, seed: int = 0) -> "Sites":
        """Return the same sites in another order of visit.

        Raises
        ------
        ValueError
            If the order is unknown.
        """
        if order not in ORDERS:
            raise ValueError(f"order '{order}' is not one of {', '.join(ORDERS)}")
        if order == "random":
            sequence = np.random.default_rng(seed).permutation(len(self))
        elif order == "given" or self.shape is None:
            sequence = np.arange(len(self))
        else:
            along = self.col.copy()
            if order == "snake":
                along = np.where(self.row % 2 == 1, -along, along)
            sequence = np.lexsort((along, self.row))
        return replace(self.pick(sequence), order=order)

    def inside_box(self, x: tuple[float, float], y: tuple[float, float]) -> "Sites":
        """Keep the sites of a region of interest given by its bounds, m.

        Raises
        ------
        ValueError
            If no site is inside.
        """
        low_x, high_x, low_y, high_y = min(x), max(x), min(y), max(y)
        mask = (self.x >= low_x) & (self.x <= high_x) & (self.y >= low_y) & (self.y <= high_y)
        return self._kept(mask)

    def inside_polygon(self, corners: Sequence[Sequence[float]]) -> "Sites":
        """Keep the sites inside a polygon, corners in m, shape (>= 3, 2).

        Raises
        ------
        ValueError
            If the polygon has fewer than 3 corners or holds no site.
        """
        polygon = np.asarray(corners, dtype=float)
        if polygon.ndim != 2 or polygon.shape[1:] != (2,) or len(polygon) < 3:
            raise ValueError("a polygon needs at least 3 corners of 2 coordinates each")
        if not np.isfinite(polygon).all():
            raise ValueError("a corner of the polygon is not finite")
        return self._kept(points_in_poly(self.positions, polygon))

    def _kept(self, mask: np.ndarray) -> "Sites":
        if not mask.any():
            raise ValueError("no site lies inside the region of interest; check its bounds (m)")
        return self.pick(mask)

    def validate(
        self,
        *,
        minimum_distance: float = 0.0,
        limits: tuple[tuple[float, float], tuple[float, float]] | None = None,
    ) -> None:
        """Refuse sites that are not finite, off the stage, or too near each other.

        Parameters
        ----------
        minimum_distance : float
            Least distance between any two sites, m.
        limits : tuple, optional
            ((x low, x high), (y low, y high)) of the stage, m.

        Raises
        ------
        ValueError
            With the indices of the first offending sites.
        """
        if not len(self):
            raise ValueError("the list of sites is empty")
        bad = np.flatnonzero(~np.isfinite(self.positions).all(axis=1))
        if len(bad):
            raise ValueError(f"site {_names(self.index[bad])}: position is not finite")
        if limits is not None:
            (low_x, high_x), (low_y, high_y) = limits
            off = (self.x < low_x) | (self.x > high_x) | (self.y < low_y) | (self.y > high_y)
            if off.any():
                first = int(np.flatnonzero(off)[0])
                raise ValueError(
                    f"site {_names(self.index[off])} off the stage: ({self.x[first]:.4g}, "
                    f"{self.y[first]:.4g}) m is outside x {low_x:.4g} to {high_x:.4g}, "
                    f"y {low_y:.4g} to {high_y:.4g} m; move the origin or shrink the grid"
                )
        if len(np.unique(self.index)) != len(self):
            raise ValueError("a site index occurs twice in the list")
        if len(self) > 1:
            # a hair below the limit, so that rounding of a lattice does not count as overlap
            reach = max(minimum_distance * (1 - 1e-6), 1e-12)
            pairs = KDTree(self.positions).query_pairs(reach, output_type="ndarray")
            if len(pairs):
                first, second = (int(self.index[k]) for k in min(map(tuple, pairs)))
                gap = float(np.hypot(*(self.positions[pairs[0][0]] - self.positions[pairs[0][1]])))
                raise ValueError(
                    f"overlapping sites: {first} and {second} are {gap:.3g} m apart, less than "
                    f"the minimum distance of {minimum_distance:.3g} m ({len(pairs)} such pairs); "
                    "widen the pitch or lower the minimum distance"
                )

    def interleaved(self, groups: int, *, method: str = "lattice", seed: int = 0) -> np.ndarray:
        """Deal the sites into groups that each cover the whole area.

        Parameters
        ----------
        groups : int
            Number of groups.
        method : str
            "lattice" (each group a regular sub-lattice; in turns in the order of visit where there
            is no lattice) or "random" (balanced).
        seed : int
            For "random".

        Returns
        -------
        ndarray of int, shape (n,)
            Group of each site, sizes equal within one (within a row for "lattice").

        Raises
        ------
        ValueError
            If there are fewer sites than groups, or the method is unknown.
        """
        if groups < 1 or groups > len(self):
            raise ValueError(f"cannot deal {len(self)} sites into {groups} groups")
        dealt = np.arange(len(self)) % groups
        if method == "random":
            return np.random.default_rng(seed).permutation(dealt)
        if method != "lattice":
            raise ValueError(f"method '{method}' is not lattice or random")
        if self.shape is None:
            return dealt
        # a shift between rows that is coprime to the groups avoids stripes
        shift = next((k for k in range(max(groups // 2, 1), groups) if math.gcd(k, groups) == 1), 1)
        return (self.col + shift * self.row) % groups


def _names(indices: np.ndarray) -> str:
    listed = ", ".join(str(int(k)) for k in indices[:5])
    return listed + (f" and {len(indices) - 5} more" if len(indices) > 5 else "")


def _lattice(
    rows: int, cols: int, pitch: float, origin: Sequence[float], angle: float, hexagonal: bool
) -> Sites:
    if rows < 1 or cols < 1:
        raise ValueError(f"a grid needs at least 1 row and 1 column (got {rows} x {cols})")
    if not (math.isfinite(pitch) and pitch > 0):
        raise ValueError("the pitch must be finite and greater than 0 m")
    if len(origin) != 2 or not all(math.isfinite(v) for v in (*origin, angle)):
        raise ValueError("the origin (x, y) and the angle must be finite")
    row, col = (a.ravel() for a in np.mgrid[:rows, :cols])
    u = col * pitch + (0.5 * pitch * (row % 2) if hexagonal else 0.0)
    v = row * pitch * (SQRT3_2 if hexagonal else 1.0)
    cos, sin = math.cos(angle), math.sin(angle)
    return Sites(
        index=np.arange(rows * cols),
        x=origin[0] + cos * u - sin * v,
        y=origin[1] + sin * u + cos * v,
        row=row,
        col=col,
        shape=(rows, cols),
        pitch=pitch,
        origin=(float(origin[0]), float(origin[1])),
        angle=angle,
        lattice="hexagonal" if hexagonal else "square",
        order="raster",
    )


def grid(
    rows: int, cols: int, pitch: float, *, origin: Sequence[float] = (0.0, 0.0), angle: float = 0.0
) -> Sites:
    """Square grid, row by row.

    Parameters
    ----------
    rows, cols : int
        Sites along y and x.
    pitch : float
        Distance between neighbours, m.
    origin : sequence of float
        Position of row 0, column 0, m.
    angle : float
        Rotation about the origin, rad.

    Raises
    ------
    ValueError
        If a number is not finite or out of range.
    """
    return _lattice(rows, cols, pitch, origin, angle, hexagonal=False)


def hexagonal(
    rows: int, cols: int, pitch: float, *, origin: Sequence[float] = (0.0, 0.0), angle: float = 0.0
) -> Sites:
    """Hexagonal lattice: odd rows shifted by half a pitch. Parameters as `grid`."""
    return _lattice(rows, cols, pitch, origin, angle, hexagonal=True)


def custom(positions: Sequence[Sequence[float]] | np.ndarray) -> Sites:
    """Sites from a list of (x, y), m, in this order.

    Raises
    ------
    ValueError
        If the list is empty or not of shape (n, 2).
    """
    array = np.asarray(positions, dtype=float)
    if array.ndim != 2 or array.shape[1:] != (2,) or not len(array):
        raise ValueError("positions must be a list of (x, y) pairs in m")
    none = np.full(len(array), -1)
    return Sites(np.arange(len(array)), array[:, 0].copy(), array[:, 1].copy(), none, none.copy())


def single(x: float, y: float) -> Sites:
    """One site at (x, y), m."""
    return replace(custom([(x, y)]), lattice="single")


def from_csv(path: str | Path) -> Sites:
    """Sites from a CSV file with the columns ``x`` and ``y`` in m (others are ignored).

    Raises
    ------
    ValueError
        If a column is missing or a value is not a number.
    FileNotFoundError
        If there is no such file.
    """
    table = np.genfromtxt(Path(path), delimiter=",", names=True, dtype=float, encoding="utf-8")
    names = table.dtype.names or ()
    if "x" not in names or "y" not in names:
        raise ValueError(f"{path}: the first line must name the columns x and y (m)")
    sites = custom(np.column_stack([np.atleast_1d(table["x"]), np.atleast_1d(table["y"])]))
    bad = np.flatnonzero(~np.isfinite(sites.positions).all(axis=1))
    if len(bad):
        raise ValueError(f"{path}: data line {int(bad[0]) + 1} holds a value that is not a number")
    return sites
