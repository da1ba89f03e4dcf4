"""Nucleation against the distance to the nearest grain boundary."""

from dataclasses import dataclass
from itertools import pairwise

import lmfit
import numpy as np

from nucleation_bluesky.analysis.statistics import bootstrap_interval, wilson_interval


@dataclass(frozen=True)
class Profile:
    """Binned onset against distance; arrays have shape (bins,).

    Parameters
    ----------
    edges : ndarray, shape (bins + 1,)
        m.
    distance : ndarray
        Median distance of the bin's sites, m.
    median, low, high : ndarray
        Median onset (V, signed) and its bootstrap interval.
    count : ndarray of int
    nucleated_fraction, fraction_low, fraction_high : ndarray
        Share of the bin's sites that nucleated, with the Wilson interval.
    """

    edges: np.ndarray
    distance: np.ndarray
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    count: np.ndarray
    nucleated_fraction: np.ndarray
    fraction_low: np.ndarray
    fraction_high: np.ndarray


@dataclass(frozen=True)
class Contrast:
    """Onsets near the boundary against far from it, as magnitudes (V).

    Parameters
    ----------
    near, far : float
        Median magnitude of the onset, V.
    near_mean, far_mean : float
        Means, V.
    difference : float
        Far minus near, medians, V: positive where the boundary nucleates earlier.
    interval : tuple of float
        95 % bootstrap interval of the difference.
    n_near, n_far : int
    """

    near: float
    far: float
    near_mean: float
    far_mean: float
    difference: float
    interval: tuple[float, float]
    n_near: int
    n_far: int


@dataclass(frozen=True)
class DecayFit:
    """abs(V)(d) = plateau - amplitude exp(-d / length).

    Parameters
    ----------
    plateau, amplitude : float
        V.
    length : float
        m.
    plateau_sd, amplitude_sd, length_sd : float
        Standard uncertainties; NaN where the fit does not fix them.
    success : bool
        The fit converged and its covariance could be estimated.
    """

    plateau: float
    amplitude: float
    length: float
    plateau_sd: float
    amplitude_sd: float
    length_sd: float
    success: bool


def onset_profile(
    distance: np.ndarray,
    onset: np.ndarray,
    nucleated: np.ndarray,
    *,
    edges: np.ndarray | None = None,
    bins: int = 12,
    level: float = 0.95,
) -> Profile:
    """Bin onsets by distance to the boundary.

    Parameters
    ----------
    distance : ndarray, shape (n,)
        Signed, m: positive in the matrix, negative on grains.
    onset : ndarray, shape (n,)
        V, NaN where not nucleated.
    nucleated : ndarray of bool, shape (n,)
    edges : ndarray or None
        Bin edges, m; None: quantiles of the distances in the matrix, and one bin of the grains.
    bins : int
        Number of bins in the matrix.
    level : float
        Confidence level.
    """
    distance, onset = np.asarray(distance, float), np.asarray(onset, float)
    nucleated = np.asarray(nucleated, bool)
    finite = np.isfinite(distance)
    if edges is None:
        matrix = distance[finite & (distance >= 0)]
        if matrix.size < bins:
            raise ValueError(f"{matrix.size} sites in the matrix do not fill {bins} bins")
        edges = np.unique(np.quantile(matrix, np.linspace(0, 1, bins + 1)))
        edges[0] = 0.0
        edges[-1] = np.nextafter(edges[-1], np.inf)
        if np.any(distance[finite] < 0):
            edges = np.concatenate([[float(distance[finite].min())], edges])
    edges = np.asarray(edges, dtype=float)
    rows = []
    for low, high in pairwise(edges):
        inside = finite & (distance >= low) & (distance < high)
        values = onset[inside & nucleated & np.isfinite(onset)]
        total, hits = int(inside.sum()), int(nucleated[inside].sum())
        rows.append(
            (
                float(np.median(distance[inside])) if total else (low + high) / 2,
                float(np.median(values)) if values.size else np.nan,
                *bootstrap_interval(values, np.median, level=level, resamples=500),
                total,
                hits / total if total else np.nan,
                *wilson_interval(hits, total, level),
            )
        )
    columns = [np.array(c) for c in zip(*rows, strict=True)]
    return Profile(edges, *columns)


