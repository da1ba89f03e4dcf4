"""Part groups of touching particles: fragments of a mask joined again where the image says so.

The mask is cut into more fragments than there are particles. Neighbours are then joined, those
that gain most first, and of the tree that this gives the disjoint nodes with the largest sum of
area times likeness to one particle are kept: how much of the outline the image shows, and how
convex the shape is. A border that the image does not show costs outline, a group that is left
whole costs convexity; no length enters, so magnification does not matter.
"""

import heapq

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull
from skimage import measure, morphology, segmentation

# a dip of the depth below the outline by this share of it starts a fragment
DIP = 0.01
# two equal discs are parted where the neck is under three quarters of their width
CONVEX = 8.0
# px; the outline of what is smaller is mostly corners of pixels
SMALLEST = 12
# more fragments than this are texture
MOST = 4000
# worse by this share of its area, a union is not followed further
WORSE = 0.25


def part(mask: np.ndarray, shown: np.ndarray, convex: float = CONVEX) -> np.ndarray | None:
    """Label the particles of a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, cols)
    shown : ndarray, shape (rows, cols)
        How clearly the image shows an outline at each pixel, 0 to 1.
    convex : float
        Power of the solidity in the likeness: the larger, the more is parted.

    Returns
    -------
    ndarray of int, shape (rows, cols), or None
        1..n; None where the mask falls into so many fragments that it is texture.
    """
    pieces = fragments(mask)
    return None if pieces is None else join(pieces, shown, convex)[0]


def fragments(mask: np.ndarray) -> np.ndarray | None:
    """Cut a mask at every narrowing; None where that gives so many pieces that it is texture."""
    pieces = _without_specks(_fragments(mask))
    return None if int(pieces.max()) > MOST else pieces


def join(pieces: np.ndarray, shown: np.ndarray, *convex: float) -> list[np.ndarray]:
    """Join the pieces that the image shows to be one particle, for each power; see `part`."""
    borders = _borders(pieces, shown)
    hulls = [
        _hull(corners(pieces[box] == k) + [s.start for s in box])
        for k, box in enumerate(ndimage.find_objects(pieces), start=1)
    ]
    return [_Joining(pieces, borders, hulls, power).labels() for power in convex]


def _fragments(mask: np.ndarray) -> np.ndarray:
    """Cut a mask at every narrowing."""
    depth = np.asarray(ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 1.0))
    low = 0.5
    level = np.log(np.where(mask, np.maximum(depth, low), low))
    rest = level - morphology.reconstruction(level - DIP, level)
    summits = np.asarray(measure.label((rest > 0.999 * DIP) & mask))
    return np.asarray(segmentation.watershed(-depth, summits, mask=mask), dtype=np.int32)


def _without_specks(pieces: np.ndarray) -> np.ndarray:
    """Let fragments too small to be judged grow into their neighbours."""
    area = np.bincount(pieces.ravel())
    keep = area >= SMALLEST
    keep[0] = False
    groups = np.asarray(measure.label(pieces > 0, connectivity=1))
    # a group of specks alone has nothing to grow into
    held = np.zeros(int(groups.max()) + 1, dtype=bool)
    held[groups[keep[pieces]]] = True
    table = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    return np.asarray(segmentation.watershed(
        np.zeros(pieces.shape, dtype=np.uint8), table[pieces], mask=(pieces > 0) & held[groups]
    ), dtype=np.int32)  # fmt: skip


