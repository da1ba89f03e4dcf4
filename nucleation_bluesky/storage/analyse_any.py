"""The analysis of any file or run: ramps or landings, each by its own room."""

from pathlib import Path
from typing import Any

from nucleation_bluesky.storage.analyse import AnalysisOptions, analyse_ramps, analyse_run
from nucleation_bluesky.storage.analyse_seccm import (
    SeccmOptions,
    analyse_landings,
    analyse_seccm_run,
)
from nucleation_bluesky.storage.analysis_result import AnalysisResult
from nucleation_bluesky.storage.foreign import read_any
from nucleation_bluesky.storage.neutral_seccm import SeccmFile
from nucleation_bluesky.storage.read_seccm import is_seccm
from nucleation_bluesky.storage.runs import open_run
from nucleation_bluesky.storage.seccm_result import SeccmResult
from nucleation_bluesky.storage.tdms import TdmsRecord


def analyse_any_file(
    path: Path | str,
    options: AnalysisOptions | None = None,
    seccm: SeccmOptions | None = None,
) -> AnalysisResult | SeccmResult:
    """Analyse a file of any format that `foreign.read_any` knows.

    Parameters
    ----------
    path : Path or str
        The file.
    options : AnalysisOptions or None
        For ramps.
    seccm : SeccmOptions or None
        For landings.

    Raises
    ------
    IngestError
        If the file breaks its format.
    """
    source = read_any(path)
    provenance = {"source": source.path.name, "source_sha256": source.sha256}
    if isinstance(source, SeccmFile):
        return analyse_landings(source.landings(), seccm, provenance=provenance)
    if isinstance(source, TdmsRecord):
        return analyse_landings(source.landings, seccm, provenance=provenance)
    return analyse_ramps(source.ramps, source.topographies, options, provenance=provenance)


def analyse_any_run(
    client: Any,
    uid: str | int = -1,
    options: AnalysisOptions | None = None,
    seccm: SeccmOptions | None = None,
    *,
    allow_partial: bool = False,
    join: bool = True,
) -> AnalysisResult | SeccmResult:
    """Analyse a run of any family, as `analyse_run` and `analyse_seccm.analyse_seccm_run`."""
    run = open_run(client, uid)
    if is_seccm(run):
        return analyse_seccm_run(run, seccm, allow_partial=allow_partial, join=join)
    return analyse_run(client, uid, options, allow_partial=allow_partial, join=join)
