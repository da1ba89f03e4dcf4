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
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize, special, stats

from nucleation_bluesky.analysis.hazard import (
    barrier_integral,
    barrier_integral_derivative,
    ramp_exposure,
)
from nucleation_bluesky.analysis.spatial import block_labels, correlation_length

NODES = 48  # quadrature: the conditional width of ln B is resolved up to a spread of about 1
BLOCK_LENGTHS = 4.0  # edge of a block in correlation lengths, for the robust covariance


@dataclass(frozen=True)
class OnsetData:
    """Onsets of sites in the form the fits use.

    Parameters
    ----------
    bounds : ndarray, shape (n, m + 1)
        abs(V) - abs(E_eq) at the ends of the ramp segments, up to the onset or the last bias, V.
        Not clipped at 0, never decreasing.
    rates : ndarray, shape (n, m)
        Magnitude of the segments' sweep rates, V/s.
    nucleated : ndarray of bool, shape (n,)
        False: censored at the last bound.
    x, y : ndarray or None, shape (n,)
        Positions, m.
    distance : ndarray or None, shape (n,)
        Distance to the nearest grain boundary, m, positive in the matrix.
    """

    bounds: np.ndarray
    rates: np.ndarray
    nucleated: np.ndarray
    x: np.ndarray | None = None
    y: np.ndarray | None = None
    distance: np.ndarray | None = None

    @property
    def eta(self) -> np.ndarray:
        """Overpotential at the onset or at censoring, V, shape (n,)."""
        return self.bounds[:, -1]

    @property
    def final_rate(self) -> np.ndarray:
        """Sweep rate at the onset or at censoring, V/s, shape (n,)."""
        eta = self.eta[:, None]
        # the segment in which the end lies: the first whose upper bound reaches it
        index = np.argmax(self.bounds[:, 1:] >= eta, axis=1)
        return np.take_along_axis(self.rates, index[:, None], axis=1)[:, 0]

    def select(self, sites: np.ndarray) -> "OnsetData":
        """Return the sites of a mask or an index array."""
        optional = {
            name: None if (v := getattr(self, name)) is None else v[sites]
            for name in ("x", "y", "distance")
        }
        return OnsetData(self.bounds[sites], self.rates[sites], self.nucleated[sites], **optional)


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


def onset_data(
    last_bias: np.ndarray,
    nucleated: np.ndarray,
    rate: np.ndarray,
    equilibrium_potential: float,
    *,
    x: np.ndarray | None = None,
    y: np.ndarray | None = None,
    distance: np.ndarray | None = None,
    ramp_start: np.ndarray | float = 0.0,
    fast_end: np.ndarray | None = None,
    fast_rate: np.ndarray | float | None = None,
    vertices: np.ndarray | None = None,
    rates: np.ndarray | None = None,
) -> OnsetData:
    """Bring onsets into the form of the fits; sites without a finite last bias are dropped.

    Parameters
    ----------
    last_bias : ndarray, shape (n,)
        Onset where nucleated, else the last bias of the site, V, signed.
    nucleated : ndarray of bool, shape (n,)
    rate : ndarray, shape (n,)
        Measuring sweep rate, V/s (used where neither fast segment nor ``vertices`` apply).
    equilibrium_potential : float
        E_eq on the same scale, V, signed.
    x, y, distance : ndarray or None
        See `OnsetData`.
    ramp_start : ndarray or float
        Bias at the start of the ramp, V.
    fast_end, fast_rate : ndarray or None
        Bias at which a fast approach ended (NaN without one), and its rate.
    vertices, rates : ndarray or None, shape (n, m)
        General piecewise ramps: bias at the end of each segment and its rate, NaN beyond. They
        take precedence over ``rate`` and ``fast_end``.

    Raises
    ------
    ValueError
        If a rate is not positive, E_eq is not finite, or onsets lie on the wrong side of zero.
    """
    last_bias = np.asarray(last_bias, dtype=float)
    n = last_bias.size
    if not np.isfinite(equilibrium_potential):
        raise ValueError("kinetics needs an equilibrium potential: it cannot be found from onsets")
    sign = -1.0 if equilibrium_potential < 0 else 1.0
    ends = sign * last_bias - abs(equilibrium_potential)
    if vertices is None or rates is None:
        measuring = np.broadcast_to(np.asarray(rate, dtype=float), (n,))
        if fast_end is None:
            segment_rates, inner = measuring[:, None], np.empty((n, 0))
        else:
            if fast_rate is None:
                raise ValueError("a fast approach needs its sweep rate (fast_rate)")
            fast = np.asarray(fast_end, dtype=float)
            have = np.isfinite(fast)
            quick = np.where(have, np.broadcast_to(np.asarray(fast_rate, float), (n,)), measuring)
            segment_rates = np.stack([quick, measuring], axis=1)
            start = np.broadcast_to(np.asarray(ramp_start, float), (n,))
            inner = np.where(have, fast, start)[:, None]
    else:
        segment_rates = np.asarray(rates, dtype=float)
        last = np.maximum.accumulate(
            np.where(np.isfinite(segment_rates), np.arange(segment_rates.shape[1]), 0), axis=1
        )
        segment_rates = np.take_along_axis(segment_rates, last, axis=1)
        inner = np.where(np.isfinite(vertices), vertices, np.inf * sign)[:, :-1]
    start = np.broadcast_to(np.asarray(ramp_start, dtype=float), (n,))[:, None]
    bounds = np.concatenate([start, inner, last_bias[:, None]], axis=1) * sign
    bounds = np.maximum.accumulate(bounds - abs(equilibrium_potential), axis=1)
    bounds = np.minimum(bounds, ends[:, None])
    use = np.isfinite(ends)
    if np.any(~(segment_rates[use] > 0)):
        raise ValueError("sweep rates are magnitudes and must be greater than 0 V/s")
    nucleated = np.asarray(nucleated, dtype=bool)
    if np.any(nucleated & use & (sign * last_bias <= 0)):
        raise ValueError("onsets and the equilibrium potential must have the same sign")
    if not np.any(nucleated & use):
        raise ValueError("no site nucleated: there is nothing to fit")
    pick = {"x": x, "y": y, "distance": distance}
    arrays = {k: None if v is None else np.asarray(v, float)[use] for k, v in pick.items()}
    return OnsetData(bounds[use], segment_rates[use], nucleated[use], **arrays)


