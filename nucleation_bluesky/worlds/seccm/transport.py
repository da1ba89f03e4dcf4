"""Li+ at the electrode: a diffusion layer that ends at the bulk, for any current against time."""

import math

import numpy as np

from nucleation_bluesky.worlds.seccm.settings import FARADAY

_MODES = 40


class DiffusionLayer:
    """Surface concentration behind a layer whose steady state is the limiting current.

    Planar semi-infinite diffusion at short times (Sand), the given limiting current density at
    long times; the solution of the finite layer as a sum of its modes, advanced exactly for
    current densities constant over a step.

    Parameters
    ----------
    diffusion : float
        m2/s.
    concentration : float
        Bulk, mol/m3.
    limit : float
        Limiting current density, A/m2.
    """

    def __init__(self, diffusion: float, concentration: float, limit: float) -> None:
        self.thickness = FARADAY * diffusion * concentration / limit
        odd = 2 * np.arange(_MODES) + 1
        self._rates = odd**2 * (math.pi**2 * diffusion / (4 * self.thickness**2))
        self._weights = 8 / (math.pi * odd) ** 2 / limit
        self._rest = (1 - float((8 / (math.pi * odd) ** 2).sum())) / limit
        self._dt = 0.0
        self._decay = self._gain = np.zeros(_MODES)

    def initial(self) -> np.ndarray:
        """State without any current."""
        return np.zeros(_MODES)

    def advance(self, state: np.ndarray, density: float, dt: float) -> float:
        """Advance ``state`` in place; return surface over bulk concentration (may be below 0)."""
        if dt != self._dt:
            self._dt = dt
            self._decay = np.exp(-self._rates * dt)
            self._gain = self._weights * -np.expm1(-self._rates * dt)
        state *= self._decay
        state += self._gain * density
        return 1.0 - float(np.add.reduce(state)) - self._rest * density


def sand_time(diffusion: float, concentration: float, density: float) -> float:
    """Time of depletion at constant current density, s: ``pi D (F c / 2 j)^2``."""
    return math.pi * diffusion * (FARADAY * concentration / (2 * density)) ** 2
