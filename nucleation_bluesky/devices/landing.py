"""Landings: approach, contact, program and withdrawal of a pipette, run by the controller."""

import math
from typing import Any

from ophyd import Component, Signal

from nucleation_bluesky.contract.documents import SECCM_ROLES
from nucleation_bluesky.contract.enums import SafeState, StepMode, Termination
from nucleation_bluesky.contract.files import SECCM_CHANNELS
from nucleation_bluesky.contract.program import Approach, Program
from nucleation_bluesky.devices._film import FILM_RECORD_ROLES
from nucleation_bluesky.devices._layout import ReadingLayout, SettingsLayout
from nucleation_bluesky.devices._signals import contract_signal, read_together, soft
from nucleation_bluesky.devices.controller_run import ControllerRun, NextExposure
from nucleation_bluesky.devices.errors import BadValueError, NotConfiguredError

# roles of files, and those that the camera's record reads
OTHERS = frozenset({*SECCM_CHANNELS, "sample_time", *FILM_RECORD_ROLES})
Z_MARGIN = 0.2e-6  # m
LAYOUT = ReadingLayout(
    roles={
        role: entry
        for role, entry in SECCM_ROLES.items()
        if role not in OTHERS
    },
    integers=frozenset(
        {
            "site", "row", "col", "condition", "repeat", "termination", "n_samples", "n_post",
            "trip_index", "trip_segment", "contact", "contact_index", "false_contacts",
        }
    ),
)  # fmt: skip
SETTINGS = SettingsLayout(
    {
        "steps": ("integer", ""),
        "approach_speed": ("number", "m/s"),
        "approach_z_max": ("number", "m"),
        "approach_mode": ("integer", ""),
        "approach_potential": ("number", "V"),
        "approach_current": ("number", "A"),
        "approach_threshold": ("number", ""),
        "approach_confirm_samples": ("integer", ""),
        "retract_distance": ("number", "m"),
        "retract_speed": ("number", "m/s"),
        "safe_policy": ("integer", ""),
        "safe_bias": ("number", "V"),
        "clock_utc_offset": ("number", "s"),
        "clock_uncertainty": ("number", "s"),
    }
)


