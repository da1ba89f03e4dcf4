"""Choose particles from a pool of candidates by scores that were fitted to labelled micrographs.

Learning the score of candidate regions and choosing disjoint ones follows C. Arteta et al.,
"Learning to detect cells using non-overlapping extremal regions", MICCAI 2012. Here candidates come
from several segmentations, and three things are estimated for each from its traits: how well it
fits one particle (overlap over union), how much of it is particle at all, and how many particles
it holds. A last score says which of the chosen ones count. The scores are fitted by
`benchmarks/fit_particle_scores.py`; nothing in them knows where an image comes from.
"""

from functools import cache
from pathlib import Path

import numpy as np

from nucleation_bluesky.analysis.particle_images.forest import Forest
from nucleation_bluesky.analysis.particle_images.pool import (
    Pool,
    disjoint,
    drawn,
    layers_of,
    overlap_before,
    pool_of,
)
from nucleation_bluesky.analysis.particle_images.traits import Field, typical

SCORES = Path(__file__).with_name("scores.npz")
FITTED = ("fit", "purity", "number")
COUNTS = "counts"
# what a region loses for each particle it holds beyond one
MERGED = 0.2
# chosen regions count from this score on
LEAST = 0.45
GOOD = 0.4


def explain(
    grey: np.ndarray, valid: np.ndarray, found: list[np.ndarray], parted: list[np.ndarray]
) -> np.ndarray:
    """Label the particles that some segmentations together give.

    Parameters
    ----------
    grey : ndarray, shape (rows, cols)
        Smoothed, scaled to about 0..1, particles bright.
    valid : ndarray of bool
        Pixels of the picture itself.
    found, parted : list of ndarray of int, shape (rows, cols)
        See `layers_of`.

    Returns
    -------
    ndarray of int, shape (rows, cols)
        1..n; 0 outside.
    """
    field = Field.of(grey, valid)
    layers = layers_of(field, found, parted)
    if not layers:
        return np.zeros(grey.shape, dtype=np.int32)
    pool = pool_of(field, layers)
    scores = {name: forests()[name](pool.traits) for name in FITTED}
    chosen = disjoint(pool, worth(scores))
    return drawn(pool, chosen[forests()[COUNTS](among(pool, chosen, scores)) >= LEAST])


@cache
def forests() -> dict[str, Forest]:
    """Return the fitted scores."""
    with np.load(SCORES) as arrays:
        return {name: Forest.read(arrays, name) for name in (*FITTED, COUNTS)}


def worth(scores: dict[str, np.ndarray]) -> np.ndarray:
    """How much speaks for a region: its fit first, as a part is as pure as the whole."""
    merged = np.clip(scores["number"] - 1, 0, None)
    return scores["fit"] * np.sqrt(np.clip(scores["purity"], 0, 1)) - MERGED * merged


def among(pool: Pool, chosen: np.ndarray, scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Describe the chosen regions, also beside one another."""
    found = {name: values[chosen] for name, values in pool.traits.items()}
    fit, purity, number = (scores[name][chosen] for name in FITTED)
    area, good = pool.area[chosen], fit * purity
    weight = area * np.clip(good, 1e-3, None) ** 2
    radius = np.sqrt(area / np.pi)
    unit = max(abs(typical(found["contrast"], weight)), 0.01)
    every = np.ones(chosen.size)
    return found | {
        "fit": fit,
        "purity": purity,
        "number of particles": number,
        "good": good,
        "among size": np.log(radius / typical(radius, weight)),
        "among contrast": found["contrast"] / unit,
        "among fit": fit - typical(fit, weight),
        "among purity": purity - typical(purity, weight),
        "among overlap": overlap_before(pool, chosen),
        "among number": every * np.log(chosen.size),
        "mean fit": every * np.average(fit, weights=area),
        "mean purity": every * np.average(purity, weights=area),
        "among share": np.log(area / area.sum()),
        "good ones": every * np.log1p(np.count_nonzero(good > GOOD)),
    }
