"""What the demo says at its end: the trained models on the test frames: table, figure, JSON."""

from __future__ import annotations

import io
import json
import shlex
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mace_runs import MaceRun
from rich.table import Table

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

METRICS, FIGURE = "metrics.json", "force_parity.png"


def evaluate(
    runs: Sequence[MaceRun], settings: dict[str, Any], test_file: Path, folder: Path
) -> dict[str, Any]:
    """Judge the trained models on the test frames; write figure and numbers.

    Args:
        runs: The finished runs.
        settings: What they were made of, kept beside the numbers.
        test_file: Frames with energies, eV, and forces, eV/angstrom.
        folder: Where force_parity.png and metrics.json go.

    Returns:
        The numbers as they stand in metrics.json.
    """
    # Late, because they bring torch: seconds that nobody needs to see an earlier result again.
    import ase.io

    from piwsl_plugins.evaluation import compare, summarise
    from piwsl_plugins.evaluation.figures import force_parity, save

    config = settings["config"]
    frames = list(ase.io.iread(test_file, index=":"))
    comparisons = {
        run.label: compare(
            frames,
            load(run.model, config.get("default_dtype", "float64")),
            energy_key=config.get("energy_key", "REF_energy"),
            forces_key=config.get("forces_key", "REF_forces"),
        )
        for run in runs
    }
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
                **summarise(comparisons[run.label]).as_dict(),
            }
            for run in runs
        },
    }
    (folder / METRICS).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    return metrics


def load(model: Path, dtype: str) -> Calculator:
    """A trained model as ASE calculator, without what MACE prints on the way.

    Args:
        model: File that mace_run_train wrote.
        dtype: float32 or float64.
    """
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        # How MACE reads its own files, and which accelerators are missing, is not the user's doing.
        warnings.simplefilter("ignore")
        from mace.calculators import MACECalculator

        calculator: Calculator = MACECalculator(
            model_paths=str(model), device="cpu", default_dtype=dtype
        )
    return calculator


def _number(digits: int, *keys: str) -> Callable[[dict[str, Any]], str]:
    def read(model: dict[str, Any]) -> str:
        value: Any = model
        for key in keys:
            value = None if value is None else value[key]
        return "no labels" if value is None else f"{value:.{digits}f}"

    return read


def _interval(model: dict[str, Any]) -> str:
    interval = (model["softening"] or {}).get("interval")
    return "–" if interval is None else "{:.3f} – {:.3f}".format(*interval)


def _duration(model: dict[str, Any]) -> str:
    minutes, seconds = divmod(round(model["wall_clock_s"]), 60)
    return f"{minutes} min {seconds:02d} s"


def table(metrics: dict[str, Any]) -> Table:
    """The comparison as people read it: one column a model.

    Args:
        metrics: The numbers as they stand in metrics.json.
    """
    result = Table(title=f"{metrics['test_frames']} test frames that no training has seen")
    result.add_column("")
    for label in metrics["models"]:
        result.add_column(label, justify="right")
    rows: dict[str, Callable[[dict[str, Any]], str]] = {
        "energy RMSE (meV)": _number(1, "energy_rmse_mev"),
        "force RMSE (meV/Å)": _number(1, "force_rmse_mev_per_angstrom"),
        "force slope (1: neither soft nor stiff)": _number(3, "softening", "slope"),
        "  its 95 % interval": _interval,
        "wall-clock, start to end": _duration,
        "time a training step (ms)": _number(0, "step_ms"),
        "epochs": _number(0, "epochs"),
    }
    for name, read in rows.items():
        result.add_row(name, *(read(model) for model in metrics["models"].values()))
    return result
