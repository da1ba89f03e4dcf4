"""What passes between the reader of foreign HDF5 files and the process that asks it."""

import json
from enum import StrEnum
from typing import Any

import numpy as np

MAX_LINKS = 16


class Problem(StrEnum):
    """Keys of an answer that is none."""

    REFUSED = "refused"  # the file is sound and asks for what is not done
    DAMAGED = "damaged"


def pack(message: Any) -> bytes:
    """Return a message as bytes; infinities and NaN are kept."""
    return json.dumps(message).encode("ascii")


def unpack(raw: bytes) -> Any:
    """Return the message of these bytes."""
    return json.loads(raw)


def raw_bytes(values: np.ndarray) -> memoryview:
    """Return the bytes of a contiguous array, without a copy."""
    return values.reshape(-1).view(np.uint8).data
