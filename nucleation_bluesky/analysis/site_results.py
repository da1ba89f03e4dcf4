"""Results of every site of a ramp set, and their maps."""

from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import xarray as xr

from nucleation_bluesky.analysis.charge import growth_charge, particle_volume, raw_charge
from nucleation_bluesky.analysis.classify import MEANINGS, NUCLEATED, classify, ended_by
from nucleation_bluesky.analysis.inference import infer
from nucleation_bluesky.analysis.inference_state import Inference
from nucleation_bluesky.analysis.onset_evidence import probability_to_sigma
from nucleation_bluesky.analysis.overshoot import peak_current, peak_rise
from nucleation_bluesky.analysis.parallel import single_threaded_blas
from nucleation_bluesky.analysis.ramps import RampSet


@dataclass(frozen=True)
class SiteParameters:
    """Error rates from which every threshold of the site analysis follows.

    Parameters
    ----------
    false_growth_rate : float
        Probability that noise alone is taken for growth at a site.
    missed_growth_rate : float
        Largest probability with which genuine growth is called a false trip.
    """

    false_growth_rate: float = 1e-4
    missed_growth_rate: float = 1e-3

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0.0 < value < 0.5:
                raise ValueError(f"{name} is a probability between 0 and 0.5 (got {value:g})")


def _sample_periods(ramps: RampSet) -> np.ndarray:
    """Mean sample period of each site before the trip, s, shape (n,)."""
    out = np.full(ramps.n_sites, float(ramps.sample_period))
    if ramps.time is None:
        return out
    for site in np.flatnonzero(ramps.counts > 1):
        low, high = int(ramps.offsets[site]), int(ramps.offsets[site + 1])
        out[site] = (ramps.time[high - 1] - ramps.time[low]) / (high - low - 1)
    return out


