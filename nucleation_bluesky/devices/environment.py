"""Environment sensors: read by a thread of their own, so that no plan waits for one."""

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pint
from ophyd import EpicsSignalRO

from nucleation_bluesky.contract.quantities import NOT_A_QUANTITY, unit_registry

logger = logging.getLogger(__name__)
TIMEOUT = 2.0  # s, for connecting and reading


@dataclass(frozen=True)
class Reading:
    """One reading, SI; NaN with a ``problem`` where there is none."""

    value: float
    time: float  # s since 1970
    problem: str = ""


class EnvironmentSensor:
    """One PV of the environment, in SI.

    Parameters
    ----------
    name : str
        Quantity, for instance "oxygen".
    pv : str
        Full PV name.
    unit : str
        SI unit ("" for a fraction); the PV's EGU must convert to it.
    """

    def __init__(self, name: str, pv: str, unit: str) -> None:
        self.name, self.pv, self.unit = name, pv, unit
        self._signal = EpicsSignalRO(pv, name=name, auto_monitor=False)

    def read(self) -> Reading:
        """Read the PV now; never raises."""
        now = time.time()
        try:
            if not self._signal.connected:
                self._signal.wait_for_connection(timeout=TIMEOUT)
            raw = float(self._signal.get(timeout=TIMEOUT, connection_timeout=TIMEOUT))
            value = self._to_si(raw)
        except (TimeoutError, ConnectionError, OSError):
            return Reading(math.nan, now, f"{self.pv} does not answer")
        except (TypeError, ValueError) as error:
            return Reading(math.nan, now, f"{self.pv}: {error}")
        except Exception as error:  # noqa: BLE001 - a circuit lost in a read raises many kinds
            return Reading(math.nan, now, f"{self.pv} cannot be read: {error}")
        if not math.isfinite(value):
            return Reading(math.nan, now, f"{self.pv} reads {raw}")
        return Reading(value, now)

    def _to_si(self, raw: float) -> float:
        egu = str(self._signal.metadata.get("units") or "").strip()
        if not egu and self.unit:
            raise ValueError(f"it publishes no engineering unit, {self.unit} is expected")
        try:
            quantity = unit_registry().Quantity(raw, egu.replace("µ", "u"))
            return float(quantity.to(self.unit or "dimensionless").magnitude)
        except (pint.DimensionalityError, *NOT_A_QUANTITY):
            wanted = self.unit or "a fraction (ppm, %)"
            raise ValueError(f"its unit '{egu}' is not one of {wanted}") from None

    def destroy(self) -> None:
        """Close the channel."""
        self._signal.destroy()


class Environment:
    """Reads all sensors periodically; a readable device that costs a plan no traffic.

    Parameters
    ----------
    sensors : sequence of EnvironmentSensor
        What is measured.
    period : float
        Between two readings, s.
    name : str
        Of the device.
    """

    parent = None

    def __init__(
        self, sensors: Sequence[EnvironmentSensor], *, period: float, name: str = "environment"
    ) -> None:
        self.name = name
        self._sensors = list(sensors)
        self._period = period
        self._listeners: list[Callable[[Mapping[str, Reading]], None]] = []
        self._readings: dict[str, Reading] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def subscribe(self, listener: Callable[[Mapping[str, Reading]], None]) -> None:
        """Call ``listener(readings)`` after each round, on the sensors' thread."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Read once, then go on reading."""
        self._round()
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and close the channels."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(TIMEOUT * (1 + len(self._sensors)))
        for sensor in self._sensors:
            sensor.destroy()

    @property
    def readings(self) -> dict[str, Reading]:
        """Latest reading of each quantity, SI."""
        return dict(self._readings)

    def _run(self) -> None:
        while not self._end.wait(self._period):
            self._round()

    def _round(self) -> None:
        self._readings = {sensor.name: sensor.read() for sensor in self._sensors}
        for listener in self._listeners:
            try:
                listener(self._readings)
            except Exception:  # whatever a listener does, the others are told and measuring goes on
                logger.exception("a listener of %s failed", self.name)

    # ---- bluesky's Readable --------------------------------------------------------------------

    @property
    def hints(self) -> dict[str, list[str]]:
        """Nothing that a live table needs."""
        return {"fields": []}

    def read(self) -> dict[str, Any]:
        """Return the latest readings."""
        found = self._readings
        return {
            f"{self.name}_{s.name}": {"value": found[s.name].value, "timestamp": found[s.name].time}
            for s in self._sensors
        }

    def describe(self) -> dict[str, Any]:
        """Return the data keys."""
        return {
            f"{self.name}_{s.name}": {
                "source": f"PV:{s.pv}",
                "dtype": "number",
                "dtype_numpy": "<f8",
                "shape": [],
                "units": s.unit,
            }
            for s in self._sensors
        }

    def read_configuration(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def describe_configuration(self) -> dict[str, Any]:
        """Nothing."""
        return {}