def away_from_boundaries(data: OnsetData, cut: float) -> OnsetData:
    """Sites in the matrix farther than ``cut`` (m) from every grain boundary.

    Raises
    ------
    ValueError
        If distances are missing or no such site nucleated.
    """
    if data.distance is None:
        raise ValueError("give each site's distance to the nearest grain boundary")
    kept = data.select(data.distance > cut)
    if not kept.nucleated.any():
        raise ValueError(f"no nucleated site lies more than {cut:.3g} m from a grain boundary")
    return kept


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
    model = _Mixture(data, nodes=1, joint=False)
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
    model = _Mixture(data, nodes=nodes, joint=joint)
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


def goodness_of_fit(fit: KineticsFit, data: OnsetData) -> dict[str, float]:
    """Kolmogorov-Smirnov distance of the Kaplan-Meier residuals from the fitted survival.

    Each site's fitted survival at its onset is uniform on (0, 1) if the model holds; censored
    sites enter as censored. Keys: ``ks`` (all sites), ``p_value`` (for independent sites and
    known parameters: spatial correlation makes it too small, fitted parameters too large) and
    ``ks_<rate>`` for each rate in V/s.
    """
    scores = 1.0 - predicted_survival(fit, data)
    result: dict[str, float] = {}
    rates = data.final_rate
    groups = {"ks": np.ones(rates.size, dtype=bool)}
    groups |= {f"ks_{r:.4g}": np.isclose(rates, r) for r in np.unique(np.round(rates, 12))}
    for name, mask in groups.items():
        result[name] = _censored_ks(scores[mask], data.nucleated[mask])
    result["p_value"] = float(stats.kstwo.sf(result["ks"], max(1, int(data.nucleated.sum()))))
    return result


def predicted_survival(fit: KineticsFit, data: OnsetData) -> np.ndarray:
    """Fitted probability of surviving up to each site's own last bias, shape (n,)."""
    model = _Mixture(data, nodes=NODES if fit.spread > 0 else 1, joint="boundary_b" in fit.names)
    return model.survival(fit.values)


def onset_distribution(
    fit: KineticsFit, eta: np.ndarray, rate: float, *, nodes: int = 4 * NODES
) -> tuple[np.ndarray, np.ndarray]:
    """Predicted survival and density (1/V) of onsets far from boundaries on a ramp.

    Parameters
    ----------
    fit : KineticsFit
    eta : ndarray, shape (n,)
        Overpotential, V.
    rate : float
        Sweep rate, V/s.
    nodes : int
        Quadrature nodes.
    """
    points, weights = _nodes(nodes if fit.spread > 0 else 1)
    b = np.exp(fit.value("ln_b") + fit.spread * points)[None, :]
    eta = np.asarray(eta, dtype=float)[:, None]
    alive = np.exp(-fit.a / rate * barrier_integral(eta, b))
    with np.errstate(divide="ignore", over="ignore"):
        hazard = np.where(eta > 0, fit.a / rate * np.exp(-b / eta**2), 0.0)
    return alive @ weights, (alive * hazard) @ weights


