"""Trainings as stages: the host's config is written, its command run, its model kept."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from piwsl_plugins.training.display import train as train_all
from piwsl_plugins.training.runs import Run
from piwsl_plugins.weak import prepare
from piwsl_plugins.weak.correct import ENERGY, FORCES, STRESS
from piwsl_plugins.weak.distil import REFERENCE, REFERENCE_FORCES
from piwsl_plugins.weak.files import write_text
from piwsl_plugins.weak.labels_summary import SUMMARY
from piwsl_plugins.weak.stages import Runner, Stage
from piwsl_plugins.weak.trainings import (
    DELTA,
    PLAIN,
    STUDENT,
    Training,
    mace_flags,
    nequip_config,
)
from piwsl_plugins.weak.workspace import Workspace, epochs_of

CONFIG = "config.yaml"
FROM = {PLAIN: "data", DELTA: "label", STUDENT: "distil"}
"""Stage whose files a training reads."""


class TrainStages:
    """Plain training, models of the difference, and student.

    Args:
        workspace: Settings, folder and programs.
        runner: Runs the stages.
        console: Shows the progress.
    """

    def __init__(self, workspace: Workspace, runner: Runner, console: Console) -> None:
        self.at, self.runner, self.console = workspace, runner, console
        self.settings = workspace.settings

    def check(self) -> None:
        """Make every config once, so that what is wrong with one is told before anything is done.

        Raises:
            ValueError: A key that is not the user's to give.
        """
        nothing = Path("none.xyz")
        for kind in (PLAIN, DELTA, STUDENT):
            if kind == PLAIN and self.settings.plain is False:
                continue
            self._config(
                Training(
                    kind=kind,
                    train=nothing,
                    valid=nothing,
                    energy=REFERENCE,
                    atomic_energies={},
                    differs=self._differs(kind),
                )
            )

    def energies_and_differences(self) -> None:
        """Train on the energies alone, unless that is left out, and on the differences."""
        trainings = {}
        if self.settings.plain is not False:
            trainings[PLAIN] = self._training(PLAIN, self.settings.seed)
        for number, name in enumerate(self.members):
            trainings[name] = self._training(DELTA, self.settings.seed + number)
        self._train(trainings)

    def student(self) -> None:
        """Train the student."""
        self._train({STUDENT: self._training(STUDENT, self.settings.seed)})

    @property
    def members(self) -> list[str]:
        """Names of the models of the difference."""
        return [f"{DELTA}-{number + 1}" for number in range(self.settings.committee.members)]

    def model(self, name: str) -> Path:
        """The model of a training."""
        return self.at.run(name, self.at.path(name, CONFIG), 1, threads=1).model

    def _differs(self, kind: str) -> Mapping[str, Any]:
        found = getattr(self.settings, kind)
        return found if isinstance(found, Mapping) else {}

    def _read(self, stage: str, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.at.path(stage, name).read_text(encoding="utf-8"))
        return content

    def _training(self, kind: str, seed: int) -> Training:
        """What is trained, and on what."""
        train, valid = (self.at.path(FROM[kind], n) for n in (prepare.TRAIN, prepare.VALID))
        energies = self._read("data", prepare.ENERGIES)["energies"]
        labels: dict[str, Any] = {"energy": REFERENCE, "forces": self._forces(train)}
        if kind == STUDENT:
            stress = STRESS if f" {STRESS}=" in train.read_text("utf-8") else None
            labels = {"energy": ENERGY, "forces": FORCES, "stress": stress}
        if kind == DELTA:
            summary = self._read("label", SUMMARY)
            energies, labels["scale"] = summary["energies"], summary["scale"]
            labels["low_energy"] = "weak_energy"
            labels["low_forces"] = "weak_forces" if labels["forces"] else None
        return Training(
            kind=kind,
            train=train,
            valid=valid,
            atomic_energies=energies,
            seed=seed,
            device=self.settings.device,
            allow_unusual_units=self.settings.data.allow_unusual_units,
            differs=self._differs(kind),
            **labels,
        )

    def _forces(self, path: Path) -> str | None:
        """Key of the reference forces, where the training frames bring some to be used."""
        used = self.settings.data.train_on_forces and REFERENCE_FORCES in path.read_text("utf-8")
        return REFERENCE_FORCES if used else None

    def _config(self, training: Training) -> dict[str, Any]:
        make = mace_flags if self.settings.host == "mace" else nequip_config
        return make(self.settings.training, training)

    def _train(self, trainings: Mapping[str, Training]) -> None:
        """Train what is not trained yet, some at a time."""
        runs: list[Run] = []
        stages: dict[str, Stage] = {}
        for name, training in trainings.items():
            stage, run = self._stage(name, training)
            if self.runner.begin(stage):
                stage.work()
                runs.append(run)
                stages[run.label] = stage

        def ended(run: Run) -> None:  # at once, so that a kill of the others does not undo it
            self.runner.finish(stages[run.label])

        if runs:
            train_all(runs, self.console, self.settings.trainings_at_once, ended)

    def _stage(self, name: str, training: Training) -> tuple[Stage, Run]:
        folder, config = self.at.path(name), self._config(training)
        path = folder / CONFIG
        epochs = epochs_of(self.settings.host, config)
        run = self.at.run(name, path, epochs, threads=self.settings.threads)
        if self.settings.host == "nequip":
            config["hydra"] = {"run": {"dir": str(run.folder)}}
        state = dataclasses.asdict(training)
        for what in ("train", "valid", "allow_unusual_units"):  # what is in the files counts
            del state[what]
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100)
        note = f"# {name}: made by piwsl weak train of {self.at.config.name}\n"
        stage = Stage(
            name=name,
            title=f"Train: {name}",
            folder=folder,
            settings={"training": state, "base": self.settings.training},
            inputs=[training.train, training.valid],
            outputs=[run.model],
            commands=[[self.at.program(run.program), *run.command[1:]]],
            work=lambda: write_text(path, note + text),
        )
        return stage, run