def boundary_contrast(
    distance: np.ndarray, onset: np.ndarray, *, near: float, far: float, seed: int = 0
) -> Contrast:
    """Compare onsets of matrix sites within ``near`` of a boundary with those beyond ``far``.

    Parameters
    ----------
    distance, onset : ndarray, shape (n,)
        m (positive in the matrix) and V (NaN where not nucleated).
    near, far : float
        m.
    seed : int
        Of the bootstrap.

    Raises
    ------
    ValueError
        If ``near`` exceeds ``far`` or a group is empty.
    """
    if near > far:
        raise ValueError("near must not exceed far")
    distance = np.asarray(distance, float)
    size = np.abs(np.asarray(onset, float))
    seen = np.isfinite(size)
    first = size[seen & (distance >= 0) & (distance <= near)]
    second = size[seen & (distance > far)]
    if first.size == 0 or second.size == 0:
        raise ValueError(
            f"{first.size} nucleated sites near and {second.size} far from a boundary: "
            "choose other limits"
        )
    rng = np.random.default_rng(seed)
    draws = [
        np.median(second[rng.integers(0, second.size, second.size)])
        - np.median(first[rng.integers(0, first.size, first.size)])
        for _ in range(1000)
    ]
    low, high = np.percentile(draws, [2.5, 97.5])
    return Contrast(
        near=float(np.median(first)),
        far=float(np.median(second)),
        near_mean=float(first.mean()),
        far_mean=float(second.mean()),
        difference=float(np.median(second) - np.median(first)),
        interval=(float(low), float(high)),
        n_near=first.size,
        n_far=second.size,
    )


def fraction_on_grains(
    distance: np.ndarray, nucleated: np.ndarray, *, margin: float = 0.0, level: float = 0.95
) -> dict[str, float]:
    """Share of sites on grains that nucleated, with its Wilson interval.

    Parameters
    ----------
    distance : ndarray, shape (n,)
        Signed, m (negative on grains).
    nucleated : ndarray of bool, shape (n,)
    margin : float
        Count only sites deeper than this inside a grain, m: position and segmentation errors
        put matrix sites at the rim on the wrong side.
    level : float
        Confidence level.

    Returns
    -------
    dict
        ``n``, ``nucleated``, ``fraction``, ``low``, ``high``.
    """
    on_grain = np.asarray(distance, float) < -margin
    total, hits = int(on_grain.sum()), int(np.asarray(nucleated, bool)[on_grain].sum())
    low, high = wilson_interval(hits, total, level)
    return {
        "n": float(total),
        "nucleated": float(hits),
        "fraction": hits / total if total else float("nan"),
        "low": low,
        "high": high,
    }


def fit_decay(distance: np.ndarray, onset: np.ndarray) -> DecayFit:
    """Fit the exponential recovery of the onset's magnitude away from the boundary.

    Robust (soft L1 loss in units of the onsets' own scatter): single sites do not steer it.

    Parameters
    ----------
    distance, onset : ndarray, shape (n,)
        m (only sites in the matrix, d >= 0, are used) and V (NaN ignored).

    Raises
    ------
    ValueError
        If fewer than ten sites remain.
    """
    distance, size = np.asarray(distance, float), np.abs(np.asarray(onset, float))
    use = np.isfinite(distance) & np.isfinite(size) & (distance >= 0)
    if np.count_nonzero(use) < 10:
        raise ValueError("at least ten nucleated sites in the matrix are needed")
    d, v = distance[use], size[use]
    reach = float(np.percentile(d, 95))
    scatter = max(1.4826 * float(np.median(np.abs(v - np.median(v)))), 1e-9)
    # in units of the reach and of 1 V: lmfit's steps need numbers near 1
    parameters = lmfit.Parameters()
    parameters.add("plateau", value=float(np.median(v[d >= np.median(d)])))
    parameters.add("amplitude", value=scatter)
    parameters.add("length", value=0.25, min=1e-3, max=10.0)

    def residual(p: lmfit.Parameters) -> np.ndarray:
        model = p["plateau"] - p["amplitude"] * np.exp(-d / reach / p["length"])
        return (v - model) / scatter

    found = lmfit.minimize(residual, parameters, method="least_squares", loss="soft_l1")
    values = found.params  # pyright: ignore[reportAttributeAccessIssue]
    errors = {k: p.stderr for k, p in values.items()}

    def sd(name: str) -> float:
        return float("nan") if errors[name] is None else float(errors[name])

    return DecayFit(
        plateau=float(values["plateau"].value),
        amplitude=float(values["amplitude"].value),
        length=float(values["length"].value) * reach,
        plateau_sd=sd("plateau"),
        amplitude_sd=sd("amplitude"),
        length_sd=sd("length") * reach,
        success=all(e is not None for e in errors.values()),
    )
