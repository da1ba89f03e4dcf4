"""One landing: samples of the electrochemistry, and frames of the film."""

import math
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from threading import RLock

import numpy as np

from nucleation_bluesky.worlds.afm.keyed import keyed_generator
from nucleation_bluesky.worlds.seccm.camera import Drift, Sensor
from nucleation_bluesky.worlds.seccm.electrode import Electrode
from nucleation_bluesky.worlds.seccm.electrode_state import Draw, State
from nucleation_bluesky.worlds.seccm.footprint import Footprint
from nucleation_bluesky.worlds.seccm.history import History
from nucleation_bluesky.worlds.seccm.kinetics import Table
from nucleation_bluesky.worlds.seccm.meniscus import Contact, Meniscus
from nucleation_bluesky.worlds.seccm.optics import Film, Patch, Picture, Scene
from nucleation_bluesky.worlds.seccm.particles import Particles, draw_particles
from nucleation_bluesky.worlds.seccm.settings import FARADAY, SeccmSettings
from nucleation_bluesky.worlds.seccm.substrate import Protrusions

_CHUNK = 4096
_OVERSAMPLING = 16  # averaging makes the converters' steps this much finer
_DROPLET_TIME = 8.0  # s: what is left of the liquid evaporates


class Control(IntEnum):
    """What the instrument controls (values as in program tables)."""

    POTENTIAL = 0
    CURRENT = 1
    OPEN_CIRCUIT = 2


@dataclass(frozen=True)
class Snapshot:
    """A landing between two samples."""

    state: State
    contact: Contact
    time: float
    count: int
    program_time: float
    nucleation: int
    marks: tuple[tuple[int, int], ...]


