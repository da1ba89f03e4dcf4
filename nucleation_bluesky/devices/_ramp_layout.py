"""Data keys of a bias ramp."""

import math
from typing import Any

import numpy as np

from nucleation_bluesky.contract.documents import PRIMARY_ROLES
from nucleation_bluesky.contract.files import WAVEFORM_CHANNELS
from nucleation_bluesky.contract.ramp import MAX_SEGMENTS, Compliance, RampSpec, Window
from nucleation_bluesky.devices._layout import ReadingLayout, SettingsLayout

EXTERNAL_ROLES = frozenset({*WAVEFORM_CHANNELS, "sample_time"})  # in files, never in events
RAMP_LAYOUT = ReadingLayout(
    roles={role: entry for role, entry in PRIMARY_ROLES.items() if role not in EXTERNAL_ROLES},
    integers=frozenset(
        {
            "site", "row", "col", "termination", "n_samples", "n_post", "trip_index",
            "trip_segment", "height_feedback",
        }
    ),
    tables={"vertices": MAX_SEGMENTS, "rates": MAX_SEGMENTS},
)  # fmt: skip
RAMP_SETTINGS = SettingsLayout(
    {
        "compliance_current_low": ("number", "A"),
        "compliance_current_high": ("number", "A"),
        "compliance_height_low": ("number", "m"),
        "compliance_height_high": ("number", "m"),
        "compliance_blanking": ("number", "s"),
        "compliance_confirm_samples": ("integer", ""),
        "compliance_subtract_background": ("integer", ""),
        "compliance_background_time": ("number", "s"),
        "after_trip": ("integer", ""),
        "after_time": ("number", "s"),
        "after_samples": ("integer", ""),
        "safe_policy": ("integer", ""),
        "safe_bias": ("number", "V"),
        "clock_utc_offset": ("number", "s"),
        "clock_uncertainty": ("number", "s"),
    }
)


def padded(values: tuple[float, ...]) -> np.ndarray:
    """Segment values as a fixed array, shape (MAX_SEGMENTS,), NaN beyond."""
    table = np.full(MAX_SEGMENTS, np.nan)
    table[: len(values)] = values
    return table


def ramp_values(spec: RampSpec) -> dict[str, Any]:
    """Values of a reading that follow from the ramp."""
    return {
        "vertices": padded(spec.vertices),
        "rates": padded(spec.rates),
        "ramp_start": spec.start,
        "sample_rate": spec.sample_rate,
    }


def compliance_values(spec: RampSpec | None, compliance: Compliance) -> dict[str, float]:
    """Values of the configuration; NaN where a window is off."""
    return {
        **_window("compliance_current", compliance.current),
        **_window("compliance_height", compliance.height),
        "compliance_blanking": compliance.blanking,
        "compliance_confirm_samples": compliance.confirm_samples,
        "compliance_subtract_background": int(compliance.subtract_background),
        "compliance_background_time": compliance.background_time,
        "after_trip": int(spec.after_trip) if spec else 0,
        "after_time": spec.after_time if spec else 0.0,
        "after_samples": spec.n_post if spec else 0,
    }


def _window(prefix: str, window: Window | None) -> dict[str, float]:
    low, high = (window.low, window.high) if window else (math.nan, math.nan)
    return {f"{prefix}_low": low, f"{prefix}_high": high}
