"""The plans of a session, by name: checked, with signatures that queue forms understand.

The same functions serve IPython, notebooks and the queue. Whatever a plan needs of the session
(disk space, the catalogue) is looked at when it is called, before anything moves.
"""

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

import bluesky.plan_stubs as bps
from bluesky.utils import FailedStatus, Msg, MsgGenerator

from nucleation_bluesky.ledger.errors import LedgerError
from nucleation_bluesky.plans.arguments import ARGUMENTS
from nucleation_bluesky.plans.failures import device_error, first_cause
from nucleation_bluesky.plans.forms import BOUNDS, CHOICES
from nucleation_bluesky.plans.landing import approach_until_contact, cv_cycles, hop, landing
from nucleation_bluesky.plans.nucleation_map import nucleation_map
from nucleation_bluesky.plans.screen import (
    combinatorial_screen,
    constant_charge_series,
    hopping_map,
)
from nucleation_bluesky.plans.settings import set_gain
from nucleation_bluesky.plans.staged_run import MapEndedError
from nucleation_bluesky.plans.sweep_rate_series import sweep_rate_series
from nucleation_bluesky.plans.topography import topography
from nucleation_bluesky.session.execute import RunFailedError
from nucleation_bluesky.session.resume import resume
from nucleation_bluesky.storage.disk import map_bytes, require_disk

if TYPE_CHECKING:
    from nucleation_bluesky.session.session import Session

PlanFunction = Callable[..., MsgGenerator[Any]]
FAMILY_PLANS: dict[str, tuple[PlanFunction, ...]] = {
    "afm": (nucleation_map, sweep_rate_series, topography, set_gain),
    "seccm": (
        landing,
        approach_until_contact,
        hop,
        hopping_map,
        combinatorial_screen,
        cv_cycles,
        constant_charge_series,
    ),
}
HIDDEN = (
    "md",
    "reference",
    "continues",
    "measure_footprint",
)  # not for forms; a call from Python may give them
DELIVERY_TIMEOUT = 60.0
_RAMP_ARGUMENTS = frozenset({"rows", "cols", "start", "stop", "sample_rate", "n_post"})
_RESUME_TEXTS = {
    "run": "The interrupted run: its uid, its number, or latest.",
    "register": "Register to the run's topography first; False declares that nothing has moved.",
}


def plan_names(family: str) -> list[str]:
    """Return the names of the plans of an instrument family."""
    return [*(function.__name__ for function in FAMILY_PLANS[family]), "resume_map"]


def session_plans(session: "Session", *, unattended: bool = False) -> dict[str, PlanFunction]:
    """Return the plans of a session's instrument by name.

    Parameters
    ----------
    session : Session
        Open.
    unattended : bool
        In a queue: an instrument that fails pauses the queue before the plan ends, so that the
        items behind it are not spent on an instrument that needs a person.
    """
    bound = [_bound(session, f, unattended) for f in FAMILY_PLANS[session.config.instrument.family]]
    bound.append(_resume_plan(session, unattended))
    return {function.__name__: function for function in bound}


def _bound(session: "Session", function: PlanFunction, unattended: bool) -> PlanFunction:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> MsgGenerator[Any]:
        made = function(*args, **kwargs)  # checks every argument
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        require_disk(session.data, worst_case(given.arguments))
        return _told(made, unattended)

    hints = get_type_hints(function)
    parameters = [
        p.replace(annotation=hints.get(p.name, Any))
        for p in signature.parameters.values()
        if p.name not in HIDDEN
    ]
    texts = {name: _text(name) for name in signature.parameters}
    return _with_form(call, parameters, texts, session.config.instrument.name)


def _resume_plan(session: "Session", unattended: bool) -> PlanFunction:
    def resume_map(run: str, *, register: bool = True) -> MsgGenerator[Any]:
        """Go on with an interrupted map over the sites that are still free.

        Parameters
        ----------
        run : str
            The interrupted run: its uid, its number, or "latest".
        register : bool
            Register to the run's topography before the first site; False declares that neither
            sample nor stage has moved since.
        """
        session.wait_delivered(timeout=DELIVERY_TIMEOUT)
        require_disk(session.data, 0)
        which: str | int = -1 if run == "latest" else run
        return _told(resume(session, which, register=register), unattended)

    parameters = list(inspect.signature(resume_map).parameters.values())
    return _with_form(resume_map, parameters, _RESUME_TEXTS, session.config.instrument.name)


