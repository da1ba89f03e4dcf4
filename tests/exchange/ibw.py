"""Writes Igor binary waves (version 5) as the format's published layout says, for tests only."""

import struct

import numpy as np


def write_ibw(path, data, *, steps, starts=(0, 0), axis_unit=b"m", data_unit=b"m", labels=(),
              labelled=2, note=b""):  # fmt: skip
    """``data`` (x, y, layer) or (n, channel), float32, Fortran order as Igor stores it."""
    data = np.asarray(data, dtype="<f4")
    dims = [*data.shape, *[0] * (4 - data.ndim)]
    dim_labels = b""
    sizes = [0] * 4
    if labels:
        dim_labels = b"".join(text.ljust(32, b"\0") for text in (b"", *labels))
        sizes[labelled] = len(dim_labels)
    body = data.tobytes(order="F")
    header = bytearray(320)
    struct.pack_into("<I", header, 4, 3_900_000_000)  # creationDate
    struct.pack_into("<i", header, 12, data.size)  # npnts
    struct.pack_into("<h", header, 16, 2)  # type: 32-bit float
    header[28:60] = b"wave0".ljust(32, b"\0")
    struct.pack_into("<4i", header, 68, *dims)
    struct.pack_into("<4d", header, 84, *steps, *[1.0] * (4 - len(steps)))
    struct.pack_into("<4d", header, 116, *starts, *[0.0] * (4 - len(starts)))
    header[148:152] = data_unit.ljust(4, b"\0")
    for k in range(2):
        header[152 + 4 * k : 156 + 4 * k] = axis_unit.ljust(4, b"\0")
    first = struct.pack(
        "<hhiiiiiiii4i4iiii"[:0] + "<hhiii", 5, 0, 320 + len(body), 0, len(note)
    )  # version, checksum, wfmSize, formulaSize, noteSize
    first += struct.pack("<i4i4iii", 0, 0, 0, 0, 0, *sizes, 0, 0)
    first = first.ljust(64, b"\0")
    checksum = -sum(struct.unpack("<192h", first + bytes(header))) & 0xFFFF
    first = first[:2] + struct.pack("<H", checksum) + first[4:]
    path.write_bytes(first + bytes(header) + body + note + dim_labels)
