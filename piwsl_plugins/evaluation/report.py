"""One self-contained HTML page: tables, and figures as embedded SVG."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from piwsl_plugins.evaluation import report_figures as draw
from piwsl_plugins.evaluation.comparison import Floats
from piwsl_plugins.evaluation.measure import Measured
from piwsl_plugins.evaluation.tables import by_config_type, by_element, overview
from piwsl_plugins.evaluation.training_logs import TrainingLog

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = "report.html.j2"
Clouds = dict[str, tuple[Floats, Floats]]


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure as the page shows it.

    Attributes:
        title: Heading above it, may be empty.
        source: Data URI.
        text: What it shows, for those who do not see it.
    """

    title: str
    source: str
    text: str


def picture(figure: Figure, title: str, text: str) -> Picture:
    """Embed a figure as SVG."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", dpi=150, metadata={"Date": None})
    encoded = base64.b64encode(file.getvalue()).decode("ascii")
    return Picture(title, f"data:image/svg+xml;base64,{encoded}", text)


def render(
    content: Mapping[str, Any],
    measured: Mapping[str, Measured],
    logs: Mapping[str, TrainingLog | None],
    learning: Figure | None,
) -> str:
    """The whole page.

    Args:
        content: What stands in evaluation.json.
        measured: Numbers and arrays by model.
        logs: Training log of each model, or None.
        learning: Learning curves, or None.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("piwsl_plugins.evaluation", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    models: Mapping[str, Mapping[str, Any]] = content["models"]
    return environment.get_template(TEMPLATE).render(
        content=content,
        models=models,
        names=list(models),
        overview=overview(models),
        sets=[_of_set(index, name, models, measured) for index, name in enumerate(content["data"])],
        slopes=_slopes(models, measured),
        conservation=any(model["loops"] is not None for model in models.values()),
        nve=_nve(measured),
        explosions={
            name: model["nve"]["reason"]
            for name, model in models.items()
            if model["nve"] is not None and model["nve"]["reason"] is not None
        },
        training=[_training(name, log) for name, log in logs.items() if log is not None],
        without_log=[name for name, log in logs.items() if log is None],
        learning=(
            None
            if learning is None
            else picture(learning, "", "Test errors against the number of training frames")
        ),
    )


def _clouds(measured: Mapping[str, Measured], index: int, kind: str) -> Clouds:
    """Reference and predicted values of one set by model; a set has labels for all or for none."""
    read = draw.energy_cloud if kind == "energy" else draw.force_cloud
    found = {name: read(model.comparison(index)) for name, model in measured.items()}
    return {name: cloud for name, cloud in found.items() if cloud is not None}


def _of_set(
    index: int,
    name: str,
    models: Mapping[str, Mapping[str, Any]],
    measured: Mapping[str, Measured],
) -> dict[str, Any]:
    """Figures and tables of one set of frames."""
    energies, forces = (_clouds(measured, index, kind) for kind in ("energy", "force"))
    errors = {model: numbers["test_sets"][name] for model, numbers in models.items()}
    slopes = {
        model: found["force_slope"]["slope"]
        for model, found in errors.items()
        if found["force_slope"] is not None
    }
    pictures = []
    if energies:
        pictures.append(
            picture(
                draw.parity(energies, "energy (meV/atom)", {}),
                "Energies, less the mean reference energy per atom",
                f"Predicted against reference energies on {name}",
            )
        )
    if forces:
        pictures.append(
            picture(
                draw.parity(forces, "force (eV/Å)", slopes),
                "Force components",
                f"Predicted against reference force components on {name}",
            )
        )
    panels = [
        (label, clouds)
        for label, clouds in (
            ("energy error (meV/atom)", energies),
            ("force error (meV/Å)", _in_milli(forces)),
        )
        if clouds
    ]
    pictures.append(
        picture(
            draw.error_histograms(panels),
            "Errors, predicted less reference; what lies beyond an edge stands in the last bar",
            f"Histograms of the errors on {name}",
        )
    )
    types = {
        "energy per atom, meV/atom": by_config_type(models, name, "energy_per_atom"),
        "force components, meV/Å": by_config_type(models, name, "force"),
    }
    return {
        "name": name,
        "pictures": pictures,
        "elements": by_element(models, name),
        "types": {title: table for title, table in types.items() if table.rows},
    }


def _in_milli(clouds: Clouds) -> Clouds:
    return {name: (1000.0 * first, 1000.0 * second) for name, (first, second) in clouds.items()}


def _slopes(
    models: Mapping[str, Mapping[str, Any]], measured: Mapping[str, Measured]
) -> dict[str, Any] | None:
    """Slopes of all kinds, and the curvatures themselves."""
    sets = list(next(iter(models.values()))["test_sets"])
    kinds: dict[str, dict[str, Any]] = {}
    for title, key in (("forces", "force_slope"), ("secant curvature", "secant_curvature")):
        for name in sets:
            label = title if len(sets) == 1 else f"{title}, {name}"
            kinds[label] = {m: found["test_sets"][name][key] for m, found in models.items()}
    kinds["curvature"] = {m: found["curvature"] for m, found in models.items()}
    kinds = {label: found for label, found in kinds.items() if any(found.values())}
    if not kinds:
        return None
    pictures = [
        picture(
            draw.slopes(kinds),
            "Slopes through the origin, with 95 % bootstrap intervals",
            "Slopes of predicted against reference forces and curvatures",
        )
    ]
    for label, reference, predicted in _curvature_arrays(sets):
        clouds = {
            name: (np.ravel(model.arrays[reference]), np.ravel(model.arrays[predicted]))
            for name, model in measured.items()
            if reference in model.arrays
        }
        if clouds:
            key = label.split(", ")[0]
            found = kinds.get(label, kinds.get(key, {}))
            slopes = {name: slope["slope"] for name, slope in found.items() if slope}
            pictures.append(
                picture(
                    draw.parity(clouds, "curvature (eV/Å²)", slopes),
                    label[0].upper() + label[1:],
                    f"Predicted against reference curvatures: {label}",
                )
            )
    return {"pictures": pictures, "secants": any("secant" in label for label in kinds)}


def _curvature_arrays(sets: list[str]) -> list[tuple[str, str, str]]:
    """Label and names of the arrays of each kind of curvature."""
    found = [("curvature", "curvature_reference", "curvature_predicted")]
    for index, name in enumerate(sets):
        label = "secant curvature" if len(sets) == 1 else f"secant curvature, {name}"
        found.append((label, f"set{index}_secant_reference", f"set{index}_secant_predicted"))
    return found


def _nve(measured: Mapping[str, Measured]) -> Picture | None:
    trajectories = {
        name: (model.arrays["nve_times"], model.arrays["nve_energies"])
        for name, model in measured.items()
        if "nve_times" in model.arrays
    }
    if not trajectories:
        return None
    return picture(draw.nve_energies(trajectories), "", "Total energy against time")


def _training(name: str, log: TrainingLog) -> dict[str, Any]:
    if not log.loss and not log.validation:
        return {"name": name, "path": str(log.path), "picture": None}
    figure = draw.training_curves(log)
    shown = picture(figure, "", f"Loss terms and validation errors of {name} against epochs")
    return {"name": name, "path": str(log.path), "picture": shown}
