"""What goes into the ledger and what comes out."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nucleation_bluesky.ledger.errors import BadPositionError
from nucleation_bluesky.ledger.schema import ExposureState, MountKind


@dataclass(frozen=True)
class Position:
    """A measured position.

    Parameters
    ----------
    x, y : float
        Position in the frame, m.
    uncertainty : float
        Standard uncertainty of the position in that frame, m.
    frame : str
        Name of the frame.
    """

    x: float
    y: float
    uncertainty: float = 0.0
    frame: str = "sample"


@dataclass(frozen=True)
class Registration:
    """Where the frame of a new mount lies on the sample.

    A point (x, y) of the mount lies at R(angle) (x, y) + (dx, dy) in the frame of the mount in
    which this area of the sample was first exposed.

    Parameters
    ----------
    dx, dy : float
        Shift, m.
    angle : float
        Counter-clockwise rotation, rad.
    uncertainty : float
        Standard uncertainty of a position so transformed, m.
    """

    dx: float
    dy: float
    angle: float = 0.0
    uncertainty: float = 0.0

    def __post_init__(self) -> None:
        if not all(math.isfinite(v) for v in (self.dx, self.dy, self.angle, self.uncertainty)):
            raise BadPositionError("a registration needs finite dx, dy, angle and uncertainty")
        if self.uncertainty < 0:
            raise BadPositionError("the uncertainty of a registration must not be negative")

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Transform points of shape (n, 2), m."""
        c, s = math.cos(self.angle), math.sin(self.angle)
        return np.asarray(points) @ np.array([[c, s], [-s, c]]) + np.array([self.dx, self.dy])


@dataclass(frozen=True)
class SiteClaim:
    """A wish to expose a site.

    Parameters
    ----------
    sample, epoch : str, int
        Sample and its present mount.
    x, y, position_uncertainty : float
        Measured position in the mount's frame and its standard uncertainty, m.
    owner : str
        Session that exposes.
    min_distance : float
        Nearest other exposure that is tolerated, m.
    exposures_per_site : int
        How often one site may be exposed.
    technique, frame : str
        Recorded with the exposure.

    Raises
    ------
    BadPositionError
        If a number is not finite or is negative where it must not be.
    """

    sample: str
    epoch: int
    x: float
    y: float
    owner: str
    position_uncertainty: float = 0.0
    min_distance: float = 0.0
    exposures_per_site: int = 1
    technique: str = ""
    frame: str = "sample"

    def __post_init__(self) -> None:
        numbers = (self.x, self.y, self.position_uncertainty, self.min_distance)
        if not all(math.isfinite(v) for v in numbers):
            raise BadPositionError(
                f"a site needs a finite position, uncertainty and minimum distance (got x={self.x}"
                f", y={self.y}, uncertainty={self.position_uncertainty}, "
                f"min_distance={self.min_distance}); check the stage's readback"
            )
        if self.position_uncertainty < 0 or self.min_distance < 0:
            raise BadPositionError("uncertainty and minimum distance must be 0 m or more")
        if self.exposures_per_site < 1:
            raise BadPositionError("exposures_per_site must be 1 or more")


@dataclass(frozen=True)
class Exposure:
    """One exposure as recorded; ``detail`` is the outcome (DONE) or the reason (BURNED)."""

    id: int
    token: str
    sample: str
    epoch: int
    frame: str
    x: float
    y: float
    position_uncertainty: float
    technique: str
    owner: str
    time: float
    state: ExposureState
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Mount:
    """One mount of a sample; ``area`` numbers the regions that share a frame."""

    sample: str
    epoch: int
    time: float
    kind: MountKind
    area: int
    registration: Registration
