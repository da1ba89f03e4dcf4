"""ImageJ TIFF (hyper)stacks through ``tifffile``: calibrated, with the time of every frame."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from nucleation_bluesky.exchange.fields import ExchangeError, Field, Stack, require_some

MICRO = 1e6


def _resolution(pixel_size: float) -> tuple[float, float]:
    """Pixels per micrometre, as ImageJ reads a calibration."""
    per_micrometre = 1 / (pixel_size * MICRO)
    return per_micrometre, per_micrometre


def write_stack(path: Path, stack: Stack) -> Path:
    """Write a film frame by frame, whatever its size; times and pixel size are kept.

    The frame interval in ImageJ's header is the median; the true, irregular times stand in the
    labels of the slices and, in full precision, in ``info`` as JSON (``times``, seconds).

    Raises
    ------
    ExchangeError
        If the film is empty, or its type none that ImageJ knows.
    """
    n, rows, cols = stack.frames.shape
    dtype = np.dtype(stack.frames.dtype)
    if n == 0:
        raise ExchangeError("the film has no frames")
    if dtype not in (np.uint8, np.uint16, np.float32):
        dtype = np.dtype(np.float32)
    interval = float(np.median(np.diff(stack.times))) if n > 1 else 0.0
    metadata: dict[str, Any] = {
        "axes": "TYX",
        "unit": "um",
        "finterval": interval,
        "fps": 1 / interval if interval > 0 else 0.0,
        "tunit": "s",
        "Labels": [f"t = {t:.6f} s" for t in stack.times],
        "Info": json.dumps({"name": stack.name, "times": [float(t) for t in stack.times]}),
    }
    tifffile.imwrite(
        path,
        _frames(stack, n, dtype),
        shape=(n, rows, cols),
        dtype=dtype,
        imagej=True,
        resolution=_resolution(stack.pixel_size),
        metadata=metadata,
    )
    return path


def _frames(stack: Stack, n: int, dtype: np.dtype) -> Iterator[np.ndarray]:
    for index in range(n):
        yield np.asarray(stack.frames[index], dtype=dtype)


def write_fields(path: Path, fields: Sequence[Field]) -> Path:
    """Write fields of one size as the slices of a float stack, named by quantity and unit.

    Raises
    ------
    ExchangeError
        If there is nothing to write, or sizes or pixels differ.
    """
    require_some(fields)
    first = fields[0]
    for field in fields:
        if field.values.shape != first.values.shape or field.pitch != first.pitch:
            raise ExchangeError("the slices of one TIFF stack must have one size and pitch")
    if not np.isclose(*first.pitch, rtol=1e-3):
        raise ExchangeError("ImageJ wants square pixels; export to Gwyddion or NeXus instead")
    # ImageJ counts rows from the top
    slices = np.stack([field.values[::-1].astype(np.float32) for field in fields])
    tifffile.imwrite(
        path,
        slices,
        imagej=True,
        resolution=_resolution(first.pitch[0]),
        metadata={
            "axes": "ZYX",
            "unit": "um",
            "Labels": [f"{field.name} ({field.unit})" for field in fields],
        },
    )
    return path