class Landing(ControllerRun[Program]):
    """Lands the pipette: each trigger is one landing at the site under it.

    Call `configure_exposure`, attach a ``guard``, stage; then trigger. A landing without contact is
    no failure: it is read with the termination ``no_contact``, and its site is burned.

    Attributes
    ----------
    condition, repeat : ophyd.Signal
        What the plan measures there: index into its conditions, and number of the repeat.
    """

    layout = LAYOUT
    settings = SETTINGS
    waveform_channels = SECCM_CHANNELS
    spoiling = frozenset({Termination.NO_CONTACT})
    hinted = "contact_z"

    spec_type = Program
    program = Component(NextExposure, kind="omitted")
    condition = Component(Signal, value=-1, kind="omitted")
    repeat = Component(Signal, value=-1, kind="omitted")

    table = contract_signal("PROGRAM")
    steps = contract_signal("PROGRAM:STEPS")
    period = contract_signal("SAMPLE:PERIOD")
    approach_on = contract_signal("APPROACH:ON")
    approach_speed = contract_signal("APPROACH:SPEED")
    approach_z_max = contract_signal("APPROACH:Z_MAX")
    approach_mode = contract_signal("APPROACH:MODE")
    approach_potential = contract_signal("APPROACH:POTENTIAL")
    approach_current = contract_signal("APPROACH:CURRENT")
    approach_threshold = contract_signal("APPROACH:THRESHOLD")
    approach_confirm = contract_signal("APPROACH:CONFIRM")
    retract_distance = contract_signal("RETRACT:DISTANCE")
    retract_speed = contract_signal("RETRACT:SPEED")
    z_low = contract_signal("PIP:Z:LOW")
    z_limit = contract_signal("PIP:Z:SOFT_LIMIT")

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        self._lowest: float | None = None
        super().__init__(prefix, name=name, **kwargs)
        # rows of landings are wide: a file then holds some 100 MB
        self.rows_per_file = 64

    # -- configuration ---------------------------------------------------------------------------

    @property
    def lowest(self) -> float:
        """Lowest extension of the pipette, m."""
        if self._lowest is None:
            self._lowest = float(self.z_low.get())
        return self._lowest

    def samples(self, program: Program) -> int:
        """Most samples that a landing of this program can have."""
        # a piezo that stands at its end may be read a little beyond it
        return program.max_samples(self.lowest - Z_MARGIN)

    def configure_exposure(
        self,
        program: Program,
        *,
        safe_policy: SafeState | None = None,
        safe_bias: float = 0.0,
        max_samples: int | None = None,
    ) -> None:
        """Say what the next landings are; checked against the controller's capabilities.

        Nothing is put until `stage`.

        Parameters
        ----------
        program : Program
            Approach, steps, withdrawal.
        safe_policy : SafeState or None
            None leaves the controller's own.
        safe_bias : float
            Potential of the safe state ``hold``, V.
        max_samples : int or None
            Width of a waveform row; None for what the program needs at most.

        Raises
        ------
        BadValueError
            If the controller cannot do it.
        NotConnectedError
            If the controller does not answer.
        """
        self.check_spec(program)
        self._accept(program, safe_policy=safe_policy, safe_bias=safe_bias, max_samples=max_samples)

    def check_spec(self, program: Program) -> None:
        """Refuse a program that the controller cannot run.

        Raises
        ------
        BadValueError
            Saying which limit it exceeds.
        """
        cap = self.controller.capabilities
        if not cap.ramp:
            raise BadValueError("this controller does not run landings by itself (CAP:RAMP is 0)")
        slowest, fastest = cap.rate_range
        rate = 1 / program.sample_period
        if not slowest * (1 - 1e-9) <= rate <= fastest * (1 + 1e-9):
            raise BadValueError(
                f"the sample period is {program.sample_period:g} s, the controller allows "
                f"{1 / fastest:g} to {1 / slowest:g} s"
            )
        if program.approach is not None:
            self._check_approach(program.approach)
        for number, step in enumerate(program.steps):
            for setpoint in (step.start, step.end):
                self._check_setpoint(step.mode, setpoint, f"step {number}")

    def _check_setpoint(self, mode: StepMode, value: float, where: str) -> None:
        cap = self.controller.capabilities
        low, high = self.bias_range
        if mode is StepMode.POTENTIAL and not low <= value <= high:
            raise BadValueError(
                f"{where} goes to {value:g} V (raw), the {self.limiter} allows {low:g} to "
                f"{high:g} V"
            )
        full = cap.current_range
        if mode is StepMode.CURRENT and full > 0 and abs(value) > full:
            raise BadValueError(
                f"{where} asks for {value:g} A, the present range of the electrometer ends at "
                f"{full:g} A; choose a higher range"
            )

    def _check_approach(self, approach: Approach) -> None:
        self._check_setpoint(StepMode.POTENTIAL, approach.potential, "the approach")
        self._check_setpoint(StepMode.CURRENT, approach.current, "the approach")
        low, limit = read_together([self.z_low, self.z_limit])
        if not low < approach.z_max <= limit * (1 + 1e-9):
            raise BadValueError(
                f"the approach ends at z = {approach.z_max * 1e6:g} um, the pipette may go from "
                f"{low * 1e6:g} to {limit * 1e6:g} um (soft limit)"
            )

    def require_spec(self) -> Program:
        """Return the configured program.

        Raises
        ------
        NotConfiguredError
            If there is none.
        """
        if self._spec is None:
            raise NotConfiguredError(
                f"{self.name} has no program; call {self.name}.configure_exposure(program)"
            )
        return self._spec

    def _spec_parameters(self, spec: Program) -> dict[str, Any]:
        found: dict[str, Any] = {
            "steps": len(spec.steps),
            "period": spec.sample_period,
            "approach_on": int(spec.approach is not None),
            "retract_distance": spec.retract_distance,
            "retract_speed": spec.retract_speed,
        }
        if spec.steps:
            found["table"] = tuple(spec.table().ravel().tolist())
        if (approach := spec.approach) is not None:
            found |= {
                "approach_speed": approach.speed,
                "approach_z_max": approach.z_max,
                "approach_mode": int(approach.mode),
                "approach_potential": approach.potential,
                "approach_current": approach.current,
                "approach_threshold": approach.threshold,
                "approach_confirm": approach.confirm_samples,
            }
        return found

    # -- as controller-run exposures ask -----------------------------------------------------------

    def _begin_stage(self) -> None:
        super()._begin_stage()
        self.condition.put(-1)
        self.repeat.put(-1)

    def _wall(self) -> float:
        program = self.require_spec()
        return self.samples(program) * program.sample_period

    def _values(self) -> dict[str, Any]:
        return {
            "condition": soft(self.condition),
            "repeat": soft(self.repeat),
            "sample_period": self.require_spec().sample_period,
        }

    def _settings_values(self) -> dict[str, float]:
        program = self._spec
        approach = program.approach if program is not None else None
        nan = math.nan
        return {
            "steps": len(program.steps) if program else 0,
            "approach_speed": approach.speed if approach else nan,
            "approach_z_max": approach.z_max if approach else nan,
            "approach_mode": int(approach.mode) if approach else -1,
            "approach_potential": approach.potential if approach else nan,
            "approach_current": approach.current if approach else nan,
            "approach_threshold": approach.threshold if approach else nan,
            "approach_confirm_samples": approach.confirm_samples if approach else 0,
            "retract_distance": program.retract_distance if program else nan,
            "retract_speed": program.retract_speed if program else nan,
        }
