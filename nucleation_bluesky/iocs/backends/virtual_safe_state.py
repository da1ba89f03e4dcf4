"""How the output of the virtual AFM gets to its safe state."""

from nucleation_bluesky.contract.enums import SafeState
from nucleation_bluesky.worlds.afm import AfmWorldParameters
from nucleation_bluesky.worlds.afm.path import BiasPath


def add_safe_state(
    path: BiasPath,
    parameters: AfmWorldParameters,
    safe: tuple[SafeState, float],
    lasting: float,
) -> None:
    """Append the way to the safe state, and ``lasting`` s of it.

    Parameters
    ----------
    path : BiasPath
        Bias of the exposure so far.
    parameters : AfmWorldParameters
        Of the instrument: slew rate, time of a retraction.
    safe : SafeState, float
        Policy and bias of HOLD, V.
    lasting : float
        Time in the safe state, s.
    """
    policy, held = safe
    bias = path.bias
    if policy is SafeState.RETRACT_THEN_ZERO:
        path.add(parameters.retract_time, bias)
    if policy in {SafeState.HOLD, SafeState.ZERO}:
        target = held if policy is SafeState.HOLD else 0.0
        path.add(abs(bias - target) / parameters.bias_slew, target)
        path.add(lasting, target)
    else:
        path.add(lasting, bias, driven=False)
