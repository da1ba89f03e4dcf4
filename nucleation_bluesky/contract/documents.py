"""Keys of the Bluesky documents: what every nucleation run promises to its readers.

Readers find data by *role*, never by device name: the start document maps roles to data keys.
"""

from collections.abc import Iterable, Mapping

from nucleation_bluesky.contract.pvs_afm import RESULT_FIELDS
from nucleation_bluesky.contract.pvs_seccm import SECCM_RESULT_FIELDS

SCHEMA_VERSION = 1
START_KEY = "nucleation"  # the start document's own block, a mapping

START_FIELDS: dict[str, str] = {
    "schema": "Version of this event schema (integer).",
    "technique": "'afm-nucleation-map', 'afm-sweep-rate-series', 'afm-bias-ramp', 'topography', "
    "or a technique of another family.",
    "family": "Instrument family: afm, seccm or tem.",
    "roles": "Mapping of role to data key, see below.",
    "sample": "Sample identifier, as in the exposure ledger.",
    "mount_epoch": "Mount of the sample (integer), as in the exposure ledger.",
    "session": "Identifier of the session that took the run.",
    "bias_applied_to": "'tip' or 'sample'.",
    "reference_scale": "Name of the scale the raw potentials are measured against.",
    "reference_offset": "{'scale', 'offset'}: potential against 'scale' = raw + offset (V).",
    "equilibrium_potential": "{'value' (V, signed, on the run's own scale), 'source'}.",
    "material": "{'name', 'molar_volume' (m3/mol), 'electrons', 'faradaic_yield'}.",
    "tip": "{'radius' (m), 'half_angle' (rad)}: shape of the tip, where it is known.",
    "ramp": "{'start', 'vertices', 'rates' (V, V/s), 'sample_rate' (Hz), 'measuring_segment'}.",
    "compliance": "{'current': [low, high] or None (A), 'height': ... (m), 'blanking' (s), "
    "'confirm_samples', 'subtract_background', 'background_time' (s)}.",
    "safe_state": "{'policy', 'bias', 'after_trip', 'after_time', 'n_post'}.",
    "capabilities": "What the controller published under CAP:, SI units.",
    "clock": "{'utc_offset', 'uncertainty'} (s): controller's UTC minus ours, measured.",
    "grid": "{'shape': [rows, cols], 'pitch' (m), 'origin': [x, y], 'angle' (rad)} if gridded.",
    "continues": "uid of the run that this one resumes, if any.",
    "adaptive": "Whether sites were approached fast (true or false).",
    "software": "Whether the plan stepped the bias (true or false).",
    "sweep_rates": "Sweep rates of a series (V/s).",
    "interleave": "How the rates alternate over the sites: 'lattice' or 'random'.",
    "series": "Identifier shared by runs that are to be read as one map.",
}

SECCM_START_FIELDS: dict[str, str] = {
    # beyond START_FIELDS, in runs of family seccm
    "program": "Program of the landings as of `Program.document()`: {'columns', 'table', "
    "'approach', 'sample_period', 'retract_distance', 'retract_speed'}, SI; None where it is by "
    "condition.",
    "conditions": "List of mappings: 'program' (as above) and the columns of the user's table, SI.",
    "electrolyte": "{'name', 'concentration' (mol/m3)}.",
    "pipette": "{'opening' (m, diameter), 'wetting_ratio' (footprint over opening)}.",
    "camera": "{'pixel_size' (m, in the sample plane), 'exposure' (s), 'period' (s), "
    "'wavelength' (m)}; None without a camera.",
}


def _results(
    fields: Mapping[str, tuple[str, str]], names: Iterable[str]
) -> dict[str, tuple[str, str]]:
    """Roles whose value and unit are those of a field of RESULT."""
    return {name: (fields[name][0], "see RESULT") for name in names}


