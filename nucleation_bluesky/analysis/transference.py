"""Lithium found in the particles against charge passed: N(Li) = slope N(e-) + intercept."""

from dataclasses import dataclass

import numpy as np
from scipy import constants, stats


@dataclass(frozen=True)
class TransferenceFit:
    """Straight line with errors in both variables.

    Parameters
    ----------
    slope, slope_sd : float
        Transference number (atoms per electron) and its standard uncertainty.
    slope_interval : tuple of float
        Confidence interval, from Student's t.
    bootstrap_interval : tuple of float
        Percentile interval over resampled particles, as a check on the former.
    intercept, intercept_sd : float
        Atoms; 0 and 0 where it was fixed.
    reduced_chi_square : float
        Of the fit with the stated uncertainties; far above 1 they are too small (and the
        uncertainty of the slope was widened accordingly).
    n : int
        Particles used.
    """

    slope: float
    slope_sd: float
    slope_interval: tuple[float, float]
    bootstrap_interval: tuple[float, float]
    intercept: float
    intercept_sd: float
    reduced_chi_square: float
    n: int


@dataclass(frozen=True)
class Calibration:
    """Relative standard uncertainties that all particles of a data set share.

    The defaults are what calibration gratings and current amplifiers usually state.

    Parameters
    ----------
    height, lateral : float
        Of the scales of the topography; the lateral one counts twice in a volume.
    current : float
        Of the current's scale (gain and sample clock).
    tip_radius, tip_angle : float
        Of the tip's apex and half angle, where volumes are corrected for the tip.
    """

    height: float = 0.02
    lateral: float = 0.01
    current: float = 0.01
    tip_radius: float = 0.2
    tip_angle: float = 0.1

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0.0 <= value < 1.0:
                raise ValueError(f"{name} is a relative uncertainty from 0 to 1 (got {value:g})")

    def of_slope(self, tip: float = 0.0) -> float:
        """Relative standard uncertainty of a slope, with the tip's share of it."""
        return float(
            np.hypot(np.hypot(self.height, 2.0 * self.lateral), np.hypot(self.current, tip))
        )


def widened(
    interval: tuple[float, float], slope: float, systematic: float, level: float = 0.95
) -> tuple[float, float]:
    """Return a statistical interval with a systematic standard uncertainty added in quadrature.

    Parameters
    ----------
    interval : tuple of float
        About ``slope``, of the given confidence level.
    slope : float
        Its value.
    systematic : float
        Standard uncertainty that resampling the particles cannot show, same unit.
    level : float
        Confidence level.
    """
    extra = float(stats.norm.ppf(0.5 + level / 2)) * systematic
    low, high = (float(np.hypot(end - slope, extra)) for end in interval)
    return slope - low, slope + high


def atoms_from_volume(volume: np.ndarray, molar_volume: float) -> np.ndarray:
    """Atoms in a volume: V N_A / V_m (Li: V_m = 13.0e-6 m3/mol)."""
    return np.asarray(volume) * constants.Avogadro / molar_volume


def electrons_from_charge(charge: np.ndarray) -> np.ndarray:
    """Electrons in a charge (its magnitude; reduction charges are negative)."""
    return np.abs(np.asarray(charge)) / constants.e


