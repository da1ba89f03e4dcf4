"""Conditions of landings: a technique and its quantities, from Python, YAML or CSV.

A condition is a mapping such as ``{"technique": "galvanostatic", "current": "-1.2 nA",
"duration": "5 s"}``. Numbers are SI; text carries a unit. Negative currents plate.
"""

import csv
import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nucleation_bluesky.contract import program_builders as build
from nucleation_bluesky.contract.enums import OnLimit, StepMode
from nucleation_bluesky.contract.program import Limits, Step
from nucleation_bluesky.contract.quantities import parse_quantity

COLUMNS: dict[str, tuple[str, str]] = {
    # column: (SI unit, meaning)
    "current": ("A", "commanded current, signed: negative plates"),
    "potential": ("V", "potential held, or of a pulse"),
    "initial": ("V", "potential at which cycles begin and end"),
    "vertex": ("V", "potential at which a sweep turns"),
    "rate": ("V/s", "sweep rate"),
    "duration": ("s", "longest duration"),
    "charge": ("C", "charge at which it ends, magnitude"),
    "cycles": ("", "number of cycles"),
    "hold": ("s", "time at the initial potential before the first sweep"),
    "rest": ("s", "time at zero current between plating and stripping"),
    "strip_current": ("A", "current of stripping, magnitude"),
    "strip_potential": ("V", "potential at which stripping is over"),
    "on_time": ("s", "duration of a pulse"),
    "off_time": ("s", "time between pulses"),
    "off_current": ("A", "current between pulses"),
    "off_potential": ("V", "potential between pulses"),
    "pulses": ("", "number of pulses"),
    "potential_low": ("V", "lower potential limit: aborts"),
    "potential_high": ("V", "upper potential limit: aborts"),
    "current_low": ("A", "lower current limit: aborts"),
    "current_high": ("A", "upper current limit: aborts"),
    "blanking": ("s", "limits are not compared for this time after the start of a step"),
    "confirm_samples": ("", "consecutive samples beyond a limit that count"),
}
ON_THE_SCALE = frozenset(
    {
        "potential", "initial", "vertex", "strip_potential", "off_potential",
        "potential_low", "potential_high",
    }
)  # fmt: skip
WHOLE = frozenset({"cycles", "pulses", "confirm_samples"})
TABLE_COLUMNS = ("technique", "repeats", "label")  # of a table, not of a technique
Values = Mapping[str, float]


