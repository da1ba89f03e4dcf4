"""``nucleation-bluesky run``: plans from the command line, with units."""

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from bluesky.plan_stubs import mv

from nucleation_bluesky.cli.common import (
    ConfigOption,
    DataOption,
    configuration,
    console,
    errors_in_one_sentence,
    fail,
    quantity_option,
)
from nucleation_bluesky.cli.plan_options import plan_parameters
from nucleation_bluesky.plans.nucleation_map import nucleation_map
from nucleation_bluesky.plans.sweep_rate_series import sweep_rate_series
from nucleation_bluesky.plans.topography import topography
from nucleation_bluesky.session.execute import execute
from nucleation_bluesky.session.resume import resume
from nucleation_bluesky.session.session import EXPECTED_ERRORS, Session
from nucleation_bluesky.storage.disk import map_bytes, require_disk

run_app = typer.Typer(
    help="Run a plan. Quantities carry units: --pitch '20 nm' --current-compliance '-10 pA'.",
    no_args_is_help=True,
)
PLANS: dict[str, Callable[..., Any]] = {
    "map": nucleation_map,
    "rates": sweep_rate_series,
    "topography": topography,
}
DELIVERY_TIMEOUT = 60.0
GainOption = Annotated[
    float,
    typer.Option(parser=quantity_option("V/A"), help="Amplifier gain; 0 leaves it as it is."),
]


def worst_case(options: dict[str, Any]) -> int:
    """Return the most that a map's ramps can write, bytes; its arguments have been checked."""
    span = abs(options["stop"] - options["start"]) / options["rate"]
    samples = math.ceil(span * options["sample_rate"]) + options["n_post"]
    return map_bytes(options["rows"] * options["cols"], samples)


def _command(plan: Callable[..., Any]) -> Callable[..., None]:
    """Return a command that runs ``plan`` with options made from its signature."""

    def command(**options: Any) -> None:
        config, data, gain = (options.pop(name) for name in ("config", "data", "gain"))

        def make(session: Session) -> Any:
            made = plan(session.instrument, **options)
            if "rate" in options and "rows" in options:
                require_disk(session.data, worst_case(options))
            return made

        run_plan(make, config, data, gain)

    keyword = inspect.Parameter.KEYWORD_ONLY
    shared = [
        inspect.Parameter("gain", keyword, default="0 V/A", annotation=GainOption),
        inspect.Parameter("config", keyword, default=None, annotation=ConfigOption),
        inspect.Parameter("data", keyword, default=None, annotation=DataOption),
    ]
    parameters = [*plan_parameters(plan), *shared]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__doc__ = (plan.__doc__ or "").strip().splitlines()[0]
    return command


def run_plan(
    make: Callable[[Session], Any], config: Path | None, data: Path | None, gain: float = 0.0
) -> None:
    """Open a session, run one plan, wait until its documents are in Tiled."""
    chosen = configuration(config, data)
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
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Go on with an interrupted map over the sites that are still free."""
    which: str | int = -1 if run == "latest" else run
    run_plan(lambda session: resume(session, which, register=register), config, data)


for _name, _plan in PLANS.items():
    run_app.command(_name)(_command(_plan))


def register(app: typer.Typer) -> None:
    """Add the command group."""
    app.add_typer(run_app, name="run")
