"""Numbers and descriptions as words of the report."""

import math
from collections.abc import Mapping

from nucleation_bluesky.report.figures.style import PREFIXES
from nucleation_bluesky.storage.analysis_result import AnalysisResult, Headline
from nucleation_bluesky.storage.seccm_result import SeccmResult

NO_PREFIX = frozenset(("1", "V", "V2", "s-1", "1/s", "V/decade", "%"))
PRETTY = {"V2": "V²", "m3": "m³", "1": "", "1/s": "s⁻¹", "s-1": "s⁻¹", "ohm": "Ω"}


def _minus(text: str) -> str:
    return text.replace("-", "−")


def rounded(value: float, uncertainty: float | None = None, digits: int = 4) -> str:
    """Write a value to the precision that its uncertainty (two digits) deserves."""
    if not math.isfinite(value):
        return "not determined"
    if uncertainty is None or not math.isfinite(uncertainty) or uncertainty <= 0:
        return _minus(f"{value:.{digits}g}")
    places = 1 - math.floor(math.log10(uncertainty))
    if abs(places) > 6:
        return _minus(f"{value:.{digits}g} ± {uncertainty:.2g}")
    step = max(places, 0)
    return _minus(f"{round(value, places):.{step}f} ± {round(uncertainty, places):.{step}f}")


def _cube(value: float) -> tuple[float, str]:
    return (1e18, "µm³") if abs(value) > 1e-20 else (1e27, "nm³")


def _square(value: float) -> tuple[float, str]:
    return (1e12, "µm²") if abs(value) > 1e-15 else (1e18, "nm²")


def scaled(value: float, unit: str) -> tuple[float, str]:
    """Return the factor and unit in which a value reads well."""
    if unit == "m3":
        return _cube(value)
    if unit == "m2":  # a prefix would be squared
        return _square(value)
    if unit in NO_PREFIX or not math.isfinite(value) or value == 0:
        return 1.0, PRETTY.get(unit, unit)
    exponent = int(3 * math.floor(math.log10(abs(value)) / 3 + 1e-9))
    exponent = min(max(exponent, min(PREFIXES)), max(PREFIXES))
    return 10.0**-exponent, PREFIXES[exponent] + PRETTY.get(unit, unit)


def quantity(value: float | None, unit: str) -> str:
    """Write a value with a prefixed unit, for instance ``20 nm``."""
    if value is None or not math.isfinite(value):
        return "not stated"
    factor, name = scaled(value, unit)
    return f"{rounded(value * factor)} {name}".strip()


def headline(entry: Headline) -> str:
    """Write a headline figure with its uncertainty or interval."""
    factor, unit = scaled(entry.value, entry.unit)
    error = None if entry.uncertainty is None else entry.uncertainty * factor
    text = rounded(entry.value * factor, error)
    if entry.interval is not None:
        low, high = (rounded(v * factor, digits=4) for v in entry.interval)
        text += f" (95 % CI {low} to {high})"
    return f"{text} {unit}".strip()


def measurement(result: AnalysisResult | SeccmResult) -> list[tuple[str, str]]:
    """Describe what was measured and how, row by row."""
    return _landings(result) if isinstance(result, SeccmResult) else _ramps(result)


def _landings(result: SeccmResult) -> list[tuple[str, str]]:
    source = result.source
    offset = source.reference_offset
    landings = source.landings
    films = [one.movie for one in landings if one.movie is not None]
    rows = [
        ("Sample", str(source.attrs.get("sample") or "not stated")),
        ("Landings", str(len(landings))),
        ("Technique", ", ".join(sorted({one.technique for one in landings}))),
        ("Reference scale", source.reference_scale or "not stated: raw potentials"),
    ]
    if offset is not None:
        rows.append(
            ("Offset of the scale", f"{rounded(float(offset['offset']))} V added to raw volts")
        )
    periods = [one.trace.period for one in landings if len(one.trace) > 1]
    if periods:
        rows.append(("Sample period", quantity(sorted(periods)[len(periods) // 2], "s")))
    if films:
        frames, rows_, cols = films[0].frames.shape
        size = f"{cols} x {rows_} px of {quantity(films[0].pixel_size, 'm')}"
        rows.append(("Films", f"{len(films)}; the first: {frames} frames, {size}"))
    for name, text in (("electrolyte", "Electrolyte"), ("pipette", "Pipette")):
        if source.attrs.get(name):
            rows.append((text, _entries(source.attrs[name])))
    return rows


def _entries(described: object) -> str:
    """Write what metadata say of a thing, which may be one word or several entries (SI)."""
    if not isinstance(described, Mapping):
        return str(described)
    parts = (f"{str(name).replace('_', ' ')} {value}" for name, value in described.items())
    return ", ".join(parts)


def _ramps(result: AnalysisResult) -> list[tuple[str, str]]:
    ramps = result.ramps
    start, stop = float(ramps.bias_start[0]), float(ramps.bias_stop[0])
    attrs = ramps.attrs
    scale = str(attrs.get("reference_scale") or "not stated")
    rates = sorted({float(f"{r:.4g}") for r in ramps.ramp_rate if math.isfinite(r)})
    rows = [
        ("Sample", str(attrs.get("sample") or "not stated")),
        ("Sites", _sites(result)),
        ("Ramp", f"{rounded(start)} V to {rounded(stop)} V"),
        ("Sweep rate", ", ".join(quantity(r, "V/s") for r in rates) or "recorded per sample"),
        ("Sample rate", quantity(1 / ramps.sample_period, "Hz")),
        ("Bias applied to", str(attrs.get("bias_applied_to") or "not stated")),
        ("Reference scale", scale),
        ("Compliance", _compliance(result)),
        (
            "Deposit",
            f"{ramps.material.name}, molar volume {ramps.material.molar_volume * 1e6:.4g} "
            f"cm³/mol, {ramps.material.electrons} electron(s) per atom, Faradaic yield "
            f"{ramps.material.faradaic_yield:g}",
        ),
    ]
    if ramps.equilibrium_potential is not None:
        rows.append(
            (
                "Equilibrium potential",
                f"{rounded(ramps.equilibrium_potential)} V on {scale} (input)",
            )
        )
    instrument = ramps.instrument
    for name, value, unit in (
        ("Current bandwidth", instrument.current_bandwidth, "Hz"),
        ("Height bandwidth", instrument.height_bandwidth, "Hz"),
        ("Abort latency, upper bound", instrument.abort_latency, "s"),
    ):
        if value is not None:
            rows.append((name, quantity(value, unit)))
    return rows


def _sites(result: AnalysisResult) -> str:
    ramps = result.ramps
    if ramps.grid_shape is None:
        return f"{ramps.n_sites}, not on a grid"
    rows, cols = ramps.grid_shape
    pitch = "" if ramps.pitch is None else f", pitch {quantity(ramps.pitch, 'm')}"
    return f"{ramps.n_sites} on a grid of {rows} × {cols}{pitch}"


def _compliance(result: AnalysisResult) -> str:
    ramps = result.ramps
    parts = []
    if ramps.mode in ("current", "both"):
        parts.append(f"current {quantity(ramps.current_compliance, 'A')}")
    if ramps.mode in ("height", "both"):
        parts.append(f"height change {quantity(ramps.height_compliance, 'm')}")
    return " or ".join(parts) if parts else "none (normal sweep)"
