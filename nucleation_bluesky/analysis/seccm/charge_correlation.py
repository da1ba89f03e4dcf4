"""Intensity against charge, and the metal that stays behind (S26).

``I = alpha V_m Q / (n F A)`` for thin deposits (Martin-Yerga et al. 2024, eq 2, Fig 2c).
"""

from dataclasses import dataclass

import numpy as np

FARADAY = 96485.33212  # C/mol


@dataclass(frozen=True)
class ChargeCorrelation:
    """Relation of the footprint's mean intensity to the charge passed.

    Parameters
    ----------
    correlation : float
        Pearson's, over the frames during the electrochemistry.
    slope, slope_uncertainty : float
        Relative intensity per cathodic charge, 1/C.
    alpha : float or None
        Relative intensity per thickness of deposit if all charge became metal, 1/m; None without
        footprint area.
    residual_charge : ndarray, shape (cycle,)
        Charge that the intensity left after each strip stands for, C: inactive metal and films.
    """

    correlation: float
    slope: float
    slope_uncertainty: float
    alpha: float | None
    residual_charge: np.ndarray


def correlate_charge(
    time: np.ndarray,
    intensity: np.ndarray,
    charge_time: np.ndarray,
    charge: np.ndarray,
    *,
    area: float | None = None,
    molar_volume: float = 1.302e-5,
    electrons: int = 1,
    residual: np.ndarray | None = None,
) -> ChargeCorrelation | None:
    """Compare intensity and accumulated charge.

    Parameters
    ----------
    time, intensity : ndarray, shape (k,)
        Of the frames: s after contact, relative change of intensity.
    charge_time, charge : ndarray, shape (n,)
        s after contact; signed accumulated charge, C.
    area : float or None
        Footprint, m2.
    molar_volume : float
        m3/mol; lithium by default.
    electrons : int
        Per metal atom.
    residual : ndarray or None, shape (cycle,)
        Relative intensity left after each strip.

    Returns
    -------
    ChargeCorrelation or None
        None where fewer than 5 frames lie within the electrochemistry, or no charge passed.
    """
    use = (time >= max(charge_time[0], 0.0)) & (time <= charge_time[-1]) & np.isfinite(intensity)
    if use.sum() < 5:
        return None
    passed = -np.interp(time[use], charge_time, charge)
    light = np.asarray(intensity, dtype=float)[use]
    if not (np.ptp(passed) > 0 and np.ptp(light) > 0):
        return None
    columns = np.column_stack([passed - passed.mean(), np.ones(len(light))])
    (slope, _), misfit, *_ = np.linalg.lstsq(columns, light, rcond=None)
    variance = float(misfit[0]) / max(len(light) - 2, 1) if len(misfit) else 0.0
    error = float(np.sqrt(variance / np.sum(columns[:, 0] ** 2)))
    alpha = None if area is None else float(slope * electrons * FARADAY * area / molar_volume)
    left = np.zeros(0) if residual is None or slope == 0 else np.asarray(residual) / slope
    return ChargeCorrelation(
        correlation=float(np.corrcoef(passed, light)[0, 1]),
        slope=float(slope),
        slope_uncertainty=error,
        alpha=alpha,
        residual_charge=left,
    )
