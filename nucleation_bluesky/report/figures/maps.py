"""Figures of topographies and maps, with scale bars, grain outlines and honest gaps."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from nucleation_bluesky.report.figures import style
from nucleation_bluesky.report.figures.map_panels import (
    QUANTITIES,
    draw_map,
    draw_sites,
    draw_topography,
    gap_legend,
    outline,
    site_values,
)
from nucleation_bluesky.storage.images import Topography

CLASS_COLORS = {
    "nucleated": style.BLUE,
    "no_nucleation": style.NEUTRAL,
    "false_trip": style.RED,
    "undetermined": style.ORANGE,
}


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
    gap_legend(figure, sites, grains=grains is not None)
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
    gap_legend(figure, sites, grains=grains is not None)
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
