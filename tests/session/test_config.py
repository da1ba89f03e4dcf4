"""The configuration file: defaults, and one clear sentence for every bad entry."""

from pathlib import Path

import pytest
from nucleation_bluesky.session.config import (
    Configuration,
    ConfigurationError,
    load_configuration,
)


def test_defaults_without_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_configuration()
    assert config == Configuration()
    assert config.data_directory == Path("nucleation-data")
    assert config.instrument.virtual.enabled
    assert config.tiled.uri is None


def test_units_are_read(tmp_path):
    path = tmp_path / "lab.toml"
    path.write_text(
        '[sites]\nmin_distance = "15 nm"\n[safety]\nsafe_bias = "-100 mV"\n'
        '[reference]\nequilibrium_potential = "-3.04 V"\n'
    )
    config = load_configuration(path)
    assert config.sites.min_distance == pytest.approx(15e-9)
    assert config.safety.safe_bias == pytest.approx(-0.1)
    assert config.reference.equilibrium_potential == pytest.approx(-3.04)


def test_the_file_of_the_working_directory_is_taken(tmp_path, monkeypatch):
    (tmp_path / "nucleation.toml").write_text('operator = "A. Researcher"\n')
    monkeypatch.chdir(tmp_path)
    assert load_configuration().operator == "A. Researcher"


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ('colour = "red"', "colour"),
        ("[instrument]\nprefix = ''", "instrument.prefix"),
        ("[instrument]\nfamily = 'sem'", "instrument.family"),
        ("[instrument]\nname = '1 tip'", "instrument.name"),
        ("[instrument.virtual]\nspeed = 'fast'", "instrument.virtual.speed"),
        ("[instrument.virtual]\nseed = 'x'", "instrument.virtual.seed"),
        ("[instrument.virtual.world]\nnoise = 'x'", "instrument.virtual.world.noise"),
        ("[safety]\nsafe_state = 'off'", "safety.safe_state"),
        ("[safety]\nsafe_bias = '3 nm'", "safety.safe_bias"),
        ("[safety]\nsafe_bias = nan", "safety.safe_bias"),
        ("[safety]\nheartbeat_timeout = '10 ms'", "safety.heartbeat_timeout"),
        ("[safety]\nheartbeat_timeout = inf", "safety.heartbeat_timeout"),
        ("[sites]\nmin_distance = '-1 nm'", "sites.min_distance"),
        ("[sites]\nposition_uncertainty = '1 V'", "sites.position_uncertainty"),
        ("[sites]\nexposures_per_site = 0", "sites.exposures_per_site"),
        ("[sample]\nname = 'a/b'", "sample.name"),
        ("[sample.material]\nmolar_volume = '0 m**3/mol'", "sample.material.molar_volume"),
        ("[sample.material]\nelectrons = 0", "sample.material.electrons"),
        ("[sample.material]\nfaradaic_yield = 1.5", "sample.material.faradaic_yield"),
        ("[reference]\nbias_applied_to = 'wall'", "reference.bias_applied_to"),
        ("[reference]\noffset = '1 A'", "reference.offset"),
        ("[tiled]\nport = 8000", "tiled.port"),
    ],
)
def test_a_bad_entry_is_named(tmp_path, entries, named):
    path = tmp_path / "bad.toml"
    path.write_text(entries)
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}: {named}")
    assert "\n" not in sentence


def test_no_file_and_no_toml(tmp_path):
    with pytest.raises(ConfigurationError, match=r"cannot read .*absent\.toml: No such file"):
        load_configuration(tmp_path / "absent.toml")
    path = tmp_path / "broken.toml"
    path.write_text("[instrument\n")
    with pytest.raises(ConfigurationError, match="is not valid TOML"):
        load_configuration(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="is not valid TOML"):
        load_configuration(path)
