"""Which condition is measured at which site: in order, randomised, or in randomised blocks."""

from collections.abc import Sequence

import numpy as np

ASSIGNMENTS = ("in_order", "random", "blocked")


def schedule(
    repeats: Sequence[int], assignment: str = "in_order", seed: int = 0
) -> list[tuple[int, int]]:
    """Conditions and repeats in the order of landings.

    Parameters
    ----------
    repeats : sequence of int
        Landings of each condition.
    assignment : str
        "in_order" (all of the first condition, then of the second ...), "random" (any order), or
        "blocked" (one landing of each condition, shuffled, then the next block: what drifts acts
        on all conditions alike; Fisher, The Design of Experiments, 1935).
    seed : int
        Of the order.

    Returns
    -------
    list of (int, int)
        Condition and number of its repeat, both from 0.

    Raises
    ------
    ValueError
        If a number is below 1 or the assignment is unknown.
    """
    if assignment not in ASSIGNMENTS:
        raise ValueError(f"assignment '{assignment}' is not one of {', '.join(ASSIGNMENTS)}")
    if not repeats or min(repeats) < 1:
        raise ValueError("every condition needs 1 or more repeats")
    pairs = [(c, r) for c, n in enumerate(repeats) for r in range(n)]
    if assignment == "in_order":
        return pairs
    rng = np.random.default_rng(seed)
    if assignment == "random":
        return [pairs[k] for k in rng.permutation(len(pairs))]
    blocks = [[c for c, n in enumerate(repeats) if n > r] for r in range(max(repeats))]
    return [(block[k], r) for r, block in enumerate(blocks) for k in rng.permutation(len(block))]
