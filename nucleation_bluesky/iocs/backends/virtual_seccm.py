"""The virtual SECCM behind the protocols of :mod:`nucleation_bluesky.iocs.seccm_backend`."""

import asyncio
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nucleation_bluesky.contract.enums import (
    ContactMode,
    SafeState,
    StepMode,
)
from nucleation_bluesky.contract.program import Approach, Program
from nucleation_bluesky.iocs.backend import Capabilities
from nucleation_bluesky.iocs.backends.virtual_electrometer import LATENCY, VirtualElectrometer
from nucleation_bluesky.iocs.backends.virtual_irm import VirtualCamera
from nucleation_bluesky.iocs.backends.virtual_pipette import VirtualPipette
from nucleation_bluesky.iocs.backends.virtual_rig import PERIOD as PERIOD_AFTER
from nucleation_bluesky.iocs.backends.virtual_rig import Rest, Rig, RigClock
from nucleation_bluesky.iocs.seccm_backend import (
    AFTER,
    APPROACH,
    Cut,
    CutAction,
    LandingBlock,
    Reading,
    SeccmBackend,
    empty_block,
)
from nucleation_bluesky.worlds.seccm import Control, Landing, SeccmSettings, SeccmWorld
from nucleation_bluesky.worlds.seccm.landing import Snapshot
from nucleation_bluesky.worlds.seccm.truth import TruthWriter

BLOCK_TIME = 0.02  # s of wall time
MAX_BLOCK = 256  # samples computed at a time, so that the loop stays alive
APPROACH_BLOCK = 2048  # the same while nothing is touched
STOP_TIME = 1e-3  # s: motion goes on for this long after contact was found
_MODES = {
    StepMode.POTENTIAL: Control.POTENTIAL,
    StepMode.CURRENT: Control.CURRENT,
    StepMode.OPEN_CIRCUIT: Control.OPEN_CIRCUIT,
}


@dataclass
class _Run:
    """A landing under way."""

    landing: Landing
    program: Program
    zero: float  # instrument time of sample 0
    origin: float  # extension of the pipette before it
    step: int
    done: int = 0  # samples of the present step that were delivered
    index: int = 0  # number of the next sample
    setpoints: np.ndarray | None = None
    # the last block, to come back to
    snapshot: Snapshot | None = None
    before: tuple[int, int, int, float] = (APPROACH, 0, 0, 0.0)
    block: LandingBlock | None = None


def _applied(approach: Approach) -> tuple[Control, float]:
    """Return what is controlled during an approach, and its setpoint, V or A."""
    if approach.mode is ContactMode.CURRENT:
        return Control.POTENTIAL, approach.potential
    return Control.CURRENT, approach.current


