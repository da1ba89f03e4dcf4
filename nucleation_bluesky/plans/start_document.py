"""Start documents: our own block, and the keys that bluesky's stock tools look for."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nucleation_bluesky.contract.documents import SCHEMA_VERSION, START_KEY
from nucleation_bluesky.contract.ramp import Compliance, RampSpec
from nucleation_bluesky.plans.parameters import compliance_metadata, ramp_metadata
from nucleation_bluesky.plans.sites import Sites


def grid_metadata(sites: Sites) -> dict[str, Any]:
    """Entry ``grid``; empty where the sites are no lattice."""
    if sites.shape is None or sites.pitch is None or sites.origin is None:
        return {}
    return {
        "shape": list(sites.shape),
        "pitch": sites.pitch,
        "origin": list(sites.origin),
        "angle": sites.angle,
        "lattice": sites.lattice,
    }


def stock_metadata(sites: Sites, *, x_key: str, y_key: str) -> dict[str, Any]:
    """Keys that BestEffortCallback and LiveGrid read.

    LiveGrid places events by their number, so it is offered only where the order of visit is a
    complete, unrotated raster or snake; else LiveScatter places them by position.
    """
    hints: dict[str, Any] = {"dimensions": [([y_key], "primary"), ([x_key], "primary")]}
    md: dict[str, Any] = {
        "num_points": len(sites),
        "num_intervals": len(sites) - 1,
        "plan_pattern": sites.order,
        "hints": hints,
    }
    complete = sites.shape is not None and len(sites) == sites.shape[0] * sites.shape[1]
    if (
        complete
        and sites.lattice == "square"
        and sites.order in ("raster", "snake")
        and sites.angle == 0
        and sites.shape is not None
        and min(sites.shape) > 1
    ):
        hints["gridding"] = "rectilinear"
        md["shape"] = list(sites.shape)
        md["extents"] = [list(extent) for extent in sites.extents]
        md["snaking"] = [False, sites.order == "snake"]
    return md


def nucleation_metadata(
    context: Mapping[str, Any],
    *,
    technique: str,
    roles: Mapping[str, str],
    spec: RampSpec | None = None,
    limits: Compliance | None = None,
    sites: Sites | None = None,
    continues: str = "",
    series: str = "",
    **more: Any,
) -> dict[str, Any]:
    """Make the block under `contract.documents.START_KEY`.

    Parameters
    ----------
    context : mapping
        What instrument and session know: sample, mount, reference scale, capabilities...
    technique : str
        As `contract.documents.START_FIELDS`.
    roles : mapping
        Role to data key.
    spec, limits : RampSpec, Compliance, optional
        The ramp as programmed (a site's own vertices and rates are in its event).
    sites : Sites, optional
        For ``grid``.
    continues, series : str
        Links to other runs.
    **more
        Further entries.
    """
    block: dict[str, Any] = {
        "family": "afm",
        **context,
        "schema": SCHEMA_VERSION,
        "technique": technique,
        "roles": {**dict(context.get("roles", {})), **dict(roles)},
    }
    if spec is not None:
        block["ramp"] = ramp_metadata(spec)
        block["safe_state"] = {
            **dict(context.get("safe_state", {})),
            "after_trip": spec.after_trip.label,
            "after_time": spec.after_time,
            "n_post": spec.n_post,
        }
    if limits is not None:
        block["compliance"] = compliance_metadata(limits)
    if sites is not None and (grid := grid_metadata(sites)):
        block["grid"] = grid
    if continues:
        block["continues"] = continues
    if series or continues:
        block["series"] = series or continues
    block.update(more)
    return {START_KEY: block}


def plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as JSON takes them."""
    return {key: _plain_value(value) for key, value in arguments.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain_value(v) for k, v in value.items()}
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str):
        return [_plain_value(v) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, str | int | float | bool | None) else str(value)
