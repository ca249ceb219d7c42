"""The figures of merit as tables, and one self-contained HTML page with them and the figures."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from piwsl_plugins.evaluation import figures
from piwsl_plugins.evaluation.errors import MILLI, RESAMPLES
from piwsl_plugins.evaluation.measure import Measured

if TYPE_CHECKING:
    from matplotlib.figure import Figure

All = Mapping[str, Measured]
Models = Mapping[str, Mapping[str, Any]]
Keys = tuple[str, ...]
Picture = dict[str, str]
NOTHING = "–"
KINDS = {"RMSE": "rmse", "MAE": "mae", "max": "max"}
ERRORS: dict[str, Keys] = {
    f"{what} {kind} ({unit})": (key, which)
    for what, unit, key in (
        ("energy", "meV", "energy_mev"),
        ("energy", "meV/atom", "energy_mev_per_atom"),
        ("force", "meV/Å", "force_mev_per_angstrom"),
        ("stress", "GPa", "stress_gpa"),
    )
    for kind, which in KINDS.items()
}
ERRORS |= {"force slope": ("force_slope",)}
POTENTIAL: dict[str, Keys] = {
    "curvature slope": ("curvature",),
    "work − fall of the energy, RMS (meV)": ("work", "rms_error_mev"),
    "  relative to the work": ("work", "ratio"),
    "NVE drift (meV/atom/ps)": ("nve", "drift_mev_per_atom_per_ps"),
    "NVE fluctuation (meV/atom)": ("nve", "fluctuation_mev_per_atom"),
    "NVE exploded at (ps)": ("nve", "exploded_at_ps"),
    "time of a force call (ms)": ("ms_per_force_call",),
}


def cell(value: Any) -> str:  # noqa: ANN401  a number, a slope, errors, or None
    """Text of a table: three significant digits, a slope with its interval, or three errors."""
    if value is None:
        return NOTHING
    if isinstance(value, Mapping) and "slope" in value:
        ends = value["interval"]
        text = f"{value['slope']:.3f}"
        return text + (f" ({ends[0]:.3f}–{ends[1]:.3f})" if ends else "")
    if isinstance(value, Mapping):
        return " / ".join(cell(value[which]) for which in KINDS.values())
    if value == 0.0 or 1e-3 <= abs(value) < 1e6:
        places = 2 - math.floor(math.log10(abs(value))) if value else 0
        return f"{value:.{max(0, places)}f}"
    return f"{value:.1e}"


def table(models: Models, rows: Mapping[str, Keys]) -> pd.DataFrame:
    """A column a model, and the rows in which a model has something where their keys lead."""

    def read(value: Any, keys: Keys) -> str:  # noqa: ANN401
        for key in keys:
            value = None if value is None else value.get(key)
        return cell(value)

    content = {label: [read(m, keys) for m in models.values()] for label, keys in rows.items()}
    found = pd.DataFrame.from_dict(content, orient="index", columns=list(models))
    return found[(found != NOTHING).any(axis=1)]


def overview(models: Models) -> dict[str, pd.DataFrame]:
    """Every figure of merit that there is, by set of frames, and then those of the potentials."""
    tables = {}
    for name in next(iter(models.values()))["test_sets"]:
        tables[name] = table({model: m["test_sets"][name] for model, m in models.items()}, ERRORS)
    tables["potential"] = table(models, POTENTIAL)
    return {title: found for title, found in tables.items() if len(found)}


def terminal_table(models: Models, width: int) -> str:
    """The overview in lines of some width; models that find no room there follow below."""
    shown = [found.rename_axis(columns=title) for title, found in overview(models).items()]
    text = "\n\n".join(found.to_string(line_width=width) for found in shown)
    return f"{text}\n\nslopes: predicted against reference; 1 is right, below is too soft"


def picture(figure: Figure, caption: str) -> Picture:
    """A figure as the page shows it: embedded as SVG, with its caption."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", dpi=150, metadata={"Date": None})
    encoded = base64.b64encode(file.getvalue()).decode("ascii")
    return {"caption": caption, "source": f"data:image/svg+xml;base64,{encoded}"}


