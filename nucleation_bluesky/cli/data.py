"""``analyse``, ``report``, ``ingest``: from data to results."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from nucleation_bluesky.analysis.seccm.landing import FilmSettings
from nucleation_bluesky.callbacks.journal import JournalError
from nucleation_bluesky.cli.common import (
    DELIVERY_TIMEOUT,
    ConfigOption,
    DataOption,
    configuration,
    console,
    errors_in_one_sentence,
    quantity_option,
)
from nucleation_bluesky.segments import SegmentError
from nucleation_bluesky.session.access import CATALOGUE_ERRORS, serving
from nucleation_bluesky.session.config import Configuration
from nucleation_bluesky.storage import courier_process
from nucleation_bluesky.storage.analyse import AnalysisOptions
from nucleation_bluesky.storage.analyse_any import analyse_any_file, analyse_any_run
from nucleation_bluesky.storage.analyse_seccm import SeccmOptions
from nucleation_bluesky.storage.analysis_result import AnalysisResult
from nucleation_bluesky.storage.ingest import ingest_file
from nucleation_bluesky.storage.result_files import write_result as write_file
from nucleation_bluesky.storage.results import write_result as write_to_tiled
from nucleation_bluesky.storage.runs import open_run, series_of
from nucleation_bluesky.storage.seccm_result import SeccmResult
from nucleation_bluesky.storage.server import ServerError, connect
from nucleation_bluesky.storage.tdms import TdmsOptions

EXPECTED = (*CATALOGUE_ERRORS, JournalError, SegmentError)
Target = Annotated[
    str,
    typer.Argument(
        help="A file (nucleation-ivz, nucleation-seccm, TDMS), or a run: 'latest', its number, "
        "or its uid."
    ),
]
EqOption = Annotated[
    float | None,
    typer.Option(
        "--equilibrium-potential",
        parser=quantity_option("V"),
        help="E_eq on the data's own scale, instead of the recorded one.",
    ),
]
PartialOption = Annotated[
    bool, typer.Option("--allow-partial", help="Take what there is of an incomplete run.")
]


FilmWindowOption = Annotated[
    int | None,
    typer.Option(
        "--film-window",
        help="Frames of the Savitzky-Golay filter of a film's nucleation times (odd); "
        "chosen from frame rate and noise if not given.",
    ),
]
FilmOrderOption = Annotated[
    int | None, typer.Option("--film-order", help="Order of that filter's polynomial.")
]
NoFilmOption = Annotated[bool, typer.Option("--no-film", help="Leave out the films of landings.")]


def _analyse(
    config: Configuration,
    target: str,
    options: AnalysisOptions,
    seccm: SeccmOptions | None = None,
    *,
    partial: bool,
    store: bool,
) -> AnalysisResult | SeccmResult:
    """Analyse a file, or a run in Tiled; the result of a run is stored next to it."""
    if Path(target).is_file():
        return analyse_any_file(Path(target), options, seccm)
    if Path(target).suffix in (".h5", ".hdf5", ".nc", ".tdms"):
        raise FileNotFoundError(f"there is no file {target}")
    with serving(config) as server:
        client = connect(server)
        which: str | int = -1 if target == "latest" else target
        result = analyse_any_run(client, which, options, seccm, allow_partial=partial)
        if store:
            runs = series_of(client, open_run(client, which))
            parameters = result.parameters
            for name, dataset in result.datasets.items():
                key = write_to_tiled(client, dataset, name=name, runs=runs, parameters=parameters)
                console.print(f"stored in Tiled: maps/{key}")
        return result


def is_file(target: str) -> bool:
    """Tell whether a target is a file, not a run."""
    return Path(target).is_file()


def show_summary(result: AnalysisResult | SeccmResult) -> None:
    """Print the headline figures of a result."""
    table = Table("figure", "value", "95 %", "from", title=result.label)
    for item in result.summary:
        interval = "" if item.interval is None else "{:.4g} to {:.4g}".format(*item.interval)
        unit = "" if item.unit == "1" else f" {item.unit}"
        told = f"{item.value:.4g}"
        if item.uncertainty is not None:
            told += f" +/- {item.uncertainty:.2g}"
        table.add_row(item.name, told + unit, interval, item.note)
    console.print(table)
    for part, reason in result.missing.items():
        console.print(f"no {part}: {reason}", style="dim", soft_wrap=True)


def _analyse_commands(app: typer.Typer) -> None:
    @app.command("analyse")
    def analyse(
        target: Target,
        out: Annotated[Path | None, typer.Option(help="Write the result here (netCDF).")] = None,
        equilibrium_potential: EqOption = None,
        film_window: FilmWindowOption = None,
        film_order: FilmOrderOption = None,
        no_film: NoFilmOption = False,
        allow_partial: PartialOption = False,
        store: Annotated[
            bool, typer.Option(help="Store a run's result in Tiled, next to it.")
        ] = True,
        config: ConfigOption = None,
        data: DataOption = None,
    ) -> None:
        """Analyse a file, or a run in Tiled: onsets or nucleation, charges, efficiencies, maps."""
        options = AnalysisOptions(equilibrium_potential=equilibrium_potential)
        film = FilmSettings(window=film_window, footprint_window=film_window, order=film_order)
        seccm = SeccmOptions(film=film, use_film=not no_film)
        with errors_in_one_sentence(*EXPECTED):
            chosen = configuration(config, data)
            result = _analyse(chosen, target, options, seccm, partial=allow_partial, store=store)
            show_summary(result)
            if out is not None:
                write_file(out, result.dataset)
                console.print(f"result in {out}")

    @app.command("report")
    def report(
        targets: Annotated[list[str], typer.Argument(help="Files or runs, in order.")],
        out: Annotated[Path, typer.Option(help="Directory of the report.")] = Path("report"),
        title: Annotated[str, typer.Option(help="Heading.")] = "Nanoscale nucleation",
        equilibrium_potential: EqOption = None,
        allow_partial: PartialOption = False,
        config: ConfigOption = None,
        data: DataOption = None,
    ) -> None:
        """Write a self-contained HTML report with figures, of one or several runs or files."""
        from nucleation_bluesky.report.build import write_report  # noqa: PLC0415 - slow import

        options = AnalysisOptions(equilibrium_potential=equilibrium_potential)
        with errors_in_one_sentence(*EXPECTED):
            chosen = configuration(config, data)
            # films are read while the report is drawn: the server has to live as long
            with nullcontext() if all(map(is_file, targets)) else serving(chosen):
                results = [
                    _analyse(chosen, target, options, partial=allow_partial, store=False)
                    for target in targets
                ]
                if len(results) > 1:
                    results = [
                        replace(result, label=f"{result.label} ({target[:8]})")
                        for result, target in zip(results, targets, strict=True)
                    ]
                console.print(f"report in {write_report(results, out, title=title)}")


def _ingest_command(app: typer.Typer) -> None:
    @app.command("ingest")
    def ingest(
        path: Annotated[
            Path,
            typer.Argument(help="A nucleation-ivz, nucleation-seccm or TDMS hopping file."),
        ],
        sample: Annotated[str | None, typer.Option(help="Sample, if not in the file.")] = None,
        potential: Annotated[
            str, typer.Option("--potential-channel", help="TDMS: channel of the potential.")
        ] = "V1",
        current: Annotated[
            str, typer.Option("--current-channel", help="TDMS: channel of the current.")
        ] = "Current1",
        technique: Annotated[
            str | None,
            typer.Option(help="TDMS: cv, galvanostatic, chronoamperometry, pulse or cycling."),
        ] = None,
        reference_scale: Annotated[
            str, typer.Option(help="TDMS: name of the scale of the potentials.")
        ] = "",
        sample_period: Annotated[
            float | None,
            typer.Option(
                parser=quantity_option("s"), help="TDMS: sample period, if it has no dt(s)."
            ),
        ] = None,
        config: ConfigOption = None,
        data: DataOption = None,
    ) -> None:
        """Register a foreign file as a run in Tiled."""
        with errors_in_one_sentence(*EXPECTED):
            tdms = TdmsOptions(
                potential,
                current,
                technique=technique,
                reference_scale=reference_scale,
                sample_period=sample_period,
            )
            chosen = configuration(config, data)
            directory = chosen.data_directory.absolute()
            done = ingest_file(
                path,
                journal_dir=directory / "journal",
                waveform_dir=directory / "waveforms",
                session="ingest",
                sample=sample,
                tdms=tdms,
            )
            with serving(chosen) as server:
                uid = deliver(directory, server, done.uid)
            told = "registered as" if done.created else "was registered before, as"
            console.print(f"{path.name} {told} run {uid}")


def deliver(directory: Path, server: Any, uid: str) -> str:
    """Wait until a run is in Tiled.

    Raises
    ------
    ServerError
        If it is not there in time; it stays in the journal.
    """
    courier = courier_process.start(directory, server)
    try:
        if not courier.wait_delivered([uid], DELIVERY_TIMEOUT):
            raise ServerError(
                f"run {uid} is in the journal but not in Tiled yet; "
                "deliver it with 'nucleation-bluesky journal deliver'"
            )
    finally:
        courier.release()
    return uid


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for add in (_analyse_commands, _ingest_command):
        add(app)
