"""What the demo says at its end: the trained models on the test frames: table, figure, JSON."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from piwsl_plugins.training.runs import ONE_THREAD, Run, RunFailedError, failure

if TYPE_CHECKING:
    from ase import Atoms

    from piwsl_plugins.evaluation import Comparison

METRICS, FIGURE = "metrics.json", "force_parity.png"
EVALUATE = Path(__file__).with_name("evaluate_model.py")


def evaluate(runs: Sequence[Run], settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Judge the trained models on the test frames; write figure and numbers.

    Args:
        runs: The finished runs.
        settings: What they were made of, by host, kept beside the numbers; all have the same test
            file, with energies, eV, and forces, eV/angstrom.
        folder: Where force_parity.png and metrics.json go.

    Returns:
        The numbers as they stand in metrics.json.

    Raises:
        RunFailedError: A model could not be evaluated.
    """
    # Late, because they bring torch: seconds that nobody needs to see an earlier result again.
    import ase.io

    from piwsl_plugins.evaluation import summarise
    from piwsl_plugins.evaluation.figures import force_parity, save

    test_file = Path(next(iter(settings.values()))["test_file"])
    frames = list(ase.io.iread(test_file, index=":"))
    comparisons = {run.label: judge(run, settings[run.host], frames) for run in runs}
    title = f"{len(frames)} test frames, models trained on energies alone"
    save(force_parity(comparisons, title=title), folder / FIGURE)
    metrics = {
        "made": datetime.now().astimezone().isoformat(timespec="seconds"),
        "settings": settings,
        "test_frames": len(frames),
        "models": {
            run.label: {
                "command": shlex.join(run.command),
                "epochs": run.epoch + 1,
                "wall_clock_s": round(run.wall_clock, 1),
                "step_ms": round(run.milliseconds_a_step, 2),
                "peak_memory_mb": run.peak_memory_mb,
                **summarise(comparisons[run.label]).as_dict(),
            }
            for run in runs
        },
    }
    (folder / METRICS).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    return metrics


def judge(run: Run, settings: dict[str, Any], frames: Sequence[Atoms]) -> Comparison:
    """The predictions of a trained model, made by its host's Python, beside the labels.

    Args:
        run: The finished run.
        settings: Those of its host.
        frames: The frames of ``settings["test_file"]``.

    Raises:
        RunFailedError: The model could not be evaluated.
    """
    import numpy as np

    from piwsl_plugins.evaluation import beside_labels

    predictions, log = (run.output.with_name(name) for name in ("test.npz", "evaluation.txt"))
    dtype = settings["config"].get("default_dtype", "float64")
    command = [str(Path(os.path.abspath(run.programs)) / "python"), str(EVALUATE), "--dtype", dtype]
    command += [run.host, str(run.model), settings["test_file"], str(predictions)]
    with log.open("wb") as output:
        done = subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **ONE_THREAD}
        )
    if done.returncode != 0:
        what = f"The evaluation of {run.label}"
        raise RunFailedError(failure(what, done.returncode, command, log))
    with np.load(predictions) as found:
        return beside_labels(
            frames,
            found["energies"],
            found["forces"],
            energy_key=settings["energy_key"],
            forces_key=settings["forces_key"],
        )


def _number(digits: int, *keys: str) -> Callable[[dict[str, Any]], str]:
    def read(model: dict[str, Any]) -> str:
        value: Any = model
        for key in keys:
            value = None if value is None else value[key]
        return "no labels" if value is None else f"{value:.{digits}f}"

    return read


def _interval(model: dict[str, Any]) -> str:
    interval = (model["softening"] or {}).get("interval")
    return "–" if interval is None else "{:.3f}–{:.3f}".format(*interval)


def _duration(model: dict[str, Any]) -> str:
    minutes, seconds = divmod(round(model["wall_clock_s"]), 60)
    return f"{minutes} min {seconds:02d} s"


def table(metrics: dict[str, Any]) -> Table:
    """The comparison as people read it: one column a model; four of them fit in 80 characters.

    Args:
        metrics: The numbers as they stand in metrics.json.
    """
    result = Table(
        title=f"{metrics['test_frames']} test frames that no training has seen",
        caption="force slope: predicted against reference forces; 1 is right, below is too soft",
    )
    result.add_column("", no_wrap=True)
    for label in metrics["models"]:
        result.add_column(label, justify="right")
    rows: dict[str, Callable[[dict[str, Any]], str]] = {
        "energy RMSE (meV)": _number(1, "energy_rmse_mev"),
        "force RMSE (meV/Å)": _number(1, "force_rmse_mev_per_angstrom"),
        "force slope": _number(3, "softening", "slope"),
        "  95 % interval": _interval,
        "wall-clock": _duration,
        "time a step (ms)": _number(0, "step_ms"),
        "epochs": _number(0, "epochs"),
    }
    for name, read in rows.items():
        result.add_row(name, *(read(model) for model in metrics["models"].values()))
    return result
