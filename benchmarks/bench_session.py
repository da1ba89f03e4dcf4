"""A session on a fresh virtual sample to time the site path; runs read back with truth."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from bluesky.utils import MsgGenerator
from nucleation_bluesky.contract.documents import PRIMARY_STREAM
from nucleation_bluesky.session.config import (
    Configuration,
    InstrumentConfig,
    SampleConfig,
    VirtualConfig,
)
from nucleation_bluesky.session.execute import execute
from nucleation_bluesky.session.session import Session
from nucleation_bluesky.storage.analyse import analyse_run
from nucleation_bluesky.storage.event_table import read_events
from nucleation_bluesky.storage.runs import open_run
from nucleation_bluesky.worlds.afm.truth import read_truth

DELIVERY_TIMEOUT = 180.0
RESULTS = Path(__file__).parent / "results"


@dataclass
class Bench:
    """An open session and where its virtual instrument writes trace and truth."""

    session: Session
    directory: Path
    seen: int = 0  # exposures already taken from the truth

    @property
    def trace_file(self) -> Path:
        """Trace of the controller."""
        return self.directory / "trace.jsonl"

    def measure(self, plan: MsgGenerator[Any]) -> str:
        """Run a plan to success and return the run's uid."""
        outcome = execute(self.session, plan, progress=False)
        if not outcome.complete:
            raise RuntimeError(f"the run did not complete: {outcome.reason}")
        return outcome.uid

    def analyse(self, uid: str) -> tuple[xr.Dataset, dict[str, np.ndarray]]:
        """Sites of a run as analysed from Tiled, and their truth; call in order of the runs."""
        if not self.session.wait_delivered([uid], DELIVERY_TIMEOUT):
            raise RuntimeError("the run did not reach Tiled in time")
        sites = analyse_run(self.session.catalog, uid).sites
        _, columns = read_truth(self.directory / "truth.jsonl")
        n = sites.sizes["site"]
        truth = {key: values[self.seen : self.seen + n] for key, values in columns.items()}
        self.seen += n
        if any(len(values) != n for values in truth.values()):
            raise RuntimeError("the truth does not have one exposure per site")
        return sites, truth

    def events(self, uid: str, role: str) -> np.ndarray:
        """One role of the primary stream, from Tiled."""
        events = read_events(open_run(self.session.catalog, uid), PRIMARY_STREAM)
        return np.asarray(events.get(role, np.nan), dtype=float)

    def trace(self) -> list[dict[str, Any]]:
        """All events of the controller's trace so far."""
        with self.trace_file.open(encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.endswith("\n")]


@contextmanager
def bench_session(
    seed: int, *, tiled: bool = True, speed: float | Literal["max"] = "max"
) -> Iterator[Bench]:
    """Open a session in a directory of its own, which is removed after."""
    with tempfile.TemporaryDirectory(
        prefix="nucleation-benchmark-", ignore_cleanup_errors=True
    ) as name:
        directory = Path(name)
        config = Configuration(
            data_directory=directory / "data",
            instrument=InstrumentConfig(virtual=VirtualConfig(speed=speed, seed=seed)),
            sample=SampleConfig(name=f"benchmark-{seed}"),
        )
        truth, trace = directory / "truth.jsonl", directory / "trace.jsonl"
        with Session(config, truth=truth, trace=trace, tiled=tiled) as session:
            yield Bench(session, directory)
