"""The virtual AFM as one object: sample, stage, settings, exposures. No I/O but the truth file."""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from nucleation_bluesky.worlds.afm.channels import Settings
from nucleation_bluesky.worlds.afm.exposure import Exposure
from nucleation_bluesky.worlds.afm.imaging import take_image
from nucleation_bluesky.worlds.afm.keyed import keyed_generator
from nucleation_bluesky.worlds.afm.parameters import AfmWorldParameters
from nucleation_bluesky.worlds.afm.path import BiasPath
from nucleation_bluesky.worlds.afm.sample import Sample
from nucleation_bluesky.worlds.afm.stage import Stage
from nucleation_bluesky.worlds.afm.truth import TruthWriter
from nucleation_bluesky.worlds.visits import Visits

_CELL = 1e-9  # positions are told apart by this when random numbers are keyed, m


class AfmWorld:
    """Sample and instrument with a known truth.

    Parameters
    ----------
    seed : int
        The same seed gives the same sample and the same fate of every site.
    parameters : AfmWorldParameters
        The world's figures.
    truth : TruthWriter or None
        Where the truth of each exposure goes.
    """

    def __init__(
        self, seed: int, parameters: AfmWorldParameters, truth: TruthWriter | None = None
    ) -> None:
        self.seed, self.parameters = seed, parameters
        self.sample = Sample(seed, parameters)
        self.stage = Stage(seed, parameters)
        self.settings = Settings(parameters.amplifier_gain, parameters.amplifier_tau)
        self._truth = truth
        self._visits = Visits()
        self._exposures = 0
        self._images = 0
        self._idle_noise = keyed_generator(seed, "idle")

    def change(self, **settings: Any) -> None:
        """Change instrument settings (``gain``, ``tau``, ``feedback``)."""
        self.settings = replace(self.settings, **settings)

    def begin(self, path: BiasPath, rate: float, time: float, glitch_span: int = 0) -> Exposure:
        """Start an exposure of the point that is under the tip at instrument time ``time``.

        Parameters
        ----------
        path : BiasPath
            Bias against time from sample 0.
        rate : float
            Samples per second, Hz.
        time : float
            Instrument time, s.
        glitch_span : int
            Samples among which a glitch may fall, 0 for none.
        """
        x, y = self.stage.under_tip(time)
        commanded_x, commanded_y = self.stage.commanded
        cell = (round(commanded_x / _CELL), round(commanded_y / _CELL))
        visit = self._visits.count(cell)
        index = self.sample.deposits.find(x, y, self.parameters.contact_radius)
        radius = float(self.sample.deposits.table[index, 2]) if index >= 0 else 0.0
        return Exposure(
            self.parameters,
            self.settings,
            self.sample.site(x, y),
            path,
            rate,
            (self.seed, *cell, visit),
            deposit_radius=radius,
            base_height=self.sample.bare_height(x, y) + radius,
            glitch_span=glitch_span,
        )

    def finish(
        self, exposure: Exposure, time: float, kind: str, trip_index: int, end: float, last: int
    ) -> None:
        """Leave the site: keep the deposit and write the truth.

        Parameters
        ----------
        exposure : Exposure
            What ends.
        time : float
            Instrument time of its sample 0, s.
        kind : str
            "ramp" or "software".
        trip_index : int
            Sample that tripped, -1 without a trip.
        end : float
            When the abort took effect or the ramp ended, s after sample 0.
        last : int
            Number of the last sample recorded.
        """
        site, deposits = exposure.site, self.sample.deposits
        final = exposure.radius_at(exposure.path.end)
        index = deposits.find(site.x, site.y, self.parameters.contact_radius)
        before = float(deposits.table[index, 2]) if index >= 0 else 0.0
        deposits.put(index, site.x, site.y, final)
        self._exposures += 1
        if self._truth is None:
            return
        tripped = trip_index >= 0
        trip = trip_index * exposure.recorder.interval if tripped else math.nan
        born, born_bias = exposure.nucleation
        glitch = 0 <= exposure.glitch_index <= last
        if not tripped:
            cause = "none"
        elif trip_index == exposure.glitch_index:
            cause = "glitch"
        elif born <= trip:
            cause = "growth"
        elif before > 0:
            cause = "older_deposit"
        else:
            cause = "noise"
        commanded = self.stage.commanded
        self._truth.write(
            {
                "index": self._exposures - 1,
                "exposure_kind": kind,
                "time": time,
                "visit": exposure.key[-1],
                "commanded_x": commanded[0],
                "commanded_y": commanded[1],
                "true_x": site.x,
                "true_y": site.y,
                "on_alpo4": site.on_alpo4,
                "boundary_distance": site.distance,
                "equilibrium_potential": -site.equilibrium,
                "barrier": site.barrier,
                "conductivity": site.law.conductivity,
                "interface_resistance": site.law.interface_resistance,
                "radius_before": before,
                "nucleated": math.isfinite(born),
                "nucleation_time": born,
                "nucleation_bias": born_bias,
                "trip_index": trip_index,
                "trip_cause": cause,
                "latency": end - trip if tripped else math.nan,
                "end_time": end,
                "trip_radius": exposure.radius_at(trip) if tripped else math.nan,
                "trip_current": exposure.current_at(trip) if tripped else math.nan,
                "end_radius": exposure.radius_at(end),
                "end_current": exposure.current_at(end - 1e-10),
                "peak_current": exposure.peak_current(),
                "final_radius": final,
                "glitch": glitch,
                "glitch_index": exposure.glitch_index if glitch else -1,
                "glitch_size": exposure.glitch_size if glitch else 0.0,
                "height_feedback": exposure.feedback,
                "sample_rate": 1 / exposure.recorder.interval,
            }
        )

    def image(
        self, centre: tuple[float, float], size: float, pixels: int, time: float
    ) -> np.ndarray:
        """Topography from instrument time ``time`` on, m, shape (pixels, pixels)."""
        self._images += 1
        return take_image(
            self.seed,
            self._images,
            self.sample,
            self.stage,
            self.parameters,
            centre,
            size,
            pixels,
            time,
        )

    def idle_reading(self, bias: float, driven: bool) -> tuple[float, float]:
        """Return current (A) and height (m) measured over 10 ms away from any exposure."""
        p = self.parameters
        current = self._idle_noise.normal(0, p.current_noise_density * math.sqrt(1 / 0.02))
        noise = self._idle_noise.normal(0, p.height_noise_density * math.sqrt(1 / 0.02))
        return current + (p.leakage * bias if driven else 0.0), noise

    def close(self) -> None:
        """Close the truth file."""
        if self._truth is not None:
            self._truth.close()
