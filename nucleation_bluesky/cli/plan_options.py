"""Command line options made from a plan's signature and its arguments' units."""

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from nucleation_bluesky.cli.common import quantity_option
from nucleation_bluesky.plans.arguments import ARGUMENTS
from nucleation_bluesky.session.quantities import parse_quantity, unit_registry

LEFT_OUT = (
    "md", "reference", "sites", "instrument", "conditions", "condition", "measure_footprint",
)  # fmt: skip


def shown(value: float, unit: str) -> str:
    """Return a quantity with a prefix that suits it, as it can be typed."""
    compact = unit_registry().Quantity(value, unit)
    if value and unit in ("V", "A", "m", "s", "Hz", "V/s", "C", "m/s"):
        compact = compact.to_compact()
    return f"{compact.magnitude:.6g} {compact.units:~P}".replace("µ", "u").strip()


def quantity_list(unit: str) -> Callable[[str], list[float]]:
    """Return a parser for a comma-separated list; a unit at its end holds for all."""

    def parse(text: str | Sequence[float]) -> list[float]:
        if not isinstance(text, str):
            return list(text)
        parts = [part.strip() for part in text.split(",")]
        tail = re.search(r"[A-Za-z].*$", parts[-1])
        try:
            return [
                parse_quantity(
                    p if re.search("[A-Za-z]", p) or not tail else f"{p} {tail[0]}", unit
                )
                for p in parts
            ]
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    parse.__name__ = f"'a, b, ... {unit}'"
    return parse


def region_option(text: str | Sequence[Any]) -> list[list[float]]:
    """Parse corners 'x,y; x,y; ...' of a region."""
    if not isinstance(text, str):
        return list(text)
    return [quantity_list("m")(corner) for corner in text.split(";")]


region_option.__name__ = "'x, y nm; x, y nm'"


def _is_sequence(annotation: Any) -> bool:
    options = (annotation, *get_args(annotation))
    return any(get_origin(option) is Sequence for option in options)


def option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    """Return the typer option of one plan parameter."""
    unit, text = ARGUMENTS[name]
    info: dict[str, Any] = {"help": text, "show_default": default not in (None, "")}
    made: Any
    if name == "region":
        made, info["parser"] = list | None, region_option
    elif _is_sequence(annotation):
        made, info["parser"] = list | None, quantity_list(unit)
        if default is not None:
            default = ", ".join(f"{v:g}" for v in default) + f" {unit}"
    elif float in (annotation, *get_args(annotation)) and unit:
        made, info["parser"] = annotation, quantity_option(unit)
        if isinstance(default, float):
            default = shown(default, unit)
    else:
        made = annotation
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[made, typer.Option(**info)],
    )


def plan_parameters(plan: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return an option for each keyword-only parameter of a plan that can be typed."""
    hints = get_type_hints(plan)
    return [
        option(name, hints[name], parameter.default)
        for name, parameter in inspect.signature(plan).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in LEFT_OUT
    ]