_EXPOSURE_ROLES: dict[str, tuple[str, str]] = {
    "row": ("", "row of the site where gridded"),
    "col": ("", "column of the site where gridded"),
    "exposure": ("", "token of the exposure in the ledger (string)"),
}
_TERMINATION: dict[str, tuple[str, str]] = {"termination": ("", "Termination, integer")}
_SAMPLE_TIME: dict[str, tuple[str, str]] = {
    "sample_time": (
        "s",
        "waveform, external, since sample 0; only where samples are not equally spaced",
    )
}
PRIMARY_ROLES: dict[str, tuple[str, str]] = {
    # role: (SI unit, meaning); one event per exposure in the stream 'primary'
    "x": ("m", "site's x in the sample frame, as measured"),
    "y": ("m", "site's y in the sample frame, as measured"),
    "site": ("", "index of the site in the plan's list"),
    **_EXPOSURE_ROLES,
    **_TERMINATION,
    **_results(
        RESULT_FIELDS,
        (
            "stop_bias", "stop_current", "height_change", "peak_current", "charge", "latency",
            "n_samples", "n_post", "trip_index", "trip_segment", "start_ticks", "start_utc",
            "duration", "height_feedback",
        ),
    ),
    "vertices": ("V", "bias at the end of each segment of this site's ramp, NaN beyond"),
    "rates": ("V/s", "sweep rate of each segment of this site's ramp, NaN beyond"),
    "ramp_start": ("V", "bias at the start of this site's ramp"),
    "sample_rate": ("Hz", "samples per second"),
    "fast_segment_end": ("V", "bias at which the fast approach ended; NaN without one"),
    "bias": ("V", "waveform, external, shape (1, max_samples), NaN beyond n_samples"),
    "current": ("A", "waveform, external; negative reduces"),
    "height": ("m", "waveform, external"),
    **_SAMPLE_TIME,
}  # fmt: skip
PRIMARY_STREAM = "primary"
SECCM_ROLES: dict[str, tuple[str, str]] = {
    # role: (SI unit, meaning); one event per landing in the stream 'primary', family seccm
    "x": ("m", "landing's x in the sample frame, as measured"),
    "y": ("m", "landing's y in the sample frame, as measured"),
    "site": ("", "index of the landing in the plan's list"),
    **_EXPOSURE_ROLES,
    "condition": ("", "index into the start document's 'conditions', -1 without"),
    "repeat": ("", "number of the repeat of that condition, from 0"),
    **_TERMINATION,
    **_results(
        SECCM_RESULT_FIELDS,
        (
            "stop_bias", "stop_current", "charge", "latency", "n_samples", "n_post", "trip_index",
            "trip_segment", "start_ticks", "start_utc", "duration", "contact", "contact_index",
            "contact_z", "contact_ticks", "overtravel", "false_contacts",
        ),
    ),
    "sample_period": ("s", "time between samples"),
    "film_first": ("", "index of the landing's first frame in the stream 'film', -1 without"),
    "film_count": ("", "number of its frames"),
    "film_clock_offset": (
        "s",
        "camera's UTC less the controller's, from the order of events around the film; NaN if "
        "unknown",
    ),
    "film_clock_uncertainty": ("s", "standard uncertainty of that offset"),
    "potential": ("V", "waveform, external, shape (1, max_samples), NaN beyond n_samples; raw"),
    "current": ("A", "waveform, external; negative reduces"),
    "z": ("m", "waveform, external; extension of the pipette, larger is nearer the sample"),
    "step": ("", "waveform, external; step of the program, -1 approach, -2 after it"),
    **_SAMPLE_TIME,
}  # fmt: skip
FILM_STREAM = "film"
FILM_ROLES: dict[str, tuple[str, str]] = {
    # one row per frame, all landings one after the other
    "frames": ("", "frame, external, uint16, shape (1, rows, columns)"),
    "frame_time": ("s", "external; UTC at the start of the exposure, s since 1990-01-01"),
    "frame_id": ("", "external; number of the frame as the camera counts: gaps are losses"),
}
FAMILY_ROLES: dict[str, dict[str, tuple[str, str]]] = {
    "afm": PRIMARY_ROLES,
    "seccm": SECCM_ROLES,
}
TOPOGRAPHY_STREAMS = ("topography_before", "topography_after")
TOPOGRAPHY_ROLES: dict[str, tuple[str, str]] = {
    "topography": ("m", "image, external, shape (1, rows, cols); row index along +y"),
    "topography_x": ("m", "centre of the image in the sample frame"),
    "topography_y": ("m", "centre of the image in the sample frame"),
    "topography_pixel_size": ("m", "edge of a pixel"),
}
REGISTRATION_STREAM = "registration"

STREAM_MIMETYPE = "application/x-hdf5"
RESULTS_CONTAINER = "maps"  # top-level Tiled container of analysis results
