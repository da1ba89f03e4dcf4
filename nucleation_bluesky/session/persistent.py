"""RunEngine metadata that outlives the session, in a JSON file that people can read."""

import os
from collections import UserDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nucleation_bluesky.callbacks.journal_codec import DamagedLineError, decode, encode


class PersistentMetadata(UserDict[str, Any]):
    """``RE.md``: what is set in it, and the scan number, are there again in the next session.

    An entry that cannot be recorded is refused.

    Parameters
    ----------
    path : Path
        The file.
    configured : mapping
        Entries of the configuration: in force, but not kept, so that the file cannot contradict
        a later configuration.
    """

    def __init__(self, path: Path, configured: Mapping[str, Any]) -> None:
        self._path = path
        self._configured = frozenset(configured)
        super().__init__()
        self.data.update({k: v for k, v in _read(path).items() if k not in self._configured})
        self.data.update(configured)

    def __setitem__(self, key: str, value: Any) -> None:
        self._write({**self.data, key: value}, key)
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self._write({k: v for k, v in self.data.items() if k != key}, key)
        super().__delitem__(key)

    def _write(self, values: Mapping[str, Any], key: str) -> None:
        if key in self._configured:
            return
        line = encode("metadata", {k: v for k, v in values.items() if k not in self._configured})
        temporary = self._path.with_suffix(".new")
        with temporary.open("wb") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)


def _read(path: Path) -> dict[str, Any]:
    try:
        return decode(path.read_bytes())[1]
    except FileNotFoundError:
        return {}
    except (DamagedLineError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); move it away, scan numbers then begin at 1 again"
        ) from error
