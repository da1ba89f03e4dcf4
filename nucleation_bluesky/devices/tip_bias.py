"""The tip's bias: movable only while a software ramp is energised."""

import math
import time
from dataclasses import dataclass
from typing import Any

from ophyd.status import DeviceStatus

from nucleation_bluesky.contract.pvs import MEASUREMENT_FIELDS
from nucleation_bluesky.devices._base import InstrumentDevice
from nucleation_bluesky.devices._signals import TIMEOUT, contract_signal
from nucleation_bluesky.devices._worker import Worker
from nucleation_bluesky.devices.errors import (
    BadValueError,
    ContractError,
    NotConnectedError,
    PutRefusedError,
)

_FRESH = 0.5  # s: how long a new measurement may take (the contract says 10 ms)
_POLL = 0.002


@dataclass(frozen=True)
class Measurement:
    """One fresh measurement, SI."""

    count: int
    ticks: float
    bias: float
    current: float
    height: float
    saturated: bool


class TipBias(InstrumentDevice):
    """Bias setpoint of a software ramp, with the measurement that follows each step.

    Attributes
    ----------
    tolerance : float
        Largest difference between commanded and measured bias, V.
    last : Measurement or None
        The latest measurement.
    """

    setpoint = contract_signal("BIAS")
    readback = contract_signal("BIAS:RBV")
    measurement = contract_signal("MEASUREMENT")

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        self.tolerance = 5e-3
        self.last: Measurement | None = None
        self._worker = Worker(f"{name}-worker")
        super().__init__(prefix, name=name, **kwargs)

    def check_value(self, value: float, **_kwargs: Any) -> None:
        """Refuse a bias that is not finite or out of range (BadValueError)."""
        low, high = self.controller.capabilities.bias_range
        if not (math.isfinite(value) and low <= value <= high):
            raise BadValueError(
                f"a bias of {value} V is refused: the controller allows {low:g} to {high:g} V"
            )

    def set(self, value: float, **_kwargs: Any) -> DeviceStatus:
        """Step to a bias; done when the output has settled and a fresh measurement confirms it.

        Raises
        ------
        BadValueError
            Before anything is put.
        """
        self.check_value(value)
        status = DeviceStatus(self, timeout=3 * TIMEOUT)
        return self._worker.submit(status, lambda: self._step(float(value)))

    def measure(self) -> Measurement:
        """Wait for a measurement newer than the last one.

        Raises
        ------
        NotConnectedError
            If none comes: stale data must not be taken for new.
        """
        before = self.last.count if self.last else None
        deadline = time.monotonic() + _FRESH
        while True:
            values = self.measurement.get()
            if len(values) < len(MEASUREMENT_FIELDS):
                raise ContractError(f"{self.measurement.pvname} is shorter than the contract says")
            if before is None or int(values[0]) != before:
                break
            if time.monotonic() > deadline:
                raise NotConnectedError(
                    f"{self.measurement.pvname} has stopped: no new measurement for {_FRESH:g} s"
                )
            self._worker.pause(_POLL)
        count, ticks, bias, current, height, saturated = values[: len(MEASUREMENT_FIELDS)].tolist()
        self.last = Measurement(int(count), ticks, bias, current, height, bool(saturated))
        return self.last

    def _step(self, value: float) -> None:
        self.setpoint.command(value)
        found = self.measure()
        if abs(found.bias - value) > self.tolerance:
            raise PutRefusedError(
                f"the bias was to become {value:g} V but is {found.bias:g} V "
                f"({self.controller.fault_description()}); it moves only in a software ramp"
            )

    def read(self) -> Any:
        """Return the last step, or of the readback where no ramp has run (SI)."""
        now = time.time()
        if self.last is None:
            values = {"": self.readback.get(), "_current": math.nan, "_height": math.nan}
        else:
            last = self.last
            values = {"": last.bias, "_current": last.current, "_height": last.height}
        return {f"{self.name}{k}": {"value": v, "timestamp": now} for k, v in values.items()}

    def describe(self) -> Any:
        """Return the data keys of `read`."""
        units = {"": "V", "_current": "A", "_height": "m"}
        key: dict[str, Any] = {
            "source": f"PV:{self.measurement.pvname}",
            "dtype": "number",
            "shape": [],
        }
        key |= {"dtype_numpy": "<f8"}
        return {f"{self.name}{k}": key | {"units": u} for k, u in units.items()}

    def stop(self, *, success: bool = False) -> None:
        """Kill: the safe state, at once. At the orderly end of a run there is nothing to stop."""
        parent_active = getattr(self.parent, "active", False)
        if parent_active or not success:
            self.controller.kill()
