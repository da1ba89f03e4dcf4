"""The analysis of a data set, the same for a neutral file and for runs in Tiled."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from nucleation_bluesky.analysis.boundary import onset_profile
from nucleation_bluesky.analysis.particles import FLAGS, SiteParticles
from nucleation_bluesky.analysis.ramps import RampSet
from nucleation_bluesky.analysis.site_results import SiteParameters, add_maps, analyse_sites
from nucleation_bluesky.analysis.tip import Tip
from nucleation_bluesky.analysis.transference import (
    Calibration,
    atoms_from_volume,
    electrons_from_charge,
    transference_fit,
    widened,
)
from nucleation_bluesky.contract.documents import START_KEY
from nucleation_bluesky.contract.enums import Classification
from nucleation_bluesky.storage.analyse_kinetics import fit_kinetics
from nucleation_bluesky.storage.analyse_split import split_of
from nucleation_bluesky.storage.analyse_summary import headlines
from nucleation_bluesky.storage.analyse_topography import (
    aligned_to_sites,
    boundary_distance,
    particles_at_sites,
    prepare_images,
)
from nucleation_bluesky.storage.analysis_result import (
    SWEEP_KINDS,
    AnalysisResult,
    BoundaryProfile,
    Kinetics,
    Split,
    Transference,
)
from nucleation_bluesky.storage.event_table import NotReadableError
from nucleation_bluesky.storage.images import Topographies
from nucleation_bluesky.storage.read import load_ramps, load_topography
from nucleation_bluesky.storage.result_files import package_version, with_provenance, with_units
from nucleation_bluesky.storage.runs import open_run

PROFILE_BINS = 12


@dataclass(frozen=True)
class AnalysisOptions:
    """Choices of an analysis; every default suits a first look.

    Parameters
    ----------
    sites : SiteParameters
        Of the onset analysis.
    grain_polarity : str
        "auto", "bright" (grains stand out) or "dark".
    tip : Tip or None
        Corrects volumes in the topography for the tip, m.
    distance_cut : float
        Kinetics leaves out sites closer to a grain boundary, m.
    series_resistance : float or None
        Ohm; None estimates it where the current becomes ohmic after the onset.
    equilibrium_potential : float or None
        V on the data's own scale; overrides what the data carry.
    calibration : Calibration
        What the scales of volume and charge may be wrong by, for the transference number.
    """

    sites: SiteParameters = field(default_factory=SiteParameters)
    grain_polarity: str = "auto"
    tip: Tip | None = None
    distance_cut: float = 60e-9
    series_resistance: float | None = None
    equilibrium_potential: float | None = None
    calibration: Calibration = field(default_factory=Calibration)


def analyse_run(
    client: Any,
    uid: str | int = -1,
    options: AnalysisOptions | None = None,
    *,
    allow_partial: bool = False,
    join: bool = True,
) -> AnalysisResult:
    """Analyse a run in Tiled, with the runs that continue it.

    Parameters
    ----------
    client : tiled client
        Container of runs.
    uid : str or int
        As `runs.open_run`: a uid or its beginning, a scan_id, or -1 for the latest.
    options : AnalysisOptions or None
        Choices.
    allow_partial : bool
        Analyse what is there of a run that is not complete.
    join : bool
        Read an interrupted map and the runs that continue it as one.

    Raises
    ------
    RunNotFoundError, IncompleteRunError, NotReadableError
        As `runs.open_run` and `read.load_ramps`.
    """
    run = open_run(client, uid)
    ramps = load_ramps(run, allow_partial=allow_partial, join=join)
    try:
        topographies = load_topography(run, allow_partial=allow_partial, join=join)
    except NotReadableError:
        topographies = Topographies()
    block = run.metadata["start"].get(START_KEY) or {}
    options = options or AnalysisOptions()
    if options.tip is None and block.get("tip"):
        options = replace(options, tip=Tip(**block["tip"]))
    known = {k: block[k] for k in ("bias_applied_to", "reference_offset") if block.get(k)}
    ramps = replace(ramps, attrs={**known, **ramps.attrs})
    provenance = {
        "run_uids": ramps.attrs.get("run_uids") or [run.metadata["start"]["uid"]],
        "problems": ramps.attrs.get("problems") or None,
        "capabilities": block.get("capabilities"),
        "safe_state": block.get("safe_state"),
    }
    return analyse_ramps(ramps, topographies, options, provenance=provenance)


def analyse_ramps(
    ramps: RampSet,
    topographies: Topographies | None = None,
    options: AnalysisOptions | None = None,
    *,
    provenance: Mapping[str, object] | None = None,
    label: str | None = None,
) -> AnalysisResult:
    """Analyse ramps and, where there are images, microstructure and particles.

    Parts that the data do not allow are absent from the result; ``missing`` says why.

    Parameters
    ----------
    ramps : RampSet
        The ramps.
    topographies : Topographies or None
        Images before and after.
    options : AnalysisOptions or None
        Choices.
    provenance : mapping or None
        Where the data came from.
    label : str or None
        Short name; None names the kind of sweep.
    """
    options = options or AnalysisOptions()
    if options.equilibrium_potential is not None:
        ramps = replace(ramps, equilibrium_potential=options.equilibrium_potential)
    sites = analyse_sites(ramps, options.sites)
    images = prepare_images(
        topographies or Topographies(), ramps, grain_polarity=options.grain_polarity
    )
    inert = sites["classification"].values == Classification.NO_NUCLEATION
    images = aligned_to_sites(images, ramps, inert)
    particles = particles_at_sites(images, ramps, tip=options.tip)
    sites = _with_surroundings(sites, boundary_distance(images, ramps), particles)
    missing = dict(images.problems or {})
    transference = _attempt(
        missing, "transference", lambda: _transference(ramps, sites, particles, options, missing)
    )
    boundary = _attempt(missing, "boundary", lambda: _boundary(sites, missing))
    kinetics: Kinetics | None = _attempt(
        missing,
        "kinetics",
        lambda: fit_kinetics([(ramps, sites)], distance_cut=options.distance_cut),
    )
    split: Split | None = _attempt(
        missing, "split", lambda: split_of(ramps, sites, options.series_resistance)
    )
    known = dict(provenance or {})
    known |= {"parameters": asdict(options), "software": f"nucleation_bluesky {package_version()}"}
    if images.offset is not None:
        known["image_offset"] = asdict(images.offset)
    known = {k: v for k, v in known.items() if v is not None}
    sites = with_provenance(with_units(add_maps(sites)), known)
    result = AnalysisResult(
        label=label or SWEEP_KINDS[ramps.mode],
        ramps=ramps,
        sites=sites,
        before=images.before,
        after=images.after,
        change=images.change,
        grains=None if images.grains is None else images.grains.labels,
        transference=transference,
        boundary=boundary,
        kinetics=kinetics,
        split=split,
        missing=missing,
        provenance=known,
    )
    return replace(result, summary=headlines(result))


def joint_kinetics(
    results: Sequence[AnalysisResult], options: AnalysisOptions | None = None
) -> Kinetics:
    """Fit kinetics over several results, for instance one map per sweep rate.

    Raises
    ------
    ValueError
        As `fit_kinetics`.
    """
    options = options or AnalysisOptions()
    sets = [(r.ramps, r.sites) for r in results]
    return fit_kinetics(sets, distance_cut=options.distance_cut)


def _attempt(missing: dict[str, str], part: str, compute):
    """Return a part of the analysis, or None with the reason noted."""
    try:
        return compute()
    except ValueError as exc:
        missing[part] = str(exc)
        return None


def _with_surroundings(
    sites: xr.Dataset, distance: np.ndarray | None, particles: SiteParticles | None
) -> xr.Dataset:
    if distance is not None:
        sites = sites.assign(
            boundary_distance=(
                "site",
                distance,
                {"units": "m", "long_name": "to nearest grain boundary, negative on grains"},
            )
        )
    if particles is None:
        return sites
    flags = {"flag_values": np.arange(len(FLAGS), dtype=np.int8), "flag_meanings": " ".join(FLAGS)}
    columns = {
        "topography_volume": (particles.volume, "m3", "particle's volume in the topography"),
        "topography_volume_uncertainty": (particles.uncertainty, "m3", "its uncertainty"),
        "topography_height": (particles.height, "m", "particle's height in the topography"),
        "topography_flag": (particles.flag.astype(np.int8), "1", "use of the topographic volume"),
    }
    return sites.assign(
        {
            name: (
                "site",
                values,
                {"units": unit, "long_name": text, **(flags if name.endswith("flag") else {})},
            )
            for name, (values, unit, text) in columns.items()
        }
    )


def _transference(
    ramps: RampSet,
    sites: xr.Dataset,
    particles: SiteParticles | None,
    options: AnalysisOptions,
    missing: Mapping[str, str],
) -> Transference:
    if particles is None:
        raise ValueError(missing.get("change", "there is no pair of topographies"))
    use = (
        (sites["topography_flag"].values == 0)
        & sites["nucleated"].values.astype(bool)
        & (sites["topography_volume"].values > 0)
    )
    if np.count_nonzero(use) < 3:
        raise ValueError("fewer than three particles stand apart from each other in the topography")
    volume = sites["topography_volume"].values[use]
    error = sites["topography_volume_uncertainty"].values[use]
    electrons = electrons_from_charge(sites["charge"].values[use])
    electrons = electrons / ramps.material.electrons
    atoms, sigma = (atoms_from_volume(v, ramps.material.molar_volume) for v in (volume, error))
    fit = transference_fit(atoms, electrons, fixed_intercept=0.0)
    statistical = (
        min(fit.slope_interval[0], fit.bootstrap_interval[0]),
        max(fit.slope_interval[1], fit.bootstrap_interval[1]),
    )
    tip = _tip_share(options, particles, use, volume)
    systematic = options.calibration.of_slope(tip) * abs(fit.slope)
    return Transference(
        electrons=electrons,
        atoms=atoms,
        atoms_uncertainty=sigma,
        slope=fit.slope,
        slope_uncertainty=float(np.hypot(fit.slope_sd, systematic)),
        interval=widened(statistical, fit.slope, systematic),
        volume=volume,
        statistical=statistical,
        systematic=systematic,
        tip_corrected=options.tip is not None,
    )


def _tip_share(
    options: AnalysisOptions, particles: SiteParticles, use: np.ndarray, volume: np.ndarray
) -> float:
    """Relative change of the volumes when apex and angle of the tip move by their uncertainty."""
    tip, known = options.tip, options.calibration
    if tip is None:
        return 0.0
    moved = [replace(tip, radius=tip.radius * (1.0 + known.tip_radius))]
    if tip.half_angle is not None:
        moved.append(replace(tip, half_angle=tip.half_angle * (1.0 + known.tip_angle)))
    apparent, height = particles.volume_apparent[use], particles.height[use]
    shifts = [np.median(other.corrected(apparent, height) / volume - 1.0) for other in moved]
    return float(np.linalg.norm(shifts))


def _boundary(sites: xr.Dataset, missing: Mapping[str, str]) -> BoundaryProfile:
    if "boundary_distance" not in sites:
        raise ValueError(missing.get("grains", "no grains were segmented"))
    distance = sites["boundary_distance"].values
    if np.count_nonzero(np.isfinite(distance) & (distance >= 0)) < PROFILE_BINS:
        raise ValueError("too few sites lie in the matrix beside grains")
    matrix = np.where(np.isfinite(distance) & (distance >= 0), distance, np.nan)
    found = onset_profile(
        matrix, sites["onset_bias"].values, sites["nucleated"].values, bins=PROFILE_BINS
    )
    filled = np.isfinite(found.median)
    if not filled.any():
        raise ValueError("no site beside the grains nucleated")
    return BoundaryProfile(
        center=found.distance[filled],
        value=found.median[filled],
        low=found.low[filled],
        high=found.high[filled],
        statistic="median",
    )
