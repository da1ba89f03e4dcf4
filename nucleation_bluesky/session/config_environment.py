"""Configuration of the environment watch: which PVs, and the limits within which sites are used."""

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from nucleation_bluesky.contract.pvs_environment import QUANTITIES
from nucleation_bluesky.session.quantities import Fraction, Kelvin, MetrePerSecond, Second
from nucleation_bluesky.session.section import Section

LOW = "Below it no site is used."
HIGH = "Above it no site is used."


class _Sensor(Section):
    pv: str | None = Field(
        default=None, min_length=1, description="Its PV; by default the prefix and the usual name."
    )

    def limits(self) -> tuple[float, float]:
        """Low and high, SI; infinite where there is none."""
        low, high = getattr(self, "low", None), getattr(self, "high", None)
        return (-math.inf if low is None else low), (math.inf if high is None else high)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.limits()
        if low >= high:
            raise ValueError(f"low ({low:g}) must be below high ({high:g})")
        return self


class OxygenConfig(_Sensor):
    """Oxygen in the glovebox (volume fraction)."""

    high: Fraction | None = Field(default=0.1e-6, description=HIGH)


class WaterConfig(_Sensor):
    """Water in the glovebox (volume fraction)."""

    high: Fraction | None = Field(default=0.2e-6, description=HIGH)


class HumidityConfig(_Sensor):
    """Relative humidity at the sample."""

    low: Fraction | None = Field(default=None, description=LOW)
    high: Fraction | None = Field(default=0.5, description=HIGH)


class TemperatureConfig(_Sensor):
    """Temperature at the sample; recorded, and without limits by default."""

    low: Kelvin | None = Field(default=None, description=LOW)
    high: Kelvin | None = Field(default=None, description=HIGH)


class VibrationConfig(_Sensor):
    """Rms velocity of the table."""

    high: MetrePerSecond | None = Field(default=10e-6, description=HIGH)


class EnvironmentConfig(Section):
    """Environment of the instrument: recorded with every run, and watched between sites.

    A map waits before its next site while a quantity is outside its limits or not readable.
    'auto' watches the virtual instrument's environment and no other.
    """

    watch: Literal["auto", "on", "off"] = Field(default="auto", description="auto, on or off.")
    prefix: str = Field(default="NB:ENV:", description="Of the environment's PVs.")
    settle: Second = Field(
        default=10.0, ge=0, description="Within limits for so long before a map goes on."
    )
    period: Second = Field(default=1.0, ge=0.1, le=60, description="Between two readings.")
    oxygen: OxygenConfig = OxygenConfig()
    water: WaterConfig = WaterConfig()
    humidity: HumidityConfig = HumidityConfig()
    temperature: TemperatureConfig = TemperatureConfig()
    vibration: VibrationConfig = VibrationConfig()
    without: list[Literal["oxygen", "water", "humidity", "temperature", "vibration"]] = Field(
        default_factory=list, description="Quantities that this laboratory does not measure."
    )

    def sensor(self, name: str) -> _Sensor:
        """Entry of one quantity."""
        return getattr(self, name)

    def pv(self, name: str) -> str:
        """PV of one quantity."""
        return self.sensor(name).pv or f"{self.prefix}{QUANTITIES[name].suffix}"

    @property
    def measured(self) -> list[str]:
        """Quantities that are measured here."""
        return [name for name in QUANTITIES if name not in self.without]
