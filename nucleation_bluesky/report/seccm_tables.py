"""The counterpart of Table 1: one row per condition."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from nucleation_bluesky.report.text import rounded

# heading and factor from SI, by name
COLUMNS = {
    "current_density": ("j (mA/cm²)", 0.1),
    "e_nuc": ("E_nuc (V)", 1.0),
    "e_growth": ("E_growth (V)", 1.0),
    "q_nuc": ("Q_nuc (µAh/cm²)", 1 / 36.0),
    "t_nuc": ("t_nuc (s)", 1.0),
    "t_nuc_irm": ("t_nuc(IRM) (s)", 1.0),
}


@dataclass(frozen=True)
class Table:
    """A table of the report, as text."""

    title: str
    columns: list[str]
    rows: list[list[str]]


def screen_table(screen: xr.Dataset) -> Table:
    """Return mean and standard deviation over repeats by condition."""
    present = [name for name in COLUMNS if name in screen]
    columns = ["Condition", "Nucleated", *(COLUMNS[name][0] for name in present)]
    labels = screen["label"].values if "label" in screen else screen["condition"].values
    rows = []
    for k, label in enumerate(labels):
        hits, total = int(screen["n_nucleated"][k]), int(screen["n"][k])
        row = [str(label), f"{hits} of {total}" if total else "nothing measured"]
        for name in present:
            factor = COLUMNS[name][1]
            value, sd = (float(screen[n][k]) * factor for n in (name, f"{name}_sd"))
            if not np.isfinite(value):
                row.append("none" if name != "current_density" else "not known")
            else:
                row.append(rounded(value, sd if np.isfinite(sd) else None))
        rows.append(row)
    return Table("Conditions: mean ± standard deviation over repeats", columns, rows)
