"""Complete landings in process: electrochemistry, film and truth without an IOC."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nucleation_bluesky.worlds.seccm.camera import Exposure
from nucleation_bluesky.worlds.seccm.landing import Control, Landing
from nucleation_bluesky.worlds.seccm.settings import SeccmSettings
from nucleation_bluesky.worlds.seccm.truth import landing_truth
from nucleation_bluesky.worlds.seccm.world import SeccmWorld

SAMPLE_PERIOD = 2.57e-3  # s
_START = 3e-6  # m before contact
_BLOCK = 256


@dataclass(frozen=True)
class Part:
    """Samples under one control: a step of a program.

    Parameters
    ----------
    mode : Control
        What is controlled.
    setpoints : ndarray, shape (n,)
        Raw potential (V) or current (A, negative reduces).
    cycle : int
        Number of the cycle from 1, 0 outside cycles.
    """

    mode: Control
    setpoints: np.ndarray
    cycle: int = 0


def constant_current(current: float, duration: float, cycle: int = 0) -> Part:
    """Constant signed current, A, for a time, s."""
    n = max(1, round(duration / SAMPLE_PERIOD))
    return Part(Control.CURRENT, np.full(n, current), cycle)


def constant_potential(potential: float, duration: float, cycle: int = 0) -> Part:
    """Constant raw potential, V, for a time, s."""
    n = max(1, round(duration / SAMPLE_PERIOD))
    return Part(Control.POTENTIAL, np.full(n, potential), cycle)


def rest(duration: float, cycle: int = 0) -> Part:
    """Open circuit for a time, s."""
    return Part(Control.OPEN_CIRCUIT, np.zeros(max(1, round(duration / SAMPLE_PERIOD))), cycle)


def voltammogram(
    settings: SeccmSettings,
    cycles: int = 10,
    high: float = 1.47,
    low: float = -0.27,
    rate: float = 0.1,
) -> list[Part]:
    """Cyclic voltammetry between potentials against Li/Li+, V, at a rate, V/s."""
    n = max(1, round((high - low) / rate / SAMPLE_PERIOD))
    down = high - (high - low) * np.arange(n) / n - settings.reference_offset
    up = low + (high - low) * np.arange(n) / n - settings.reference_offset
    return [
        Part(Control.POTENTIAL, sweep, cycle)
        for cycle in range(1, cycles + 1)
        for sweep in (down, up)
    ]


@dataclass(frozen=True)
class SimulatedLanding:
    """A complete landing.

    Parameters
    ----------
    time : ndarray, shape (n,)
        Time of the program's samples, s after its start.
    potential, current : ndarray, shape (n,)
        Raw potential, V, and current, A.
    cycle : ndarray of int, shape (n,)
        Number of the cycle of each sample, 0 outside.
    exposures : list of Exposure
        Delivered frames, in instrument time.
    landing : Landing
        The landing itself, for more frames and details.
    """

    time: np.ndarray
    potential: np.ndarray
    current: np.ndarray
    cycle: np.ndarray
    exposures: list[Exposure]
    landing: Landing

    @property
    def timestamps(self) -> np.ndarray:
        """What the camera says, s, shape (frames,)."""
        return np.array([e.timestamp for e in self.exposures])

    @property
    def frame_times(self) -> np.ndarray:
        """True start of each exposure, s after the start of the program, shape (frames,)."""
        return np.array([e.time for e in self.exposures]) - self.landing.program_time

    def frames(self) -> Iterator[np.ndarray]:
        """Frames in order, uint16, shape (frame_size, frame_size)."""
        last = np.empty(0, dtype=np.uint16)
        for exposure in self.exposures:
            if not exposure.repeated:
                last = self.landing.frame(exposure.time)
            yield last

    def truth(self) -> dict[str, Any]:
        """Truth of the landing (see :func:`worlds.seccm.truth.landing_truth`)."""
        return landing_truth(self.landing)


def simulate_landing(
    settings: SeccmSettings | None = None,
    seed: int = 0,
    program: Sequence[Part] = (),
    *,
    place: tuple[float, float] = (0.0, 0.0),
    before: float = 1.5,
    after: float = 0.0,
    frame_period: float | None = None,
    world: SeccmWorld | None = None,
) -> SimulatedLanding:
    """Approach, run a program, and film it.

    Parameters
    ----------
    settings : SeccmSettings or None
        The world.
    seed : int
        Of the world.
    program : sequence of Part
        Steps after contact.
    place : tuple of float
        In the sample frame, m.
    before : float
        Time filmed before contact, s.
    after : float
        Time filmed after the program, at open circuit and in contact, s.
    frame_period : float or None
        Mean time between frames, s.
    world : SeccmWorld or None
        The world to land in, instead of ``settings`` and ``seed``: for several landings.
    """
    world = world or SeccmWorld(settings, seed)
    landing = world.land(*place)
    surface, dt = landing.meniscus.surface, SAMPLE_PERIOD
    speed = 2e-6
    first = program[0] if program else Part(Control.POTENTIAL, np.zeros(1))
    way = max(_START, (before + 0.5) * speed)
    z = surface - way
    while not landing.contact.wet:
        z += speed * dt
        landing.run(first.mode, first.setpoints[:1], dt, z)
    landing.run(first.mode, first.setpoints[:1], dt, z)  # confirmation
    contact = landing.contact.time
    clock = world.acquire(contact - before, frame_period)
    landing.begin_program()
    parts: list[tuple[np.ndarray, ...]] = []
    for part in program:
        landing.begin_step(part.cycle)
        e, i, _ = landing.run(part.mode, part.setpoints, dt, z)
        parts.append((e, i, np.full(len(e), part.cycle)))
    landing.begin_step(0)
    if after > 0:
        landing.run(Control.OPEN_CIRCUIT, np.zeros(math.ceil(after / dt)), dt, z)
    exposures = []
    while (frame := clock.next()).time < landing.time:
        exposures.append(frame)
    e, i, cycle = (np.concatenate(v) for v in zip(*parts, strict=True)) if parts else (
        np.empty(0), np.empty(0), np.empty(0, dtype=int)
    )  # fmt: skip
    return SimulatedLanding(np.arange(1, len(e) + 1) * dt, e, i, cycle, exposures, landing)
