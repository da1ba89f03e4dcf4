"""Every figure of the virtual AFM, with its unit and where it comes from."""

import math
from typing import Any

from pydantic import BaseModel, ConfigDict

from nucleation_bluesky.worlds.parameter import parameter as _q

_KUMAR = "Kumar et al., Sci. Rep. 3 (2013) 1621"
_TWIN = "modelled so that the published maps are reproduced"
_CHOICE = "choice within the range of common instruments"


class AfmWorldParameters(BaseModel):
    """Parameters of the sample and the instrument, SI units.

    Each field carries its unit and source in ``json_schema_extra``; unknown names are refused.

    Raises
    ------
    pydantic.ValidationError
        If a value is out of range, not finite, or a name is unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Sample
    grain_fraction: float = _q(0.22, "", _TWIN, "Area fraction of AlPO4", ge=0, lt=0.6)
    grain_radius: float = _q(130e-9, "m", _TWIN, "Equivalent radius of a grain, mean", gt=0)
    grain_radius_spread: float = _q(0.15, "", _CHOICE, "Relative sd of it", ge=0, lt=0.4)
    grain_relief: float = _q(12e-9, "m", _CHOICE, "Height of grains above the matrix")
    grain_edge: float = _q(8e-9, "m", _CHOICE, "Width of the step at a grain's edge", gt=0)
    roughness: float = _q(1.0e-9, "m", _CHOICE, "Surface roughness, rms", ge=0)
    roughness_length: float = _q(45e-9, "m", _CHOICE, "Correlation length of it", gt=0)
    swelling: float = _q(11e-9, "m", _KUMAR + "; " + _TWIN, "Swelling of densely used areas", ge=0)
    swelling_spread: float = _q(3e-9, "m", _TWIN, "Half range of it between places", ge=0)
    swelling_length: float = _q(40e-9, "m", _TWIN, "Reach of a deposit's swelling", gt=0)
    swelling_density: float = _q(
        10.0, "", _TWIN, "Deposits within that reach for half the swelling", gt=0
    )

    # Nucleation
    equilibrium_potential: float = _q(
        3.04, "V", _KUMAR, "|E_eq| in the matrix, on the run's Cu/Ag scale", gt=0
    )
    equilibrium_shift: float = _q(0.06, "V", _TWIN, "Lowering of |E_eq| at a boundary", ge=0)
    hazard_prefactor: float = _q(6e3, "1/s", _TWIN, "A of the hazard A exp(-B/eta^2)", gt=0)
    barrier: float = _q(3.2, "V^2", _TWIN, "B, median in the matrix", gt=0)
    barrier_reduction: float = _q(
        0.62, "", _TWIN, "Relative lowering of B at a boundary", ge=0, lt=1
    )
    boundary_length: float = _q(30e-9, "m", _TWIN, "Decay length of both from a boundary", gt=0)
    barrier_spread: float = _q(0.30, "", _TWIN, "sd of ln B", ge=0)
    correlation_length: float = _q(
        60e-9, "m", _TWIN, "Distance at which correlation of B, sigma, rho falls to 1/e", gt=0
    )

    # Growth
    conductivity: float = _q(1e-2, "S/m", _TWIN, "Ionic conductivity sigma, median", gt=0)
    conductivity_spread: float = _q(0.5, "", _TWIN, "sd of ln sigma", ge=0)
    interface_resistance: float = _q(2.2e-5, "ohm m^2", _TWIN, "rho, median", gt=0)
    interface_resistance_spread: float = _q(0.3, "", _TWIN, "sd of ln rho", ge=0)
    faradaic_yield: float = _q(0.98, "", _TWIN, "Faradaic yield of plating", gt=0, le=1)
    molar_volume: float = _q(13.0e-6, "m^3/mol", "metallic lithium", "Molar volume", gt=0)
    start_radius: float = _q(1e-9, "m", _CHOICE, "Radius of a nucleus when it forms", gt=0)
    reversibility: float = _q(
        0.0, "", _KUMAR + " (irreversible)", "Rate of dissolution relative to plating", ge=0, le=1
    )
    contact_radius: float = _q(0.0, "m", _CHOICE, "Reach of the tip to an older deposit", ge=0)

    # Current amplifier
    amplifier_gain: float = _q(1e11, "V/A", _CHOICE, "Gain at boot", gt=0)
    amplifier_tau: float = _q(0.15e-3, "s", _TWIN, "Pole at boot", gt=0)
    current_noise_density: float = _q(
        0.5e-12 * math.sqrt(4 * 0.15e-3),
        "A/Hz^0.5",
        _TWIN + " (0.5 pA rms behind the pole of 0.15 ms)",
        "One-sided white noise in front of the pole",
        ge=0,
    )
    capacitance: float = _q(0.83e-12, "F", _CHOICE, "Stray C: 1 pA at 1.2 V/s", ge=0)
    leakage: float = _q(5e-14, "S", _CHOICE, "Leakage conductance", ge=0)
    adc_bits: int = _q(12, "", _TWIN, "Bits of the ADC", ge=8, le=24)
    adc_full_scale: float = _q(10.0, "V", _CHOICE, "Range of the ADC is +- this", gt=0)
    glitch_fraction: float = _q(0.003, "", _TWIN, "Share of exposures with a glitch", ge=0, le=1)
    glitch_low: float = _q(12e-12, "A", _TWIN, "Smallest glitch", ge=0)
    glitch_high: float = _q(60e-12, "A", _TWIN, "Largest glitch", ge=0)
    glitch_positive: float = _q(0.0, "", _CHOICE, "Share of positive glitches", ge=0, le=1)

    # Z loop
    height_tau: float = _q(0.3e-3, "s", _CHOICE, "Pole of the feedback loop", gt=0)
    height_noise_density: float = _q(
        45e-12 * math.sqrt(4 * 0.3e-3),
        "m/Hz^0.5",
        _TWIN + " (45 pm rms behind the pole of 0.3 ms)",
        "One-sided white noise in front of the pole",
        ge=0,
    )
    height_drift: float = _q(0.25e-9, "m/s", _TWIN, "Drift during a ramp, mean")
    height_drift_spread: float = _q(0.05e-9, "m/s", _CHOICE, "sd of it between exposures", ge=0)
    height_walk: float = _q(0.05e-9, "m/s^0.5", _CHOICE, "Random walk", ge=0)

    # Bias output and controller
    bias_limit: float = _q(10.0, "V", _CHOICE, "Bias range is +- this", gt=0)
    bias_slew: float = _q(2e4, "V/s", _CHOICE, "Slew of steps of the bias", gt=0)
    start_settle: float = _q(3e-3, "s", _CHOICE, "At the start bias before sample 0", ge=0)
    latency: float = _q(50e-6, "s", _CHOICE, "From the tripping sample to the abort", ge=0)
    retract_time: float = _q(0.2e-3, "s", _CHOICE, "Until a retracting tip loses contact", ge=0)
    dwell: float = _q(5e-3, "s", _CHOICE, "In contact in the safe state before leaving", ge=0)
    software_rate: float = _q(1e4, "Hz", _CHOICE, "Internal sampling of software ramps", gt=0)
    software_settle: float = _q(1e-3, "s", _CHOICE, "Settling after a step of the bias", ge=0)

    # Stage
    stage_range: float = _q(50e-6, "m", _CHOICE, "Travel is +- this", gt=0)
    stage_velocity: float = _q(20e-6, "m/s", _CHOICE, "Velocity", gt=0)
    stage_tau: float = _q(1e-3, "s", _CHOICE, "Settling time constant", gt=0)
    stage_noise: float = _q(0.2e-9, "m", _CHOICE, "Noise of the position sensor, rms", ge=0)
    creep_fraction: float = _q(5e-3, "", _CHOICE, "Creep as a share of a move", ge=0)
    creep_tau: float = _q(2.0, "s", _CHOICE, "Time constant of creep", gt=0)
    stage_settled: float = _q(2e-9, "m", _CHOICE, "Creep left when a move counts as done", gt=0)
    drift_x: float = _q(1.4e-12, "m/s", _CHOICE, "Thermal drift of the sample along x")
    drift_y: float = _q(-1.0e-12, "m/s", _CHOICE, "Thermal drift of the sample along y")
    drift_wander: float = _q(3e-9, "m", _CHOICE, "Slow wander on top of it, rms", ge=0)
    drift_wander_time: float = _q(3600.0, "s", _CHOICE, "Correlation time of it", gt=0)

    # Imaging
    tip_radius: float = _q(5e-9, "m", _TWIN + " (a 10 nm particle looks 1.8 x)", "Apex", gt=0)
    tip_half_angle: float = _q(
        math.radians(28), "rad", _TWIN + " (a um particle looks 1.07 x)", "Cone", gt=0, lt=1.4
    )
    image_line_time: float = _q(0.5, "s", _CHOICE, "Time per line", gt=0)
    image_noise: float = _q(0.1e-9, "m", _CHOICE, "Noise per pixel, rms", ge=0)
    image_line_noise: float = _q(0.15e-9, "m", _CHOICE, "Offset between lines, rms", ge=0)
    image_tilt_x: float = _q(2e-3, "", _CHOICE, "Slope along x")
    image_tilt_y: float = _q(-1.2e-3, "", _CHOICE, "Slope along y")
    image_offset: float = _q(35e-9, "m", _CHOICE, "Height offset, sd between images", ge=0)

    @classmethod
    def hard_case(cls, **overrides: Any) -> "AfmWorldParameters":
        """Z noise 0.4 nm and current noise 1.5 pA rms, growth 3.6 x slower, 2 % glitches.

        Growth is slowed by raising both resistances, so that charge and volume still agree.
        """
        nominal = cls()
        slow = 3.6
        values: dict[str, Any] = {
            "current_noise_density": 1.5e-12 * math.sqrt(4 * nominal.amplifier_tau),
            "height_noise_density": 0.4e-9 * math.sqrt(4 * nominal.height_tau),
            "conductivity": nominal.conductivity / slow,
            "interface_resistance": nominal.interface_resistance * slow,
            "glitch_fraction": 0.02,
        }
        return cls(**(values | overrides))
