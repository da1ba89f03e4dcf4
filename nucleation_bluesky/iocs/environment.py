"""Environment PVs of the virtual instrument: slow noise, and alarms to train with.

Each quantity wanders around its usual value (an Ornstein-Uhlenbeck process in wall time) as a
glovebox and a table do. An alarm lets one of them rise past its limit, and fall back afterwards,
with the time constant of a leak and of a purge.
"""

import asyncio
import math
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from caproto import ChannelData

from nucleation_bluesky.contract.pv import PV
from nucleation_bluesky.contract.pvs_environment import ENVIRONMENT, TrainingAlarm
from nucleation_bluesky.iocs.pvdb import make_channel, post_value

PERIOD = 0.25  # s between measurements


@dataclass(frozen=True)
class Wander:
    """Usual value, its spread and correlation time, and the value during an alarm (PV's unit)."""

    usual: float
    spread: float
    tau: float  # s
    alarm: float
    alarm_tau: float = 2.0  # s


WANDER: dict[str, Wander] = {
    "O2": Wander(0.02, 0.004, 60.0, 5.0),
    "H2O": Wander(0.05, 0.01, 90.0, 8.0),
    "RH": Wander(0.3, 0.05, 120.0, 65.0),
    "TEMP": Wander(24.6, 0.05, 600.0, 24.6),
    "VIB": Wander(1.2, 0.2, 5.0, 80.0, 0.3),
}
RAISED: dict[TrainingAlarm, str] = {
    TrainingAlarm.OXYGEN: "O2",
    TrainingAlarm.WATER: "H2O",
    TrainingAlarm.HUMIDITY: "RH",
    TrainingAlarm.VIBRATION: "VIB",
}


class EnvironmentModel:
    """What the sensors of the environment read, by PV suffix and in the PV's unit.

    Parameters
    ----------
    seed : int
        Of the noise.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng((seed, 0xE9))
        self._noise = {name: self._rng.normal(0.0, w.spread) for name, w in WANDER.items()}
        self._excess = dict.fromkeys(WANDER, 0.0)

    def step(self, elapsed: float, alarm: TrainingAlarm) -> dict[str, float]:
        """Return the readings after ``elapsed`` seconds of this alarm."""
        readings = {}
        for name, w in WANDER.items():
            keep = math.exp(-elapsed / w.tau)
            kick = w.spread * math.sqrt(max(0.0, 1.0 - keep**2))
            self._noise[name] = keep * self._noise[name] + kick * self._rng.normal()
            target = w.alarm - w.usual if RAISED.get(alarm) == name else 0.0
            relax = math.exp(-elapsed / w.alarm_tau)
            self._excess[name] = target + (self._excess[name] - target) * relax
            readings[name] = max(0.0, w.usual + self._noise[name] + self._excess[name])
        return readings


class EnvironmentFrontEnd:
    """Serves the environment PVs next to a virtual instrument.

    Parameters
    ----------
    prefix : str
        Of the PV names, for instance ``NB:ENV:``.
    seed : int
        Of the noise.
    """

    def __init__(self, prefix: str, seed: int = 0) -> None:
        self._model = EnvironmentModel(seed)
        self._pvs = {pv.suffix: pv for pv in ENVIRONMENT}
        self._channels: dict[str, Any] = {}
        for suffix, pv in self._pvs.items():
            self._channels[suffix] = make_channel(pv, self._put, self._malformed)
        self.database: Mapping[str, ChannelData] = {
            f"{prefix}{suffix}": channel for suffix, channel in self._channels.items()
        }

    async def boot(self) -> None:
        """Nothing to prepare."""

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Return what runs while serving."""
        return [self.run()]

    async def close(self) -> None:
        """Nothing to end."""

    async def run(self) -> None:
        """Measure until cancelled."""
        last, count = time.monotonic(), 0
        while True:
            now = time.monotonic()
            alarm = TrainingAlarm.from_label(self._channels["TRAIN"].value)
            for suffix, value in self._model.step(now - last, TrainingAlarm(alarm)).items():
                await self._post(suffix, value)
            count += 1
            await self._post("COUNT", count)
            last = now
            await asyncio.sleep(PERIOD)

    async def _post(self, suffix: str, value: Any) -> None:
        await post_value(self._channels[suffix], self._pvs[suffix], value)

    async def _put(self, pv: PV, value: Any) -> None:
        label = value if isinstance(value, str) else TrainingAlarm.labels()[int(value)]
        await self._post(pv.suffix, TrainingAlarm.from_label(label))

    async def _malformed(self, pv: PV, error: Exception) -> None:
        """Leave the value as it was: there is no fault PV here."""
        del pv, error
