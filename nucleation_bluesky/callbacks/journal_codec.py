"""Lossless JSON lines for Bluesky documents, each line guarded by its CRC-32.

A line is one JSON object whose first member is the checksum of everything after it::

    {"crc":"9a0c31f2","name":"event","doc":{...}}

Values that JSON cannot hold are written as objects with the single extra key ``"!"`` naming
their type. Tuples come back as lists.
"""

import base64
import json
import math
import zlib
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np

TAG = "!"
_PREFIX = b'{"crc":"'
_BODY = len(_PREFIX) + 8 + 2  # bytes before the guarded part: prefix, checksum, '",'
_PLAIN_SCALARS: tuple[type, ...] = (np.float64, np.int64, np.bool_, np.str_)


class CodecError(TypeError):
    """A value of a document cannot be recorded."""


class DamagedLineError(ValueError):
    """A line of a journal does not match its checksum."""


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _dtype_name(dtype: np.dtype, where: str) -> Any:
    if dtype.hasobject:
        raise CodecError(
            f"{where}: an array of Python objects cannot be recorded; "
            "give it a numeric or string dtype"
        )
    return np.lib.format.dtype_to_descr(dtype)


def _pack_numpy(value: np.ndarray | np.generic, where: str) -> dict[str, Any]:
    if isinstance(value, np.ma.MaskedArray):
        raise CodecError(f"{where}: masked arrays cannot be recorded; fill the masked values")
    packed = {
        TAG: "ndarray" if isinstance(value, np.ndarray) else "scalar",
        "dtype": _dtype_name(value.dtype, where),
        "data": _b64(value.tobytes()),
    }
    if isinstance(value, np.ndarray):
        packed["shape"] = list(value.shape)
    return packed


def _pack_other(value: Any, where: str) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {TAG: "bytes", "data": _b64(bytes(value))}
    if isinstance(value, complex):
        return {TAG: "complex", "value": [_pack(value.real, where), _pack(value.imag, where)]}
    for kind in (datetime, date, time):  # datetime first: it is a date too
        if isinstance(value, kind):
            return {TAG: kind.__name__, "value": value.isoformat()}
    if isinstance(value, timedelta):
        return {TAG: "timedelta", "value": [value.days, value.seconds, value.microseconds]}
    if isinstance(value, PurePath):
        return str(value)
    raise CodecError(
        f"{where}: a value of type {type(value).__name__} cannot be recorded; "
        "use numbers, strings, lists, dictionaries or numpy arrays"
    )


def _pack_mapping(value: Mapping[Any, Any], where: str) -> dict[str, Any]:
    if TAG not in value and all(type(key) is str for key in value):
        return {key: _pack(item, f"{where}.{key}") for key, item in value.items()}
    pairs = [[_pack(k, where), _pack(v, f"{where}.{k}")] for k, v in value.items()]
    return {TAG: "dict", "items": pairs}


def _pack(value: Any, where: str) -> Any:  # noqa: PLR0911 (one return per kind of value)
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is float:
        return value if math.isfinite(value) else {TAG: "float", "value": repr(value)}
    if isinstance(value, Mapping):
        return _pack_mapping(value, where)
    if isinstance(value, (list, tuple)):
        return [_pack(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Enum):
        return _pack(value.value, where)
    if isinstance(value, _PLAIN_SCALARS):
        return _pack(value.item(), where)
    if isinstance(value, (np.ndarray, np.generic)):
        return _pack_numpy(value, where)
    for base in (bool, int, float, str):  # subclasses
        if isinstance(value, base):
            return _pack(base(value), where)
    return _pack_other(value, where)


def _unpack_numpy(found: dict[str, Any]) -> np.ndarray | np.generic:
    descr = found["dtype"]
    if isinstance(descr, list):
        descr = _tuples(descr)
    dtype = np.lib.format.descr_to_dtype(descr)
    raw = base64.b64decode(found["data"])
    shape = tuple(found.get("shape", ()))
    if dtype.itemsize == 0:  # numpy cannot read zero-width items from a buffer
        array = np.zeros(shape, dtype)
    else:
        array = np.frombuffer(raw, dtype).reshape(shape).copy()
    return array if found[TAG] == "ndarray" else array[()]


def _tuples(descr: list[Any]) -> list[tuple[Any, ...]]:
    fields = []
    for field in descr:
        name, kind, *shape = field
        name = tuple(name) if isinstance(name, list) else name
        kind = _tuples(kind) if isinstance(kind, list) else kind
        fields.append((name, kind, *(tuple(part) for part in shape)))
    return fields


def _unpack(found: dict[str, Any]) -> Any:  # noqa: PLR0911 (one return per kind of value)
    tag = found.get(TAG)
    if tag is None:
        return found
    match tag:
        case "float":
            return float(found["value"])
        case "ndarray" | "scalar":
            return _unpack_numpy(found)
        case "dict":
            return {key: item for key, item in found["items"]}  # noqa: C416 (lists to pairs)
        case "bytes":
            return base64.b64decode(found["data"])
        case "complex":
            return complex(*found["value"])
        case "datetime":
            return datetime.fromisoformat(found["value"])
        case "date":
            return date.fromisoformat(found["value"])
        case "time":
            return time.fromisoformat(found["value"])
        case "timedelta":
            days, seconds, microseconds = found["value"]
            return timedelta(days, seconds, microseconds)
    raise DamagedLineError(f"unknown value type '{tag}'; was this written by a newer version?")


def encode(name: str, doc: Mapping[str, Any]) -> bytes:
    """Return the line, newline included, that records a document.

    Raises
    ------
    CodecError
        If a value cannot be recorded without loss; the message names it.
    """
    record = {"name": name, "doc": _pack(doc, name)}
    body = json.dumps(record, allow_nan=False, separators=(",", ":")).encode("ascii")[1:]
    return b'%s%08x",%s\n' % (_PREFIX, zlib.crc32(body), body)


def decode(line: bytes) -> tuple[str, dict[str, Any]]:
    """Return name and document of one line (with or without its newline).

    Raises
    ------
    DamagedLineError
        If the line is torn or does not match its checksum.
    """
    line = line.rstrip(b"\n")
    body = line[_BODY:]
    if line[:_BODY] != b'%s%08x",' % (_PREFIX, zlib.crc32(body)):
        raise DamagedLineError("the line does not match its checksum")
    record = json.loads(b"{" + body, object_hook=_unpack)
    return record["name"], record["doc"]
