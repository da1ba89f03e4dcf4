"""A made-up result of the site analysis, with the names and attributes of the result format."""

import numpy as np
import xarray as xr

MEANINGS = "no_nucleation nucleated false_trip undetermined"


def make_sites(ramps, onset, *, false_trips=0, seed=5, boundary=True) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    n = ramps.n_sites
    nucleated = np.isfinite(onset)
    kind = nucleated.astype(int)
    kind[np.flatnonzero(~nucleated)[:false_trips]] = 2
    last = ramps.offsets[1:] - 1 - ramps.n_post
    stop_bias = np.array([ramps.site_bias(k)[-1 - ramps.n_post[k]] for k in range(n)])
    stop_current = ramps.current[last].astype(float)
    height_change = ramps.height[last].astype(float)
    charge = np.where(nucleated, -np.abs(rng.lognormal(np.log(60e-15), 0.4, n)), -1e-15)
    limit = ramps.current_compliance or 10e-12
    data = {
        "onset_bias": (onset, "V"),
        "onset_bias_uncertainty": (np.where(nucleated, 2e-4, np.nan), "V"),
        "stop_bias": (stop_bias, "V"),
        "stop_current": (stop_current, "A"),
        "height_change": (height_change, "m"),
        "charge": (charge, "C"),
        "particle_volume": (np.where(nucleated, -charge / 96485 * 13e-6, np.nan), "m3"),
        "nucleated": (nucleated, "1"),
        "termination": (ramps.termination, "1"),
        "classification": (kind, "1"),
        "current_overshoot": (np.where(nucleated, np.abs(stop_current) / limit, np.nan), "1"),
        "height_overshoot": (np.full(n, np.nan), "1"),
    }
    if boundary:
        data["boundary_distance"] = (np.abs(rng.normal(80e-9, 60e-9, n)), "m")
    sites = xr.Dataset(
        {k: ("site", v, {"units": u}) for k, (v, u) in data.items()},
        coords={
            "x": ("site", ramps.x, {"units": "m"}),
            "y": ("site", ramps.y, {"units": "m"}),
            "row": ("site", ramps.row, {"units": "1"}),
            "col": ("site", ramps.col, {"units": "1"}),
        },
    )
    sites["classification"].attrs |= {"flag_values": [0, 1, 2, 3], "flag_meanings": MEANINGS}
    return sites
