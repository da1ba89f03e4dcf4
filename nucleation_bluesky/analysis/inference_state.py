"""What the inference knows of every site."""

from dataclasses import dataclass

import numpy as np

from nucleation_bluesky.analysis.windows import Anchors


@dataclass
class Inference:
    """Everything the classification and the results need; arrays (n,) or (n, 2).

    Column 0 of two-column arrays is the current, column 1 the height; NaN for a channel without
    data. Distances are in samples before ``anchors.last``. ``robust_evidence`` leaves out the
    samples that may be a spike which ended the ramp.
    """

    anchors: Anchors
    sign: np.ndarray
    noise: np.ndarray
    present: np.ndarray
    distance: np.ndarray
    spread: np.ndarray
    evidence: np.ndarray
    robust_evidence: np.ndarray
    other_evidence: np.ndarray
    channel_evidence: np.ndarray
    amplitude: np.ndarray
    degree: np.ndarray
    crossover: np.ndarray
    rise: np.ndarray
    misfit: np.ndarray
    binning: np.ndarray
    fitted: np.ndarray
    background: np.ndarray
    slope: np.ndarray
    threshold: np.ndarray
    pole: np.ndarray
    lead: np.ndarray
    reach: np.ndarray


def empty_inference(n: int, anchors: Anchors, sign: np.ndarray, noise: np.ndarray) -> Inference:
    """Return an inference that knows nothing yet."""

    def one() -> np.ndarray:
        return np.full(n, np.nan)

    def two() -> np.ndarray:
        return np.full((n, 2), np.nan)

    return Inference(
        anchors=anchors,
        sign=sign,
        noise=noise,
        present=np.isfinite(noise),
        distance=one(),
        spread=one(),
        evidence=np.zeros(n),
        robust_evidence=np.zeros(n),
        other_evidence=np.zeros(n),
        channel_evidence=two(),
        amplitude=two(),
        degree=two(),
        crossover=two(),
        rise=two(),
        misfit=two(),
        binning=np.ones(n, dtype=np.int64),
        fitted=np.zeros(n, dtype=bool),
        background=two(),
        slope=two(),
        threshold=one(),
        pole=np.full(2, np.nan),
        lead=np.zeros(n),
        reach=one(),
    )
