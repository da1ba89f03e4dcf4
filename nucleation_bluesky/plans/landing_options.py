"""Options that every plan of landings has: approach, withdrawal, film, footprint."""

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from nucleation_bluesky.contract.enums import ContactMode, StepMode
from nucleation_bluesky.contract.program import Approach, Program, Step
from nucleation_bluesky.plans.conditions import PotentialScale

CONTACTS = ("auto", "current", "overload")
THRESHOLDS = {"current": 5e-12, "overload": 5.0}  # A and V: Martin-Yerga et al., ACS Nano 2024
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class LandingOptions:
    """What all landings of a run have in common.

    Parameters
    ----------
    contact : str
        "current" (a potential is applied), "overload" (a current is), or "auto": by current where
        the landing begins with a potential, else by overload.
    contact_potential : float or None
        Potential during an approach by current, V, on ``potential_scale``; None for that at which
        the landing begins.
    contact_current : float
        Current during an approach by overload, A.
    contact_threshold : float
        A (by current) or V (by overload); 0 for 5 pA or 5 V.
    contact_confirm : int
        Consecutive samples beyond the threshold that make a contact.
    approach_speed, z_max : float
        Speed, m/s, and extension at which an approach without contact ends, m.
    retract_distance, retract_speed : float
        Withdrawal after a landing, m and m/s.
    sample_period : float
        Time between samples, s.
    potential_scale : str
        Scale that potentials are given on: "raw", or a scale of the session.
    film : bool
        Film each landing, where there is a camera.
    frame_exposure, frame_period : float
        Of the film, s; 0 leaves the camera's.
    wetting_ratio : float
        Diameter of the footprint over the pipette's opening; 0 takes the session's.
    max_no_contact : int
        So many landings in a row without contact end the run.

    Raises
    ------
    ValueError
        If a number is out of range or a name is unknown.
    """

    contact: str = "auto"
    contact_potential: float | None = None
    contact_current: float = 10e-12
    contact_threshold: float = 0.0
    contact_confirm: int = 2
    approach_speed: float = 2e-6
    z_max: float = 50e-6
    retract_distance: float = 8e-6
    retract_speed: float = 2e-6
    sample_period: float = 2.57e-3
    potential_scale: str = "raw"
    film: bool = True
    frame_exposure: float = 0.0
    frame_period: float = 0.0
    wetting_ratio: float = 0.0
    max_no_contact: int = 3

    def __post_init__(self) -> None:
        if self.contact not in CONTACTS:
            raise ValueError(f"contact '{self.contact}' is not one of {', '.join(CONTACTS)}")
        if not (math.isfinite(self.contact_threshold) and self.contact_threshold >= 0):
            raise ValueError("contact_threshold is a magnitude and must be 0 or more")
        if not (math.isfinite(self.wetting_ratio) and self.wetting_ratio >= 0):
            raise ValueError("wetting_ratio must be 0 (the session's) or more")
        if self.max_no_contact < 1:
            raise ValueError("max_no_contact must be 1 or more")

    def approach(self, steps: tuple[Step, ...], scale: PotentialScale) -> Approach:
        """Approach that fits these steps.

        Raises
        ------
        ValueError
            If a potential is needed and not given.
        """
        begins = steps[0].start if steps and steps[0].mode is StepMode.POTENTIAL else None
        by = self.contact
        if by == "auto":
            by = "overload" if begins is None and self.contact_potential is None else "current"
        potential = begins if self.contact_potential is None else scale.raw(self.contact_potential)
        if by == "current" and potential is None:
            raise ValueError(
                "contact by current needs a potential to apply: give contact_potential, or use "
                "contact 'overload'"
            )
        by_current = by == "current"
        return Approach(
            speed=self.approach_speed,
            z_max=self.z_max,
            mode=ContactMode.CURRENT if by_current else ContactMode.OVERLOAD,
            potential=potential if by_current and potential is not None else 0.0,
            current=0.0 if by_current else self.contact_current,
            threshold=self.contact_threshold or THRESHOLDS[by],
            confirm_samples=self.contact_confirm,
        )

    def program(self, steps: tuple[Step, ...], scale: PotentialScale) -> Program:
        """Complete landing with these steps after contact (ValueError as `approach`)."""
        return Program(
            self.approach(steps, scale),
            steps,
            sample_period=self.sample_period,
            retract_distance=self.retract_distance,
            retract_speed=self.retract_speed,
        )


def _merged(function: Callable[..., Any], kind: type) -> inspect.Signature:
    """Signature with the fields of ``kind`` in place of the parameter ``options``."""
    given = [p for p in inspect.signature(function).parameters.values() if p.name != "options"]
    keyword = inspect.Parameter.KEYWORD_ONLY
    more = [
        inspect.Parameter(f.name, keyword, default=f.default, annotation=f.type)
        for f in fields(kind)
    ]
    last = [p for p in given if p.name == "md"]
    first = [p for p in given if p.name != "md"]
    return inspect.Signature([*first, *more, *last])


def landing_plan(function: Callable[..., R]) -> Callable[..., R]:
    """Make a plan of a function with a parameter ``options``: its fields become parameters.

    Arguments are checked when the plan is called; `bluesky.utils.is_plan` knows it as a plan.
    """
    names = [f.name for f in fields(LandingOptions)]
    signature = _merged(function, LandingOptions)

    @functools.wraps(function)
    def made(*args: Any, **kwargs: Any) -> R:
        chosen = {name: kwargs.pop(name) for name in names if name in kwargs}
        return function(*args, options=LandingOptions(**chosen), **kwargs)

    made.__signature__ = signature  # type: ignore[attr-defined] - what inspect reads
    made.__annotations__ = {
        p.name: p.annotation
        for p in signature.parameters.values()
        if p.annotation is not inspect.Parameter.empty
    }
    # `inspect.unwrap` would find the function with ``options``
    del made.__wrapped__  # type: ignore[attr-defined] - set by functools.wraps
    made._is_plan_ = True  # type: ignore[attr-defined] - bluesky's mark of a plan
    return made