class _Joining:
    """The tree of unions of one mask; a node is a number, its fragments are those below 1..n."""

    def __init__(
        self,
        pieces: np.ndarray,
        borders: list[tuple[int, int, float, float]],
        hulls: list[tuple[np.ndarray, float]],
        convex: float,
    ) -> None:
        self._pieces, self._convex = pieces, convex
        self._n = n = int(pieces.max())
        self._area = dict(enumerate(np.bincount(pieces.ravel(), minlength=n + 1).astype(float)))
        # length of the outline, and its part that the image shows: to the ground, to neighbours
        self._free = dict.fromkeys(range(1, n + 1), (0.0, 0.0))
        self._border: dict[int, dict[int, tuple[float, float]]] = {k: {} for k in self._free}
        for i, j, length, seen in borders:
            if i == 0:
                self._free[j] = (length, seen)
            else:
                self._border[i][j] = self._border[j][i] = (length, seen)
        self._points: dict[int, np.ndarray] = {}
        self._value: dict[int, float] = {}
        self._best: dict[int, float] = {}
        self._children: dict[int, tuple[int, int]] = {}
        self._whole: dict[int, bool] = {}
        for k, (hull, size) in enumerate(hulls, start=1):
            self._points[k] = hull
            self._best[k] = self._worth(self._area[k], size, *self._outline(k))

    def labels(self) -> np.ndarray:
        """Join and number what is left 1..m."""
        alive = self._join()
        table = np.zeros(self._n + 1, dtype=np.int32)
        stack, count = sorted(alive), 0
        while stack:
            k = stack.pop()
            if k in self._children and not self._whole[k]:
                stack.extend(self._children[k])
                continue
            count += 1
            table[self._leaves(k)] = count
        return table[self._pieces]

    def _join(self) -> set[int]:
        alive = set(range(1, self._n + 1))
        heap = [
            (-self._union(i, j)[0], i, j) for i in self._border for j in self._border[i] if i < j
        ]
        heapq.heapify(heap)
        following = self._n + 1
        while heap:
            loss, i, j = heapq.heappop(heap)
            if loss > WORSE:
                break
            if i not in alive or j not in alive:
                continue
            k, following = following, following + 1
            _, worth, hull = self._union(i, j)
            self._merge(k, i, j)
            self._points[k] = hull
            parts = self._best[i] + self._best[j]
            self._whole[k], self._best[k] = worth >= parts, max(worth, parts)
            alive -= {i, j}
            alive.add(k)
            for m in self._border[k]:
                heapq.heappush(heap, (-self._union(k, m)[0], min(k, m), max(k, m)))
        return alive

    def _union(self, i: int, j: int) -> tuple[float, float, np.ndarray]:
        """Return what joining two nodes gains (a share of their area), its worth and its hull."""
        hull, size = _hull(np.concatenate([self._points[i], self._points[j]]))
        common, seen = self._border[i][j]
        (first, first_seen), (second, second_seen) = self._outline(i), self._outline(j)
        area = self._area[i] + self._area[j]
        worth = self._worth(
            area, size, first + second - 2 * common, first_seen + second_seen - 2 * seen
        )
        return (worth - self._best[i] - self._best[j]) / area, worth, hull

    def _merge(self, k: int, i: int, j: int) -> None:
        self._children[k] = (i, j)
        self._area[k] = self._area[i] + self._area[j]
        self._free[k] = _sum(self._free[i], self._free[j])
        border: dict[int, tuple[float, float]] = {}
        for part_ in (i, j):
            for m, edge in self._border[part_].items():
                if m not in (i, j):
                    border[m] = _sum(border.get(m, (0.0, 0.0)), edge)
        self._border[k] = border
        for m, edge in border.items():
            self._border[m].pop(i, None)
            self._border[m].pop(j, None)
            self._border[m][k] = edge

    def _outline(self, k: int) -> tuple[float, float]:
        length, seen = self._free[k]
        for edge in self._border[k].values():
            length, seen = length + edge[0], seen + edge[1]
        return length, seen

    def _worth(self, area: float, hull: float, length: float, seen: float) -> float:
        return area * seen / max(length, 1.0) * min(1.0, area / hull) ** self._convex

    def _leaves(self, k: int) -> list[int]:
        stack, found = [k], []
        while stack:
            q = stack.pop()
            if q in self._children:
                stack.extend(self._children[q])
            else:
                found.append(q)
        return found


def _sum(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return a[0] + b[0], a[1] + b[1]


def _hull(points: np.ndarray) -> tuple[np.ndarray, float]:
    hull = ConvexHull(points)
    return points[hull.vertices], float(hull.volume)


def corners(region: np.ndarray) -> np.ndarray:
    """Points around a region whose hull has the area of a smooth outline."""
    held = np.flatnonzero(region.any(axis=1))
    left = region[held].argmax(axis=1)
    right = region.shape[1] - 1 - region[held][:, ::-1].argmax(axis=1)
    return np.concatenate(
        [np.stack([held + dy, side + dx], axis=1)
         for side, out in ((left, -0.5), (right, 0.5))
         for dy, dx in ((-0.5, 0.0), (0.5, 0.0), (0.0, out))]
    ).astype(float)  # fmt: skip


def _borders(labels: np.ndarray, shown: np.ndarray) -> list[tuple[int, int, float, float]]:
    """Pairs of labels that meet (0: ground or frame), length of their border and what is shown."""
    lab, img = np.pad(labels, 1), np.pad(shown, 1)
    sides = (
        ((slice(1, -1), slice(None, -1)), (slice(1, -1), slice(1, None))),
        ((slice(None, -1), slice(1, -1)), (slice(1, None), slice(1, -1))),
    )
    a, b, s = (
        np.concatenate(c)
        for c in zip(
            *(
                (lab[p].ravel(), lab[q].ravel(), np.maximum(img[p], img[q]).ravel())
                for p, q in sides
            ),
            strict=True,
        )
    )
    meet = a != b
    n = int(labels.max()) + 1
    key = np.minimum(a, b)[meet].astype(np.int64) * n + np.maximum(a, b)[meet]
    pair, index = np.unique(key, return_inverse=True)
    length, seen = np.bincount(index), np.bincount(index, s[meet])
    return list(
        zip((pair // n).tolist(), (pair % n).tolist(), length.tolist(), seen.tolist(), strict=True)
    )
