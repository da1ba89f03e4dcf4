"""Measure on the virtual AFM through a real session, and read runs and ground truth back."""

import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from nucleation_bluesky.analysis.ramps import RampSet
from nucleation_bluesky.session.config import (
    Configuration,
    InstrumentConfig,
    SampleConfig,
    VirtualConfig,
)
from nucleation_bluesky.session.execute import execute
from nucleation_bluesky.session.session import Session
from nucleation_bluesky.storage.images import Topographies
from nucleation_bluesky.storage.read import load_ramps, load_topography
from nucleation_bluesky.storage.runs import open_run
from nucleation_bluesky.worlds.afm.parameters import AfmWorldParameters
from nucleation_bluesky.worlds.afm.truth import read_truth

DELIVERY_TIMEOUT = 180.0
WORLDS = ("nominal", "hard")


@dataclass(frozen=True)
class Measured:
    """A run as the analysis sees it, and the truth, which it does not.

    Parameters
    ----------
    ramps : RampSet
        From Tiled.
    topographies : Topographies
        From Tiled.
    header : dict
        The truth's seed and parameters.
    truth : dict of ndarray, each (n_sites,)
        In the order of the sites of ``ramps``.
    seconds : float
        Wall time of the measurement.
    """

    ramps: RampSet
    topographies: Topographies
    header: dict[str, Any]
    truth: dict[str, np.ndarray]
    seconds: float


def world_settings(name: str) -> dict[str, float]:
    """What a named world changes of the defaults."""
    if name == "nominal":
        return {}
    nominal = AfmWorldParameters().model_dump()
    hard = AfmWorldParameters.hard_case().model_dump()
    return {key: value for key, value in hard.items() if value != nominal[key]}


@contextmanager
def measured(
    plan: Callable[..., Any], arguments: dict[str, Any], *, seed: int, world: str
) -> Iterator[Measured]:
    """Run a plan on a fresh virtual sample in a directory of its own, which is removed after.

    Raises
    ------
    RuntimeError
        If the run did not complete or did not reach Tiled.
    """
    with tempfile.TemporaryDirectory(prefix="nucleation-benchmark-") as name:
        directory = Path(name)
        config = Configuration(
            data_directory=directory / "data",
            instrument=InstrumentConfig(
                virtual=VirtualConfig(speed="max", seed=seed, world=world_settings(world))
            ),
            sample=SampleConfig(name=f"benchmark-{world}-{seed}"),
        )
        truth = directory / "truth.jsonl"
        with Session(config, truth=truth) as session:
            began = time.monotonic()
            outcome = execute(session, plan(session.instrument, **arguments), progress=False)
            seconds = time.monotonic() - began
            if not outcome.complete:
                raise RuntimeError(f"the run did not complete: {outcome.reason}")
            if not session.wait_delivered([outcome.uid], DELIVERY_TIMEOUT):
                raise RuntimeError("the run did not reach Tiled in time")
            run = open_run(session.catalog, outcome.uid)
            ramps, images = load_ramps(run), load_topography(run)
        header, columns = read_truth(truth)
        exposures = {key: values[: ramps.n_sites] for key, values in columns.items()}
        if any(len(values) != ramps.n_sites for values in exposures.values()):
            raise RuntimeError("the truth does not have one exposure per site")
        yield Measured(ramps, images, header, exposures, seconds)


def peak_memory() -> float:
    """Peak resident memory of this process, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def environment() -> dict[str, str]:
    """Versions and machine that a result belongs to."""
    names = ("nucleation_bluesky", "numpy", "scipy", "xarray", "bluesky", "ophyd", "tiled")
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        **{name: version(name) for name in names},
    }
