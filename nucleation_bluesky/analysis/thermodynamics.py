"""The parts of a nucleation potential, reference scales and the Nernst shift."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import constants, stats

# Potential of the scale's zero against SHE at 25 C, V. A mixed electrode (Cu + Ag paint) has no
# such number: its offset is measured and given by name.
SCALES_VS_SHE: dict[str, float] = {
    "SHE": 0.0,
    "Li/Li+": -3.04,  # CRC Handbook: -3.0401 V; the paper rounds alike
    "Ag/AgCl (3 M KCl)": 0.210,
    "SCE": 0.241,
}


@dataclass(frozen=True)
class PotentialSplit:
    """V_nuc = E_eq + overpotential + ohmic drop; signed, V, all on one scale.

    Parameters
    ----------
    nucleation_potential : ndarray
    equilibrium_potential : float
    overpotential : ndarray
        What remains for nucleation and charge transfer.
    ohmic : ndarray
        Current times resistance (negative for a reduction current).
    resistance : float
        Ohm, as used.
    equilibrium_source, resistance_source : str
        Where the two inputs come from.
    scale : str
        Reference scale of all potentials.
    """

    nucleation_potential: np.ndarray
    equilibrium_potential: float
    overpotential: np.ndarray
    ohmic: np.ndarray
    resistance: float
    equilibrium_source: str
    resistance_source: str
    scale: str

    @property
    def beyond_equilibrium(self) -> np.ndarray:
        """Overpotential plus ohmic drop as a magnitude, V."""
        return np.abs(self.overpotential + self.ohmic)


@dataclass(frozen=True)
class Resistance:
    """Series resistance from the current-voltage curve after the onset.

    Parameters
    ----------
    value, uncertainty : float
        Ohm; NaN where the curve is not ohmic.
    linearity : float
        Coefficient of determination of the line.
    n : int
        Samples used.
    """

    value: float
    uncertainty: float
    linearity: float
    n: int


def split_potential(
    nucleation_potential: np.ndarray,
    current: np.ndarray,
    equilibrium_potential: float,
    resistance: float,
    *,
    equilibrium_source: str,
    resistance_source: str,
    scale: str,
) -> PotentialSplit:
    """Split nucleation potentials into equilibrium potential, overpotential and ohmic drop.

    Parameters
    ----------
    nucleation_potential : ndarray, shape (n,)
        Onset bias, V, signed, applied to the working electrode.
    current : ndarray, shape (n,)
        Current at the onset, A, signed (negative reduces).
    equilibrium_potential : float
        E_eq on the same scale, V, signed.
    resistance : float
        Series resistance, ohm.
    equilibrium_source, resistance_source, scale : str
        Stated with the result.

    Raises
    ------
    ValueError
        If the resistance is negative or an input is not finite.
    """
    if not (np.isfinite(resistance) and resistance >= 0):
        raise ValueError(f"the series resistance must be 0 ohm or more (got {resistance})")
    if not np.isfinite(equilibrium_potential):
        raise ValueError("give the equilibrium potential on the run's own reference scale")
    potential = np.asarray(nucleation_potential, dtype=float)
    ohmic = np.asarray(current, dtype=float) * resistance
    return PotentialSplit(
        nucleation_potential=potential,
        equilibrium_potential=float(equilibrium_potential),
        overpotential=potential - equilibrium_potential - ohmic,
        ohmic=ohmic,
        resistance=float(resistance),
        equilibrium_source=equilibrium_source,
        resistance_source=resistance_source,
        scale=scale,
    )


def series_resistance(
    bias: np.ndarray, current: np.ndarray, *, min_samples: int = 20, min_linearity: float = 0.9
) -> Resistance:
    """Differential resistance dV/dI of the last part of a curve after the onset (Theil-Sen).

    The current of a growing particle rises because the particle grows; only where the curve has
    become a straight line does its slope bound the series resistance. The longest tail of the
    curve that is linear is used.

    Parameters
    ----------
    bias, current : ndarray, shape (n,)
        V and A from the onset on, post-trip samples left out.
    min_samples : int
        Fewer samples give NaN.
    min_linearity : float
        Least coefficient of determination of the line.
    """
    v, i = np.asarray(bias, dtype=float), np.asarray(current, dtype=float)
    finite = np.isfinite(v) & np.isfinite(i)
    v, i = v[finite], i[finite]
    n, linearity = v.size, float("nan")
    while n >= min_samples:
        tail_v, tail_i = v[-n:], i[-n:]
        if np.ptp(tail_i) == 0 or np.ptp(tail_v) == 0:
            break
        linearity = float(np.corrcoef(tail_v, tail_i)[0, 1] ** 2)
        # a straight tail has the same slope in both of its halves
        first, second = (
            np.polyfit(tail_v[s], tail_i[s], 1)[0] for s in (slice(n // 2), slice(n // 2, None))
        )
        if linearity >= min_linearity and first > 0 and 0.8 < second / first < 1.25:
            step = max(1, n // 400)  # Theil-Sen is quadratic in the number of samples
            found = stats.theilslopes(tail_i[::step], tail_v[::step])
            slope, _, low, high = np.asarray(tuple(found), dtype=float).tolist()
            spread = (high - low) / (2 * 1.96)
            return Resistance(1 / slope, spread / slope**2, linearity, n)
        n = int(n * 0.8)
    return Resistance(float("nan"), float("nan"), linearity, max(n, 0))


def convert_potential(
    potential: np.ndarray | float,
    source: str,
    target: str,
    offsets: Mapping[str, float] | None = None,
) -> np.ndarray | float:
    """Convert a potential between reference scales.

    Parameters
    ----------
    potential : ndarray or float
        V against ``source``.
    source, target : str
        Names of scales: one of `SCALES_VS_SHE` or of ``offsets``.
    offsets : mapping or None
        Further scales (or better values): potential of the scale's zero against SHE, V.

    Raises
    ------
    ValueError
        If a scale is not known.
    """
    known = SCALES_VS_SHE | dict(offsets or {})
    for name in (source, target):
        if name not in known:
            raise ValueError(
                f"the reference scale '{name}' has no known offset against SHE; give it in "
                f"offsets (known: {', '.join(sorted(known))})"
            )
    return potential + (known[source] - known[target])


def nernst_shift(decades: float, electrons: int = 1, temperature: float = 298.15) -> float:
    """Shift of the equilibrium potential, V, for a change of activity by powers of ten.

    ln(10) R T / (n F) per decade: 59.2 mV for one electron at 25 C, 29.6 mV for two.
    """
    if electrons < 1 or temperature <= 0:
        raise ValueError("electrons must be 1 or more and the temperature above 0 K")
    thermal = (
        constants.R
        * temperature
        / (electrons * constants.physical_constants["Faraday constant"][0])
    )
    return float(decades * np.log(10) * thermal)
