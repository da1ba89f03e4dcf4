"""The parts of an instrument that a plan uses, checked before anything moves."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nucleation_bluesky.plans.protocols import (
    ImagerDevice,
    RampDevice,
    SiteGuard,
    SoftwareRampDevice,
    StageDevice,
)
from nucleation_bluesky.plans.sites import Sites


@dataclass(frozen=True)
class SiteParts:
    """What plans of any instrument need: where sites are, and which may be used."""

    name: str
    stage: StageDevice
    guard: SiteGuard | None
    context: Mapping[str, Any]

    @property
    def min_distance(self) -> float:
        """Least distance between exposures, m."""
        return self.guard.min_distance if self.guard is not None else 0.0

    @property
    def travel(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """((x low, x high), (y low, y high)) in the sample frame, m."""
        return (self.stage.x.limits, self.stage.y.limits)

    def fresh(self, sites: Sites) -> np.ndarray:
        """Which sites may still be exposed, shape (n,)."""
        if self.guard is None:
            return np.ones(len(sites), dtype=bool)
        guard = self.guard
        return np.asarray(
            guard.ledger.free(
                sites.positions,
                sample=guard.sample,
                epoch=guard.epoch,
                min_distance=guard.min_distance,
                exposures_per_site=guard.exposures_per_site,
                position_uncertainty=float(self.stage.frame_uncertainty.get()),
            )
        )

    def checked_sites(self, sites: Sites, *, skip_used: bool) -> Sites:
        """Validate sites against stage and ledger; drop used ones if asked to.

        Raises
        ------
        ValueError
            Naming the sites that overlap, lie off the stage or have been used.
        """
        revisits = self.guard.exposures_per_site if self.guard is not None else 1
        sites.validate(
            minimum_distance=self.min_distance if revisits == 1 else 0.0,
            limits=self.travel,
        )
        fresh = self.fresh(sites)
        if fresh.all():
            return sites
        if not fresh.any():
            raise ValueError("every one of these sites has been used; choose another area")
        if skip_used:
            return sites.pick(fresh)
        used = sites.index[~fresh]
        listed = ", ".join(str(int(k)) for k in used[:5]) + (" ..." if len(used) > 5 else "")
        raise ValueError(
            f"{len(used)} of {len(sites)} sites have been used or lie too near to used ones "
            f"(site {listed}); choose a fresh area, or pass skip_used=True to visit the free ones"
        )


@dataclass(frozen=True)
class Parts(SiteParts):
    """What was found on an AFM."""

    ramp: RampDevice
    imager: ImagerDevice | None
    stepper: SoftwareRampDevice | None

    def need_imager(self, why: str) -> ImagerDevice:
        """Return the imager.

        Raises
        ------
        ValueError
            If there is none.
        """
        if self.imager is None:
            raise ValueError(f"{why} needs a topography imager, and '{self.name}' has none")
        return self.imager

    def need_stepper(self) -> SoftwareRampDevice:
        """Return the device for software ramps.

        Raises
        ------
        ValueError
            If there is none.
        """
        if self.stepper is None:
            raise ValueError(f"'{self.name}' cannot be stepped by a plan; use software=False")
        return self.stepper


def parts_of(instrument: Any) -> Parts:
    """Find ramp, stage, imager and guard of an instrument.

    Raises
    ------
    TypeError
        If the object is no instrument that these plans can use.
    """
    ramp, stage = getattr(instrument, "ramp", None), getattr(instrument, "stage_xy", None)
    if not isinstance(ramp, RampDevice) or not isinstance(stage, StageDevice):
        raise TypeError(
            f"{instrument!r} is not an instrument with a ramp controller ('ramp') and a stage "
            "('stage_xy'); pass the AFM device of the session"
        )
    imager = getattr(instrument, "imager", None)
    if imager is not None and not isinstance(imager, ImagerDevice):
        raise TypeError(f"the imager of {instrument!r} cannot take topographies for a plan")
    stepper = getattr(instrument, "software_ramp", None)
    if stepper is not None and not isinstance(stepper, SoftwareRampDevice):
        raise TypeError(f"the software ramp of {instrument!r} cannot be stepped by a plan")
    return Parts(
        stage=stage, **shared_parts(instrument, ramp), ramp=ramp, imager=imager, stepper=stepper
    )


def shared_parts(instrument: Any, exposer: Any) -> dict[str, Any]:
    """Return ``name``, ``guard`` and ``context`` of any instrument, for its `SiteParts`."""
    describe: Callable[[], Mapping[str, Any]] = getattr(instrument, "start_metadata", dict)
    return {
        "name": str(getattr(instrument, "name", "instrument")),
        "guard": getattr(exposer, "guard", None),
        "context": dict(describe()),
    }


@dataclass(frozen=True)
class ImageParameters:
    """Topography around a set of sites.

    Parameters
    ----------
    x, y, size : float
        Centre and edge length, m.
    pixels : int
        Pixels per edge.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    x: float
    y: float
    size: float
    pixels: int

    def __post_init__(self) -> None:
        if not all(math.isfinite(v) for v in (self.x, self.y, self.size)) or self.size <= 0:
            raise ValueError("a topography needs a finite centre and a size greater than 0 m")
        if self.pixels < 16:
            raise ValueError(f"a topography needs at least 16 pixels per edge (got {self.pixels})")

    @classmethod
    def around(cls, sites: Sites, size: float, pixels: int) -> "ImageParameters":
        """Image centred on the sites; size 0 takes their extent and a margin."""
        (low_y, high_y), (low_x, high_x) = sites.extents
        if size == 0:
            # unexposed ground around the sites is what the image after is registered by
            extent = max(high_x - low_x, high_y - low_y)
            spacing = sites.spacing
            margin = max(4 * spacing, 0.2 * extent) if math.isfinite(spacing) else 0.5e-6
            size = extent + 2 * margin
        return cls((low_x + high_x) / 2, (low_y + high_y) / 2, size, pixels)
