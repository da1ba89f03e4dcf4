"""Sums of small regression trees, as they are fitted elsewhere and kept in a file of arrays."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Forest:
    """A sum of regression trees; node arrays have shape (trees, nodes).

    Parameters
    ----------
    names : tuple of str
        Traits, in the order of the columns.
    base : float
        Added to the sum.
    trait : ndarray of int
        Column that a node asks for; -1 at a leaf.
    limit : ndarray
        Up to this value the left branch is taken.
    left, right : ndarray of int
        Nodes that follow.
    value : ndarray
        Of a leaf.
    """

    names: tuple[str, ...]
    base: float
    trait: np.ndarray
    limit: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray

    @classmethod
    def read(cls, arrays: Mapping[str, np.ndarray], prefix: str) -> "Forest":
        """Take the arrays of one forest out of a file."""
        nodes = {k: arrays[f"{prefix}_{k}"] for k in ("trait", "limit", "left", "right", "value")}
        names = tuple(str(n) for n in arrays[f"{prefix}_names"])
        return cls(names, float(arrays[f"{prefix}_base"]), **nodes)

    def __call__(self, found: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the sum for every region, shape (n,)."""
        columns = np.stack([found[name] for name in self.names], axis=1).astype(np.float32)
        every = np.arange(len(columns))
        total = np.full(len(columns), self.base)
        for trait, limit, left, right, value in zip(
            self.trait, self.limit, self.left, self.right, self.value, strict=True
        ):
            node = np.zeros(len(columns), dtype=np.intp)
            while True:
                asked = trait[node]
                open_ = asked >= 0
                if not open_.any():
                    break
                low = columns[every, np.maximum(asked, 0)] <= limit[node]
                node = np.where(open_, np.where(low, left[node], right[node]), node)
            total += value[node]
        return total
