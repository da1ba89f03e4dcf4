"""What the plan itself knows of a site, read into the event beside the ramp's result."""

import math
import time
from typing import Any


class SoftRecord:
    """Numbers of the plan as a readable device: costs no traffic.

    Parameters
    ----------
    name : str
        Prefix of the data keys.
    fields : dict of str to (str, str)
        Field to (dtype "integer" or "number", unit).
    """

    parent = None

    def __init__(self, name: str, fields: dict[str, tuple[str, str]]) -> None:
        self.name = name
        self._fields = fields
        self._values: dict[str, float | int] = {
            key: -1 if dtype == "integer" else math.nan for key, (dtype, _) in fields.items()
        }

    @property
    def roles(self) -> dict[str, str]:
        """Data key of each field."""
        return {field: f"{self.name}_{field}" for field in self._fields}

    @property
    def hints(self) -> dict[str, Any]:
        """Nothing to plot."""
        return {"fields": []}

    def update(self, **values: float | int) -> None:
        """Set some fields; the others keep their values."""
        for key, value in values.items():
            dtype, _ = self._fields[key]
            self._values[key] = int(value) if dtype == "integer" else float(value)

    def read(self) -> dict[str, Any]:
        """As bluesky's Readable."""
        now = time.time()
        return {
            f"{self.name}_{key}": {"value": value, "timestamp": now}
            for key, value in self._values.items()
        }

    def describe(self) -> dict[str, Any]:
        """As bluesky's Readable."""
        return {
            f"{self.name}_{key}": {
                "source": f"plan:{self.name}",
                "dtype": dtype,
                "shape": [],
                "dtype_numpy": "<i8" if dtype == "integer" else "<f8",
                "units": unit,
            }
            for key, (dtype, unit) in self._fields.items()
        }


def site_record() -> SoftRecord:
    """Record of the site: where it was meant to be, and the stop bias expected there."""
    return SoftRecord(
        "site",
        {
            "target_x": ("number", "m"),
            "target_y": ("number", "m"),
            "predicted_bias": ("number", "V"),
        },
    )


def registration_record() -> SoftRecord:
    """Record of one registration against the reference topography."""
    return SoftRecord(
        "registration",
        {
            "site_count": ("integer", ""),
            "dx": ("number", "m"),
            "dy": ("number", "m"),
            "uncertainty": ("number", "m"),
            "quality": ("number", ""),
            "offset_x": ("number", "m"),
            "offset_y": ("number", "m"),
        },
    )
