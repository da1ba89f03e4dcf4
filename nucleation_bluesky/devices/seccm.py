"""The SECCM with its camera: all its devices under one name."""

from pathlib import Path
from typing import Any

from ophyd import Component

from nucleation_bluesky.devices._assets import DataDirectory
from nucleation_bluesky.devices.camera import FilmCamera
from nucleation_bluesky.devices.electrometer import Electrometer
from nucleation_bluesky.devices.guarded import GuardedDevice
from nucleation_bluesky.devices.instrument import Instrument
from nucleation_bluesky.devices.landing import Landing
from nucleation_bluesky.devices.pipette import Pipette
from nucleation_bluesky.devices.stage import Positioner


class SeccmInstrument(Instrument):
    """Scanning electrochemical cell microscope, with a camera that films through the glass.

    Parameters
    ----------
    prefix : str
        Of the controller's PVs, e.g. ``NB:SECCM:``.
    name : str
        Of the instrument.
    camera_prefix : str
        Of the camera's areaDetector IOC, e.g. ``NB:IRM:``; "" for an instrument without.

    Attributes
    ----------
    camera : FilmCamera or None
        The camera.
    """

    family = "seccm"
    landing = Component(Landing, "")
    pipette = Component(Pipette, "")
    electrometer = Component(Electrometer, "")

    def __init__(
        self, prefix: str = "", *, name: str, camera_prefix: str = "", **kwargs: Any
    ) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self.camera: FilmCamera | None = None
        if camera_prefix:
            # no component: its PVs do not share the instrument's prefix
            self.camera = FilmCamera(camera_prefix, name=f"{name}_camera")
            self.camera.clock = self.controller.utc_now

    @property
    def positioner(self) -> Positioner:
        """The pipette."""
        return self.pipette

    @property
    def exposers(self) -> tuple[GuardedDevice[Any], ...]:
        """The landing."""
        return (self.landing,)

    @property
    def companions(self) -> tuple[Any, ...]:
        """The camera, where there is one."""
        return () if self.camera is None else (self.camera,)

    def connect(self, owner: str | None = None) -> None:
        """Connect controller and camera (see `Instrument.connect`)."""
        super().connect(owner)
        if self.camera is not None:
            self.camera.connect()

    def set_data_directory(self, local: Path, controller: str = "", camera: str = "") -> None:
        """Say where files go, on this machine and (if different) as controller and camera see it.

        Films go to the directory ``film`` below it.
        """
        super().set_data_directory(local, controller)
        if self.camera is not None:
            seen = camera or (f"{controller.rstrip('/')}/film" if controller else "")
            self.camera.data_directory = DataDirectory(Path(local) / "film", seen)

    def stop(self, *, success: bool = False) -> None:
        """Kill unless the run ended in order; stop motion and camera."""
        super().stop(success=success)
        if self.camera is not None:
            self.camera.stop(success=success)

    def destroy(self) -> None:
        """Close all channels."""
        if self.camera is not None:
            self.camera.destroy()
        super().destroy()
