"""Classical nucleation hazard ``h = A exp(-B / eta^2)`` and its integral."""

import numpy as np
from scipy.special import erfcx


def hazard(eta: np.ndarray | float, prefactor: float, barrier: float) -> np.ndarray:
    """Nucleation rate, 1/s; zero where the overpotential ``eta`` (V) is not positive."""
    eta = np.asarray(eta, dtype=float)
    safe = np.where(eta > 0, eta, 1.0)
    return np.where(eta > 0, prefactor * np.exp(-barrier / safe**2), 0.0)


def hazard_primitive(eta: np.ndarray | float, barrier: float) -> np.ndarray:
    """Integral of ``exp(-B/e^2)`` over e from 0 to ``eta``, V.

    ``eta exp(-B/eta^2) - sqrt(pi B) erfc(sqrt(B)/eta)``, written with the scaled complementary
    error function so that it keeps its precision where the terms cancel.
    """
    eta = np.asarray(eta, dtype=float)
    safe = np.where(eta > 0, eta, 1.0)
    x = np.sqrt(barrier) / safe
    value = np.exp(-(x**2)) * (safe - np.sqrt(np.pi * barrier) * erfcx(x))
    return np.where(eta > 0, value, 0.0)
