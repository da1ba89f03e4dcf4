"""``recover``: after a crash, what happened and what can be resumed."""

from typing import Annotated

import typer

from nucleation_bluesky.cli.common import (
    DELIVERY_TIMEOUT,
    ConfigOption,
    DataOption,
    configuration,
    console,
    errors_in_one_sentence,
    fail,
)
from nucleation_bluesky.ledger.errors import LedgerError
from nucleation_bluesky.session.recover import Recovery, recover


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("recover")
    def recover_(
        deliver: Annotated[bool, typer.Option(help="Catch Tiled up as well.")] = True,
        timeout: Annotated[
            float, typer.Option(help="Longest wait for Tiled, s.")
        ] = DELIVERY_TIMEOUT,
        config: ConfigOption = None,
        data: DataOption = None,
    ) -> None:
        """Clear up after dead sessions; what living ones own is left alone."""
        chosen = configuration(config, data)
        with errors_in_one_sentence(LedgerError, OSError):
            found = recover(chosen.data_directory.absolute())
        for line in told(found):
            console.print(line, soft_wrap=True)
        if deliver and found.undelivered:
            from nucleation_bluesky.cli.journal import deliver as catch_up  # noqa: PLC0415 - slow

            catch_up(again=False, timeout=timeout, config=config, data=data)
        if found.damaged:
            fail(f"{len(found.damaged)} journal(s) are damaged; the lines above say where")


def told(found: Recovery) -> list[str]:
    """Say in a few lines what happened and what can be resumed."""
    lines = []
    if found.burned:
        lines.append(
            f"{len(found.burned)} site(s) of dead sessions burned: they are not used again"
        )
    lines += [f"run {uid} of a dead session closed" for uid in found.closed]
    lines += [f"run {uid} belongs to a living session and was left alone" for uid in found.alive]
    lines += [
        f"run {run.uid} ({run.plan}) has {run.done} of {run.total} sites: "
        f"nucleation-bluesky run resume {run.uid[:8]}"
        for run in found.resumable
    ]
    lines += [f"damaged: {reason}" for reason in found.damaged]
    if found.undelivered:
        lines.append(f"{len(found.undelivered)} run(s) are not in Tiled yet")
    return lines or ["nothing to recover"]
