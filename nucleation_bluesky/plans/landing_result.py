"""What landings return to the plan that asked for them."""

import math
from dataclasses import dataclass, field

from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.plans.results import INTERRUPTED


@dataclass(frozen=True)
class LandingResult:
    """Summary of one landing, SI units; fields are roles of `contract.documents.SECCM_ROLES`.

    A number that the device does not report is NaN, an integer -1.
    """

    termination: Termination
    contact: int = -1
    contact_z: float = math.nan
    contact_ticks: float = math.nan
    overtravel: float = math.nan
    false_contacts: int = -1
    stop_bias: float = math.nan
    stop_current: float = math.nan
    charge: float = math.nan
    duration: float = math.nan
    x: float = math.nan
    y: float = math.nan
    n_samples: int = -1
    trip_index: int = -1
    trip_segment: int = -1
    condition: int = -1
    repeat: int = -1
    film_first: int = -1
    film_count: int = 0
    exposure: str = ""

    @property
    def touched(self) -> bool:
        """Whether the meniscus touched the surface."""
        return self.contact == 1

    @property
    def interrupted(self) -> bool:
        """Whether the instrument, not the sample, ended the landing for good."""
        return self.termination in INTERRUPTED


@dataclass
class LandingsResult:
    """What a run of landings returns.

    Parameters
    ----------
    uid : str
        Of the run.
    n_sites : int
        Sites planned in this run.
    results : dict of int to LandingResult
        By site index.
    """

    uid: str = ""
    n_sites: int = 0
    results: dict[int, LandingResult] = field(default_factory=dict)

    @property
    def n_contacts(self) -> int:
        """Landings that found the surface."""
        return sum(result.touched for result in self.results.values())
