"""The likelihood of nucleation kinetics, and what a fit of it found."""

from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from nucleation_bluesky.analysis.hazard import (
    barrier_integral,
    barrier_integral_derivative,
    ramp_exposure,
)
from nucleation_bluesky.analysis.kinetics_data import OnsetData

NODES = 48  # quadrature: the conditional width of ln B is resolved up to a spread of about 1


@dataclass(frozen=True)
class KineticsFit:
    """Result of a fit.

    Parameters
    ----------
    names : tuple of str
        Parameters as fitted: ``ln_a``, ``ln_b`` (median of B), ``sd_ln_b`` and, for the joint
        model, ``boundary_b`` (fraction f by which B is lowered at the boundary),
        ``boundary_e`` (V by which abs(E_eq) is lowered there) and ``ln_length`` (of the decay).
    values : ndarray
        Estimates.
    covariance : ndarray
        Used for the intervals: spatial-block sandwich where positions were given, else the
        inverse Hessian.
    covariance_independent : ndarray
        From the outer product of the scores, as if the sites were independent.
    log_likelihood : float
    n_sites, n_nucleated : int
    rates : ndarray
        Distinct sweep rates at the sites' ends, V/s.
    block_size : float or None
        Edge of the blocks of the sandwich, m.
    distance_cut : float or None
        Only sites farther from a grain boundary were used, m.
    converged : bool
    message : str
    """

    names: tuple[str, ...]
    values: np.ndarray
    covariance: np.ndarray
    covariance_independent: np.ndarray
    log_likelihood: float
    n_sites: int
    n_nucleated: int
    rates: np.ndarray
    block_size: float | None = None
    distance_cut: float | None = None
    converged: bool = True
    message: str = ""

    def value(self, name: str) -> float:
        """Estimate of a fitted parameter."""
        return float(self.values[self.names.index(name)])

    def sd(self, name: str) -> float:
        """Its standard uncertainty."""
        index = self.names.index(name)
        return float(np.sqrt(self.covariance[index, index]))

    @property
    def a(self) -> float:
        """A, 1/s."""
        return float(np.exp(self.value("ln_a")))

    @property
    def b(self) -> float:
        """B, V^2 (median over sites in the mixture)."""
        return float(np.exp(self.value("ln_b")))

    @property
    def spread(self) -> float:
        """Standard deviation of ln B between sites (0 in the plain model)."""
        return self.value("sd_ln_b") if "sd_ln_b" in self.names else 0.0

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of a parameter (Wald); ``a`` and ``b`` on their own scale."""
        key = {"a": "ln_a", "b": "ln_b", "length": "ln_length"}.get(name, name)
        half = stats.norm.ppf(0.5 + level / 2) * self.sd(key)
        low, high = self.value(key) - half, self.value(key) + half
        return (
            (float(np.exp(low)), float(np.exp(high))) if key != name else (float(low), float(high))
        )


def quadrature(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of Gauss-Hermite quadrature over a standard normal variable."""
    if count == 1:
        return np.zeros(1), np.ones(1)
    points, weights = special.roots_hermitenorm(count)
    return points, weights / weights.sum()


class Mixture:
    """Log-likelihood of the mixture with its analytic gradient."""

    def __init__(self, data: OnsetData, nodes: int, joint: bool) -> None:
        self.data = data
        self.joint = joint
        self.points, weights = quadrature(nodes)
        self.log_weights = np.log(weights)
        self.names = ("ln_a", "ln_b", "sd_ln_b") if nodes > 1 else ("ln_a", "ln_b")
        if joint:
            self.names += ("boundary_b", "boundary_e", "ln_length")
        self.n = len(data.nucleated)
        self.final_rate = data.final_rate

    def negative(self, p: np.ndarray) -> tuple[float, np.ndarray]:
        """Return minus the mean log-likelihood and its gradient."""
        log_likelihood, scores = self.scores(p)
        return -float(np.mean(log_likelihood)), -scores.mean(axis=0)

    def survival(self, p: np.ndarray) -> np.ndarray:
        """Marginal survival up to each site's last bias."""
        bounds, b, _, _ = self._site_terms(p)
        return np.exp(-np.exp(p[0]) * ramp_exposure(bounds, self.data.rates, b)) @ np.exp(
            self.log_weights
        )

    def _site_terms(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Bounds, B (n, nodes), decay exp(-d/L) and the factor 1 - f exp(-d/L)."""
        spread = p[2] if "sd_ln_b" in self.names else 0.0
        ln_b = (p[1] + spread * self.points)[None, :]
        if not self.joint:
            one = np.ones(self.n)
            return self.data.bounds, np.exp(ln_b) * one[:, None], one * 0, one
        decay = np.exp(-np.asarray(self.data.distance) / np.exp(p[5]))
        factor = 1.0 - p[3] * decay
        bounds = self.data.bounds + p[4] * decay[:, None]
        return bounds, np.exp(ln_b) * factor[:, None], decay, factor

    def scores(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-likelihood (n,) and its derivatives (n, parameters) of every site."""
        data, a = self.data, np.exp(p[0])
        bounds, b, decay, factor = self._site_terms(p)
        exposure, by_b, by_shift = _exposure_terms(bounds, data.rates, b, shift=self.joint)
        seen = data.nucleated[:, None]
        eta = np.maximum(bounds[:, -1], 1e-9)[:, None]
        arrhenius = b / eta**2
        terms = -a * exposure + np.where(
            seen, p[0] - np.log(self.final_rate)[:, None] - np.minimum(arrhenius, 1e12), 0.0
        )
        weighted = terms + self.log_weights
        log_likelihood = np.asarray(special.logsumexp(weighted, axis=1))
        posterior = np.exp(weighted - log_likelihood[:, None])
        d_ln_a = seen - a * exposure
        d_ln_b = -np.where(seen, arrhenius, 0.0) - a * b * by_b
        columns = [(posterior * d_ln_a).sum(1), (posterior * d_ln_b).sum(1)]
        if "sd_ln_b" in self.names:
            columns.append((posterior * d_ln_b * self.points).sum(1))
        if self.joint:
            per_b = columns[1] / factor  # d / d factor
            d_eta = np.where(seen, 2 * arrhenius / eta, 0.0) - a * by_shift
            per_shift = (posterior * d_eta).sum(1)
            slope = decay * np.asarray(data.distance) / np.exp(p[5])  # d decay / d ln L
            columns += [
                -per_b * decay,
                per_shift * decay,
                (-p[3] * per_b + p[4] * per_shift) * slope,
            ]
        return log_likelihood, np.stack(columns, axis=1)


def _exposure_terms(
    bounds: np.ndarray, rates: np.ndarray, b: np.ndarray, *, shift: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exposure, its derivative by B, and by a shift of all bounds, each (n, nodes)."""
    exposure, by_b, by_shift = (np.zeros(b.shape) for _ in range(3))
    for k in range(rates.shape[1]):
        for edge, sign in ((k + 1, 1.0), (k, -1.0)):
            eta = bounds[:, edge][:, None]
            if not np.any(eta > 0):
                continue
            scale = sign / rates[:, k][:, None]
            exposure += scale * barrier_integral(eta, b)
            by_b += scale * barrier_integral_derivative(eta, b)
            if shift:
                by_shift += scale * np.exp(-b / np.maximum(eta, 1e-9) ** 2)
    return exposure, by_b, by_shift
