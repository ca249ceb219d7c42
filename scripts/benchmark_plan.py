"""What an accuracy benchmark consists of: its runs, their epochs, and what is done about each."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from ase import Atoms
from benchmark_cases import Case, unused_folder
from benchmark_costs import FEWEST_EPOCHS, MOST_EPOCHS, REFERENCE, STEPS, Costs
from benchmark_data import Source, Subset
from benchmark_frames import digest
from benchmark_hosts import Setup
from benchmark_jobs import Job, evaluation, training_record, write_json
from benchmark_methods import Method
from benchmark_records import judge, read_record
from benchmark_students import STUDENT_RUNS, StudentRun
from benchmark_weak import Floats, energies_and_forces
from nequip_runs import CLOCK_VARIABLES

from piwsl_plugins.training.mace_runs import MaceRun
from piwsl_plugins.training.nequip_runs import NequipRun
from piwsl_plugins.training.runs import Run, RunFailedError

#: Guess of what imports and the evaluation take beside the training, seconds.
OVERHEAD = 30.0


@dataclasses.dataclass(kw_only=True)
class Benchmark:
    """All that the runs share.

    Attributes:
        folder: Where everything goes.
        dataset: Name of the data set.
        source: What training frames are drawn from.
        setup: What the hosts are told.
        tests: Test frames by the name of their set.
        low: The cheap method, as of piwsl weak label.
        low_tests: Where methods that learn a difference are among those to be run: its labels of
            all test frames, one set after the other.
        environments: Environment of each host that has it.
        costs: What an epoch costs.
    """

    folder: Path
    dataset: str
    source: Source
    setup: Setup
    tests: dict[str, list[Atoms]]
    environments: dict[str, Path]
    costs: Costs
    low: str = "gfn2-xtb"
    low_tests: Sequence[Atoms] | None = None
    _subsets: dict[tuple[str, Any, int, int], Subset] = dataclasses.field(default_factory=dict)
    _versions: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def test_file(self) -> Path:
        """File of all test frames, one set after the other."""
        return self.folder / "data" / "test.xyz"

    def subset(self, case: Case) -> Subset:
        """Files of a case, written where they are not there yet."""
        key = (case.host, (case.method.name, case.method.labels), case.size, case.seed)
        if key not in self._subsets:
            self._subsets[key] = self.source.subset(case.method, case.host, case.size, case.seed)
        return self._subsets[key]

    def settings(self, case: Case) -> str:
        """Digest of what a run is made of, but for the number of epochs that a time gives."""
        subset = self.subset(case)
        config = self.config(case, (case.epochs or 0,) * 2)
        frames = digest(self.test_file.read_text(encoding="utf-8"))
        return digest(json.dumps([config, subset.digest, frames], sort_keys=True))

    def cost_settings(self, case: Case) -> str:
        """Digest of what the cost of an epoch depends on: not the seed, nor which frames."""
        nothing: dict[str, Any] = {"train": "", "valid": "", "digest": "", "difference": None}
        subset = dataclasses.replace(self.subset(case), **nothing)
        config = self.setup.config(case.host, case.method, subset, 0, 0)
        return digest(json.dumps(config, sort_keys=True))

    def record(self, case: Case) -> Path:
        """The file of a case's record."""
        return self.folder / "records" / f"{case.name}.json"

    def is_done(self, case: Case, retry: bool) -> bool:
        """Whether a case has its record.

        Args:
            case: The case.
            retry: A failed run does not count.

        Raises:
            OtherSettingsError: The record is of other settings.
        """
        found = read_record(self.record(case), self.settings(case))
        return found is not None and not (retry and found["status"] == "failed")

    def epochs(self, case: Case) -> list[int]:
        """How long the trainings of a case are.

        Raises:
            RunFailedError: A short training failed, so that this is unknown.
        """
        found = []
        for part, share in case.parts():
            if case.budget is None:
                found.append(max(1, round(share * (case.epochs or 0))))
            else:
                name = part.method.name
                found.append(self.costs.epochs(case.place, name, share * case.budget))
        return found

    def config(self, case: Case, epochs: Sequence[int]) -> dict[str, Any]:
        """What a run is told, a student's but for its output.

        Args:
            case: The case.
            epochs: Of each of its trainings.
        """
        student, subset = case.method.way, self.subset(case)
        if student is None:
            return self.setup.config(case.host, case.method, subset, case.seed, epochs[0])
        configs = []
        for (part, _), number in zip(case.parts(), epochs, strict=True):
            made_of = dataclasses.replace(self.subset(part), difference=None)
            configs.append(self.setup.config(case.host, part.method, made_of, case.seed, number))
        rest = self.source.rest(case.size, case.seed) if student.geometries else None
        files: dict[str, Any] = {"train": subset.train, "valid": subset.valid}
        return student.config(
            case.host,
            files | ({} if rest is None else {"geometries": [rest]}),
            self.low,
            self.setup.free_atoms,
            self.setup.device,
            case.seed,
            *configs,
        )

    def run(self, case: Case, epochs: Sequence[int], parent: str) -> Run:
        """A run, not yet started; its config is written.

        Args:
            case: The case.
            epochs: Length of its trainings.
            parent: Folder of the run's folder, relative to the benchmark's.
        """
        folder = unused_folder(self.folder / parent, case.name)
        config, own = self.config(case, epochs), folder.relative_to(self.folder)
        path = own.with_name(f"{own.name}.yaml")
        kinds: dict[str, type[Run]] = {"mace": MaceRun, "nequip": NequipRun}
        words = ["--config", str(path)] if case.host == "mace" else [str(path)]
        if case.method.way is not None:
            kinds, words = STUDENT_RUNS, [str(path)]
            config["output"] = str(own)
        (self.folder / parent).mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100)
        (self.folder / path).write_text(f"# {self.dataset}, {case.name}\n{text}", encoding="utf-8")
        return kinds[case.host](
            label=case.name,
            arguments=words,
            folder=own,
            root=self.folder,
            epochs=epochs[-1],
            programs=self.environments[case.host] / "bin",
            variables={} if case.host == "mace" else CLOCK_VARIABLES,
        )

    def calibrations(self, cases: Sequence[Case], rounds: int) -> Iterator[tuple[str, Any]]:
        """What must be measured before the epochs of all cases are known.

        Args:
            cases: Cases to be run.
            rounds: How often each method is measured beside plain.

        Yields:
            For each host and size, its name and, as a tuple, the short trainings and the digests
            of the methods' settings.
        """
        places: dict[str, dict[str, Case]] = {}
        for case in cases:
            for part, _ in case.parts() if case.budget is not None else ():
                places.setdefault(case.place, {}).setdefault(part.method.name, part)
        for place, wanted in places.items():
            settings = {name: self.cost_settings(case) for name, case in wanted.items()}
            lacking = [n for n in wanted if self.costs.lacks(place, n, settings[n])]
            if not lacking:
                continue
            first = next(iter(wanted.values()))
            plain = Method(name=REFERENCE, title=REFERENCE, baseline=True)
            reference = wanted.get(REFERENCE, dataclasses.replace(first, method=plain))
            # no "also": plain is measured anew beside whatever is measured later
            measured = {REFERENCE: reference} | {name: wanted[name] for name in lacking}
            settings[REFERENCE] = self.cost_settings(reference)
            runs = {name: partial(self._short_run, case) for name, case in measured.items()}
            yield place, (self.costs.jobs(place, runs, settings, rounds), settings)

    def _short_run(self, case: Case) -> Run:
        steps = self.setup.steps_an_epoch(case.host, self.subset(case))
        epochs = min(max(-(-STEPS // steps), FEWEST_EPOCHS), MOST_EPOCHS)
        return self.run(case, [epochs], "calibration")

    def job(self, case: Case) -> Job:
        """What is done about a case.

        Raises:
            RunFailedError: The method's short training failed, so that its epochs are unknown.
        """
        run = self.run(case, self.epochs(case), "runs")
        command, predictions = evaluation(run, self.test_file, self.setup.device)
        expected = OVERHEAD + (60.0 if case.budget is None else case.budget)
        if case.method.way is not None:
            expected *= case.method.way.members + 1.0
        finish = partial(self.finish, case, predictions)
        return Job(run=run, expected=expected, evaluation=command, finish=finish)

    def finish(self, case: Case, predictions: Path, job: Job) -> None:
        """Write a case's record."""
        tests: dict[str, Any] = {}
        if not job.failed:
            try:
                tests = judge(predictions, self.tests, self._added(case))
            except ValueError as error:
                job.failed = f"{job.run.label}: {error}"
        subset = self.subset(case)
        if isinstance(job.run, StudentRun):
            subset = dataclasses.replace(subset, n_train=job.run.n_train or subset.n_train)
        steps = self.setup.steps_an_epoch(case.host, subset)
        self.write(case, training_record(job.run, steps), tests, job.failed)

    def _added(self, case: Case) -> tuple[Floats, Floats] | None:
        """Energies and forces of the test frames to which a method's model adds its difference."""
        if not case.method.difference:
            return None
        assert self.low_tests is not None
        return energies_and_forces(self.low_tests)

    def write(
        self, case: Case, training: dict[str, Any], tests: dict[str, Any], failed: str
    ) -> None:
        """Write a record."""
        subset = self.subset(case)
        run = {
            "dataset": self.dataset,
            "host": case.host,
            "method": case.method.name,
            "title": case.method.title,
            "baseline": case.method.baseline,
            "train_size": case.size,
            "seed": case.seed,
            "budget_s": case.budget,
            "forces": "all" if case.method.labels == "all_forces" else self.source.forces,
            "n_train_frames": subset.n_train,
            "n_force_frames": subset.n_forces,
            "device": self.setup.device,
            "git_commit": git_commit(),
            "host_version": self.version(case.host),
            "settings": self.settings(case),
        }
        record = {"status": "failed" if failed else "done", "run": run, "training": training}
        record |= {"reason": failed} if failed else {"tests": tests}
        write_json(self.record(case), record)

    def fail(self, case: Case, error: RunFailedError) -> None:
        """Write the record of a case that cannot be run."""
        self.write(case, {}, {}, str(error))

    def version(self, host: str) -> str:
        """Versions of a host and of torch in its environment."""
        if host not in self._versions:
            name = "mace-torch" if host == "mace" else "nequip"
            code = (
                "from importlib.metadata import version as v; "
                f"print('{name} ' + v('{name}') + ', torch ' + v('torch'))"
            )
            python = str(self.environments[host] / "bin" / "python")
            done = subprocess.run([python, "-c", code], capture_output=True, text=True)
            self._versions[host] = done.stdout.strip() or "unknown"
        return self._versions[host]


def git_commit() -> str:
    """The commit that this script is of, with a mark where the tree differs; empty without git."""
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""
