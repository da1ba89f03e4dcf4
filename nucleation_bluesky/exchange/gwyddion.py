"""Gwyddion's native format (.gwy) through ``gwyfile``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gwyfile
import numpy as np
from gwyfile.objects import GwyContainer, GwyDataField, GwySIUnit

from nucleation_bluesky.exchange.fields import ExchangeError, Field, require_some
from nucleation_bluesky.exchange.gwyddion_structure import check_structure
from nucleation_bluesky.storage.parsers import one_sentence


def write_gwy(path: Path, fields: Sequence[Field], *, comment: str = "") -> Path:
    """Write fields as channels of one Gwyddion file, with units, sizes and masks of no data.

    Gwyddion counts rows from the top: the first row of the file is the last of the field.

    Parameters
    ----------
    path : Path
        File to write.
    fields : sequence of Field
        The channels.
    comment : str
        Where the data came from; in the metadata of each channel.

    Raises
    ------
    ExchangeError
        If there is nothing to write.
    """
    require_some(fields)
    container = GwyContainer()
    for number, field in enumerate(fields):
        values = np.ascontiguousarray(field.values[::-1], dtype=float)
        missing = ~np.isfinite(values)
        fill = float(np.median(values[~missing])) if not missing.all() else 0.0
        container[f"/{number}/data/title"] = field.name
        container[f"/{number}/data"] = _data_field(np.where(missing, fill, values), field)
        if missing.any():
            container[f"/{number}/mask"] = _data_field(missing.astype(float), field, unit="")
        container[f"/{number}/meta"] = GwyContainer({"Source": comment or "nucleation_bluesky"})
    container.tofile(str(path))
    return path


def _data_field(values: np.ndarray, field: Field, unit: str | None = None) -> GwyDataField:
    width, height = field.size
    symbol = field.unit if unit is None else unit
    return GwyDataField(
        values,
        xreal=width,
        yreal=height,
        xoff=field.origin[0],  # pyright: ignore[reportArgumentType]
        # of the top edge; y points down in Gwyddion
        yoff=-(field.origin[1] + height),  # pyright: ignore[reportArgumentType]
        si_unit_xy=GwySIUnit(unitstr="m"),
        si_unit_z=GwySIUnit(unitstr="" if symbol == "1" else symbol),
    )


def read_gwy(path: Path) -> list[Field]:
    """Read every channel of a Gwyddion file; masked cells become NaN.

    Raises
    ------
    ExchangeError
        If it is no Gwyddion file or holds no channels.
    """
    with one_sentence(f"{path.name} cannot be read as a Gwyddion file", ExchangeError):
        check_structure(path.read_bytes())
        return _channels(path, gwyfile.load(str(path)))


def _channels(path: Path, container: Any) -> list[Field]:
    found = []
    numbers = sorted(
        int(key.split("/")[1])
        for key in container
        if key.endswith("/data") and key.split("/")[1].isdigit()
    )
    for number in numbers:
        data = container[f"/{number}/data"]
        values = np.array(data.data, dtype=float)
        if (mask := container.get(f"/{number}/mask")) is not None:
            values[np.asarray(mask.data) > 0.5] = np.nan
        rows, cols = values.shape
        unit = data.get("si_unit_z")
        lateral = data.get("si_unit_xy")
        if lateral is not None and lateral.unitstr not in ("m", ""):
            raise ExchangeError(
                f"channel {number} of {path.name} is not lateral in metres but {lateral.unitstr}"
            )
        height = float(data.yreal)
        found.append(
            Field(
                name=str(container.get(f"/{number}/data/title", f"channel {number}")),
                values=values[::-1],
                unit=(unit.unitstr if unit is not None else "") or "1",
                pitch=(float(data.xreal) / cols, height / rows),
                origin=(float(data.xoff), -(float(data.yoff) + height)),
            )
        )
    if not found:
        raise ExchangeError(f"{path.name} holds no channels")
    return found
