"""The report: one self-contained HTML file, and the figures as PNG."""

import base64
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import jinja2

from nucleation_bluesky.report import text
from nucleation_bluesky.report.figures import style
from nucleation_bluesky.report.plates import Plate, joint_plates, site_plates
from nucleation_bluesky.storage.analysis_result import AnalysisResult
from nucleation_bluesky.storage.result_files import package_version

REPORT_NAME = "report.html"


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


def write_report(
    results: AnalysisResult | Sequence[AnalysisResult],
    out_dir: Path | str,
    *,
    title: str = "Nanoscale nucleation map",
) -> Path:
    """Write the report of one or several data sets.

    A figure that the data do not allow is left out, and the report says why.

    Parameters
    ----------
    results : AnalysisResult or sequence of AnalysisResult
        For instance a compliance map, normal sweeps, a height-mode map.
    out_dir : Path or str
        Receives ``report.html`` and ``figures/*.png`` (200 dpi).
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
    several = [results] if isinstance(results, AnalysisResult) else list(results)
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
    joint = _draw(joint_plates(several), figures, "")
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
    )
    target = out_dir / REPORT_NAME
    target.write_text(page, encoding="utf-8")
    return target


def _anchors(results: Sequence[AnalysisResult]) -> list[str]:
    names: list[str] = []
    for result in results:
        base = re.sub(r"[^a-z0-9]+", "_", result.label.lower()).strip("_") or "data"
        name, number = base, 2
        while name in names:
            name, number = f"{base}_{number}", number + 1
        names.append(name)
    return names


def _section(result: AnalysisResult, anchor: str, figures: Path, *, prefix: str) -> Section:
    return Section(
        anchor=anchor,
        title=result.label[:1].upper() + result.label[1:],
        headlines=[(h.name, text.headline(h), h.note) for h in result.summary],
        measured=text.measurement(result),
        plates=_draw(site_plates(result), figures, prefix),
        provenance=[(k.replace("_", " "), _plain(v)) for k, v in result.provenance.items()],
    )


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
