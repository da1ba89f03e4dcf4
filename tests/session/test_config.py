"""The configuration file: defaults, and one clear sentence for every bad entry."""

from pathlib import Path

import pytest
from nucleation_bluesky.cli.app import app
from nucleation_bluesky.session.config import (
    Configuration,
    ConfigurationError,
    load_configuration,
    mistakes,
    read_entries,
)
from nucleation_bluesky.session.config_text import configuration_text
from nucleation_bluesky.session.section import section_class
from typer.testing import CliRunner


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


def test_the_written_file_is_the_defaults(tmp_path):
    path = tmp_path / "all.toml"
    path.write_text(configuration_text())
    assert load_configuration(path) == Configuration()
    for line in path.read_text().splitlines():
        assert len(line) <= 130, line


def test_every_entry_has_its_meaning():
    missing = []

    def visit(model, where):
        for name, field in model.model_fields.items():
            inner = section_class(field)
            if inner is not None:
                visit(inner, f"{where}{name}.")
            elif not field.description:
                missing.append(f"{where}{name}")

    visit(Configuration, "")
    assert missing == []


def test_a_changed_configuration_is_written_back(tmp_path):
    path = tmp_path / "lab.toml"
    path.write_text(
        'operator = "Ada \\"L\\""\n[metadata]\nproposal = 4711\nbeam = "no"\n'
        "[instrument.virtual]\nenabled = false\nspeed = 2.5\nworld = {noise = 0.1}\n"
        '[instrument.tip]\nradius = "5 nm"\nhalf_angle = "28 deg"\n'
        '[limits]\nbias_low = "-5 V"\n[environment]\nwithout = ["humidity"]\n'
        '[environment.oxygen]\nhigh = "0.3 ppm"\npv = "GB1:O2"\n'
    )
    config = load_configuration(path)
    again = tmp_path / "again.toml"
    again.write_text(configuration_text(config))
    assert load_configuration(again) == config
    assert config.environment.pv("oxygen") == "GB1:O2"
    assert config.environment.pv("water") == "NB:ENV:H2O"
    assert not config.watches_environment


def test_every_mistake_is_named_at_once(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(
        'colour = 1\n[limits]\nbias_low = 2.0\nbias_high = "1 V"\n'
        '[environment.oxygen]\nhigh = "3 V"\n[environment.temperature]\nlow = 300.0\nhigh = 290.0\n'
        "[queue]\ncontrol_port = 99999\n"
    )
    found = dict(mistakes(read_entries(path)))
    assert set(found) == {
        "colour", "limits", "environment.oxygen.high", "environment.temperature",
        "queue.control_port",
    }  # fmt: skip
    assert found["limits"] == "bias_low must be below bias_high"
    assert "'3 V' is not" in found["environment.oxygen.high"]


def test_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke
    shown = run(app, ["config", "show"])
    assert shown.exit_code == 0
    assert "min_distance" in shown.output
    assert run(app, ["config", "check"]).exit_code == 0  # no file is in order
    assert run(app, ["config", "init"]).exit_code == 0
    assert load_configuration() == Configuration()
    again = run(app, ["config", "init"])
    assert again.exit_code == 1
    assert "is there already" in again.output
    Path("nucleation.toml").write_text('[safety]\nsafe_bias = "3 nm"\n[sites]\nfoo = 1\n')
    checked = run(app, ["config", "check"])
    assert checked.exit_code == 2
    assert "safety.safe_bias: '3 nm' is not in units of V" in checked.output
    assert "sites.foo: there is no such entry" in checked.output
    for words in (["nucleation.toml"], ["--config", "nucleation.toml"]):
        assert run(app, ["config", "check", *words]).output == checked.output
    both = run(app, ["config", "check", "a.toml", "--config", "b.toml"])
    assert "name the file once" in both.output
    Path("nucleation.toml").write_text('operator = "Ada"\n[queue]\ncontrol_port = 0\n')
    changed = run(app, ["config", "show", "--changed"]).output
    assert [line.split("  #")[0] for line in changed.splitlines()[1:]] == [
        'operator = "Ada"', "[queue]", "control_port = 0",
    ]  # fmt: skip
