"""What the amplifier and the Z loop make of the current and the radius of a nucleus."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nucleation_bluesky.worlds.afm.filters import ColouredNoise, RandomWalk, low_pass
from nucleation_bluesky.worlds.afm.growth import Episode, GrowthLaw
from nucleation_bluesky.worlds.afm.keyed import keyed_generator
from nucleation_bluesky.worlds.afm.parameters import AfmWorldParameters
from nucleation_bluesky.worlds.afm.path import Drive


@dataclass(frozen=True)
class Settings:
    """Instrument settings in force."""

    gain: float
    tau: float
    feedback: bool = True


@dataclass(frozen=True)
class Adc:
    """Current as digitised: a rounded, clipped code."""

    bits: int
    full_scale: float  # A

    def digitise(self, current: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Digitised current (A) and whether it is at full scale."""
        top = 2 ** (self.bits - 1)
        step = self.full_scale / top
        code = np.clip(np.round(current / step), -top, top - 1)
        return code * step, (code <= -top) | (code >= top - 1)


@dataclass(frozen=True)
class TrueSignals:
    """Radius and current of the nuclei at a site along a path, as functions of time."""

    drive: Drive
    law: GrowthLaw
    episodes: list[Episode]
    capacitance: float
    leakage: float

    def radius(self, time: np.ndarray) -> np.ndarray:
        """Radius, m; 0 without a nucleus."""
        result = np.zeros(np.shape(time))
        for life in self.episodes:
            inside = (time >= life.start) & (time < life.stop)
            if inside.any():
                t = time[inside]
                grown = self.drive.integral(t, self.drive.index(t))
                grown = grown - self.drive.integral_at(life.start)
                extent = life.extent + self.law.volume_per_charge * grown
                result[inside] = self.law.radius(extent)
        return result

    def faradaic(self, time: np.ndarray, radius: np.ndarray | None = None) -> np.ndarray:
        """Return the current through the nuclei, A; negative reduces."""
        index = self.drive.index(time)
        radius = self.radius(time) if radius is None else radius
        eta = self.drive.eta(time, index)
        return -self.drive.weight[index] * eta * self.law.conductance(radius)

    def background(self, time: np.ndarray) -> np.ndarray:
        """Leakage and C dV/dt, A."""
        index = self.drive.index(time)
        bias = -(self.drive.eta(time, index) + self.drive.equilibrium)
        current = self.leakage * bias + self.capacitance * self.drive.bias_rate(index)
        return np.where(self.drive.driven[index], current, 0.0)

    def total(self, time: np.ndarray) -> np.ndarray:
        """Return the current into the amplifier, A."""
        return self.faradaic(time) + self.background(time)

    @property
    def events(self) -> np.ndarray:
        """Times of kinks and jumps, s."""
        times = [t for e in self.episodes for t in (e.start, e.stop) if math.isfinite(t)]
        return np.sort(np.concatenate([self.drive.knots, times]))

    @property
    def first(self) -> float:
        """Time of the first nucleus, s; infinite if none."""
        return self.episodes[0].start if self.episodes else math.inf


