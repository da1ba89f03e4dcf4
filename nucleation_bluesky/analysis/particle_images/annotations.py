"""What was drawn on a micrograph rather than imaged: information bars, scale bars, text, arrows.

Drawn marks differ from anything a microscope records: they are flat, they lie at the end of the
grey range (or are coloured in a grey image), their edges are one pixel wide, and they come as
rectangles or as lines of characters of one height.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage
from skimage import measure

# grey levels this close to the end of the range count as drawn (JPEG leaves ripples)
FLAT = 0.05
COLOURED = 0.2
# widest stroke of a letter over its height, that of heavy type
BOLD = 0.36
# share of a stroke that has the grey of the ink itself
CORE = 0.2
# letters of one line are at least this high against the highest (x-height over cap height is 0.7)
ALIKE = 0.6
# are this near to each other, over the height of the higher one
GAP = 1.1
# and stand on one level within this share of their height
LEVEL = 0.1
# marks like letters elsewhere, by area, that speak against a pair of letters; by number, against
# any line that stands alone
ELSEWHERE = 2.0
# as long from corner to corner and as large as the middle one of a line, within this factor
SAME_LENGTH, SAME_AREA = 1.4, 1.7
# marks of other directions, as large and as long as a scale bar, that make it one of many rods
LIKE_BAR, BAR_AREA, BAR_LENGTH = 3, 1.4, 1.25
# letters of one height that are a line of text even where none has the grey of the ink
LINE = 5


@dataclass(frozen=True)
class _Mark:
    """A flat component at one end of the grey range."""

    label: int
    top: int
    left: int
    bottom: int
    right: int
    area: int
    fill: float
    sharp: bool
    compact: bool

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def length(self) -> float:
        return math.hypot(self.height, self.width)


def annotation_mask(image: np.ndarray, colour: np.ndarray | None = None) -> np.ndarray:
    """Find drawn marks.

    Parameters
    ----------
    image : ndarray, shape (rows, cols)
        Grey values as recorded, unsmoothed.
    colour : ndarray or None, shape (rows, cols, 3)
        The colours, where the file has them.

    Returns
    -------
    ndarray of bool, shape (rows, cols)
        True where the picture is not to be trusted.
    """
    array = np.asarray(image, dtype=float)
    low, high = float(array.min()), float(array.max())
    mask = np.zeros(array.shape, dtype=bool)
    if not high > low or min(array.shape) < 32:
        return mask
    unit = (array - low) / (high - low)
    mask |= _bands(unit)
    if colour is not None:
        mask |= _coloured(np.asarray(colour, dtype=float))
    gradient = np.hypot(ndimage.sobel(unit, 0), ndimage.sobel(unit, 1)) / 8
    middle = float(np.median(unit[~mask])) if not mask.all() else 0.5
    drawn = mask.copy()
    for ink, step in ((0.0, middle), (1.0, 1 - middle)):
        core = _inked(unit, ink, FLAT) & ~mask
        drawn |= _drawn(core, ink, unit, gradient)
        if step > 4 * FLAT:
            # blur leaves thin strokes the grey of the ink in their middle only, or nowhere
            wide = _inked(unit, ink, step / 2) & ~mask
            drawn |= _drawn(_with_core(wide, core), ink, unit, gradient)
            drawn |= _drawn(wide, ink, unit, gradient, fewest=LINE)
    return drawn


def _inked(unit: np.ndarray, ink: float, reach: float) -> np.ndarray:
    """Return the pixels within reach of the grey of the ink."""
    return np.asarray(np.abs(unit - ink) <= reach)


def _with_core(wide: np.ndarray, core: np.ndarray) -> np.ndarray:
    """Return the components of a mask that are ink for a good part of their area."""
    labels = np.asarray(measure.label(wide, connectivity=2))
    area = np.bincount(labels.ravel())
    held = np.bincount(labels[core], minlength=area.size)
    keep = held >= CORE * area
    keep[0] = False
    return keep[labels]


def _bands(unit: np.ndarray) -> np.ndarray:
    """Return information bars: bands along the top or bottom of one flat grey with text in it."""
    out = np.zeros(unit.shape, dtype=bool)
    rows = unit.shape[0]
    reach = max(4, rows // 4)
    for flipped in (False, True):
        view = unit[::-1] if flipped else unit
        best = 0
        for value in (np.median(view[-1]), np.median(view[-4:]), np.median(view[-8:-2])):
            share = np.mean(np.abs(view - value) < 0.02, axis=1)
            # where a narrow band ends, the share of its grey drops at once
            for height in range(5, reach):
                band, above = share[-height:], share[-height - 6 : -height]
                flat = band.mean() > 0.6 and np.mean(band > 0.4) > 0.85
                if flat and band[0] > 0.5 and above.mean() < 0.4 * band.mean():
                    best = max(best, height)
        if best:
            out[:best] |= flipped
            out[-best:] |= not flipped
    return out


def _coloured(colour: np.ndarray) -> np.ndarray:
    """Return coloured marks of an otherwise grey image."""
    spread = np.ptp(colour, axis=2) / max(float(colour.max()), 1.0)
    drawn = spread > COLOURED
    if not drawn.any() or drawn.mean() > 0.1 or np.mean(spread[~drawn] > 0.06) > 0.05:
        return np.zeros(spread.shape, dtype=bool)
    return np.asarray(ndimage.binary_dilation(drawn, iterations=3))


def _drawn(
    extreme: np.ndarray, ink: float, unit: np.ndarray, gradient: np.ndarray, fewest: int = 1
) -> np.ndarray:
    """Return the scale bars, boxes and lines of text among the components of one extreme grey.

    Only lines of ``fewest`` letters of one height, if more than one is asked for.
    """
    out = np.zeros(unit.shape, dtype=bool)
    labels = np.asarray(measure.label(extreme, connectivity=2))
    marks = _marks(labels, unit, gradient)
    bars = _bars(marks, unit)
    lines = _text(marks, bars, *unit.shape)
    if fewest > 1:
        boxes, bars = [], []
        lines = [line for line in lines if _like_text(line, *unit.shape)]
        lines = [line for line in lines if _alike(line) >= fewest]
    else:
        boxes = [m for m in marks if _is_box(m, labels, unit)]
    for m in boxes:
        out[m.top : m.bottom, m.left : m.right] = True
    for m in bars + [m for line in lines for m in line]:
        _paint(out, m, labels, ink, unit)
    # dots and dashes of the text, and the halo that anti-aliasing and JPEG leave
    return np.asarray(ndimage.binary_dilation(out, np.ones((3, 3)), iterations=3))


def _bars(marks: list[_Mark], unit: np.ndarray) -> list[_Mark]:
    """Return the marks that are scale bars."""
    rows, cols = unit.shape
    bars = [
        m
        for m in marks
        if m.width >= max(4 * m.height, 0.04 * cols) and m.fill > 0.85 and m.height < 0.05 * rows
    ]
    # a scale bar may be drawn in parts, a table has many lines: all of them level
    others = [m for m in marks if m.width < 4 * m.height and not any(_close(m, b) for b in bars)]
    return [
        m for m in bars if _count_like(others, m.length, m.area, BAR_LENGTH, BAR_AREA) < LIKE_BAR
    ]


def _text(marks: list[_Mark], bars: list[_Mark], rows: int, cols: int) -> list[list[_Mark]]:
    """Return the lines of text: beside a scale bar, or letters by themselves."""
    letters = [
        m
        for m in marks
        if m.sharp and 5 <= m.height <= 0.16 * rows and m.width < 0.3 * cols and m not in bars
    ]
    labelled, alone = [], []
    for line in _lines(letters):
        if any(_close(m, b) for m in line for b in bars):
            labelled.append(line)
        elif _like_text(line, rows, cols):
            alone.append(line)
    taken = {m.label for line in labelled + alone for m in line} | {m.label for m in bars}
    others = [m for m in marks if m.sharp and m.label not in taken]
    return labelled + [line for line in alone if not _one_of_many(line, others, rows, cols)]


def _paint(out: np.ndarray, mark: _Mark, labels: np.ndarray, ink: float, unit: np.ndarray) -> None:
    """Add a mark and what is nearer to its ink than to its ground, up to half its height away."""
    reach = mark.height // 2 + 1
    window = (
        slice(max(0, mark.top - reach), mark.bottom + reach),
        slice(max(0, mark.left - reach), mark.right + reach),
    )
    own = labels[window] == mark.label
    distance = np.abs(unit[window] - ink)
    # a letter may lie on a particle of nearly its own grey, which must not be taken with it
    away = np.logical_not(ndimage.binary_dilation(own, iterations=3)) & (distance > FLAT)
    ground = float(np.percentile(distance[away], 25)) if away.any() else 0.0
    near = distance < 0.5 * ground
    out[window] |= ndimage.binary_dilation(own, iterations=reach, mask=near | own)


def _like_text(line: list[_Mark], rows: int, cols: int) -> bool:
    """Whether the marks of a line are letters by themselves, with no scale bar beside them."""
    branched = sum(not m.compact for m in line)
    if not branched or branched < 0.5 * len(line):
        return False
    return _alike(line) > 1 or any(_in_corner(m, rows, cols) for m in line)


def _alike(line: list[_Mark]) -> int:
    """Return how many marks of a line have about one height and stand on one level."""
    tall = max(m.height for m in line)
    high = [m for m in line if m.height >= ALIKE * tall]
    return max(sum(abs(m.bottom - n.bottom) <= max(1, LEVEL * tall) for m in high) for n in high)


def _one_of_many(line: list[_Mark], others: list[_Mark], rows: int, cols: int) -> bool:
    """Whether a line is some of many such things on the picture, as particles in rows are.

    ``others`` are the marks beside the lines.
    """
    length, area = _typical(line)
    if _count_like(others, length, area, SAME_LENGTH, SAME_AREA) > ELSEWHERE * len(line):
        return True
    if _alike(line) > 2 or any(_in_corner(m, rows, cols) for m in line):
        return False
    tall = max(m.height for m in line)
    like = sum(m.area for m in others if m.height > 0.4 * tall)
    return like > ELSEWHERE * sum(m.area for m in line)


def _typical(marks: list[_Mark]) -> tuple[float, float]:
    """Return the middle length and area of some marks."""
    return float(np.median([m.length for m in marks])), float(np.median([m.area for m in marks]))


def _count_like(
    marks: list[_Mark], length: float, area: float, longer: float, larger: float
) -> int:
    """Count the marks of this length and area, within these factors."""
    return sum(
        1 / longer < m.length / length < longer and 1 / larger < m.area / area < larger
        for m in marks
    )


def _marks(labels: np.ndarray, unit: np.ndarray, gradient: np.ndarray) -> list[_Mark]:
    """Describe the components large enough to be drawn."""
    marks = []
    for k, box in enumerate(ndimage.find_objects(labels), start=1):
        height, width = (s.stop - s.start for s in box)
        if height < 2 or width < 2 or height > 0.5 * unit.shape[0] or height * width < 12:
            continue
        region = labels[box] == k
        area = int(region.sum())
        if area < 10:
            continue
        pad = tuple(slice(max(0, s.start - 3), s.stop + 3) for s in box)
        own = labels[pad] == k
        around = ndimage.binary_dilation(own, iterations=3) & np.logical_not(
            ndimage.binary_dilation(own)
        )
        step = abs(float(unit[box][region].mean() - np.median(unit[pad][around])))
        edge = own & np.logical_not(ndimage.binary_erosion(own))
        edge |= ndimage.binary_dilation(own) & ~own
        sharp = step > 0.08 and float(np.percentile(gradient[pad][edge], 75)) > 0.27 * step
        marks.append(
            _Mark(
                k, box[0].start, box[1].start, box[0].stop, box[1].stop, area,
                float(area / (height * width)), bool(sharp), _is_compact(region, area),
            )
        )  # fmt: skip
    return marks


def _is_compact(region: np.ndarray, area: int) -> bool:
    """Whether a component is not branched as letters are, or not drawn with a pen.

    A group of particles is as branched as a letter, but its widest stroke is too wide.
    """
    stroke = 2 * float(np.asarray(ndimage.distance_transform_edt(np.pad(region, 1))).max()) - 1
    if stroke > BOLD * region.shape[0]:
        return True
    filled = np.asarray(ndimage.binary_fill_holes(region))
    if filled.sum() > 1.08 * area:
        return False
    # the hull costs most of all
    return area >= 20000 or bool(measure.regionprops(filled.astype(np.uint8))[0].solidity > 0.88)


def _is_box(mark: _Mark, labels: np.ndarray, unit: np.ndarray) -> bool:
    """Whether a mark is the frame of a label: a full rectangle with text of the other extreme."""
    if min(mark.height, mark.width) < 12 or mark.width > 0.5 * labels.shape[1]:
        return False
    window = (slice(mark.top, mark.bottom), slice(mark.left, mark.right))
    region = np.asarray(ndimage.binary_fill_holes(np.pad(labels[window] == mark.label, 1)))
    if region[1:-1, 1:-1].mean() < 0.95:
        return False
    inside = unit[window]
    own = inside[labels[window] == mark.label].mean()
    return bool(np.mean(np.abs(inside - own) > 0.5) > 0.02)


def _lines(marks: list[_Mark]) -> list[list[_Mark]]:
    """Group marks that stand side by side on one line."""
    lines: list[list[_Mark]] = []
    size = 1 + sum(m.height for m in marks) // max(1, len(marks))
    # an image may hold thousands of marks: each is compared with those of its cells alone
    cells: defaultdict[tuple[int, int], list[tuple[int, _Mark]]] = defaultdict(list)
    for mark in sorted(marks, key=lambda m: m.left):
        reach = math.ceil(GAP * mark.height)
        before = _cells(mark, mark.left - reach, mark.right, size)
        beside = (n for cell in before for n, m in cells[cell] if _beside(mark, m))
        number = min(beside, default=len(lines))
        if number == len(lines):
            lines.append([])
        lines[number].append(mark)
        for cell in _cells(mark, mark.left, mark.right + reach, size):
            cells[cell].append((number, mark))
    return lines


def _cells(mark: _Mark, left: int, right: int, size: int) -> Iterator[tuple[int, int]]:
    """Return the cells of a square grid that a mark takes between two columns."""
    rows = range(mark.top // size, mark.bottom // size + 1)
    return product(rows, range(left // size, right // size + 1))


def _beside(a: _Mark, b: _Mark) -> bool:
    """Whether two marks are neighbouring characters."""
    tall = max(a.height, b.height)
    overlap = min(a.bottom, b.bottom) - max(a.top, b.top)
    gap = max(a.left, b.left) - min(a.right, b.right)
    aligned = min(abs(a.bottom - b.bottom), abs(a.top - b.top)) <= max(2, 0.15 * tall)
    return overlap > 0.4 * min(a.height, b.height) and gap < GAP * tall and aligned


def _close(mark: _Mark, bar: _Mark) -> bool:
    """Whether a mark stands next to a scale bar as its label does."""
    gap_y = max(mark.top, bar.top) - min(mark.bottom, bar.bottom)
    gap_x = max(mark.left, bar.left) - min(mark.right, bar.right)
    return gap_y < 1.5 * mark.height and gap_x < 1.5 * mark.height and mark.height < bar.width


def _in_corner(mark: _Mark, rows: int, cols: int) -> bool:
    """Whether a mark stands in a corner, as the letter of a panel does."""
    y = min(mark.top, rows - mark.bottom) / rows
    x = min(mark.left, cols - mark.right) / cols
    return y < 0.12 and x < 0.12
