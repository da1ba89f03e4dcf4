"""Topographies and maps of site values, with scale bars, grain outlines and honest gaps."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from nucleation_bluesky.report.figures import style
from nucleation_bluesky.storage.images import Topography

NOT_MEASURED = "#f4f1ea"
CLASS_COLORS = {
    "nucleated": style.BLUE,
    "no_nucleation": style.NEUTRAL,
    "false_trip": style.RED,
    "undetermined": style.ORANGE,
}


@dataclass(frozen=True)
class MapQuantity:
    """A site variable and how it is drawn.

    Parameters
    ----------
    name : str
        Variable of the result.
    title, symbol : str
        Words above the map and at its colour bar.
    unit : str
        SI unit.
    cmap : str
        Colour map.
    prefixed : bool
        Whether the unit takes a prefix (pA, nm); volts stay volts.
    """

    name: str
    title: str
    symbol: str
    unit: str
    cmap: str
    prefixed: bool = True


QUANTITIES = {
    q.name: q
    for q in (
        MapQuantity(
            "onset_bias", "Nucleation bias", "Nucleation bias", "V", style.BIAS_MAP, prefixed=False
        ),
        MapQuantity(
            "stop_bias", "Bias at cut-off", "Bias at cut-off", "V", style.BIAS_MAP, prefixed=False
        ),
        MapQuantity("stop_current", "Current at end of sweep", "Current", "A", style.CURRENT_MAP),
        MapQuantity("height_change", "Height change", "ΔZ", "m", style.HEIGHT_MAP),
        MapQuantity("particle_volume", "Particle volume", "Volume", "m3", "magma", prefixed=False),
    )
}

MOST_MARKS = 400  # more site marks hide the image below them
MOST_OUTLINES = 200  # so do more grains


def site_values(sites: xr.Dataset, name: str) -> np.ndarray:
    """Return the values of a quantity as they are drawn: biases only where a site nucleated."""
    values = np.asarray(sites[name].values, dtype=float).copy()
    if name in ("stop_bias", "particle_volume") and "nucleated" in sites:
        values[~sites["nucleated"].values.astype(bool)] = np.nan
    return values


def is_gridded(sites: xr.Dataset) -> bool:
    """Whether the sites lie on a grid."""
    return "row" in sites.coords and "col" in sites.coords and sites.sizes["site"] > 1


def _cells(sites: xr.Dataset, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and presence on the smallest grid that holds the sites."""
    row, col = sites["row"].values.astype(int), sites["col"].values.astype(int)
    shape = (row.max() - row.min() + 1, col.max() - col.min() + 1)
    grid = np.full(shape, np.nan)
    there = np.zeros(shape, dtype=bool)
    grid[row - row.min(), col - col.min()] = values
    there[row - row.min(), col - col.min()] = True
    return grid, there


