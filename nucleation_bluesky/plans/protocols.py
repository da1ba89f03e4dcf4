"""What plans need of devices: bluesky's protocols and a little more."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from bluesky.protocols import Movable, Preparable, Readable, Status

from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.contract.ramp import Compliance, RampSpec

Limits = tuple[tuple[float, float], tuple[float, float]]


@runtime_checkable
class RampDevice(Readable, Preparable, Protocol):
    """Runs one exposure per trigger; its guard claims the site."""

    @property
    def roles(self) -> Mapping[str, str]:
        """Data key of each role in `contract.documents.PRIMARY_ROLES` that it reads."""
        ...

    def check(self, spec: RampSpec, compliance: Compliance) -> None:
        """Refuse, without touching the controller, what it cannot do.

        Raises
        ------
        ValueError
            With what to change.
        """
        ...

    def prepare(self, value: tuple[RampSpec, Compliance]) -> Status:
        """Take over the ramp of the following exposures."""
        ...

    def trigger(self) -> Status:
        """Claim the site and run the ramp."""
        ...

    def stop(self, *, success: bool = False) -> None:
        """Safe state, through the kill PV."""
        ...


@runtime_checkable
class SoftwareRampDevice(RampDevice, Protocol):
    """A ramp device that also lets a plan step the bias."""

    def begin(self) -> Status:
        """Claim the site and energise under the plan's control."""
        ...

    def set(self, value: float) -> Status:
        """Set the bias, V; done when a measurement of it has been taken."""
        ...

    def measure(self) -> Mapping[str, float]:
        """Latest measurement (`contract.pvs.MEASUREMENT_FIELDS`), fresh since the last set."""
        ...

    def end(self, termination: Termination) -> Status:
        """Safe state with this termination; afterwards the device reads the exposure's result."""
        ...


@runtime_checkable
class StageDevice(Protocol):
    """XY stage that is moved in the sample frame."""

    x: Movable
    y: Movable

    @property
    def travel(self) -> Limits:
        """((x low, x high), (y low, y high)) in the sample frame, m."""
        ...

    @property
    def frame_offset(self) -> tuple[float, float]:
        """Stage position of the sample frame's origin, m."""
        ...

    @property
    def position_uncertainty(self) -> float:
        """Standard uncertainty of a position in the sample frame, m."""
        ...

    def set_frame(self, dx: float, dy: float, uncertainty: float) -> None:
        """Place the sample frame: offset and standard uncertainty of a position, m."""
        ...


@runtime_checkable
class ImagerDevice(Readable, Preparable, Protocol):
    """Takes topographies."""

    @property
    def roles(self) -> Mapping[str, str]:
        """Data key of each role in `contract.documents.TOPOGRAPHY_ROLES`."""
        ...

    def prepare(self, value: Mapping[str, Any]) -> Status:
        """Take over ``x``, ``y`` (sample frame, m), ``size`` (m) and ``pixels``."""
        ...

    def trigger(self) -> Status:
        """Take the image."""
        ...

    def last_image(self) -> tuple[np.ndarray, float]:
        """Return the image taken last and its pixel size: heights (rows, cols), m; m."""
        ...


@runtime_checkable
class SiteLedger(Protocol):
    """The ledger's query."""

    def free(
        self,
        sites: np.ndarray,
        *,
        sample: str,
        epoch: int | None = None,
        min_distance: float = 0.0,
        exposures_per_site: int = 1,
        position_uncertainty: float = 0.0,
    ) -> np.ndarray:
        """Which sites, shape (n, 2) in m, a claim would be granted for."""
        ...


@runtime_checkable
class SiteGuard(Protocol):
    """What a plan asks the guard of a ramp device (which does the claiming)."""

    ledger: SiteLedger
    sample: str
    epoch: int
    min_distance: float
    exposures_per_site: int
