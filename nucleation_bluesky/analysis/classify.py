"""What happened at a site: nucleated, nothing, a spike that ended the ramp, or not decidable."""

import numpy as np
from scipy.stats import norm

from nucleation_bluesky.analysis.inference_state import Inference
from nucleation_bluesky.analysis.noise_windows import WINDOW
from nucleation_bluesky.analysis.ramps import RampSet

NO_NUCLEATION, NUCLEATED, FALSE_TRIP, UNDETERMINED = 0, 1, 2, 3
MEANINGS = ("no_nucleation", "nucleated", "false_trip", "undetermined")
_COMPLIANCE_WORDS = ("compliance", "trip", "current", "height", "cutoff", "cut_off", "limit")
_BAD_SAMPLE_WORDS = ("saturat", "nonfinite", "non_finite", "overload", "stale")


def ended_by(ramps: RampSet, stop_bias: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Who ended each ramp: 0 its own end or an operator, 1 compliance, 2 a bad sample.

    Parameters
    ----------
    stop_bias : ndarray, shape (n,)
        Bias at the last sample before the abort, V.
    step : ndarray, shape (n,)
        Change of bias per sample there, V.
    """
    n = ramps.n_sites
    out = np.zeros(n, dtype=np.int64)
    early = np.abs(ramps.bias_stop - stop_bias) > 1.5 * np.abs(step)
    told = np.zeros(n, dtype=bool)
    if ramps.termination is not None:
        for value, label in ramps.termination_labels.items():
            here = ramps.termination == value
            text = str(label).lower()
            if any(word in text for word in _COMPLIANCE_WORDS):
                out[here] = 1
            elif any(word in text for word in _BAD_SAMPLE_WORDS):
                out[here] = 2
            told |= here
    guessed = ~told & early & (ramps.mode != "none")
    out[guessed] = 1
    return out


def _surely_seen(evidence: np.ndarray, thresholds: np.ndarray, error_rate: float) -> bool:
    """Whether growth like that of the other sites would hardly ever stay below the threshold."""
    ratio = evidence / thresholds
    log = np.log(np.maximum(ratio[ratio > 1.0], 1e-3))
    if len(log) < 10:
        return False
    middle = float(np.median(log))
    spread = 1.4826 * float(np.median(np.abs(log - middle))) + 1e-3
    return bool(norm.cdf(-middle / spread) < error_rate)


def classify(
    ramps: RampSet,
    inference: Inference,
    cause: np.ndarray,
    spike: np.ndarray,
    miss_rate: float,
) -> np.ndarray:
    """Classify every site.

    Parameters
    ----------
    ramps : RampSet
    inference : Inference
    cause : ndarray of int, shape (n,)
        See `ended_by`.
    spike : ndarray of bool, shape (n,)
        Whether the last samples before the abort leave the background beyond the noise.
    miss_rate : float
        Largest probability with which genuine growth may be called a false trip.

    Returns
    -------
    ndarray of int8, shape (n,)
    """
    threshold = inference.threshold
    out = np.full(ramps.n_sites, UNDETERMINED, dtype=np.int8)
    known = inference.fitted
    if not known.any():
        return out
    grown = known & (inference.robust_evidence > threshold)
    # an onset at the far edge of the trials was not seen: a slow wander, no start of growth
    grown &= (inference.reach < 0.45 * WINDOW * inference.binning) | (cause == 1)
    for c in np.flatnonzero(inference.present):
        # a step in one channel alone, where growth shows in both at every other site
        own = inference.channel_evidence[:, c]
        if inference.present.all() and _surely_seen(own[grown], threshold[grown], 0.1 * miss_rate):
            grown &= own > 0.25 * threshold
    model = grown & (cause == 1)
    sure = _surely_seen(inference.robust_evidence[model], threshold[model], miss_rate)
    both = bool(inference.present.all())
    if not both and model.any():
        # one channel: growth within one interval looks like a spike, unless growth takes longer
        seen = inference.distance[model] - np.nan_to_num(inference.pole).max()
        sure &= float(np.quantile(seen, 0.01)) > 1.5
    out[grown] = NUCLEATED
    quiet = known & ~grown
    out[quiet & (cause == 0)] = NO_NUCLEATION
    out[quiet & (cause == 2)] = FALSE_TRIP
    tripped = quiet & (cause == 1) & spike
    out[tripped] = FALSE_TRIP if (sure or both) else UNDETERMINED
    return out
