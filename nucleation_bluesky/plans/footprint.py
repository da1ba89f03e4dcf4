"""Footprint of a pipette on the sample: how wide the wetted spot is, and so how far apart sites."""

import math
from collections.abc import Sequence

import numpy as np

TOUCH = 1e-6  # relative: a lattice at exactly the footprint passes in spite of rounding


def footprint_diameter(opening: float, wetting_ratio: float) -> float:
    """Return the expected diameter of the wetted spot, m.

    Parameters
    ----------
    opening : float
        Diameter of the pipette's opening, m.
    wetting_ratio : float
        Diameter of the spot over that of the opening; 2.2 for the 10 um pipettes of Martin-Yerga
        et al. (ACS Nano 2024), below 1.8 for their 6 um ones.

    Raises
    ------
    ValueError
        If a value is not finite or not above 0.
    """
    for value, what in ((opening, "the pipette's opening"), (wetting_ratio, "the wetting ratio")):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{what} must be finite and greater than 0 (got {value:g})")
    return opening * wetting_ratio


def measured_wetting_ratio(areas: Sequence[float], opening: float, quantile: float = 0.9) -> float:
    """Wetting ratio from footprints measured in the first landings' films.

    Parameters
    ----------
    areas : sequence of float
        Areas of wetted spots, m2; those that could not be measured are NaN.
    opening : float
        Diameter of the pipette's opening, m.
    quantile : float
        Which of the spots decides: a map must hold the wide ones too.

    Returns
    -------
    float
        Ratio of that spot's equivalent diameter to the opening.

    Raises
    ------
    ValueError
        If no spot was measured.
    """
    known = np.asarray(areas, dtype=float)
    known = known[np.isfinite(known) & (known > 0)]
    if not len(known):
        raise ValueError("no footprint was measured; check focus and light of the camera")
    area = float(np.quantile(known, quantile))
    return footprint_diameter(1.0, 2 * math.sqrt(area / math.pi) / opening)


def check_pitch(spacing: float, opening: float, wetting_ratio: float) -> None:
    """Refuse sites whose wetted spots would touch.

    Parameters
    ----------
    spacing : float
        Smallest distance between two sites, m; NaN for one site.
    opening, wetting_ratio : float
        As `footprint_diameter`.

    Raises
    ------
    ValueError
        Naming pitch and footprint.
    """
    footprint = footprint_diameter(opening, wetting_ratio)
    if spacing < footprint * (1 - TOUCH):  # False for one site
        raise ValueError(
            f"a pitch of {spacing * 1e6:.4g} um is smaller than the expected footprint of "
            f"{footprint * 1e6:.4g} um (opening {opening * 1e6:.4g} um times a wetting ratio of "
            f"{wetting_ratio:.3g}): widen the pitch, or give the wetting ratio measured in the "
            "first films"
        )
