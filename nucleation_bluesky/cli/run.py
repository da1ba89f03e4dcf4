"""``nucleation-bluesky run``: plans from the command line, with units."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from nucleation_bluesky.cli.common import (
    ConfigOption,
    DataOption,
    configuration,
    console,
    errors_in_one_sentence,
    fail,
)
from nucleation_bluesky.cli.plan_options import plan_parameters
from nucleation_bluesky.plans.nucleation_map import nucleation_map
from nucleation_bluesky.plans.sweep_rate_series import sweep_rate_series
from nucleation_bluesky.plans.topography import topography
from nucleation_bluesky.session.execute import execute
from nucleation_bluesky.session.session import EXPECTED_ERRORS, Session

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


def _command(plan: Callable[..., Any]) -> Callable[..., None]:
    """Return a command that runs ``plan`` with options made from its signature."""

    def command(**options: Any) -> None:
        config, data = options.pop("config"), options.pop("data")
        run_plan(plan, options, config, data)

    keyword = inspect.Parameter.KEYWORD_ONLY
    shared = [
        inspect.Parameter("config", keyword, default=None, annotation=ConfigOption),
        inspect.Parameter("data", keyword, default=None, annotation=DataOption),
    ]
    parameters = [*plan_parameters(plan), *shared]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__doc__ = (plan.__doc__ or "").strip().splitlines()[0]
    return command


def run_plan(
    plan: Callable[..., Any], options: dict[str, Any], config: Path | None, data: Path | None
) -> None:
    """Open a session, run one plan, wait until its documents are in Tiled."""
    chosen = configuration(config, data)
    with (
        errors_in_one_sentence(*EXPECTED_ERRORS),
        Session(chosen, say=console.print) as session,
    ):
        outcome = execute(session, plan(session.instrument, **options))
        if not session.wait_delivered([outcome.uid], DELIVERY_TIMEOUT):
            console.print(
                "not all documents have reached Tiled yet; they are safe in the journal and will "
                "be delivered ('nucleation-bluesky journal deliver')"
            )
        console.print(f"run {outcome.uid}: {outcome.summary}")
        console.print(f"analyse it with: nucleation-bluesky analyse {outcome.uid[:8]}")
        if not outcome.complete:
            fail(f"the run did not complete: {outcome.reason}")


for _name, _plan in PLANS.items():
    run_app.command(_name)(_command(_plan))


def register(app: typer.Typer) -> None:
    """Add the command group."""
    app.add_typer(run_app, name="run")
