"""The report: one self-contained HTML file, and the figures as PNG."""

import base64
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import jinja2

from nucleation_bluesky.report import text
from nucleation_bluesky.report.figures import style
from nucleation_bluesky.report.movie import write_movie
from nucleation_bluesky.report.plate import Plate
from nucleation_bluesky.report.plates import joint_plates, site_plates
from nucleation_bluesky.report.seccm_plates import seccm_plates
from nucleation_bluesky.report.seccm_tables import Table, screen_table
from nucleation_bluesky.storage.analysis_result import AnalysisResult
from nucleation_bluesky.storage.result_files import package_version
from nucleation_bluesky.storage.seccm_result import SeccmResult

REPORT_NAME = "report.html"
MAX_MOVIES = 3
AFM_PAPER = "Kumar et al., Sci. Rep. 3, 1621 (2013)"
SECCM_PAPER = "Martín-Yerga et al., ACS Nano (2024)"
Result = AnalysisResult | SeccmResult


@dataclass(frozen=True)
class DrawnPlate:
    """A plate with its picture as text for an ``img`` tag, or the reason why there is none."""

    plate: Plate
    file: str = ""
    data: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Section:
    """Chapter of one data set."""

    anchor: str
    title: str
    headlines: list[tuple[str, str, str]]
    measured: list[tuple[str, str]]
    plates: list[DrawnPlate]
    provenance: list[tuple[str, str]]
    paper: str = AFM_PAPER
    tables: list[Table] = field(default_factory=list)
    movies: list[tuple[str, str]] = field(default_factory=list)

    @property
    def has_maps(self) -> bool:
        """Whether there are single maps for slides."""
        return any(d.data and d.plate.name.startswith("map_") for d in self.plates)


def write_report(
    results: Result | Sequence[Result],
    out_dir: Path | str,
    *,
    title: str = "Nanoscale nucleation map",
) -> Path:
    """Write the report of one or several data sets.

    A figure that the data do not allow is left out, and the report says why.

    Parameters
    ----------
    results : AnalysisResult or SeccmResult, or a sequence of them
        For instance a compliance map, normal sweeps, a height-mode map; or landings.
    out_dir : Path or str
        Receives ``report.html``, ``figures/*.png`` (200 dpi) and films as ``figures/*.gif``.
    title : str
        Heading.

    Returns
    -------
    Path
        The HTML file; it needs no other file and no network.

    Raises
    ------
    ValueError
        If there is no result.
    """
    several = [results] if isinstance(results, AnalysisResult | SeccmResult) else list(results)
    if not several:
        raise ValueError("a report needs at least one result")
    out_dir = Path(out_dir)
    figures = out_dir / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    names = _anchors(several)
    sections = [
        _section(result, name, figures, prefix=f"{name}_" if len(several) > 1 else "")
        for result, name in zip(several, names, strict=True)
    ]
    maps = [result for result in several if isinstance(result, AnalysisResult)]
    joint = _draw(joint_plates(maps), figures, "") if maps else []
    template = jinja2.Environment(
        loader=jinja2.PackageLoader("nucleation_bluesky.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html.j2")
    page = template.render(
        title=title,
        made=datetime.now().astimezone().isoformat(timespec="minutes"),
        version=package_version(),
        sections=sections,
        joint=joint,
        single=len(sections) == 1,
        afm_paper=AFM_PAPER,
    )
    target = out_dir / REPORT_NAME
    target.write_text(page, encoding="utf-8")
    return target


def _anchors(results: Sequence[Result]) -> list[str]:
    names: list[str] = []
    for result in results:
        base = re.sub(r"[^a-z0-9]+", "_", result.label.lower()).strip("_") or "data"
        name, number = base, 2
        while name in names:
            name, number = f"{base}_{number}", number + 1
        names.append(name)
    return names


def _section(result: Result, anchor: str, figures: Path, *, prefix: str) -> Section:
    landings = isinstance(result, SeccmResult)
    tables = [] if not landings or result.screen is None else [screen_table(result.screen)]
    plates = seccm_plates(result) if landings else site_plates(result)
    return Section(
        anchor=anchor,
        title=result.label[:1].upper() + result.label[1:],
        headlines=[(h.name, text.headline(h), h.note) for h in result.summary],
        measured=text.measurement(result),
        plates=_draw(plates, figures, prefix),
        provenance=[(k.replace("_", " "), _plain(v)) for k, v in result.provenance.items()],
        paper=SECCM_PAPER if landings else AFM_PAPER,
        tables=tables,
        movies=_movies(result, figures, prefix) if landings else [],
    )


def _movies(result: SeccmResult, figures: Path, prefix: str) -> list[tuple[str, str]]:
    """Write films of the first landings; file and title of each."""
    made: list[tuple[str, str]] = []
    for one in result.landings:
        if one.landing.movie is None or len(made) == MAX_MOVIES:
            continue
        path = figures / f"{prefix}film_{one.landing.site}.gif"
        try:
            write_movie(path, one, scale=result.source.reference_scale)
        except ValueError:
            continue  # the figures of this landing say why its film shows nothing
        made.append((f"figures/{path.name}", f"Landing {one.landing.site}"))
    return made


def _plain(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, default=str, ensure_ascii=False)


def _draw(plates: Iterable[Plate], figures: Path, prefix: str) -> list[DrawnPlate]:
    drawn = []
    for plate in plates:
        try:
            figure = plate.draw()
        except ValueError as exc:
            drawn.append(DrawnPlate(plate, reason=str(exc)))
            continue
        path = style.save_png(figure, figures / f"{prefix}{plate.name}.png")
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        drawn.append(DrawnPlate(plate, file=f"figures/{path.name}", data=data))
    return drawn
