"""Waveform segments and topography images in HDF5: written while others read.

A segment holds up to ``rows`` exposures. It is written in single-writer-multiple-reader mode and
grows by one row per exposure, so its length is always the number of rows written; every row is
flushed before it is announced. A full segment is closed and never touched again.
"""

from nucleation_bluesky.segments.growing_file import (
    RESERVE,
    SPARE,
    DiskReserve,
    SegmentError,
    check_directory,
    check_name,
    close_file,
    publish_file,
)
from nucleation_bluesky.segments.killed_writer import repair
from nucleation_bluesky.segments.topography import write_topography
from nucleation_bluesky.segments.writer import MAX_ROW_SAMPLES, MAX_ROWS, SegmentWriter

__all__ = [
    "MAX_ROWS",
    "MAX_ROW_SAMPLES",
    "RESERVE",
    "SPARE",
    "DiskReserve",
    "SegmentError",
    "SegmentWriter",
    "check_directory",
    "check_name",
    "close_file",
    "publish_file",
    "repair",
    "write_topography",
]
