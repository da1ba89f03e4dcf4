"""A resistor and a stage without dynamics: the smallest complete instrument, deterministic.

For trying the front end and for its tests; the virtual AFM has the physics.
"""

import asyncio
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nucleation_bluesky.contract.enums import AfterTrip, SafeState
from nucleation_bluesky.contract.ramp import RampSpec
from nucleation_bluesky.iocs.backend import (
    Aborted,
    AfmBackend,
    Block,
    Capabilities,
    Snapshot,
)

BLOCK_TIME = 0.02  # s of instrument time


@dataclass
class DemoSettings:
    """Behaviour of the demonstration instrument.

    Parameters
    ----------
    resistance : float
        Of the simulated sample, ohm.
    nan_at, freeze_at, fail_at : int
        Sample at which the current is NaN, the data stop, the driver raises (-1: never).
    """

    resistance: float = 1e12
    nan_at: int = -1
    freeze_at: int = -1
    fail_at: int = -1


class DemoController:
    """A resistor behind a bias source.

    Parameters
    ----------
    speed : float
        Speed of the instrument's clock; infinity does not wait.
    settings : DemoSettings
        Behaviour.
    """

    capabilities = Capabilities(
        bias_range=(-10.0, 10.0),
        sample_rate_range=(100.0, 100e3),
        current_range=1e-9,
        current_bandwidth=1e4,
        height_bandwidth=1e3,
        latency=1e-3,
        safe_states=frozenset({SafeState.OPEN_CIRCUIT, SafeState.HOLD, SafeState.ZERO}),
    )

    def __init__(self, speed: float, settings: DemoSettings):
        self._speed, self._settings = speed, settings
        self._bias = 0.0
        self._spec: RampSpec | None = None
        self._index = 0
        self._started = 0.0

    async def safe_state(self, policy: SafeState, bias: float) -> None:
        """Set the bias that the policy asks for."""
        self._spec = None
        self._bias = bias if policy is SafeState.HOLD else 0.0

    async def start_ramp(self, spec: RampSpec) -> None:
        """Start a ramp."""
        self._spec, self._index = spec, 0
        self._started = asyncio.get_running_loop().time()

    def _samples(self, spec: RampSpec, index: np.ndarray) -> Block:
        bias = spec.bias_at(index)
        current = bias / self._settings.resistance
        current = np.where(index == self._settings.nan_at, math.nan, current)
        return Block(int(index[0]), bias, current, np.zeros_like(bias))

    async def next_block(self) -> Block | None:
        """Return the next 20 ms of the ramp, when their time has come."""
        spec = self._spec
        if spec is None or self._index >= spec.n_samples:
            return None
        if 0 <= self._settings.freeze_at <= self._index:
            await asyncio.sleep(3600)
        if 0 <= self._settings.fail_at <= self._index:
            raise OSError("the demonstration driver failed as it was told")
        count = max(int(BLOCK_TIME * spec.sample_rate), 1)
        index = np.arange(self._index, min(self._index + count, spec.n_samples))
        if math.isfinite(self._speed):
            due = self._started + (index[-1] + 1) / spec.sample_rate / self._speed
            await asyncio.sleep(max(due - asyncio.get_running_loop().time(), 0.0))
        self._index += len(index)
        block = self._samples(spec, index)
        self._bias = float(block.bias[-1])
        return block

    async def abort(self, trip_index: int, spec: RampSpec) -> Aborted:
        """Stop after the next sample; hold, or sweep back, with what was asked to be recorded."""
        self._spec = None
        index = trip_index + np.arange(spec.n_post + 1)
        stop = float(spec.bias_at(trip_index))
        bias = np.full(len(index), stop)
        if spec.after_trip is AfterTrip.SAFE_STATE:
            bias[1:] = 0.0
        elif spec.after_trip is AfterTrip.REVERSE_SWEEP:
            step = math.copysign(spec.rates[-1] / spec.sample_rate, spec.start - stop)
            bias = stop + step * np.arange(len(index))
        self._bias = float(bias[-1])
        post = Block(trip_index + 1, bias[1:], bias[1:] / self._settings.resistance, bias[1:] * 0)
        return Aborted(post, latency=1 / spec.sample_rate)

    async def set_bias(self, bias: float) -> None:
        """Set the bias."""
        self._bias = bias

    async def measure(self) -> Snapshot:
        """Measure the resistor's current."""
        return Snapshot(self._bias, self._bias / self._settings.resistance, 0.0)

    async def set_parameter(self, name: str, value: float) -> float:
        """Accept every setting."""
        del name
        return value


class DemoStage:
    """A stage that jumps."""

    limits = {"x": (0.0, 30e-6), "y": (0.0, 30e-6)}  # noqa: RUF012 - the protocol's attribute

    def __init__(self) -> None:
        self._at = {"x": 0.0, "y": 0.0}

    async def move(self, axis: str, target: float, settle: float) -> float:
        """Move at once and settle."""
        await asyncio.sleep(settle)
        self._at[axis] = target
        return target

    async def position(self, axis: str) -> float:
        """Return the position."""
        return self._at[axis]

    async def stop(self) -> None:
        """Nothing moves."""


class DemoImager:
    """A flat, tilted surface."""

    async def image(self, x: float, y: float, size: float, pixels: int) -> np.ndarray:
        """Return a plane of 1 nm slope per image."""
        del y, size
        return np.tile(np.linspace(0.0, 1e-9, pixels), (pixels, 1)) + 0 * x


def make_demo(seed: int, speed: float, truth: Path | None, **settings: Any) -> AfmBackend:
    """Make the demonstration instrument (same signature as the virtual AFM's factory)."""
    del seed, truth
    return AfmBackend(DemoController(speed, DemoSettings(**settings)), DemoStage(), DemoImager())