class VirtualController:
    """Electrochemistry and approach of the virtual SECCM (a `LandingBackend`).

    Parameters
    ----------
    rig : Rig
        World, clock and pipette.
    block_time : float
        Wall time between blocks where the clock has a limit, s.
    """

    def __init__(self, rig: Rig, *, block_time: float = BLOCK_TIME) -> None:
        self._rig, self._block_time = rig, block_time
        self._run: _Run | None = None
        self._electrometer = VirtualElectrometer(rig)
        self.settings = self._electrometer.settings

    @property
    def capabilities(self) -> Capabilities:
        """What the electrometer can do now."""
        return self._electrometer.capabilities

    # ---- landings ------------------------------------------------------------------------
    async def start(self, program: Program) -> None:
        """Start approach or first step."""
        if self._run is not None:
            raise RuntimeError("a landing was started while another is under way")
        self._electrometer.check(program.steps)
        approach = program.approach
        if approach is not None and approach.speed > self._rig.world.settings.max_speed:
            raise ValueError(
                f"an approach speed of {approach.speed:g} m/s is above the positioner's "
                f"{self._rig.world.settings.max_speed:g} m/s"
            )
        rig = self._rig
        rig.hold_frames(rig.clock.now)
        rig.busy += 1
        try:
            landing = await asyncio.to_thread(rig.begin, program.sample_period)
        except BaseException:  # also where the landing is killed meanwhile
            rig.busy -= 1
            rig.release_frames()
            raise
        zero = landing.time + program.sample_period
        step = APPROACH if approach is not None else 0
        self._run = _Run(landing, program, zero, rig.position["z"], step)
        if step == 0:
            self._enter(self._run, 0)

    def _enter(self, run: _Run, step: int) -> None:
        run.step, run.done = step, 0
        if step == 0:
            run.landing.begin_program()
        steps = run.program.steps
        if step < len(steps):
            run.landing.begin_step(steps[step].cycle)
            run.setpoints = steps[step].setpoints(run.program.sample_period)
        else:
            run.landing.begin_step(0)
            run.setpoints = None

    async def next_block(self) -> LandingBlock | None:
        """Return the next samples when their time has come."""
        run, rig = self._run, self._rig
        if run is None:
            return None
        if run.step != APPROACH and run.setpoints is not None and run.done >= len(run.setpoints):
            self._enter(run, run.step + 1)
        if run.step != APPROACH and run.setpoints is None:
            return None
        n = self._block_size(run)
        if n <= 0:
            return None
        # what was delivered before has been looked at: it stands
        rig.clock.advance(run.landing.time)
        rig.hold_frames(run.landing.time)
        await rig.film_keeps_up()
        due = run.zero + (run.index + n - 1) * run.program.sample_period
        await asyncio.sleep(rig.clock.delay(due))
        if run is not self._run:
            return None
        return self._compute(run, n)

    def _block_size(self, run: _Run) -> int:
        """Return the size of the next block; 0 where the approach has come to its end."""
        period, clock = run.program.sample_period, self._rig.clock
        if run.step == APPROACH:
            approach = run.program.approach
            assert approach is not None  # noqa: S101 - step -1 has an approach
            way = approach.z_max - self._rig.position["z"]
            left = math.floor(way / (approach.speed * period) + 1e-9)
            most = MAX_BLOCK if run.landing.contact.wet else APPROACH_BLOCK
        else:
            left = len(run.setpoints) - run.done if run.setpoints is not None else 0
            most = MAX_BLOCK
        if not clock.unlimited:
            most = min(most, max(round(self._block_time * clock.speed / period), 1))
        return min(left, most)

    def _compute(self, run: _Run, n: int) -> LandingBlock:
        rig, landing, period = self._rig, run.landing, run.program.sample_period
        z0 = rig.position["z"]
        run.snapshot = landing.snapshot()
        run.before = run.step, run.done, run.index, z0
        approach = run.program.approach
        if run.step == APPROACH and approach is not None:
            z = run.origin + approach.speed * period * np.arange(run.index + 1, run.index + n + 1)
            mode, setpoint = _applied(approach)
            setpoints = np.full(n, setpoint)
        else:
            assert run.setpoints is not None  # noqa: S101 - a step is under way
            z = np.full(n, z0)
            mode = _MODES[run.program.steps[run.step].mode]
            setpoints = run.setpoints[run.done : run.done + n]
        potential, current, saturated = landing.run(mode, setpoints, period, z)
        block = LandingBlock(
            run.index, potential, current, z, np.full(n, run.step), saturated=saturated
        )
        run.block = block
        run.done, run.index = run.done + n, run.index + n
        rig.position["z"] = float(z[-1])
        return block

    async def cut(self, index: int, action: CutAction) -> Cut:
        """Act after sample ``index`` of the last block."""
        run = self._run
        if run is None or run.block is None or run.snapshot is None:
            return Cut(empty_block(index + 1))
        first = run.block.first_index
        if not first <= index < first + len(run.block):
            raise ValueError(f"sample {index} is not in the last block: it cannot be cut there")
        if index + 1 < run.index:
            # not beyond the decision: go back, and live to that sample again
            run.landing.restore(run.snapshot)
            run.step, run.done, run.index, self._rig.position["z"] = run.before
            self._compute(run, index + 1 - first)
        post = empty_block(index + 1)
        if action is CutAction.CONTACT:
            post = self._halt(run)
            self._enter(run, 0)
        elif action is CutAction.NEXT_STEP:
            self._enter(run, run.step + 1)
        else:
            self._finish(run)
        return Cut(post, LATENCY)

    def _halt(self, run: _Run) -> LandingBlock:
        """Stop the approach: one sample passes until the pipette stands."""
        approach, period = run.program.approach, run.program.sample_period
        assert approach is not None  # noqa: S101 - contact ends an approach
        z = self._rig.position["z"] + approach.speed * min(STOP_TIME, period)
        mode, setpoint = _applied(approach)
        potential, current, saturated = run.landing.run(mode, np.full(1, setpoint), period, z)
        index, run.index = run.index, run.index + 1
        self._rig.position["z"] = z
        self._rig.clock.advance(run.landing.time)
        run.block = run.snapshot = None
        return LandingBlock(
            index, potential, current, np.full(1, z), np.full(1, APPROACH), saturated=saturated
        )

    def _finish(self, run: _Run) -> None:
        run.landing.begin_step(0)
        self._rig.clock.advance(run.landing.time)
        self._run = None
        self._rig.busy -= 1
        self._rig.release_frames()

    async def safe_state(self, policy: SafeState, potential: float) -> None:
        """Bring the electrical safe state now; a landing under way is over."""
        run, rig = self._run, self._rig
        if run is not None:
            self._live_on(run)
            self._finish(run)
        rig.rest_until(rig.clock.now)
        rig.rest = Rest.of(policy, potential)

    def _live_on(self, run: _Run) -> None:
        """Let samples pass that fell due since the last block (a kill does not stop time)."""
        clock, period = self._rig.clock, run.program.sample_period
        if clock.unlimited:
            return
        due = math.floor((clock.now - run.zero) / period) + 1 - run.index
        if due > 0 and (run.step == APPROACH or run.setpoints is not None):
            n = min(due, self._block_size(run))
            if n > 0:
                self._compute(run, n)

    async def retract(self, distance: float, speed: float) -> LandingBlock:
        """Withdraw the pipette, at most to the end of its travel."""
        rig, clock = self._rig, self._rig.clock
        z0 = rig.position["z"]
        target = max(z0 - distance, 0.0)
        speed = min(speed, rig.world.settings.max_speed)
        landing = rig.landing
        rig.busy += 1
        try:
            return await self._withdraw(landing, z0, target, speed)
        finally:
            rig.busy -= 1
            rig.release_frames()
            clock.advance(landing.time)

    async def _withdraw(
        self, landing: Landing, z0: float, target: float, speed: float
    ) -> LandingBlock:
        rig, clock = self._rig, self._rig.clock
        n = math.ceil((z0 - target) / (speed * PERIOD_AFTER) - 1e-9)
        if n <= 0:
            await asyncio.to_thread(rig.leave)
            return empty_block(0)
        rig.rest_until(clock.now)
        landing.time = max(landing.time, clock.now - PERIOD_AFTER)
        z = np.maximum(z0 - speed * PERIOD_AFTER * np.arange(1, n + 1), target)
        begin, parts = landing.time, []
        for low in range(0, n, MAX_BLOCK):
            rig.hold_frames(landing.time)
            await rig.film_keeps_up()
            part = z[low : low + MAX_BLOCK]
            await asyncio.sleep(clock.delay(begin + (low + len(part)) * PERIOD_AFTER))
            parts.append(rig.run_rest(landing, part, PERIOD_AFTER))
            rig.position["z"] = float(part[-1])
            clock.advance(landing.time)
        rig.release_frames()
        await asyncio.to_thread(rig.leave)
        potential, current, saturated = (np.concatenate(v) for v in zip(*parts, strict=True))
        return LandingBlock(0, potential, current, z, np.full(n, AFTER), saturated=saturated)

    # ---- outside landings ----------------------------------------------------------------
    async def measure(self) -> Reading:
        """Measure once."""
        rig = self._rig
        landing, z = rig.landing, rig.position["z"]
        if not landing.contact.wet:
            return self._electrometer.in_air()
        rig.rest_until(rig.clock.now)
        landing.time = max(landing.time, rig.clock.now - PERIOD_AFTER)
        potential, current, saturated = rig.run_rest(landing, np.full(1, z), PERIOD_AFTER)
        rig.clock.advance(landing.time)
        return Reading(float(potential[0]), float(current[0]), z, bool(saturated[0]))

    async def set_parameter(self, name: str, value: float) -> float:
        """Apply ``ELM:RANGE`` (A, decades) or ``ELM:FILTER`` (Hz)."""
        if self._run is not None:
            raise RuntimeError(f"{name} was set during a landing: end it first")
        return self._electrometer.set(name, value)


