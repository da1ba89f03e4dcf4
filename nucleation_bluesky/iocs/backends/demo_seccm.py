"""A resistor under a pipette, and a camera of counted frames: the smallest complete SECCM.

For trying the front ends and for their tests, and as the pattern of a lab's own backend; the
virtual SECCM has the physics.
"""

import asyncio
import copy
import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from nucleation_bluesky.contract.enums import ContactMode, SafeState, StepMode
from nucleation_bluesky.contract.program import Program
from nucleation_bluesky.iocs.backend import Capabilities
from nucleation_bluesky.iocs.backends.virtual_clock import Mark, VirtualClock
from nucleation_bluesky.iocs.seccm_backend import (
    AFTER,
    APPROACH,
    CameraSettings,
    Cut,
    CutAction,
    Frame,
    LandingBlock,
    Reading,
    SeccmBackend,
    empty_block,
)

OVERLOAD = 10.0  # V
BLOCK_TIME = 0.05  # s of wall time


@dataclass
class DemoSeccmSettings:
    """Behaviour of the demonstration instrument.

    Parameters
    ----------
    resistance : float
        Of the contact, ohm.
    surface : float
        Extension at which the meniscus touches, m.
    spike_every : int
        Every so many samples of an approach one looks like contact (0: never).
    stop_samples : int
        Samples until the motion stops after contact.
    nan_at, saturate_at, freeze_at, fail_at : int
        Sample at which the current is NaN, at full scale, the data stop, the driver raises (-1:
        never).
    retract_fails : int
        So many withdrawals raise, from the first after that of the boot.
    rows, columns : int
        Size of a frame.
    noise_frames : int
        Frames of noise drawn beforehand and sent in turn, the frame's number (modulo 65536) in
        their first and last pixel; 0 sends even frames whose every pixel is it (modulo 4096).
    """

    resistance: float = 1e9
    surface: float = 10e-6
    spike_every: int = 0
    stop_samples: int = 2
    nan_at: int = -1
    saturate_at: int = -1
    freeze_at: int = -1
    fail_at: int = -1
    retract_fails: int = 0
    rows: int = 64
    columns: int = 48
    noise_frames: int = 0


@dataclass
class _State:
    """Where a landing is: what the next sample depends on."""

    index: int = 0
    step: int = APPROACH
    k: int = 0  # sample within the step
    z: float = 0.0
    moving: bool = True


@dataclass
class _Run:
    program: Program
    mark: Mark
    zero: float
    state: _State
    history: list[_State] = field(default_factory=list)  # after each sample of the last block
    first: int = 0
    over: bool = False


