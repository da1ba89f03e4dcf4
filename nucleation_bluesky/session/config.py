"""The one configuration file: instruments, sample, limits, data, Tiled. Everything has a default.

With no file there is an embedded set-up: the virtual AFM, a local Tiled and ``./nucleation-data``.
"""

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, Self, get_origin

from pydantic import Field, ValidationError, field_validator, model_validator

from nucleation_bluesky.contract.enums import SafeState
from nucleation_bluesky.session.config_environment import EnvironmentConfig
from nucleation_bluesky.session.config_export import ExportConfig
from nucleation_bluesky.session.config_queue import QueueConfig
from nucleation_bluesky.session.config_seccm import SeccmConfig, with_family_defaults
from nucleation_bluesky.session.quantities import Metre, MolarVolume, Radian, Second, Volt
from nucleation_bluesky.session.section import Section, section_class

CONFIG_NAME = "nucleation.toml"
CONFIG_VARIABLE = "NUCLEATION_CONFIG"  # names the file where there is no command line
DATA_VARIABLE = "NUCLEATION_DATA"  # data directory, instead of the configured one
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")  # TOML quotes the others
PROFILE = Path(__file__).parent / "profile"  # IPython profile and queue server startup directory


class ConfigurationError(ValueError):
    """The configuration file cannot be used; the message says which entries and why."""


class VirtualConfig(Section):
    """The virtual instrument that the session starts by itself."""

    enabled: bool = Field(default=True, description="False for a real instrument.")
    speed: float | Literal["max"] = Field(
        default="max", description="1 is real time, N is N times faster, or 'max'."
    )
    seed: int = Field(default=1, description="Of the virtual sample and of all noise.")
    world: dict[str, float] = Field(
        default_factory=dict, description="Changes of the virtual world: name = number."
    )


class TipConfig(Section):
    """Shape of the tip, for the volumes of particles in the topography."""

    radius: Metre = Field(gt=0, description="Of the apex.")
    half_angle: Radian = Field(gt=0, lt=1.5, description="Of the cone.")


class InstrumentConfig(Section):
    """One instrument. A lab sets ``prefix`` and ``virtual.enabled = false``, nothing else."""

    family: Literal["afm", "seccm"] = Field(
        default="afm", description="Kind of instrument: afm or seccm."
    )
    prefix: str = Field(default="NB:AFM:", min_length=1, description="Of all its PVs.")
    name: str = Field(
        default="afm",
        pattern=r"^[A-Za-z][A-Za-z0-9_]*$",
        description="Of the device, in plans and documents.",
    )
    virtual: VirtualConfig = VirtualConfig()
    tip: TipConfig | None = None
    controller_directory: str | None = Field(
        default=None, description="Our waveform directory, as the controller sees it."
    )


class SafetyConfig(Section):
    """Safe state and heartbeat."""

    safe_state: str = Field(
        default="open_circuit",
        description="open_circuit, hold, zero, zero_current or retract_then_zero.",
    )
    safe_bias: Volt = Field(default=0.0, description="Bias of the safe state 'hold'.")
    # beats stop for up to 0.9 s where the disk of a busy machine makes the journal wait
    heartbeat_timeout: Second = Field(
        default=2.0,
        gt=0.1,
        le=60,
        description="Without a sign of life for so long the controller makes the sample safe.",
    )

    @field_validator("safe_state")
    @classmethod
    def _known(cls, value: str) -> str:
        return SafeState.from_label(value).label


