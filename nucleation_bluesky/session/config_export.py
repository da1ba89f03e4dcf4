"""Configuration of exports."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from nucleation_bluesky.session.section import Section

Format = Literal["gwy", "tiff", "nexus", "csv", "netcdf", "documents"]


class ExportConfig(Section):
    """What ``export`` writes and where, unless the command says otherwise.

    gwy for Gwyddion, tiff for ImageJ, nexus for NeXus/HDF5 readers, csv for tables, netcdf for
    xarray, documents for the run as it was recorded.
    """

    formats: tuple[Format, ...] = Field(
        default=("gwy",),
        min_length=1,
        description="Any of gwy, tiff, nexus, csv, netcdf, documents.",
    )
    directory: Path = Field(default=Path("export"), description="Made where it is missing.")
