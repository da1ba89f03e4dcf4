"""Data keys of one exposure: roles of the contract, always with their declared type."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ReadingLayout:
    """Which roles a device reads, and their types.

    Parameters
    ----------
    roles : mapping of str to (str, str)
        Role to unit and meaning, those of other devices and of files left out.
    integers, texts : frozenset of str
        Roles of these types; all others are numbers.
    tables : mapping of str to int
        Roles that are arrays of numbers, with their length.
    """

    roles: Mapping[str, tuple[str, str]]
    integers: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset({"exposure"})
    tables: Mapping[str, int] | None = None

    def describe(self, name: str, source: str) -> dict[str, dict]:
        """Return the data keys ``<name>_<role>``."""
        keys: dict[str, dict] = {}
        tables = self.tables or {}
        for role, (unit, _) in self.roles.items():
            key: dict[str, Any] = {"source": f"{source}{role}", "dtype": "number", "shape": []}
            if role in self.texts:
                key["dtype"] = "string"
            elif role in tables:
                key |= {"dtype": "array", "shape": [tables[role]], "dtype_numpy": "<f8"}
            elif role in self.integers:
                key |= {"dtype": "integer", "dtype_numpy": "<i8"}
            else:
                key["dtype_numpy"] = "<f8"
            if unit:
                key["units"] = unit
            keys[f"{name}_{role}"] = key
        return keys

    def reading(
        self, name: str, values: Mapping[str, Any], timestamp: float | None = None
    ) -> dict[str, dict]:
        """Return the reading of one exposure in the declared types."""
        when = time.time() if timestamp is None else timestamp
        tables = self.tables or {}
        found = {}
        for role in self.roles:
            value = values[role]
            if role in self.texts:
                value = str(value)
            elif role in self.integers:
                value = int(value)
            elif role not in tables:
                value = float(value)
            found[f"{name}_{role}"] = {"value": value, "timestamp": when}
        return found


@dataclass(frozen=True)
class SettingsLayout:
    """Numbers of a device: type ("number" or "integer") and unit of each setting."""

    settings: Mapping[str, tuple[str, str]]

    def describe(self, name: str, source: str) -> dict[str, dict]:
        """Return the data keys ``<name>_<setting>``."""
        keys = {}
        for setting, (dtype, unit) in self.settings.items():
            key: dict[str, Any] = {"source": f"{source}{setting}", "dtype": dtype, "shape": []}
            key["dtype_numpy"] = "<i8" if dtype == "integer" else "<f8"
            keys[f"{name}_{setting}"] = key | ({"units": unit} if unit else {})
        return keys

    def reading(self, name: str, values: Mapping[str, float]) -> dict[str, dict]:
        """Return the reading of all settings in the declared types."""
        now = time.time()
        return {
            f"{name}_{setting}": {
                "value": int(values[setting]) if dtype == "integer" else float(values[setting]),
                "timestamp": now,
            }
            for setting, (dtype, _) in self.settings.items()
        }


def describe_waveforms(
    name: str, source: str, channels: Mapping[str, str], max_samples: int
) -> dict[str, dict]:
    """Return the data keys of external waveforms; ``channels`` maps name to unit."""
    return {
        f"{name}_{channel}": {
            "source": f"{source}{channel}",
            "dtype": "array",
            "shape": [1, max_samples],
            "dtype_numpy": "<f4",
            "external": "STREAM:",
            "units": unit,
        }
        for channel, unit in channels.items()
    }
