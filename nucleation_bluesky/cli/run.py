"""``nucleation-bluesky run``: plans from the command line, with units."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from bluesky.plan_stubs import mv

from nucleation_bluesky.cli.common import (
    DELIVERY_TIMEOUT,
    ConfigOption,
    DataOption,
    configuration,
    console,
    errors_in_one_sentence,
    fail,
    quantity_option,
)
from nucleation_bluesky.cli.plan_options import plan_parameters
from nucleation_bluesky.plans.landing import approach_until_contact, cv_cycles, hop, landing
from nucleation_bluesky.plans.nucleation_map import nucleation_map
from nucleation_bluesky.plans.screen import (
    combinatorial_screen,
    constant_charge_series,
    hopping_map,
)
from nucleation_bluesky.plans.sweep_rate_series import sweep_rate_series
from nucleation_bluesky.plans.topography import topography
from nucleation_bluesky.session.config import Configuration, configuration_path
from nucleation_bluesky.session.execute import execute
from nucleation_bluesky.session.resume import resume
from nucleation_bluesky.session.session import EXPECTED_ERRORS, Session
from nucleation_bluesky.session.session_plans import worst_case
from nucleation_bluesky.storage.disk import require_disk

run_app = typer.Typer(
    help="Run a plan. Quantities carry units: --pitch '20 nm' --current-compliance '-10 pA'.",
    no_args_is_help=True,
)
AFM_PLANS: dict[str, Callable[..., Any]] = {
    "map": nucleation_map,
    "rates": sweep_rate_series,
    "topography": topography,
}
SECCM_PLANS: dict[str, Callable[..., Any]] = {
    "landing": landing,
    "contact": approach_until_contact,
    "hop": hop,
    "hopping": hopping_map,
    "screen": combinatorial_screen,
    "cv": cv_cycles,
    "constant-charge": constant_charge_series,
}
GainOption = Annotated[
    float,
    typer.Option(parser=quantity_option("V/A"), help="Amplifier gain; 0 leaves it as it is."),
]


def _command(plan: Callable[..., Any], family: str) -> Callable[..., None]:
    """Return a command that runs ``plan`` with options made from its signature."""
    afm = family == "afm"

    def command(**options: Any) -> None:
        config, data = options.pop("config"), options.pop("data")
        gain = options.pop("gain") if afm else 0.0

        def make(session: Session) -> Any:
            made = plan(session.afm if afm else session.seccm, **options)
            require_disk(session.data, worst_case(options))
            return made

        run_plan(make, config, data, gain, family)

    keyword = inspect.Parameter.KEYWORD_ONLY
    shared = [
        inspect.Parameter("config", keyword, default=None, annotation=ConfigOption),
        inspect.Parameter("data", keyword, default=None, annotation=DataOption),
    ]
    if afm:
        shared.insert(0, inspect.Parameter("gain", keyword, default="0 V/A", annotation=GainOption))
    parameters = [*plan_parameters(plan), *shared]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__doc__ = (plan.__doc__ or "").strip().splitlines()[0]
    return command


def chosen_configuration(config: Path | None, data: Path | None, family: str) -> Configuration:
    """Return the configuration in force; without a file, the embedded set-up of the family."""
    if configuration_path(config) is not None or not family:
        return configuration(config, data)
    made = Configuration.model_validate({"instrument": {"family": family}})
    return made if data is None else made.model_copy(update={"data_directory": data})


def run_plan(
    make: Callable[[Session], Any],
    config: Path | None,
    data: Path | None,
    gain: float = 0.0,
    family: str = "",
) -> None:
    """Open a session, run one plan, wait until its documents are in Tiled."""
    chosen = chosen_configuration(config, data, family)
    if family and chosen.instrument.family != family:
        fail(
            f"this plan needs an instrument of the family '{family}', and the configuration "
            f"describes one of '{chosen.instrument.family}'; set instrument.family, or name "
            "another file (--config)",
            2,
        )
    with (
        errors_in_one_sentence(*EXPECTED_ERRORS),
        Session(chosen, say=console.print) as session,
    ):
        plan = make(session)
        if gain:
            session.RE(mv(session.instrument.amplifier.gain, gain))
        outcome = execute(session, plan)
        if not session.wait_delivered([outcome.uid], DELIVERY_TIMEOUT):
            console.print(
                "not all documents have reached Tiled yet; they are safe in the journal and will "
                "be delivered ('nucleation-bluesky journal deliver')"
            )
        console.print(f"run {outcome.uid}: {outcome.summary}")
        console.print(f"analyse it with: nucleation-bluesky analyse {outcome.uid[:8]}")
        if not outcome.complete:
            fail(f"the run did not complete: {outcome.reason}")


@run_app.command("resume")
def resume_command(
    run: Annotated[str, typer.Argument(help="The interrupted run: 'latest', number or uid.")],
    register: Annotated[
        bool, typer.Option(help="Register to the run's topography before the first site.")
    ] = True,
    family: Annotated[
        str, typer.Option(help="afm or seccm, where there is no configuration file.")
    ] = "afm",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Go on with an interrupted map or screen over the sites that are still free."""
    which: str | int = -1 if run == "latest" else run
    named = "" if configuration_path(config) is not None else family
    run_plan(lambda session: resume(session, which, register=register), config, data, family=named)


for _family, _plans in (("afm", AFM_PLANS), ("seccm", SECCM_PLANS)):
    for _name, _plan in _plans.items():
        run_app.command(_name)(_command(_plan, _family))


def register(app: typer.Typer) -> None:
    """Add the command group."""
    app.add_typer(run_app, name="run")
