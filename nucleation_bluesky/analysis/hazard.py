"""Classical nucleation hazard and its integral over a bias ramp.

The hazard of an exposed site at overpotential eta = abs(V) - abs(E_eq) is
h = A exp(-B / eta^2) for eta > 0 and zero otherwise. Over a ramp of constant rate r the survival
probability is exp[-(A / r) G(eta)].
"""

import numpy as np
from scipy import special

SQRT_PI = np.sqrt(np.pi)


def barrier_integral(eta: np.ndarray, b: np.ndarray | float) -> np.ndarray:
    """Integral of exp(-B/u^2) over u from 0 to eta, V.

    G = eta exp(-B/eta^2) - sqrt(pi B) erfc(sqrt(B)/eta), written with the scaled complementary
    error function so that nothing cancels or underflows before it must.

    Parameters
    ----------
    eta : ndarray
        Overpotential, V; values of 0 or less give 0.
    b : ndarray or float
        Barrier parameter B, V^2, broadcast against eta.
    """
    eta = np.maximum(np.asarray(eta, dtype=float), 1e-12)
    z = np.sqrt(b) / eta
    return eta * np.exp(-z * z) * (1.0 - SQRT_PI * z * special.erfcx(z))


def barrier_integral_derivative(eta: np.ndarray, b: np.ndarray | float) -> np.ndarray:
    """Differentiate `barrier_integral` with respect to B, 1/V."""
    eta = np.maximum(np.asarray(eta, dtype=float), 1e-12)
    root = np.sqrt(b)
    return -0.5 * SQRT_PI / root * special.erfc(root / eta)


def ramp_exposure(bounds: np.ndarray, rates: np.ndarray, b: np.ndarray | float) -> np.ndarray:
    """Integral of exp(-B/eta^2) over the time of a piecewise linear ramp, s.

    Parameters
    ----------
    bounds : ndarray, shape (n, m + 1)
        Overpotential at the ends of the m segments, V, never decreasing along the last axis.
    rates : ndarray, shape (n, m)
        Magnitude of each segment's sweep rate, V/s.
    b : ndarray or float
        B, V^2: scalar, shape (n,) or (n, k).

    Returns
    -------
    ndarray, shape (n,) or (n, k)
        Multiply by A for the cumulative hazard.
    """
    b = np.asarray(b, dtype=float)
    wide = b.ndim == 2
    total: np.ndarray = np.zeros(np.broadcast_shapes(b.shape, (len(bounds), 1) if wide else (1,)))
    previous: np.ndarray | float = 0.0
    if np.any(bounds[:, 0] > 0):
        previous = barrier_integral(_column(bounds[:, 0], wide=wide), b)
    for k in range(rates.shape[1]):
        current = barrier_integral(_column(bounds[:, k + 1], wide=wide), b)
        total = total + (current - previous) / _column(rates[:, k], wide=wide)
        previous = current
    return total


def survival(
    eta: np.ndarray, a: float, b: np.ndarray | float, rate: np.ndarray | float
) -> np.ndarray:
    """Probability that no nucleus formed up to eta on a ramp of constant rate.

    Parameters
    ----------
    eta : ndarray
        V.
    a, b : float
        A (1/s) and B (V^2).
    rate : ndarray or float
        V/s, magnitude.
    """
    return np.exp(-a / rate * barrier_integral(eta, b))


def _column(values: np.ndarray, *, wide: bool) -> np.ndarray:
    return values[:, None] if wide else values
