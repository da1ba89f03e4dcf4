"""Which figures a result, or several together, can give; and why the others are absent."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from nucleation_bluesky.report.figures import curves, maps, nucleation_bias, overshoot, volumes
from nucleation_bluesky.report.figures.map_panels import QUANTITIES, site_values
from nucleation_bluesky.report.plate import Plate, need
from nucleation_bluesky.storage.analyse_summary import tripped_overshoot
from nucleation_bluesky.storage.analysis_result import AnalysisResult


def representative_site(result: AnalysisResult) -> int:
    """Return a nucleated site whose onset is closest to the median.

    Raises
    ------
    ValueError
        If no site nucleated.
    """
    onset = result.sites["onset_bias"].values
    if not np.isfinite(onset).any():
        raise ValueError("no site nucleated")
    return int(np.nanargmin(np.abs(onset - np.nanmedian(onset))))


def _iv(result: AnalysisResult) -> Figure:
    site, ramps, sites = representative_site(result), result.ramps, result.sites
    window = slice(int(ramps.offsets[site]), int(ramps.offsets[site + 1]))
    name = f"site {site}"
    if ramps.row is not None and ramps.col is not None:
        name = f"site at row {ramps.row[site]}, column {ramps.col[site]}"
    return curves.fig_iv_zv(
        ramps.site_bias(site),
        ramps.current[window],
        ramps.height[window],
        onset=float(sites["onset_bias"][site]),
        onset_uncertainty=float(sites["onset_bias_uncertainty"][site]),
        stop=float(sites["stop_bias"][site]),
        current_compliance=ramps.current_compliance,
        height_compliance=ramps.height_compliance,
        n_post=int(ramps.n_post[site]),
        title=name,
    )


def _missing(result: AnalysisResult, part: str, fallback: str) -> str:
    return result.missing.get(part, fallback)


def _map_plates(result: AnalysisResult) -> list[Plate]:
    height_mode = result.ramps.mode == "height"
    names = (
        ["stop_bias", "stop_current", "height_change"]
        if height_mode
        else ["stop_current", "onset_bias", "height_change"]
    )
    singles = ["onset_bias", "stop_bias", "stop_current", "height_change"]
    panels = Plate(
        "maps",
        "Nucleation maps",
        "Topography and site maps. Colour scales span the 1st to 99th percentile; pointed ends of "
        "a colour bar tell that values lie beyond. Grey sites did not nucleate.",
        "Fig. 5a–d" if height_mode else "Fig. 4a–e",
        lambda: maps.fig_map_panels(
            result.sites,
            names,
            before=result.before,
            after=None if height_mode else result.after,
            grains=result.grains,
        ),
    )
    return [
        panels,
        *(
            Plate(
                f"map_{name}",
                QUANTITIES[name].title,
                "The same map alone, for slides.",
                "",
                lambda name=name: maps.fig_site_map(
                    result.sites, name, image=result.before, grains=result.grains
                ),
            )
            for name in singles
        ),
        Plate(
            "classification",
            "What the analysis says of every site",
            "A false trip is a ramp that a spike ended without growth; it is not counted as "
            "nucleation.",
            "",
            lambda: maps.fig_classification(
                result.sites, image=result.before, grains=result.grains
            ),
        ),
    ]


def site_plates(result: AnalysisResult) -> list[Plate]:
    """Return the figures of one data set."""
    normal = result.ramps.mode == "none"
    no_image = _missing(result, "topography", "no topography was taken")
    plates = []
    if normal:
        plates.append(
            Plate(
                "topography_after",
                "Particles left by normal sweeps",
                "Topography after sweeps without compliance, levelled.",
                "Fig. 1a",
                lambda: maps.fig_topography(
                    need(result.after, no_image), title="After normal sweeps", letter="a"
                ),
            )
        )
    plates += [
        Plate(
            "topography",
            "Topography before and after",
            "Levelled height images; the image after is registered to the one before. Dots mark "
            "the sites, lines the grains found in the image before.",
            "Fig. 3a,b",
            lambda: maps.fig_before_after(
                result.before, result.after, grains=result.grains, sites=result.sites
            ),
        ),
        Plate(
            "iv_zv",
            "Current and height of one site",
            "The site whose onset is closest to the median. The onset is where current and height "
            "leave their background; the cut-off is the last sample before the abort. Insets show "
            "the last stretch.",
            "Fig. 3c,d",
            lambda: _iv(result),
        ),
        *_map_plates(result),
        Plate(
            "boundary",
            "Nucleation bias near grain boundaries",
            "Every nucleated site against its distance to the nearest boundary of a grain found in "
            "the topography; line and band: binned "
            f"{result.boundary.statistic if result.boundary else 'mean'} with its 95 % confidence "
            "interval.",
            "maps of Fig. 4d, 5b",
            lambda: _boundary(result),
        ),
        Plate(
            "overshoot",
            "How far compliance was exceeded",
            "Largest value recorded in each site that compliance ended, relative to the limit.",
            "text on Fig. 4c and 5d",
            lambda: overshoot.fig_overshoot(
                *(tripped_overshoot(result, c) for c in ("current", "height"))
            ),
        ),
        Plate(
            "split",
            "Parts of the nucleation bias",
            "Equilibrium potential (input), overpotential and ohmic drop of the mean nucleation "
            "bias.",
            "discussion of V_nuc",
            lambda: _split(result),
        ),
        Plate(
            "kinetics",
            "Rate dependence of nucleation",
            "Survival of sites during the sweep (Kaplan–Meier, 95 % band) and the median onset "
            "against sweep rate; dashed: fit of the classical nucleation rate with a log-normal "
            "spread of B over sites.",
            "",
            lambda: _kinetics(result),
        ),
    ]
    return plates


def _boundary(result: AnalysisResult) -> Figure:
    reason = _missing(result, "boundary", "no grains were segmented")
    if "boundary_distance" not in result.sites:
        raise ValueError(reason)
    profile = need(result.boundary, reason)
    return nucleation_bias.fig_boundary(
        result.sites["boundary_distance"].values,
        result.sites["onset_bias"].values,
        bin_center=profile.center,
        bin_value=profile.value,
        bin_low=profile.low,
        bin_high=profile.high,
        statistic=profile.statistic,
    )


def _split(result: AnalysisResult) -> Figure:
    split = need(result.split, _missing(result, "split", "no equilibrium potential was given"))
    return nucleation_bias.fig_split(split.parts, total=split.total)


def _kinetics(result: AnalysisResult) -> Figure:
    fit = need(result.kinetics, _missing(result, "kinetics", "only one sweep rate"))
    half = (fit.b_interval[1] - fit.b_interval[0]) / 2
    caption = (
        f"B = {fit.b:.2f} ± {half:.2f} V² (95 %)\nA = {fit.a:.3g} s⁻¹\n"
        f"ln-sd of B {fit.spread:.2f}, n = {fit.n_sites}"
    )
    return nucleation_bias.fig_kinetics(fit.curves, caption=caption)


def joint_plates(results: Sequence[AnalysisResult]) -> list[Plate]:
    """Return the figures that compare data sets."""
    plates = [
        Plate(
            "transference",
            "Atoms plated against electrons transferred",
            "Volume of particles in the topography (after minus before) as lithium atoms, against "
            "the charge passed; normal sweeps, because the tip's shape inflates small particles.",
            "Fig. 1b",
            lambda: _transference(results),
        ),
        Plate(
            "volumes",
            "Particle volume by kind of sweep",
            "Volume from charge for compliance sweeps, from topography for normal sweeps where an "
            "image exists.",
            "Fig. 1d,e",
            lambda: volumes.fig_volume_histograms(volume_groups(results)),
        ),
    ]
    rates = {
        round(1 / r.ramps.sample_period) for r in results if r.ramps.mode != "none" and _one_rate(r)
    }
    if len(rates) > 1:
        plates.append(
            Plate(
                "overshoot_rate",
                "Overshoot against sample rate",
                "Largest recorded value relative to the limit, by sample rate.",
                "",
                lambda: overshoot.fig_overshoot_rates(overshoot_groups(results)),
            )
        )
    return plates


def _transference(results: Sequence[AnalysisResult]) -> Figure:
    for result in sorted(results, key=lambda r: r.ramps.mode != "none"):
        if result.transference is not None:
            t = result.transference
            return volumes.fig_transference(
                t.electrons,
                t.atoms,
                slope=t.slope,
                interval=t.interval,
                atoms_uncertainty=t.atoms_uncertainty,
            )
    raise ValueError(_missing(results[0], "transference", "no normal sweeps with topography"))


def volume_groups(results: Sequence[AnalysisResult]) -> dict[str, np.ndarray]:
    """Particle volumes (m3) of the first data set of each kind of sweep, normal sweeps first."""
    groups: dict[str, np.ndarray] = {}
    modes: set[str] = set()
    for result in sorted(results, key=lambda r: r.ramps.mode != "none"):
        normal = result.ramps.mode == "none"
        if result.ramps.mode in modes or not _one_rate(result):
            continue
        modes.add(result.ramps.mode)
        if normal and result.transference is not None:
            volumes = result.transference.volume
        else:
            volumes = site_values(result.sites, "particle_volume")
        label = result.label[:1].upper() + result.label[1:]
        groups[label] = volumes
    return groups


def _one_rate(result: AnalysisResult) -> bool:
    return len(np.unique(result.ramps.ramp_rate)) <= 1


def overshoot_groups(
    results: Sequence[AnalysisResult],
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Sample rate (Hz), median and 99th percentile of the overshoot, by channel."""
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for result in filter(_one_rate, results):
        for channel in ("current", "height"):
            values = tripped_overshoot(result, channel)
            if values is None or not np.isfinite(values).any():
                continue
            median, high = np.nanpercentile(values, [50, 99])
            rows.setdefault(channel, []).append(
                (1 / result.ramps.sample_period, float(median), float(high))
            )
    return {k: tuple(np.array(v).T) for k, v in rows.items()}  # type: ignore[misc]
