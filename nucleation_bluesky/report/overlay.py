"""A picture of another instrument and a map, side by side and on top of each other."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from nucleation_bluesky.report.figures import style


@style.styled
def fig_overlay(field: Any, picture: np.ndarray, title: str = "") -> Figure:
    """Draw picture, map, and the map over the picture.

    Parameters
    ----------
    field : Field
        The map (``values``, ``unit``, ``origin``, ``size``, ``name``).
    picture : ndarray, shape (rows, cols)
        On the cells of the map; NaN outside.
    title : str
        Of the picture.
    """
    left, bottom = field.origin
    width, height = field.size
    extent = (left, left + width, bottom, bottom + height)
    figure = style.new_figure(style.WIDTH, 2.7, images=True)
    panels = figure.subplots(1, 3)
    grey = style.robust_limits(picture)
    factor, prefix = (1.0, "") if field.unit == "V" else style.prefix_for(field.values)
    values = field.values * factor
    low, high = style.robust_limits(values)
    for axes in (panels[0], panels[2]):
        axes.imshow(picture, extent=extent, cmap="gray", vmin=grey[0], vmax=grey[1])
    look: Any = {"extent": extent, "cmap": style.BIAS_MAP, "vmin": low, "vmax": high}
    drawn = panels[1].imshow(values, **look)
    panels[2].imshow(values, alpha=0.45, **look)
    for axes, name in zip(panels, (title, field.name, "overlay"), strict=True):
        axes.set_title(name)
        axes.set_xlim(left, left + width)
        axes.set_ylim(bottom, bottom + height)
        style.bare(axes)
        style.scale_bar(axes)
    unit = "" if field.unit == "1" else f" ({prefix}{field.unit})"
    style.color_bar(panels[1], drawn, f"{field.name}{unit}", values)
    return figure


def draw_overlay(path: Path, field: Any, picture: np.ndarray, title: str = "") -> Path:
    """Write the figure as PNG."""
    return style.save_png(fig_overlay(field, picture, title), path)