def _value_at(
    values: np.ndarray, position: np.ndarray, first: np.ndarray, last: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Value of a slowly changing record and its change per sample at fractional positions.

    A line through the neighbouring samples where they lie on one (a recorded bias is noisy);
    interpolation between two samples where they do not (a staircase).
    """
    centre = np.clip(np.round(position), first, last).astype(np.int64)
    reach = np.arange(-4, 5)
    index = centre[:, None] + reach
    inside = (index >= first[:, None]) & (index <= last[:, None])
    y = values[np.clip(index, 0, len(values) - 1)].astype(np.float64)
    inside &= np.isfinite(y)
    x = index - position[:, None]
    count = np.maximum(inside.sum(axis=1), 1)
    xm = np.where(inside, x, 0.0).sum(axis=1) / count
    ym = np.where(inside, y, 0.0).sum(axis=1) / count
    dx = np.where(inside, x - xm[:, None], 0.0)
    slope = (dx * np.where(inside, y - ym[:, None], 0.0)).sum(axis=1)
    slope /= np.maximum((dx**2).sum(axis=1), 1e-12)
    rest = np.where(inside, np.abs(y - ym[:, None] - slope[:, None] * dx), 0.0).max(axis=1)
    out = ym - slope * xm
    low = np.clip(np.floor(position), first, np.maximum(last - 1, first)).astype(np.int64)
    high = np.minimum(low + 1, last)
    part = np.clip(position - low, 0.0, 1.0)
    between = (1.0 - part) * values[low] + part * values[np.maximum(high, 0)]
    return np.where(rest > 0.5 * np.abs(slope), between, out), slope


def _bias_at(ramps: RampSet, inference: Inference, position: np.ndarray) -> np.ndarray:
    """Bias at fractional absolute sample positions, shape (n, 2): value, change per sample."""
    first, trip = inference.anchors.first, inference.anchors.trip
    out = np.full((ramps.n_sites, 2), np.nan)
    good = np.isfinite(position) & (trip >= ramps.offsets[:-1])
    if ramps.bias is not None:
        start = np.minimum(first, trip)[good]
        out[good] = np.stack(_value_at(ramps.bias, position[good], start, trip[good]), axis=1)
        return out
    step = np.sign(ramps.bias_stop - ramps.bias_start) * ramps.ramp_rate
    if ramps.time is None:
        time = (position - ramps.offsets[:-1]) * ramps.sample_period
        period = np.full(ramps.n_sites, ramps.sample_period)
    else:
        time, period = np.full((2, ramps.n_sites), np.nan)
        where = np.stack(
            _value_at(ramps.time, position[good], ramps.offsets[:-1][good], trip[good])
        )
        time[good], period[good] = where
    low = np.minimum(ramps.bias_start, ramps.bias_stop)
    high = np.maximum(ramps.bias_start, ramps.bias_stop)
    out[:, 0] = np.clip(ramps.bias_start + step * time, low, high)
    out[:, 1] = step * period
    return np.where(good[:, None], out, np.nan)


def analyse_sites(  # noqa: PLR0915 - one line per variable of the result
    ramps: RampSet, parameters: SiteParameters | None = None
) -> xr.Dataset:
    """Analyse the ramps of all sites.

    Parameters
    ----------
    ramps : RampSet
        Ramps of n sites.
    parameters : SiteParameters, optional
        Error rates.

    Returns
    -------
    xarray.Dataset
        Variables on ``site`` as the neutral result format names them, SI units in ``units``,
        provenance in the attributes. ``onset_bias`` is the bias at which current and height leave
        their background; ``stop_bias`` the bias at the last sample before the abort.
    """
    parameters = parameters or SiteParameters()
    with single_threaded_blas():
        inference = infer(ramps, parameters.false_growth_rate)
    anchors = inference.anchors
    n = ramps.n_sites
    period = _sample_periods(ramps)
    filled = anchors.trip >= ramps.offsets[:-1]
    stop, step = _bias_at(ramps, inference, np.where(filled, anchors.trip, np.nan)).T
    cause = ended_by(ramps, stop, step)
    at_trip = np.clip(anchors.trip, 0, max(len(ramps.current) - 1, 0))

    def taken(values: np.ndarray) -> np.ndarray:
        return np.where(filled, values[at_trip], np.nan) if len(values) else np.full(n, np.nan)

    stop_current, stop_height = taken(ramps.current), taken(ramps.height)
    ahead = anchors.trip - anchors.last
    above = np.stack([stop_current, stop_height], axis=1) - inference.background
    above -= inference.slope * ahead[:, None]
    limit = probability_to_sigma(parameters.false_growth_rate)
    spike = np.any(np.abs(above) > limit * inference.noise, axis=1)
    classification = classify(ramps, inference, cause, spike, parameters.missed_growth_rate)
    nucleated = classification == NUCLEATED
    position = np.where(nucleated, anchors.last - inference.distance, np.nan)
    onset, onset_step = _bias_at(ramps, inference, position).T
    charge = growth_charge(ramps, inference, period, nucleated)
    peak = peak_current(ramps)
    rise = peak_rise(ramps, anchors.last, inference.background[:, 1], inference.slope[:, 1])
    i_limit = ramps.current_compliance or np.nan
    z_limit = ramps.height_compliance or np.nan
    fast = np.zeros(n, dtype=bool)
    if ramps.fast_end is not None:
        direction = np.sign(ramps.bias_stop - ramps.bias_start)
        fast = nucleated & (direction * (onset - ramps.fast_end) < 0)
    onset_time = (position - ramps.offsets[:-1]) * period
    termination = ramps.termination if ramps.termination is not None else np.full(n, -1)

    ds = xr.Dataset(coords={"site": np.arange(n)})
    ds = ds.assign_coords(
        x=("site", ramps.x.astype(float), {"units": "m", "long_name": "position in sample frame"}),
        y=("site", ramps.y.astype(float), {"units": "m", "long_name": "position in sample frame"}),
    )
    if ramps.row is not None and ramps.col is not None:
        ds = ds.assign_coords(row=("site", ramps.row), col=("site", ramps.col))

    def put(name: str, values: np.ndarray, units: str, text: str, **attrs: object) -> None:
        ds[name] = ("site", values, {"units": units, "long_name": text, **attrs})

    put("onset_bias", onset, "V", "bias at which the growth begins")
    put(
        "onset_bias_uncertainty",
        np.where(nucleated, inference.spread * np.abs(onset_step), np.nan),
        *("V", "standard deviation of onset_bias"),
    )
    put("stop_bias", stop, "V", "bias at the last sample before the abort")
    put("stop_current", stop_current, "A", "measured current at the last sample before the abort")
    put("height_change", above[:, 1], "m", "height at that sample over the drift line")
    put("charge", charge, "C", "net charge of the growth, background subtracted, signed")
    put(
        "particle_volume",
        particle_volume(charge, ramps.material),
        *("m3", "deposit's volume by Faraday's law"),
        faradaic_yield=ramps.material.faradaic_yield,
        molar_volume=ramps.material.molar_volume,
        electrons=ramps.material.electrons,
    )
    put("nucleated", nucleated, "1", "whether a nucleus grew")
    flags: dict[str, object] = {}
    if ramps.termination_labels:
        flags = {
            "flag_values": np.array(sorted(ramps.termination_labels), dtype=np.int32),
            "flag_meanings": " ".join(
                str(ramps.termination_labels[k]).replace(" ", "_")
                for k in sorted(ramps.termination_labels)
            ),
        }
    put(
        "termination",
        np.asarray(termination).astype(np.int32),
        *("1", "the controller's reason"),
        **flags,
    )
    put(
        "classification",
        classification,
        *("1", "the analysis' verdict"),
        flag_values=np.arange(len(MEANINGS), dtype=np.int8),
        flag_meanings=" ".join(MEANINGS),
    )
    put(
        "current_overshoot",
        peak / i_limit,
        *("1", "largest recorded magnitude of current over current compliance"),
    )
    put(
        "height_overshoot",
        rise / z_limit,
        *("1", "largest height over the drift line, over height compliance"),
    )
    put("height_excess", rise - z_limit, "m", "largest height over the drift line minus compliance")
    put("peak_current", peak, "A", "largest recorded magnitude of current")
    put("charge_raw", raw_charge(ramps, period), "C", "sum over the record, nothing subtracted")
    put("onset_time", onset_time, "s", "time of the onset since sample 0")
    put("in_fast_segment", fast, "1", "whether the onset fell into the fast approach")
    put("evidence", inference.evidence, "1", "gain of log likelihood by growth")
    put("robust_evidence", inference.robust_evidence, "1", "the same without a possible spike")
    put("evidence_threshold", inference.threshold, "1", "what growth has to exceed")
    for c, name in enumerate(("current", "height")):
        unit = ("A", "m")[c]
        put(f"{name}_evidence", inference.channel_evidence[:, c], "1", f"{name}'s share of it")
        put(f"{name}_background", inference.background[:, c], unit, "background at the trip")
        put(f"{name}_background_slope", inference.slope[:, c] / period, f"{unit}/s", "its slope")
    ds.attrs.update(_provenance(ramps, inference, parameters))
    return ds


def _provenance(
    ramps: RampSet, inference: Inference, parameters: SiteParameters
) -> dict[str, object]:
    try:
        release = version("nucleation_bluesky")
    except PackageNotFoundError:
        release = "unknown"
    attrs: dict[str, object] = {
        "Conventions": "CF-1.10",
        "software": "nucleation_bluesky",
        "software_version": release,
        "mode": ramps.mode,
        **asdict(parameters),
    }
    for c, name in enumerate(("current", "height")):
        attrs[f"{name}_noise"] = float(inference.noise[c])
        attrs[f"{name}_time_constant_samples"] = float(inference.pole[c])
    for name in ("current_compliance", "height_compliance", "equilibrium_potential", "pitch"):
        value = getattr(ramps, name)
        if value is not None:
            attrs[name] = float(value)
    if ramps.grid_shape is not None:
        attrs["grid_shape"] = np.asarray(ramps.grid_shape, dtype=np.int64)
    for key, value in ramps.attrs.items():
        if isinstance(value, str | int | float) and key not in attrs:
            attrs[key] = value
    return attrs


def add_maps(ds: xr.Dataset) -> xr.Dataset:
    """Add ``<name>_map`` on (row, col) for every variable on ``site``.

    Sites that are missing are NaN; flags and Boolean variables, which cannot be NaN, become
    integers with -1 (``_FillValue``) there. A data set that is not gridded is returned unchanged.

    Parameters
    ----------
    ds : xarray.Dataset
        Result of `analyse_sites`.

    Returns
    -------
    xarray.Dataset
        A new data set.
    """
    if "row" not in ds.coords or "col" not in ds.coords or ds["row"].dims != ("site",):
        return ds
    row, col = ds["row"].values.astype(int), ds["col"].values.astype(int)
    if "grid_shape" in ds.attrs:
        rows, cols = (int(v) for v in ds.attrs["grid_shape"])
    else:
        rows, cols = int(row.max(initial=-1)) + 1, int(col.max(initial=-1)) + 1
    # `row` and `col` are already the sites' coordinates: the map's dimensions carry no index
    out = ds.copy()
    for name in list(ds.data_vars):
        values = ds[name].values
        if ds[name].dims != ("site",):
            continue
        attrs = dict(ds[name].attrs)
        if values.dtype.kind in "biu":
            grid = np.full((rows, cols), -1, dtype=np.int32 if values.dtype.itemsize > 1 else "i1")
            attrs["_FillValue"] = grid.dtype.type(-1)
        else:
            grid = np.full((rows, cols), np.nan, dtype=float)
        grid[row, col] = values
        out[f"{name}_map"] = (("row", "col"), grid, attrs)
    return out
