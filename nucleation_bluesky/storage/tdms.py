"""Reader of hopping files (TDMS) that the Warwick scanning-probe software writes.

One group holds everything, sample by sample: position, potentials, currents, the type of motion
feedback, the number of the program's line, and the time since the sample before. Channels are
found by their names, whatever blanks these have; their unit is what stands in parentheses.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from nptdms import TdmsFile

from nucleation_bluesky.analysis.seccm.electrochemistry import TECHNIQUES, guess_technique
from nucleation_bluesky.analysis.seccm.hopping import Hop, Motion, motion, split_hops
from nucleation_bluesky.analysis.seccm.trace import Trace
from nucleation_bluesky.storage.hdf5_input import IngestError, file_sha256
from nucleation_bluesky.storage.parsers import one_sentence
from nucleation_bluesky.storage.seccm_data import Channel, Landing, LandingSet
from nucleation_bluesky.storage.tdms_channels import find_group, plain_name, read_columns

FORMAT = "tdms-hopping"
SUFFIX = ".tdms"
GROUP = "Data"


@dataclass(frozen=True)
class TdmsOptions:
    """Which channels are what, by name (blanks, case and unit do not matter).

    Parameters
    ----------
    potential, current : str
        Channels of the working electrode.
    potential_sign, current_sign : int
        -1 where the record counts the other way: in results reduction is negative.
    group : str
        Group of the channels; a file with one group only may call it anything.
    technique : str or None
        One of `electrochemistry.TECHNIQUES`; None tells from the record.
    reference_scale : str
        Scale of the potentials.
    sample_period : float or None
        s, for files without a channel ``dt(s)``.
    """

    potential: str = "V1"
    current: str = "Current1"
    potential_sign: int = 1
    current_sign: int = 1
    group: str = GROUP
    technique: str | None = None
    reference_scale: str = ""
    sample_period: float | None = None

    def __post_init__(self) -> None:
        if self.technique is not None and self.technique not in TECHNIQUES:
            raise ValueError(f"'{self.technique}' is not one of {', '.join(TECHNIQUES)}")


@dataclass(frozen=True)
class TdmsRecord:
    """Content of a hopping file.

    Parameters
    ----------
    path : Path
        Where it was read from.
    sha256 : str
        Of the file's bytes.
    technique : str
        Of the measurements.
    landings : LandingSet
        One landing for each approach.
    hops : list of Hop
        Where they are in the record.
    extra : mapping of str to Channel
        Further channels, cut like the landings.
    """

    path: Path
    sha256: str
    technique: str
    landings: LandingSet
    hops: list[Hop] = field(default_factory=list)
    extra: Mapping[str, Channel] = field(default_factory=dict)


def read_tdms(path: Path | str, options: TdmsOptions | None = None) -> TdmsRecord:
    """Read a hopping file and split it into landings.

    Parameters
    ----------
    path : Path or str
        The file.
    options : TdmsOptions or None

    Raises
    ------
    IngestError
        If the file is absent, damaged, lacks a channel that is needed, or holds no approach.
    """
    path, options = Path(path), options or TdmsOptions()
    if not path.is_file():
        raise IngestError(f"{path.name}: there is no such file ({path})")
    with (
        one_sentence(f"{path.name}: this is not a TDMS file, or it is damaged", IngestError),
        TdmsFile.open(path) as file,
    ):
        columns, units = read_columns(path, find_group(path, file, options.group))
        properties = {str(k): str(v) for k, v in file.properties.items()}
    return _record(path, options, columns, units, properties)


def _record(
    path: Path,
    options: TdmsOptions,
    columns: dict[str, np.ndarray],
    units: dict[str, str],
    properties: dict[str, str],
) -> TdmsRecord:
    def need(name: str, what: str) -> np.ndarray:
        if plain_name(name) not in columns:
            there = ", ".join(sorted(columns))
            raise IngestError(
                f"{path.name}: the channel '{name}' ({what}) is missing (channels: {there})"
            )
        return columns[plain_name(name)]

    potential = options.potential_sign * need(options.potential, "potential")
    current = options.current_sign * need(options.current, "current")
    feedback = need("FeedbackType", "what the motion feedback does")
    time = _time(path, columns.get("dt"), len(current), options.sample_period)
    line = columns.get("linenumber")
    try:
        hops = split_hops(np.nan_to_num(feedback).round(), line)
    except ValueError as exc:
        raise IngestError(f"{path.name}: {exc}") from None
    used = {
        plain_name(options.potential),
        plain_name(options.current),
        "feedbacktype",
        "dt",
        "linenumber",
    }
    windows = [slice(hop.approach[0], max(hop.measurement[1], hop.retract[1])) for hop in hops]
    positions = {axis: columns.get(axis) for axis in ("x", "y", "z")}
    technique = options.technique or _technique(hops, time, potential, current)
    landings = [
        _landing(hop, window, time, potential, current, line, positions, technique)
        for hop, window in zip(hops, windows, strict=True)
    ]
    extra = {
        name: Channel(units[name], [values[window] for window in windows])
        for name, values in columns.items()
        if name not in used and name != "z"
    }
    attrs: dict[str, object] = {f"tdms_{k}": v for k, v in properties.items()}
    attrs["lines"] = [hop.line for hop in hops]
    found = LandingSet(landings, reference_scale=options.reference_scale, attrs=attrs)
    return TdmsRecord(
        path,
        file_sha256(path),
        technique,
        found,
        hops,
        {f"tdms_{re.sub(r'[^a-z0-9]+', '_', k)}": v for k, v in extra.items()},
    )


def _time(path: Path, steps: np.ndarray | None, n: int, period: float | None) -> np.ndarray:
    """Time of each sample since the first one, s."""
    if steps is None:
        if period is None:
            raise IngestError(
                f"{path.name}: the channel 'dt(s)' is missing; say the sample period instead"
            )
        return np.arange(n) * period
    bad = ~(np.isfinite(steps) & (steps > 0))
    bad[0] = False  # nothing came before the first sample
    if bad.any():
        k = int(np.argmax(bad))
        raise IngestError(
            f"{path.name}: the channel 'dt(s)' says {steps[k]:g} s at sample {k}: it must be "
            "greater than 0"
        )
    return np.concatenate([[0.0], np.cumsum(steps[1:])])


def _technique(
    hops: list[Hop], time: np.ndarray, potential: np.ndarray, current: np.ndarray
) -> str:
    longest = max(hops, key=lambda hop: hop.measurement[1] - hop.measurement[0])
    part = slice(*longest.measurement)
    return guess_technique(Trace(time[part], potential[part], current[part]))


def _landing(
    hop: Hop,
    window: slice,
    time: np.ndarray,
    potential: np.ndarray,
    current: np.ndarray,
    line: np.ndarray | None,
    positions: dict[str, np.ndarray | None],
    technique: str,
) -> Landing:
    step = np.full(window.stop - window.start, -2, dtype=np.int64)
    first, last = (edge - window.start for edge in hop.measurement)
    step[: hop.approach[1] - window.start] = -1
    step[first:last] = 0
    if line is not None and last > first:
        lines = np.asarray(line[slice(*hop.measurement)])
        step[first:last] = np.concatenate([[0], np.cumsum(np.diff(lines) != 0)])
    at = slice(*(hop.measurement if last > first else hop.approach))
    z = positions["z"]
    speeds = Motion(float("nan"), float("nan")) if z is None else motion(hop, time, z)
    x, y = (_middle(positions[axis], at) for axis in ("x", "y"))
    return Landing(
        trace=Trace(
            time[window],
            potential[window].astype(np.float32),
            current[window].astype(np.float32),
            step,
            None if z is None else z[window].astype(np.float32),
        ),
        technique=technique,
        site=hop.number,
        termination="completed" if hop.contact is not None else "no_contact",
        contact=hop.contact is not None,
        contact_time=None if hop.contact is None else float(time[hop.contact]),
        contact_z=float("nan") if z is None or hop.contact is None else float(z[hop.contact]),
        speeds=(speeds.approach, speeds.retract),
        x=x,
        y=y,
    )


def _middle(values: np.ndarray | None, window: slice) -> float:
    return float("nan") if values is None else float(np.nanmedian(values[window]))
