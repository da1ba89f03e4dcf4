"""Onsets over ramps in the form that the fits of the kinetics use."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class OnsetData:
    """Onsets of sites in the form the fits use.

    Parameters
    ----------
    bounds : ndarray, shape (n, m + 1)
        abs(V) - abs(E_eq) at the ends of the ramp segments, up to the onset or the last bias, V.
        Not clipped at 0, never decreasing.
    rates : ndarray, shape (n, m)
        Magnitude of the segments' sweep rates, V/s.
    nucleated : ndarray of bool, shape (n,)
        False: censored at the last bound.
    x, y : ndarray or None, shape (n,)
        Positions, m.
    distance : ndarray or None, shape (n,)
        Distance to the nearest grain boundary, m, positive in the matrix.
    """

    bounds: np.ndarray
    rates: np.ndarray
    nucleated: np.ndarray
    x: np.ndarray | None = None
    y: np.ndarray | None = None
    distance: np.ndarray | None = None

    @property
    def eta(self) -> np.ndarray:
        """Overpotential at the onset or at censoring, V, shape (n,)."""
        return self.bounds[:, -1]

    @property
    def final_rate(self) -> np.ndarray:
        """Sweep rate at the onset or at censoring, V/s, shape (n,)."""
        eta = self.eta[:, None]
        # the segment in which the end lies: the first whose upper bound reaches it
        index = np.argmax(self.bounds[:, 1:] >= eta, axis=1)
        return np.take_along_axis(self.rates, index[:, None], axis=1)[:, 0]

    def select(self, sites: np.ndarray) -> "OnsetData":
        """Return the sites of a mask or an index array."""
        optional = {
            name: None if (v := getattr(self, name)) is None else v[sites]
            for name in ("x", "y", "distance")
        }
        return OnsetData(self.bounds[sites], self.rates[sites], self.nucleated[sites], **optional)


def onset_data(
    last_bias: np.ndarray,
    nucleated: np.ndarray,
    rate: np.ndarray,
    equilibrium_potential: float,
    *,
    x: np.ndarray | None = None,
    y: np.ndarray | None = None,
    distance: np.ndarray | None = None,
    ramp_start: np.ndarray | float = 0.0,
    fast_end: np.ndarray | None = None,
    fast_rate: np.ndarray | float | None = None,
    vertices: np.ndarray | None = None,
    rates: np.ndarray | None = None,
) -> OnsetData:
    """Bring onsets into the form of the fits; sites without a finite last bias are dropped.

    Parameters
    ----------
    last_bias : ndarray, shape (n,)
        Onset where nucleated, else the last bias of the site, V, signed.
    nucleated : ndarray of bool, shape (n,)
    rate : ndarray, shape (n,)
        Measuring sweep rate, V/s (used where neither fast segment nor ``vertices`` apply).
    equilibrium_potential : float
        E_eq on the same scale, V, signed.
    x, y, distance : ndarray or None
        See `OnsetData`.
    ramp_start : ndarray or float
        Bias at the start of the ramp, V.
    fast_end, fast_rate : ndarray or None
        Bias at which a fast approach ended (NaN without one), and its rate.
    vertices, rates : ndarray or None, shape (n, m)
        General piecewise ramps: bias at the end of each segment and its rate, NaN beyond. They
        take precedence over ``rate`` and ``fast_end``.

    Raises
    ------
    ValueError
        If a rate is not positive, E_eq is not finite, or onsets lie on the wrong side of zero.
    """
    last_bias = np.asarray(last_bias, dtype=float)
    n = last_bias.size
    if not np.isfinite(equilibrium_potential):
        raise ValueError("kinetics needs an equilibrium potential: it cannot be found from onsets")
    sign = -1.0 if equilibrium_potential < 0 else 1.0
    ends = sign * last_bias - abs(equilibrium_potential)
    if vertices is None or rates is None:
        measuring = np.broadcast_to(np.asarray(rate, dtype=float), (n,))
        if fast_end is None:
            segment_rates, inner = measuring[:, None], np.empty((n, 0))
        else:
            if fast_rate is None:
                raise ValueError("a fast approach needs its sweep rate (fast_rate)")
            fast = np.asarray(fast_end, dtype=float)
            have = np.isfinite(fast)
            quick = np.where(have, np.broadcast_to(np.asarray(fast_rate, float), (n,)), measuring)
            segment_rates = np.stack([quick, measuring], axis=1)
            start = np.broadcast_to(np.asarray(ramp_start, float), (n,))
            inner = np.where(have, fast, start)[:, None]
    else:
        segment_rates = np.asarray(rates, dtype=float)
        last = np.maximum.accumulate(
            np.where(np.isfinite(segment_rates), np.arange(segment_rates.shape[1]), 0), axis=1
        )
        segment_rates = np.take_along_axis(segment_rates, last, axis=1)
        inner = np.where(np.isfinite(vertices), vertices, np.inf * sign)[:, :-1]
    start = np.broadcast_to(np.asarray(ramp_start, dtype=float), (n,))[:, None]
    bounds = np.concatenate([start, inner, last_bias[:, None]], axis=1) * sign
    bounds = np.maximum.accumulate(bounds - abs(equilibrium_potential), axis=1)
    bounds = np.minimum(bounds, ends[:, None])
    use = np.isfinite(ends)
    if np.any(~(segment_rates[use] > 0)):
        raise ValueError("sweep rates are magnitudes and must be greater than 0 V/s")
    nucleated = np.asarray(nucleated, dtype=bool)
    if np.any(nucleated & use & (sign * last_bias <= 0)):
        raise ValueError("onsets and the equilibrium potential must have the same sign")
    if not np.any(nucleated & use):
        raise ValueError("no site nucleated: there is nothing to fit")
    pick = {"x": x, "y": y, "distance": distance}
    arrays = {k: None if v is None else np.asarray(v, float)[use] for k, v in pick.items()}
    return OnsetData(bounds[use], segment_rates[use], nucleated[use], **arrays)


def away_from_boundaries(data: OnsetData, cut: float) -> OnsetData:
    """Sites in the matrix farther than ``cut`` (m) from every grain boundary.

    Raises
    ------
    ValueError
        If distances are missing or no such site nucleated.
    """
    if data.distance is None:
        raise ValueError("give each site's distance to the nearest grain boundary")
    kept = data.select(data.distance > cut)
    if not kept.nucleated.any():
        raise ValueError(f"no nucleated site lies more than {cut:.3g} m from a grain boundary")
    return kept
