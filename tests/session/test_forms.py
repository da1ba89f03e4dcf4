"""What a queue monitor builds from each plan: the same calls that the Qt queue monitor makes."""

import ast
import inspect
import re
from types import SimpleNamespace

import pytest
from bluesky_queueserver import (
    bind_plan_arguments,
    construct_parameters,
    format_text_descriptions,
    validate_plan,
)
from bluesky_queueserver.manager.profile_ops import existing_plans_and_devices_from_nspace
from nucleation_bluesky.session.config import Configuration, InstrumentConfig
from nucleation_bluesky.session.session_plans import plan_names, session_plans

FAMILIES = ("afm", "seccm")
# what a plan has no default for
GIVEN = {"instrument": "probe", "run": "latest", "gain": 1e11, "rates": [1.2, 4.8], "charge": 1e-9,
         "currents": [-1e-9, -2e-9], "x": 1e-6, "y": 0.0}  # fmt: skip
# ratios, and a threshold that is A by current and V by overload
NO_UNIT = {"risk", "min_quality", "wetting_ratio", "contact_threshold"}


class Instrument:
    """Stands for a device: forms know its name only."""

    parent = None
    name = "probe"

    def read(self):
        return {}

    def describe(self):
        return {}

    def trigger(self):
        return None


def forms(family, tmp_path):
    config = Configuration(
        data_directory=tmp_path, instrument=InstrumentConfig(family=family, name="probe")
    )
    plans = session_plans(SimpleNamespace(config=config, data=tmp_path), unattended=True)
    assert list(plans) == plan_names(family)
    found, devices, *_ = existing_plans_and_devices_from_nspace(
        nspace={**plans, "probe": Instrument()}
    )
    assert list(devices) == ["probe"]
    return found


@pytest.fixture(scope="module", params=FAMILIES)
def allowed(request, tmp_path_factory):
    found = forms(request.param, tmp_path_factory.mktemp("data"))
    assert set(found) == set(plan_names(request.param))
    return found


def shown(value):
    """A value as the monitor's table shows it, to be typed over."""
    return f"'{value}'" if isinstance(value, str) else str(value)


def parameters(allowed):
    for plan, form in allowed.items():
        stored = {p["name"]: p for p in form["parameters"]}
        for made in construct_parameters(form["parameters"]):
            yield f"{plan}({made.name})", made, stored[made.name]


def test_every_plan_is_described(allowed):
    for plan, form in allowed.items():
        assert len(form["description"]) > 20, plan
        told = format_text_descriptions(item_parameters=form, use_html=True)
        assert "not found" not in told["description"]
        for name, text in told["parameters"].items():
            assert len(re.sub("<[^>]*>", "", text)) > len(name) + 10, f"{plan}({name})"


def test_every_parameter_has_a_type_and_a_meaning(allowed):
    for where, made, stored in parameters(allowed):
        assert made.annotation is not inspect.Parameter.empty, where
        assert len(stored["description"]) > 10, where
        assert made.kind in (made.POSITIONAL_OR_KEYWORD, made.KEYWORD_ONLY), where


def test_every_default_can_be_typed(allowed):
    """The table shows it as text and evaluates what it reads."""
    for where, made, stored in parameters(allowed):
        if made.default is inspect.Parameter.empty:
            assert stored["name"] in GIVEN, where  # a form asks for it
            continue
        assert ast.literal_eval(shown(made.default)) == made.default, where
        assert ast.literal_eval(stored["default"]) == made.default, where


def test_every_number_has_bounds_and_a_unit(allowed):
    for where, made, stored in parameters(allowed):
        kind = stored["annotation"]["type"]
        if not re.search(r"\b(float|int)\b", kind):
            continue
        low, high = float(stored["min"]), float(stored["max"])
        assert low < high, where
        if isinstance(made.default, (int, float)):
            assert low <= made.default <= high, where
        if "float" in kind and made.name not in NO_UNIT:
            assert re.search(r"\[[^]]+\]$", stored["description"]), where


def test_every_choice_is_listed(allowed):
    """A form offers the choices; the default is one of them."""
    for where, made, stored in parameters(allowed):
        for choices in stored["annotation"].get("enums", {}).values():
            assert len(choices) >= 2, where
            if made.default not in (inspect.Parameter.empty, None):
                assert made.default in choices, where


def test_devices_resolve(allowed):
    for where, _, stored in parameters(allowed):
        if stored["name"] == "instrument":
            assert stored["annotation"]["devices"] == {"Instrument": ["probe"]}, where


def test_a_form_left_at_its_defaults_is_accepted(allowed):
    """All defaults, sent explicitly, as the monitor does with 'all parameters' ticked."""
    for plan, form in allowed.items():
        made = construct_parameters(form["parameters"])
        kwargs = {}
        for p in made:
            kwargs[p.name] = GIVEN[p.name] if p.default is inspect.Parameter.empty else p.default
        item = {"item_type": "plan", "name": plan, "args": [], "kwargs": kwargs}
        success, why = validate_plan(
            item, allowed_plans=allowed, allowed_devices={"probe": {"is_readable": True}}
        )
        assert success, f"{plan}: {why}"
        bound = bind_plan_arguments(plan_args=[], plan_kwargs=kwargs, plan_parameters=form)
        assert set(bound.arguments) == set(kwargs), plan
