"""A LAMMPS input file from its beginning to its end, with a model in it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from piwsl_plugins.deploy.input_file import STYLE, USAGE, Place, cut
from piwsl_plugins.deploy.library import open_lammps
from piwsl_plugins.deploy.potential import Potential
from piwsl_plugins.deploy.progress import Progress
from piwsl_plugins.deploy.simulation import TIME_UNITS, Simulation
from piwsl_plugins.hosts import calculators
from piwsl_plugins.weak.delta_calculator import refuse_delta_model

#: The export of a checkpoint of NequIP's, which is no model to run yet.
EXPORT = "nequip-compile {path} NAME.nequip.pt2 --mode aotinductor --device {device} --target ase"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the command line says of the model.

    Attributes:
        model: The file, instead of that in the input file, or None.
        elements: Of the atom types, instead of those in the input file, or None.
        device: cpu or cuda.
        dtype: float32 or float64, for MACE only, or None for the model's own.
    """

    model: Path | None = None
    elements: Sequence[str] | None = None
    device: str = "cpu"
    dtype: str | None = None


Exported = tuple[calculators.LoadedModel, bool]


def load_exported(path: Path, device: str, dtype: str | None) -> Exported:
    """Load a model that was exported for use.

    Args:
        path: Its file.
        device: cpu or cuda.
        dtype: float32 or float64, for MACE only, or None for the model's own.

    Returns:
        The model, and whether nothing in it reaches beyond its cutoff.

    Raises:
        ValueError: The file is a checkpoint, or a model of a difference alone, or cannot be loaded.
    """
    found = calculators.identify(path, expected=calculators.EXPORTED)
    refuse_delta_model(path)
    if found.kind == "checkpoint":
        raise ValueError(
            f"{path}: this is a checkpoint of a training, not an exported model; export it: "
            f"{EXPORT.format(path=path, device=device)}"
        )
    return calculators.load(found, dtype=dtype, device=device), found.kind != calculators.DELTA


def run(path: Path, choice: Choice, options: Sequence[str]) -> str:
    """Run an input file in LAMMPS.

    Args:
        path: LAMMPS's input file.
        choice: What the command line says of the model.
        options: LAMMPS's own command-line options.

    Returns:
        A line about the speed.

    Raises:
        ValueError: Something is wrong with the input, the model, or what the model answers.
        KeyboardInterrupt: From the keyboard, once LAMMPS has stopped.
    """
    parts = cut(path)
    models: dict[Path, Exported] = {}
    if choice.model is not None:  # before LAMMPS starts, which may take long to get to it
        models[choice.model] = load_exported(choice.model, choice.device, choice.dtype)
    progress = Progress(sys.stderr)
    used: list[Potential] = []
    lammps = open_lammps(options)
    try:
        simulation = Simulation(lammps, lambda step: progress.step(step, _timestep(lammps)))
        for part in parts:
            if isinstance(part, Place):
                try:
                    used.append(_potential(part, choice, lammps, models))
                    simulation.use(used[-1])
                except ValueError as error:
                    raise ValueError(f"{path}, line {part.line}: {error}") from error
            else:
                _read(simulation, part, path)
    finally:
        lammps.close()
    return progress.summary(sum(potential.seconds for potential in used))


def _timestep(lammps: Any) -> float:
    """Length of a time step, ps."""
    return float(lammps.extract_global("dt")) * TIME_UNITS[lammps.extract_global("units")]


def _potential(
    place: Place,
    choice: Choice,
    lammps: Any,
    models: dict[Path, Exported],
) -> Potential:
    """The model that a line of the input, or the command line in its place, names."""
    text = place.coefficients or ""
    if "$" in text:
        text = lammps.expand(text)
    words = text.split()
    model = choice.model or (Path(words[0]) if words else None)
    chosen = choice.elements or words[1:]
    if model is None or not chosen:
        what = "model" if model is None else "elements"
        raise ValueError(f"'pair_style {STYLE}' has no {what}; {USAGE}")
    if model not in models:
        models[model] = load_exported(model, choice.device, choice.dtype)
    print(f"piwsl: {model} for atom types {' '.join(chosen)}", flush=True)
    loaded, is_local = models[model]
    return Potential(loaded, chosen, is_local)


def _read(simulation: Simulation, text: str, path: Path) -> None:
    """Let LAMMPS read commands, and say what went wrong."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / path.name
        file.write_text(text, encoding="utf-8")
        try:
            simulation.lammps.file(str(file))
        except Exception as error:  # LAMMPS's, unless it is what stopped LAMMPS
            if simulation.failure is None:
                raise ValueError(f"{path}: LAMMPS: {_first_line(error)}{_hint(error)}") from error
    if simulation.failure is not None:
        _give_up(simulation, path)


def _give_up(simulation: Simulation, path: Path) -> None:
    """Put the last frames on disk and raise what happened in the model."""
    failure = simulation.failure
    assert failure is not None
    files = simulation.save_last_frames(path.with_suffix(""))
    kept = f"; kept: {', '.join(map(str, files))}" if files else ""
    if isinstance(failure, ValueError):
        raise ValueError(f"{path}: {failure}{kept}") from failure
    raise failure


def _first_line(error: Exception) -> str:
    return str(error).strip().strip("'\"").replace("\\n", "\n").splitlines()[0]


def _hint(error: Exception) -> str:
    text = str(error)
    if f"'{STYLE}'" in text or f"pair style {STYLE}" in text:
        return (
            f"; 'pair_style {STYLE}' must stand in the input file itself, not in 'if' or 'include'"
        )
    if "Label" in text:
        return "; a loop must lie wholly before or wholly after the lines of the potential"
    return ""
