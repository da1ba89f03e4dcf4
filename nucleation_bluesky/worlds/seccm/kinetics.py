"""Potential against current of the electrode: cathodic laws and their inverses.

Both laws are piecewise linear in the logarithm of the current density between the nodes of the
table, which makes them invertible in closed form: the galvanostat asks for potential at a current,
the potentiostat for current at a potential.
"""

import math
from dataclasses import dataclass

import numpy as np

from nucleation_bluesky.worlds.seccm.settings import SeccmSettings

_LOW = 1e-5  # A/m2: below this the law is linear in current
_HIGH = 20.0  # the last node is this times the table's last current density
_FALL = ((0.5, 0.02), (0.25, 0.2), (0.25, math.inf))  # share of the fall, progress of its decay
_ROUNDING = 0.15
_TOP = math.log(400.0)
MAX_KINETIC = 400.0  # A/m2: highest kinetic current density


def interpolate(settings: SeccmSettings, name: str, density: float, log: bool = False) -> float:
    """Value of a row of the table at a current density, in ln j, constant beyond its ends."""
    row = np.asarray(getattr(settings, f"table_{name}"))
    s = math.log(max(density, 1e-12))
    nodes = np.log(settings.table_current_density)
    if log:
        return math.exp(float(np.interp(s, nodes, np.log(row))))
    return float(np.interp(s, nodes, row))


def metal_share(settings: SeccmSettings, density: float) -> float:
    """Share of the charge after nucleation that becomes metal.

    Such that metal is the tabulated share of all charge at the end of the tabulated experiments.
    """
    duration = interpolate(settings, "duration", density, log=True)
    onset = (1 - settings.lead) * interpolate(settings, "t_nuc", density, log=True)
    efficiency = interpolate(settings, "efficiency", density, log=True)
    return efficiency * duration / max(duration - onset, 0.2 * duration)


def fall(progress: float) -> float:
    """Share of the way from rest to nucleation potential still to go at a progress of 0..1.

    A steep part (SEI), a slower one (alloy), and a flat approach to the minimum.
    """
    if progress <= 0:
        return 1.0
    if progress >= 1:
        return 0.0
    total = sum(a * math.exp(-progress / b) for a, b in _FALL)
    return total * (1 - progress) ** 1.5


def recovery(u: float) -> float:
    """Share of the relaxation to the growth potential after ``u`` time constants."""
    return 1.0 if u > 8 else -math.expm1(-u * u / (u + _ROUNDING)) if u > 0 else 0.0


@dataclass(frozen=True)
class Table:
    """Drawn table of one landing: nodes in ln j with potentials and nucleation times.

    Parameters
    ----------
    s : tuple of float
        ln of current density, A/m2, rising; padded on both sides of the settings' table.
    nucleation, growth : tuple of float
        Potentials at the nodes, V against Li/Li+, falling.
    log_time : tuple of float
        ln of the nucleation time at the nodes, s.
    """

    s: tuple[float, ...]
    nucleation: tuple[float, ...]
    growth: tuple[float, ...]
    log_time: tuple[float, ...]

    @classmethod
    def make(
        cls, settings: SeccmSettings, nuc_scale: float, growth_scale: float, time_draw: float
    ) -> "Table":
        """Return the table with this landing's factors.

        Parameters
        ----------
        nuc_scale, growth_scale : float
            Factors on the potentials.
        time_draw : float
            Standard normal number of the nucleation times.
        """
        p = settings
        s = [math.log(j) for j in p.table_current_density]
        nuc = [e * nuc_scale for e in p.table_e_nuc]
        growth = [min(e * growth_scale, -1e-4) for e in p.table_e_growth]
        low, high = math.log(_LOW), s[-1] + math.log(_HIGH)
        first = (nuc[1] - nuc[0]) / (s[1] - s[0])
        last = (nuc[-1] - nuc[-2]) / (s[-1] - s[-2])
        log_t = [math.log(t) for t in p.table_t_nuc]
        steep = (log_t[1] - log_t[0]) / (s[1] - s[0])
        end = (log_t[-1] - log_t[-2]) / (s[-1] - s[-2])
        middle = [low + (s[0] - low) * k / 4 for k in (1, 2, 3)]
        inner = [low, *middle]
        every = (*inner, *s, high)
        times = [*(log_t[0] + steep * (v - s[0]) for v in inner), *log_t, log_t[-1] + end * 3.0]
        factor = math.log(p.charge_factor)
        drawn = tuple(
            t + factor + time_draw * _time_scatter(p, math.exp(v))
            for t, v in zip(times, every, strict=True)
        )
        return cls(
            tuple(every),
            (*(nuc[0] + first * (v - s[0]) for v in inner), *nuc, nuc[-1] + last * (high - s[-1])),
            (
                *(growth[0] * math.exp(v - s[0]) for v in inner),
                *growth,
                growth[-1] + last * (high - s[-1]),
            ),
            drawn,
        )

    def nucleation_time(self, density: float) -> float:
        """Time to the minimum at constant current density, s."""
        return math.exp(_piecewise(self.s, self.log_time, math.log(max(density, 1e-30))))

    def potentials(self, top: float, h: float, r: float, *, nucleated: bool) -> list[float]:
        """Potentials at the nodes before (``h`` still to fall from ``top``) or after nucleation."""
        if nucleated:
            return [n + (g - n) * r for n, g in zip(self.nucleation, self.growth, strict=True)]
        h = min(h, 0.999)
        return [n + (top - n) * h for n in self.nucleation]

    def density(self, nodes: list[float], e: float) -> float:
        """Kinetic cathodic current density at potential ``e``, A/m2."""
        s = self.s
        if e >= nodes[0]:
            gap = nodes[0] - nodes[1]
            return _LOW * math.exp(max((nodes[0] - e) / gap * (s[1] - s[0]), -60.0))
        last = len(s) - 1
        k = 1
        while k < last and e < nodes[k]:
            k += 1
        value = s[k - 1] + (nodes[k - 1] - e) / (nodes[k - 1] - nodes[k]) * (s[k] - s[k - 1])
        return min(math.exp(min(value, 12.0)), MAX_KINETIC)

    def balance(
        self, nodes: list[float], factor: float, per_volt: float, before: float, wanted: float
    ) -> float | None:
        """Potential at which cathodic and charging current add up to ``wanted``, V.

        Newton's method in the logarithm of the current density; None where it does not settle.
        """
        s, last = self.s, len(self.s) - 1
        at = math.log(wanted / factor)
        for _ in range(12):
            k = 1
            while k < last and at > s[k]:
                k += 1
            slope = (nodes[k] - nodes[k - 1]) / (s[k] - s[k - 1])
            e = nodes[k - 1] + (at - s[k - 1]) * slope
            j = factor * math.exp(at)
            error = j + per_volt * (before - e) - wanted
            if abs(error) < 1e-6 * wanted:
                return e
            at -= max(min(error / (j - per_volt * slope), 3.0), -3.0)
            if at > _TOP:
                return None
        return None

    def potential(self, nodes: list[float], density: float) -> float:
        """Potential at a kinetic current density, V."""
        return _piecewise(self.s, nodes, math.log(max(density, 1e-30)))