class LimitsConfig(Section):
    """Narrower limits than the controller's own, for this sample."""

    bias_low: Volt | None = Field(default=None, description="Lowest bias of any ramp.")
    bias_high: Volt | None = Field(default=None, description="Highest bias of any ramp.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if None not in (self.bias_low, self.bias_high) and self.bias_low >= self.bias_high:  # type: ignore[operator]
            raise ValueError("bias_low must be below bias_high")
        return self


class SiteConfig(Section):
    """Rules of the exposure ledger."""

    min_distance: Metre = Field(
        default=10e-9, ge=0, description="Nearest other exposure that is tolerated."
    )
    position_uncertainty: Metre = Field(
        default=0.5e-9, ge=0, description="Of the stage, standard deviation."
    )
    exposures_per_site: int = Field(default=1, ge=1, description="More than 1 lets plans revisit.")


class MaterialConfig(Section):
    """What is deposited."""

    name: str = Field(default="Li", description="Chemical symbol.")
    molar_volume: MolarVolume = Field(default=13.0e-6, gt=0, description="From charge to volume.")
    electrons: int = Field(default=1, ge=1, description="Transferred per atom.")
    faradaic_yield: float = Field(
        default=1.0, gt=0, le=1, description="Share of the charge that deposits."
    )


class SampleConfig(Section):
    """The sample on the stage."""

    name: str = Field(
        default="virtual-licgc",
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
        description="As in the ledger; letters, digits, '_', '.', '-'.",
    )
    description: str = Field(default="", description="Free text.")
    material: MaterialConfig = MaterialConfig()


class ReferenceConfig(Section):
    """What potentials are measured against (Kumar et al. 2013: two electrodes, Cu and Ag paint)."""

    scale: str = Field(default="Cu/Ag mixed", description="Name of the raw potentials' scale.")
    bias_applied_to: Literal["tip", "sample"] = Field(
        default="tip", description="Electrode that the bias is applied to."
    )
    converted_scale: str | None = Field(default=None, description="Scale to convert to, if any.")
    offset: Volt = Field(default=0.0, description="Potential on that scale less the raw one.")
    equilibrium_potential: Volt | None = Field(
        default=-3.04, description="On the raw scale; overpotentials count from it."
    )
    equilibrium_source: str = Field(
        default="Li2O reduction, Kumar et al., Sci. Rep. 2013", description="Where it is from."
    )


class TiledConfig(Section):
    """Where documents are served from: the embedded server, or one given by address."""

    uri: str | None = Field(default=None, description="Address; without, one is embedded.")
    api_key_file: Path | None = Field(
        default=None, description="File (mode 0600) that holds the key, never the key itself."
    )


class Configuration(Section):
    """The whole configuration."""

    data_directory: Path = Field(
        default=Path("nucleation-data"), description="On a local disk, not on a network drive."
    )
    operator: str = Field(default="", description="Who measures; recorded with every run.")
    instrument: InstrumentConfig = InstrumentConfig()
    seccm: SeccmConfig = SeccmConfig()
    limits: LimitsConfig = LimitsConfig()
    safety: SafetyConfig = SafetyConfig()
    sites: SiteConfig = SiteConfig()
    sample: SampleConfig = SampleConfig()
    reference: ReferenceConfig = ReferenceConfig()
    environment: EnvironmentConfig = EnvironmentConfig()
    tiled: TiledConfig = TiledConfig()
    queue: QueueConfig = QueueConfig()
    export: ExportConfig = ExportConfig()
    metadata: dict[str, str | float | int | bool] = Field(
        default_factory=dict, description="Further entries of every run's start document."
    )

    @model_validator(mode="before")
    @classmethod
    def _of_family(cls, entries: Any) -> Any:
        return with_family_defaults(entries)

    @property
    def watches_environment(self) -> bool:
        """Whether the environment is read and watched."""
        watch = self.environment.watch
        return watch == "on" or (watch == "auto" and self.instrument.virtual.enabled)


def configuration_path(path: Path | None = None) -> Path | None:
    """Return the file that a session reads: given, named by the environment, or in this directory.

    Returns
    -------
    Path or None
        None where there is no file and the defaults hold.
    """
    if path is None and (named := os.environ.get(CONFIG_VARIABLE)):
        path = Path(named)
    if path is None and Path(CONFIG_NAME).exists():
        path = Path(CONFIG_NAME)
    return path


def mistakes(entries: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what is wrong with the entries of a file, as (key, sentence), all of it at once."""
    try:
        Configuration.model_validate(entries)
    except ValidationError as error:
        found: dict[str, list[str]] = {}
        for item in error.errors():
            found.setdefault(_key(item["loc"]), []).append(_sentence(item))
        return [(key, ", or ".join(sentences)) for key, sentences in found.items()]
    return []


def _key(location: tuple[int | str, ...]) -> str:
    """Key of an entry; pydantic adds the branch of a union ("float") to it."""
    parts, model = [], Configuration
    for part in location:
        bare = _BARE_KEY.fullmatch(str(part))
        parts.append(str(part) if bare else json.dumps(str(part)))
        field = model.model_fields.get(str(part)) if model is not None else None
        if field is None:
            break
        inner = section_class(field)
        if inner is None and get_origin(field.annotation) is not dict:
            break
        model = inner
    return ".".join(parts)


def _sentence(item: Any) -> str:
    told = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        return "there is no such entry; 'nucleation-bluesky config init' writes all there are"
    if item["type"] == "missing":
        return "is needed here"
    got = item.get("input")
    shown = (
        f" (got {got!r})" if isinstance(got, (str, int, float)) and repr(got) not in told else ""
    )
    return f"{told[:1].lower()}{told[1:]}{shown}"


def read_entries(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    ConfigurationError
        If it cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from error


def load_configuration(path: Path | None = None) -> Configuration:
    """Read the configuration.

    Parameters
    ----------
    path : Path or None
        TOML file. None takes the one that the environment variable ``NUCLEATION_CONFIG`` names,
        or ``nucleation.toml`` in the working directory if there is one, else the defaults.

    Raises
    ------
    ConfigurationError
        If the file is missing, is not TOML, or an entry is not valid.
    """
    path = configuration_path(path)
    if path is None:
        return Configuration()
    entries = read_entries(path)
    if wrong := mistakes(entries):
        told = "; ".join(f"{key}: {sentence}" for key, sentence in wrong)
        raise ConfigurationError(f"{path}: {told}")
    return Configuration.model_validate(entries)
