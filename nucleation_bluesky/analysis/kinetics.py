"""Nucleation kinetics from onsets over ramps: maximum likelihood with censoring.

Two models of the hazard h = A exp(-B/eta^2):

- `fit_plain`: one B for all sites. For a given B the maximum over A is analytic,
  A = n / sum(exposure). Badly biased where B varies between sites.
- `fit_mixture`: ln B normally distributed between sites (Gauss-Hermite quadrature), optionally
  with an exponential dependence of B and E_eq on the distance to the nearest grain boundary.

A and the spread of B both widen the distribution of onsets; what separates them is the shift of
the onset with the sweep rate, so fits of the mixture need several rates. E_eq cannot be told from
onsets and is held fixed. Sites without nucleation are right-censored at their own last bias.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import optimize, special

from nucleation_bluesky.analysis.hazard import ramp_exposure
from nucleation_bluesky.analysis.kinetics_data import OnsetData, away_from_boundaries, onset_data
from nucleation_bluesky.analysis.kinetics_diagnostics import (
    goodness_of_fit,
    onset_distribution,
    predicted_survival,
    profile_interval,
)
from nucleation_bluesky.analysis.kinetics_model import NODES, KineticsFit, Mixture
from nucleation_bluesky.analysis.spatial import block_labels, correlation_length

__all__ = [
    "KineticsFit",
    "OnsetData",
    "away_from_boundaries",
    "distance_sensitivity",
    "fit_mixture",
    "fit_plain",
    "goodness_of_fit",
    "onset_data",
    "onset_distribution",
    "predicted_survival",
    "profile_interval",
]

BLOCK_LENGTHS = 4.0  # edge of a block in correlation lengths, for the robust covariance


def fit_plain(data: OnsetData) -> KineticsFit:
    """Fit one A and one B to all sites; A is profiled out.

    Returns
    -------
    KineticsFit
        Parameters ``ln_a`` and ``ln_b``.
    """
    eta = data.eta[data.nucleated]
    n = eta.size
    if np.any(eta <= 0):
        raise ValueError("a site nucleated below E_eq: no B fits it; check E_eq and its scale")
    inverse = float(np.sum(eta**-2))

    def profile(ln_b: float) -> float:
        b = np.exp(ln_b)
        exposure = float(np.sum(ramp_exposure(data.bounds, data.rates, b)))
        return -(n * np.log(n / exposure) - b * inverse) if exposure > 0 else np.inf

    centre = 2 * np.log(np.median(eta)) + np.log(6.0)
    found = optimize.minimize_scalar(profile, bounds=(centre - 6, centre + 3), method="bounded")
    ln_b = float(found.x)
    ln_a = np.log(n / float(np.sum(ramp_exposure(data.bounds, data.rates, np.exp(ln_b)))))
    model = Mixture(data, nodes=1, joint=False)
    return _finish(model, np.array([ln_a, ln_b]), success=bool(found.success), message="")


def fit_mixture(
    data: OnsetData,
    *,
    joint: bool = False,
    nodes: int = NODES,
    start: Sequence[float] | np.ndarray | None = None,
    block_size: float | None = None,
) -> KineticsFit:
    """Fit A and a log-normal distribution of B by maximum likelihood.

    Parameters
    ----------
    data : OnsetData
        With at least two sweep rates (one rate does not separate A from the spread of B).
    joint : bool
        Also fit B(d) = B [1 - f exp(-d/L)] and abs(E_eq)(d) = abs(E_eq) - dE exp(-d/L): all
        sites of the matrix can then be used. Needs ``data.distance``; sites on grains (d < 0)
        are left out.
    nodes : int
        Quadrature nodes.
    start : sequence of float or None
        Start of the search, in the order of `KineticsFit.names`.
    block_size : float or None
        Edge of the spatial blocks of the sandwich covariance, m. None: from the correlation
        length of the residuals. Without positions the sites count as independent.

    Returns
    -------
    KineticsFit
    """
    if joint:
        if data.distance is None:
            raise ValueError("the joint model needs each site's distance to the grain boundary")
        data = data.select(data.distance >= 0)
    distinct = np.unique(np.round(np.log(data.final_rate[data.nucleated]), 6))
    if distinct.size < 2:
        raise ValueError(
            "one sweep rate does not separate A from the spread of B; measure at two or more"
        )
    model = Mixture(data, nodes=nodes, joint=joint)
    if start is None:
        start = _start(data, joint=joint)
    bounds: list[tuple[float, float]] = [(-20.0, 40.0), (-12.0, 8.0), (1e-3, 2.0)]
    if joint:
        size = max(float(np.percentile(np.asarray(data.distance), 99)), 1e-12)
        bounds += [(-0.5, 0.98), (-0.3, 0.5), (np.log(size / 300), np.log(size))]
    found = optimize.minimize(
        model.negative,
        np.asarray(start, dtype=float),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 300, "ftol": 1e-11},
    )
    message = "" if found.success else str(found.message)
    return _finish(model, found.x, success=bool(found.success), message=message, block=block_size)


def distance_sensitivity(data: OnsetData, cuts: Sequence[float]) -> list[KineticsFit]:
    """Mixture fits with different cuts of the distance to the grain boundary (m)."""
    fits = []
    start: np.ndarray | None = None
    for cut in cuts:
        fit = fit_mixture(away_from_boundaries(data, cut), start=start)
        start = fit.values
        fits.append(replace(fit, distance_cut=float(cut)))
    return fits


def _start(data: OnsetData, *, joint: bool) -> list[float]:
    """Start values: the plain fit at a moderate spread."""
    plain = fit_plain(data.select(data.eta > 0))
    start = [plain.value("ln_a") + 1.0, plain.value("ln_b") + 0.1, 0.2]
    if joint:
        start += [0.3, 0.01, float(np.log(np.median(np.asarray(data.distance)) / 3))]
    return start


def _finish(
    model: Mixture, values: np.ndarray, *, success: bool, message: str, block: float | None = None
) -> KineticsFit:
    """Covariances and the result."""
    data = model.data
    log_likelihood, scores = model.scores(values)
    hessian = _hessian(model, values)
    bread = np.linalg.pinv(hessian)
    covariance = bread
    if data.x is not None and data.y is not None:
        if block is None:
            residual = _normal_scores(model, values)
            length = correlation_length(data.x, data.y, residual)
            block = BLOCK_LENGTHS * length if length > 0 else 0.0
        labels = block_labels(data.x, data.y, block)
        sums = np.stack([np.bincount(labels, s) for s in scores.T], axis=1)
        n = np.unique(labels).size
        covariance = bread @ (sums.T @ sums) @ bread * n / max(1, n - 1)
        if n < 3 * len(values):
            message = f"only {n} independent blocks of sites: intervals are rough. {message}"
    return KineticsFit(
        names=model.names,
        values=values,
        covariance=covariance,
        covariance_independent=bread,
        log_likelihood=float(log_likelihood.sum()),
        n_sites=model.n,
        n_nucleated=int(data.nucleated.sum()),
        rates=np.unique(model.final_rate.round(12)),
        block_size=block,
        converged=success,
        message=message.strip(),
    )


def _hessian(model: Mixture, values: np.ndarray) -> np.ndarray:
    """Observed information by central differences of the analytic gradient."""
    rows = []
    for k in range(values.size):
        step = np.zeros(values.size)
        step[k] = 1e-4
        high, low = model.negative(values + step)[1], model.negative(values - step)[1]
        rows.append((high - low) / 2e-4 * model.n)
    matrix = np.array(rows)
    return (matrix + matrix.T) / 2


def _normal_scores(model: Mixture, values: np.ndarray) -> np.ndarray:
    """Residuals that are standard normal under the model (censored sites: their expectation)."""
    alive = np.clip(model.survival(values), 1e-9, 1 - 1e-9)
    expected = np.where(model.data.nucleated, alive, alive / 2)
    return -special.ndtri(expected)
