"""Which sites a plan means: a grid, a list or a file, cut to a region and put in an order."""

import math
from collections.abc import Sequence

import numpy as np

from nucleation_bluesky.plans import sites as site_lists
from nucleation_bluesky.plans.sites import Sites

Travel = tuple[tuple[float, float], tuple[float, float]]


def choose_sites(
    travel: Travel,
    *,
    rows: int,
    cols: int,
    pitch: float,
    origin: Sequence[float] | None,
    angle: float,
    lattice: str,
    sites: Sequence[Sequence[float]] | None,
    site_file: str,
    region: Sequence[Sequence[float]] | None,
    order: str,
    seed: int,
    usual: str = "raster",
) -> Sites:
    """Sites from a plan's arguments.

    Parameters
    ----------
    travel : tuple
        ((x low, x high), (y low, y high)) of the stage in the sample frame, m: a grid without an
        origin is centred in it.
    usual : str
        The plan's default of ``order``: of a list of sites it means the list's own order.
    **others
        As `nucleation_map.nucleation_map`.

    Raises
    ------
    ValueError
        If an argument is out of range or the arguments contradict each other.
    """
    if sites is not None and site_file:
        raise ValueError("give either sites or site_file, not both")
    if sites is not None:
        chosen = site_lists.custom(sites)
    elif site_file:
        chosen = site_lists.from_csv(site_file)
    elif lattice in ("square", "hexagonal"):
        make = site_lists.grid if lattice == "square" else site_lists.hexagonal
        chosen = make(rows, cols, pitch, origin=(0.0, 0.0), angle=angle)
        if origin is None:
            (low_x, high_x), (low_y, high_y) = travel
            (first_y, last_y), (first_x, last_x) = chosen.extents
            origin = (
                (low_x + high_x - first_x - last_x) / 2,
                (low_y + high_y - first_y - last_y) / 2,
            )
        chosen = make(rows, cols, pitch, origin=tuple(origin), angle=angle)
    else:
        raise ValueError(f"lattice '{lattice}' is not square or hexagonal")
    if region is not None:
        if len(region) == 2:
            (x0, y0), (x1, y1) = region
            chosen = chosen.inside_box((x0, x1), (y0, y1))
        else:
            chosen = chosen.inside_polygon(region)
    if order in ("raster", "snake") and chosen.shape is None:
        if order != usual:  # a plan's default is nobody's wish
            raise ValueError(
                f"order '{order}' needs a grid; a list of sites is visited in its own order "
                "('given') or at 'random'"
            )
        order = "given"
    return chosen.ordered(order, seed)


def choose_grid(
    travel: Travel,
    landings: int,
    *,
    rows: int,
    cols: int,
    pitch: float,
    origin: Sequence[float] | None,
    angle: float,
    sites: Sequence[Sequence[float]] | None,
    site_file: str,
    order: str,
    seed: int,
    usual: str = "raster",
) -> Sites:
    """Sites of ``landings`` landings, the first ones of the grid in the order of visit.

    Parameters
    ----------
    travel : tuple
        As `choose_sites`.
    landings : int
        How many are needed; 0 for all sites of the grid.
    rows, cols : int
        0 for a grid that is as square as it can be.
    usual : str
        As `choose_sites`.
    **others
        As in the plans.

    Raises
    ------
    ValueError
        If there are fewer sites than landings, or an argument is out of range.
    """
    given = sites is not None or bool(site_file)
    if not rows and not cols:
        cols = math.ceil(math.sqrt(max(landings, 1)))
    rows = rows or math.ceil(max(landings, 1) / max(cols, 1))
    cols = cols or math.ceil(max(landings, 1) / rows)
    chosen = choose_sites(
        travel,
        rows=rows,
        cols=cols,
        pitch=pitch,
        origin=origin,
        angle=angle,
        lattice="square",
        sites=sites,
        site_file=site_file,
        region=None,
        order=order,
        seed=seed,
        usual=usual,
    )
    if landings > len(chosen):
        what = "sites given" if given else f"sites of a {rows} x {cols} grid"
        raise ValueError(f"{landings} landings do not fit on the {len(chosen)} {what}")
    if not landings or landings == len(chosen):
        return chosen
    return chosen.pick(np.arange(landings))
