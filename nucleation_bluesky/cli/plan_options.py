"""Command line options made from a plan's signature, docstring and units."""

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from nucleation_bluesky.cli.common import quantity_option
from nucleation_bluesky.plans.quantities import PARAMETER_UNITS
from nucleation_bluesky.session.quantities import parse_quantity, unit_registry

LEFT_OUT = ("md", "reference", "sites", "instrument")


def parameter_help(doc: str) -> dict[str, str]:
    """Return the description of each parameter in a numpy-style docstring."""
    section = re.search(r"Parameters\n\s*-+\n(.*?)(?:\n\s*\n\s*\w+\n\s*-+\n|\Z)", doc, re.DOTALL)
    described: dict[str, str] = {}
    names: list[str] = []
    for line in inspect.cleandoc(section.group(1)).splitlines() if section else []:
        if line and not line.startswith(" "):
            names = [name.strip().lstrip("*") for name in line.split(":")[0].split(",")]
        elif line.strip():
            for name in names:
                described[name] = f"{described.get(name, '')} {line.strip()}".strip()
    return described


def shown(value: float, unit: str) -> str:
    """Return a quantity with a prefix that suits it, as it can be typed."""
    compact = unit_registry().Quantity(value, unit)
    if value and unit in ("V", "A", "m", "s", "Hz", "V/s"):
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


def option(name: str, annotation: Any, default: Any, text: str) -> inspect.Parameter:
    """Return the typer option of one plan parameter."""
    unit = PARAMETER_UNITS.get(name)
    info: dict[str, Any] = {"help": text, "show_default": default not in (None, "")}
    made: Any
    if name == "region":
        made, info["parser"] = list | None, region_option
    elif _is_sequence(annotation):
        made, info["parser"] = list | None, quantity_list(unit or "")
        if default is not None:
            default = ", ".join(f"{v:g}" for v in default) + f" {unit or ''}"
    elif annotation is float and unit is not None:
        made, info["parser"] = float, quantity_option(unit)
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
    described = parameter_help(plan.__doc__ or "")
    fallback = described.get("others", "See the plan's documentation.")
    hints = get_type_hints(plan)
    return [
        option(name, hints[name], parameter.default, described.get(name, fallback))
        for name, parameter in inspect.signature(plan).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in LEFT_OUT
    ]
