"""The configuration as a commented TOML file: every entry, its meaning, its value."""

import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from nucleation_bluesky.contract.quantities import parse_quantity, unit_registry
from nucleation_bluesky.session.config import Configuration
from nucleation_bluesky.session.quantities import unit_of
from nucleation_bluesky.session.section import section_class

HEAD = """\
# Configuration of nucleation_bluesky. Every entry has a default; delete what you do not change.
# Quantities are SI numbers, or texts with a unit ("20 nm", "-3.04 V", "0.1 ppm").
# Check this file with: nucleation-bluesky config check
"""
WIDTH = 98
PERCENT = 1e-3  # fractions from here on are written in %, below in ppm


def written(value: Any, unit: str | None) -> str:
    """Return a value as TOML; a quantity with its unit where that loses nothing."""
    if unit is not None and isinstance(value, float) and value:
        for text in _with_unit(value, unit):
            if parse_quantity(text, unit) == value:
                return json.dumps(text, ensure_ascii=False)
    if isinstance(value, (str, Path)):
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {written(v, None)}" for k, v in value.items()) + "}"
    return json.dumps(value)


def _with_unit(value: float, unit: str) -> Iterator[str]:
    if unit in ("m", "V", "A", "s"):
        compact = unit_registry().Quantity(value, unit).to_compact()
        yield f"{compact.magnitude:.12g} {compact.units:~P}".replace("µ", "u")
    if unit == "m/s":
        yield f"{value * 1e6:.12g} um/s"
    if not unit:
        yield f"{value * 100:.12g} %" if value >= PERCENT else f"{value * 1e6:.12g} ppm"
    else:
        yield f"{value!r} {unit}"


def _comment(text: str) -> str:
    plain = re.sub(r"``([^`]*)``", r"'\1'", " ".join(text.split()))
    return textwrap.fill(plain, WIDTH, initial_indent="# ", subsequent_indent="# ")


def _section(model: BaseModel, path: str) -> str:
    lines, below = [], []
    for name, field in type(model).model_fields.items():
        value, inner = getattr(model, name), section_class(field)
        where = f"{path}.{name}" if path else name
        if inner is not None:
            if isinstance(value, BaseModel):
                below.append(_section(value, where))
            else:
                below.append(_absent(inner, where))
            continue
        unit = unit_of(field)
        told = " ".join(filter(None, [field.description, f"[{unit}]" if unit else ""]))
        entry = f"# {name} = " if value is None else f"{name} = {written(value, unit)}"
        lines.append(f"{entry}  # {told}" if told else entry)
    head = [_comment(type(model).__doc__ or ""), f"[{path}]"] if path else []
    return "\n".join([*head, *lines]) + "\n\n" + "".join(below)


def _absent(model: type[BaseModel], path: str) -> str:
    """Return a section without a default, commented out."""
    lines = [_comment(model.__doc__ or ""), f"# [{path}]"]
    for name, field in model.model_fields.items():
        unit = unit_of(field)
        lines.append(f"# {name} =   # {field.description or ''}{f' [{unit}]' if unit else ''}")
    return "\n".join(lines) + "\n\n"


def configuration_text(config: Configuration | None = None) -> str:
    """Return a configuration (the defaults) as a commented TOML file.

    Reading it back gives the same configuration.
    """
    return HEAD + "\n" + _section(config or Configuration(), "").rstrip() + "\n"
