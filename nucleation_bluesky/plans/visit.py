"""The walk over the sites: move, decide, ramp, learn; and leaving the instrument safe."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.utils import Msg, MsgGenerator, plan

from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.contract.ramp import Compliance, RampSpec
from nucleation_bluesky.plans.adaptive import AdaptiveRamp
from nucleation_bluesky.plans.instrument import Parts
from nucleation_bluesky.plans.protocols import ExposureDevice
from nucleation_bluesky.plans.registration import DriftTracker
from nucleation_bluesky.plans.result_table import ResultTable
from nucleation_bluesky.plans.results import BAD_SAMPLE, RampResult
from nucleation_bluesky.plans.site_record import SoftRecord, site_record
from nucleation_bluesky.plans.sites import Sites
from nucleation_bluesky.plans.software_ramp import StepSettings, stepped_bias_ramp
from nucleation_bluesky.plans.staged_run import MapEndedError, staged_run
from nucleation_bluesky.plans.stubs import bias_ramp, change_ramp, move_to, ramp_timeout

MAX_BAD_IN_A_ROW = 5


@dataclass
class MapResult:
    """What a map returns to the plan that asked for it.

    Parameters
    ----------
    uid : str
        Of the run.
    n_sites : int
        Sites planned in this run.
    n_flagged : int
        Sites whose ramp ended in the fast approach.

    Attributes
    ----------
    results : ResultTable
        `RampResult` by site index.
    """

    uid: str = ""
    n_sites: int = 0
    n_flagged: int = 0
    results: ResultTable = field(init=False)

    def __post_init__(self) -> None:
        self.results = ResultTable(self.n_sites)

    @property
    def n_tripped(self) -> int:
        """Sites ended by compliance."""
        return self.results.n_tripped


@dataclass
class Visit:
    """How the sites of one run are visited.

    Parameters
    ----------
    parts : Parts
        Instrument.
    sites : Sites
        In order of visit.
    limits : Compliance
        The same for every site.
    specs : sequence of RampSpec
        Ramps, without an adaptive approach.
    which : mapping of int to int
        Ramp of a site by the site's index; the first one where it does not say.
    adaptive : AdaptiveRamp or None
        Decides vertices and rates instead.
    software : StepSettings or None
        Ramp stepped by the plan.
    tracker : DriftTracker or None
        Re-registration, every ``every`` sites.
    """

    parts: Parts
    sites: Sites
    limits: Compliance
    specs: Sequence[RampSpec]
    which: Mapping[int, int] = field(default_factory=dict)
    adaptive: AdaptiveRamp | None = None
    software: StepSettings | None = None
    tracker: DriftTracker | None = None
    every: int = 0
    record: SoftRecord = field(default_factory=site_record)

    @property
    def exposer(self) -> ExposureDevice:
        """The device that exposes the sites."""
        return self.parts.ramp if self.software is None else self.parts.need_stepper()

    def configure(self) -> None:
        """Tell the device what comes; nothing is put.

        Raises
        ------
        ValueError
            If the controller cannot do it.
        """
        width = max(spec.n_samples + spec.n_post for spec in self.specs)
        self.exposer.configure_exposure(self.specs[0], self.limits, max_samples=width)

    @plan
    def run(self, result: MapResult) -> MsgGenerator[None]:
        """Visit every site inside the open run."""
        bad, prepared = 0, self.specs[0]
        at: tuple[float | None, float | None] = (None, None)
        for number in range(len(self.sites)):
            if self.tracker is not None and self.every and number and number % self.every == 0:
                yield from self.tracker.update(number)
                at = (None, None)
            x, y = float(self.sites.x[number]), float(self.sites.y[number])
            # the only place to which a pause may rewind: nothing of this site has happened yet
            yield Msg("checkpoint")
            yield from move_to(
                self.parts.stage, x if x != at[0] else None, y if y != at[1] else None
            )
            at = (x, y)
            spec = self._decide(number, x, y)
            if spec != prepared and self.software is None:
                yield from change_ramp(self.parts.ramp, spec)
                prepared = spec
            outcome = yield from self._expose(spec)
            self._learn(number, x, y, outcome, spec, result)
            if outcome.interrupted:
                raise MapEndedError(
                    f"the ramp at site {self.sites.index[number]} ended with "
                    f"'{outcome.termination.label}'; find the cause, then resume the map: sites "
                    "not yet exposed stay usable"
                )
            bad = bad + 1 if self._bad(outcome) else 0
            if bad >= MAX_BAD_IN_A_ROW:
                raise MapEndedError(
                    f"{bad} ramps in a row ended with '{outcome.termination.label}'; check "
                    "amplifier and sensor, then resume the map"
                )
        yield from bps.checkpoint()

    def _bad(self, outcome: RampResult) -> bool:
        # without a current limit a nucleus grows until the amplifier saturates, as it should
        if outcome.termination is Termination.SATURATED and self.limits.current is None:
            return False
        return outcome.termination in BAD_SAMPLE

    def _decide(self, number: int, x: float, y: float) -> RampSpec:
        index = int(self.sites.index[number])
        spec = self.specs[self.which.get(index, 0)]
        fast_end = predicted = float("nan")
        if self.adaptive is not None:
            approach = self.adaptive.decide(x, y)
            spec = replace(spec, vertices=approach.vertices, rates=approach.rates)
            fast_end, predicted = approach.fast_end, approach.predicted
        exposer = self.exposer
        exposer.site.put(index)
        exposer.row.put(int(self.sites.row[number]))
        exposer.col.put(int(self.sites.col[number]))
        exposer.fast_segment_end.put(fast_end)
        self.record.update(target_x=x, target_y=y, predicted_bias=predicted)
        return spec

    def _expose(self, spec: RampSpec) -> MsgGenerator[RampResult]:
        if self.software is not None:
            return (
                yield from stepped_bias_ramp(
                    self.parts.need_stepper(),
                    spec,
                    self.limits,
                    settings=self.software,
                    also=[self.record],
                )
            )
        return (
            yield from bias_ramp(self.parts.ramp, also=[self.record], timeout=ramp_timeout(spec))
        )

    def _learn(
        self,
        number: int,
        x: float,
        y: float,
        outcome: RampResult,
        spec: RampSpec,
        result: MapResult,
    ) -> None:
        result.results.add(int(self.sites.index[number]), outcome)
        early = outcome.tripped and outcome.trip_segment < len(spec.vertices) - 1
        flagged = early and len(spec.vertices) > 1 and outcome.trip_segment >= 0
        result.n_flagged += flagged
        if self.adaptive is not None:
            self.adaptive.learn(
                x,
                y,
                termination=outcome.termination,
                stop_bias=outcome.stop_bias,
                height_change=outcome.height_change,
                flagged=flagged,
            )


@plan
def whole_run(
    parts: Parts,
    body: Callable[[], MsgGenerator[Any]],
    *,
    md: Mapping[str, Any],
    result: MapResult,
    imaging: bool,
    exposer: ExposureDevice | None = None,
) -> MsgGenerator[MapResult]:
    """Do the body in a run of its own (see `staged_run.staged_run`).

    Raises
    ------
    MapEndedError
        If the body succeeded but a clean-up step failed.
    """
    devices: list[Any] = [parts.stage]
    if exposer is not None:
        devices.append(exposer)
    if imaging and parts.imager is not None:
        devices.append(parts.imager)
    yield from staged_run(
        body,
        md=md,
        result=result,
        devices=devices,
        stops={"safe state": exposer or parts.ramp, "stop stage": parts.stage},
    )
    return result
