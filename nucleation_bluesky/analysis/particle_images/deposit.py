"""What the particles amount to: quantity of metal, faradaic efficiency, growth rate."""

from dataclasses import dataclass

import numpy as np

from nucleation_bluesky.analysis.charge import FARADAY

LITHIUM_MOLAR_VOLUME = 6.941e-3 / 534.0  # m3/mol: molar mass over density at 20 C


@dataclass(frozen=True)
class Deposit:
    """Metal in the particles.

    Parameters
    ----------
    volume : float
        m3, of spheres of the equivalent diameters.
    amount : float
        mol.
    faradaic_efficiency : float
        Amount over what the charge could have reduced; NaN where no charge was given.
    """

    volume: float
    amount: float
    faradaic_efficiency: float


def deposit_of_spheres(
    diameters: np.ndarray,
    *,
    charge: float | None = None,
    molar_volume: float = LITHIUM_MOLAR_VOLUME,
    electrons: int = 1,
    scale_to: float = 1.0,
) -> Deposit:
    """Amount of metal, each particle taken as a sphere.

    Parameters
    ----------
    diameters : ndarray, shape (n,)
        m.
    charge : float or None
        Of the deposition, C; the sign does not matter.
    molar_volume : float
        m3/mol; default: lithium.
    electrons : int
        Per atom.
    scale_to : float
        Footprint area over the area the particles were counted on, where only a part was imaged.

    Raises
    ------
    ValueError
        If the charge is zero or a factor is not positive.

    Notes
    -----
    The SECCM/IRM paper of 2024, Table 1: amount over charge/F gives its faradaic efficiency.
    """
    if charge == 0:
        raise ValueError("the charge is zero: no faradaic efficiency follows; leave it out")
    if not (molar_volume > 0 and scale_to > 0 and electrons >= 1):
        raise ValueError("molar volume, electrons and scale_to must be positive")
    d = np.asarray(diameters, dtype=float)
    volume = float(np.sum(np.pi / 6 * d[np.isfinite(d)] ** 3)) * scale_to
    amount = volume / molar_volume
    efficiency = float("nan") if charge is None else amount * electrons * FARADAY / abs(charge)
    return Deposit(volume, amount, efficiency)


def growth_rate(mean_diameter: float, duration: float, nucleation_time: float = 0.0) -> float:
    """Mean rate at which the diameter grew, m/s.

    Parameters
    ----------
    mean_diameter : float
        At the end of the deposition, m.
    duration : float
        Of the deposition, s.
    nucleation_time : float
        When the particles appeared after its start, s.

    Raises
    ------
    ValueError
        If no time is left to grow in.
    """
    if not duration > nucleation_time:
        raise ValueError("the deposition ended before the particles nucleated")
    return mean_diameter / (duration - nucleation_time)
