"""What belongs to one electrode: its random truth, and all that changes while charge goes in.

Everything is per wetted area. Cathodic current densities count positive in this module.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from nucleation_bluesky.worlds.seccm.kinetics import Table


class Population(Protocol):
    """What the electrode needs to know of the particles."""

    @property
    def progress(self) -> np.ndarray:
        """Progress at which each nucleates, rising."""
        ...

    @property
    def share(self) -> list[float]:
        """Cumulative growth weight, from 0 to 1; one longer than ``progress``."""
        ...


@dataclass(frozen=True)
class Draw:
    """Random truth of one landing's electrode.

    Parameters
    ----------
    table : Table
        Potentials and times against current density.
    ce_first, ce_last, ce_cycles : float
        Efficiency of cycle 1 and 10 and its rise.
    share_factor : float
        Factor on the share of charge that becomes metal.
    """

    table: Table
    ce_first: float
    ce_last: float
    ce_cycles: float
    share_factor: float

    def efficiency(self, cycle: int) -> float:
        """Recoverable share of the cathodic charge in cycle 1, 2, ..."""
        rise = -math.expm1(-(cycle - 1) / self.ce_cycles) / -math.expm1(-9 / self.ce_cycles)
        return self.ce_first + (self.ce_last - self.ce_first) * rise


@dataclass(slots=True)
class State:
    """Everything that changes; charges in C/m2."""

    potential: float
    layer: np.ndarray
    surface: float = 1.0  # concentration at the surface over bulk
    age: float = 0.0  # s since first contact
    progress: float = 0.0  # towards the next nucleation
    clock: float = 0.0  # of the first nucleation, goes on beyond 1
    nucleated: bool = False
    relaxed: float = 0.0  # time constants since nucleation
    metal: float = 0.0  # active Li
    rich: float = 0.0
    poor: float = 0.0
    cycle: int = 1
    stripping: bool = False
    episode: float = 0.0  # recoverable charge when stripping began
    stripped: float = 0.0
    resumed: float = 0.0  # cathodic charge since
    top_metal: float = 0.0
    top_alloy: float = 0.0
    weighed: float = 0.0  # sum of j dq before the population is drawn
    cathodic: float = 0.0  # all cathodic faradaic charge
    anodic: float = 0.0
    frozen: bool = False
    mean_density: float = 0.0  # current density that decided the population, A/m2
    potentiodynamic: bool = False
    # metal per unit of growth weight, and film, with their moments of local efficiency
    dead: float = 0.0
    dead_u: float = 0.0
    active: float = 0.0
    active_u: float = 0.0
    survival: float = 1.0
    alloy_u: float = 0.0
    sei: float = 0.0
    sei_u: float = 0.0
    slope: float = field(default=0.0)  # last change of potential, a guess for the next

    def copy(self) -> "State":
        """Independent copy."""
        return replace(self, layer=self.layer.copy())

    @property
    def film(self) -> float:
        """Charge of SEI and alloy."""
        return self.sei + self.rich + self.poor
