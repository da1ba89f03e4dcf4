"""How well a fit of nucleation kinetics describes the onsets, and its profile intervals."""

import numpy as np
from scipy import optimize, stats

from nucleation_bluesky.analysis.hazard import barrier_integral
from nucleation_bluesky.analysis.kinetics_data import OnsetData
from nucleation_bluesky.analysis.kinetics_model import NODES, KineticsFit, Mixture, quadrature


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
    model = Mixture(data, nodes=NODES if fit.spread > 0 else 1, joint="boundary_b" in fit.names)
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
    points, weights = quadrature(nodes if fit.spread > 0 else 1)
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
    model = Mixture(data.select(np.asarray(data.distance) >= 0) if joint else data, NODES, joint)
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


def _censored_ks(scores: np.ndarray, seen: np.ndarray) -> float:
    """Largest distance between the Kaplan-Meier estimate of the scores and the diagonal."""
    if not seen.any():
        return float("nan")
    steps = stats.ecdf(stats.CensoredData.right_censored(scores, ~seen)).cdf
    before = np.concatenate([[0.0], steps.probabilities[:-1]])
    q = steps.quantiles
    return float(max(np.max(np.abs(steps.probabilities - q)), np.max(np.abs(before - q))))
