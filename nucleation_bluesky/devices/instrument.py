"""What every instrument is: a controller, devices that expose sites, and a positioner."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from ophyd import Component, Device

from nucleation_bluesky.contract.enums import SafeState
from nucleation_bluesky.devices._assets import DataDirectory
from nucleation_bluesky.devices.controller import Controller, check_units
from nucleation_bluesky.devices.errors import ContractError, InstrumentError
from nucleation_bluesky.devices.guarded import ExposureGuard, GuardedDevice
from nucleation_bluesky.devices.stage import Positioner


class Instrument(Device, ABC):
    """Base of the instruments: connecting, guarding, staging, killing.

    Parameters
    ----------
    prefix : str
        Of the controller's PVs.
    name : str
        Of the instrument.
    """

    family: ClassVar[str]
    controller = Component(Controller, "", kind="omitted")

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        self.session_metadata: dict[str, Any] = {}
        self._in_use: list[Device] = []
        super().__init__(prefix, name=name, **kwargs)

    @property
    @abstractmethod
    def positioner(self) -> Positioner:
        """What moves probe and sample against each other."""

    @property
    @abstractmethod
    def exposers(self) -> tuple[GuardedDevice[Any], ...]:
        """The devices that expose sites."""

    @property
    def companions(self) -> tuple[Any, ...]:
        """Devices that are staged with whichever device exposes."""
        return ()

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
            "family": self.family,
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
            If nobody answers within 8 s.
        ContractError
            If the contract or the instrument family differs; WrongUnitError if a unit has another
            dimension.
        OwnedByOtherError
            If another living session owns the instrument.
        """
        self.controller.check()
        found = self.controller.family_name
        if found != self.family:
            raise ContractError(
                f"the controller at {self.prefix} is of the family '{found}', not '{self.family}'; "
                "correct the prefix or instrument.family in the configuration"
            )
        check_units(self)
        if owner is not None:
            self.controller.acquire(owner)

    def set_data_directory(self, local: Path, controller: str = "") -> None:
        """Say where files go, on this machine and (if different) as the controller sees it."""
        directory = DataDirectory(Path(local), controller)
        for device in (*self.exposers, *self.companions):
            device.data_directory = directory

    def set_guard(self, guard: ExposureGuard | None) -> None:
        """Attach a guard to everything that exposes sites."""
        for device in self.exposers:
            device.guard = guard

    def stage(self) -> list[object]:
        """Stage the companions and what was configured last (plans stage whole instruments).

        Raises
        ------
        InstrumentError
            If the controller refuses a parameter or does not answer.
        """
        self.unstage()  # what a halted run left behind
        ready = [device for device in self.exposers if device.configured >= 0]
        chosen = max(ready, key=lambda device: device.configured, default=None)
        devices = [*self.companions] if chosen is None else [*self.companions, chosen]
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
        return any(device.active for device in self.exposers)

    def kill(self) -> bool:
        """Bring the safe state at once (see `Controller.kill`)."""
        sent = self.controller.kill()
        self.controller.forget_epoch()
        return sent

    def stop(self, *, success: bool = False) -> None:
        """Kill unless the run ended in order; stop motion."""
        if self.exposing or not success:
            self.kill()
        self.positioner.stop(success=success)
