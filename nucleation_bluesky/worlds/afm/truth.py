"""Ground truth file: for tests and benchmarks, never for an analysis."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from nucleation_bluesky.worlds.afm.grains import Grains
from nucleation_bluesky.worlds.afm.parameters import AfmWorldParameters

MASK_SIZE = 4e-6  # m
MASK_PIXEL = 5e-9  # m


class TruthWriter:
    """JSON lines: a header, then one line per exposure, flushed; grain mask in a sibling .npz.

    The mask file holds ``mask`` (bool) and ``distance`` (m, float32, clipped at 300 nm), shape
    (ny, nx), row along +y; ``x``, ``y`` (m, sample frame) and ``pixel_size`` (m).
    """

    def __init__(self, path: Path, seed: int, parameters: AfmWorldParameters) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8")
        self._write({"kind": "header", "seed": seed, "parameters": parameters.model_dump()})
        axis = np.arange(-MASK_SIZE / 2, MASK_SIZE / 2 + MASK_PIXEL / 2, MASK_PIXEL)
        distance = Grains(seed, parameters).distance_grid(axis, axis, reach=300e-9)
        np.savez_compressed(
            path.with_suffix(".npz"),
            mask=distance < 0,
            distance=distance.astype("float32"),
            x=axis,
            y=axis,
            pixel_size=MASK_PIXEL,
        )

    def write(self, record: dict[str, Any]) -> None:
        """Append one exposure."""
        self._write({"kind": "exposure", **record})

    def _write(self, record: dict[str, Any]) -> None:
        clean = {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in record.items()
        }
        self._file.write(json.dumps(clean) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_truth(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a truth file.

    Returns
    -------
    header : dict
        Seed and parameters.
    columns : dict of ndarray
        One array per field over the exposures; NaN where a number does not exist.
    """
    with path.open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    header, rows = lines[0], lines[1:]
    columns: dict[str, np.ndarray] = {}
    for name in rows[0] if rows else ():
        values = [row[name] for row in rows]
        if any(v is None for v in values):
            values = [math.nan if v is None else v for v in values]
        columns[name] = np.array(values)
    return header, columns
