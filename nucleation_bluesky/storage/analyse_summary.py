"""Headline figures of a result."""

import numpy as np
import xarray as xr

from nucleation_bluesky.analysis.boundary import boundary_contrast, fraction_on_grains
from nucleation_bluesky.analysis.statistics import (
    overshoot_statistics,
    summarise,
    volume_histogram,
    wilson_interval,
)
from nucleation_bluesky.storage.analysis_result import AnalysisResult, Headline, Transference

NEAR, FAR = 20e-9, 100e-9  # m, what the paper compares: at the boundary and well away from it


def classified(sites: xr.Dataset, meaning: str) -> np.ndarray:
    """Sites of one class, shape (n,), bool."""
    variable = sites["classification"]
    names = str(variable.attrs["flag_meanings"]).split()
    flags = np.atleast_1d(variable.attrs["flag_values"])
    return variable.values == flags[names.index(meaning)]


def tripped_overshoot(result: AnalysisResult, channel: str) -> np.ndarray | None:
    """Overshoot ratios of the nucleated sites that this channel's compliance ended.

    None where that compliance was not enforced. Where the controller's word is not recorded, or
    does not name a channel, a site counts that reached the limit.
    """
    sites, ramps = result.sites, result.ramps
    if ramps.mode not in (channel, "both"):
        return None
    ratio = sites[f"{channel}_overshoot"].values.astype(float)
    tripped = ratio >= 1
    named = [v for v, text in ramps.termination_labels.items() if channel in text]
    if ramps.termination is not None and np.isin(ramps.termination, named).any():
        tripped = np.isin(ramps.termination, named)
    return np.where(tripped & sites["nucleated"].values.astype(bool), ratio, np.nan)


def headlines(result: AnalysisResult) -> tuple[Headline, ...]:
    """Return the figures for the top of a report, each with its uncertainty."""
    return (
        *_counts(result),
        *_bias(result),
        *_microstructure(result),
        *_overshoot(result),
        *_particles(result),
        *_kinetics(result),
    )


def _share(name: str, hits: int, total: int, note: str) -> Headline:
    return Headline(
        name,
        hits / total if total else np.nan,
        "1",
        interval=wilson_interval(hits, total),
        note=note,
    )


def _counts(result: AnalysisResult) -> list[Headline]:
    sites = result.sites
    total = sites.sizes["site"]
    hits = int(np.count_nonzero(sites["nucleated"].values))
    found = [_share("Share of sites that nucleated", hits, total, f"{hits} of {total} sites")]
    for meaning, name in (("false_trip", "False trips"), ("undetermined", "Undetermined")):
        count = int(np.count_nonzero(classified(sites, meaning)))
        if count:
            found.append(_share(f"{name}, share of sites", count, total, f"{count} sites"))
    return found


def _bias(result: AnalysisResult) -> list[Headline]:
    found = []
    sites = result.sites
    nucleated = sites["nucleated"].values.astype(bool)
    for name, values, text in (
        ("onset_bias", sites["onset_bias"].values, "Nucleation bias (onset)"),
        ("stop_bias", np.where(nucleated, sites["stop_bias"].values, np.nan), "Bias at cut-off"),
    ):
        if name == "stop_bias" and result.ramps.mode == "none":
            continue
        summary = summarise(values)
        if summary.n:
            found.append(
                Headline(
                    text,
                    summary.mean,
                    "V",
                    uncertainty=summary.sd,
                    note=f"mean ± standard deviation over {summary.n} sites",
                )
            )
    error = sites["onset_bias_uncertainty"].values
    if np.isfinite(error).any():
        found.append(
            Headline(
                "Uncertainty of one onset",
                float(np.nanmedian(error)),
                "V",
                note="median standard uncertainty",
            )
        )
    if result.split is not None:
        for name, (value, sd) in result.split.parts.items():
            if name != "Equilibrium":
                found.append(
                    Headline(
                        name,
                        value,
                        "V",
                        uncertainty=sd,
                        note=f"against E_eq = {result.split.parts['Equilibrium'][0]:.3f} V",
                    )
                )
    if result.split is not None and result.split.resistance is not None:
        found.append(
            Headline(
                "Series resistance", result.split.resistance, "ohm", note="used for the IR drop"
            )
        )
    return found


