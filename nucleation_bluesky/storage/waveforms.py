"""Waveforms of many sites from Tiled, in blocks of bounded size."""

from collections.abc import Sequence
from typing import Any

import numpy as np

BLOCK_VALUES = 6_000_000  # values of one channel in one request (24 MB as float32)


class OutOfStepError(ValueError):
    """Rows of a waveform file do not belong to the events they are announced for."""


def rows_available(node: Any) -> int:
    """Rows of an external waveform."""
    return int(node.shape[0])


def read_ragged(nodes: Sequence[Any], counts: np.ndarray) -> list[np.ndarray]:
    """Read the recorded part of every row of several channels.

    Parameters
    ----------
    nodes : sequence of tiled array clients
        Channels of shape (rows, samples), or (rows, 1, samples); NaN beyond a row's end.
    counts : ndarray of int, shape (n,)
        Samples of each row, n <= rows.

    Returns
    -------
    list of ndarray, shape (sum of counts,)
        Channel by channel, in the files' dtype.

    Raises
    ------
    OutOfStepError
        If a row does not end where its event says.
    """
    n, offsets = len(counts), np.concatenate([[0], np.cumsum(counts)])
    width = int(nodes[0].shape[-1])
    if n and counts.max() > width:
        raise OutOfStepError(f"an event announces {counts.max()} samples, rows have {width}")
    outputs = [np.empty(offsets[-1], dtype=node.dtype) for node in nodes]
    step = max(1, BLOCK_VALUES // max(width, 1))
    sample = np.arange(width)
    for first in range(0, n, step):
        last = min(first + step, n)
        recorded = sample < counts[first:last, None]
        ended = np.zeros(last - first, dtype=bool)
        for node, output in zip(nodes, outputs, strict=True):
            block = np.asarray(node[first:last]).reshape(last - first, width)
            output[offsets[first] : offsets[last]] = block[recorded]
            finite = ~np.isnan(block)
            beyond = np.flatnonzero((finite & ~recorded).any(axis=1))
            if len(beyond):
                _out_of_step(first + int(beyond[0]), counts)
            here = np.maximum(counts[first:last] - 1, 0)
            ended |= finite[np.arange(last - first), here]
        wrong = np.flatnonzero(~ended & (counts[first:last] > 0))
        if len(wrong):
            _out_of_step(first + int(wrong[0]), counts)
    return outputs


def _out_of_step(row: int, counts: np.ndarray) -> None:
    raise OutOfStepError(
        f"row {row} of the waveform files does not have the {counts[row]} samples of its event: "
        "files and events are out of step"
    )
