"""Statistics over repeats: one row per condition of a combinatorial screen (S11, S21).

A repeat without nucleation is counted, never averaged.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from nucleation_bluesky.analysis.statistics import bootstrap_interval, wilson_interval

UNITS = {
    "e_nuc": "V",
    "e_growth": "V",
    "t_nuc": "s",
    "q_nuc": "C/m2",
    "charge_nuc": "C",
    "current_density": "A/m2",
    "current": "A",
    "t_nuc_irm": "s",
    "lead": "s",
    "ce": "1",
    "footprint_area": "m2",
}


def screen_table(
    condition: np.ndarray,
    quantities: Mapping[str, np.ndarray],
    nucleated: np.ndarray,
    *,
    usable: np.ndarray | None = None,
    labels: Sequence[str] | None = None,
    resamples: int = 2000,
) -> xr.Dataset:
    """Summarise landings by condition.

    Parameters
    ----------
    condition : ndarray of int, shape (n,)
        Condition of each landing; negative ones are left out.
    quantities : mapping of str to ndarray, shape (n,)
        What to summarise, NaN where it does not exist; units as in ``UNITS`` ("1" otherwise).
    nucleated : ndarray of bool, shape (n,)
        Whether the landing reached nucleation.
    usable : ndarray of bool, shape (n,), or None
        False for landings that measured nothing (no contact, aborted): they count as neither.
    labels : sequence of str or None
        Name per condition.
    resamples : int
        Of the bootstrap.

    Returns
    -------
    xarray.Dataset
        Dimension ``condition`` with ``n`` (usable), ``n_nucleated``, ``fraction_nucleated`` and
        its 95 % Wilson interval, ``no_nucleation`` (usable landings, none nucleated), and for each
        quantity ``<name>`` (mean), ``<name>_sd``, ``<name>_low``, ``<name>_high`` (95 % bootstrap
        interval of the mean; NaN with fewer than two repeats), ``<name>_n``.
    """
    condition = np.asarray(condition, dtype=int)
    usable = np.ones(len(condition), bool) if usable is None else np.asarray(usable, dtype=bool)
    keys = np.unique(condition[condition >= 0])
    columns: dict[str, list[float]] = {}

    def put(name: str, value: float) -> None:
        columns.setdefault(name, []).append(value)

    for key in keys:
        here = (condition == key) & usable
        hits = int(np.count_nonzero(here & nucleated))
        total = int(np.count_nonzero(here))
        low, high = wilson_interval(hits, total)
        put("n", total)
        put("n_nucleated", hits)
        put("fraction_nucleated", hits / total if total else np.nan)
        put("fraction_nucleated_low", low)
        put("fraction_nucleated_high", high)
        put("no_nucleation", total > 0 and hits == 0)
        for name, values in quantities.items():
            found = np.asarray(values, dtype=float)[here]
            found = found[np.isfinite(found)]
            low, high = bootstrap_interval(found, np.mean, resamples=resamples)
            put(name, float(found.mean()) if found.size else np.nan)
            put(f"{name}_sd", float(found.std(ddof=1)) if found.size > 1 else np.nan)
            put(f"{name}_low", low)
            put(f"{name}_high", high)
            put(f"{name}_n", found.size)
    variables = {name: _column(name, values, quantities) for name, values in columns.items()}
    table = xr.Dataset(variables, coords={"condition": ("condition", keys, {"units": "1"})})
    if labels is not None:
        names = [labels[k] if k < len(labels) else str(k) for k in keys]
        table = table.assign_coords(label=("condition", np.array(names, dtype=str), {"units": "1"}))
    return table


def _column(name: str, values: list[float], quantities: Mapping[str, np.ndarray]):
    base = next(
        (q for q in quantities if name in (q, *(f"{q}_{e}" for e in ("sd", "low", "high")))), ""
    )
    array = np.asarray(values)
    if name.endswith("_n") or name in ("n", "n_nucleated"):
        array = array.astype(np.int64)
    return ("condition", array, {"units": UNITS.get(base, "1")})


def mean_curve(
    curves: Sequence[tuple[np.ndarray, np.ndarray]], points: int = 400
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and standard deviation of curves over their common range (Fig 3b, c).

    Parameters
    ----------
    curves : sequence of (x, y)
        Each with x increasing: time (s) or charge density (C/m2), and potential (V).
    points : int
        Of the common axis.

    Returns
    -------
    x, mean, sd : ndarray, shape (points,)
        ``sd`` is NaN for a single curve.

    Raises
    ------
    ValueError
        If there is no curve, or they have no common range.
    """
    if not curves:
        raise ValueError("there is no curve to average")
    low = max(float(x[0]) for x, _ in curves)
    high = min(float(x[-1]) for x, _ in curves)
    if not high > low:
        raise ValueError("the curves have no common range")
    axis = np.linspace(low, high, points)
    rows = np.stack([np.interp(axis, x, y) for x, y in curves])
    sd = rows.std(axis=0, ddof=1) if len(curves) > 1 else np.full(points, np.nan)
    return axis, rows.mean(axis=0), sd
