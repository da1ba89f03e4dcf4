"""The walk over the sites of landings: move, set the program, film, land, read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import Msg, MsgGenerator, plan, short_uid

from nucleation_bluesky.contract.documents import FILM_STREAM, PRIMARY_STREAM
from nucleation_bluesky.contract.program import Program
from nucleation_bluesky.plans.landing_result import LandingResult, LandingsResult
from nucleation_bluesky.plans.results import BAD_SAMPLE, pick
from nucleation_bluesky.plans.seccm_instrument import SeccmParts
from nucleation_bluesky.plans.site_record import SoftRecord
from nucleation_bluesky.plans.sites import Sites
from nucleation_bluesky.plans.staged_run import MapEndedError
from nucleation_bluesky.plans.stubs import PREPARE_TIMEOUT, InterruptedStepError, finished, move_to

MOVE_TIMEOUT = 600.0  # s: across the travel at 1 um/s
FILM_TIMEOUT = 1500.0  # s: a long film may be written behind the camera
GRACE = 30.0  # s beyond a landing's own longest duration
MAX_BAD_IN_A_ROW = 5
FootprintHook = Callable[[LandingResult, Any], float | None]


def landing_record() -> SoftRecord:
    """Record of the site: where it was meant to be."""
    return SoftRecord("site", {"target_x": ("number", "m"), "target_y": ("number", "m")})


@plan
def land(
    parts: SeccmParts,
    *,
    timeout: float,
    also: Sequence[Any] = (),
    stream: str = PRIMARY_STREAM,
) -> MsgGenerator[LandingResult]:
    """Land at the present site, filmed where there is a camera, and record it in the open run.

    The device claims the site. Nothing in here is ever replayed (see `stubs.bias_ramp`).

    Parameters
    ----------
    parts : SeccmParts
        Instrument, staged.
    timeout : float
        Wall time to wait for the landing, s.
    also : sequence of Readable
        Read into the same event.
    stream : str
        Name of the event stream.

    Returns
    -------
    LandingResult
        What the device reported.
    """
    camera, landing = parts.camera, parts.landing

    def filmed(command: str) -> MsgGenerator[None]:
        if camera is not None:
            group = short_uid(command)
            status = yield Msg(command, camera, group=group)
            yield from finished(group, [status], timeout=FILM_TIMEOUT, what="the film")

    def everything() -> MsgGenerator[LandingResult]:
        yield from filmed("kickoff")
        group = short_uid("landing")
        status = yield Msg("trigger", landing, group=group)
        yield from finished(group, [status], timeout=timeout, what="the landing")
        yield from filmed("complete")
        yield Msg("create", name=stream)
        values: dict[str, Any] = dict((yield Msg("read", landing)) or {})
        if not values:  # bluesky does not give the answer to a message that was interrupted
            raise InterruptedStepError(
                "the reading of the landing was interrupted by a pause or a suspender; the run "
                "ends here, resume it over the sites that are still free"
            )
        roles = dict(landing.roles)
        if camera is not None:
            values |= dict((yield Msg("read", camera.film)) or {})
            roles |= camera.roles
        for device in also:
            yield Msg("read", device)
        yield Msg("save")
        if camera is not None:
            yield Msg("collect", camera, name=FILM_STREAM, stream=False, return_payload=False)
        return pick(LandingResult, values, roles)

    return (yield from bpp.rewindable_wrapper(everything(), False))


@plan
def change_program(parts: SeccmParts, program: Program) -> MsgGenerator[None]:
    """Give the device another program than the one it was configured with."""
    group = short_uid("program")
    status = yield from bps.abs_set(parts.landing.program, program, group=group)
    yield from finished(group, [status], timeout=PREPARE_TIMEOUT, what="setting the program")


@dataclass
class LandingVisit:
    """How the sites of one run are landed on.

    Parameters
    ----------
    parts : SeccmParts
        Instrument.
    sites : Sites
        In order of visit.
    programs : sequence of Program
        By condition.
    assigned : mapping of int to (int, int)
        Condition and repeat by site index.
    max_no_contact : int
        So many landings in a row without contact end the run.
    measure_footprint : callable or None
        Gets a landing's result and its film, returns the footprint's diameter, m, or None.
    spacing : float
        Distance that footprints must stay below, m.
    exposure, period : float
        Of the film, s; 0 leaves the camera's.
    """

    parts: SeccmParts
    sites: Sites
    programs: Sequence[Program]
    assigned: Mapping[int, tuple[int, int]]
    max_no_contact: int = 3
    measure_footprint: FootprintHook | None = None
    spacing: float = float("inf")
    exposure: float = 0.0
    period: float = 0.0
    record: SoftRecord = field(default_factory=landing_record)

    def configure(self) -> None:
        """Tell the devices what comes.

        Raises
        ------
        ValueError
            If controller or camera cannot do it, or the disk has no room for the films.
        """
        landing = self.parts.landing
        for program in self.programs:
            landing.check_spec(program)
        width = max(landing.samples(program) for program in self.programs)
        landing.configure_exposure(self.programs[0], max_samples=width)
        if self.parts.camera is not None:
            self.parts.camera.configure_film(exposure=self.exposure, period=self.period)
            self.parts.camera.require_room(self.filmed())

    def filmed(self) -> float:
        """Longest time that all landings are filmed, s on the instrument's clock."""
        each = [
            self.parts.landing.samples(p) * p.sample_period + p.retract_distance / p.retract_speed
            for p in self.programs
        ]
        return sum(each[self.assigned[int(index)][0]] for index in self.sites.index)

    def timeout(self, program: Program) -> float:
        """Wall time after which a landing that did not report is given up, s."""
        return 2 * self.parts.landing.samples(program) * program.sample_period + GRACE

    @plan
    def run(self, result: LandingsResult) -> MsgGenerator[None]:
        """Land at every site inside the open run."""
        camera = self.parts.camera
        if camera is not None:
            yield Msg("declare_stream", None, camera, name=FILM_STREAM, collect=True)
        prepared, missed, bad = self.programs[0], 0, 0
        for number in range(len(self.sites)):
            index = int(self.sites.index[number])
            x, y = float(self.sites.x[number]), float(self.sites.y[number])
            condition, repeat = self.assigned[index]
            program = self.programs[condition]
            # the only place to which a pause may rewind: nothing of this site has happened yet
            yield Msg("checkpoint")
            yield from move_to(self.parts.pipette, x, y, timeout=MOVE_TIMEOUT)
            if program != prepared:
                yield from change_program(self.parts, program)
                prepared = program
            self._name(number, condition, repeat)
            outcome = yield from land(self.parts, timeout=self.timeout(program), also=[self.record])
            result.results[index] = outcome
            self._judge(index, outcome)
            missed = 0 if outcome.touched else missed + 1
            if missed >= self.max_no_contact:
                raise MapEndedError(
                    f"{missed} approaches in a row found no contact (the last one to z = "
                    f"{self._z_max(program)}); check meniscus and distance, then resume: sites not "
                    "landed on stay usable"
                )
            bad = bad + 1 if outcome.termination in BAD_SAMPLE else 0
            if bad >= MAX_BAD_IN_A_ROW:
                raise MapEndedError(
                    f"{bad} landings in a row ended with '{outcome.termination.label}'; check the "
                    "electrometer and its range, then resume"
                )
        yield from bps.checkpoint()

    def _name(self, number: int, condition: int, repeat: int) -> None:
        landing, sites = self.parts.landing, self.sites
        landing.site.put(int(sites.index[number]))
        landing.row.put(int(sites.row[number]))
        landing.col.put(int(sites.col[number]))
        landing.condition.put(condition)
        landing.repeat.put(repeat)
        self.record.update(target_x=float(sites.x[number]), target_y=float(sites.y[number]))

    @staticmethod
    def _z_max(program: Program) -> str:
        return f"{program.approach.z_max * 1e6:.4g} um" if program.approach else "where it stood"

    def _judge(self, index: int, outcome: LandingResult) -> None:
        if outcome.interrupted:
            raise MapEndedError(
                f"the landing at site {index} ended with '{outcome.termination.label}'; find the "
                "cause, then resume: sites not landed on stay usable"
            )
        if self.measure_footprint is None or self.parts.camera is None or not outcome.touched:
            return
        found = self.measure_footprint(outcome, getattr(self.parts.camera, "last", None))
        if found is not None and found > self.spacing:
            raise MapEndedError(
                f"the footprint of site {index} is {found * 1e6:.4g} um wide, the sites are "
                f"{self.spacing * 1e6:.4g} um apart: go on with a wider pitch (wetting_ratio)"
            )
