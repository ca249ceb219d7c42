"""Runs of ``nequip-train``, followed by their CSV log."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml

from piwsl_plugins.training.runs import Run, last_lines

#: NequIP's validation error of total energies, eV, in its logs.
VALIDATION = "val0_epoch/total_energy_rmse"
#: Lightning's last word, in its own log, when it ends for a signal.
SIGTERM = "Received SIGTERM"
#: A callback of the scripts may leave readings of the clock here, one line an epoch.
CLOCK_FILE = "epoch_times.txt"


@dataclass(kw_only=True)
class NequipRun(Run):
    """One run of ``nequip-train CONFIG ...``, whose config has a CSV logger and saves best.ckpt.

    Attributes:
        arguments: The config's file and overrides of it, without ``hydra.run.dir``.
        folder: Hydra's folder of the run.
    """

    host: ClassVar[str] = "NequIP"
    program: ClassVar[str] = "nequip-train"

    _seen: tuple[int, int] | None = field(default=None, repr=False)

    @property
    def command(self) -> list[str]:
        """The command as a user types it; Lightning's profiler tells the time of a step."""
        own = ["+trainer.profiler=simple", f"hydra.run.dir={self.folder}"]
        return [self.program, *self.arguments, *own]

    @property
    def model(self) -> Path:
        """The checkpoint with the lowest validation error."""
        return self.root / self.folder / "best.ckpt"

    @property
    def milliseconds_a_step(self) -> float:
        """Mean time of a training batch by Lightning's profiler, ms; NaN before the end."""
        if not self.output.exists():
            return float("nan")
        text = self.output.read_text(encoding="utf-8", errors="replace")
        found = re.search(r"\|\s*run_training_batch\s*\|\s*([-+.\de]+)\s*\|", text)
        return 1000.0 * float(found[1]) if found else float("nan")

    @property
    def interrupted(self) -> bool:
        """Whether Lightning was told to end: its exit status is 0 then, too."""
        return SIGTERM in last_lines(self.output)

    @property
    def epoch_times(self) -> list[float]:
        """Readings of the clock, seconds, of a config :func:`with_clock`; none without."""
        path = self.root / self.folder / CLOCK_FILE
        return [float(line) for line in path.read_text().split()] if path.exists() else []

    def read_progress(self) -> None:
        """Read the CSV log again if it has grown; NequIP writes it every hundred steps or so."""
        files = list((self.root / self.folder).glob("csv/version_*/metrics.csv"))
        if not files:
            return
        newest = max(files, key=lambda path: path.stat().st_mtime_ns)  # one for each restart
        state = newest.stat()
        if self._seen == (state.st_mtime_ns, state.st_size):
            return
        self._seen = (state.st_mtime_ns, state.st_size)
        text = newest.read_text(encoding="utf-8")
        # the last line may still be in the making, and the file is written anew for a new column
        whole = text[: text.rfind("\n") + 1].splitlines()
        found = [row for row in csv.DictReader(whole) if row.get(VALIDATION)]
        if found:
            self.epoch = max(self.epoch, int(found[-1]["epoch"]))
            self.validation = [float(row[VALIDATION]) for row in found]


def write_config(config: dict[str, Any], path: Path, comment: str) -> None:
    """Write a config that ``nequip-train`` reads.

    Args:
        config: What it holds.
        path: The file, whose folder is made where needed.
        comment: First line.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100)
    path.write_text(f"# {comment}\n{text}", encoding="utf-8")
