"""Why a count of particles is not to be trusted without a look at the outlines."""

import numpy as np
from skimage import segmentation

# relative difference between two ways of counting
DISAGREE = 0.25
# share of the particles that share a border with another
TOUCHING = 0.5
# share of the particles that the frame cuts
CUT = 0.5
# of the evidence for the two polarities
UNDECIDED = 0.1
# of the variance of the image: particles that explain less are not what one sees on it
EXPLAINED = 0.5


def doubts(
    labels: np.ndarray, counts: tuple[int, ...], explained: float, polarity_margin: float
) -> tuple[str, ...]:
    """Say what speaks against a count.

    Parameters
    ----------
    labels : ndarray of int, shape (rows, cols)
        1..n; 0 outside.
    counts : tuple of int
        Particles that each way of finding them gives, where it is plausible.
    explained : float
        Share of the image's variance that particles and ground, as two levels, explain.
    polarity_margin : float
        See `Segmentation`; NaN where the polarity was given.

    Returns
    -------
    tuple of str
        One reason each.
    """
    found = []
    n = int(labels.max())
    if n == 0:
        return ()
    low, high = min(counts), max(counts)
    if high - low > DISAGREE * high:
        found.append(f"two ways of finding particles disagree: {low} and {high}")
    if explained < EXPLAINED:
        found.append(
            f"what was found explains only {100 * max(explained, 0.0):.0f} % of the differences in "
            "grey: look for particles that were missed"
        )
    share = touching(labels)
    if n > 1 and share > TOUCHING:
        found.append(
            f"{100 * share:.0f} % of the particles touch or overlap another: "
            "where some are hidden, the count is a lower bound"
        )
    cut = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    cut = int(np.count_nonzero(cut))
    if cut > CUT * n:
        found.append(
            f"{cut} of {n} are cut by the edge of the picture: particles may be larger than it, "
            "and what was found the ground between them"
        )
    if polarity_margin < UNDECIDED:
        found.append(
            "bright and dark particles explain the image about equally well: state the polarity"
        )
    return tuple(found)


def touching(labels: np.ndarray) -> float:
    """Share of the particles that share a border with another, at most one pixel away."""
    present = np.unique(labels[labels > 0])
    if present.size == 0:
        return 0.0
    wide = np.asarray(segmentation.expand_labels(labels, 1))
    met: set[int] = set()
    for a, b in ((wide[:-1], wide[1:]), (wide[:, :-1], wide[:, 1:])):
        border = (a != b) & (a > 0) & (b > 0)
        met.update(np.unique(a[border]).tolist(), np.unique(b[border]).tolist())
    return len(met) / present.size
