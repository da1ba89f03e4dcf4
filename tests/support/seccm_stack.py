"""An SECCM over a real IOC with guard, heartbeat and RunEngine, for tests of devices and plans."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from bluesky import RunEngine
from nucleation_bluesky.ledger import Guard, Ledger
from nucleation_bluesky.session.heartbeat import Heartbeat

from tests.support.ca_session import client_environment
from tests.support.ioc import DEMO_SECCM, seccm_ioc

ENVIRONMENT = client_environment()
# after the environment: importing ophyd's signals may already start libca
from nucleation_bluesky.devices import SeccmInstrument  # noqa: E402

OWNER = "seccm-tests"
CONTEXT = {
    "sample": "gold",
    "mount_epoch": 1,
    "session": OWNER,
    "reference_scale": "Ag QRCE",
    "reference_offset": {"scale": "Li/Li+", "offset": 3.0},
    "pipette": {"opening": 4e-6, "wetting_ratio": 1.5},
    "camera": {"pixel_size": 40e-9},
}


@dataclass(eq=False)
class Documents:
    """What a RunEngine emitted."""

    all: list[tuple[str, dict]] = field(default_factory=list)

    def __call__(self, name: str, doc: dict) -> None:
        self.all.append((name, doc))

    def clear(self) -> None:
        self.all.clear()

    def of(self, name: str) -> list[dict]:
        return [doc for found, doc in self.all if found == name]

    def descriptor(self, stream: str) -> dict:
        return next(d for d in self.of("descriptor") if d["name"] == stream)

    def column(self, key: str) -> list[Any]:
        uid = [d["uid"] for d in self.of("descriptor") if d["name"] == "primary"]
        return [e["data"][key] for e in self.of("event") if e["descriptor"] in uid]

    def resources(self, key: str) -> list[dict]:
        return [d for d in self.of("stream_resource") if d["data_key"] == key]


@dataclass
class SeccmStack:
    """Everything of one IOC."""

    ioc: Any
    seccm: SeccmInstrument
    RE: RunEngine
    ledger: Ledger
    guard: Guard
    documents: Documents
    heart: Heartbeat


@contextlib.contextmanager
def seccm_stack(directory: Path, prefix: str, **options: Any) -> Iterator[SeccmStack]:
    """Start an IOC (the demonstration backend, at full speed) and connect to it."""
    options = {"factory": DEMO_SECCM, "speed": "max"} | options
    camera = f"{prefix}IRM:"
    np.set_printoptions(threshold=20)  # event validation prints arrays otherwise
    with seccm_ioc(
        directory, prefix=prefix, camera_prefix=camera, environment=ENVIRONMENT, **options
    ) as ioc:
        seccm = SeccmInstrument(prefix, name="seccm", camera_prefix=camera)
        seccm.connect(OWNER)
        seccm.session_metadata = dict(CONTEXT)
        seccm.set_data_directory(directory / "data")
        with Ledger(directory / "ledger.sqlite") as ledger:
            ledger.add_sample("gold")
            epoch = ledger.mount("gold")
            position = seccm.pipette.measured_position
            guard = Guard(ledger, "gold", epoch, OWNER, position, min_distance=6e-6)
            seccm.set_guard(guard)
            engine = RunEngine({}, call_returns_result=True, context_managers=[])
            heart = Heartbeat(engine.loop, seccm.controller.beat, 0.2)
            heart.start()
            documents = Documents()
            engine.subscribe(documents)
            time.sleep(0.3)
            yield SeccmStack(ioc, seccm, engine, ledger, guard, documents, heart)
            heart.stop()
            seccm.destroy()