class Recorder:
    """Samples of current and height, ``index / rate`` after the path's zero of time.

    Sample ``k`` does not depend on the portions in which samples are drawn: filters are exact,
    sub-steps lie on a grid fixed by the sample number, and noise is drawn in order.
    """

    def __init__(
        self,
        parameters: AfmWorldParameters,
        settings: Settings,
        rate: float,
        key: tuple[int, ...],
        *,
        first_state: float = 0.0,
        glitch: tuple[int, float] = (-1, 0.0),
        base_height: float = 0.0,
    ) -> None:
        p = parameters
        self._p, self._settings, self.interval = p, settings, 1.0 / rate
        self.adc = Adc(p.adc_bits, p.adc_full_scale / settings.gain)
        shortest = min(settings.tau, p.height_tau)
        self._substeps = max(1, math.ceil(self.interval / shortest * 4))
        self._current_noise = ColouredNoise(
            keyed_generator(*key, "current"), p.current_noise_density, settings.tau, self.interval
        )
        self._height_noise = ColouredNoise(
            keyed_generator(*key, "height"), p.height_noise_density, p.height_tau, self.interval
        )
        self._walk = RandomWalk(keyed_generator(*key, "walk"), p.height_walk, self.interval)
        rng = keyed_generator(*key, "drift")
        self._drift = rng.normal(p.height_drift, p.height_drift_spread)
        self._glitch, self._key = glitch, key
        self._base = base_height
        self._first_state = first_state
        self._current = np.empty(0)  # filtered, without noise
        self._radius = np.empty(0)
        self._noise = np.empty((2, 0))
        self._offset = 0  # sample number of element 0 of these arrays

    @property
    def count(self) -> int:
        """Number of samples computed so far."""
        return self._offset + len(self._current)

    def forget(self) -> None:
        """Drop all samples but the last (a software ramp may go on for long)."""
        drop = max(len(self._current) - 1, 0)
        self._offset += drop
        self._current, self._radius = self._current[drop:], self._radius[drop:]
        self._noise = self._noise[:, drop:]

    def rewind(self, count: int) -> None:
        """Forget the deterministic part of samples from number ``count`` on, keep their noise."""
        keep = max(count - self._offset, 0)
        self._current, self._radius = self._current[:keep], self._radius[:keep]

    def extend(self, signals: TrueSignals, count: int) -> None:
        """Compute samples up to number ``count`` (exclusive)."""
        begin = self.count
        if count <= begin:
            return
        if begin == 0:
            zero = np.zeros(1)
            radius = signals.radius(zero)
            self._current = np.array([self._start_current(signals)])
            self._radius = radius * self._settings.feedback
            begin = 1
        # before the first nucleus the input is piecewise linear: no sub-steps are needed
        plain = min(max(self._cell(signals.first), begin), count)
        self._advance(signals, begin, plain, 1)
        self._advance(signals, plain, count, self._substeps)
        missing = self.count - self._offset - self._noise.shape[1]
        if missing > 0:
            fresh = np.empty((2, missing))
            fresh[0] = self._current_noise.draw(missing)
            fresh[1] = self._height_noise.draw(missing)
            walk = self._walk.draw(missing)
            if self._settings.feedback:
                k = np.arange(self.count - missing, self.count)
                fresh[1] += walk + self._drift * (k * self.interval)
            self._noise = np.concatenate([self._noise, fresh], axis=1)

    def _start_current(self, signals: TrueSignals) -> float:
        """Return the filtered current at sample 0, after settling at the start bias."""
        t0 = float(signals.drive.t0[0])
        if t0 >= 0:
            return self._first_state
        n = max(1, math.ceil(-t0 / self._settings.tau * 8))
        grid = np.linspace(t0, 0.0, n + 1)
        out = low_pass(
            signals.total,
            grid,
            -t0 / n,
            signals.total(grid),
            signals.events,
            self._settings.tau,
            self._first_state,
        )
        return float(out[-1])

    def _cell(self, time: float) -> int:
        """Return the number of the first sample after ``time``."""
        return math.floor(time / self.interval) + 1 if math.isfinite(time) else 2**62

    def _advance(self, signals: TrueSignals, begin: int, end: int, substeps: int) -> None:
        if end <= begin:
            return
        fine = np.arange((begin - 1) * substeps, (end - 1) * substeps + 1)
        step = self.interval / substeps
        grid = fine * step
        radius = signals.radius(grid)
        events = signals.events
        tau = self._settings.tau
        values = signals.faradaic(grid, radius) + signals.background(grid)
        current = low_pass(signals.total, grid, step, values, events, tau, float(self._current[-1]))
        if self._settings.feedback:
            state = float(self._radius[-1])
            if state == 0 and not radius.any():
                height = np.zeros(len(grid) - 1)
            else:
                tau = self._p.height_tau
                height = low_pass(signals.radius, grid, step, radius, events, tau, state)
        else:
            height = np.zeros(len(grid) - 1)
        self._current = np.concatenate([self._current, current[substeps - 1 :: substeps]])
        self._radius = np.concatenate([self._radius, height[substeps - 1 :: substeps]])

    def charge_after(self, signals: TrueSignals, index: int, end: float) -> float:
        """Charge that the amplifier still passes on after sample ``index``, C.

        What flows until ``end`` (s), and what the amplifier's pole holds at that sample, with the
        noise of integrating over this time and five time constants.
        """
        tau, begin = self._settings.tau, index * self.interval
        n = 1 + max(8, math.ceil((end - begin) / tau * 8))
        marks = np.concatenate([[begin, end], signals.events])
        marks = np.unique(marks[(marks >= begin) & (marks <= end)])
        charge = tau * float(self._current[index - self._offset])
        for low, high in pairwise(marks):
            grid = np.linspace(low + 1e-11, high - 1e-11, n)
            charge += float(np.trapezoid(signals.total(grid), grid))
        width = self._p.current_noise_density * math.sqrt((end - begin + 5 * tau) / 2)
        return charge + float(keyed_generator(*self._key, "charge").normal(0, width))

    def samples(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return current (A), height (m) and saturation of samples ``begin`` to ``end``."""
        part = slice(begin - self._offset, end - self._offset)
        analog = self._current[part] + self._noise[0, part]
        index, size = self._glitch
        if begin <= index < end:
            analog[index - begin] += size
        current, saturated = self.adc.digitise(analog)
        return current, self._base + self._radius[part] + self._noise[1, part], saturated