class DemoLanding:
    """A potentiostat and galvanostat on a resistor (a `LandingBackend`)."""

    def __init__(self, clock: VirtualClock, settings: DemoSeccmSettings):
        self._clock, self._settings = clock, settings
        self._run: _Run | None = None
        self.z = 0.0
        self.z_low = 0.0
        self._withdrawals = 0
        self.safe: tuple[SafeState, float] = (SafeState.OPEN_CIRCUIT, 0.0)
        self.capabilities = Capabilities(
            bias_range=(-OVERLOAD, OVERLOAD),
            sample_rate_range=(10.0, 1e5),
            current_range=1e-7,
            current_bandwidth=1e3,
            height_bandwidth=1e2,
            latency=2 * 2.57e-3,
            safe_states=frozenset(
                {SafeState.OPEN_CIRCUIT, SafeState.HOLD, SafeState.ZERO, SafeState.ZERO_CURRENT}
            ),
            software_ramp=False,
        )

    async def safe_state(self, policy: SafeState, potential: float) -> None:
        """End a landing and hold what the policy asks for."""
        self.safe = policy, potential
        if self._run is not None:
            self._end(self._run)

    def _end(self, run: _Run) -> None:
        run.over, self._run = True, None
        self.z = run.state.z

    async def start(self, program: Program) -> None:
        """Start at sample 0."""
        state = _State(step=APPROACH if program.approach else 0, z=self.z)
        state.moving = program.approach is not None
        self._run = _Run(program, self._clock.mark(), self._clock.now, state)

    def _sample(self, run: _Run) -> tuple[float, float, float, int, bool] | None:
        """Take the next sample, None at the end."""
        s, state, program = self._settings, run.state, run.program
        touching = state.z >= s.surface
        approach = program.approach
        if state.step == APPROACH and approach is not None:
            if state.z >= approach.z_max:
                return None
            controlled = approach.mode is ContactMode.CURRENT
            setpoint = approach.potential if controlled else approach.current
            mode = StepMode.POTENTIAL if controlled else StepMode.CURRENT
            if s.spike_every and state.index % s.spike_every == s.spike_every - 1:
                touching = True
        else:
            if state.step >= len(program.steps):
                return None
            step = program.steps[state.step]
            n = step.n_samples(program.sample_period)
            mode, setpoint = step.mode, step.start + (step.end - step.start) * state.k / n
        potential, current, full = self._measure(mode, setpoint, touching)
        if state.index == s.nan_at:
            current = math.nan
        full |= state.index == s.saturate_at
        sample = potential, current, state.z, state.step, full
        state.index += 1
        self._advance(run)
        return sample

    def _measure(
        self, mode: StepMode, setpoint: float, touching: bool
    ) -> tuple[float, float, bool]:
        r = self._settings.resistance
        if mode is StepMode.POTENTIAL:
            return setpoint, setpoint / r if touching else 0.0, False
        if mode is StepMode.OPEN_CIRCUIT or setpoint == 0:
            return 0.0, 0.0, False
        if not touching:
            return math.copysign(OVERLOAD, setpoint), 0.0, True
        return setpoint * r, setpoint, abs(setpoint * r) >= OVERLOAD

    def _advance(self, run: _Run) -> None:
        state, program = run.state, run.program
        if state.moving and program.approach is not None:
            state.z += program.approach.speed * program.sample_period
        if state.step >= 0:
            state.k += 1
            if state.k >= program.steps[state.step].n_samples(program.sample_period):
                state.step, state.k = state.step + 1, 0

    async def next_block(self) -> LandingBlock | None:
        """Return what 50 ms of wall time bring, at most 4096 samples."""
        run, s = self._run, self._settings
        if run is None or run.over:
            return None
        period = run.program.sample_period
        count = 4096
        if not self._clock.unlimited:
            count = max(min(int(BLOCK_TIME * self._clock.speed / period), 4096), 1)
        if 0 <= s.freeze_at <= run.state.index:
            await asyncio.sleep(3600)
        if 0 <= s.fail_at <= run.state.index:
            raise OSError("the demonstration driver failed as it was told")
        run.first, run.history, samples = run.state.index, [], []
        for _ in range(count):
            sample = self._sample(run)
            if sample is None:
                break
            samples.append(sample)
            run.history.append(copy.copy(run.state))
        if not samples:
            self._clock.advance(run.zero + run.state.index * period)
            self._end(run)
            return None
        await self._clock.wait(run.mark, run.zero + run.state.index * period)
        return _block(run.first, samples)

    async def cut(self, index: int, action: CutAction) -> Cut:
        """Go on from sample ``index``."""
        run = self._run
        if run is None:
            return Cut(empty_block(index + 1))
        run.state = copy.copy(run.history[index - run.first])
        samples, period = [], run.program.sample_period
        if action is CutAction.CONTACT:
            taken = (self._sample(run) for _ in range(self._settings.stop_samples))
            samples += [sample for sample in taken if sample is not None]
            run.state.step, run.state.k, run.state.moving = 0, 0, False
        elif action is CutAction.NEXT_STEP and run.state.k:  # 0: the step had just ended by itself
            run.state.step, run.state.k = run.state.step + 1, 0
        run.first, run.history = run.state.index, []
        self._clock.advance(run.zero + run.state.index * period)
        if action is CutAction.ABORT:
            self._end(run)
        return Cut(_block(index + 1, samples), len(samples) * period)

    async def retract(self, distance: float, speed: float) -> LandingBlock:
        """Withdraw, sampled at 100 Hz."""
        self._withdrawals += 1
        if 1 < self._withdrawals <= 1 + self._settings.retract_fails:
            raise OSError("the positioner does not answer")
        target = max(self.z - distance, self.z_low)
        mark, zero, duration = self._clock.mark(), self._clock.now, (self.z - target) / speed
        await self._clock.wait(mark, zero + duration)
        self._clock.advance(zero + duration)
        z = np.linspace(self.z, target, max(int(duration * 100), 0))
        self.z = target
        nothing = np.zeros(len(z))
        return LandingBlock(0, nothing, nothing, z, np.full(len(z), AFTER))

    async def measure(self) -> Reading:
        """Measure in the air."""
        policy, potential = self.safe
        return Reading(potential if policy is SafeState.HOLD else 0.0, 0.0, self.z)

    async def set_parameter(self, name: str, value: float) -> float:
        """Accept a range of the electrometer."""
        if name == "ELM:RANGE":
            self.capabilities = replace(self.capabilities, current_range=value)
        return value


def _block(first: int, samples: list[tuple[float, float, float, int, bool]]) -> LandingBlock:
    if not samples:
        return empty_block(first)
    potential, current, z, step, full = (np.array(column) for column in zip(*samples, strict=True))
    return LandingBlock(first, potential, current, z, step.astype(int), full.astype(bool))


