"""Axes and positioners: moves are checked before, and confirmed by readback after."""

import logging
import math
import time
from typing import Any

from ophyd import Component, Signal
from ophyd.status import DeviceStatus

from nucleation_bluesky.devices._base import InstrumentDevice
from nucleation_bluesky.devices._signals import TIMEOUT, contract_signal, read_together, soft
from nucleation_bluesky.devices._worker import Worker
from nucleation_bluesky.devices.errors import BadValueError, InstrumentError, PutRefusedError
from nucleation_bluesky.ledger import Position

logger = logging.getLogger(__name__)
_FRESH = 0.25  # s: a readback this young needs no further round trip
_POLL = 0.01


class StageAxis(InstrumentDevice):
    """One axis in the user's frame: position = raw - frame offset, m.

    Attributes
    ----------
    tolerance : float
        Largest difference between target and readback at the end of a move, m.
    move_timeout : float
        Longest duration of a move, s.
    """

    setpoint: Any
    readback: Any
    low: Any
    high: Any
    stop_signal: Any
    precision = 10  # decimals of a position in m, for what lists positions

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        self.tolerance = 5e-9
        self.move_timeout = 30.0
        self._limits: tuple[float, float] | None = None
        self._seen = (math.nan, -math.inf, 0.0)  # raw position, monotonic time, time of day
        self._target = math.nan
        self._stops = 0
        self._worker = Worker(f"{name}-worker")
        super().__init__(prefix, name=name, **kwargs)

    @property
    def _stage(self) -> "Positioner | None":
        return self.parent if isinstance(self.parent, Positioner) else None

    @property
    def offset(self) -> float:
        """Frame offset of this axis, m."""
        return self._stage.offset_of(self) if self._stage else 0.0

    @property
    def user_offset(self) -> Signal:
        """Position in the user's frame less the raw one, m, as motors have it."""
        return Signal(name=f"{self.name}_user_offset", value=-self.offset)

    @property
    def egu(self) -> str:
        """Unit of positions."""
        return "m"

    @property
    def limits(self) -> tuple[float, float]:
        """Travel in the user's frame, m."""
        if self._limits is None:
            low, high = read_together([self.low, self.high])
            self._limits = (low, high)
        return (self._limits[0] - self.offset, self._limits[1] - self.offset)

    @property
    def position(self) -> float:
        """Measured position in the user's frame, m (one plain get)."""
        self.saw(self.readback.get())
        return self._seen[0] - self.offset

    def saw(self, raw: float) -> None:
        """Remember a readback just taken."""
        self._seen = (raw, time.monotonic(), time.time())

    def check_value(self, value: float, **_kwargs: Any) -> None:
        """Refuse a target that is not finite or off the stage.

        Raises
        ------
        BadValueError
            Naming the limits.
        """
        low, high = self.limits
        if not (math.isfinite(value) and low <= value <= high):
            raise BadValueError(
                f"{self.name} cannot go to {value * 1e6:g} um: the stage reaches from "
                f"{low * 1e6:g} to {high * 1e6:g} um"
            )

    def set(self, value: float, **_kwargs: Any) -> DeviceStatus:
        """Move; done on put completion and a readback within tolerance, or failed at the deadline.

        Raises
        ------
        BadValueError
            Before anything moves.
        """
        self.check_value(value)
        raw = float(value) + self.offset
        self._target = float(value)
        stops = self._stops
        status = DeviceStatus(self, timeout=self.move_timeout + 2 * TIMEOUT)
        return self._worker.submit(status, lambda: self._move(raw, stops))

    def _move(self, raw: float, stops: int) -> None:
        deadline = time.monotonic() + self.move_timeout
        self.setpoint.command(raw, self.move_timeout)
        while True:
            found = self.readback.get()
            self.saw(found)
            if self._stops != stops:
                raise InstrumentError(f"the move of {self.name} was stopped")
            if abs(found - raw) <= self.tolerance:
                return
            if time.monotonic() > deadline or not math.isfinite(found):
                raise PutRefusedError(
                    f"{self.name} was to go to {raw * 1e6:.4f} um (raw) but is at "
                    f"{found * 1e6:.4f} um ({self.controller.fault_description()})"
                )
            self._worker.pause(_POLL)

    def read(self) -> Any:
        """Position and last target in the user's frame, m."""
        if time.monotonic() - self._seen[1] > _FRESH:
            self.saw(self.readback.get())
        raw, _, when = self._seen
        return {
            self.name: {"value": raw - self.offset, "timestamp": when},
            f"{self.name}_setpoint": {"value": self._target, "timestamp": when},
        }

    def describe(self) -> Any:
        """Return the data keys of `read`."""
        key = {"dtype": "number", "dtype_numpy": "<f8", "shape": [], "units": "m"}
        return {
            self.name: {"source": f"PV:{self.readback.pvname}", **key},
            f"{self.name}_setpoint": {"source": f"PV:{self.setpoint.pvname}", **key},
        }

    @property
    def hints(self) -> dict[str, list[str]]:
        """What live tables and maps show."""
        return {"fields": [self.name]}

    def stop(self, *, success: bool = False) -> None:
        """Stop all motion without waiting; an exposure under way on this instrument is killed."""
        if not success:
            self.halt()
        instrument = getattr(self._stage, "parent", None)
        if instrument is not None and getattr(instrument, "exposing", False):
            # a halted RunEngine stops what was moved, and knows nothing of what was triggered
            instrument.kill()

    def halt(self) -> None:
        """Stop all motion without waiting, and end a move of this axis that is under way."""
        self._stops += 1
        try:
            self.stop_signal.send(self._stops & 0x7FFFFFFF)
        except (InstrumentError, RuntimeError, OSError) as exc:
            logger.critical("stop could not be sent to %s: %s", self.name, exc)


