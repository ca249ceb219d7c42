"""Runs of ``mace_run_train``, whose progress stands in its results file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from piwsl_plugins.training.runs import Run

#: Lines of MACE's log before the first epoch and after each.
EPOCH = re.compile(
    r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) INFO: (?:Initial|Epoch \d+): head: ", re.MULTILINE
)


@dataclass(kw_only=True)
class MaceRun(Run):
    """One run of ``mace_run_train``.

    Attributes:
        arguments: Those of ``mace_run_train``, without ``--name`` and ``--work_dir``.
        folder: MACE's ``--work_dir``; its last part is MACE's experiment name.
        step_seconds: Sum and number of the optimiser steps so far, seconds.
    """

    host: ClassVar[str] = "MACE"
    program: ClassVar[str] = "mace_run_train"

    step_seconds: tuple[float, int] = (0.0, 0)
    _read: int = field(default=0, repr=False)

    @property
    def command(self) -> list[str]:
        """The command as a user types it."""
        own = ["--name", self.folder.name, "--work_dir", str(self.folder)]
        return [self.program, *self.arguments, *own]

    @property
    def model(self) -> Path:
        """The trained model: that of stage two where there was one."""
        folder, name = self.root / self.folder, self.folder.name
        stage_two = folder / f"{name}_stagetwo.model"
        return stage_two if stage_two.exists() else folder / f"{name}.model"

    @property
    def milliseconds_a_step(self) -> float:
        """Mean time of an optimiser step, ms; NaN before the first."""
        seconds, steps = self.step_seconds
        return 1000.0 * seconds / steps if steps else float("nan")

    @property
    def epoch_times(self) -> list[float]:
        """Readings of the clock, seconds: before the first epoch, and after each that has ended."""
        if not self.output.exists():
            return []
        text = self.output.read_text(encoding="utf-8", errors="replace")
        return [datetime.fromisoformat(found).timestamp() for found in EPOCH.findall(text)]

    def read_progress(self) -> None:
        """Take over the new lines of MACE's results file."""
        for record in self._new_records():
            self._take(record)

    def _new_records(self) -> Iterator[dict[str, Any]]:
        files = sorted((self.root / self.folder).glob("results/*_train.txt"))
        if not files:
            return
        with files[0].open("rb") as results:
            results.seek(self._read)
            for line in results:
                if not line.endswith(b"\n"):
                    return  # MACE is still writing it
                self._read += len(line)
                yield json.loads(line)

    def _take(self, record: Mapping[str, Any]) -> None:
        if isinstance(record.get("epoch"), int):
            self.epoch = max(self.epoch, record["epoch"])
        if record.get("mode") == "eval" and isinstance(record.get("rmse_e"), float):
            self.validation.append(record["rmse_e"])
        if record.get("mode") == "opt" and isinstance(record.get("time"), float):
            seconds, steps = self.step_seconds
            self.step_seconds = (seconds + record["time"], steps + 1)
