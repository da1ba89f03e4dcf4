"""Size distribution of particles: one Gaussian or two, chosen by the Bayesian criterion."""

from dataclasses import dataclass

import numpy as np

ITERATIONS = 500
# a component holds at least this many particles, else it describes outliers
FEWEST = 5


@dataclass(frozen=True)
class SizeModel:
    """Sum of Gaussians fitted to diameters; components are sorted by mean, shape (k,).

    Parameters
    ----------
    mean, sd : ndarray
        Unit of the diameters.
    weight : ndarray
        Share of the particles; sums to 1.
    bic : dict of int to float
        Bayesian information criterion of each number of components tried; smaller is better.
    n : int
        Number of particles.
    """

    mean: np.ndarray
    sd: np.ndarray
    weight: np.ndarray
    bic: dict[int, float]
    n: int

    @property
    def components(self) -> int:
        """Number of Gaussians."""
        return int(self.mean.size)

    def density(self, diameter: np.ndarray) -> np.ndarray:
        """Probability density at the diameters, 1/unit."""
        d = np.asarray(diameter, dtype=float)[..., None]
        z = (d - self.mean) / self.sd
        return np.sum(self.weight / (self.sd * np.sqrt(2 * np.pi)) * np.exp(-0.5 * z**2), axis=-1)


def fit_sizes(diameters: np.ndarray, max_components: int = 2) -> SizeModel:
    """Fit Gaussians to the diameters themselves, so no bin width enters.

    Parameters
    ----------
    diameters : ndarray, shape (n,)
        Any unit; values that are not finite are ignored.
    max_components : int
        1 or 2.

    Raises
    ------
    ValueError
        With fewer than three diameters.

    Notes
    -----
    Expectation maximisation (A. P. Dempster et al., J. R. Stat. Soc. B 39, 1, 1977) from several
    starts; number of components by G. Schwarz, Ann. Stat. 6, 461 (1978). Table 1 of the 2024
    SECCM/IRM paper states two sizes at the lowest current density and one at the others.
    """
    d = np.asarray(diameters, dtype=float)
    d = np.sort(d[np.isfinite(d)])
    if d.size < 3:
        raise ValueError(f"{d.size} diameters: a size distribution needs three or more")
    single = SizeModel(
        np.array([d.mean()]), np.array([max(d.std(), _floor(d))]), np.array([1.0]), {}, d.size
    )
    bic = {1: _bic(single, d)}
    best = single
    if max_components >= 2 and d.size >= 4 * FEWEST:
        models = [_fit_two(d, split) for split in (0.15, 0.3, 0.5, 0.7, 0.85)]
        usable = [m for m in models if m is not None]
        if usable:
            two = min(usable, key=lambda m: _bic(m, d))
            bic[2] = _bic(two, d)
            best = two if bic[2] < bic[1] else single
    return SizeModel(best.mean, best.sd, best.weight, bic, d.size)


def size_histogram(diameters: np.ndarray, bins: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Count particles by diameter.

    Parameters
    ----------
    diameters : ndarray, shape (n,)
    bins : int or None
        None: by Freedman and Diaconis.

    Returns
    -------
    count : ndarray of int, shape (bins,)
    edges : ndarray, shape (bins + 1,)
    """
    d = np.asarray(diameters, dtype=float)
    d = d[np.isfinite(d)]
    count, edges = np.histogram(d, bins="fd" if bins is None else bins)
    return count, edges


def _fit_two(d: np.ndarray, split: float) -> SizeModel | None:
    """Run expectation maximisation from a split of the sorted sizes; None if it collapses."""
    cut = int(np.clip(round(split * d.size), 2, d.size - 2))
    floor = _floor(d)
    mean = np.array([d[:cut].mean(), d[cut:].mean()])
    sd = np.maximum([d[:cut].std(), d[cut:].std()], floor)
    weight = np.array([cut, d.size - cut]) / d.size
    previous = -np.inf
    for _ in range(ITERATIONS):
        z = (d[:, None] - mean) / sd
        dense = weight / sd * np.exp(-0.5 * z**2) + 1e-300
        total = dense.sum(axis=1)
        share = dense / total[:, None]
        held = share.sum(axis=0)
        if held.min() < FEWEST:
            return None
        weight = held / d.size
        mean = (share * d[:, None]).sum(axis=0) / held
        sd = np.maximum(np.sqrt((share * (d[:, None] - mean) ** 2).sum(axis=0) / held), floor)
        likelihood = float(np.log(total).sum())
        if likelihood - previous < 1e-9 * abs(likelihood):
            break
        previous = likelihood
    order = np.argsort(mean)
    return SizeModel(mean[order], sd[order], weight[order], {}, d.size)


def _bic(model: SizeModel, d: np.ndarray) -> float:
    free = 3 * model.components - 1
    return float(free * np.log(d.size) - 2 * np.log(model.density(d) + 1e-300).sum())


def _floor(d: np.ndarray) -> float:
    """Smallest sd that is not a spike on a few equal values."""
    return max(0.02 * float(np.ptp(d)), 1e-12 * float(np.abs(d).max()), 1e-300)
