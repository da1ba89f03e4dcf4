"""What maps are drawn of: site values, topographies, outlines of grains, gaps."""

from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from nucleation_bluesky.report.figures import style
from nucleation_bluesky.storage.images import Topography

NOT_MEASURED = "#f4f1ea"


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


def gap_legend(figure: Figure, sites: xr.Dataset, *, grains: bool) -> None:
    """Say below a figure what its greys and outlines are."""
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
