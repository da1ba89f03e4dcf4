"""What plans need of devices: bluesky's protocols and a little more."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from bluesky.protocols import Movable, Readable, Triggerable

from nucleation_bluesky.contract.ramp import Compliance, RampSpec


class SoftSignal(Protocol):
    """A value that costs no traffic."""

    def put(self, value: Any) -> None:
        """Set it at once."""
        ...

    def get(self) -> Any:
        """Present value."""
        ...


@runtime_checkable
class ExposureDevice(Readable, Protocol):
    """Exposes the site under the tip; its guard claims it."""

    guard: Any
    site: SoftSignal
    row: SoftSignal
    col: SoftSignal
    fast_segment_end: SoftSignal

    @property
    def roles(self) -> Mapping[str, str]:
        """Data key of each role in `contract.documents.PRIMARY_ROLES` that it reads."""
        ...

    def configure_exposure(
        self, spec: RampSpec, compliance: Compliance | None = None, *, max_samples: int | None
    ) -> None:
        """Say what the exposures of the next stage are; puts nothing.

        Raises
        ------
        ValueError
            If the controller cannot do it.
        """
        ...

    def stop(self, *, success: bool = False) -> None:
        """Safe state, through the kill PV."""
        ...


@runtime_checkable
class RampDevice(ExposureDevice, Triggerable, Protocol):
    """Runs one ramp per trigger in the controller."""

    waveform: Movable

    def check_spec(self, spec: RampSpec) -> None:
        """Refuse a ramp that the controller cannot run.

        Raises
        ------
        ValueError
            Saying which limit it exceeds.
        """
        ...


class MeasurementLike(Protocol):
    """One measurement of a software ramp, SI."""

    @property
    def count(self) -> int:
        """Increases by one with every new measurement."""
        ...

    @property
    def ticks(self) -> float:
        """Controller's monotonic clock, s."""
        ...

    @property
    def bias(self) -> float:
        """Bias at the electrode, V."""
        ...

    @property
    def current(self) -> float:
        """Current, A; negative reduces."""
        ...

    @property
    def height(self) -> float:
        """Height, m."""
        ...

    @property
    def saturated(self) -> bool:
        """Whether a channel was at full scale."""
        ...


class SteppedBias(Movable, Protocol):
    """Bias of a software ramp: a set is done when the step has been measured."""

    @property
    def last(self) -> MeasurementLike | None:
        """The latest measurement."""
        ...


@runtime_checkable
class SoftwareRampDevice(ExposureDevice, Protocol):
    """Lets a plan step the bias: trigger ``begin``, set ``bias``, set ``end``, read."""

    begin: Triggerable
    bias: SteppedBias
    end: Movable


@runtime_checkable
class Axis(Movable, Protocol):
    """One axis of a stage, in the sample frame."""

    @property
    def name(self) -> str:
        """Name."""
        ...

    @property
    def limits(self) -> tuple[float, float]:
        """Travel in the sample frame, m."""
        ...


@runtime_checkable
class StageDevice(Protocol):
    """XY stage that is moved in the sample frame."""

    x: Axis
    y: Axis
    frame_x: SoftSignal
    frame_y: SoftSignal
    frame_uncertainty: SoftSignal


class ImageLike(Protocol):
    """A topography: heights (rows, cols), m, and the edge of a pixel, m."""

    @property
    def heights(self) -> np.ndarray:
        """Heights, m, row index along +y."""
        ...

    @property
    def pixel_size(self) -> float:
        """Edge of a pixel, m."""
        ...


@runtime_checkable
class ImagerDevice(Readable, Triggerable, Protocol):
    """Takes topographies."""

    stream: SoftSignal

    @property
    def roles(self) -> Mapping[str, str]:
        """Data key of each role in `contract.documents.TOPOGRAPHY_ROLES`."""
        ...

    def configure_image(self, x: float, y: float, size: float, pixels: int) -> None:
        """Say what the next image is: centre (sample frame) and edge length, m; puts nothing."""
        ...

    def read_image(self) -> ImageLike:
        """Read back the image taken last."""
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
