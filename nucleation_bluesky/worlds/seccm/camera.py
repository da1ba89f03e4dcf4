"""The camera: when frames are taken, drift, illumination and noise."""

import math
from dataclasses import dataclass

import numpy as np

from nucleation_bluesky.worlds.afm.keyed import SmoothField, keyed_generator
from nucleation_bluesky.worlds.seccm.settings import SeccmSettings


@dataclass(frozen=True)
class Exposure:
    """One delivered frame.

    Parameters
    ----------
    time : float
        True start of the exposure, instrument time, s.
    timestamp : float
        What the camera says, s.
    unique_id : int
        Number by which the camera counts; gaps are losses.
    repeated : bool
        The same image as the frame before, delivered once more.
    """

    time: float
    timestamp: float
    unique_id: int
    repeated: bool = False


class FrameClock:
    """Successive exposures of one acquisition.

    Parameters
    ----------
    settings : SeccmSettings
        The world.
    key : tuple of int
        Key of the acquisition.
    start : float
        Instrument time at which it starts, s.
    period : float or None
        Mean time between frames, s; the settings' own by default.
    """

    def __init__(
        self,
        settings: SeccmSettings,
        key: tuple[int, ...],
        start: float,
        period: float | None = None,
    ) -> None:
        p = settings
        self._rng = keyed_generator(*key, "frames")
        self._period = p.frame_period if period is None else period
        self._jitter = p.frame_jitter * self._period / p.frame_period
        self._dropped, self._doubled = p.dropped, p.doubled
        self._offset = p.camera_clock_offset
        self._time, self._id = start, 0
        self._again: Exposure | None = None

    def next(self) -> Exposure:
        """Return the next delivered frame."""
        if self._again is not None:
            frame, self._again = self._again, None
            return frame
        while True:
            step, lost, twice, late = self._rng.standard_normal(), *self._rng.random(3)
            self._time += self._period + self._jitter * float(np.clip(step, -4, 4))
            self._id += 1
            if lost >= self._dropped:
                break
        frame = Exposure(self._time, self._time + self._offset, self._id)
        if twice < self._doubled:
            stamp = frame.timestamp + 1e-3 * (1 + float(late))
            self._again = Exposure(self._time, stamp, self._id, repeated=True)
        return frame


class Drift:
    """Lateral drift of the sample against the camera since the start of a landing."""

    def __init__(self, settings: SeccmSettings, key: tuple[int, ...], start: float) -> None:
        p = settings
        angle = float(keyed_generator(*key, "drift").uniform(0, 2 * math.pi))
        self._speed = p.drift_speed * math.cos(angle), p.drift_speed * math.sin(angle)
        self._wander = [SmoothField(key[0], f"wander {key} {axis}", 60.0, 32) for axis in "xy"]
        self._size, self._start = p.drift_wander, start

    def at(self, time: float) -> tuple[float, float]:
        """Displacement along x and y, m."""
        t = time - self._start
        wander = [self._size * (w.at(t) - w.at(0.0)) for w in self._wander]
        return self._speed[0] * t + wander[0], self._speed[1] * t + wander[1]


class Sensor:
    """Illumination, pixel gains and noise; fixed in the frame of the camera.

    Parameters
    ----------
    settings : SeccmSettings
        The world.
    seed : int
        Of the instrument.
    """

    def __init__(self, settings: SeccmSettings, seed: int) -> None:
        p = self._p = settings
        n = p.frame_size
        axis = np.linspace(-1, 1, n, dtype=np.float32)
        radius2 = (axis[:, None] ** 2 + axis[None, :] ** 2) / 2
        rng = keyed_generator(seed, "sensor")
        pattern = 1 + p.fixed_pattern * rng.standard_normal((n, n), dtype=np.float32)
        lamp = 1 - p.vignetting * radius2
        self._gain = (p.level / float(lamp.mean()) * lamp * pattern).astype(np.float32)
        self._led = SmoothField(seed, "led", p.led_drift_time, 64)
        self._top = 2**p.bits - 1

    def expose(self, reflectance: np.ndarray, time: float, rng: np.random.Generator) -> np.ndarray:
        """Return a frame's counts, uint16, from relative reflectance (float32, overwritten)."""
        p = self._p
        led = 1 + p.led_drift * self._led.at(time) + p.led_flicker * rng.standard_normal()
        signal = reflectance
        signal *= self._gain
        signal *= np.float32(led)
        np.maximum(signal, 0, out=signal)
        noise = rng.standard_normal(signal.shape, dtype=np.float32)
        sigma = signal * np.float32(1 / p.camera_gain)
        sigma += np.float32((p.read_noise / p.camera_gain) ** 2)
        np.sqrt(sigma, out=sigma)
        noise *= sigma
        signal += noise
        signal += np.float32(p.camera_offset + 0.5)
        np.clip(signal, 0, self._top, out=signal)
        return signal.astype(np.uint16)
