"""The comparison at the end: what `piwsl evaluate` measures, in one small table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from piwsl_plugins.evaluation.tables import NOTHING, number
from piwsl_plugins.weak.files import write_json
from piwsl_plugins.weak.settings import WeakSettings

EVALUATION, HTML, SUMMARY = "evaluation.json", "report.html", "summary.json"
NAMES = {
    "low": "cheap method alone",
    "delta": "cheap method + difference",
    "plain": "plain: energies alone",
    "student": "student",
}


def report_words(
    models: Mapping[str, Path], test: Path, folder: Path, settings: WeakSettings
) -> list[str]:
    """Words of ``piwsl evaluate``.

    Args:
        models: Files by name.
        test: Frames to judge them by.
        folder: Where the report goes.
        settings: The whole config.
    """
    words = [*(f"{name}={path}" for name, path in models.items()), "--data", f"test={test}"]
    words += ["--output", str(folder), "--force", "--device", settings.device]
    words += ["--nve-temperature", f"{settings.report.nve_temperature:g}"]
    words += ["--nve-steps", str(settings.report.nve_steps)]
    return [*words, "--probes", str(settings.report.probes)]


def rows(evaluation: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """The figures of each model; None where there is none.

    Args:
        evaluation: What ``piwsl evaluate`` has written.
    """
    found = {}
    for name, model in evaluation["models"].items():
        errors, nve = model["test_sets"]["test"], model["nve"] or {}
        energy, force = errors["energy_mev"], errors["force_mev_per_angstrom"]
        slope = errors["force_slope"]
        found[name] = {
            "energy_rmse_mev": energy and energy["rmse"],
            "force_rmse_mev_per_angstrom": force and force["rmse"],
            "force_slope": slope and slope["slope"],
            "nve_exploded_at_ps": nve.get("exploded_at_ps"),
            "nve_ps": nve.get("time_ps"),
            "ms_per_force_call": model["ms_per_force_call"],
        }
    return found


def tell(folder: Path, console: Console) -> None:
    """Print the table, and write it as JSON.

    Args:
        folder: Has what ``piwsl evaluate`` has written.
        console: Where the table goes.
    """
    evaluation = json.loads((folder / EVALUATION).read_text(encoding="utf-8"))
    found = rows(evaluation)
    write_json(folder / SUMMARY, found)
    table = Table()
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "": lambda row: row["name"],
        "energy RMSE\n(meV)": lambda row: number(row["energy_rmse_mev"]),
        "force RMSE\n(meV/Å)": lambda row: number(row["force_rmse_mev_per_angstrom"]),
        "force\nslope": lambda row: _slope(row["force_slope"]),
        "NVE": _nve,
        "force call\n(ms)": lambda row: number(row["ms_per_force_call"]),
    }
    for title in columns:
        table.add_column(title, justify="right" if title else "left", no_wrap=not title)
    for name in NAMES:
        if name in found:
            row = {"name": NAMES[name], **found[name]}
            table.add_row(*(read(row) for read in columns.values()))
    console.print(table)
    console.print(f"{folder / HTML}\n{folder / SUMMARY}", markup=False, highlight=False)


def _slope(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"


def _nve(row: Mapping[str, Any]) -> str:
    if row["nve_ps"] is None:
        return NOTHING
    exploded = row["nve_exploded_at_ps"]
    return f"{row['nve_ps']:.2g} ps" if exploded is None else f"exploded at {exploded:.2g} ps"
