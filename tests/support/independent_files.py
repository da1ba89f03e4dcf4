"""Files of the independent controller, from docs/reference/pv-contract.md alone.

Imports nothing of nucleation_bluesky.
"""

from pathlib import Path

import h5py
import numpy as np

CHANNELS = {"bias": "V", "current": "A", "height": "m"}
ROWS = {
    "n_samples": "i8", "n_post": "i8", "termination": "i8", "seq": "i8", "start_ticks": "f8",
    "sample_rate": "f8",
}  # fmt: skip


class Segments:
    """Waveform files, one row an exposure."""

    def __init__(self) -> None:
        self._file: h5py.File | None = None
        self.segment, self._row = -1, 0

    def close(self) -> None:
        """Close the open file; numbers begin anew."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self.segment, self._row = -1, 0

    def append(
        self,
        directory: str,
        prefix: str,
        shape: tuple[int, int],
        channels: dict[str, np.ndarray],
        scalars: dict[str, float],
    ) -> tuple[int, int]:
        """Write a row; return the number of the file and of the row."""
        if self._file is None or self._row >= shape[0]:
            if self._file is not None:
                self._file.close()
            self.segment, self._row = self.segment + 1, 0
            self._file = _make(Path(directory) / f"{prefix}_{self.segment:05d}.h5", shape)
        group, row = self._file["/entry/data"], self._row
        for name, values in channels.items():
            group[name][row, : len(values)] = values
        for name, value in scalars.items():
            group[name][row] = value
        self._file.flush()
        self._row += 1
        return self.segment, row


def _make(path: Path, shape: tuple[int, int]) -> h5py.File:
    file = h5py.File(path, "x", libver="latest")
    file.attrs["format"] = "nucleation-bluesky-waveforms"
    file.attrs["version"] = 1
    group = file.create_group("/entry/data")
    for channel, unit in CHANNELS.items():
        made = group.create_dataset(channel, shape, "f4", chunks=(1, shape[1]), fillvalue=np.nan)
        made.attrs["units"] = unit
    for name, kind in ROWS.items():
        group.create_dataset(name, shape[:1], kind)
    file.swmr_mode = True
    return file


def write_image(path: Path, x: float, y: float, size: float, pixels: int) -> None:
    """Write a topography: waves, heights in m over positions in nm."""
    ticks = np.linspace(-0.5, 0.5, pixels) * size
    z = 5e-9 * np.sin((x + ticks)[None, :] / 150) * np.cos((y + ticks)[:, None] / 210)
    with h5py.File(path, "x") as file:
        made = file.create_dataset("/entry/data/topography", data=z[None].astype("f4"))
        made.attrs["units"] = "m"
