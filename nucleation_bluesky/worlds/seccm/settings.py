"""Every figure of the virtual SECCM with its microscope, with its unit and where it comes from."""

import math
from itertools import pairwise
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from nucleation_bluesky.worlds.parameter import parameter as _q

_PAPER = "Martin-Yerga et al., ACS Nano 2024"
_TABLE = _PAPER + ", Table 1"
_TWIN = "modelled so that the published figures are reproduced"
_CHOICE = "choice within the range of common instruments"

FARADAY = 96485.33212  # C/mol
UAH_PER_CM2 = 36.0  # C/m2
MA_PER_CM2 = 10.0  # A/m2
Row = tuple[float, ...]


class SeccmSettings(BaseModel):
    """Sample, pipette, electronics and camera of the virtual instrument, SI units.

    Potentials are against Li/Li+ unless they are called raw. Cathodic charges, current densities
    and efficiencies of the table are magnitudes. Unknown names are refused.

    Raises
    ------
    pydantic.ValidationError
        If a value is out of range, not finite, or a name is unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Pipette, meniscus and positioner
    pipette_opening: float = _q(10e-6, "m", _PAPER, "Inner diameter of the tip", gt=0)
    pipette_semi_angle: float = _q(math.radians(10.3), "rad", _TWIN, "Semi-angle", gt=0, lt=1.5)
    wetting_ratio: float = _q(2.2, "", _TWIN, "Diameter of the footprint over the opening", gt=0)
    wetting_scatter: float = _q(0.02, "", _CHOICE, "Relative sd of it between landings", ge=0)
    wetting_time: float = _q(0.06, "s", _CHOICE, "Time constant of spreading", gt=0)
    wetting_start: float = _q(0.1, "", _CHOICE, "Share of the area wetted at once", gt=0, le=1)
    footprint_shape: float = _q(0.025, "", _CHOICE, "Amplitude of harmonics of its outline", ge=0)
    footprint_offset: float = _q(0.3e-6, "m", _CHOICE, "Its offset from the tip, sd", ge=0)
    surface_z: float = _q(20e-6, "m", _CHOICE, "Extension at which the meniscus touches")
    surface_tilt: float = _q(2e-3, "", _CHOICE, "Slope of the sample along x and y")
    surface_scatter: float = _q(0.15e-6, "m", _CHOICE, "Scatter of the contact height, sd", ge=0)
    crash_depth: float = _q(3e-6, "m", _CHOICE, "Way beyond contact at which glass breaks", gt=0)
    detach_distance: float = _q(2e-6, "m", _CHOICE, "Way back at which the meniscus breaks", gt=0)
    spike_fraction: float = _q(0.05, "", _TWIN, "Approaches with a false spike", ge=0, le=1)
    spike_current: float = _q(30e-12, "A", _CHOICE, "Size of it (galvanostat: 8 V)", ge=0)
    loss_fraction: float = _q(0.0, "", _CHOICE, "Landings that lose contact by themselves", ge=0)
    loss_time: float = _q(5.0, "s", _CHOICE, "Mean time after contact at which they do", gt=0)
    travel_xy: float = _q(100e-6, "m", "PI P-611.3S", "Travel along x and y", gt=0)
    travel_z: float = _q(100e-6, "m", "PI P-611.3S", "Travel along z", gt=0)
    max_speed: float = _q(1e-3, "m/s", _CHOICE, "Highest speed of the positioner", gt=0)
    position_noise: float = _q(1e-9, "m", "PI P-611.3S", "Noise of its sensors, rms", ge=0)

    # Electronics
    reference_offset: float = _q(
        3.17, "V", _CHOICE, "Potential against Li/Li+ = raw (against the Ag wire) + this"
    )
    potential_range: float = _q(10.0, "V", _PAPER, "Full scale, and overload of the galvanostat")
    current_range: float = _q(100e-9, "A", _CHOICE, "Full scale of the current", gt=0)
    current_noise: float = _q(0.4e-12, "A", _CHOICE, "Noise of a 2.57 ms sample, rms", ge=0)
    potential_noise: float = _q(0.3e-3, "V", _CHOICE, "Noise of a 2.57 ms sample, rms", ge=0)
    contact_noise: float = _q(4.0, "", _CHOICE, "Factor on noise just after contact", ge=1)
    contact_noise_time: float = _q(0.1, "s", _CHOICE, "Time constant of its decay", gt=0)
    capacitance: float = _q(0.2, "F/m2", _CHOICE, "Double layer", ge=0)
    rest_potential: float = _q(1.2, "V", _PAPER, "Electrode at first contact: E(t) from ~1.2 V")
    residual_current: float = _q(0.05, "A/m2", _TWIN, "Decaying background (reduces)", ge=0)
    residual_time: float = _q(5.0, "s", _CHOICE, "Time constant of its decay", gt=0)

    # Electrolyte
    concentration: float = _q(50.0, "mol/m3", _PAPER, "Li+", gt=0)
    diffusion: float = _q(3.56e-10, "m2/s", _TWIN, "Of Li+", gt=0)
    conductivity: float = _q(0.08, "S/m", _CHOICE, "Of the electrolyte", gt=0)
    depletion_threshold: float = _q(
        0.26, "", _TWIN, "Surface concentration below which kinetics slow down", gt=0, lt=1
    )

    # Nucleation and growth against current density
    table_current_density: Row = _q((2.0, 7.8, 38.2), "A/m2", _TABLE, "Nodes of the table")
    table_e_nuc: Row = _q((-0.058, -0.135, -0.292), "V", _TABLE, "Nucleation potential")
    table_e_growth: Row = _q((-0.004, -0.022, -0.267), "V", _TABLE, "Growth potential")
    table_t_nuc: Row = _q((17.7, 3.8, 0.8), "s", _TABLE, "Nucleation time")
    table_density: Row = _q((1.1e13, 1.7e13, 2.5e13), "1/m2", _TABLE, "Particles per area")
    table_efficiency: Row = _q((0.197, 0.152, 0.106), "", _TABLE, "Li metal per charge, at the end")
    table_duration: Row = _q((60.0, 15.0, 3.0), "s", _TABLE, "End of those experiments")
    table_size_scatter: Row = _q((0.24, 0.29, 0.45), "", _TABLE, "Relative sd of diameters")
    table_edge_density: Row = _q((1.13, 1.0, 0.47), "", _PAPER, "Edge over centre: particles")
    table_edge_volume: Row = _q((3.9, 1.0, 1.0), "", _PAPER, "Edge over centre: growth by volume")
    table_protrusion: Row = _q((12.0, 3.0, 1.0), "", _PAPER + ", Fig 8", "Growth on protrusions")
    charge_factor: float = _q(1.0, "", _TWIN, "Factor on t_nuc of this pipette and sample", gt=0)
    relaxation: float = _q(0.25, "", _TWIN, "Time constant to E_growth over t_nuc", gt=0)
    t_nuc_scatter: float = _q(0.05, "", _TWIN, "ln t_nuc between landings, sd", ge=0)
    t_nuc_scatter_low: float = _q(
        0.0, "A/m2", _TWIN, "More scatter at low currents: this over j, at most 0.3", ge=0
    )
    e_nuc_scatter: float = _q(0.04, "", _TWIN, "Relative sd of E_nuc", ge=0)
    e_growth_scatter: float = _q(0.05, "", _TWIN, "Relative sd of E_growth", ge=0)
    density_scatter: float = _q(0.08, "", _TWIN, "Relative sd of particle density", ge=0)
    lead: float = _q(0.10, "", _TWIN, "Lead of the particles' mean time, share of t_nuc", lt=0.5)
    time_spread: float = _q(0.055, "", _TWIN, "sd of their times, share of t_nuc", ge=0, lt=0.2)
    time_correlated: float = _q(0.85, "", _TWIN, "Share of that variance which is spatial", ge=0)
    time_length: float = _q(1.2e-6, "m", _TWIN, "Its correlation length", gt=0)
    potentiodynamic_density: float = _q(
        5.3e13, "1/m2", _PAPER, "Particles where the potential is controlled (after 10 cycles)"
    )
    potentiodynamic_charge: float = _q(
        0.5, "", _TWIN, "Factor on the charge before nucleation in sweeps: onset at -0.13 V", gt=0
    )
    potentiodynamic_metal: float = _q(
        1.8, "", _TWIN, "Factor on the share of metal there: dead Li as in the micrographs", gt=0
    )

    # Cycling
    ce_first: float = _q(0.25, "", _PAPER, "Efficiency of the first cycle", gt=0, lt=1)
    ce_last: float = _q(0.85, "", _PAPER, "Efficiency of the tenth cycle", gt=0, lt=1)
    ce_cycles: float = _q(3.0, "", _TWIN, "Cycles of its exponential rise", gt=0)
    ce_scatter: float = _q(0.02, "", _TWIN, "sd of both between landings", ge=0)
    ce_spread: float = _q(0.10, "", _TWIN, "Spatial sd of CE in the first cycle", ge=0, le=0.11)
    ce_spread_cycles: float = _q(2.5, "", _TWIN, "Cycles in which that falls to 1/e", gt=0)
    ce_length: float = _q(2.0e-6, "m", _TWIN, "Correlation length of plating strength", gt=0)
    strength_spread: float = _q(0.35, "", _TWIN, "Relative sd of plating strength", ge=0, lt=0.6)
    charge_decay: float = _q(0.5, "", _PAPER, "Cathodic charge of late cycles over the first")
    charge_decay_cycles: float = _q(1.8, "", _TWIN, "Cycles in which it falls", gt=0)
    peak_potentials: tuple[float, float, float] = _q(
        (0.18, 0.32, 0.82), "V", _PAPER, "Peaks at 0.1 V/s: metal, Li-rich alloy, Li-poor alloy"
    )
    peak_width: float = _q(0.03, "V", _CHOICE, "e-fold of the anodic kinetics", gt=0)
    rich_alloy_from: float = _q(0.6, "", _TWIN, "Progress from which the alloy is Li-rich")
    oxidation_potential: float = _q(4.6, "V", _CHOICE, "Where the electrolyte oxidises")

    # Optics and camera
    molar_volume: float = _q(1.302e-5, "m3/mol", "Li metal", "Molar volume", gt=0)
    pixel_size: float = _q(40e-9, "m", _PAPER, "Pixel in the sample plane", gt=0)
    frame_size: int = _q(700, "", _TWIN, "Pixels along an edge of the frame", ge=16, le=4096)
    psf: float = _q(125e-9, "m", _TWIN, "Point spread function, sd", gt=0)
    defocus: float = _q(0.0, "m", _CHOICE, "Blur by defocus, sd, added in squares", ge=0)
    contrast: float = _q(4e7, "1/m", _TWIN, "Reflectance per equivalent thickness of Li (alpha)")
    inversion_diameter: float = _q(260e-9, "m", _TWIN, "Diameter at which contrast inverts", gt=0)
    nucleus_step: float = _q(45e-9, "m", _TWIN, "Optical step of a nucleus, as a diameter", ge=0)
    potentiodynamic_step: float = _q(
        0.1, "", _TWIN, "Factor on that step in sweeps, where nuclei are many and come late", ge=0
    )
    sei_contrast: float = _q(0.2, "", _TWIN, "Optical response of SEI over that of Li")
    alloy_contrast: float = _q(0.3, "", _TWIN, "Optical response of alloy over that of Li")
    contact_contrast: float = _q(-0.12, "", _CHOICE, "Relative change where liquid wets")
    protrusion_density: float = _q(0.1e12, "1/m2", _TWIN, "Au protrusions per area", ge=0)
    protrusion_contrast: float = _q(-0.06, "", _CHOICE, "Of one 40 nm high")
    level: float = _q(1500.0, "ADU", _CHOICE, "Mean signal of the bare electrode", gt=0)
    camera_offset: float = _q(100.0, "ADU", _CHOICE, "Dark level", ge=0)
    camera_gain: float = _q(2.5, "1/ADU", _CHOICE, "Electrons per count", gt=0)
    read_noise: float = _q(3.0, "", _CHOICE, "Electrons, rms", ge=0)
    bits: int = _q(12, "", _PAPER, "Resolution", ge=8, le=16)
    fixed_pattern: float = _q(0.005, "", _CHOICE, "Relative sd of pixel gains", ge=0)
    vignetting: float = _q(0.08, "", _CHOICE, "Fall of illumination at the corners", ge=0)
    led_flicker: float = _q(5e-4, "", _CHOICE, "Relative sd between frames", ge=0)
    led_drift: float = _q(3e-3, "", _CHOICE, "Relative slow drift, sd", ge=0)
    led_drift_time: float = _q(120.0, "s", _CHOICE, "Its correlation time", gt=0)
    drift_speed: float = _q(40e-9 / 60, "m/s", _TWIN, "Lateral drift: one pixel a minute", ge=0)
    drift_wander: float = _q(6e-9, "m", _CHOICE, "Slow wander on top, rms", ge=0)
    exposure_time: float = _q(0.02, "s", _CHOICE, "Exposure of a frame", gt=0)
    frame_period: float = _q(0.230, "s", _PAPER, "Mean time between frames", gt=0)
    frame_jitter: float = _q(0.018, "s", _TWIN, "sd of it", ge=0)
    dropped: float = _q(0.01, "", _CHOICE, "Frames lost", ge=0, lt=1)
    doubled: float = _q(0.01, "", _CHOICE, "Frames delivered twice", ge=0, lt=1)
    camera_clock_offset: float = _q(0.0, "s", _CHOICE, "Camera's clock less the controller's")

    @model_validator(mode="after")
    def _check_table(self) -> Self:
        nodes = self.table_current_density
        if len(nodes) < 2 or any(b <= a for a, b in pairwise(nodes)):
            raise ValueError("table_current_density needs two or more rising current densities")
        for name in type(self).model_fields:
            if name.startswith("table_") and len(getattr(self, name)) != len(nodes):
                raise ValueError(f"{name} needs one value per current density ({len(nodes)})")
        for name in ("table_e_nuc", "table_e_growth"):
            row = getattr(self, name)
            if any(b >= a for a, b in pairwise(row)) or row[0] >= 0:
                raise ValueError(f"{name} must fall with current density, from below 0 V")
        return self

    @classmethod
    def preset(cls, name: Literal["10um", "6um"] = "10um", **overrides: Any) -> "SeccmSettings":
        """Return one of the two sets of pipettes of the paper, with fields changed.

        The 6 um set wets less, its frames are smaller, and its nucleation times scatter more at low
        current density: one repeat in eight nucleates within 5 s at 0.39 mA/cm2.
        """
        if name not in {"10um", "6um"}:
            raise ValueError(f"unknown preset '{name}' (known: 10um, 6um)")
        small: dict[str, Any] = {
            "pipette_opening": 6e-6,
            "wetting_ratio": 1.75,
            "frame_size": 400,
            "charge_factor": 0.85,
            "t_nuc_scatter_low": 1.17,
        }
        return cls(**((small if name == "6um" else {}) | overrides))

    @property
    def footprint_area(self) -> float:
        """Mean wetted area, m2."""
        return math.pi / 4 * (self.pipette_opening * self.wetting_ratio) ** 2

    @property
    def resistance(self) -> float:
        """Resistance of the pipette's cone, ohm."""
        slope = math.tan(self.pipette_semi_angle)
        return 2 / (self.conductivity * math.pi * self.pipette_opening * slope)

    @property
    def limiting_current(self) -> float:
        """Steady-state diffusion-limited current through the pipette, A.

        ``2 pi F D c a tan(theta/2)`` (Anderson and Edwards, Anal. Chem. 2023).
        """
        radius = self.pipette_opening / 2
        flux = FARADAY * self.diffusion * self.concentration
        return 2 * math.pi * flux * radius * math.tan(self.pipette_semi_angle / 2)
