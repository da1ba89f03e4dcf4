"""What forms and the queue need of plan arguments beyond type and meaning: bounds and choices.

The bounds keep typing errors out (a nanometre for a metre); the instrument's own limits and the
plan's checks are narrower.
"""

from nucleation_bluesky.contract.enums import AfterTrip
from nucleation_bluesky.plans.conditions import TECHNIQUES
from nucleation_bluesky.plans.landing_options import CONTACTS
from nucleation_bluesky.plans.parameters import MODES
from nucleation_bluesky.plans.schedule import ASSIGNMENTS

_COUNT = (0, 1_000_000)
_SITES = (0, 10_000)  # 0 where a plan counts them itself

BOUNDS: dict[str, tuple[float, float]] = {
    # where, m
    "rows": _SITES,
    "cols": _SITES,
    "pitch": (1e-9, 1e-3),
    "origin": (-0.1, 0.1),
    "angle": (-6.2832, 6.2832),
    "sites": (-0.1, 0.1),
    "region": (-0.1, 0.1),
    "center": (-0.1, 0.1),
    "seed": (0, 2**31 - 1),
    # ramp: V, V/s, Hz, s
    "start": (-10.0, 10.0),
    "stop": (-10.0, 10.0),
    "rate": (1e-6, 1e4),
    "rates": (1e-6, 1e4),
    "sample_rate": (1.0, 1e7),
    "samples_per_volt": (0.0, 1e7),
    "after_time": (0.0, 3600.0),
    "n_post": _COUNT,
    # compliance: A, m, s
    "current_compliance": (-1e-3, 1e-3),
    "height_compliance": (1e-11, 1e-4),
    "blanking": (0.0, 60.0),
    "confirm_samples": (1, 1_000_000),
    "background_time": (1e-6, 60.0),
    # adaptive and software ramps
    "fast_rate": (0.0, 1e4),
    "risk": (1e-6, 0.5),
    "first_sites": (20, 1_000_000),
    "min_step": (1e-6, 1.0),
    "max_step": (1e-6, 1.0),
    "dwell": (0.0, 60.0),
    # images, m
    "image_size": (0.0, 1e-3),
    "image_pixels": (16, 4096),
    "size": (1e-9, 1e-3),
    "pixels": (16, 4096),
    # drift
    "reregister_every": _COUNT,
    "registration_size": (0.0, 1e-3),
    "registration_pixels": (16, 4096),
    "min_quality": (0.0, 1.0),
    "max_shift": (0.0, 1e-4),
    # landings: m, A, V, s, C, m/s
    "x": (-0.1, 0.1),
    "y": (-0.1, 0.1),
    "current": (-1e-3, 1e-3),
    "currents": (-1e-3, 1e-3),
    "strip_current": (0.0, 1e-3),
    "off_current": (-1e-3, 1e-3),
    "current_low": (-1e-3, 1e-3),
    "current_high": (-1e-3, 1e-3),
    "contact_current": (-1e-6, 1e-6),
    **dict.fromkeys(
        (
            "potential",
            "initial",
            "vertex",
            "strip_potential",
            "off_potential",
            "potential_low",
            "potential_high",
            "contact_potential",
        ),
        (-10.0, 10.0),
    ),
    "contact_threshold": (0.0, 10.0),
    "contact_confirm": (1, 1000),
    "duration": (1e-3, 86_400.0),
    "charge": (1e-15, 1e-3),
    "cycles": (1, 250),
    "pulses": (1, 250),
    "hold": (0.0, 3600.0),
    "rest": (0.0, 3600.0),
    "on_time": (1e-3, 3600.0),
    "off_time": (1e-3, 3600.0),
    "limit_blanking": (0.0, 60.0),
    "limit_confirm": (1, 1_000_000),
    "repeats": (1, 10_000),
    "approach_speed": (1e-9, 1e-3),
    "z_max": (0.0, 1e-2),
    "retract_distance": (1e-9, 1e-2),
    "retract_speed": (1e-9, 1e-3),
    "sample_period": (1e-6, 1.0),
    "frame_exposure": (0.0, 60.0),
    "frame_period": (0.0, 60.0),
    "wetting_ratio": (0.0, 20.0),
    "max_no_contact": (1, 10_000),
    # settings
    "gain": (1e3, 1e15),
}

CHOICES: dict[str, tuple[str, ...]] = {
    "technique": tuple(TECHNIQUES),
    "contact": CONTACTS,
    "assignment": ASSIGNMENTS,
    "lattice": ("square", "hexagonal"),
    "order": ("raster", "snake", "random", "given"),
    "compliance": MODES,
    "after_trip": tuple(AfterTrip.labels()),
    "interleave": ("lattice", "random"),
}