def profile_interval(
    fit: KineticsFit, data: OnsetData, name: str, level: float = 0.95
) -> tuple[float, float]:
    """Profile-likelihood interval of ``a``, ``b`` or ``sd_ln_b`` in the mixture.

    The threshold is widened by the ratio of robust to independent variance, so that spatial
    correlation counts here as well.
    """
    key = {"a": "ln_a", "b": "ln_b"}.get(name, name)
    index = fit.names.index(key)
    joint = "boundary_b" in fit.names
    model = _Mixture(data.select(np.asarray(data.distance) >= 0) if joint else data, NODES, joint)
    free = [i for i in range(len(fit.names)) if i != index]
    inflation = fit.covariance[index, index] / fit.covariance_independent[index, index]
    drop = 0.5 * stats.chi2.ppf(level, 1) * max(1.0, inflation)
    position = {"values": fit.values.copy()}

    def excess(value: float) -> float:
        def negative(p: np.ndarray) -> tuple[float, np.ndarray]:
            full = np.insert(p, index, value)
            total, gradient = model.negative(full)
            return total, gradient[free]

        found = optimize.minimize(negative, position["values"][free], jac=True, method="L-BFGS-B")
        position["values"][free] = found.x
        return float(found.fun * model.n + fit.log_likelihood - drop)

    ends = []
    for direction in (-1.0, 1.0):
        position["values"] = fit.values.copy()
        near, far = fit.values[index], fit.values[index] + direction * 2 * fit.sd(key)
        for _ in range(12):
            if key == "sd_ln_b" and far <= 1e-3:
                far = 1e-3
                break
            if excess(far) > 0:
                break
            near, far = far, far + direction * 2 * fit.sd(key)
        position["values"] = fit.values.copy()
        inside = key == "sd_ln_b" and far <= 1e-3 and excess(far) <= 0
        ends.append(far if inside else optimize.brentq(excess, near, far, xtol=1e-4))
    low, high = ends
    return (float(np.exp(low)), float(np.exp(high))) if key != name else (float(low), float(high))


def distance_sensitivity(data: OnsetData, cuts: Sequence[float]) -> list[KineticsFit]:
    """Mixture fits with different cuts of the distance to the grain boundary (m)."""
    fits = []
    start: np.ndarray | None = None
    for cut in cuts:
        fit = fit_mixture(away_from_boundaries(data, cut), start=start)
        start = fit.values
        fits.append(replace(fit, distance_cut=float(cut)))
    return fits


def _nodes(count: int) -> tuple[np.ndarray, np.ndarray]:
    if count == 1:
        return np.zeros(1), np.ones(1)
    points, weights = special.roots_hermitenorm(count)
    return points, weights / weights.sum()


def _start(data: OnsetData, *, joint: bool) -> list[float]:
    """Start values: the plain fit at a moderate spread."""
    plain = fit_plain(data.select(data.eta > 0))
    start = [plain.value("ln_a") + 1.0, plain.value("ln_b") + 0.1, 0.2]
    if joint:
        start += [0.3, 0.01, float(np.log(np.median(np.asarray(data.distance)) / 3))]
    return start


class _Mixture:
    """Log-likelihood of the mixture with its analytic gradient."""

    def __init__(self, data: OnsetData, nodes: int, joint: bool) -> None:
        self.data = data
        self.joint = joint
        self.points, weights = _nodes(nodes)
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


def _finish(
    model: _Mixture, values: np.ndarray, *, success: bool, message: str, block: float | None = None
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


def _hessian(model: _Mixture, values: np.ndarray) -> np.ndarray:
    """Observed information by central differences of the analytic gradient."""
    rows = []
    for k in range(values.size):
        step = np.zeros(values.size)
        step[k] = 1e-4
        high, low = model.negative(values + step)[1], model.negative(values - step)[1]
        rows.append((high - low) / 2e-4 * model.n)
    matrix = np.array(rows)
    return (matrix + matrix.T) / 2


def _normal_scores(model: _Mixture, values: np.ndarray) -> np.ndarray:
    """Residuals that are standard normal under the model (censored sites: their expectation)."""
    alive = np.clip(model.survival(values), 1e-9, 1 - 1e-9)
    expected = np.where(model.data.nucleated, alive, alive / 2)
    return -special.ndtri(expected)


def _censored_ks(scores: np.ndarray, seen: np.ndarray) -> float:
    """Largest distance between the Kaplan-Meier estimate of the scores and the diagonal."""
    if not seen.any():
        return float("nan")
    steps = stats.ecdf(stats.CensoredData.right_censored(scores, ~seen)).cdf
    before = np.concatenate([[0.0], steps.probabilities[:-1]])
    q = steps.quantiles
    return float(max(np.max(np.abs(steps.probabilities - q)), np.max(np.abs(before - q))))
