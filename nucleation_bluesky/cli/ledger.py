"""``nucleation-bluesky ledger``: exposures, samples and mounts. Reading changes nothing."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from nucleation_bluesky.cli.common import (
    ConfigOption,
    DataOption,
    configuration,
    console,
    errors_in_one_sentence,
    fail,
    quantity_option,
)
from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.ledger.errors import LedgerError
from nucleation_bluesky.ledger.ledger import Ledger
from nucleation_bluesky.ledger.records import Registration

ledger_app = typer.Typer(help="Exposures of sites, samples and mounts.", no_args_is_help=True)


def _shift(help_text: str) -> Any:
    return typer.Option(parser=quantity_option("m"), help=help_text)


def _open(config: Path | None, data: Path | None, *, read_only: bool) -> Ledger:
    path = configuration(config, data).data_directory / "ledger.sqlite"
    if read_only and not path.exists():
        fail(f"there is no ledger at {path} yet; it is made by the first session")
    return Ledger(path, read_only=read_only)


def _outcome(detail: Mapping[str, Any]) -> str:
    """Why a site was burned, or how its ramp ended."""
    if reason := detail.get("reason"):
        return str(reason)
    found = detail.get("termination", "")
    try:
        return Termination(int(found)).label.replace("_", " ")
    except (TypeError, ValueError, OverflowError):  # of another version
        return str(found)


@ledger_app.command("show")
def show(
    sample: Annotated[str | None, typer.Argument(help="Only this sample.")] = None,
    last: Annotated[int, typer.Option(help="How many of the latest exposures.")] = 20,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Show samples, their mounts and the latest exposures."""
    with errors_in_one_sentence(LedgerError), _open(config, data, read_only=True) as ledger:
        for name in ledger.samples() if sample is None else [sample]:
            exposures = ledger.exposures(name)
            counts = Counter(exposure.state.value.lower() for exposure in exposures)
            told = ", ".join(f"{n} {state}" for state, n in sorted(counts.items())) or "none"
            line = Text.assemble((name, "bold"), f": {len(exposures)} exposures ({told})")
            console.print(line)
            for mount in ledger.mounts(name):
                when = datetime.fromtimestamp(mount.time).astimezone()
                console.print(f"  mount {mount.epoch}, {mount.kind.value}, {when:%Y-%m-%d %H:%M}")
            table = Table("id", "x / um", "y / um", "state", "time", "outcome")
            for item in exposures[-last:]:
                when = datetime.fromtimestamp(item.time).astimezone()
                table.add_row(
                    *(str(item.id), f"{item.x * 1e6:.4f}", f"{item.y * 1e6:.4f}"),
                    *(item.state.value.lower(), f"{when:%Y-%m-%d %H:%M:%S}"),
                    _outcome(item.detail),
                )
            if exposures:
                console.print(table)


@ledger_app.command("mount")
def mount(
    sample: Annotated[str, typer.Argument(help="The sample.")],
    new_area: Annotated[
        bool, typer.Option(help="No site of this mount can meet an earlier one.")
    ] = False,
    dx: Annotated[float, _shift("Where x = 0, y = 0 of the new mount lies in the last: x.")] = 0.0,
    dy: Annotated[float, _shift("The same: y.")] = 0.0,
    angle: Annotated[
        float,
        typer.Option(parser=quantity_option("rad"), help="Rotation, counter-clockwise."),
    ] = 0.0,
    uncertainty: Annotated[float, _shift("How well the shift is known.")] = 0.0,
    registered: Annotated[
        bool, typer.Option(help="The shift and rotation given place this mount in the last.")
    ] = False,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Record that a sample was mounted again: positions of the old mount no longer hold."""
    if new_area and registered:
        fail("a mount is either a new area or registered, not both", 2)
    registration: Registration | str | None = "new_area" if new_area else None
    with errors_in_one_sentence(LedgerError), _open(config, data, read_only=False) as ledger:
        if registered:
            registration = Registration(dx, dy, angle, uncertainty)
        ledger.add_sample(sample)
        epoch = ledger.mount(sample, registration)  # type: ignore[arg-type]
        console.print(f"{sample}: mount {epoch}")


def register(app: typer.Typer) -> None:
    """Add the command group."""
    app.add_typer(ledger_app, name="ledger")
