"""Files of other instruments, whatever their format."""

from pathlib import Path

from nucleation_bluesky.storage.hdf5_input import open_input
from nucleation_bluesky.storage.neutral import FORMAT, IvzFile, ivz_of
from nucleation_bluesky.storage.neutral_seccm import FORMAT as SECCM_FORMAT
from nucleation_bluesky.storage.neutral_seccm import SeccmFile, seccm_of
from nucleation_bluesky.storage.tdms import SUFFIX as TDMS_SUFFIX
from nucleation_bluesky.storage.tdms import TdmsOptions, TdmsRecord, read_tdms

ForeignFile = IvzFile | SeccmFile | TdmsRecord


def read_any(path: Path | str, tdms: TdmsOptions | None = None) -> ForeignFile:
    """Read and check a file: nucleation-ivz, nucleation-seccm or TDMS.

    Parameters
    ----------
    path : Path or str
        The file.
    tdms : TdmsOptions or None
        For TDMS files: which channels are what.

    Raises
    ------
    IngestError
        If it is none of them, is damaged or breaks its format.
    """
    if Path(path).suffix.lower() == TDMS_SUFFIX:
        return read_tdms(path, tdms)
    with open_input(path) as source:
        name = source.text("format")
        if name == FORMAT:
            return ivz_of(source)
        if name == SECCM_FORMAT:
            return seccm_of(source)
        raise source.error(
            f"attribute 'format' must be '{FORMAT}' or '{SECCM_FORMAT}' (got {name!r})"
        )