def _time_scatter(settings: SeccmSettings, density: float) -> float:
    extra = min(settings.t_nuc_scatter_low / density, 0.3)
    return math.hypot(settings.t_nuc_scatter, extra)


def _piecewise(x: tuple[float, ...], y: "tuple[float, ...] | list[float]", at: float) -> float:
    """Linear interpolation, linear beyond the ends."""
    k = 1
    while k < len(x) - 1 and at > x[k]:
        k += 1
    return y[k - 1] + (at - x[k - 1]) / (x[k] - x[k - 1]) * (y[k] - y[k - 1])


@dataclass(frozen=True)
class Anodic:
    """Stripping and dealloying: each reservoir empties at a rate that rises with potential.

    Irreversible first order: at sweep rate 0.1 V/s the peaks lie at ``peaks``, whatever is left,
    unless the resistance limits the current.

    Parameters
    ----------
    peaks : tuple of float
        Of metal, Li-rich and Li-poor alloy, V.
    width : float
        e-fold of the rates, V.
    oxidation : float
        Potential at which the electrolyte oxidises, V.
    resistance : float
        Of the electrolyte for the footprint, ohm m2.
    """

    peaks: tuple[float, float, float]
    width: float
    oxidation: float
    resistance: float

    def losses(
        self, e: float, stock: tuple[float, float, float], dt: float
    ) -> tuple[float, float, float]:
        """Charge of metal, rich and poor alloy that dissolves at ``e`` in ``dt``, C/m2."""
        if e <= 0:
            return 0.0, 0.0, 0.0
        a, b, c = self._rates(e)
        free = (a * stock[0] + b * stock[1] + c * stock[2]) * self.resistance / e
        slow = -dt / (1 + free)
        return (
            -stock[0] * math.expm1(slow * a),
            -stock[1] * math.expm1(slow * b),
            -stock[2] * math.expm1(slow * c),
        )

    def _rates(self, e: float) -> tuple[float, float, float]:
        """Kinetic rate of metal, rich and poor alloy at potential ``e``, 1/s."""
        b = self.width
        base = 0.1 / b
        k = [base * math.exp(min((e - p) / b, 30.0)) for p in self.peaks]
        # the metal's own equilibrium is at 0 V
        return max(k[0] - base * math.exp(-self.peaks[0] / b), 0.0), k[1], k[2]

    def parasitic(self, e: float) -> float:
        """Oxidation of the electrolyte, A/m2."""
        x = (e - self.oxidation) / 0.1
        return math.exp(min(x, 40.0)) if x > -25 else 0.0