def transference_fit(
    n_li: np.ndarray,
    n_e: np.ndarray,
    sigma_li: np.ndarray | float | None = None,
    sigma_e: np.ndarray | float | None = None,
    *,
    fixed_intercept: float | None = None,
    level: float = 0.95,
    resamples: int = 400,
    seed: int = 0,
) -> TransferenceFit:
    """Fit N(Li) against N(e-) by the unified equations of York et al. (Am. J. Phys. 72, 367, 2004).

    Parameters
    ----------
    n_li, n_e : ndarray, shape (n,)
        Atoms and electrons per particle; NaN ignored.
    sigma_li, sigma_e : ndarray, float or None
        Standard uncertainties. None: both relative and equal, the size taken from the scatter
        (sizes span decades, and so do their errors).
    fixed_intercept : float or None
        Intercept, atoms; None fits it.
    level : float
        Confidence level.
    resamples, seed : int
        Of the bootstrap.

    Raises
    ------
    ValueError
        If fewer than three particles have both values, or an uncertainty is not positive.
    """
    y, x = (np.asarray(v, dtype=float).ravel() for v in (n_li, n_e))
    if x.shape != y.shape:
        raise ValueError(f"n_li and n_e need one value per particle ({y.size}, {x.size})")
    use = np.isfinite(x) & np.isfinite(y)
    if sigma_li is None or sigma_e is None:
        use &= (x > 0) & (y > 0)
    if np.count_nonzero(use) < 3:
        raise ValueError("at least three particles with both volume and charge are needed")
    sx, sy = _uncertainties(x, y, sigma_e, sigma_li, use)
    x, y = x[use], y[use]
    if not (np.all(sx >= 0) and np.all(sy >= 0) and np.all(sx + sy > 0)):
        raise ValueError("uncertainties must not be negative, nor zero in both variables")
    # numbers near 1: N spans 1e4 to 1e12 and squares would lose the intercept
    scale = float(np.median(np.abs(x))) or 1.0
    x, y, sx, sy = x / scale, y / scale, sx / scale, sy / scale
    fixed = None if fixed_intercept is None else fixed_intercept / scale
    slope, intercept, slope_sd, intercept_sd, chi2 = _york(x, y, sx, sy, fixed)
    freedom = x.size - (2 if fixed is None else 1)
    reduced = chi2 / freedom
    widen = np.sqrt(max(1.0, reduced))
    t = stats.t.ppf(0.5 + level / 2, freedom)
    rng = np.random.default_rng(seed)
    slopes = []
    for _ in range(resamples):
        k = rng.integers(0, x.size, x.size)
        if np.unique(k).size > 2:
            slopes.append(_york(x[k], y[k], sx[k], sy[k], fixed)[0])
    tail = 50 * (1 - level)
    low, high = np.percentile(slopes, [tail, 100 - tail])
    return TransferenceFit(
        slope=slope,
        slope_sd=slope_sd * widen,
        slope_interval=(slope - t * widen * slope_sd, slope + t * widen * slope_sd),
        bootstrap_interval=(float(low), float(high)),
        intercept=intercept * scale,
        intercept_sd=intercept_sd * widen * scale,
        reduced_chi_square=float(reduced),
        n=x.size,
    )


def _uncertainties(
    x: np.ndarray,
    y: np.ndarray,
    sigma_x: np.ndarray | float | None,
    sigma_y: np.ndarray | float | None,
    use: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Per-particle uncertainties, from the scatter of ln(y/x) where none were given."""
    if sigma_x is not None and sigma_y is not None:
        return tuple(
            np.broadcast_to(np.asarray(s, float), x.shape)[use] for s in (sigma_x, sigma_y)
        )  # type: ignore[return-value]
    ratio = np.log(y[use] / x[use])
    relative = max(1.4826 * float(np.median(np.abs(ratio - np.median(ratio)))), 1e-6)
    relative /= np.sqrt(2.0) if sigma_x is None and sigma_y is None else 1.0
    out = []
    for value, given in ((x[use], sigma_x), (y[use], sigma_y)):
        if given is None:
            out.append(relative * np.abs(value))
        else:
            out.append(np.broadcast_to(np.asarray(given, float), x.shape)[use])
    return out[0], out[1]


def _york(
    x: np.ndarray, y: np.ndarray, sx: np.ndarray, sy: np.ndarray, fixed: float | None
) -> tuple[float, float, float, float, float]:
    """Slope, intercept, their uncertainties and chi square; errors of x and y independent."""
    slope = float(np.median((y - (fixed or 0.0)) / np.where(x == 0, np.nan, x)))
    if not np.isfinite(slope):
        slope = 1.0
    x_mean, y_mean = 0.0, fixed or 0.0
    weights = beta = np.ones(x.size)
    for _ in range(200):
        weights = 1.0 / (sy**2 + slope**2 * sx**2)
        if fixed is None:
            x_mean = float(np.average(x, weights=weights))
            y_mean = float(np.average(y, weights=weights))
        u, v = x - x_mean, y - y_mean
        beta = weights * (u * sy**2 + slope * v * sx**2)
        updated = float(np.sum(weights * beta * v) / np.sum(weights * beta * u))
        done = abs(updated - slope) <= 1e-12 * abs(updated)
        slope = updated
        if done:
            break
    intercept = y_mean - slope * x_mean
    chi2 = float(np.sum(weights * (y - intercept - slope * x) ** 2))
    if fixed is not None:
        return slope, intercept, float(1 / np.sqrt(np.sum(weights * beta**2))), 0.0, chi2
    adjusted = x_mean + beta
    centre = float(np.average(adjusted, weights=weights))
    slope_sd = float(1 / np.sqrt(np.sum(weights * (adjusted - centre) ** 2)))
    intercept_sd = float(np.sqrt(1 / np.sum(weights) + (centre * slope_sd) ** 2))
    return slope, intercept, slope_sd, intercept_sd, chi2
