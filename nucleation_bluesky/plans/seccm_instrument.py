"""The parts of an SECCM that plans use, checked before anything moves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from bluesky.protocols import Flyable, Movable, Readable, Triggerable

from nucleation_bluesky.contract.program import Program
from nucleation_bluesky.plans.instrument import SiteParts, shared_parts
from nucleation_bluesky.plans.protocols import SoftSignal, StageDevice


@runtime_checkable
class LandingDevice(Readable, Triggerable, Protocol):
    """Runs one landing per trigger in the controller; its guard claims the site."""

    guard: Any
    site: SoftSignal
    row: SoftSignal
    col: SoftSignal
    condition: SoftSignal
    repeat: SoftSignal
    program: Movable

    @property
    def roles(self) -> Mapping[str, str]:
        """Data key of each role in `contract.documents.SECCM_ROLES` that it reads."""
        ...

    def configure_exposure(self, program: Program, *, max_samples: int | None) -> None:
        """Say what the landings of the next stage are; puts nothing (ValueError if impossible)."""
        ...

    def check_spec(self, program: Program) -> None:
        """Refuse a program that the controller cannot run (ValueError)."""
        ...

    def samples(self, program: Program) -> int:
        """Most samples that a landing of this program can have."""
        ...

    def stop(self, *, success: bool = False) -> None:
        """Safe state, through the kill PV."""
        ...


@runtime_checkable
class PipetteDevice(StageDevice, Protocol):
    """Positions the pipette; lateral moves need a safe height."""

    @property
    def at_safe_height(self) -> bool:
        """Whether lateral moves are accepted where the pipette is."""
        ...

    def measured_position(self) -> Any:
        """Position with ``x`` and ``y``, m."""
        ...


@runtime_checkable
class CameraDevice(Flyable, Protocol):
    """Films landings: kickoff, complete, collect; ``film`` reads which frames they were."""

    film: Any

    @property
    def roles(self) -> Mapping[str, str]:
        """Data key of each role of the stream of frames and of the record."""
        ...

    def configure_film(self, *, exposure: float, period: float) -> None:
        """Say exposure time and time between frames, s; 0 leaves them; puts nothing."""
        ...

    def require_room(self, seconds: float) -> None:
        """Refuse (ValueError) films of so many seconds in all that the disk cannot hold."""
        ...

    def stop(self, *, success: bool = False) -> None:
        """Stop the camera."""
        ...


@dataclass(frozen=True)
class SeccmParts(SiteParts):
    """What was found on an SECCM."""

    landing: LandingDevice
    pipette: PipetteDevice
    camera: CameraDevice | None

    @property
    def wetting(self) -> tuple[float, float]:
        """Opening of the pipette, m, and wetting ratio, as the session knows them; 0 if not."""
        known = self.context.get("pipette") or {}
        return float(known.get("opening", 0.0)), float(known.get("wetting_ratio", 0.0))

    def require_safe_height(self) -> None:
        """Refuse to move sideways with the pipette down.

        Raises
        ------
        ValueError
            Saying what to do.
        """
        if not self.pipette.at_safe_height:
            raise ValueError(
                "the pipette is too near to the sample for lateral moves; withdraw it first "
                f"('{self.name}.pipette.z' to a smaller extension)"
            )


def seccm_parts(instrument: Any, *, film: bool) -> SeccmParts:
    """Find landing device, pipette, camera and guard of an instrument.

    Raises
    ------
    TypeError
        If the object is no instrument that these plans can use.
    """
    landing, pipette = getattr(instrument, "landing", None), getattr(instrument, "pipette", None)
    if not isinstance(landing, LandingDevice) or not isinstance(pipette, PipetteDevice):
        raise TypeError(
            f"{instrument!r} is not an instrument with a landing device ('landing') and a pipette "
            "('pipette'); pass the SECCM device of the session (instrument.family = 'seccm')"
        )
    camera = getattr(instrument, "camera", None)
    if camera is not None and not isinstance(camera, CameraDevice):
        raise TypeError(f"the camera of {instrument!r} cannot film for a plan")
    return SeccmParts(
        stage=pipette,
        **shared_parts(instrument, landing),
        landing=landing,
        pipette=pipette,
        camera=camera if film else None,
    )
