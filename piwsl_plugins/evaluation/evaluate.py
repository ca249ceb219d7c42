"""From the words of a command line to the report: what `piwsl evaluate` does, in order."""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from piwsl_plugins import __version__
from piwsl_plugins.evaluation import jobs
from piwsl_plugins.evaluation.comparison import Floats
from piwsl_plugins.evaluation.frames import FrameSet, read_frame_sets
from piwsl_plugins.evaluation.jobs import Job
from piwsl_plugins.evaluation.measure import Measured, Settings, Stage, probe_curvatures, quick
from piwsl_plugins.evaluation.paths import environments, named_files
from piwsl_plugins.evaluation.reference import named_calculator
from piwsl_plugins.evaluation.training_logs import TrainingLog, find_log, read_log
from piwsl_plugins.hosts.calculators import HOSTS, MODULES, ModelFile, identify, is_importable
from piwsl_plugins.weak.delta_calculator import refuse_delta_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

JSON, HTML = "evaluation.json", "report.html"
#: Without these, rows of a table of learning curves say nothing.
LEARNING_COLUMNS = ("host", "method", "train_size", "seed")


def evaluate(chosen: argparse.Namespace, stage: Stage) -> dict[str, Any]:
    """Measure the models and write the report.

    Args:
        chosen: The command line, as `command.parser` reads it.
        stage: Told of every step, for a progress bar.

    Returns:
        What stands in evaluation.json.

    Raises:
        ValueError: Something that was given cannot be used; the message says what and why.
        EndedElsewhereError: Another Python, which measures a model, has said so already.
    """
    _check_libraries()
    _check_output(chosen.output, chosen.force)
    files = named_files(chosen.models, "models")
    models = {name: identify(path) for name, path in files.items()}
    for path in files.values():
        refuse_delta_model(path)
    settings = _settings(chosen)
    pythons = environments(chosen.environment)
    logs = training_logs(models, chosen.log)
    curves = _learning_curves(chosen.learning_curves)
    reference = chosen.reference
    for host in {model.host for model in models.values()}:
        _check_host(host, pythons, [n for n, model in models.items() if model.host == host])
    stage("reading the frames", 0)
    data = named_files(chosen.data, "data files")
    keys = {
        "energy": chosen.energy_key,
        "forces": chosen.forces_key,
        "stress": chosen.stress_key,
    }
    sets = read_frame_sets(data, keys, chosen.config_type_key)
    job = Job(
        models={},
        data={name: str(path.absolute()) for name, path in data.items()},
        keys=keys,
        config_type_key=chosen.config_type_key,
        settings=settings,
        device=chosen.device,
        dtype=chosen.dtype,
    )
    curvatures = None
    if reference is not None:
        curvatures = _reference_curvatures(reference, job, sets, pythons, stage)
    measured = _measure(models, job, sets, curvatures, pythons, stage)
    stage("writing the report", 0)
    content = {
        "made": datetime.now().astimezone().isoformat(timespec="seconds"),
        "piwsl_plugins": __version__,
        "settings": {**asdict(settings), "reference": reference},
        "data": {frame_set.name: _about(frame_set) for frame_set in sets},
        "models": {name: found.numbers for name, found in measured.items()},
    }
    _write(chosen.output, content, measured, logs, curves)
    return content


def _check_libraries() -> None:
    for module in ("matplotlib", "jinja2"):
        if importlib.util.find_spec(module) is None:
            raise ValueError(f"{module} is not installed; pip install 'piwsl-plugins[evaluation]'")


