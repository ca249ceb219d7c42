"""From a file of energies to a student: the stages of ``piwsl weak train``, in order."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from piwsl_plugins.weak import prepare
from piwsl_plugins.weak.delta_calculator import DeltaModel
from piwsl_plugins.weak.distil import assemble
from piwsl_plugins.weak.labels_summary import SUMMARY, summarise
from piwsl_plugins.weak.report import EVALUATION, report_words, tell
from piwsl_plugins.weak.sample_options import words_of
from piwsl_plugins.weak.settings import HOSTS, file_of
from piwsl_plugins.weak.stages import Runner, Stage
from piwsl_plugins.weak.train_stages import TrainStages
from piwsl_plugins.weak.workspace import Workspace

DELTA_FILE, LOW_FILE = "delta.json", "low.json"
FRAMES = "frames.xyz"
SPLIT = (prepare.TRAIN, prepare.VALID)


class Pipeline:
    """Does the stages that are not done yet.

    Args:
        workspace: Settings, folder and programs.
        console: Told of the stages.
    """

    def __init__(self, workspace: Workspace, console: Console) -> None:
        self.at, self.console, self.settings = workspace, console, workspace.settings
        self.runner = Runner(self._say)
        self.trainings = TrainStages(workspace, self.runner, console)

    def run(self, until: str) -> None:
        """Do the stages up to one of them.

        Args:
            until: Name of the last stage.

        Raises:
            ValueError: Whatever is wrong with settings or data.
            StageFailedError: A program has failed, and told why.
            RunFailedError: A training has failed.
        """
        self.trainings.check()
        steps: dict[str, Callable[[], None]] = {
            "data": self._data,
            "label": self._label,
            "delta": self.trainings.energies_and_differences,
            "committee": self._committee,
            "sample": self._sample,
            "weak": self._weak,
            "distil": self._distil,
            "student": self.trainings.student,
            "report": self._report,
        }
        for name, step in steps.items():
            step()
            if name == until:
                return

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _stage(
        self,
        name: str,
        title: str,
        work: Callable[[], None] | Sequence[Sequence[str]],
        *,
        settings: Mapping[str, Any],
        inputs: Sequence[Path],
        outputs: Sequence[str],
    ) -> None:
        """Run a stage that this process does itself, or commands of this package do."""
        folder = self.at.path(name)
        commands: Sequence[Sequence[str]] = [self.at.itself(name)]
        if not callable(work):
            commands = work

        def do() -> None:
            if callable(work):
                work()
                return
            for command in commands:
                self.at.call(command)

        self.runner.run(
            Stage(
                name=name,
                title=title,
                folder=folder,
                settings=settings,
                inputs=inputs,
                outputs=[folder / output for output in outputs],
                commands=commands,
                work=do,
            )
        )

    @property
    def _has_weak_frames(self) -> bool:
        """Whether there are geometries beside those with energies."""
        given = self.at.path("data", prepare.GEOMETRIES).is_file()
        return given or not self.settings.sample.is_empty

    def _data(self) -> None:
        data, folder = self.settings.data, self.at.path("data")
        files = [data.train, data.valid, data.test, *data.geometries]
        self._stage(
            "data",
            "Read, check and split the data",
            lambda: prepare.prepare(data, folder),
            settings=dataclasses.asdict(data),
            inputs=[file_of(name) for name in files if name is not None],
            outputs=[*SPLIT, prepare.ENERGIES],
        )
        for warning in json.loads((folder / prepare.ENERGIES).read_text("utf-8"))["warnings"]:
            self._say(f"   {warning}")

    def _label_words(self, source: Path, out: Path) -> list[str]:
        """Label by the cheap method; what was computed is found again after a kill."""
        words = [str(source), *self.at.low.words, "-o", str(out), "--force"]
        words += ["--cache", str(self.at.root / "cache"), "--processes", str(self.at.processes)]
        return self.at.weak("label", *words)

    def _label(self) -> None:
        folder, low = self.at.path("label"), self.settings.low_level
        sources = [self.at.path("data", name) for name in SPLIT]
        commands = [self._label_words(source, folder / source.name) for source in sources]
        settings = dataclasses.asdict(low)
        floor = settings.pop("min_correlation")
        self._stage(
            "label",
            f"Label the frames by {low.method}",
            commands,
            settings=settings,
            inputs=sources,
            outputs=SPLIT,
        )
        summarise(folder / prepare.TRAIN, floor, folder / SUMMARY)
        self._say(f"   {json.loads((folder / SUMMARY).read_text('utf-8'))['text']}")

    def _committee(self) -> None:
        folder, host, low = self.at.path("committee"), HOSTS[self.settings.host], self.at.low
        models = [self.trainings.model(name) for name in self.trainings.members]
        summary = json.loads(self.at.path("label", SUMMARY).read_text("utf-8"))

        def work() -> None:
            together = DeltaModel(low=low, models=tuple(models), host=host)
            together.write(folder / DELTA_FILE)
            alone = DeltaModel(low=low, shifts=summary["energies"], host=host)
            alone.write(folder / LOW_FILE)

        self._stage(
            "committee",
            "Name the cheap method and the models of the difference in one file",
            work,
            settings={"low": dataclasses.asdict(low), "shifts": summary["energies"]},
            inputs=models,
            outputs=[DELTA_FILE, LOW_FILE],
        )

    @property
    def _delta_files(self) -> list[Path]:
        """The file that names cheap method and models, and the models."""
        models = [self.trainings.model(name) for name in self.trainings.members]
        return [self.at.path("committee", DELTA_FILE), *models]

    def _sample(self) -> None:
        if not self._has_weak_frames:
            return
        sample, known = self.settings.sample, self.at.path("label", prepare.TRAIN)
        given, out = self.at.path("data", prepare.GEOMETRIES), self.at.path("sample", FRAMES)
        inputs = [known, *([given] if given.is_file() else [])]
        potential = self._delta_files
        if self.settings.sample_by == "low":
            potential = [self.at.path("committee", LOW_FILE)]
        words = [str(known), "--potential", str(potential[0]), "-o", str(out), "--force"]
        words += ["--candidates", str(given)] if given.is_file() else []
        words += [*words_of(sample), "--parts", str(self.at.root / "cache" / "series")]
        words += ["--processes", str(self.at.processes)]
        self._stage(
            "sample",
            "Sample new geometries",
            [self.at.weak("sample", *words, "--device", self.settings.device)],
            settings=dataclasses.asdict(sample),
            inputs=[*inputs, *potential],
            outputs=[FRAMES],
        )

    def _correct_words(self, source: Path, name: str, *words: str) -> list[str]:
        arguments = [str(source), "--delta", str(self._delta_files[0])]
        arguments += ["-o", str(self.at.path("weak", name)), "--force", *words]
        return self.at.weak("correct", *arguments, "--device", self.settings.device)

    def _weak(self) -> None:
        committee = self.settings.committee
        sources = [self.at.path("label", name) for name in SPLIT]
        commands = [self._correct_words(path, path.name, "--keep-all") for path in sources]
        outputs = list(SPLIT)
        if self._has_weak_frames:
            sources.append(self.at.path("sample", FRAMES))
            outputs.append(FRAMES)
            words = []
            if committee.max_forces_std is not None:
                words += ["--max-forces-std", str(committee.max_forces_std)]
            if not committee.weigh or self.settings.host != "mace":
                words.append("--no-weights")
            low = self.at.path("weak", "low.xyz")
            commands.append(self._label_words(sources[-1], low))
            commands.append(self._correct_words(low, FRAMES, *words))
        self._stage(
            "weak",
            "Label the geometries by cheap method and difference",
            commands,
            settings=dataclasses.asdict(committee),
            inputs=[*sources, *self._delta_files],
            outputs=outputs,
        )

    def _distil(self) -> None:
        folder, data = self.at.path("distil"), self.settings.data
        sources = [self.at.path("weak", name) for name in SPLIT]
        weak = self.at.path("weak", FRAMES) if self._has_weak_frames else None
        choices = {
            "valid_fraction": data.valid_fraction,
            "train_on_forces": data.train_on_forces,
            "seed": self.settings.seed,
        }

        def work() -> None:
            train, valid = (folder / name for name in SPLIT)
            found = assemble(sources[0], sources[1], weak, train, valid, **choices)  # type: ignore[arg-type]
            self._say(f"   {found.text}")

        self._stage(
            "distil",
            "Put the student's frames together",
            work,
            settings=choices,
            inputs=[*sources, *([] if weak is None else [weak])],
            outputs=SPLIT,
        )

    def _report(self) -> None:
        models = {"low": self.at.path("committee", LOW_FILE), "delta": self._delta_files[0]}
        if self.settings.plain is not False:
            models["plain"] = self.trainings.model("plain")
        models["student"] = self.trainings.model("student")
        test = self.at.path("data", prepare.TEST)
        if not test.is_file():
            self._say("   there is no test file: the models are judged by the validation energies")
            test = self.at.path("data", prepare.VALID)
        folder = self.at.path("report")
        words = report_words(models, test, folder, self.settings)
        self._stage(
            "report",
            "Compare the models",
            [[self.at.program("piwsl"), "evaluate", *words]],
            settings=dataclasses.asdict(self.settings.report),
            inputs=[*models.values(), *self._delta_files[1:], test],
            outputs=[EVALUATION],
        )
        tell(folder, self.console)
