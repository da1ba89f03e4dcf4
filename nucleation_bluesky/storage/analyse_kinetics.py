"""Kinetics over the sweep rates of one or several data sets."""

import warnings
from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy import stats

from nucleation_bluesky.analysis.kinetics import (
    KineticsFit,
    away_from_boundaries,
    fit_mixture,
    onset_data,
    onset_distribution,
)
from nucleation_bluesky.analysis.ramps import RampSet
from nucleation_bluesky.storage.analysis_result import Kinetics, Survival

RATE_DIGITS = 4  # rates that agree to so many digits are one rate
MIN_NUCLEATED = 10


def sweep_rates(ramps: RampSet) -> np.ndarray:
    """Sweep rate of every site rounded so that equal rates are equal, V/s."""
    rates = ramps.ramp_rate
    with np.errstate(divide="ignore"):
        digits = 10.0 ** (RATE_DIGITS - 1 - np.floor(np.log10(np.abs(rates))))
    return np.where(np.isfinite(digits), np.round(rates * digits) / digits, rates)


def fit_kinetics(
    sets: Sequence[tuple[RampSet, xr.Dataset]], *, distance_cut: float = 60e-9
) -> Kinetics:
    """Fit the classical nucleation rate to onsets at several sweep rates.

    Parameters
    ----------
    sets : sequence of (RampSet, Dataset)
        Data of one sample and one E_eq, each with its site results. Sites closer than
        ``distance_cut`` to a grain boundary (variable ``boundary_distance``), and those on
        grains, are left out; sites without nucleation are censored at their own last bias.
        False trips and undetermined sites are censored as well, at their stop bias.
    distance_cut : float
        m.

    Raises
    ------
    ValueError
        If E_eq is missing or differs, there is one sweep rate only, or too few sites nucleated.
    """
    potentials = {r.equilibrium_potential for r, _ in sets}
    if None in potentials or len(potentials) != 1:
        raise ValueError("kinetics needs one equilibrium potential, given with the data")
    e_eq = float(next(iter(potentials)) or 0.0)
    rate = np.concatenate([sweep_rates(r) for r, _ in sets])
    if len(np.unique(rate[np.isfinite(rate)])) < 2:
        raise ValueError("only one sweep rate was measured; kinetics needs several")
    last, nucleated = (np.concatenate(v) for v in zip(*(_ends(s) for _, s in sets), strict=True))
    has_distance = all("boundary_distance" in s for _, s in sets)
    distance = (
        np.concatenate([s["boundary_distance"].values for _, s in sets]) if has_distance else None
    )
    data = onset_data(
        last,
        nucleated,
        rate,
        e_eq,
        x=np.concatenate([r.x for r, _ in sets]),
        y=np.concatenate([r.y for r, _ in sets]),
        distance=distance,
        ramp_start=np.concatenate([r.bias_start for r, _ in sets]),
    )
    if distance is not None:
        data = away_from_boundaries(data, distance_cut)
    if np.count_nonzero(data.nucleated) < MIN_NUCLEATED:
        raise ValueError(f"fewer than {MIN_NUCLEATED} nucleated sites are left to fit")
    fit = fit_mixture(data)
    sign = -1.0 if e_eq < 0 else 1.0
    curves = tuple(
        survival_curve(
            data.eta[here], data.nucleated[here], float(r), fit, sign=sign, e_eq=abs(e_eq)
        )
        for r in fit.rates
        if np.count_nonzero((here := np.isclose(data.final_rate, r)) & data.nucleated) > 1
    )
    return Kinetics(
        curves=curves,
        a=fit.a,
        b=fit.b,
        spread=fit.spread,
        a_interval=fit.interval("a"),
        b_interval=fit.interval("b"),
        n_sites=fit.n_sites,
        distance_cut=None if distance is None else distance_cut,
    )


def _ends(sites: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    nucleated = sites["nucleated"].values.astype(bool)
    return np.where(nucleated, sites["onset_bias"].values, sites["stop_bias"].values), nucleated


def survival_curve(
    eta: np.ndarray,
    nucleated: np.ndarray,
    rate: float,
    fit: KineticsFit | None,
    *,
    sign: float,
    e_eq: float,
) -> Survival:
    """Kaplan-Meier survival of one rate with its median, and the fit on the same axis.

    Parameters
    ----------
    eta : ndarray, shape (n,)
        Overpotential at the onset or at the end of the ramp, V.
    nucleated : ndarray of bool, shape (n,)
        False: censored.
    rate : float
        V/s.
    fit : KineticsFit or None
        Its prediction is added.
    sign : float
        -1 where the bias goes negative.
    e_eq : float
        Magnitude, V.
    """
    found = stats.ecdf(stats.CensoredData(uncensored=eta[nucleated], right=eta[~nucleated])).sf
    with warnings.catch_warnings():
        # before the first and after the last onset the formula has no value; NaN says so
        warnings.filterwarnings("ignore", "The confidence interval is undefined", RuntimeWarning)
        band = found.confidence_interval(method="log-log")
    center = _crossing(found.quantiles, found.probabilities)
    edges = sorted(
        _crossing(found.quantiles, np.nan_to_num(b.probabilities, nan=1.0))
        for b in (band.low, band.high)
    )
    model_eta = model = None
    model_median = np.nan
    if fit is not None:
        reach = np.ptp(found.quantiles) * 0.15 + 1e-3
        model_eta = np.linspace(
            max(found.quantiles[0] - reach, 1e-3), found.quantiles[-1] + reach, 300
        )
        model = onset_distribution(fit, model_eta, rate)[0]
        model_median = _crossing(model_eta, model)

    def bias(values: np.ndarray | float) -> np.ndarray:
        return sign * (np.asarray(values) + e_eq)

    return Survival(
        rate=rate,
        bias=bias(found.quantiles),
        survival=found.probabilities,
        low=band.low.probabilities,
        high=band.high.probabilities,
        model_bias=None if model_eta is None else bias(model_eta),
        model=model,
        median=float(bias(center)),
        median_low=float(bias(edges[0])),
        median_high=float(bias(edges[1])),
        model_median=float(bias(model_median)),
    )


def _crossing(at: np.ndarray, survival: np.ndarray) -> float:
    """First value where the survival has fallen to one half; NaN if it never does."""
    below = np.flatnonzero(survival <= 0.5)
    return float(at[below[0]]) if below.size else float("nan")