class Landing:
    """A pipette above one place, from the approach on.

    Parameters
    ----------
    settings : SeccmSettings
        The world.
    key : tuple of int
        Seed, cell of the place, number of the visit.
    x, y : float
        Place in the sample frame, m.
    time : float
        Instrument time, s.
    sensor : Sensor
        The camera.
    older : list of Patch
        What earlier landings left in view, relative to this one.
    """

    def __init__(
        self,
        settings: SeccmSettings,
        key: tuple[int, ...],
        x: float,
        y: float,
        time: float,
        sensor: Sensor,
        older: list[Patch] | None = None,
    ) -> None:
        p = self.settings = settings
        self.key, self.x, self.y = key, x, y
        self.start = self.time = time
        self.footprint = Footprint(p, key)
        self.meniscus = Meniscus(p, key, x, y)
        self.contact = Contact()
        self.drift = Drift(p, key, time)
        self._sensor, self._older = sensor, older or []
        rng = keyed_generator(*key, "electrode")
        nuc, growth, t, first, last, rise, metal = np.clip(
            rng.standard_normal(7), -2.5, 2.5
        ).tolist()
        self.electrode = Electrode(
            p,
            Draw(
                Table.make(
                    p,
                    max(1 + p.e_nuc_scatter * nuc, 0.2),
                    max(1 + p.e_growth_scatter * growth, 0.2),
                    t,
                ),
                float(np.clip(p.ce_first + p.ce_scatter * first, 0.05, 0.95)),
                float(np.clip(p.ce_last + p.ce_scatter * last, 0.05, 0.97)),
                p.ce_cycles * math.exp(0.1 * rise),
                max(1 + 0.05 * metal, 0.3),
            ),
            self.footprint.area,
            self._draw_particles,
        )
        self.state = self.electrode.initial()
        self.history = History()
        self.particles: Particles | None = None
        self.count = 0
        self.current_range = p.current_range
        self.noise_factor = 1.0  # of the current's noise, by its bandwidth
        self.program_time = math.nan
        self.nucleation = -1  # sample of the first nucleation
        self.marks: tuple[tuple[int, int], ...] = ()  # (first sample, cycle) of each step
        self._noise: tuple[int, np.ndarray] = (-1, np.empty((2, 0)))
        self._spots_of: Particles | None = None
        self.looking = RLock()  # frames and truth are made in threads

    @cached_property
    def protrusions(self) -> Protrusions:
        """Protrusions in view."""
        half = self.settings.frame_size * self.settings.pixel_size
        return Protrusions(self.settings, self.key[0], (self.x, self.y), half)

    @cached_property
    def picture(self) -> Picture:
        """Renderer."""
        return Picture(self.settings, self.footprint, self.protrusions, self._older)

    def _draw_particles(self, density: float, potentiodynamic: bool) -> Particles:
        self.particles = draw_particles(
            self.settings,
            self.footprint,
            self.protrusions,
            self.key,
            density,
            potentiodynamic=potentiodynamic,
        )
        return self.particles

    # ---- snapshots -----------------------------------------------------------------------
    def snapshot(self) -> Snapshot:
        """Return what :meth:`restore` needs to come back here."""
        return Snapshot(
            self.state.copy(),
            self.contact.copy(),
            self.time,
            self.count,
            self.program_time,
            self.nucleation,
            self.marks,
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot of this landing."""
        self.state, self.contact = snapshot.state.copy(), snapshot.contact.copy()
        self.time, self.count = snapshot.time, snapshot.count
        self.program_time, self.nucleation = snapshot.program_time, snapshot.nucleation
        self.marks = snapshot.marks
        self.history.cut(self.count)
        if not self.state.frozen:
            self.particles = None
            self.electrode.thaw()

    def begin_program(self) -> None:
        """Mark the present time as the start of the program."""
        self.program_time = self.time

    def begin_step(self, cycle: int) -> None:
        """Mark the next sample as the first of a step in cycle ``cycle`` (0: in none)."""
        self.marks = (*self.marks, (self.count, cycle))

    # ---- electrochemistry ----------------------------------------------------------------
    def run(
        self, mode: int, setpoints: np.ndarray, dt: float, z: float | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run samples.

        Parameters
        ----------
        mode : int
            :class:`Control`.
        setpoints : ndarray, shape (n,)
            Raw potential (V) or current (A, negative reduces) of each sample.
        dt : float
            Time of a sample, s.
        z : float or ndarray, shape (n,)
            Extension of the pipette at each sample, m.

        Returns
        -------
        potential, current, saturated : ndarray, shape (n,)
            Raw potential (V), current (A), and whether either is at full scale.
        """
        p, full = self.settings, self.current_range
        setpoints = np.asarray(setpoints, dtype=float)
        n = len(setpoints)
        heights = np.broadcast_to(np.asarray(z, dtype=float), n)
        potential, current, noise = self._fly(mode, setpoints, dt, heights)
        done = len(potential)
        if done < n:
            rows = [
                self._sample(mode, value, dt, height)
                for value, height in zip(
                    setpoints[done:].tolist(), heights[done:].tolist(), strict=True
                )
            ]
            rest = np.array(rows).T
            potential = np.concatenate([potential, rest[0]])
            current = np.concatenate([current, rest[1]])
            noise = np.concatenate([noise, rest[2]])
        draws = self._draws(self.count - n, n)
        clean = np.abs(potential) >= p.potential_range
        current += p.current_noise * self.noise_factor * noise * draws[0]
        potential += np.where(clean, 0.0, p.potential_noise * noise * draws[1])
        if mode == Control.POTENTIAL:
            potential = setpoints + 0.1 * p.potential_noise * draws[1]
        saturated = (np.abs(potential) >= p.potential_range) | (np.abs(current) >= full)
        return (
            _digitise(potential, p.potential_range),
            _digitise(current, full),
            saturated,
        )

    def _fly(
        self, mode: int, setpoints: np.ndarray, dt: float, z: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run the samples before anything is touched, as :meth:`_sample` would; at least none."""
        p, c, m = self.settings, self.contact, self.meniscus
        n = len(setpoints)
        if c.wet or c.crashed:
            n = 0
        ends = [m.surface + p.crash_depth]
        if math.isnan(c.broken):
            ends.append(m.surface)
        if m.has_spike and not c.spiked:
            ends.append(m.spike_z)
        beyond = np.flatnonzero(z[:n] >= min(ends))
        n = int(beyond[0]) if len(beyond) else n
        if n == 0:
            return np.empty(0), np.empty(0), np.empty(0)
        times = np.empty(n)
        for k in range(n):  # one by one: sums must not depend on the portions
            self.time += dt
            times[k] = self.time
        self.count += n
        c.deepest = max(c.deepest, float(z[:n].max()))
        s = self.state
        self.history.extend(
            times, s.clock, s.dead, s.dead_u, s.active, s.active_u, s.survival,
            s.sei, s.sei_u, s.rich + s.poor, s.alloy_u, math.nan, 0.0,
        )  # fmt: skip
        if mode == Control.POTENTIAL:
            potential = setpoints[:n].copy()
        else:
            overload = (setpoints[:n] != 0) & (mode == Control.CURRENT)
            potential = np.where(overload, p.potential_range, 0.0)
        return potential, np.zeros(n), np.ones(n)

    def _sample(self, mode: int, value: float, dt: float, z: float) -> tuple[float, float, float]:
        """Advance by one sample; return raw potential, current and the factor on noise."""
        p, c, s = self.settings, self.contact, self.state
        self.time += dt
        self.count += 1
        spike = self.meniscus.follow(c, z, self.time)
        factor = 1.0
        if not c.wet:
            raw, current, true = self._open(mode, value, spike)
        else:
            area, offset, age = self.footprint.area, p.reference_offset, s.age
            if mode == Control.POTENTIAL:
                total = self.electrode.step(s, True, value + offset, dt)
                wetting = self.meniscus.wetted_share(age + dt) - self.meniscus.wetted_share(age)
                charge = p.capacitance * area * (s.potential - p.rest_potential)
                current = charge * wetting / dt - total * area
            else:
                current = value if mode == Control.CURRENT else 0.0
                self.electrode.step(s, False, -current / area, dt)
            true = s.potential
            raw = min(max(true - offset, -p.potential_range), p.potential_range)
            if age < 10 * p.contact_noise_time:
                factor += (p.contact_noise - 1) * math.exp(-age / p.contact_noise_time)
        if self.nucleation < 0 and s.nucleated:
            self.nucleation = self.count - 1
        self.history.append(
            self.time, s.clock, s.dead, s.dead_u, s.active, s.active_u, s.survival,
            s.sei, s.sei_u, s.rich + s.poor, s.alloy_u, true, current,
        )  # fmt: skip
        return raw, current, factor

    def _open(self, mode: int, value: float, spike: bool) -> tuple[float, float, float]:
        """Raw potential, current and true potential without contact."""
        p = self.settings
        if mode == Control.POTENTIAL:
            return value, p.spike_current if spike else 0.0, math.nan
        if mode == Control.CURRENT and value != 0:
            return p.potential_range - (8.0 if spike else 0.0), 0.0, math.nan
        return 0.0, 0.0, math.nan

    def _draws(self, first: int, n: int) -> np.ndarray:
        """Return the standard normal numbers of samples ``first`` on, shape (2, n)."""
        parts = []
        while n > 0:
            chunk, at = divmod(first, _CHUNK)
            if self._noise[0] != chunk:
                rng = keyed_generator(*self.key, "noise", chunk)
                self._noise = chunk, rng.standard_normal((2, _CHUNK))
            part = self._noise[1][:, at : at + n]
            parts.append(part)
            first, n = first + part.shape[1], n - part.shape[1]
        return np.concatenate(parts, axis=1) if parts else np.empty((2, 0))

    # ---- film ----------------------------------------------------------------------------
    def frame(self, time: float, exposure: float | None = None) -> np.ndarray:
        """Return the frame exposed from instrument time ``time`` on, uint16, row along +y.

        What lies beyond the last sample is the state of the last sample.
        """
        exposure = self.settings.exposure_time if exposure is None else exposure
        with self.looking:
            image = self.picture.render(self.scene(time, exposure))
        image = self.picture.shifted(image, *self.drift.at(time + exposure / 2))
        rng = keyed_generator(*self.key, "frame", round(time * 1e6))
        return self._sensor.expose(image, time, rng)

    def scene(self, time: float, exposure: float = 0.0) -> Scene:
        """State that a frame sees."""
        middle = time + exposure / 2
        c = self.contact
        wet = 0.0
        if c.time <= time + exposure:
            wet = min((time + exposure - c.time) / exposure, 1.0) if exposure > 0 else 1.0
            if middle > c.broken:
                wet = 0.5 * math.exp(-(middle - c.broken) / _DROPLET_TIME)
        age = max(middle - c.time, 0.0) if wet else 0.0
        spread = math.sqrt(self.meniscus.wetted_share(max(age, 1e-4)))
        row = self.history.at(middle)
        film = Film(*(row[name] for name in Film.names())) if row else Film()
        particles = self.particles
        if particles is None or not row or not len(particles):
            return Scene(wet, spread, film, np.zeros(0), np.zeros(0, dtype=bool))
        if self._spots_of is not particles:
            self.picture.populate(particles, uneven=self.state.potentiodynamic)
            self._spots_of = particles
        diameters, born = self.diameters(middle)
        return Scene(wet, spread, film, diameters, born)

    def diameters(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Diameter of every particle (m) at an instrument time, and whether it exists."""
        particles, row = self.particles, self.history.at(time)
        if particles is None or not row:
            return np.zeros(0), np.zeros(0, dtype=bool)
        born = particles.progress <= row["clock"]
        then = self.history.at_clock(particles.progress)
        dead = row["dead"] - then["dead"]
        dead += particles.deviation * (row["dead_u"] - then["dead_u"])
        survived = row["survival"] / np.maximum(then["survival"], 1e-12)
        active = row["active"] - then["active"] * survived
        active -= particles.deviation * (row["active_u"] - then["active_u"] * survived)
        charge = np.where(born, np.maximum(dead + active, 0.0), 0.0)
        scale = self.footprint.area * self.settings.molar_volume / FARADAY
        volume = scale * particles.weight * charge
        return np.cbrt(6 / math.pi * volume), born

    def remainder(self) -> Patch:
        """Return what stays behind, once the liquid is gone."""
        with self.looking:
            scene = self.scene(math.inf)
            dry = Scene(0.0, 1.0, scene.film, scene.diameters, scene.born)
            return self.picture.remainder(self.picture.render(dry), self.x, self.y)


def _digitise(values: np.ndarray, full_scale: float) -> np.ndarray:
    step = full_scale / 2**15 / _OVERSAMPLING
    return np.clip(np.round(values / step) * step, -full_scale, full_scale)
