"""BestEffortCallback, LiveTable and LiveGrid of bluesky with our plan, from devices to Tiled."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from bluesky.callbacks import LiveTable
from bluesky.callbacks.best_effort import BestEffortCallback
from bluesky.callbacks.mpl_plotting import LiveGrid
from nucleation_bluesky.plans.nucleation_map import nucleation_map
from nucleation_bluesky.session.config import Configuration, InstrumentConfig
from nucleation_bluesky.session.execute import execute
from nucleation_bluesky.session.session import Session
from tiled.client import from_uri

pytestmark = pytest.mark.stack


def test_stock_callbacks_through_the_whole_stack(tmp_path, capsys):
    config = Configuration(
        data_directory=tmp_path / "data", instrument=InstrumentConfig(prefix="T:STOCK:")
    )
    with Session(config) as session:
        bias = session.afm.ramp.roles["stop_bias"]
        best = BestEffortCallback()
        grid = LiveGrid((3, 4), bias, xlabel="column", ylabel="row")
        table = LiveTable([bias])
        for callback in (best, grid, table):
            session.RE.subscribe(callback)
        options = {"rows": 3, "cols": 4, "pitch": 20e-9, "image_pixels": 32}
        outcome = execute(session, nucleation_map(session.afm, **options), progress=False)
        assert outcome.complete, outcome.reason
        assert session.wait_delivered([outcome.uid], 60)
        client = from_uri(f"{session.server.uri}/api/v1", api_key=session.server.api_key)
        stored = client[outcome.uid]["primary"].read()
        shown = np.asarray(grid.im.get_array())
    plt.close("all")
    values = stored[bias].values
    assert values.shape == (12,)
    # the picture holds what Tiled holds, each site at its place
    np.testing.assert_allclose(shown[0], values[:4])
    np.testing.assert_allclose(np.sort(shown.ravel()), np.sort(values))
    printed = capsys.readouterr().out
    assert "Plan nucleation_map" in printed
    assert f"{values[-1]:.3f}"[:5] in printed
