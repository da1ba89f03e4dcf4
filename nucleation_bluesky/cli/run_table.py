"""The list of runs: a line for each, as a terminal, a file and another program want it."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nucleation_bluesky.storage.runs import RunInfo

SHORT_UID = 8
UNBOUNDED = 100_000  # columns
# what a narrow terminal goes without, in this order: the uid tells runs apart as well as a number
LEAST = ("no.", "operator", "events")
NAMES = ("sample", "plan")  # cut where that is not enough
SHORTEST = 8
REASON = "reason"  # of a failure or abort: gets the room that is left
LEAST_OF_REASON = 24  # says nothing in less
GAP = 2  # between columns
MAYBE = ("operator", REASON)


def print_runs(found: Sequence[RunInfo], console: Console) -> None:
    """Print a line for each run: whole in a file or pipe, never folded in a terminal."""
    if not console.is_terminal:
        table = _table(_columns(found, uid_length=None))
        Console(file=console.file, width=_width(table), highlight=False).print(table)
        return
    columns, left_out = _columns(found, uid_length=SHORT_UID), []
    reasons = columns.pop(REASON, None)
    room = console.width - _width(_table(columns)) - GAP
    if reasons is not None and room < LEAST_OF_REASON:
        reasons = None
        left_out.append(REASON)
    for name in LEAST:
        if _width(_table(columns)) <= console.width:
            break
        if columns.pop(name, None) is not None:
            left_out.append(name)
    widths = _cut(columns, console.width)
    if reasons is not None:
        columns, widths = columns | {REASON: reasons}, widths | {REASON: room}
    console.print(_table(columns, widths))
    if left_out:
        console.print(f"without {', '.join(left_out)}: the terminal is narrow", style="dim")


def runs_as_json(found: Sequence[RunInfo]) -> str:
    """Return the runs as a JSON array; times are ISO 8601 in UTC."""
    return json.dumps(
        [
            {
                "uid": info.uid,
                "scan_id": info.scan_id,
                "time": datetime.fromtimestamp(info.time, UTC).isoformat(),
                "plan": info.plan,
                "sample": info.sample,
                "technique": info.technique,
                "operator": info.operator,
                "state": info.state,
                "reason": info.reason,
                "num_events": info.num_events,
            }
            for info in found
        ],
        indent=2,
        ensure_ascii=False,
    )


def _columns(found: Sequence[RunInfo], uid_length: int | None) -> dict[str, list[str]]:
    """Return the columns; who measured and why one failed are told where anybody has said so."""
    columns = {
        "uid": [info.uid[:uid_length] for info in found],
        "no.": [str(info.scan_id or "") for info in found],
        "time": [f"{datetime.fromtimestamp(info.time):%Y-%m-%d %H:%M}" for info in found],
        "plan": [_in_one_line(info.plan) for info in found],
        "sample": [_in_one_line(info.sample) for info in found],
        "operator": [_in_one_line(info.operator) for info in found],
        "state": [_in_one_line(info.state) for info in found],
        "events": [str(info.num_events.get("primary", "")) for info in found],
        REASON: [_in_one_line(info.reason) for info in found],
    }
    return {name: told for name, told in columns.items() if name not in MAYBE or any(told)}


def _in_one_line(name: str) -> str:
    """Return a name without line ends, tabs and what a terminal takes for commands."""
    spaced = " ".join(name.split())
    return "".join(character for character in spaced if character.isprintable())


def _width(table: Table) -> int:
    """Return the width at which nothing is cut."""
    return Console(width=UNBOUNDED).measure(table).maximum


def _table(columns: dict[str, list[str]], widths: Mapping[str, int] | None = None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in columns:
        table.add_column(
            name, no_wrap=True, overflow="ellipsis", max_width=(widths or {}).get(name)
        )
    for row in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, row))  # brackets in a name are no markup
    return table


def _cut(columns: dict[str, list[str]], width: int) -> dict[str, int]:
    """Return widths of the names with which a table fits."""
    excess, widths = max(0, _width(_table(columns)) - width), {}
    for name in NAMES:
        longest = max(map(cell_len, [name, *columns[name]]))
        widths[name] = max(min(longest, SHORTEST), longest - excess)
        excess -= longest - widths[name]
    return widths
