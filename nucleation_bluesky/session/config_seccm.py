"""Configuration of an SECCM: camera, pipette, electrolyte; and what differs from an AFM."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from nucleation_bluesky.session.quantities import Concentration, Metre
from nucleation_bluesky.session.section import Section


class SeccmConfig(Section):
    """Pipette, electrolyte and camera of an SECCM (instrument.family = 'seccm')."""

    camera_prefix: str = Field(
        default="NB:IRM:", description="Of the camera's areaDetector IOC; empty without camera."
    )
    camera_directory: str | None = Field(
        default=None, description="Our directory of films, as the camera's computer sees it."
    )
    pixel_size: Metre = Field(default=40e-9, gt=0, description="Of the camera, on the sample.")
    wavelength: Metre = Field(default=560e-9, gt=0, description="Of the illumination.")
    pipette_opening: Metre = Field(default=10e-6, gt=0, description="Diameter of the opening.")
    wetting_ratio: float = Field(
        default=2.2, gt=0, description="Diameter of the wetted spot over that of the opening."
    )
    electrolyte: str = Field(default="LiPF6 in PC", description="Salt and solvent.")
    concentration: Concentration = Field(default=50.0, gt=0, description="Of the salt.")

    @property
    def footprint(self) -> float:
        """Expected diameter of the wetted spot, m."""
        return self.pipette_opening * self.wetting_ratio

    def document(self) -> dict[str, Any]:
        """Return its entries of the start document."""
        return {
            "pipette": {"opening": self.pipette_opening, "wetting_ratio": self.wetting_ratio},
            "electrolyte": {"name": self.electrolyte, "concentration": self.concentration},
            "camera": {"pixel_size": self.pixel_size, "wavelength": self.wavelength}
            if self.camera_prefix
            else None,
        }


# what an entry that is not given means for a family; the classes hold the AFM's
FAMILY_DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "seccm": {
        "instrument": {"prefix": "NB:SECCM:", "name": "seccm"},
        "sample": {"name": "virtual-gold"},
        "reference": {
            "scale": "Ag QRCE",
            "converted_scale": "Li/Li+",
            "offset": 3.17,
            "equilibrium_potential": None,
            "equilibrium_source": "",
        },
    }
}


def with_family_defaults(entries: Any) -> Any:
    """Fill in the defaults of the family that the entries name; sections already made stay."""
    if not isinstance(entries, Mapping):
        return entries
    instrument = entries.get("instrument") or {}
    if isinstance(instrument, Mapping):
        family = instrument.get("family", "afm")
    else:
        family = getattr(instrument, "family", "afm")
    filled = dict(entries)
    for section, defaults in FAMILY_DEFAULTS.get(str(family), {}).items():
        given = filled.get(section)
        if given is None or isinstance(given, Mapping):
            filled[section] = {**defaults, **(given or {})}
        else:
            missing = {k: v for k, v in defaults.items() if k not in given.model_fields_set}
            filled[section] = given.model_copy(update=missing)
    return filled


def world_of(seccm: SeccmConfig, offset: float) -> dict[str, float]:
    """Return the settings of the virtual world that the configuration speaks of."""
    return {
        "pipette_opening": seccm.pipette_opening,
        "wetting_ratio": seccm.wetting_ratio,
        "pixel_size": seccm.pixel_size,
        "concentration": seccm.concentration,
        "reference_offset": offset,
    }