@dataclass(frozen=True)
class Technique:
    """What a technique needs, may have, and how its steps are made."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    steps: Callable[[Values], tuple[Step, ...]]

    @property
    def columns(self) -> tuple[str, ...]:
        """All its columns."""
        return (*self.required, *self.optional)


def _limits(values: Values, name: str) -> Limits | None:
    low, high = values.get(f"{name}_low", -math.inf), values.get(f"{name}_high", math.inf)
    found = Limits(low, high)
    return found if found.active else None


def _common(values: Values) -> dict[str, Any]:
    return {
        "blanking": values.get("blanking", 0.0),
        "confirm_samples": int(values.get("confirm_samples", 1)),
    }


def _charge(values: Values) -> float | None:
    charge = values.get("charge")
    if charge is not None and charge <= 0:
        raise ValueError(f"charge is a magnitude and must be greater than 0 C (got {charge:g})")
    return charge


def _galvanostatic(values: Values) -> tuple[Step, ...]:
    current, charge = values["current"], _charge(values)
    duration = values.get("duration")
    if duration is None:
        if charge is None or current == 0:
            raise ValueError("a galvanostatic landing needs a duration, or a current and a charge")
        duration, charge = charge / abs(current), None
    return build.chronopotentiometry(
        current,
        duration,
        potential=_limits(values, "potential"),
        charge=charge,
        on_limit=OnLimit.ABORT if charge is None else OnLimit.NEXT_STEP,
        **_common(values),
    )


def _cv(values: Values) -> tuple[Step, ...]:
    return build.cv(
        values["initial"],
        values["vertex"],
        values["rate"],
        int(values.get("cycles", 1)),
        hold=values.get("hold", 0.0),
        current=_limits(values, "current"),
        **_common(values),
    )


def _chronoamperometry(values: Values) -> tuple[Step, ...]:
    charge = _charge(values)
    return build.chronoamperometry(
        values["potential"],
        values["duration"],
        current=_limits(values, "current"),
        charge=None if charge is None else Limits(-charge, charge),
        on_limit=OnLimit.ABORT if charge is None else OnLimit.NEXT_STEP,
        **_common(values),
    )


def _pulse(values: Values) -> tuple[Step, ...]:
    if ("current" in values) == ("potential" in values):
        raise ValueError("a pulse needs a current or a potential, and not both")
    by_current = "current" in values
    controlled = "current" if by_current else "potential"
    return build.pulses(
        values[controlled],
        values["on_time"],
        values["off_time"],
        int(values["pulses"]),
        mode=StepMode.CURRENT if by_current else StepMode.POTENTIAL,
        off=values.get(f"off_{controlled}", 0.0),
        potential=_limits(values, "potential"),
        current=_limits(values, "current"),
        blanking=values.get("blanking", 0.0),
    )


def _cycling(values: Values) -> tuple[Step, ...]:
    charge = _charge(values)
    return build.plate_rest_strip(
        abs(values["current"]),
        charge if charge is not None else math.nan,
        strip_current=values.get("strip_current"),
        strip_potential=values.get("strip_potential"),
        rest=values.get("rest", 1.0),
        cycles=int(values.get("cycles", 1)),
        potential=_limits(values, "potential"),
        blanking=values.get("blanking", 0.0),
    )


_LIMIT = ("blanking", "confirm_samples")
_POTENTIAL = ("potential_low", "potential_high")
_CURRENT = ("current_low", "current_high")
TECHNIQUES: dict[str, Technique] = {
    "galvanostatic": Technique(
        ("current",), ("duration", "charge", *_POTENTIAL, *_LIMIT), _galvanostatic
    ),
    "cv": Technique(("initial", "vertex", "rate"), ("cycles", "hold", *_CURRENT, *_LIMIT), _cv),
    "chronoamperometry": Technique(
        ("potential", "duration"), ("charge", *_CURRENT, *_LIMIT), _chronoamperometry
    ),
    "pulse": Technique(
        ("on_time", "off_time", "pulses"),
        ("current", "potential", "off_current", "off_potential", *_POTENTIAL, *_CURRENT,
         "blanking"),
        _pulse,
    ),
    "cycling": Technique(
        ("current", "charge"),
        ("strip_current", "strip_potential", "rest", "cycles", *_POTENTIAL, "blanking"),
        _cycling,
    ),
    "open_circuit": Technique(("duration",), (), lambda v: build.open_circuit(v["duration"])),
    "contact": Technique((), (), lambda _: ()),
}  # fmt: skip


@dataclass(frozen=True)
class PotentialScale:
    """The scale potentials are given on: potential against ``name`` = raw + ``offset``, V."""

    name: str = "raw"
    offset: float = 0.0

    def raw(self, value: float) -> float:
        """Raw potential of a potential on this scale, V."""
        return value - self.offset


def potential_scale(context: Mapping[str, Any], name: str) -> PotentialScale:
    """Scale of this name: "raw", the run's own scale, or the one it is converted to.

    Parameters
    ----------
    context : mapping
        What the session contributes to the start document: ``reference_scale`` and
        ``reference_offset``.
    name : str
        Name.

    Raises
    ------
    ValueError
        If the session knows no such scale.
    """
    own = str(context.get("reference_scale", ""))
    converted = context.get("reference_offset") or {}
    known = {"raw": 0.0, own: 0.0}
    if converted:
        known[str(converted["scale"])] = float(converted["offset"])
    if name not in known:
        names = ", ".join(f"'{k}'" for k in known if k)
        raise ValueError(
            f"potentials cannot be given on the scale '{name}': this session knows {names}; set "
            "reference.converted_scale and reference.offset in the configuration"
        )
    return PotentialScale(name, known[name])


@dataclass(frozen=True)
class Condition:
    """One condition of landings.

    Parameters
    ----------
    technique : str
        One of ``TECHNIQUES``.
    values : mapping of str to float
        Quantities as given, SI, potentials on the given scale.
    steps : tuple of Step
        The program after contact, raw volts.
    repeats : int or None
        Number of landings, None for the plan's.
    label : str
        For reports.
    """

    technique: str
    values: Mapping[str, float]
    steps: tuple[Step, ...]
    repeats: int | None = None
    label: str = ""

    def document(self) -> dict[str, Any]:
        """Return a plain mapping, from which `read_condition` makes the same condition."""
        found: dict[str, Any] = {"technique": self.technique, **self.values}
        if self.repeats is not None:
            found["repeats"] = self.repeats
        return found | ({"label": self.label} if self.label else {})


def _unknown(column: str, technique: str) -> str:
    known = (*TABLE_COLUMNS, *TECHNIQUES[technique].columns)
    near = difflib.get_close_matches(column, known, 1)
    hint = f" (did you mean '{near[0]}'?)" if near else ""
    return f"unknown condition column '{column}'{hint}; '{technique}' takes {', '.join(known)}"


def _value(column: str, given: Any) -> float:
    unit, _ = COLUMNS[column]
    try:
        value = parse_quantity(given, unit)
    except ValueError as error:
        raise ValueError(f"{column}: {error}") from None
    if column in WHOLE and (value != int(value) or value < 1):
        raise ValueError(f"{column} must be a whole number of 1 or more (got {value:g})")
    return value


def read_condition(
    entries: Mapping[str, Any], scale: PotentialScale, technique: str = "galvanostatic"
) -> Condition:
    """Make a condition of one row of a table; empty cells do not count.

    Raises
    ------
    ValueError
        If a column is unknown, missing or out of range.
    """
    given = {str(k).strip(): v for k, v in entries.items() if not _empty(v)}
    technique = str(given.pop("technique", technique))
    if technique not in TECHNIQUES:
        raise ValueError(f"technique '{technique}' is not one of {', '.join(TECHNIQUES)}")
    found = TECHNIQUES[technique]
    repeats, label = given.pop("repeats", None), str(given.pop("label", ""))
    if repeats is not None:
        number = float(repeats)
        if number != int(number) or number < 1:
            raise ValueError(f"repeats must be a whole number of 1 or more (got {repeats})")
        repeats = int(number)
    for column in given:
        if column not in found.columns:
            raise ValueError(_unknown(column, technique))
    missing = [column for column in found.required if column not in given]
    if missing:
        raise ValueError(f"technique '{technique}' needs {', '.join(missing)}")
    values = {column: _value(column, value) for column, value in given.items()}
    raw = {k: scale.raw(v) if k in ON_THE_SCALE else v for k, v in values.items()}
    return Condition(technique, values, found.steps(raw), repeats, label)


def _empty(value: Any) -> bool:
    return (
        value is None
        or (isinstance(value, str) and not value.strip())
        or (isinstance(value, float) and math.isnan(value))
    )


def read_conditions(
    table: Sequence[Mapping[str, Any]] | str | Path,
    scale: PotentialScale | None = None,
    technique: str = "galvanostatic",
) -> list[Condition]:
    """Conditions of a table.

    Parameters
    ----------
    table : sequence of mappings, or path
        Rows, or a YAML file (a list of rows, or ``common`` and ``conditions``) or CSV file with a
        header.
    scale : PotentialScale, optional
        Of its potentials; raw by default.
    technique : str
        Of rows that name none.

    Raises
    ------
    ValueError
        Naming the row and what is wrong with it.
    """
    rows = _rows(Path(table)) if isinstance(table, str | Path) else list(table)
    if not rows:
        raise ValueError("the table of conditions is empty")
    conditions = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise ValueError(f"condition {number} is not a row of columns and values: {row!r}")  # noqa: TRY004 - it is the user's table
        try:
            conditions.append(read_condition(row, scale or PotentialScale(), technique))
        except ValueError as error:
            raise ValueError(f"condition {number}: {error}") from None
    return conditions


def _rows(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"the table {path} cannot be read: {error.strerror}") from error
    if path.suffix.lower() == ".csv":
        rows: list[dict[Any, Any]] = list(csv.DictReader(text.splitlines()))
        for number, row in enumerate(rows, start=1):
            if None in row:
                raise ValueError(f"{path}: row {number} has more cells than the header has columns")
        return rows
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise ValueError(f"{path} is neither a CSV nor a YAML file (by its ending)")
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if isinstance(content, Mapping):
        strange = set(content) - {"common", "conditions"}
        rows_of = content.get("conditions")
        if strange or not isinstance(rows_of, list):
            raise ValueError(f"{path} must hold a list of conditions, or 'common' and 'conditions'")
        common = content.get("common") or {}
        return [{**common, **row} if isinstance(row, Mapping) else row for row in rows_of]
    if not isinstance(content, list):
        raise ValueError(f"{path} must hold a list of conditions")  # noqa: TRY004 - it is the user's file
    return content
