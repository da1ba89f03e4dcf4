"""What the devices refuse or report, each with one sentence that says what to do."""

from nucleation_bluesky.contract.enums import Termination


class InstrumentError(RuntimeError):
    """Base of every error of an instrument's device."""


class NotConnectedError(InstrumentError, ConnectionError):
    """No controller answers, or it stopped answering."""


class ContractError(InstrumentError):
    """The controller speaks another contract, or a PV is not as the contract says."""


class WrongUnitError(ContractError, ValueError):
    """A PV's engineering unit has another dimension than the contract's."""


class PutRefusedError(InstrumentError):
    """The controller did not take a value."""


class PutTimeoutError(InstrumentError, TimeoutError):
    """The controller did not confirm a put in time."""


class OwnedByOtherError(InstrumentError):
    """Another session owns the instrument."""


class BadValueError(InstrumentError, ValueError):
    """A value is not finite, out of range or does not fit the instrument."""


class NotConfiguredError(InstrumentError):
    """A device was staged or triggered before it was told what to do."""


class UnguardedExposureError(InstrumentError):
    """An exposure without a guard: nothing would stop a site from being used twice."""


class UnreadExposureError(InstrumentError):
    """The last exposure was recorded but not read, so files and events would part."""


class ArmRefusedError(InstrumentError):
    """The controller did not arm; its own words follow."""


class ExposureFailedError(InstrumentError):
    """The exposure did not end as it should; its site is burned.

    Parameters
    ----------
    message : str
        What happened.
    termination : Termination
        What the controller said, NONE if it said nothing.
    """

    def __init__(self, message: str, termination: Termination = Termination.NONE) -> None:
        super().__init__(message)
        self.termination = termination


class FilmError(InstrumentError):
    """The camera took no film; the message says why."""
