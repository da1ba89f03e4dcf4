"""Trace of what the controller did: JSON lines, flushed at once, for fault analysis."""

import json
import math
import time
from pathlib import Path
from typing import Any


class Trace:
    """Appends events with wall-clock UTC and monotonic time.

    Parameters
    ----------
    path : Path or None
        File to append to; None traces nothing.

    Raises
    ------
    OSError
        If the file cannot be opened.
    """

    def __init__(self, path: Path | None = None):
        self._file = path.open("a", encoding="utf-8", buffering=1) if path else None

    def __call__(self, event: str, **fields: Any) -> None:
        """Write one event; values that are not finite become null."""
        if self._file is None:
            return
        clean = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in fields.items()
        }
        line = {"utc": time.time(), "monotonic": time.monotonic(), "event": event, **clean}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
