"""The AFM: all its devices under one name."""

from pathlib import Path
from typing import Any

from ophyd import Component, Device

from nucleation_bluesky.contract.enums import SafeState
from nucleation_bluesky.devices._assets import DataDirectory
from nucleation_bluesky.devices.amplifier import CurrentAmplifier
from nucleation_bluesky.devices.controller import Controller, check_units
from nucleation_bluesky.devices.errors import InstrumentError
from nucleation_bluesky.devices.exposure import ExposureGuard
from nucleation_bluesky.devices.imager import TopographyImager
from nucleation_bluesky.devices.ramp import RampController
from nucleation_bluesky.devices.software_ramp import SoftwareRamp
from nucleation_bluesky.devices.stage import XYStage
from nucleation_bluesky.devices.tip_bias import TipBias
from nucleation_bluesky.devices.z_sensor import ZSensor


class AfmInstrument(Device):
    """Atomic force microscope for bias ramps in contact.

    Parameters
    ----------
    prefix : str
        Of all PVs, e.g. ``NB:AFM:``.
    name : str
        Of the instrument.
    """

    controller = Component(Controller, "", kind="omitted")
    ramp = Component(RampController, "")
    software_ramp = Component(SoftwareRamp, "", kind="omitted")
    stage_xy = Component(XYStage, "")
    amplifier = Component(CurrentAmplifier, "")
    z = Component(ZSensor, "")
    bias = Component(TipBias, "", kind="omitted")
    imager = Component(TopographyImager, "", kind="omitted")

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        self.session_metadata: dict[str, Any] = {}
        self._in_use: list[Device] = []
        super().__init__(prefix, name=name, **kwargs)

    def start_metadata(self) -> dict[str, Any]:
        """Return what session and controller contribute to a run's ``nucleation`` block.

        Raises
        ------
        NotConnectedError
            If the controller does not answer.
        """
        controller = self.controller
        clock = controller.measure_clock()
        return {
            **self.session_metadata,
            "capabilities": controller.capabilities.document(),
            "clock": {"utc_offset": clock.utc_offset, "uncertainty": clock.uncertainty},
            "safe_state": {
                "policy": SafeState(controller.safe_policy.get()).label,
                "bias": controller.safe_bias.get(),
            },
        }

    def connect(self, owner: str | None = None) -> None:
        """Connect, check contract version and every unit; become the owner if one is given.

        Raises
        ------
        NotConnectedError
            If nobody answers within about 2 s.
        ContractError
            If the contract differs; WrongUnitError if a unit has another dimension.
        OwnedByOtherError
            If another living session owns the instrument.
        """
        self.controller.check()
        check_units(self)
        if owner is not None:
            self.controller.acquire(owner)

    def set_data_directory(self, local: Path, controller: str = "") -> None:
        """Say where files go, on this machine and (if different) as the controller sees it."""
        directory = DataDirectory(Path(local), controller)
        for device in (self.ramp, self.software_ramp, self.imager):
            device.data_directory = directory

    def set_guard(self, guard: ExposureGuard | None) -> None:
        """Attach a guard to both kinds of ramp."""
        self.ramp.guard = self.software_ramp.guard = guard

    def stage(self) -> list[object]:
        """Stage the imager and the ramp that was configured last (plans stage whole instruments).

        Raises
        ------
        InstrumentError
            If the controller refuses a parameter or does not answer.
        """
        self.unstage()  # what a halted run left behind
        ramps = [r for r in (self.ramp, self.software_ramp) if r.spec is not None]
        chosen = max(ramps, key=lambda r: r.configured, default=None)
        devices = [self.imager] if chosen is None else [self.imager, chosen]
        for device in devices:
            self._in_use.append(device)
            device.stage()
        return [self, *devices]

    def unstage(self) -> list[object]:
        """Unstage what `stage` staged; every device is tried.

        Raises
        ------
        InstrumentError
            The first one that a device raised.
        """
        problems = []
        devices, self._in_use = self._in_use[::-1], []
        for device in devices:
            try:
                device.unstage()
            except InstrumentError as exc:
                problems.append(exc)
        if problems:
            raise problems[0]
        return [*devices, self]

    @property
    def exposing(self) -> bool:
        """Whether an exposure is under way."""
        return self.ramp.active or self.software_ramp.active

    def kill(self) -> bool:
        """Bring the safe state at once (see `Controller.kill`)."""
        sent = self.controller.kill()
        self.controller.forget_epoch()
        return sent

    def stop(self, *, success: bool = False) -> None:
        """Stop motion; kill unless the run ended in order."""
        self.stage_xy.stop(success=success)
        if self.exposing or not success:
            self.kill()
