"""The structure of Gwyddion files: every length inside what holds it.

``gwyfile`` trusts the lengths: a text without an end makes it loop for ever.
Source: Gwyddion user guide, "Native data format GWY".
"""

import struct

MAGIC = b"GWYP"
ATOMS = {b"b": 1, b"c": 1, b"i": 4, b"q": 8, b"d": 8}
ARRAYS = {b"C": 1, b"I": 4, b"Q": 8, b"D": 8}


def check_structure(raw: bytes) -> None:
    """Raise unless these bytes are one sound object.

    Raises
    ------
    ValueError
        If a length reaches beyond what holds it, or a type is unknown.
    """
    if not raw.startswith(MAGIC):
        raise ValueError("it does not begin with GWYP")
    _object(raw, len(MAGIC), len(raw))


def _after_text(raw: bytes, at: int, end: int) -> int:
    zero = raw.find(b"\0", at, end)
    if zero < 0:
        raise ValueError(f"a text has no end at byte {at}")
    return zero + 1


def _count(raw: bytes, at: int, end: int) -> int:
    if at + 4 > end:
        raise ValueError(f"it ends within a length at byte {at}")
    return struct.unpack_from("<I", raw, at)[0]


def _object(raw: bytes, at: int, end: int) -> int:
    at = _after_text(raw, at, end)
    stop = at + 4 + _count(raw, at, end)
    if stop > end:
        raise ValueError(f"an object is longer than its file at byte {at}")
    at += 4
    while at < stop:
        at = _component(raw, at, stop)
    return stop


def _component(raw: bytes, at: int, end: int) -> int:
    at = _after_text(raw, at, end) + 1
    kind = raw[at - 1 : at]
    if kind in ATOMS:
        at += ATOMS[kind]
    elif kind in ARRAYS:
        at += 4 + _count(raw, at, end) * ARRAYS[kind]
    elif kind in (b"s", b"o"):
        at = (_after_text if kind == b"s" else _object)(raw, at, end)
    elif kind in (b"S", b"O"):
        count, at = _count(raw, at, end), at + 4
        for _ in range(count):  # each takes a byte at least, or there is none
            at = (_after_text if kind == b"S" else _object)(raw, at, end)
    else:
        raise ValueError(f"a component of unknown type {kind!r} at byte {at}")
    if at > end:
        raise ValueError(f"a component is longer than its object at byte {at}")
    return at
