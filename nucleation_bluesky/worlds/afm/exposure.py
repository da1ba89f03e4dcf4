"""One exposure of one site: path, nuclei, samples, and what the truth file says of it."""

import math

import numpy as np

from nucleation_bluesky.worlds.afm.channels import Recorder, Settings, TrueSignals
from nucleation_bluesky.worlds.afm.growth import evolve
from nucleation_bluesky.worlds.afm.keyed import keyed_generator
from nucleation_bluesky.worlds.afm.parameters import AfmWorldParameters
from nucleation_bluesky.worlds.afm.path import BiasPath, Drive
from nucleation_bluesky.worlds.afm.sample import Site


class Exposure:
    """Physics of one exposure; time 0 is sample 0.

    Parameters
    ----------
    parameters : AfmWorldParameters
        The world.
    settings : Settings
        Instrument settings in force.
    site : Site
        The point under the tip.
    path : BiasPath
        Bias from the moment of contact; :meth:`replan` when it is changed.
    rate : float
        Samples per second, Hz.
    key : tuple of int
        Seed, cell of the commanded position, and number of the exposure there.
    deposit_radius : float
        Radius of what already lies under the tip, m.
    base_height : float
        Height of the surface, m.
    glitch_span : int
        Number of samples among which a glitch may fall; 0 for none.
    """

    def __init__(
        self,
        parameters: AfmWorldParameters,
        settings: Settings,
        site: Site,
        path: BiasPath,
        rate: float,
        key: tuple[int, ...],
        *,
        deposit_radius: float = 0.0,
        base_height: float = 0.0,
        glitch_span: int = 0,
    ) -> None:
        self._p = parameters
        self.site, self.path, self.key = site, path, key
        self.feedback = settings.feedback
        self._initial = site.law.extent(deposit_radius)
        self.glitch_index, self.glitch_size = self._plan_glitch(glitch_span)
        self.recorder = Recorder(
            parameters,
            settings,
            rate,
            key,
            glitch=(self.glitch_index, self.glitch_size),
            base_height=base_height,
        )
        self._first_nucleation = (math.nan, math.nan)
        self._spent = 0.0  # integrated hazard before the start of the present path
        self._born = 0
        self._peak = 0.0
        self.replan()

    def _plan_glitch(self, span: int) -> tuple[int, float]:
        p = self._p
        rng = keyed_generator(*self.key, "glitch")
        hit, where, size, sign = rng.random(4)
        if span <= 0 or hit >= p.glitch_fraction:
            return -1, 0.0
        size = p.glitch_low + (p.glitch_high - p.glitch_low) * size
        return int(where * span), float(size if sign < p.glitch_positive else -size)

    def _threshold(self, n: int) -> float:
        """Integrated hazard at which the next nucleus forms (less what was spent before)."""
        draw = keyed_generator(*self.key, "nucleation", n + self._born).standard_exponential()
        return draw - (self._spent if n == 0 else 0.0)

    def replan(self) -> None:
        """Work out the physics anew after the path was changed."""
        self.drive = Drive(
            self.path,
            self.site.equilibrium,
            self._p.hazard_prefactor,
            self.site.barrier,
            self._p.reversibility,
        )
        self.episodes = evolve(
            self.drive,
            self.site.law,
            self._threshold,
            begin=self.path.segments[0][0],
            initial=self._initial,
            start_radius=self._p.start_radius,
            can_nucleate=not self.site.on_alpo4,
        )
        self.signals = TrueSignals(
            self.drive, self.site.law, self.episodes, self._p.capacitance, self._p.leakage
        )

    def rebase(self) -> None:
        """Begin a new path where the present one ends, keeping the state of the site.

        For software ramps, which may take any number of steps: what is kept does not grow.
        """
        end, bias = self.path.end, self.path.bias
        self._peak = self.peak_current()
        self._first_nucleation = self.nucleation
        radius = self.radius_at(end)
        fresh = sum(life.fresh for life in self.episodes)
        if self.episodes and radius == 0:  # dissolved: the site has waited since then
            since = self.episodes[-1].stop
            self._spent = self.drive.hazard_integral(end) - self.drive.hazard_integral(since)
        elif radius == 0:
            self._spent += self.drive.hazard_integral(end)
        self._born += fresh
        self._initial = self.site.law.extent(radius)
        self.recorder.forget()
        self.path.restart(end, bias)

    def radius_at(self, time: float) -> float:
        """Radius of the nucleus at ``time``, m."""
        return float(self.signals.radius(np.array([time]))[0])

    def current_at(self, time: float) -> float:
        """Return the current through the nucleus at ``time``, A."""
        return float(self.signals.faradaic(np.array([time]))[0])

    def peak_current(self) -> float:
        """Return the largest faradaic current of the whole exposure, A, signed."""
        knots = self.signals.events
        times = np.concatenate([np.linspace(knots[0], knots[-1], 64), knots, knots - 1e-11])
        values = np.append(self.signals.faradaic(times), self._peak)
        return float(values[np.argmax(np.abs(values))])

    @property
    def nucleation(self) -> tuple[float, float]:
        """Time (s) and bias (V) of the first nucleus born in this exposure; NaN if none."""
        if math.isfinite(self._first_nucleation[0]):
            return self._first_nucleation
        for life in self.episodes:
            if life.fresh:
                return life.start, self._bias_of(life.start)
        return math.nan, math.nan

    def _bias_of(self, time: float) -> float:
        index = self.drive.index(time)
        return float(-(self.drive.eta(time, index) + self.site.equilibrium))

    def bias(self, begin: int, end: int) -> np.ndarray:
        """Commanded bias at samples ``begin`` to ``end``, V."""
        return self.path.bias_at(np.arange(begin, end) * self.recorder.interval)
