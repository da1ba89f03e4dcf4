"""One figure of a report, drawn when it is needed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from matplotlib.figure import Figure

T = TypeVar("T")


@dataclass(frozen=True)
class Plate:
    """One figure of the report.

    Parameters
    ----------
    name : str
        File name without suffix.
    title, caption, counterpart : str
        Words below it; ``counterpart`` names the figure of Kumar et al. 2013, if any.
    draw : callable
        Makes the figure; raises ValueError with the reason where the data do not allow it.
    """

    name: str
    title: str
    caption: str
    counterpart: str
    draw: Callable[[], Figure]


def need(value: T | None, reason: str) -> T:
    """Return ``value``, or raise ValueError with the reason why there is none."""
    if value is None:
        raise ValueError(reason)
    return value