class XAxis(StageAxis):
    """X."""

    setpoint = contract_signal("STAGE:X")
    readback = contract_signal("STAGE:X:RBV")
    low = contract_signal("STAGE:X:LOW")
    high = contract_signal("STAGE:X:HIGH")
    stop_signal = contract_signal("STAGE:STOP")


class YAxis(StageAxis):
    """Y."""

    setpoint = contract_signal("STAGE:Y")
    readback = contract_signal("STAGE:Y:RBV")
    low = contract_signal("STAGE:Y:LOW")
    high = contract_signal("STAGE:Y:HIGH")
    stop_signal = contract_signal("STAGE:STOP")


class Positioner(InstrumentDevice):
    """Two lateral axes, ``x`` and ``y``, and the frame they are reported in.

    Attributes
    ----------
    frame_x, frame_y : ophyd.Signal
        Raw position of the frame's origin, m: what registration against drift sets.
    frame_uncertainty : ophyd.Signal
        Standard uncertainty of a position in the frame, m.
    """

    x: Any
    y: Any
    frame_x = Component(Signal, value=0.0, kind="config")
    frame_y = Component(Signal, value=0.0, kind="config")
    frame_uncertainty = Component(Signal, value=0.0, kind="config")

    @property
    def origin(self) -> tuple[float, float]:
        """Raw position of the frame's origin, m."""
        return float(soft(self.frame_x)), float(soft(self.frame_y))

    def offset_of(self, axis: StageAxis) -> float:
        """Frame offset of an axis, m."""
        if axis is self.x:
            return self.origin[0]
        return self.origin[1] if axis is self.y else 0.0

    def measured_position(self) -> Position:
        """Measured position in the frame: what a guard claims (one round trip)."""
        raw_x, raw_y = read_together([self.x.readback, self.y.readback])
        self.x.saw(raw_x)
        self.y.saw(raw_y)
        x0, y0 = self.origin
        return Position(raw_x - x0, raw_y - y0, float(soft(self.frame_uncertainty)))

    @property
    def axes(self) -> tuple[StageAxis, ...]:
        """All axes."""
        return (self.x, self.y)

    def stop(self, *, success: bool = False) -> None:
        """Stop all axes."""
        first, *others = self.axes
        first.stop(success=success)
        if not success:
            for axis in others:
                axis.halt()


class XYStage(Positioner):
    """Piezo stage with two axes."""

    x = Component(XAxis, "", labels={"motors"})
    y = Component(YAxis, "", labels={"motors"})
    settle = contract_signal("STAGE:SETTLE", kind="config")
