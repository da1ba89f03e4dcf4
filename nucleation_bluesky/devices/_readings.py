"""Data keys of one exposure: the primary roles, always with their declared type."""

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from nucleation_bluesky.contract.documents import PRIMARY_ROLES
from nucleation_bluesky.contract.files import WAVEFORM_CHANNELS
from nucleation_bluesky.contract.ramp import MAX_SEGMENTS, Compliance, RampSpec, Window

_INTEGERS = frozenset(
    {
        "site", "row", "col", "termination", "n_samples", "n_post", "trip_index", "trip_segment",
        "height_feedback",
    }
)  # fmt: skip
EXTERNAL_ROLES = frozenset({*WAVEFORM_CHANNELS, "sample_time"})  # in files, never in events
_TABLES = frozenset({"vertices", "rates"})
_SETTINGS: dict[str, tuple[str, str]] = {  # configuration key: (type, unit)
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


def describe_exposure(name: str, source: str) -> dict[str, dict]:
    """Return the data keys of an exposure, waveforms apart: ``<name>_<role>``."""
    keys: dict[str, dict] = {}
    for role, (unit, _) in PRIMARY_ROLES.items():
        if role in EXTERNAL_ROLES:
            continue
        key: dict[str, Any] = {"source": f"{source}{role}", "dtype": "number", "shape": []}
        if role == "exposure":
            key["dtype"] = "string"
        elif role in _TABLES:
            key |= {"dtype": "array", "shape": [MAX_SEGMENTS], "dtype_numpy": "<f8"}
        elif role in _INTEGERS:
            key |= {"dtype": "integer", "dtype_numpy": "<i8"}
        else:
            key["dtype_numpy"] = "<f8"
        if unit:
            key["units"] = unit
        keys[f"{name}_{role}"] = key
    return keys


def describe_waveforms(
    name: str, source: str, channels: Mapping[str, str], max_samples: int
) -> dict[str, dict]:
    """Return the data keys of external waveforms; ``channels`` maps name to unit."""
    return {
        f"{name}_{channel}": {
            "source": f"{source}{channel}",
            "dtype": "array",
            "shape": [1, max_samples],
            "dtype_numpy": "<f4",
            "external": "STREAM:",
            "units": unit,
        }
        for channel, unit in channels.items()
    }


def padded(values: tuple[float, ...]) -> np.ndarray:
    """Segment values as a fixed array, shape (16,), NaN beyond."""
    table = np.full(MAX_SEGMENTS, np.nan)
    table[: len(values)] = values
    return table


def exposure_reading(
    name: str, values: Mapping[str, Any], spec: RampSpec, timestamp: float | None = None
) -> dict[str, dict]:
    """Return the reading of one exposure; ``values`` goes before ``spec``."""
    when = time.time() if timestamp is None else timestamp
    full = {
        "vertices": padded(spec.vertices),
        "rates": padded(spec.rates),
        "ramp_start": spec.start,
        "sample_rate": spec.sample_rate,
        **values,
    }
    reading = {}
    for role in PRIMARY_ROLES:
        if role in EXTERNAL_ROLES:
            continue
        value = full[role]
        if role == "exposure":
            value = str(value)
        elif role in _INTEGERS:
            value = int(value)
        elif role not in _TABLES:
            value = float(value)
        reading[f"{name}_{role}"] = {"value": value, "timestamp": when}
    return reading


def describe_settings(name: str, source: str) -> dict[str, dict]:
    """Return the data keys of the configuration."""
    keys = {}
    for setting, (dtype, unit) in _SETTINGS.items():
        key: dict[str, Any] = {"source": f"{source}{setting}", "dtype": dtype, "shape": []}
        key["dtype_numpy"] = "<i8" if dtype == "integer" else "<f8"
        keys[f"{name}_{setting}"] = key | ({"units": unit} if unit else {})
    return keys


def settings_reading(
    name: str, spec: RampSpec | None, compliance: Compliance | None, others: Mapping[str, float]
) -> dict[str, dict]:
    """Return the reading of the configuration; NaN where a window is off."""
    window = compliance or Compliance()
    values: dict[str, float] = {
        **_window("compliance_current", window.current),
        **_window("compliance_height", window.height),
        "compliance_blanking": window.blanking,
        "compliance_confirm_samples": window.confirm_samples,
        "compliance_subtract_background": int(window.subtract_background),
        "compliance_background_time": window.background_time,
        "after_trip": int(spec.after_trip) if spec else 0,
        "after_time": spec.after_time if spec else 0.0,
        "after_samples": spec.n_post if spec else 0,
        **others,
    }
    now = time.time()
    return {
        f"{name}_{setting}": {
            "value": int(values[setting]) if dtype == "integer" else float(values[setting]),
            "timestamp": now,
        }
        for setting, (dtype, _) in _SETTINGS.items()
    }


def _window(prefix: str, window: Window | None) -> dict[str, float]:
    low, high = (window.low, window.high) if window else (math.nan, math.nan)
    return {f"{prefix}_low": low, f"{prefix}_high": high}