def _check_output(folder: Path, force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--output {folder}: this is a file, expected a folder")
    earlier = [name for name in (JSON, HTML) if (folder / name).exists()]
    if earlier and not force:
        raise ValueError(
            f"--output {folder}: {' and '.join(earlier)} are there already; "
            "--force overwrites, or choose another folder"
        )


def _settings(chosen: argparse.Namespace) -> Settings:
    settings = Settings(
        probes=chosen.probes,
        nve_steps=chosen.nve_steps,
        nve_temperature=chosen.nve_temperature,
        nve_timestep=chosen.nve_timestep,
        seed=chosen.seed,
    )
    settings = quick(settings) if chosen.quick else settings
    if chosen.reference is not None and settings.probes == 0:
        raise ValueError("--reference needs frames to probe; leave out --quick and --probes 0")
    return settings


def _check_host(host: str, pythons: Mapping[str, str], models: Sequence[str]) -> None:
    if host in pythons:
        jobs.check_environment(pythons[host], host)
    elif not is_importable(host):
        module = MODULES[host]
        names = ", ".join(f"'{name}'" for name in models)
        raise ValueError(
            f"{host} is not installed here, and {names} needs it; name the virtual environment "
            f"that has {host} and this package: --environment {module}=PATH (or, where there is "
            f"none: pip install 'piwsl-plugins[{module}]')"
        )


def training_logs(
    models: Mapping[str, ModelFile], words: Sequence[str]
) -> dict[str, TrainingLog | None]:
    """Training log of each model, None where there is none.

    Args:
        models: The models by name.
        words: Logs of the form NAME=FILE, which go before those beside the model files.

    Raises:
        ValueError: A word names no model, or a file that is no log.
    """
    given = {}
    for word in words:
        name, _, path = word.partition("=")
        if name not in models or not path:
            raise ValueError(
                f"--log {word}: expected NAME=FILE with the name of a model: {', '.join(models)}"
            )
        given[name] = Path(path)
    found = {name: given.get(name) or find_log(model.path) for name, model in models.items()}
    return {name: None if path is None else read_log(path) for name, path in found.items()}


def _learning_curves(path: Path | None) -> Figure | None:
    """The figure of a table, drawn at once: a table that cannot be used is told at the start."""
    if path is None:
        return None
    import csv

    from piwsl_plugins.evaluation.learning_curves import learning_curves

    if not path.is_file():
        raise ValueError(f"--learning-curves {path}: there is no such file")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise ValueError(f"--learning-curves {path}: the table is empty")
    missing = [column for column in LEARNING_COLUMNS if column not in rows[0]]
    if missing:
        raise ValueError(
            f"--learning-curves {path}: there is no column {', '.join(missing)}; "
            f"the table has {', '.join(rows[0])}"
        )
    try:
        return learning_curves(rows)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"--learning-curves {path}: {error}") from error


def _reference_curvatures(
    spec: str, job: Job, sets: Sequence[FrameSet], pythons: Mapping[str, str], stage: Stage
) -> Floats:
    """Curvatures at the probes of a model file, or of an ASE calculator by its import path."""

    def named(what: str, total: int) -> Any:  # noqa: ANN401  a callback
        return stage(f"reference: {what}", total)

    if not Path(spec).exists():
        calculator = named_calculator(spec)
        try:
            return probe_curvatures(sets, calculator, job.settings, named)
        except Exception as error:  # whatever a calculator raises about a frame
            raise ValueError(f"--reference {spec}: the calculator failed: {error}") from error
    model = identify(Path(spec))
    of_model = replace(job, models={"reference": str(model.path.absolute())}, only_curvatures=True)
    _check_host(model.host, pythons, ["reference"])
    if model.host in pythons:
        return jobs.curvatures_elsewhere(pythons[model.host], of_model)
    loaded = jobs.load_for(of_model, "reference", sets)
    return probe_curvatures(sets, loaded.calculator, job.settings, named)


def _measure(
    models: Mapping[str, ModelFile],
    job: Job,
    sets: Sequence[FrameSet],
    reference: Floats | None,
    pythons: Mapping[str, str],
    stage: Stage,
) -> dict[str, Measured]:
    """Measure every model, in the order that they were given."""
    found: dict[str, Measured] = {}
    for host in HOSTS:
        of_host = {n: str(m.path.absolute()) for n, m in models.items() if m.host == host}
        if not of_host:
            continue
        its = replace(job, models=of_host)
        if host in pythons:
            stage(f"{', '.join(of_host)}: by {pythons[host]}", 0)
            found |= jobs.measure_elsewhere(pythons[host], its, reference)
        else:
            found |= jobs.measure_here(its, sets, reference, stage)
    for name, model in models.items():
        found[name].numbers["file"] = str(model.path)  # as it was given
    return {name: found[name] for name in models}


def _about(frame_set: FrameSet) -> dict[str, Any]:
    return {
        "file": str(frame_set.path),
        "sha256": frame_set.sha256,
        "frames": len(frame_set.frames),
        "keys": dict(frame_set.keys),
        "config_type_key": frame_set.config_type_key,
    }


def _write(
    folder: Path,
    content: dict[str, Any],
    measured: Mapping[str, Measured],
    logs: Mapping[str, TrainingLog | None],
    curves: Figure | None,
) -> None:
    """Write numbers and report."""
    from piwsl_plugins.evaluation.report import render

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / JSON, content)
    (folder / HTML).write_text(render(content, measured, logs, curves), encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write numbers, of which one that is not finite becomes null."""

    def plain(value: Any) -> Any:  # noqa: ANN401  any tree of numbers
        if isinstance(value, Mapping):
            return {str(key): plain(entry) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return [plain(entry) for entry in value]
        if isinstance(value, float) and value - value != 0.0:
            return None
        return value

    text = json.dumps(plain(content), indent=2, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
