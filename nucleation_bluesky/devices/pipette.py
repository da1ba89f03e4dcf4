"""The pipette's three piezo axes: lateral moves at a safe height, Z up to its soft limit."""

import math
from typing import Any

from ophyd import Component
from ophyd.status import DeviceStatus

from nucleation_bluesky.devices._signals import contract_signal, read_together
from nucleation_bluesky.devices.errors import BadValueError
from nucleation_bluesky.devices.stage import Positioner, StageAxis

GRACE = 10.0  # s beyond the way at the set speed


class PipetteAxis(StageAxis):
    """One axis; its speed is limited by the controller.

    Attributes
    ----------
    speed : ContractSignal
        Speed of moves, m/s.
    speed_max : ContractSignal
        Highest speed that the controller accepts, m/s.
    """

    speed: Any
    speed_max: Any

    def set(self, value: float, **kwargs: Any) -> DeviceStatus:
        """Move; the deadline follows from way and speed.

        Raises
        ------
        BadValueError
            Before anything moves.
        """
        self.check_value(value)
        found, speed = read_together([self.readback, self.speed])
        self.saw(found)
        self.move_timeout = self.duration(float(value), speed) + GRACE
        return super().set(value, **kwargs)

    def duration(self, value: float, speed: float) -> float:
        """Time that a move from where the axis was last seen takes, s."""
        way = abs(value + self.offset - self._seen[0])
        return way / speed if speed > 0 and math.isfinite(way) else 0.0

    def check_speed(self, speed: float) -> None:
        """Refuse a speed that is not finite, not above 0 or too high.

        Raises
        ------
        BadValueError
            Naming the limit.
        """
        highest = float(self.speed_max.get())
        if not (math.isfinite(speed) and 0 < speed <= highest):
            raise BadValueError(
                f"{self.name} cannot move at {speed * 1e6:g} um/s: above 0 to {highest * 1e6:g} "
                "um/s are possible"
            )


class PipetteX(PipetteAxis):
    """X."""

    setpoint = contract_signal("PIP:X")
    readback = contract_signal("PIP:X:RBV")
    low = contract_signal("PIP:X:LOW")
    high = contract_signal("PIP:X:HIGH")
    speed = contract_signal("PIP:X:SPEED", kind="config")
    speed_max = contract_signal("PIP:X:SPEED:MAX")
    stop_signal = contract_signal("PIP:STOP")


class PipetteY(PipetteAxis):
    """Y."""

    setpoint = contract_signal("PIP:Y")
    readback = contract_signal("PIP:Y:RBV")
    low = contract_signal("PIP:Y:LOW")
    high = contract_signal("PIP:Y:HIGH")
    speed = contract_signal("PIP:Y:SPEED", kind="config")
    speed_max = contract_signal("PIP:Y:SPEED:MAX")
    stop_signal = contract_signal("PIP:STOP")


class PipetteZ(PipetteAxis):
    """Z: extension towards the sample. A move of it does not look for contact: a landing does."""

    setpoint = contract_signal("PIP:Z")
    readback = contract_signal("PIP:Z:RBV")
    low = contract_signal("PIP:Z:LOW")
    high = contract_signal("PIP:Z:HIGH")
    speed = contract_signal("PIP:Z:SPEED", kind="config")
    speed_max = contract_signal("PIP:Z:SPEED:MAX")
    stop_signal = contract_signal("PIP:STOP")
    soft_limit = contract_signal("PIP:Z:SOFT_LIMIT", kind="config")
    safe = contract_signal("PIP:Z:SAFE")

    def check_value(self, value: float, **kwargs: Any) -> None:
        """Refuse a target off the travel or beyond the soft limit (BadValueError)."""
        super().check_value(value, **kwargs)
        limit = float(self.soft_limit.get())
        if value > limit:
            raise BadValueError(
                f"{self.name} cannot go to {value * 1e6:g} um: its soft limit is {limit * 1e6:g} "
                "um; raise the limit if the sample allows it"
            )


class Pipette(Positioner):
    """Pipette on its piezos; z counts towards the sample."""

    x = Component(PipetteX, "")
    y = Component(PipetteY, "")
    z = Component(PipetteZ, "")
    clearance = contract_signal("PIP:CLEARANCE", kind="config")

    @property
    def axes(self) -> tuple[StageAxis, ...]:
        """All axes."""
        return (self.x, self.y, self.z)

    @property
    def at_safe_height(self) -> bool:
        """Whether the controller accepts lateral moves where the pipette is."""
        z, safe = read_together([self.z.readback, self.z.safe])
        return z <= safe + self.z.tolerance
