import pytest
from nucleation_bluesky.contract.enums import ControllerState, Fault, Termination
from nucleation_bluesky.iocs.state import ControlState, Mode, Refusal

TOKEN = "0123456789abcdef01234567"
OTHER = "f" * 24


@pytest.fixture
def control():
    state = ControlState(epoch=7)
    state.claim("me", 0.0)
    state.beat(1, 0.0)
    return state


def refused(fault, call, *args):
    with pytest.raises(Refusal) as caught:
        call(*args)
    assert caught.value.fault is fault
    assert caught.value.text


def test_arm_and_go(control):
    control.arm(f"{TOKEN}@7", 0.1)
    assert control.state is ControllerState.ARMED
    control.go(TOKEN, Mode.RAMP, 0.2)
    assert control.state is ControllerState.ENERGISED
    control.finish(Termination.COMPLETED)
    assert control.state is ControllerState.SAFE


def test_trip_latches_until_arm_with_a_new_token(control):
    control.arm(f"{TOKEN}@7", 0.1)
    control.go(TOKEN, Mode.RAMP, 0.2)
    control.finish(Termination.CURRENT_COMPLIANCE)
    assert control.state is ControllerState.TRIPPED
    refused(Fault.TOKEN_REUSED, control.go, TOKEN, Mode.RAMP, 0.3)
    refused(Fault.TOKEN_REUSED, control.arm, f"{TOKEN}@7", 0.3)
    assert control.state is ControllerState.TRIPPED
    control.arm(f"{OTHER}@7", 0.4)
    assert control.state is ControllerState.ARMED


@pytest.mark.parametrize(
    "text",
    [
        "",
        TOKEN,
        f"{TOKEN}@",
        f"{TOKEN[:-1]}@7",
        f"{TOKEN.upper()}@7",
        f"{TOKEN}@7 ",
        f"{TOKEN}@-7",
        f"{TOKEN}@7\n",
    ],
)
def test_malformed_arm(control, text):
    refused(Fault.BAD_PARAMETER, control.arm, text, 0.1)
    assert control.state is ControllerState.SAFE


def test_arm_needs_owner_heartbeat_and_epoch(control):
    refused(Fault.EPOCH_MISMATCH, control.arm, f"{TOKEN}@6", 0.1)
    refused(Fault.NO_HEARTBEAT, control.arm, f"{TOKEN}@7", 1.5)
    control.claim("", 1.5)
    refused(Fault.NOT_OWNER, control.arm, f"{TOKEN}@7", 1.5)
    control.claim("me", 1.6)  # claiming is no beat
    refused(Fault.NO_HEARTBEAT, control.arm, f"{TOKEN}@7", 1.6)
    control.beat(5, 1.7)
    control.arm(f"{TOKEN}@7", 1.7)  # none of the refusals used the token up


def test_unchanged_beat_is_none(control):
    control.beat(1, 5.0)
    assert control.beat_age(5.0) == 5.0
    control.beat(2, 5.0)
    assert control.beat_age(5.0) == 0.0


def test_owner_is_replaced_only_when_dead(control):
    control.beat(2, 3.0)
    refused(Fault.NOT_OWNER, control.claim, "you", 3.9)
    assert control.owner == "me"
    control.claim("you", 4.1)
    assert control.owner == "you"
    refused(Fault.NOT_OWNER, control.claim, "me", 4.2)  # a new owner has time for its first beat


def test_expiry(control):
    control.heartbeat_timeout = 100.0
    control.arm(f"{TOKEN}@7", 0.0)
    assert not control.arm_expired(5.0)
    assert control.arm_expired(5.1)
    refused(Fault.TOKEN_EXPIRED, control.go, TOKEN, Mode.RAMP, 5.1)
    assert control.state is ControllerState.SAFE
    refused(Fault.TOKEN_EXPIRED, control.go, TOKEN, Mode.RAMP, 5.2)
    refused(Fault.TOKEN_REUSED, control.arm, f"{TOKEN}@7", 5.2)
    refused(Fault.NOT_ARMED, control.go, OTHER, Mode.RAMP, 5.2)


def test_wrong_token_keeps_the_right_one_armed(control):
    control.arm(f"{TOKEN}@7", 0.0)
    refused(Fault.TOKEN_MISMATCH, control.go, OTHER, Mode.RAMP, 0.1)
    refused(Fault.BUSY, control.arm, f"{OTHER}@7", 0.1)
    control.go(TOKEN, Mode.RAMP, 0.2)
    refused(Fault.BUSY, control.go, TOKEN, Mode.RAMP, 0.2)


def test_heartbeat_lost_only_while_active(control):
    assert not control.heartbeat_lost(9.0)
    control.beat(2, 9.0)
    control.arm(f"{TOKEN}@7", 9.0)
    assert not control.heartbeat_lost(10.0)
    assert control.heartbeat_lost(10.01)


def test_latched_fault_survives_refusals(control):
    control.fail(Fault.KILLED, "killed")
    control.refused(Refusal(Fault.BUSY, "busy"))
    assert control.fault is Fault.BUSY
    control.accepted()
    assert (control.state, control.fault) == (ControllerState.FAULT, Fault.KILLED)
    control.arm(f"{TOKEN}@7", 0.1)
    control.accepted()
    assert control.fault is Fault.NONE


def test_epoch_stays_a_positive_32_bit_integer():
    state = ControlState(epoch=2**31 - 2)
    seen = []
    for _ in range(3):
        state.new_epoch()
        seen.append(state.epoch)
    assert seen == [2**31 - 1, 1, 2]


def test_bias_needs_software_mode(control):
    refused(Fault.NOT_ARMED, control.require_software, "BIAS")
    control.arm(f"{TOKEN}@7", 0.0)
    control.go(TOKEN, Mode.RAMP, 0.0)
    refused(Fault.NOT_ARMED, control.require_software, "BIAS")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0, 1e9])
def test_timeouts_are_checked(control, value):
    refused(Fault.BAD_PARAMETER, control.set_heartbeat_timeout, value)
    refused(Fault.BAD_PARAMETER, control.set_arm_timeout, value)
