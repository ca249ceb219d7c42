"""The figures of merit in words, as the terminal and the report show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.table import Table

Numbers = Mapping[str, Any]
NOTHING = "–"
#: Characters that the first column, and each model's, take in a terminal.
LABEL_WIDTH, MODEL_WIDTH = 30, 16


@dataclass(frozen=True, slots=True)
class Section:
    """Rows that belong together, one column a model.

    Attributes:
        title: What they are about.
        rows: Label and, for each model, what stands there.
    """

    title: str
    rows: list[tuple[str, list[str]]]


def number(value: float | None) -> str:
    """Three significant digits, without an exponent where that can be read."""
    if value is None:
        return NOTHING
    size = abs(value)
    if size == 0.0:
        return "0"
    if size < 1e-3 or size >= 1e6:
        return f"{value:.1e}"
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3 if size >= 0.1 else 4
    return f"{value:.{digits}f}"


def slope(found: Numbers | None) -> str:
    """A slope with its interval."""
    if found is None:
        return NOTHING
    text = f"{found['slope']:.3f}"
    if found["interval"] is not None:
        low, high = found["interval"]
        text += f" ({low:.3f}–{high:.3f})"
    return text


def _errors(key: str, which: str) -> Callable[[Numbers], str]:
    return lambda found: number(None if found.get(key) is None else found[key][which])


def _of_set(name: str, read: Callable[[Numbers], str]) -> Callable[[Numbers], str]:
    return lambda model: read(model["test_sets"][name])


def _of(part: str, key: str) -> Callable[[Numbers], str]:
    return lambda model: number(None if model[part] is None else model[part][key])


#: Figures of one set of frames.
ERRORS: dict[str, Callable[[Numbers], str]] = {
    **{
        f"{what} {kind} ({unit})": _errors(key, which)
        for what, key, unit in (
            ("energy", "energy_mev", "meV"),
            ("energy", "energy_mev_per_atom", "meV/atom"),
            ("force", "force_mev_per_angstrom", "meV/Å"),
            ("stress", "stress_mev_per_angstrom3", "meV/Å³"),
            ("stress", "stress_gpa", "GPa"),
        )
        for kind, which in (("RMSE", "rmse"), ("MAE", "mae"), ("max", "max"))
    },
    "force slope": lambda found: slope(found["force_slope"]),
    "secant curvature slope": lambda found: slope(found["secant_curvature"]),
}


def _nve_end(model: Numbers) -> str:
    nve = model["nve"]
    if nve is None:
        return NOTHING
    exploded = nve["exploded_at_ps"]
    return "no" if exploded is None else f"at {exploded:.3g} ps"


#: Figures of the potential itself.
POTENTIAL: dict[str, Callable[[Numbers], str]] = {
    "curvature slope": lambda model: slope(model["curvature"]),
    "loop work, RMS (meV)": _of("loops", "rms_work_mev"),
    "loop work / edge work": _of("loops", "ratio"),
    "force − dE, RMS (meV/Å)": _of("finite_differences", "rms_error_mev_per_angstrom"),
    "force − dE, max (meV/Å)": _of("finite_differences", "max_error_mev_per_angstrom"),
    "  resolved to (meV/Å)": _of("finite_differences", "resolution_mev_per_angstrom"),
    "NVE drift (meV/atom/ps)": _of("nve", "drift_mev_per_atom_per_ps"),
    "NVE fluctuation (meV/atom)": _of("nve", "fluctuation_mev_per_atom"),
    "NVE exploded": _nve_end,
    "time of a force call (ms)": lambda model: number(model.get("ms_per_force_call")),
}


def _section(
    title: str, models: Sequence[Numbers], rows: Mapping[str, Callable[[Numbers], str]]
) -> Section:
    """Rows in which at least one model has something."""
    found = [(label, [read(model) for model in models]) for label, read in rows.items()]
    return Section(title, [(label, values) for label, values in found if set(values) != {NOTHING}])


def overview(models: Mapping[str, Numbers]) -> list[Section]:
    """Every figure that there is, by set of frames, and then those of the potentials.

    Args:
        models: Numbers of each model by name, as in evaluation.json.
    """
    found = list(models.values())
    names = found[0]["test_sets"]
    sections = [
        _section(name, found, {label: _of_set(name, read) for label, read in ERRORS.items()})
        for name in names
    ]
    sections.append(_section("potential", found, POTENTIAL))
    return [section for section in sections if section.rows]


def by_element(models: Mapping[str, Numbers], frame_set: str) -> Section:
    """Force errors of each element on one set of frames: RMSE, MAE and maximum in meV/Å."""
    found = [model["test_sets"][frame_set]["force_by_element"] for model in models.values()]
    elements = sorted({element for errors in found for element in errors})
    rows = [(element, [_three(errors.get(element)) for errors in found]) for element in elements]
    return Section("element", rows)


def by_config_type(models: Mapping[str, Numbers], frame_set: str, key: str) -> Section:
    """Errors of each configuration type: RMSE, MAE and maximum.

    Args:
        models: Numbers of each model by name.
        frame_set: Name of the set of frames.
        key: energy_per_atom or force.
    """
    found = [model["test_sets"][frame_set]["by_config_type"] for model in models.values()]
    rows = [
        (f"{kind} ({found[0][kind]['n_frames']})", [_three(types[kind][key]) for types in found])
        for kind in found[0]
    ]
    return Section("type (frames)", [row for row in rows if set(row[1]) != {NOTHING}])


def _three(errors: Numbers | None) -> str:
    if errors is None:
        return NOTHING
    return " / ".join(number(errors[which]) for which in ("rmse", "mae", "max"))


def terminal_table(models: Mapping[str, Numbers], width: int) -> Group:
    """The overview for a terminal; models that find no room beside the others follow below.

    Args:
        models: Numbers of each model by name, as in evaluation.json.
        width: Of the terminal, in characters.
    """
    names = list(models)
    together = max(1, (width - LABEL_WIDTH) // MODEL_WIDTH)
    tables: list[Table] = []
    for start in range(0, len(names), together):
        shown = names[start : start + together]
        table = Table()
        table.add_column("", no_wrap=True)
        for name in shown:
            table.add_column(name, justify="right", overflow="fold")
        for section in overview({name: models[name] for name in shown}):
            table.add_section()
            table.add_row(f"[bold]{section.title}[/bold]")
            for label, values in section.rows:
                # the interval goes below its slope, where a column is narrow
                table.add_row(label, *(value.replace(" (", "\n(") for value in values))
        tables.append(table)
    return Group(*tables, "slopes: predicted against reference; 1 is right, below is too soft")
