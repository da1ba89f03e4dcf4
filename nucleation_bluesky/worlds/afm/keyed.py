"""Random numbers by key: the same key gives the same numbers, whatever was drawn before."""

from hashlib import blake2b

import numpy as np

_SQRT2 = np.sqrt(2.0)


def keyed_generator(seed: int, *key: int | str) -> np.random.Generator:
    """Return a generator that depends on ``seed`` and ``key`` only."""
    digest = blake2b(repr((seed, key)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


class SmoothField:
    """A stationary Gaussian field of unit variance over the plane, as a function of position.

    Sum of random cosines (spectral method); correlation ``exp(-(r/length)^2)``.

    Parameters
    ----------
    seed, label : int, str
        Key of the field.
    length : float
        Distance at which the correlation falls to 1/e, m.
    terms : int
        Number of cosines.
    """

    def __init__(self, seed: int, label: str, length: float, terms: int = 384) -> None:
        rng = keyed_generator(seed, "field", label)
        self._kx, self._ky = rng.standard_normal((2, terms)) * (_SQRT2 / length)
        self._phase = rng.uniform(0, 2 * np.pi, terms)
        self._scale = np.sqrt(2.0 / terms)

    def at(self, x: float, y: float = 0.0) -> float:
        """Value at a point."""
        return float(self._scale * np.cos(self._kx * x + self._ky * y + self._phase).sum())

    def points(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Values at points, shape (n,)."""
        phase = np.multiply.outer(x, self._kx) + np.multiply.outer(y, self._ky) + self._phase
        return self._scale * np.cos(phase).sum(axis=-1)

    def grid(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Values on a grid, shape (len(y), len(x)); separable, hence two matrix products."""
        px = np.multiply.outer(self._kx, x) + self._phase[:, None]
        py = np.multiply.outer(y, self._ky)
        return self._scale * (np.cos(py) @ np.cos(px) - np.sin(py) @ np.sin(px))
