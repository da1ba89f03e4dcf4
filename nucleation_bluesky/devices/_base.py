"""What the devices of one instrument share."""

from typing import Any

from ophyd import Device

from nucleation_bluesky.devices.controller import Controller


class InstrumentDevice(Device):
    """A device of an instrument, alone or as part of a group that has a ``controller``."""

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        self._own_controller: Controller | None = None
        super().__init__(prefix, name=name, **kwargs)

    @property
    def controller(self) -> Controller:
        """The instrument's controller (the parent's, or an own one when used alone)."""
        shared = getattr(self.parent, "controller", None)
        if isinstance(shared, Controller):
            return shared
        if self._own_controller is None:
            self._own_controller = Controller(self.prefix, name=f"{self.name}_controller")
        return self._own_controller
