"""Mass transport in a pipette in closed form (S28): limiting current, time scales, Sand time.

Diffusion alone, in a cone truncated at the opening (Momotenko et al. 2016; Martin-Yerga et al.
2024): the distance from the cone's apex to the opening is r0 = a / sin(theta).
"""

import numpy as np
from scipy.constants import physical_constants

FARADAY = physical_constants["Faraday constant"][0]


def limiting_current(
    concentration: float,
    diffusivity: float,
    opening_radius: float,
    semi_angle: float,
    electrons: int = 1,
) -> float:
    """Steady-state limiting current of a pipette, A.

    ``i = 2 pi n F D c a tan(theta / 2)``.

    Parameters
    ----------
    concentration : float
        mol/m3.
    diffusivity : float
        m2/s.
    opening_radius : float
        a, m.
    semi_angle : float
        theta of the cone, rad, between 0 and pi / 2.
    electrons : int
        Per ion.

    Raises
    ------
    ValueError
        If a quantity is not positive or the angle is out of range.
    """
    _positive(concentration=concentration, diffusivity=diffusivity, opening_radius=opening_radius)
    _angle(semi_angle)
    return float(
        2
        * np.pi
        * electrons
        * FARADAY
        * diffusivity
        * concentration
        * opening_radius
        * np.tan(semi_angle / 2)
    )


def transient_excess(
    time: np.ndarray | float, diffusivity: float, opening_radius: float, semi_angle: float
) -> np.ndarray:
    """Return i(t) / i_lim after a step: ``1 + r0 / sqrt(pi D t)``.

    Parameters
    ----------
    time : array-like
        s since the step, greater than 0.
    """
    _positive(diffusivity=diffusivity, opening_radius=opening_radius)
    _angle(semi_angle)
    r0 = opening_radius / np.sin(semi_angle)
    return 1 + r0 / np.sqrt(np.pi * diffusivity * np.asarray(time, dtype=float))


def time_to_steady_state(
    diffusivity: float, opening_radius: float, semi_angle: float, excess: float = 0.1
) -> float:
    """Time until the current exceeds its limit by ``excess`` only, s: 100 r0^2/(pi D) for 10 %."""
    _positive(diffusivity=diffusivity, opening_radius=opening_radius, excess=excess)
    _angle(semi_angle)
    r0 = opening_radius / np.sin(semi_angle)
    return float(r0**2 / (np.pi * diffusivity * excess**2))


def sand_time(
    current_density: float, concentration: float, diffusivity: float, electrons: int = 1
) -> float:
    """Time after which a constant current has used up the ions at a planar electrode, s.

    ``tau = pi D (n F c / (2 j))^2``, with j on the footprint. Migration is left out (excess of
    supporting electrolyte); in a binary electrolyte it lengthens the time.

    Parameters
    ----------
    current_density : float
        A/m2; its sign does not matter.
    """
    _positive(concentration=concentration, diffusivity=diffusivity)
    if current_density == 0:
        return float("inf")
    ratio = electrons * FARADAY * concentration / (2 * current_density)
    return float(np.pi * diffusivity * ratio**2)


def current_density(current: float, footprint_area: float) -> float:
    """Signed current density on the measured footprint, A/m2 (S31).

    The instrument is commanded in amperes; the wetted area is several times the pipette's
    opening, so only the footprint measured afterwards gives a density.
    """
    _positive(footprint_area=footprint_area)
    return current / footprint_area


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be greater than 0 (got {value})")


def _angle(semi_angle: float) -> None:
    if not 0 < semi_angle < np.pi / 2:
        raise ValueError(
            f"the semi-angle must lie between 0 and pi/2 rad (got {semi_angle}); 10 degrees are "
            "0.175 rad"
        )