class DemoPipette:
    """A positioner with real speeds (a `PipetteBackend`)."""

    limits = {"x": (0.0, 100e-6), "y": (0.0, 100e-6), "z": (0.0, 60e-6)}  # noqa: RUF012 - the protocol's attribute
    max_speed = {"x": 50e-6, "y": 50e-6, "z": 50e-6}  # noqa: RUF012 - the protocol's attribute

    def __init__(self, clock: VirtualClock, landing: DemoLanding) -> None:
        self._clock, self._landing = clock, landing
        self._at = {"x": 0.0, "y": 0.0}
        self._stop: dict[str, asyncio.Event] = {}

    async def move(self, axis: str, target: float, speed: float) -> float:
        """Move one axis at ``speed``."""
        begin = await self.position(axis)
        mark, zero = self._clock.mark(), self._clock.now
        duration = abs(target - begin) / speed
        stopped = self._stop[axis] = asyncio.Event()
        share = 1.0
        try:
            async with asyncio.timeout(self._clock.delay(mark, zero + duration)):
                await stopped.wait()
            share = min((self._clock.paced(mark) - zero) / duration, 1.0) if duration else 1.0
        except TimeoutError:
            pass
        self._clock.advance(zero + share * duration)
        reached = begin + share * (target - begin)
        if axis == "z":
            self._landing.z = reached
        else:
            self._at[axis] = reached
        return reached

    async def position(self, axis: str) -> float:
        """Return the position."""
        return self._landing.z if axis == "z" else self._at[axis]

    async def stop(self) -> None:
        """Stop all axes."""
        for event in self._stop.values():
            event.set()


class DemoCamera:
    """Frames whose pixels hold the frame's number (a `CameraBackend`)."""

    manufacturer = "nucleation_bluesky"
    model = "demonstration"

    def __init__(self, clock: VirtualClock, utc_zero: float, settings: DemoSeccmSettings):
        self._clock, self._utc_zero = clock, utc_zero
        self.waits = clock.speed > 1
        self.sensor = settings.rows, settings.columns
        self.settings = CameraSettings(0.01, 0.02, (0, 0, settings.columns, settings.rows))
        self._noise = [
            np.random.default_rng(n).integers(0, 4096, self.sensor, np.uint16)
            for n in range(settings.noise_frames)
        ]
        self._left = 0
        self._count = 0
        self._due = 0.0
        self._mark = clock.mark()
        self._stop = asyncio.Event()
        self._blank = np.zeros(self.sensor, np.uint16)

    async def configure(self, settings: CameraSettings) -> CameraSettings:
        """Accept a region within the sensor and a period not shorter than the exposure."""
        x, y, columns, rows = settings.region
        if x < 0 or y < 0 or x + columns > self.sensor[1] or y + rows > self.sensor[0]:
            raise ValueError(f"the region {settings.region} is not on the sensor {self.sensor}")
        period = max(settings.period, settings.exposure_time)
        self.settings = replace(settings, period=period)
        self._blank = np.zeros((rows, columns), np.uint16)
        return self.settings

    async def start(self, frames: int) -> None:
        """Start; 0 frames for no end."""
        self._left = frames or -1
        self._due, self._mark = self._clock.now, self._clock.mark()
        self._stop.clear()

    async def next_frame(self) -> Frame | None:
        """Return the next frame when its time has come."""
        while self._left and not self._stop.is_set():
            if self._clock.unlimited:
                if self._clock.now >= self._due:
                    break
                await asyncio.sleep(0.001)
                continue
            delay = self._clock.delay(self._mark, self._due)
            if not delay:
                break
            try:
                async with asyncio.timeout(delay):
                    await self._stop.wait()
            except TimeoutError:
                break
        late = self._clock.paced(self._mark) if not self._clock.unlimited else self._clock.now
        if not self._left or (self._stop.is_set() and self._due > late):
            return None
        self._left -= self._left > 0
        self._count += 1
        image = self._image()
        frame = Frame(image, self._count, self._utc_zero + self._due)
        self._due += self.settings.period
        return frame

    def _image(self) -> np.ndarray:
        rows, columns = self._blank.shape
        if not self._noise:
            return np.full_like(self._blank, self._count % 4096)
        image = self._noise[self._count % len(self._noise)][:rows, :columns].copy()
        image[0, 0] = image[-1, -1] = self._count % 65536
        return image

    async def stop(self) -> None:
        """End the acquisition."""
        self._stop.set()


def make_demo_seccm(seed: int, speed: float, truth: Path | None, **settings: Any) -> SeccmBackend:
    """Make the demonstration instrument (same signature as the virtual SECCM's factory)."""
    del seed, truth
    clock, chosen = VirtualClock(speed), DemoSeccmSettings(**settings)
    zero = time.time()
    landing = DemoLanding(clock, chosen)
    return SeccmBackend(
        landing,
        DemoPipette(clock, landing),
        DemoCamera(clock, zero, chosen),
        ticks=lambda: clock.now,
        utc=lambda: zero + clock.now,
    )
