"""Two height populations in a topography: grains and matrix."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage import filters


@dataclass(frozen=True)
class Mixture:
    """Two Gaussians in a height histogram: weight of the higher one, means and sigmas, m."""

    weight: float
    means: tuple[float, float]
    sigmas: tuple[float, float]

    @property
    def separation(self) -> float:
        """Ashman's D: above 2 the two are distinct."""
        spread = np.sqrt((self.sigmas[0] ** 2 + self.sigmas[1] ** 2) / 2)
        return float((self.means[1] - self.means[0]) / max(spread, 1e-300))

    def midpoint(self) -> float:
        """Half way up the step between the phases: where its edge lies after any smoothing."""
        return (self.means[0] + self.means[1]) / 2

    def threshold(self) -> float:
        """Height between the means at which both are equally likely."""
        z = np.linspace(self.means[0], self.means[1], 400)
        low, high = (
            np.log(w) - np.log(s) - 0.5 * ((z - m) / s) ** 2
            for w, m, s in zip((1 - self.weight, self.weight), self.means, self.sigmas, strict=True)
        )
        return float(z[np.argmin(np.abs(high - low))])


def best_scale(flat: np.ndarray) -> tuple[float, np.ndarray, Mixture]:
    """Smoothing width (px), smoothed image and height populations that separate best."""
    best: tuple[float, np.ndarray, Mixture] | None = None
    width = 1.0
    while width <= min(flat.shape) / 24:
        smooth = ndimage.gaussian_filter(flat, width, mode="nearest")
        mixture = two_gaussians(smooth)
        # wider smoothing must buy a clear gain: it costs resolution at the boundary
        if best is None or mixture.separation > 1.05 * best[2].separation:
            best = (width, smooth, mixture)
        width *= np.sqrt(2)
    if best is None:
        smooth = ndimage.gaussian_filter(flat, 1.0, mode="nearest")
        return 1.0, smooth, two_gaussians(smooth)
    return best


def two_gaussians(image: np.ndarray, bins: int = 400, iterations: int = 200) -> Mixture:
    """Fit two Gaussians to the height histogram (expectation maximisation from Otsu)."""
    low, high = np.percentile(image, [0.1, 99.9])
    if not high > low:
        return Mixture(0.5, (low, low), (1.0, 1.0))
    counts, edges = np.histogram(image, bins=bins, range=(low, high))
    z = (edges[1:] + edges[:-1]) / 2 / (high - low)
    split = filters.threshold_otsu(np.clip(image, low, high)) / (high - low)
    above = z > split
    floor = 1.0 / bins
    share = [counts[~above].sum(), counts[above].sum()]
    if min(share) == 0:
        return Mixture(0.5, (low, low), (1.0, 1.0))
    mean = [np.average(z[k], weights=counts[k]) for k in (~above, above)]
    sd = [
        max(floor, np.sqrt(np.average((z[k] - m) ** 2, weights=counts[k])))
        for k, m in zip((~above, above), mean, strict=True)
    ]
    w = share[1] / sum(share)
    for _ in range(iterations):
        a = (1 - w) / sd[0] * np.exp(-0.5 * ((z - mean[0]) / sd[0]) ** 2)
        b = w / sd[1] * np.exp(-0.5 * ((z - mean[1]) / sd[1]) ** 2)
        p = b / np.maximum(a + b, 1e-300)
        weights = [counts * (1 - p), counts * p]
        if min(k.sum() for k in weights) < 1e-3 * counts.sum():
            break
        previous = w
        w = weights[1].sum() / counts.sum()
        mean = [np.average(z, weights=k) for k in weights]
        sd = [
            max(floor, np.sqrt(np.average((z - m) ** 2, weights=k)))
            for m, k in zip(mean, weights, strict=True)
        ]
        if abs(w - previous) < 1e-6:
            break
    scale = high - low
    pairs = sorted(zip(mean, sd, (1 - w, w), strict=True))
    return Mixture(
        float(pairs[1][2]),
        (float(pairs[0][0] * scale), float(pairs[1][0] * scale)),
        (float(pairs[0][1] * scale), float(pairs[1][1] * scale)),
    )
