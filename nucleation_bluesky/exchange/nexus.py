"""NeXus/HDF5 through ``nexusformat``: one NXentry, an NXdata per map, one of them the default."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from nexusformat import nexus as _nexus

from nucleation_bluesky.exchange.fields import Field, require_some

nexus: Any = _nexus  # its classes are made at import; type checkers do not see them
PREFERRED = ("onset_bias", "nucleation_time")


def write_nexus(
    path: Path,
    fields: Sequence[Field],
    *,
    sample: str = "",
    title: str = "",
    time: float | None = None,
    provenance: Mapping[str, str] | None = None,
) -> Path:
    """Write fields as NXdata groups with axes in metres.

    Parameters
    ----------
    path : Path
        File to write, replaced if it exists.
    fields : sequence of Field
        What to write. The onset or nucleation-time map is the default plot, else the first.
    sample, title : str
        Of the run.
    time : float, optional
        Start of the run, seconds since 1970.
    provenance : mapping, optional
        Written as an NXprocess.

    Raises
    ------
    ExchangeError
        If there is nothing to write.
    """
    require_some(fields)
    entry = nexus.NXentry()
    entry["title"] = title or "nucleation map"
    entry["sample"] = nexus.NXsample()
    entry["sample"]["name"] = sample
    if time is not None:
        entry["start_time"] = datetime.fromtimestamp(time, UTC).isoformat()
    process = nexus.NXprocess(program="nucleation_bluesky")
    for key, value in (provenance or {}).items():
        if key == "software":
            process["version"] = value
        else:
            process[_name(key)] = nexus.NXnote(type="text/plain", data=value)
    entry["process"] = process
    for field in fields:
        entry[_name(field.name)] = _data(field)
    names = [_name(field.name) for field in fields]
    default = next((name for name in PREFERRED if name in names), names[0])
    entry.attrs["default"] = default
    root = nexus.NXroot(entry)
    root.attrs["default"] = "entry"
    root.save(str(path), "w")
    return path


def _name(text: str) -> str:
    """Make a NeXus name: letters, digits and underscores."""
    plain = "".join(c if c.isalnum() and c.isascii() else "_" for c in text)
    return plain if not plain[:1].isdigit() else f"_{plain}"


def _data(field: Field) -> Any:
    rows, cols = field.values.shape
    x = field.origin[0] + (np.arange(cols) + 0.5) * field.pitch[0]
    y = field.origin[1] + (np.arange(rows) + 0.5) * field.pitch[1]
    unit = "" if field.unit == "1" else field.unit
    return nexus.NXdata(
        nexus.NXfield(np.asarray(field.values, dtype=float), name=_name(field.name), units=unit),
        (nexus.NXfield(y, name="y", units="m"), nexus.NXfield(x, name="x", units="m")),
        title=field.name,
    )