def make_virtual_seccm(
    seed: int = 0,
    speed: float = 1.0,
    truth: Path | None = None,
    *,
    preset: str = "10um",
    block_time: float = BLOCK_TIME,
    settings: SeccmSettings | None = None,
    **overrides: Any,
) -> SeccmBackend:
    """Virtual SECCM with its microscope as a backend.

    Parameters
    ----------
    seed : int
        Of sample and chance.
    speed : float
        Instrument seconds per wall second; ``inf`` for as fast as it can.
    truth : Path or None
        HDF5 file for the ground truth.
    preset : str
        Set of pipettes: "10um" or "6um" (see `SeccmSettings.preset`).
    block_time : float
        See `VirtualController`.
    settings : SeccmSettings or None
        The world; the preset where None.
    **overrides
        Fields of `SeccmSettings` to change.

    Raises
    ------
    pydantic.ValidationError
        If an override is unknown or out of range.
    """
    if settings is None:
        settings = SeccmSettings.preset(preset, **overrides)  # type: ignore[arg-type] - pydantic checks them
    elif overrides:
        settings = SeccmSettings(**(settings.model_dump() | overrides))
    clock = RigClock(speed)
    writer = TruthWriter(truth, seed, settings) if truth is not None else None
    rig = Rig(SeccmWorld(settings, seed, writer), clock)
    return SeccmBackend(
        VirtualController(rig, block_time=block_time),
        VirtualPipette(rig),
        VirtualCamera(rig),
        ticks=clock.ticks,
        utc=clock.utc,
        info={"reference_offset": settings.reference_offset},
    )