def _microstructure(result: AnalysisResult) -> list[Headline]:
    sites = result.sites
    if "boundary_distance" not in sites:
        return []
    distance = sites["boundary_distance"].values
    nucleated = sites["nucleated"].values.astype(bool)
    pixel = result.before.pixel_size if result.before is not None else 0.0
    on_grain = fraction_on_grains(distance, nucleated, margin=pixel)
    found = []
    if on_grain["n"]:
        found.append(
            Headline(
                "Share of sites on grains that nucleated",
                on_grain["fraction"],
                "1",
                interval=(on_grain["low"], on_grain["high"]),
                note=f"{on_grain['nucleated']:.0f} of {on_grain['n']:.0f} sites more than a pixel "
                "inside a grain",
            )
        )
    try:
        contrast = boundary_contrast(distance, sites["onset_bias"].values, near=NEAR, far=FAR)
    except ValueError:
        return found
    found.append(
        Headline(
            "Nucleation earlier at grain boundaries by",
            contrast.difference,
            "V",
            interval=contrast.interval,
            note=f"medians beyond {FAR * 1e9:.0f} nm (n = {contrast.n_far}) against within "
            f"{NEAR * 1e9:.0f} nm (n = {contrast.n_near})",
        )
    )
    return found


def _overshoot(result: AnalysisResult) -> list[Headline]:
    found = []
    for channel in ("current", "height"):
        ratio = tripped_overshoot(result, channel)
        if ratio is None:
            continue
        stats = overshoot_statistics(ratio)
        if stats["n"]:
            name = f"Largest {channel} over compliance"
            found += [
                Headline(
                    f"{name}, median",
                    stats["median"],
                    "1",
                    interval=(stats["median_low"], stats["median_high"]),
                    note=f"{stats['n']:.0f} sites ended by {channel} compliance",
                ),
                Headline(
                    f"{name}, 99th percentile",
                    stats["p99"],
                    "1",
                    note=f"largest {stats['max']:.3g}",
                ),
            ]
    return found


def _particles(result: AnalysisResult) -> list[Headline]:
    found = []
    volume = np.where(
        result.sites["nucleated"].values.astype(bool),
        result.sites["particle_volume"].values,
        np.nan,
    )
    if np.any(volume > 0):
        stats = volume_histogram(volume)
        found += [
            Headline(
                "Particle volume from charge, median",
                stats.median,
                "m3",
                note=f"hemisphere of {stats.median_diameter * 1e9:.3g} nm diameter; "
                f"Faradaic yield {result.ramps.material.faradaic_yield:g}",
            ),
            Headline(
                "Spread of ln(volume)",
                stats.log_width,
                "1",
                interval=stats.log_width_interval,
                note=f"{stats.n} particles",
            ),
        ]
    if result.transference is not None:
        t = result.transference
        found.append(
            Headline(
                "Transference number, N(Li) / N(e⁻)",
                t.slope,
                "1",
                uncertainty=t.slope_uncertainty,
                interval=t.interval,
                note=_transference_note(t),
            )
        )
    return found


def _transference_note(t: Transference) -> str:
    """Say what the number and its interval contain."""
    parts = [f"{len(t.atoms)} particles that stand apart in the topography"]
    if t.statistical is not None:
        low, high = t.statistical
        parts.append(
            f"interval from scatter ({low:.3f} to {high:.3f}) and scales "
            f"(standard uncertainty {t.systematic:.3f})"
        )
    if not t.tip_corrected:
        parts.append("not corrected for the tip's shape: an upper bound")
    parts.append("times the Faradaic yield of plating")
    return "; ".join(parts)


def _kinetics(result: AnalysisResult) -> list[Headline]:
    fit = result.kinetics
    if fit is None:
        return []
    cut = "" if fit.distance_cut is None else f", > {fit.distance_cut * 1e9:.0f} nm from grains"
    note = f"{fit.n_sites} sites{cut}; hazard A exp(−B/η²), log-normal B"
    return [
        Headline(
            "Kinetics: B (median over sites)", fit.b, "V2", interval=fit.b_interval, note=note
        ),
        Headline("Kinetics: A", fit.a, "1/s", interval=fit.a_interval, note=note),
        Headline("Kinetics: spread of ln B", fit.spread, "1", note="log-normal between sites"),
    ]
