"""Hold a map between two sites while the environment is not fit for another one.

bluesky's suspenders interrupt whatever is under way, which would end a ramp half-way and burn its
site. Here the RunEngine waits after a checkpoint instead, and checkpoints lie between sites only:
stock plans, which have one per point, are held in the same way.
"""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import bluesky.plan_stubs as bps
from bluesky import RunEngine
from bluesky.utils import Msg, MsgGenerator

from nucleation_bluesky.contract.pvs_environment import QUANTITIES
from nucleation_bluesky.contract.quantities import unit_registry
from nucleation_bluesky.devices.environment import Environment, EnvironmentSensor, Reading
from nucleation_bluesky.session.config_environment import EnvironmentConfig
from nucleation_bluesky.session.messages import around_messages

logger = logging.getLogger(__name__)

STREAM = "environment"  # one event for each time a map was held
POLL = 0.2  # s
STALE = 15.0  # s beyond the period without a round of readings
_SHOWN = {"oxygen": "ppm", "water": "ppm", "humidity": "%", "temperature": "degC",
          "vibration": "um/s"}  # fmt: skip


@dataclass(frozen=True)
class Limit:
    """What a quantity must lie within, SI."""

    low: float
    high: float

    def trouble(self, name: str, reading: Reading) -> str:
        """In words, what is wrong with a reading; empty where nothing is."""
        if reading.problem:
            return reading.problem
        for bound, word, beyond in (
            (self.high, "above", reading.value > self.high),
            (self.low, "below", reading.value < self.low),
        ):
            if beyond:
                return f"{name} is {shown(name, reading.value)}, {word} {shown(name, bound)}"
        return ""


def shown(name: str, value: float) -> str:
    """Return a quantity of the environment in the unit people use for it."""
    unit = _SHOWN[name]
    quantity = unit_registry().Quantity(value, QUANTITIES[name].unit).to(unit)
    return f"{quantity.magnitude:.3g} {unit}"


class EnvironmentWatch:
    """Says whether another site may be used, and holds the RunEngine between sites if not.

    Parameters
    ----------
    environment : Environment
        Not yet started.
    limits : mapping of str to Limit
        By quantity; one without limits is not watched.
    settle : float
        All within limits for so long before a map goes on, s.
    period : float
        Of the readings, s.
    say : callable
        Receives a line when a map is held and when it goes on.
    """

    def __init__(
        self,
        environment: Environment,
        limits: Mapping[str, Limit],
        *,
        settle: float,
        period: float,
        say: Callable[[str], None] = logger.warning,
    ) -> None:
        self.device = environment
        self._limits = dict(limits)
        self._settle, self._stale, self._say = settle, STALE + period, say
        self._lock = threading.Lock()
        self._troubles: list[str] = []
        self._fit_since = -math.inf
        self._last_round = -math.inf
        self._held = _Held()
        environment.subscribe(self._judge)

    def _judge(self, readings: Mapping[str, Reading]) -> None:
        troubles = [
            told
            for name, limit in self._limits.items()
            if (told := limit.trouble(name, readings[name]))
        ]
        now = time.monotonic()
        with self._lock:
            if self._troubles and not troubles:
                self._fit_since = now
            self._troubles, self._last_round = troubles, now

    @property
    def trouble(self) -> str:
        """Why no site may be used now; empty if one may."""
        now = time.monotonic()
        with self._lock:
            if now - self._last_round > self._stale:
                return f"the environment was not read for {now - self._last_round:.0f} s"
            if self._troubles:
                return "; ".join(self._troubles)
            left = self._fit_since + self._settle - now
        return f"within limits again, settling for {left:.0f} s more" if left > 0 else ""

    def preprocessor(self, run_engine: RunEngine) -> Callable[[MsgGenerator], MsgGenerator]:
        """Return what holds every plan of a RunEngine at its checkpoints."""

        def between_sites(plan: MsgGenerator) -> MsgGenerator:
            open_runs = 0

            def gate(msg: Msg) -> MsgGenerator | None:
                nonlocal open_runs
                open_runs += {"open_run": 1, "close_run": -1}.get(msg.command, 0)
                if msg.command == "checkpoint" and self.trouble:
                    return self._hold(msg, run_engine, record=open_runs > 0)
                return None

            return (yield from around_messages(plan, gate))

        return between_sites

    def _hold(self, checkpoint: Msg, run_engine: RunEngine, *, record: bool) -> MsgGenerator:
        """Wait after a checkpoint; further ones let a pause that was asked for take effect."""
        response = yield checkpoint
        began = time.monotonic()
        told = self.trouble
        self._say(f"held before the next site: {told}")

        async def until_fit() -> None:
            # settling and a pause that was asked for are told by no event
            while self.trouble and not run_engine.deferred_pause_requested:  # noqa: ASYNC110
                await asyncio.sleep(POLL)

        while self.trouble:
            yield Msg("wait_for", None, [until_fit])
            yield Msg("checkpoint")
        held = time.monotonic() - began
        self._say(f"going on after {held:.0f} s: the environment is within its limits")
        if record:
            yield from bps.create(STREAM)
            self._held.set(held, told)
            yield from bps.read(self._held)
            yield from bps.read(self.device)
            yield from bps.save()
            yield Msg("checkpoint")
        return response


class _Held:
    """How long a map was held, and why, as a reading."""

    name = "held"
    parent = None

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def set(self, seconds: float, reason: str) -> None:
        """Say what is to be recorded next."""
        self._values = {"held_duration": seconds, "held_reason": reason}

    def read(self) -> dict[str, Any]:
        """Return duration and reason."""
        return {k: {"value": v, "timestamp": time.time()} for k, v in self._values.items()}

    def describe(self) -> dict[str, Any]:
        """Return the data keys."""
        key = {"source": "session", "shape": []}
        return {
            "held_duration": key | {"dtype": "number", "dtype_numpy": "<f8", "units": "s"},
            "held_reason": key | {"dtype": "string"},
        }

    def read_configuration(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def describe_configuration(self) -> dict[str, Any]:
        """Nothing."""
        return {}


def make_watch(config: EnvironmentConfig, say: Callable[[str], None]) -> EnvironmentWatch:
    """Return the watch that a configuration describes, not yet started."""
    sensors = [
        EnvironmentSensor(name, config.pv(name), QUANTITIES[name].unit) for name in config.measured
    ]
    limits = {}
    for name in config.measured:
        low, high = config.sensor(name).limits()
        if math.isfinite(low) or math.isfinite(high):
            limits[name] = Limit(low, high)
    environment = Environment(sensors, period=config.period)
    return EnvironmentWatch(
        environment, limits, settle=config.settle, period=config.period, say=say
    )