def render(content: Mapping[str, Any], measured: All) -> str:
    """The whole page, of what stands in evaluation.json and of the arrays by model."""
    import jinja2

    loader = jinja2.PackageLoader("piwsl_plugins.evaluation", ".")
    environment = jinja2.Environment(loader=loader, autoescape=True)
    models, means = content["models"], {}
    for name, (times, energies) in _arrays(measured, "nve").items():
        window = len(times) // 20 + 1
        mean = MILLI * np.convolve(energies, np.full(window, 1.0 / window), mode="valid")
        means[name] = times[window // 2 :][: len(mean)], mean
    nve = figures.curves({"E − E(0) (meV/atom)": means}, "time (ps)") if means else None
    text = "One trajectory of each model, its mean over a twentieth of the time"
    return environment.get_template("report.html.j2").render(
        content=content,
        models=models,
        overview=overview(models),
        sets=[_of_set(index, name, models, measured) for index, name in enumerate(content["data"])],
        slopes=_slopes(content, measured),
        nve=picture(nve, text) if nve else None,
    )


def _arrays(measured: All, key: str) -> dict[str, Any]:
    return {name: m.arrays[key] for name, m in measured.items() if key in m.arrays}


def _parity(measured: All, key: str, what: str, slopes: Models, caption: str) -> list[Picture]:
    """References and predictions of each model that has some, with its slope if there is one."""
    if not (clouds := _arrays(measured, key)):
        return []
    values = {name: slope["slope"] for name, slope in slopes.items() if slope}
    n = next(iter(clouds.values())).shape[1]
    frames = next((slope["n_frames"] for slope in slopes.values() if slope), n)
    text = f"{caption}, n = {n} values of {frames} frames"
    text += "; dashed, the slope through the origin" if values else ""
    return [picture(figures.parity(clouds, what, list(measured), values), text)]


def _of_set(index: int, name: str, models: Models, measured: All) -> dict[str, Any]:
    """Figures and tables of one set of frames."""
    sets = {model: numbers["test_sets"][name] for model, numbers in models.items()}
    slopes = {model: found["force_slope"] for model, found in sets.items()}
    energy, forces = f"set{index}_energy", f"set{index}_forces"
    text = "Energies per atom, less the mean reference"
    pictures = _parity(measured, energy, "energy (meV/atom)", {}, text)
    pictures += _parity(measured, forces, "force (eV/Å)", slopes, "Force components")
    first = next(iter(sets.values()))
    rows: dict[str, dict[str, Keys]] = {
        "Forces by element, meV/Å": {e: ("force_by_element", e) for e in first["force_by_element"]}
    }
    for title, key in (("Energies per atom, meV", "energy_per_atom"), ("Forces, meV/Å", "force")):
        rows[f"{title}, by configuration type (frames)"] = {
            f"{kind} ({found['n_frames']})": ("by_config_type", kind, key)
            for kind, found in first["by_config_type"].items()
        }
    tables = {title: found for title, keys in rows.items() if len(found := table(sets, keys))}
    return {"name": name, "pictures": pictures, "tables": tables}


def _slopes(content: Mapping[str, Any], measured: All) -> list[Picture]:
    """Slopes of all kinds, and the curvatures themselves."""
    models, names = content["models"], list(content["data"])
    kinds = {
        f"forces, {name}" if len(names) > 1 else "forces": {
            model: found["test_sets"][name]["force_slope"] for model, found in models.items()
        }
        for name in names
    }
    kinds["curvature"] = {model: found["curvature"] for model, found in models.items()}
    if not (kinds := {title: slopes for title, slopes in kinds.items() if any(slopes.values())}):
        return []
    text = f"Slopes with 95 % intervals, of n frames drawn again {RESAMPLES} times"
    pictures = [picture(figures.slope_intervals(kinds), text)]
    curvatures = kinds.get("curvature", {})
    return pictures + _parity(measured, "curvature", "curvature (eV/Å²)", curvatures, "Curvature")
