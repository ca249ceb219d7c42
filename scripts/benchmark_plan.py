"""What an accuracy benchmark consists of: its runs, their epochs, and what is done about each."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from ase import Atoms
from benchmark_costs import FEWEST_EPOCHS, MOST_EPOCHS, REFERENCE, STEPS, Costs
from benchmark_data import Source, Subset, digest
from benchmark_hosts import Setup
from benchmark_jobs import Job, evaluation, training_record, write_json
from benchmark_methods import Method
from benchmark_records import judge, read_record
from nequip_runs import CLOCK_VARIABLES

from piwsl_plugins.training.mace_runs import MaceRun
from piwsl_plugins.training.nequip_runs import NequipRun
from piwsl_plugins.training.runs import Run, RunFailedError

#: Guess of what imports and the evaluation take beside the training, seconds.
OVERHEAD = 30.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run of the benchmark.

    Attributes:
        host: ``mace`` or ``nequip``.
        method: What distinguishes it.
        size: Number of frames whose labels it uses.
        seed: Of the draw, the initial weights and the order of the data.
        budget: Seconds of training; None where the number of epochs is given.
        epochs: Number of epochs; None where the time is given.
    """

    host: str
    method: Method
    size: int
    seed: int
    budget: float | None
    epochs: int | None

    @property
    def place(self) -> str:
        """Where its costs stand."""
        return f"{self.host}/n{self.size}"

    @property
    def name(self) -> str:
        """What its folder and its record are called."""
        length = f"{self.epochs}epochs" if self.budget is None else f"{self.budget:g}s"
        return f"{self.host}-{self.method.name}-n{self.size}-{length}-seed{self.seed}"


@dataclasses.dataclass(kw_only=True)
class Benchmark:
    """All that the runs share.

    Attributes:
        folder: Where everything goes.
        dataset: Name of the data set.
        source: What training frames are drawn from.
        setup: What the hosts are told.
        tests: Test frames by the name of their set.
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
    _subsets: dict[tuple[str, str, int, int], Subset] = dataclasses.field(default_factory=dict)
    _versions: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def test_file(self) -> Path:
        """File of all test frames, one set after the other."""
        return self.folder / "data" / "test.xyz"

    def subset(self, case: Case) -> Subset:
        """Files of a case, written where they are not there yet."""
        key = (case.host, case.method.name, case.size, case.seed)
        if key not in self._subsets:
            self._subsets[key] = self.source.subset(case.method, case.host, case.size, case.seed)
        return self._subsets[key]

    def settings(self, case: Case) -> str:
        """Digest of what a run is made of, but for the number of epochs that a time gives."""
        subset = self.subset(case)
        config = self.setup.config(case.host, case.method, subset, case.seed, case.epochs or 0)
        frames = digest(self.test_file.read_text(encoding="utf-8"))
        return digest(json.dumps([config, subset.digest, frames], sort_keys=True))

    def cost_settings(self, case: Case) -> str:
        """Digest of what the cost of an epoch depends on: not the seed, nor which frames."""
        subset = dataclasses.replace(self.subset(case), train="", valid="", digest="")
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

    def run(self, case: Case, epochs: int, parent: str) -> Run:
        """A training, not yet started; its config is written.

        Args:
            case: The case.
            epochs: Its length.
            parent: Folder of the run's folder, relative to the benchmark's.
        """
        folder = unused_folder(self.folder / parent, case.name)
        config = self.setup.config(case.host, case.method, self.subset(case), case.seed, epochs)
        path = Path(parent) / f"{folder.name}.yaml"
        (self.folder / parent).mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100)
        (self.folder / path).write_text(f"# {self.dataset}, {case.name}\n{text}", encoding="utf-8")
        kind = MaceRun if case.host == "mace" else NequipRun
        return kind(
            label=case.name,
            arguments=["--config", str(path)] if case.host == "mace" else [str(path)],
            folder=folder.relative_to(self.folder),
            root=self.folder,
            epochs=epochs,
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
            if case.budget is not None:
                places.setdefault(case.place, {}).setdefault(case.method.name, case)
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
        return self.run(case, epochs, "calibration")

    def job(self, case: Case) -> Job:
        """What is done about a case.

        Raises:
            RunFailedError: The method's short training failed, so that its epochs are unknown.
        """
        epochs = case.epochs
        if case.budget is not None:
            epochs = self.costs.epochs(case.place, case.method.name, case.budget)
        assert epochs is not None
        run = self.run(case, epochs, "runs")
        command, predictions = evaluation(run, self.test_file, self.setup.device)
        expected = OVERHEAD + (60.0 if case.budget is None else case.budget)
        finish = partial(self.finish, case, predictions)
        return Job(run=run, expected=expected, evaluation=command, finish=finish)

    def finish(self, case: Case, predictions: Path, job: Job) -> None:
        """Write a case's record."""
        tests: dict[str, Any] = {}
        if not job.failed:
            try:
                tests = judge(predictions, self.tests)
            except ValueError as error:
                job.failed = f"{job.run.label}: {error}"
        steps = self.setup.steps_an_epoch(case.host, self.subset(case))
        self.write(case, training_record(job.run, steps), tests, job.failed)

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


def unused_folder(parent: Path, name: str) -> Path:
    """A folder that does not exist yet: ``name``, or ``name-2``, ... beside interrupted runs.

    Args:
        parent: Where the runs are.
        name: What the folder should be called.
    """
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    candidates = (parent / free for free in names)
    return next(c for c in candidates if not c.exists() and not c.with_suffix(".yaml").exists())
