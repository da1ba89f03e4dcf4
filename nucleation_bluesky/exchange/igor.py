"""Asylum Research files (Igor binary waves, .ibw) through ``igor2``: images and curves."""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from igor2 import binarywave

from nucleation_bluesky.exchange.fields import ExchangeError, Field
from nucleation_bluesky.storage.parsers import one_sentence

# What the instrument records in these channels, by the beginning of their labels (Asylum's own
# convention: SI without prefixes; the wave itself carries one unit for all its channels)
UNITS: Mapping[str, str] = {
    "height": "m", "zsensor": "m", "zsnsr": "m", "raw": "m", "defl": "m", "amplitude": "m",
    "lvdt": "m", "phase": "deg", "current": "A", "cur": "A", "bias": "V", "potential": "V",
    "userin": "V", "lateral": "V", "freq": "Hz", "time": "s",
}  # fmt: skip
VERSION = 5
HEADERS = 384  # bytes of version 5, whose 16-bit words add up to 0
HEIGHTS = ("height", "zsensor", "zsnsr")


@dataclass(frozen=True)
class IgorCurve:
    """Channels against time: a force or an I-V curve.

    Parameters
    ----------
    channels : mapping of str to (ndarray, str)
        Values, shape (n,), and unit by name of the channel.
    sample_period : float
        s.
    note : mapping of str to str
        The instrument's settings.
    """

    channels: Mapping[str, tuple[np.ndarray, str]]
    sample_period: float
    note: Mapping[str, str]


@dataclass(frozen=True)
class IgorImage:
    """Channels of one image.

    Parameters
    ----------
    channels : tuple of Field
        Row index along +y.
    note : mapping of str to str
        The instrument's settings.
    """

    channels: tuple[Field, ...]
    note: Mapping[str, str]

    @property
    def topography(self) -> Field | None:
        """The height channel; the retrace where both directions are there."""
        found = [f for f in self.channels if f.name.lower().startswith(HEIGHTS) and f.unit == "m"]
        retrace = [f for f in found if "retrace" in f.name.lower()]
        return (retrace or found or [None])[0]


def unit_of(label: str, default: str) -> str:
    """Return the unit of a channel by its label, else the wave's own."""
    plain = re.sub(r"[^a-z]", "", label.lower())
    return next((unit for start, unit in UNITS.items() if plain.startswith(start)), default or "1")


def read_ibw(path: Path) -> IgorImage | IgorCurve:
    """Read an Igor binary wave.

    Returns
    -------
    IgorImage or IgorCurve
        An image of several channels (layers), one image, or channels against time.

    Raises
    ------
    ExchangeError
        If it is no wave, holds no numbers, or its axes are in unknown units.
    """
    with one_sentence(f"{path.name} cannot be read as an Igor binary wave", ExchangeError):
        _check_headers(path)
        return _wave(path, binarywave.load(str(path))["wave"])


def _check_headers(path: Path) -> None:
    """Raise unless the headers add up: the reader allocates whatever sizes they claim."""
    with path.open("rb") as stream:
        raw = stream.read(HEADERS)
    order = next((o for o in "<>" if raw[:2] == struct.pack(f"{o}h", VERSION)), None)
    if order is None:
        raise ExchangeError(f"{path.name} is no Igor binary wave of version {VERSION}")
    if len(raw) < HEADERS or sum(struct.unpack(f"{order}{HEADERS // 2}H", raw)) & 0xFFFF:
        raise ExchangeError(
            f"{path.name} cannot be read as an Igor binary wave (its headers are damaged)"
        )


def _wave(path: Path, wave: Mapping) -> IgorImage | IgorCurve:
    data = np.asarray(wave["wData"])
    if data.dtype.kind not in "fiu" or not data.size:
        raise ExchangeError(f"{path.name} holds no real numbers")
    header, note = wave["wave_header"], _note(wave.get("note", b""))
    steps = [float(v) for v in header["sfA"]]
    starts = [float(v) for v in header["sfB"]]
    axis_unit = _text(header["dimUnits"][0]) or "m"
    data_unit = _text(header["dataUnits"])
    if data.ndim >= 2 and axis_unit == "m" and min(data.shape[:2]) > 1 and steps[0] == steps[1]:
        return _image(path, wave, data, steps, starts, data_unit, note)
    if axis_unit != "s":
        raise ExchangeError(
            f"{path.name} is neither an image in metres nor a curve in seconds (axis '{axis_unit}')"
        )
    if steps[0] <= 0:
        raise ExchangeError(f"{path.name}: the sample period {steps[0]:g} s is not positive")
    columns = data.reshape(data.shape[0], -1)
    names = _labels(wave, 1, columns.shape[1])
    channels = {
        name: (columns[:, k].astype(float), unit_of(name, data_unit))
        for k, name in enumerate(names)
    }
    return IgorCurve(channels, steps[0], note)


def _image(
    path: Path,
    wave: Mapping,
    data: np.ndarray,
    steps: list[float],
    starts: list[float],
    unit: str,
    note: Mapping[str, str],
) -> IgorImage:
    if steps[0] <= 0:
        raise ExchangeError(f"{path.name}: the pixel size {steps[0]:g} m is not positive")
    layers = data.reshape(*data.shape[:2], -1)
    names = _labels(wave, 2, layers.shape[2])
    origin = tuple(start - steps[0] / 2 for start in starts[:2])
    return IgorImage(
        tuple(
            Field(
                name,
                layers[:, :, k].T.astype(float),  # a wave's first index runs along x
                unit_of(name, unit),
                (steps[0], steps[1]),
                (origin[0], origin[1]),
            )
            for k, name in enumerate(names)
        ),
        note,
    )


def _labels(wave: Mapping, axis: int, count: int) -> list[str]:
    """Names of the columns or layers; the first label of a dimension names the dimension."""
    found = wave.get("labels") or []
    labels = [_text(v) for v in found[axis]][1:] if len(found) > axis else []
    names = [label or f"channel {k}" for k, label in enumerate(labels[:count])]
    names += [f"channel {k}" for k in range(len(names), count)]
    unique: list[str] = []
    for name in names:
        unique.append(name if name not in unique else f"{name} {len(unique)}")
    return unique


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1").strip("\0 ")
    if isinstance(value, np.ndarray):
        return b"".join(value.tolist()).decode("latin-1").strip("\0 ")
    return str(value)


def _note(raw: object) -> dict[str, str]:
    lines = re.split(r"[\r\n]+", _text(raw))
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs if key.strip()}
