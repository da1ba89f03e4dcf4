"""What an analysis of one data set (a file, a run, or joined runs) gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from nucleation_bluesky.analysis.ramps import RampSet
from nucleation_bluesky.storage.images import Topography

SWEEP_KINDS = {
    "none": "normal sweep",
    "current": "current compliance",
    "height": "height compliance",
    "both": "current and height compliance",
}


@dataclass(frozen=True)
class Headline:
    """One figure of the summary.

    Parameters
    ----------
    name : str
        In words.
    value : float
        SI.
    unit : str
        "1" where dimensionless.
    uncertainty : float or None
        Standard uncertainty.
    interval : tuple of float or None
        95 % confidence interval, where that says more than one number.
    note : str
        What it was taken from.
    """

    name: str
    value: float
    unit: str
    uncertainty: float | None = None
    interval: tuple[float, float] | None = None
    note: str = ""


@dataclass(frozen=True)
class Transference:
    """Atoms plated against electrons transferred.

    Parameters
    ----------
    electrons, atoms, atoms_uncertainty : ndarray, shape (n,)
        Per particle.
    slope : float
        Transference number.
    slope_uncertainty : float
        Standard uncertainty, statistical and systematic.
    interval : tuple of float
        Its 95 % confidence interval, both included.
    volume : ndarray, shape (n,)
        Volumes in the topography, m3.
    statistical : tuple of float or None
        95 % interval by the scatter of the particles alone.
    systematic : float
        Standard uncertainty by calibrations and, where it was corrected for, the tip's shape.
    tip_corrected : bool
        False: the tip's shape is in the volumes and the slope is an upper bound.
    """

    electrons: np.ndarray
    atoms: np.ndarray
    atoms_uncertainty: np.ndarray | None
    slope: float
    slope_uncertainty: float
    interval: tuple[float, float]
    volume: np.ndarray
    statistical: tuple[float, float] | None = None
    systematic: float = 0.0
    tip_corrected: bool = False


@dataclass(frozen=True)
class BoundaryProfile:
    """Onset against distance to the nearest grain boundary, binned; m and V."""

    center: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    statistic: str = "mean"


@dataclass(frozen=True)
class Survival:
    """Empirical and fitted survival at one sweep rate.

    Parameters
    ----------
    rate : float
        V/s.
    bias, survival, low, high : ndarray
        Kaplan-Meier estimate against bias (V) with its 95 % band.
    model_bias, model : ndarray or None
        The fit.
    median, median_low, median_high : float
        Median onset with its 95 % interval, V; NaN where the curve does not reach one half.
    model_median : float
        The fit's, V.
    """

    rate: float
    bias: np.ndarray
    survival: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    model_bias: np.ndarray | None = None
    model: np.ndarray | None = None
    median: float = float("nan")
    median_low: float = float("nan")
    median_high: float = float("nan")
    model_median: float = float("nan")


@dataclass(frozen=True)
class Kinetics:
    """Classical nucleation kinetics from several sweep rates.

    Parameters
    ----------
    curves : tuple of Survival
        By rate.
    a, b, spread : float
        A (1/s), median of B (V2) and the log-normal spread of B.
    a_interval, b_interval : tuple of float
        95 %.
    n_sites : int
        Sites used.
    distance_cut : float or None
        Sites closer to a grain boundary were left out, m.
    """

    curves: tuple[Survival, ...]
    a: float
    b: float
    spread: float
    a_interval: tuple[float, float]
    b_interval: tuple[float, float]
    n_sites: int
    distance_cut: float | None = None


@dataclass(frozen=True)
class Split:
    """V_nuc = E_eq + overpotential + IR; each (value, uncertainty or None) in V."""

    parts: Mapping[str, tuple[float, float | None]]
    total: tuple[float, float | None]
    resistance: float | None = None


@dataclass(frozen=True)
class AnalysisResult:
    """Everything the report shows of one data set.

    Parameters
    ----------
    label : str
        Short name, for instance "current compliance".
    ramps : RampSet
        The ramps.
    sites : xarray.Dataset
        Site results with maps and provenance attributes: the result file.
    before, after : Topography or None
        Levelled; ``after`` registered to ``before`` where both exist.
    change : Topography or None
        Height difference of the two.
    grains : ndarray or None
        Labels on the pixels of ``before``.
    summary : tuple of Headline
        Figures for the top of the report.
    missing : mapping of str to str
        Why a part of the analysis is not there, by name of the part.
    provenance : mapping
        Source, hashes or uids, parameters, version.
    """

    label: str
    ramps: RampSet
    sites: xr.Dataset
    before: Topography | None = None
    after: Topography | None = None
    change: Topography | None = None
    grains: np.ndarray | None = None
    transference: Transference | None = None
    boundary: BoundaryProfile | None = None
    kinetics: Kinetics | None = None
    split: Split | None = None
    summary: tuple[Headline, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, object] = field(default_factory=dict)

    @property
    def dataset(self) -> xr.Dataset:
        """The result file."""
        return self.sites

    @property
    def datasets(self) -> dict[str, xr.Dataset]:
        """Results to store in Tiled by name."""
        return {"sites": self.sites}

    @property
    def parameters(self) -> dict[str, Any]:
        """The analysis parameters in the provenance."""
        found = self.provenance.get("parameters")
        return dict(found) if isinstance(found, Mapping) else {}
