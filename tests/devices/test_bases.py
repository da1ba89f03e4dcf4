"""Bases of the devices: a subclass that leaves something out cannot be made."""

import pytest
from nucleation_bluesky.contract.program import Program
from nucleation_bluesky.devices.bias_ramp import BiasRamp
from nucleation_bluesky.devices.controller_run import ControllerRun
from nucleation_bluesky.devices.guarded import GuardedDevice
from nucleation_bluesky.devices.instrument import Instrument


class WithoutParameters(ControllerRun[Program]):
    """A family that forgot to say what to put."""

    spec_type = Program

    def require_spec(self):
        return Program(None)

    def check_spec(self, spec): ...
    def samples(self, spec):
        return 1

    def _wall(self):
        return 1.0

    def _values(self):
        return {}

    def _settings_values(self):
        return {}


@pytest.mark.parametrize("base", [GuardedDevice, ControllerRun, BiasRamp, Instrument])
def test_a_base_is_no_device(base):
    with pytest.raises(TypeError, match="abstract"):
        base("T:", name="base")


def test_an_incomplete_family_is_refused_when_it_is_made():
    with pytest.raises(TypeError, match="_spec_parameters"):
        WithoutParameters("T:", name="incomplete")
