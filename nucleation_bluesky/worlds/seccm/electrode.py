"""The electrode under the meniscus, sample by sample: charge goes in, state changes, no noise.

Everything is per wetted area. Cathodic current densities count positive in this module.
"""

import math
from bisect import bisect_right
from collections.abc import Callable

from scipy.optimize import brentq

from nucleation_bluesky.worlds.seccm.electrode_state import Draw, Population, State
from nucleation_bluesky.worlds.seccm.kinetics import Anodic, fall, metal_share, recovery
from nucleation_bluesky.worlds.seccm.settings import SeccmSettings
from nucleation_bluesky.worlds.seccm.transport import DiffusionLayer

FREEZE = 0.6  # progress at which the particles' population is drawn
_ACTIVE_SHARE, _DEAD_SHARE, _AT = 0.29, 0.263, 0.27  # metal in recoverable and lost charge
_ALLOY, _ALLOY_WIDTH = 0.45, 0.03  # V
_SMALL = 1e-9  # C/m2
_TANGIBLE = 2.0  # C/m2
_NET = 1e-3  # A/m2
_SLOW = 5.0  # A/m2: above, a sample's own progress matters to its current
_HALVINGS = 16
_LASTING = 0.12  # progress that stripping does not undo: the SEI's


class Electrode:
    """Laws of one landing's electrode; the state is handed in.

    Parameters
    ----------
    settings : SeccmSettings
        The world.
    draw : Draw
        This landing's truth.
    area : float
        Footprint, m2.
    populate : callable
        Called with (current density, potentiodynamic) when the particles are drawn.
    """

    def __init__(
        self,
        settings: SeccmSettings,
        draw: Draw,
        area: float,
        populate: Callable[[float, bool], Population],
    ) -> None:
        self._p, self.draw = settings, draw
        self.layer = DiffusionLayer(
            settings.diffusion, settings.concentration, settings.limiting_current / area
        )
        self._anodic = Anodic(
            settings.peak_potentials,
            settings.peak_width,
            settings.oxidation_potential,
            settings.resistance * area,
        )
        self._populate = populate
        self._population: Population | None = None
        self._times: list[float] = []
        self.share = 0.0
        self._cycle = (0, 1.0, 1.0, 0.0)  # number, scale, efficiency, spread
        self._bounds = (
            settings.reference_offset - settings.potential_range,
            settings.reference_offset + settings.potential_range,
        )

    def initial(self) -> State:
        """State at first contact."""
        return State(self._p.rest_potential, self.layer.initial())

    def thaw(self) -> None:
        """Forget the population (a state before it was drawn was restored)."""
        self._population = None

    def spread(self, cycle: int) -> float:
        """Spatial sd of the efficiency in a cycle."""
        p = self._p
        wide = p.ce_spread * math.exp(-(cycle - 1) / p.ce_spread_cycles)
        efficiency = self.draw.efficiency(cycle)
        return min(wide, 0.44 * efficiency, 0.44 * (1 - efficiency))

    def scale(self, cycle: int) -> float:
        """Cathodic kinetics of a cycle over those of the first."""
        p = self._p
        return p.charge_decay + (1 - p.charge_decay) * math.exp(
            -(cycle - 1) / p.charge_decay_cycles
        )

    def growth_potential(self, density: float) -> float:
        """Plateau at a current density in the first cycle, V."""
        table = self.draw.table
        return table.potential(list(table.growth), density)

    # ---- one step ------------------------------------------------------------------------
    def step(self, s: State, controlled: bool, setpoint: float, dt: float) -> float:
        """Advance by ``dt``; return the current density, cathodic positive, capacitive included.

        Parameters
        ----------
        s : State
            Changed in place.
        controlled : bool
            True where the potential is controlled, False for the current.
        setpoint : float
            Potential, V against Li/Li+, or cathodic current density, A/m2.
        dt : float
            s.
        """
        table, p = self.draw.table, self._p
        if s.cycle != self._cycle[0]:
            self._cycle = (
                s.cycle,
                self.scale(s.cycle),
                self.draw.efficiency(s.cycle),
                self.spread(s.cycle),
            )
        scale = self._cycle[1]
        factor = scale * min(1.0, max(s.surface, 0.002) / p.depletion_threshold)
        h = fall(s.progress)
        nodes = table.potentials(p.rest_potential, h, recovery(s.relaxed), nucleated=s.nucleated)
        before = s.potential
        residual = p.residual_current * math.exp(-s.age / p.residual_time)
        if controlled:
            e, total = setpoint, 0.0
            j = factor * table.density(nodes, e)
            if not s.nucleated and j > _SLOW:
                j = self._slowed(s, e, factor, scale, dt)
        else:
            total = setpoint
            e = self._solve(s, nodes, factor, setpoint - residual, dt)
            j = 0.0
        lost, parasitic = self._oxidise(s, e, dt)
        if not controlled:  # what is commanded flows, to the last electron
            rest = (lost[0] + lost[1] + lost[2]) / dt + parasitic
            j = max(setpoint - residual - p.capacitance * (before - e) / dt + rest, 0.0)
        net = j - (lost[0] + lost[1] + lost[2]) / dt - parasitic
        if controlled:
            total = net + residual + p.capacitance * (before - e) / dt
        s.potential, s.slope = e, e - before
        s.age += dt
        self._count_cycles(s, net, dt)
        self._deposit(s, j, scale, dt, controlled)
        if residual > 0:
            s.sei += residual * dt
            s.cathodic += residual * dt
        s.surface = self.layer.advance(s.layer, net, dt)
        return total

    def _slowed(self, s: State, e: float, factor: float, scale: float, dt: float) -> float:
        """Cathodic current density at potential ``e``, implicit in the progress that it makes."""
        table, top = self.draw.table, self._p.rest_potential
        share = dt / self._p.potentiodynamic_charge

        def current(progress: float) -> float:
            nodes = table.potentials(top, fall(progress), 0.0, nucleated=False)
            return factor * table.density(nodes, e)

        low, j = s.progress, current(s.progress)
        high = min(low + share / table.nucleation_time(j / scale), 1.0)
        begin = low
        for _ in range(_HALVINGS):
            if high - low < 1e-4 * (high - begin) + 1e-9:
                break
            middle = (low + high) / 2
            j = current(middle)
            if begin + share / table.nucleation_time(j / scale) > middle:
                low = middle
            else:
                high = middle
        return j

    def _oxidise(self, s: State, e: float, dt: float) -> tuple[tuple[float, float, float], float]:
        """Empty the reservoirs at potential ``e`` for ``dt``; charges, and parasitic current."""
        if e <= 0:
            return (0.0, 0.0, 0.0), 0.0
        lost = self._anodic.losses(e, (s.metal, s.rich, s.poor), dt)
        parasitic = self._anodic.parasitic(e)
        taken = lost[0] + lost[1] + lost[2]
        s.anodic += taken + parasitic * dt
        if taken > 0:
            self._strip(s, lost)
        return lost, parasitic

    def _strip(self, s: State, lost: tuple[float, float, float]) -> None:
        if s.metal > _SMALL:
            keep = 1 - lost[0] / s.metal
            s.metal *= keep
            s.active *= keep
            s.active_u *= keep
            s.survival *= keep
        alloy = s.rich + s.poor
        if alloy > _SMALL:
            left = alloy - lost[1] - lost[2]
            s.rich, s.poor = s.rich - lost[1], s.poor - lost[2]
            s.alloy_u *= left / alloy
            gone = (lost[1] + lost[2]) / max(s.top_alloy, _TANGIBLE)
            s.progress = max(s.progress - gone, min(s.progress, _LASTING))
        if s.nucleated and s.metal < 0.02 * s.top_metal:
            s.nucleated, s.relaxed, s.top_metal = False, 0.0, 0.0

    def _count_cycles(self, s: State, net: float, dt: float) -> None:
        """Count a cycle where plating begins after a tangible part has been stripped."""
        if net < -_NET:
            if s.stripped == 0.0:
                s.episode = max(s.metal + s.rich + s.poor - net * dt, _TANGIBLE)
            s.stripped -= net * dt
            s.stripping = s.stripping or s.stripped > 0.05 * s.episode
            s.resumed = 0.0
        elif net > _NET and s.stripped > 0:
            s.resumed += net * dt
            if s.resumed > 0.05 * s.episode:
                s.cycle += s.stripping
                s.top_alloy = s.rich + s.poor
                s.stripping, s.stripped = False, 0.0

    def _deposit(self, s: State, j: float, scale: float, dt: float, controlled: bool) -> None:
        """Take in cathodic current density ``j``."""
        dq = j * dt
        if dq <= 0:
            return
        time = self.draw.table.nucleation_time(j / scale)
        s.cathodic += dq
        if controlled:
            time *= self._p.potentiodynamic_charge
        s.clock += dt / time
        if s.nucleated:
            s.relaxed += dt / (self._p.relaxation * time)
        else:
            s.progress += dt / time
            if s.progress >= 1:
                s.nucleated, s.progress, s.relaxed = True, 1.0, 0.0
        if not s.frozen:
            s.weighed += j * dq
            if s.clock >= FREEZE:
                s.frozen = True
                s.mean_density = s.weighed / s.cathodic
                s.potentiodynamic = controlled
        self._divide(s, dq)

    def _born(self, s: State) -> float:
        """Share of the particles' growth weight that has nucleated."""
        if not s.frozen:
            return 0.0
        if self._population is None:
            self._population = self._populate(s.mean_density, s.potentiodynamic)
            self._times = self._population.progress.tolist()
            self.share = self.draw.share_factor * metal_share(self._p, s.mean_density)
            if s.potentiodynamic:
                self.share *= self._p.potentiodynamic_metal
        return self._population.share[bisect_right(self._times, s.clock)]

    def _divide(self, s: State, dq: float) -> None:
        """Divide cathodic charge into active and dead metal, alloy and SEI."""
        born = self._born(s)
        efficiency, spread = self._cycle[2:]
        metal = self.share / _AT * born if born else 0.0
        good, bad = efficiency * dq, (1 - efficiency) * dq
        active = good * min(_ACTIVE_SHARE * metal, 0.95)
        dead = bad * min(_DEAD_SHARE * metal, 0.95)
        if born:
            s.metal += active
            s.top_metal = max(s.top_metal, s.metal)
            s.active += active / born
            s.dead += dead / born
            s.active_u += active / born * spread / efficiency
            s.dead_u += dead / born * spread / (1 - efficiency)
        # an alloy forms only well below the potential at which it would dissolve
        formed = 1 / (1 + math.exp(min((s.potential - _ALLOY) / _ALLOY_WIDTH, 60.0)))
        alloy, sei = (good - active) * formed, bad - dead + (good - active) * (1 - formed)
        if s.progress < self._p.rich_alloy_from:
            s.poor += alloy
        else:
            s.rich += alloy
        s.top_alloy = max(s.top_alloy, s.rich + s.poor)
        s.alloy_u += alloy * spread / efficiency
        s.sei += sei
        s.sei_u += sei * spread / (1 - efficiency)

    # ---- galvanostat ---------------------------------------------------------------------
    def _solve(
        self, s: State, nodes: list[float], factor: float, wanted: float, dt: float
    ) -> float:
        """Potential at which faradaic and capacitive currents add up to ``wanted``."""
        table, before = self.draw.table, s.potential
        per_volt = self._p.capacitance / dt
        losses, parasitic = self._anodic.losses, self._anodic.parasitic
        stock = s.metal, s.rich, s.poor

        def anodic(e: float) -> float:
            return -sum(losses(e, stock, dt)) / dt - parasitic(e) if e > 0 else 0.0

        if wanted > 0:
            e = table.balance(nodes, factor, per_volt, before, wanted)
            if e is not None and -anodic(e) < 1e-4 * wanted and e > self._bounds[0]:
                return e

        def excess(e: float) -> float:
            return factor * table.density(nodes, e) + per_volt * (before - e) - wanted + anodic(e)

        low_end, high_end = self._bounds
        a = min(max(before + s.slope, low_end), high_end)
        up = excess(a) > 0  # excess falls with potential
        step = 1e-4 + 0.5 * abs(s.slope)
        while True:
            b = min(max(a + step if up else a - step, low_end), high_end)
            if (excess(b) <= 0) == up:
                break
            if b in (low_end, high_end):
                return b
            a, step = b, step * 4
        low, high = (a, b) if a < b else (b, a)
        return brentq(excess, low, high, xtol=1e-7)  # type: ignore[return-value] - without full output