def _grid_extent(sites: xr.Dataset, shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    x, y = sites["x"].values, sites["y"].values
    pitch_x, pitch_y = (np.ptp(v) / max(n - 1, 1) for v, n in ((x, shape[1]), (y, shape[0])))
    pitch_x, pitch_y = pitch_x or pitch_y or 1e-9, pitch_y or pitch_x or 1e-9
    return (
        float(x.min() - pitch_x / 2),
        float(x.max() + pitch_x / 2),
        float(y.min() - pitch_y / 2),
        float(y.max() + pitch_y / 2),
    )


def draw_sites(axes: Axes, sites: xr.Dataset, values: np.ndarray, cmap, norm=None, limits=None):
    """Draw site values as cells of a grid or as dots; returns the mappable."""
    colors = mpl.colormaps[cmap] if isinstance(cmap, str) else cmap
    low, high = limits if limits is not None else (None, None)
    if is_gridded(sites):
        grid, there = _cells(sites, values)
        extent = _grid_extent(sites, grid.shape)
        ground = np.where(there, 1.0, 0.0)
        axes.imshow(
            ground,
            extent=extent,
            cmap=ListedColormap([NOT_MEASURED, style.NEUTRAL]),
            vmin=0,
            vmax=1,
            zorder=0,
        )
        colors = colors.with_extremes(bad=(0, 0, 0, 0))
        image = axes.imshow(
            np.ma.masked_invalid(grid),
            extent=extent,
            cmap=colors,
            norm=norm,
            vmin=low,
            vmax=high,
            zorder=1,
        )
    else:
        x, y = sites["x"].values, sites["y"].values
        known = np.isfinite(values)
        size = float(np.clip(4000 / max(len(x), 1), 8, 60))
        axes.scatter(x[~known], y[~known], s=size, c=style.NEUTRAL, linewidths=0)
        image = axes.scatter(
            x[known],
            y[known],
            c=values[known],
            s=size,
            cmap=colors,
            norm=norm,
            vmin=low,
            vmax=high,
            linewidths=0,
        )
        span = max(np.ptp(x), np.ptp(y), 1e-9) * 0.56
        axes.set_xlim(x.mean() - span, x.mean() + span)
        axes.set_ylim(y.mean() - span, y.mean() + span)
    style.bare(axes)
    return image


def draw_map(axes: Axes, sites: xr.Dataset, quantity: MapQuantity, letter: str = "") -> None:
    """Draw one quantity with colour bar and scale bar."""
    values = site_values(sites, quantity.name)
    factor, unit = 1.0, quantity.unit
    if quantity.name == "particle_volume":
        # an exponent of three does not fit SI prefixes of the cubic metre: nm3 or µm3
        factor, unit = volume_unit(values)
    elif quantity.prefixed:
        factor, prefix = style.prefix_for(values)
        unit = f"{prefix}{quantity.unit}"
    shown = values * factor
    limits = style.robust_limits(shown)
    image = draw_sites(axes, sites, shown, quantity.cmap, limits=limits)
    style.panel(axes, letter, quantity.title)
    style.color_bar(axes, image, f"{quantity.symbol} ({unit})", shown)
    style.scale_bar(axes)


def volume_unit(values: np.ndarray) -> tuple[float, str]:
    """Return the factor and unit in which volumes read well."""
    finite = np.abs(values[np.isfinite(values)])
    typical = np.median(finite[finite > 0]) if np.any(finite > 0) else 0.0
    return (1e18, "µm³") if typical > 1e-20 else (1e27, "nm³")


def draw_topography(
    axes: Axes,
    image: Topography,
    letter: str = "",
    title: str = "Topography",
    *,
    grains: np.ndarray | None = None,
    sites: xr.Dataset | None = None,
    cmap: str = style.TOPOGRAPHY_MAP,
    symbol: str = "Height",
) -> None:
    """Draw a levelled height image, optionally with grain outlines and site marks."""
    low, high = style.robust_limits(image.height, (0.5, 99.5))
    factor, prefix = style.prefix_for(np.array([high - low]))
    shown = (image.height - low) * factor if cmap == style.TOPOGRAPHY_MAP else image.height * factor
    limits = style.robust_limits(shown, (0.5, 99.5))
    colors = mpl.colormaps[cmap].with_extremes(bad=style.NEUTRAL)
    mappable = axes.imshow(
        np.ma.masked_invalid(shown),
        extent=image.extent,
        cmap=colors,
        vmin=limits[0],
        vmax=limits[1],
    )
    outline(axes, image, grains, color=style.SKY)
    style.bare(axes)
    axes.set_xlim(image.extent[:2])
    axes.set_ylim(image.extent[2:])
    if sites is not None and sites.sizes["site"] <= MOST_MARKS:
        axes.plot(sites["x"], sites["y"], ".", ms=1.2, color=style.SKY, alpha=0.9, zorder=3)
    style.panel(axes, letter, title)
    style.color_bar(axes, mappable, f"{symbol} ({prefix}m)", shown)
    style.scale_bar(axes)


def outline(
    axes: Axes, image: Topography | None, grains: np.ndarray | None, color: str = "white"
) -> None:
    """Draw the outlines of grains (labels or mask on the image's pixels), if not too many."""
    if grains is None or image is None or not np.any(grains) or np.max(grains) > MOST_OUTLINES:
        return
    left, _, bottom, _ = image.extent
    rows, cols = grains.shape
    x = left + (np.arange(cols) + 0.5) * image.pixel_size
    y = bottom + (np.arange(rows) + 0.5) * image.pixel_size
    box = axes.axis() if axes.images else None
    mask = np.asarray(grains) > 0
    axes.contour(x, y, mask, levels=[0.5], colors="black", linewidths=1.3, alpha=0.5, zorder=3.5)
    axes.contour(x, y, mask, levels=[0.5], colors=color, linewidths=0.7, zorder=4)
    if box is not None:
        axes.axis(box)


def _gap_legend(figure: Figure, sites: xr.Dataset, *, grains: bool) -> None:
    handles: list = [Patch(facecolor=style.NEUTRAL, label="no nucleation")]
    if is_gridded(sites) and not _cells(sites, np.zeros(sites.sizes["site"]))[1].all():
        handles.append(
            Patch(facecolor=NOT_MEASURED, edgecolor=style.FAINT, lw=0.4, label="not measured")
        )
    if grains:
        handles.append(
            Patch(facecolor="none", edgecolor=style.FAINT, lw=1.0, label="outline of grains")
        )
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


@style.styled
def fig_topography(
    image: Topography,
    *,
    title: str = "Topography",
    grains: np.ndarray | None = None,
    sites: xr.Dataset | None = None,
    letter: str = "",
) -> Figure:
    """Draw one topography (counterpart of Kumar et al. 2013, Fig. 1a, 3a, 3b)."""
    figure = style.new_figure(style.WIDTH * 0.55, 3.3)
    draw_topography(figure.subplots(), image, letter, title, grains=grains, sites=sites)
    return figure


@style.styled
def fig_before_after(
    before: Topography | None,
    after: Topography | None,
    *,
    letters: Sequence[str] = ("a", "b"),
    grains: np.ndarray | None = None,
    sites: xr.Dataset | None = None,
) -> Figure:
    """Draw topography before and after the ramps, side by side (Fig. 3a,b).

    Raises
    ------
    ValueError
        If there is no image at all.
    """
    shown = [(i, t) for i, t in ((before, "Before"), (after, "After the ramps")) if i is not None]
    if not shown:
        raise ValueError("no topography to draw")
    figure = style.new_figure(style.WIDTH if len(shown) == 2 else style.WIDTH / 2, 3.2, images=True)
    panels = np.atleast_1d(figure.subplots(1, len(shown)))
    for axes, letter, (image, title) in zip(panels, letters, shown, strict=False):
        first = title == "Before"
        draw_topography(
            axes,
            image,
            letter,
            title,
            grains=grains if first else None,
            sites=sites if first else None,
        )
    return figure


@style.styled
def fig_site_map(
    sites: xr.Dataset,
    name: str,
    *,
    image: Topography | None = None,
    grains: np.ndarray | None = None,
) -> Figure:
    """Draw the map of one quantity, large, for a slide.

    Raises
    ------
    ValueError
        If the quantity has no finite value.
    """
    if not np.isfinite(site_values(sites, name)).any():
        raise ValueError(f"no site has a finite {name}")
    figure = style.new_figure(4.3, 4.0)
    axes = figure.subplots()
    draw_map(axes, sites, QUANTITIES[name])
    outline(axes, image, grains)
    _gap_legend(figure, sites, grains=grains is not None)
    return figure


@style.styled
def fig_map_panels(
    sites: xr.Dataset,
    names: Sequence[str],
    *,
    before: Topography | None = None,
    after: Topography | None = None,
    grains: np.ndarray | None = None,
) -> Figure:
    """Draw topographies and maps as one lettered figure (Fig. 4a-e, 5a-d).

    Parameters
    ----------
    sites : xarray.Dataset
        Result on ``site``.
    names : sequence of str
        Quantities, in order; those without a finite value are left out.
    before, after : Topography or None
        Levelled images; None leaves the panel out.
    grains : ndarray or None
        Labels on the pixels of ``before``.

    Raises
    ------
    ValueError
        If nothing is left to draw.
    """
    known = [n for n in names if n in sites and np.isfinite(site_values(sites, n)).any()]
    images = [
        (i, t)
        for i, t in ((before, "Topography before"), (after, "Topography after"))
        if i is not None
    ]
    count = len(known) + len(images)
    if not known:
        raise ValueError("no site has a value to map")
    columns = 3 if count > 4 else 2 if count > 1 else 1
    lines = -(-count // columns)
    figure = style.new_figure(
        style.WIDTH * (1.25 if columns == 3 else 1.0), 2.75 * lines + 0.3, images=True
    )
    panels = np.atleast_1d(figure.subplots(lines, columns)).ravel()
    letters = iter("abcdefgh")
    axes_left = list(panels)
    for image, title in images:
        axes = axes_left.pop(0)
        draw_topography(
            axes, image, next(letters), title, grains=grains if image is before else None
        )
    for name in known:
        axes = axes_left.pop(0)
        draw_map(axes, sites, QUANTITIES[name], next(letters))
        outline(axes, before, grains)
    for axes in axes_left:
        axes.remove()
    _gap_legend(figure, sites, grains=grains is not None)
    return figure


@style.styled
def fig_classification(
    sites: xr.Dataset, *, image: Topography | None = None, grains: np.ndarray | None = None
) -> Figure:
    """Draw what the analysis says of every site."""
    variable = sites["classification"]
    values = variable.values.astype(int)
    flags = [int(v) for v in np.atleast_1d(variable.attrs["flag_values"])]
    meanings = str(variable.attrs["flag_meanings"]).split()
    colors = [CLASS_COLORS.get(m, style.PURPLE) for m in meanings]
    figure = style.new_figure(4.6, 3.8)
    axes = figure.subplots()
    order = np.argsort(flags)
    edges = np.concatenate([np.array(flags)[order] - 0.5, [max(flags) + 0.5]])
    norm = BoundaryNorm(edges, len(flags))
    draw_sites(
        axes, sites, values.astype(float), ListedColormap([colors[i] for i in order]), norm=norm
    )
    outline(axes, image, grains)
    style.panel(axes, "", "Classification of sites")
    style.scale_bar(axes)
    handles = [
        Patch(facecolor=c, label=f"{m.replace('_', ' ')} ({np.count_nonzero(values == f)})")
        for f, m, c in zip(flags, meanings, colors, strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure
