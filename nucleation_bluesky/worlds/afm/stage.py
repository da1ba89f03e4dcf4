"""Piezo stage with settling and creep, and the thermal drift of the sample under the tip."""

import math

from nucleation_bluesky.worlds.afm.keyed import SmoothField, keyed_generator
from nucleation_bluesky.worlds.afm.parameters import AfmWorldParameters


class Axis:
    """One axis: travel at constant velocity, first-order settling, exponential creep."""

    def __init__(self, parameters: AfmWorldParameters) -> None:
        self._p = parameters
        self.target = 0.0
        self._from, self._began, self._arrives = 0.0, 0.0, 0.0
        self._lag = 0.0  # distance still to go at arrival
        self._creep, self._creep_time = 0.0, 0.0

    def move(self, target: float, time: float) -> float:
        """Start a move at ``time``; return when the travel ends, s."""
        p = self._p
        creep = self._creep_at(time)
        begin = self.position(time) - creep
        delta = target - begin
        reach = p.stage_velocity * p.stage_tau
        lag = reach * -math.expm1(-abs(delta) / reach)
        self._lag = math.copysign(min(lag, abs(delta)), delta)
        self._from, self.target = begin, target
        self._began, self._arrives = time, time + abs(delta) / p.stage_velocity
        self._creep, self._creep_time = creep - p.creep_fraction * delta, time
        return self._arrives

    def settled(self) -> float:
        """Time from which the creep of the last move is below the tolerance, s."""
        left = abs(self._creep) / self._p.stage_settled
        return self._creep_time + self._p.creep_tau * math.log(max(left, 1.0))

    def stop(self, time: float) -> None:
        """Stop where the stage is."""
        here = self.position(time) - self._creep_at(time)
        self.target = self._from = here
        self._began = self._arrives = time
        self._lag = 0.0

    def _creep_at(self, time: float) -> float:
        return self._creep * math.exp(-(time - self._creep_time) / self._p.creep_tau)

    def position(self, time: float) -> float:
        """Position of the stage, m."""
        if time < self._arrives:
            share = max(time - self._began, 0.0) / (self._arrives - self._began)
            base = self._from + (self.target - self._lag - self._from) * share
        else:
            base = self.target - self._lag * math.exp(-(time - self._arrives) / self._p.stage_tau)
        return base + self._creep_at(time)


class Stage:
    """XY stage; positions in the stage's frame, and the point of the sample under the tip."""

    def __init__(self, seed: int, parameters: AfmWorldParameters) -> None:
        self._p = parameters
        self._seed = seed
        self.axes = {"x": Axis(parameters), "y": Axis(parameters)}
        self._wander = {
            axis: SmoothField(seed, f"drift {axis}", parameters.drift_wander_time, 64)
            for axis in self.axes
        }
        self._moves = dict.fromkeys(self.axes, 0)
        self._readout = keyed_generator(seed, "position readout")

    def drift(self, axis: str, time: float) -> float:
        """How far the sample has drifted along ``axis`` since time 0, m."""
        rate = self._p.drift_x if axis == "x" else self._p.drift_y
        wander = self._wander[axis]
        return rate * time + self._p.drift_wander * (wander.at(time) - wander.at(0.0))

    @property
    def commanded(self) -> tuple[float, float]:
        """Targets, m."""
        return self.axes["x"].target, self.axes["y"].target

    def under_tip(self, time: float) -> tuple[float, float]:
        """Point of the sample that is really under the tip, m, in the sample's frame."""
        x, y = (self.axes[a].position(time) + self.drift(a, time) for a in ("x", "y"))
        return x, y

    def arrival_reading(self, axis: str, time: float) -> float:
        """Measured position after a move, m; its noise depends on the axis' number of moves."""
        self._moves[axis] += 1
        rng = keyed_generator(self._seed, "arrival", axis, self._moves[axis])
        return self.axes[axis].position(time) + rng.normal(0, self._p.stage_noise)

    def reading(self, axis: str, time: float) -> float:
        """Measured position, m."""
        noise = self._readout.normal(0, self._p.stage_noise)
        return self.axes[axis].position(time) + float(noise)
