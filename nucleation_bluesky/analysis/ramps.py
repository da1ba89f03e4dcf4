"""Ramps of many sites as arrays: the one input of the site analyses, whatever their origin."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True)
class Instrument:
    """What is known of the instrument; None where unknown.

    Parameters
    ----------
    current_bandwidth, height_bandwidth : float or None
        -3 dB bandwidth of the channels, Hz.
    abort_latency : float or None
        Upper bound from the tripping sample to the abort, s.
    """

    current_bandwidth: float | None = None
    height_bandwidth: float | None = None
    abort_latency: float | None = None


@dataclass(frozen=True)
class Material:
    """The deposit.

    Parameters
    ----------
    molar_volume : float
        m3/mol (Li: 13.0e-6, Kumar et al. 2013).
    electrons : int
        Electrons per atom.
    faradaic_yield : float
        Atoms deposited per electron transferred, times ``electrons``.
    """

    name: str = "Li"
    molar_volume: float = 13.0e-6
    electrons: int = 1
    faradaic_yield: float = 1.0


@dataclass(frozen=True)
class RampSet:
    """Ramps of n sites, concatenated (ragged): site k owns ``offsets[k]:offsets[k + 1]``.

    Parameters
    ----------
    offsets : ndarray of int64, shape (n + 1,)
        Bounds of the sites in the sample arrays.
    current, height : ndarray, shape (offsets[-1],)
        Measured current (A, signed, negative reduces) and height (m). Dtype float32 or float64;
        a channel that was not recorded is all NaN.
    sample_period : float
        s. Ignored where ``time`` is given.
    bias : ndarray or None, shape (offsets[-1],)
        V. None where every site has one constant rate: then it follows from ``bias_start``,
        ``bias_stop``, ``ramp_rate`` and ``sample_period``.
    time : ndarray or None
        s since sample 0 of the site; None where it follows from ``sample_period``.
    bias_start, bias_stop : ndarray, shape (n,)
        Ends of the programmed ramp, V, signed.
    ramp_rate : ndarray, shape (n,)
        Magnitude of the (measuring) sweep rate, V/s.
    x, y : ndarray, shape (n,)
        Site's position in the sample frame, m.
    n_post : ndarray of int, shape (n,)
        Samples at the end of a site taken after the trip.
    mode : str
        "current", "height", "both" or "none": which compliance was enforced.
    current_compliance, height_compliance : float or None
        Magnitudes, A and m.
    termination : ndarray of int or None, shape (n,)
        What the controller said (``termination_labels`` gives the meaning by value).
    row, col : ndarray of int or None, shape (n,)
        Grid indices where gridded; ``grid_shape`` (rows, cols) and ``pitch`` (m).
    fast_end : ndarray or None, shape (n,)
        Bias at which a fast approach segment ended, V; NaN without one.
    equilibrium_potential : float or None
        E_eq on the run's own scale, V, signed.
    """

    offsets: np.ndarray
    current: np.ndarray
    height: np.ndarray
    sample_period: float
    bias_start: np.ndarray
    bias_stop: np.ndarray
    ramp_rate: np.ndarray
    x: np.ndarray
    y: np.ndarray
    n_post: np.ndarray
    mode: str
    bias: np.ndarray | None = None
    time: np.ndarray | None = None
    current_compliance: float | None = None
    height_compliance: float | None = None
    termination: np.ndarray | None = None
    termination_labels: dict[int, str] = field(default_factory=dict)
    row: np.ndarray | None = None
    col: np.ndarray | None = None
    grid_shape: tuple[int, int] | None = None
    pitch: float | None = None
    fast_end: np.ndarray | None = None
    equilibrium_potential: float | None = None
    instrument: Instrument = field(default_factory=Instrument)
    material: Material = field(default_factory=Material)
    attrs: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = self.n_sites
        if n < 0 or self.offsets[0] != 0 or np.any(np.diff(self.offsets) < 0):
            raise ValueError("offsets must start at 0 and never decrease")
        total = int(self.offsets[-1])
        for name in ("current", "height", "bias", "time"):
            array = getattr(self, name)
            if array is not None and array.shape != (total,):
                raise ValueError(
                    f"{name} has shape {array.shape}, but offsets end at {total} samples"
                )
        for name in ("bias_start", "bias_stop", "ramp_rate", "x", "y", "n_post"):
            if getattr(self, name).shape != (n,):
                raise ValueError(f"{name} must have one value per site ({n})")
        if self.mode not in ("current", "height", "both", "none"):
            raise ValueError(f"mode '{self.mode}' is not current, height, both or none")

    @property
    def n_sites(self) -> int:
        """Number of sites."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> np.ndarray:
        """Samples per site, shape (n_sites,)."""
        return np.diff(self.offsets)

    def site_time(self, site: int) -> np.ndarray:
        """Time since sample 0 of a site, s."""
        window = slice(self.offsets[site], self.offsets[site + 1])
        if self.time is not None:
            return self.time[window]
        return np.arange(window.stop - window.start) * self.sample_period

    def site_bias(self, site: int) -> np.ndarray:
        """Bias of a site at every sample, V."""
        window = slice(self.offsets[site], self.offsets[site + 1])
        if self.bias is not None:
            return self.bias[window]
        start, stop = self.bias_start[site], self.bias_stop[site]
        step = np.sign(stop - start) * self.ramp_rate[site]
        ramp = start + step * self.site_time(site)
        return np.clip(ramp, min(start, stop), max(start, stop))

    def blocks(self, samples: int = 2_000_000) -> Iterator[slice]:
        """Yield slices of sites with about ``samples`` samples each, for bounded memory."""
        first = 0
        while first < self.n_sites:
            last = int(np.searchsorted(self.offsets, self.offsets[first] + samples, "right")) - 1
            last = min(max(last, first + 1), self.n_sites)
            yield slice(first, last)
            first = last

    def select(self, sites: slice | np.ndarray) -> "RampSet":
        """Return the sites of a slice, boolean mask or index array, as a new set."""
        index = np.arange(self.n_sites)[sites]
        counts = self.counts[index]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        if isinstance(sites, slice) and sites.step in (None, 1) and len(index):
            picked: slice | np.ndarray = slice(
                int(self.offsets[index[0]]), int(self.offsets[index[-1] + 1])
            )
        else:
            starts = np.repeat(self.offsets[index] - offsets[:-1], counts)
            picked = starts + np.arange(offsets[-1])
        per_sample = ("current", "height", "bias", "time")
        per_site = (
            *("bias_start", "bias_stop", "ramp_rate", "x", "y", "n_post", "termination"),
            *("row", "col", "fast_end"),
        )
        changes: dict[str, object] = {"offsets": offsets}
        for names, where in ((per_sample, picked), (per_site, index)):
            for name in names:
                array = getattr(self, name)
                changes[name] = None if array is None else array[where]
        return replace(self, **changes)  # type: ignore[arg-type]


def one_value(values: np.ndarray) -> float | None:
    """Return the value that all sites share, None where they differ or none is finite."""
    known = np.unique(values[np.isfinite(values)])
    return float(known[0]) if known.size == 1 else None
