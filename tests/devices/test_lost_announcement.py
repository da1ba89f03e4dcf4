"""A PV whose connection was never announced is connected all the same."""

import pytest
from nucleation_bluesky.devices.errors import NotConnectedError
from tests.devices.conftest import start

PREFIX = "T:SILENT:"


@pytest.mark.parametrize("lost", ["access_callbacks", "connection_callbacks"])
def test_pyepics_loses_its_one_event(tmp_path, lost):
    from nucleation_bluesky.devices._signals import ContractSignal  # noqa: PLC0415 - starts libca

    signal = ContractSignal(f"{PREFIX}{lost[:3]}:BIAS", contract="BIAS", name="bias")
    getattr(signal._read_pv, lost).clear()  # before anybody serves it
    with pytest.raises(NotConnectedError, match="does not answer"):
        signal.require_connection(0.3)
    with start(tmp_path, f"{PREFIX}{lost[:3]}:"):
        # libca searches ever more seldom while nobody serves it, and a busy machine starts slowly
        assert signal._read_pv.wait_for_connection(100.0)
        assert signal.get() == pytest.approx(0.0, abs=1e-3)
        assert signal.write_access
    signal.destroy()
