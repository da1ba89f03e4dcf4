"""``export``, ``import``, ``attach``, ``overlay``: to and from other programs."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from nucleation_bluesky.cli.common import (
    ConfigOption,
    DataOption,
    configuration,
    console,
    errors_in_one_sentence,
    quantity_option,
)
from nucleation_bluesky.cli.data import EXPECTED, PartialOption, deliver
from nucleation_bluesky.exchange import correlative
from nucleation_bluesky.exchange.export import (
    FORMATS,
    Exportable,
    export,
    of_film_file,
    of_result_file,
    of_run,
    require_formats,
)
from nucleation_bluesky.exchange.fields import ExchangeError, Field, fields_of
from nucleation_bluesky.exchange.foreign_files import read_foreign, read_picture
from nucleation_bluesky.exchange.foreign_run import Content
from nucleation_bluesky.exchange.foreign_run import register as register_run
from nucleation_bluesky.session.access import serving
from nucleation_bluesky.storage.result_files import read_result
from nucleation_bluesky.storage.results import maps
from nucleation_bluesky.storage.runs import open_run
from nucleation_bluesky.storage.server import connect

FormatOption = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        "-f",
        help=f"One or more of: {', '.join(FORMATS)}; by default as configured.",
        show_default=False,
    ),
]
SampleOption = Annotated[str, typer.Option(help="Sample identifier.")]


def _which(target: str) -> str | int:
    return -1 if target == "latest" else target


def _import(content: Content, path: Path, sample: str, config: Path | None, data: Path | None):
    chosen = configuration(config, data)
    directory = chosen.data_directory.absolute()
    with serving(chosen) as server:
        uid, created = register_run(
            content,
            path,
            journal_dir=directory / "journal",
            file_dir=directory / "waveforms",
            sample=sample,
        )
        deliver(directory, server, uid)
    told = "registered as" if created else "was registered before, as"
    console.print(f"{path.name} {told} run {uid}")


def _export_command(app: typer.Typer) -> None:
    @app.command("export")
    def export_(
        target: Annotated[
            str,
            typer.Argument(help="A run ('latest', number, uid), a result (.nc), or a film (.h5)."),
        ],
        formats: FormatOption = None,
        out: Annotated[
            Path | None, typer.Option(help="Directory to write to; by default as configured.")
        ] = None,
        allow_partial: PartialOption = False,
        config: ConfigOption = None,
        data: DataOption = None,
    ) -> None:
        """Export maps, topographies, films, tables and documents for other programs."""
        with errors_in_one_sentence(*EXPECTED):
            path, chosen = Path(target), configuration(config, data)
            wanted = require_formats(formats or chosen.export.formats)
            directory = out or chosen.export.directory
            if path.is_file():
                source: Exportable = (
                    of_result_file(path) if path.suffix == ".nc" else of_film_file(path)
                )
                written = export(source, wanted, directory)
            else:
                with serving(chosen) as server:
                    run = open_run(connect(server), _which(target))
                    source = of_run(run, allow_partial=allow_partial)
                    written = export(source, wanted, directory)
            for file in written:
                console.print(str(file), soft_wrap=True)


def _import_commands(app: typer.Typer) -> None:
    @app.command("import")
    def import_(
        path: Annotated[Path, typer.Argument(help="An Asylum .ibw or Gwyddion .gwy file.")],
        sample: SampleOption = "",
        config: ConfigOption = None,
        data: DataOption = None,
    ) -> None:
        """Register a foreign image or curve as a run in Tiled, units and settings kept."""
        with errors_in_one_sentence(*EXPECTED):
            _import(read_foreign(path), path, sample, config, data)

    @app.command("attach")
    def attach(
        picture: Annotated[Path, typer.Argument(help="SEM, SIMS, Raman ... (TIFF, PNG, JPEG).")],
        sample: SampleOption,
        kind: Annotated[str, typer.Option(help="What took it: SEM, SIMS, Raman ...")] = "SEM",
        pixel_size: Annotated[
            float | None, typer.Option(parser=quantity_option("m"), help="Edge of a pixel.")
        ] = None,
        config: ConfigOption = None,
        data: DataOption = None,
    ) -> None:
        """Attach a picture of another instrument to a sample, as a run in Tiled."""
        with errors_in_one_sentence(*EXPECTED):
            _import(read_picture(picture, kind, pixel_size), picture, sample, config, data)


def _map_of(target: str, name: str, config: Path | None, data: Path | None) -> Field:
    path = Path(target)
    if path.is_file():
        dataset = read_result(path)
    else:
        with serving(configuration(config, data)) as server:
            dataset = maps(open_run(connect(server), _which(target)))
    for field in fields_of(dataset):
        if field.name == name:
            return field
    raise ExchangeError(f"the result has no map '{name}'")


def _control_points(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise ExchangeError(f"{path}: the control points cannot be read ({error})") from None
    missing = {"column", "row", "x", "y"} - set(table.columns)
    if missing:
        raise ExchangeError(f"{path}: control points lack the column '{min(missing)}'")
    return table[["column", "row"]].to_numpy(float), table[["x", "y"]].to_numpy(float)


def _overlay_command(app: typer.Typer) -> None:
    @app.command("overlay")
    def overlay(
        target: Annotated[str, typer.Argument(help="An analysed run, or a result file (.nc).")],
        picture: Annotated[Path, typer.Argument(help="The picture to lay over the map.")],
        points: Annotated[
            Path,
            typer.Option(
                help="CSV with column, row (pixels from the picture's lower left) and x, y (m)."
            ),
        ],
        out: Annotated[Path, typer.Option(help="Picture to write.")] = Path("overlay.png"),
        quantity: Annotated[str, typer.Option("--map", help="Map to show.")] = "onset_bias",
        model: Annotated[str, typer.Option(help="similarity, affine or euclidean.")] = "similarity",
        intensity: Annotated[
            bool, typer.Option(help="Refine by mutual information after the points.")
        ] = False,
        config: ConfigOption = None,
        data: DataOption = None,
    ) -> None:
        """Register a picture of another instrument onto a map and draw both."""
        from nucleation_bluesky.report.overlay import draw_overlay  # noqa: PLC0415 - slow import

        with errors_in_one_sentence(*EXPECTED):
            field = _map_of(target, quantity, config, data)
            content: Any = read_picture(picture, "picture", None)
            image = content.arrays["image"][0]
            found = correlative.align_points(*_control_points(points), model)
            if intensity:
                found = correlative.refine(image, field, found)
            moved = correlative.resample(image, found, field)
            draw_overlay(out, field, moved, title=picture.name)
            if np.isfinite(found.residual):
                console.print(f"control points agree within {found.residual * 1e9:.1f} nm (rms)")
            if np.isfinite(found.score):
                console.print(f"normalised mutual information {found.score:.3f} (1: unrelated)")
            console.print(f"overlay in {out}")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for add in (_export_command, _import_commands, _overlay_command):
        add(app)
