"""The one configuration file: instruments, sample, limits, data, Tiled. Everything has a default.

With no file there is an embedded set-up: the virtual AFM, a local Tiled and ``./nucleation-data``.
"""

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from nucleation_bluesky.contract.enums import SafeState
from nucleation_bluesky.session.quantities import Metre, MolarVolume, Radian, Second, Volt

CONFIG_NAME = "nucleation.toml"


class ConfigurationError(ValueError):
    """The configuration file cannot be used; the message says which entry and why."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class VirtualConfig(_Section):
    """The virtual instrument that the session starts by itself."""

    enabled: bool = True
    speed: float | Literal["max"] = "max"
    seed: int = 1
    world: dict[str, float] = Field(default_factory=dict)


class TipConfig(_Section):
    """Shape of the tip, for the volumes of particles in the topography."""

    radius: Metre = Field(gt=0)
    half_angle: Radian = Field(gt=0, lt=1.5)


class InstrumentConfig(_Section):
    """One instrument. A lab sets ``prefix`` and ``virtual.enabled = false``, nothing else."""

    family: Literal["afm"] = "afm"
    prefix: str = Field(default="NB:AFM:", min_length=1)
    name: str = Field(default="afm", pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    virtual: VirtualConfig = VirtualConfig()
    tip: TipConfig | None = None
    controller_directory: str | None = None  # our waveform directory, as the controller sees it


class SafetyConfig(_Section):
    """Safe state and heartbeat."""

    safe_state: str = "open_circuit"
    safe_bias: Volt = 0.0
    # beats stop for up to 0.9 s where the disk of a busy machine makes the journal wait
    heartbeat_timeout: Second = Field(default=2.0, gt=0.1, le=60)

    @field_validator("safe_state")
    @classmethod
    def _known(cls, value: str) -> str:
        return SafeState.from_label(value).label


class SiteConfig(_Section):
    """Rules of the exposure ledger."""

    min_distance: Metre = Field(default=10e-9, ge=0)
    position_uncertainty: Metre = Field(default=0.5e-9, ge=0)
    exposures_per_site: int = Field(default=1, ge=1)


class MaterialConfig(_Section):
    """What is deposited."""

    name: str = "Li"
    molar_volume: MolarVolume = Field(default=13.0e-6, gt=0)
    electrons: int = Field(default=1, ge=1)
    faradaic_yield: float = Field(default=1.0, gt=0, le=1)


class SampleConfig(_Section):
    """The sample on the stage."""

    name: str = Field(default="virtual-licgc", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    description: str = ""
    material: MaterialConfig = MaterialConfig()


class ReferenceConfig(_Section):
    """What potentials are measured against (Kumar et al. 2013: two electrodes, Cu and Ag paint)."""

    scale: str = "Cu/Ag mixed"
    bias_applied_to: Literal["tip", "sample"] = "tip"
    converted_scale: str | None = None
    offset: Volt = 0.0
    equilibrium_potential: Volt | None = -3.04
    equilibrium_source: str = "Li2O reduction, Kumar et al., Sci. Rep. 2013"


class TiledConfig(_Section):
    """Where documents are served from: the embedded server, or one given by address."""

    uri: str | None = None
    api_key_file: Path | None = None


class Configuration(_Section):
    """The whole configuration."""

    data_directory: Path = Path("nucleation-data")
    operator: str = ""
    instrument: InstrumentConfig = InstrumentConfig()
    safety: SafetyConfig = SafetyConfig()
    sites: SiteConfig = SiteConfig()
    sample: SampleConfig = SampleConfig()
    reference: ReferenceConfig = ReferenceConfig()
    tiled: TiledConfig = TiledConfig()
    metadata: dict[str, str | float | int | bool] = Field(default_factory=dict)


def load_configuration(path: Path | None = None) -> Configuration:
    """Read the configuration.

    Parameters
    ----------
    path : Path or None
        TOML file. None takes ``nucleation.toml`` in the working directory if there is one, else
        the defaults.

    Raises
    ------
    ConfigurationError
        If the file is missing, is not TOML, or an entry is not valid.
    """
    if path is None:
        path = Path(CONFIG_NAME)
        if not path.exists():
            return Configuration()
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from error
    try:
        return Configuration.model_validate(entries)
    except ValidationError as error:
        found = [
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors()
        ]
        raise ConfigurationError(f"{path}: {'; '.join(found)}") from error
