"""Environment of the instrument: what the glovebox and the building do while sites are exposed.

Served under a prefix of its own (``NB:ENV:`` + ``O2``), by the virtual instrument too. A lab's
PVs may have other names: the configuration maps each quantity to its PV.
"""

from dataclasses import dataclass

from nucleation_bluesky.contract.enums import ContractEnum
from nucleation_bluesky.contract.pv import PV, Kind, rw


class TrainingAlarm(ContractEnum):
    """Alarm that the virtual environment plays, for training."""

    NONE = 0
    OXYGEN = 1
    WATER = 2
    HUMIDITY = 3
    VIBRATION = 4


@dataclass(frozen=True)
class Quantity:
    """One measured quantity of the environment.

    Parameters
    ----------
    suffix : str
        Of its PV.
    unit : str
        SI unit in documents ("" for a fraction).
    meaning : str
        In a few words.
    """

    suffix: str
    unit: str
    meaning: str


QUANTITIES: dict[str, Quantity] = {
    "oxygen": Quantity("O2", "", "volume fraction of oxygen in the glovebox"),
    "water": Quantity("H2O", "", "volume fraction of water in the glovebox"),
    "humidity": Quantity("RH", "", "relative humidity at the sample"),
    "temperature": Quantity("TEMP", "K", "temperature at the sample"),
    "vibration": Quantity("VIB", "m/s", "rms velocity of the table, 1 to 100 Hz"),
}

ENVIRONMENT: tuple[PV, ...] = (
    PV("O2", Kind.DOUBLE, "Oxygen in the glovebox.", egu="ppm"),
    PV("H2O", Kind.DOUBLE, "Water in the glovebox.", egu="ppm"),
    PV("RH", Kind.DOUBLE, "Relative humidity at the sample.", egu="%"),
    PV("TEMP", Kind.DOUBLE, "Temperature at the sample.", egu="degC"),
    PV("VIB", Kind.DOUBLE, "Rms velocity of the table, 1 to 100 Hz.", egu="um/s"),
    PV("COUNT", Kind.INT, "Increases with every measurement."),
    rw(
        "TRAIN",
        Kind.ENUM,
        "Virtual environment only: plays an alarm until 'none' is written.",
        enum=TrainingAlarm,
    ),
)