def _text(name: str) -> str:
    if name == "instrument":
        return "The instrument."
    if name == "gain":
        return "Transimpedance gain of the amplifier. [V/A]"
    unit, text = ARGUMENTS.get(name, ("", ""))
    return f"{text} [{unit}]" if unit else text


def _with_form(
    call: PlanFunction,
    parameters: Sequence[inspect.Parameter],
    texts: Mapping[str, str],
    instrument: str,
) -> PlanFunction:
    """Give a plan the signature and the annotations that queue servers and forms read."""
    forms = {p.name: _form(p, texts.get(p.name, ""), instrument) for p in parameters}
    plain = [
        p.replace(annotation=inspect.Parameter.empty) if "annotation" in forms[p.name] else p
        for p in parameters
    ]
    target: Any = call
    target.__signature__ = inspect.Signature(plain)
    target._is_plan_ = True
    description = " ".join((call.__doc__ or "").strip().split("\n\n")[0].split())
    try:
        from bluesky_queueserver import parameter_annotation_decorator  # noqa: PLC0415
    except ImportError:  # the queue is an optional extra
        return call
    return parameter_annotation_decorator({"description": description, "parameters": forms})(call)


def _form(parameter: inspect.Parameter, text: str, instrument: str) -> dict[str, Any]:
    name, form = parameter.name, dict[str, Any]()
    if text:
        form["description"] = text
    if name == "instrument":
        form |= {"annotation": "Instrument", "devices": {"Instrument": [instrument]}}
    elif name in CHOICES:
        kind = name.title().replace("_", "")
        form |= {"annotation": kind, "enums": {kind: list(CHOICES[name])}}
    elif spelled := _sequence(parameter.annotation):
        form["annotation"] = spelled
    if name in BOUNDS:
        form["min"], form["max"] = BOUNDS[name]
    return form


def _sequence(annotation: Any) -> str:
    """Spell a sequence as the JSON list that a queue carries; empty for anything else."""
    options = get_args(annotation)
    if get_origin(annotation) is Mapping:
        return "typing.Dict[str, typing.Any]"
    if type(None) in options and len(options) == 2:
        inner = _sequence(next(o for o in options if o is not type(None)))
        return f"typing.Optional[{inner}]" if inner else ""
    if get_origin(annotation) is Sequence:
        (item,) = options
        return f"typing.List[{_sequence(item) or item.__name__}]"
    return ""


def worst_case(arguments: Mapping[str, Any]) -> int:
    """Return the most that a plan's ramps can write, bytes, from its (checked) arguments.

    Parameters
    ----------
    arguments : mapping
        All of them, defaults included; a plan without ramps needs nothing.
    """
    rates = arguments.get("rates") or [arguments.get("rate")]
    if None in rates or not set(arguments) >= _RAMP_ARGUMENTS:
        return 0
    span = abs(arguments["stop"] - arguments["start"])
    per_volt = arguments.get("samples_per_volt") or 0.0
    samples = max(math.ceil(span * (per_volt or arguments["sample_rate"] / rate)) for rate in rates)
    sites = arguments.get("sites")
    count = arguments["rows"] * arguments["cols"] if sites is None else len(sites)
    return map_bytes(count, samples + arguments["n_post"])


def _told(plan: MsgGenerator[Any], unattended: bool) -> MsgGenerator[Any]:
    """Run a plan; say what failed, and pause a queue whose instrument has failed."""
    try:
        return (yield from plan)
    except FailedStatus as error:
        failure: Exception = RunFailedError(str(device_error(error)))
        # a site that is refused concerns one item; a ledger whose file fails concerns all
        needs_person = not isinstance(first_cause(error), LedgerError)
    except (MapEndedError, OSError) as error:
        failure, needs_person = error, True
    if unattended and needs_person:
        yield Msg("checkpoint")
        yield from bps.pause()
    raise failure
