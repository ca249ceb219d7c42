"""The runs of the accuracy benchmark: their files, configs, lengths and records."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from costs import known_costs, measure_costs, short_epochs, write_json
from host_configs import Setup, read_config
from host_runs import Run, host_run, run_all
from methods import Method, read_method
from students import frames_of_student, student_config, student_run
from subsets import Source, Subset, digest, free_atoms, label, read_frames
from summary import FORCES

from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.evaluation.inputs import environments
from piwsl_plugins.evaluation.measure import EvaluateSettings, Job, measure_elsewhere

ROOT = Path(__file__).resolve().parents[2]
NAMES = {"mace": "MACE", "nequip": "NequIP"}
PLAIN, CEILING = "plain", "full-forces"
"""The methods whose epochs are measured for all others to be beside, and for a student's."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run of the benchmark: ``size`` frames, and either seconds or a number of epochs."""

    host: str
    method: Method
    size: int
    seed: int
    budget: float | None
    epochs: int | None

    @property
    def name(self) -> str:
        """What its folder and its record are called."""
        length = f"{self.epochs}epochs" if self.budget is None else f"{self.budget:g}s"
        return f"{self.host}-{self.method.name}-n{self.size}-{length}-seed{self.seed}"


class Campaign:
    """All runs that a command line asks for.

    Raises:
        ValueError: an option or a file that it names is wrong.
    """

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.chosen = chosen
        self.folder: Path = chosen.output.resolve()
        self.costs = self.folder / "costs.json"
        self.dataset: str = chosen.dataset or chosen.train.stem
        self.tests = dict(map(split_name, chosen.test))
        if len(self.tests) != len(chosen.test):
            raise ValueError("--test: two files have one name; use NAME=FILE")
        if chosen.train.resolve() in {path.resolve() for path in self.tests.values()}:
            raise ValueError(f"--train and --test are one file, {chosen.train}")
        made = {host: ROOT / ".venv" / host for host in NAMES}
        here = Path(sys.executable).parents[1]
        words = [f"{host}={path if path.is_dir() else here}" for host, path in made.items()]
        self.pythons = environments([*words, *chosen.environment])
        shared = ("force_weight", "batch_size", "device", "dtype")
        self.setup = Setup(
            mace=read_config(chosen.mace_config),
            nequip=read_config(chosen.nequip_config),
            free_atoms=free_atoms(chosen.isolated_atoms),
            **{name: getattr(chosen, name) for name in shared},
        )
        methods = [read_method(name) for name in chosen.methods]
        frames = read_frames(chosen.train)
        if any(method.cheap for method in methods) and not chosen.report_only:
            labelled = self.folder / "data" / f"weak-{Path(chosen.weak_method).name}.xyz"
            frames = label(chosen.train, chosen.weak_method, labelled)
        forces, validation = str(chosen.forces), chosen.validation
        self.source = Source(
            frames=frames, forces=forces, validation=validation, folder=self.folder
        )
        self.cases = []
        for host, method in itertools.product(chosen.hosts, methods):
            if why := method.unsuitable(host, forces):
                tell(f"{method.name}, {host}: left out; {why}")
                continue
            sizes, budgets = chosen.sizes or [len(frames)], chosen.budgets or [None]
            self.cases += [
                Case(host=host, method=method, size=size, seed=seed, budget=budget,
                     epochs=chosen.epochs)
                for seed, size, budget in itertools.product(chosen.seeds, sizes, budgets)
            ]  # fmt: skip
        # what is compared stands side by side, and drifts with the machine together
        self.cases.sort(key=lambda case: (case.seed, case.size, case.budget or 0.0, case.host))

    def subset(self, case: Case) -> Subset:
        """The files of a case."""
        return self.source.subset(case.method, case.size, case.seed)

    def config(self, case: Case, epochs: int) -> dict[str, Any]:
        """What the run of a case is told, the folder left out."""
        subset, seed = self.subset(case), case.seed
        if case.method.student is None:
            return self.setup.config(case.host, case.method, subset, seed, epochs)
        rest, cheap = self.source.rest(case.size, seed), self.chosen.weak_method
        return student_config(self.setup, case.host, case.method, subset, rest, cheap, seed, epochs)

    def settings(self, case: Case) -> str:
        """Digest of what a run is made of, but for the number of epochs that a time gives."""
        tests = "".join(path.read_text(encoding="utf-8") for path in self.tests.values())
        content = [self.config(case, case.epochs or 0), self.subset(case).digest, digest(tests)]
        return digest(json.dumps(content, sort_keys=True))

    def record(self, case: Case) -> Path:
        """The file of a case's record."""
        return self.folder / "records" / f"{case.name}.json"

    def is_done(self, case: Case) -> bool:
        """Whether a case has its record.

        Raises:
            ValueError: the record is of other settings.
        """
        path = self.record(case)
        if not path.exists():
            return False
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["settings"] != self.settings(case):
            raise ValueError(f"{path} was made with other settings; choose another --output")
        return not (self.chosen.retry_failed and record["status"] == "failed")

    def cost_name(self, case: Case) -> str:
        """Name of a case's cost an epoch: neither seed nor frames change it."""
        blank = dataclasses.replace(self.subset(case), train="", valid="", digest="")
        config = self.setup.config(case.host, case.method, blank, 0, 0)
        content = digest(json.dumps(config, sort_keys=True))
        return f"{case.host}/n{case.size}/{case.method.name}/{content}"

    def measure_costs(self, cases: Sequence[Case]) -> None:
        """Measure what an epoch of all cases costs, where it is not known."""
        timed = [self.like(case) for case in cases if case.budget is not None]
        for place in dict.fromkeys((case.host, case.size) for case in timed):
            own = [case for case in timed if (case.host, case.size) == place]
            plain = dataclasses.replace(own[0], method=read_method(PLAIN))
            runs = {self.cost_name(case): partial(self.short_run, case) for case in (plain, *own)}
            measure_costs(
                self.costs, self.cost_name(plain), runs, self.chosen.calibration_rounds,
                self.setup.device, lambda made: run_all(made, self.chosen.at_once, tell),
            )  # fmt: skip

    def short_run(self, case: Case) -> Run:
        """A run that tells what an epoch costs."""
        n_train = self.subset(case).n_train
        steps = n_train / min(self.setup.batch_size, n_train)
        return self.run(case, short_epochs(steps), "calibration")

    def like(self, case: Case) -> Case:
        """The case whose epochs are measured for this one: a student costs what forces cost."""
        if case.method.student is None:
            return case
        return dataclasses.replace(case, method=read_method(CEILING))

    def epochs(self, case: Case) -> int:
        """Number of epochs of a case.

        Raises:
            ValueError: a short run failed, so that it is unknown.
        """
        if case.budget is None:
            return int(case.epochs or 0)
        cost = known_costs(self.costs)[self.cost_name(self.like(case))]
        if isinstance(cost, str):
            raise ValueError(cost)
        if case.method.student is not None:
            n_train, rest = self.subset(case).n_train, len(self.source.frames) - case.size
            cost *= frames_of_student(case.method.student, n_train, rest) / n_train
        return max(1, round(case.budget / cost))

    def run(self, case: Case, epochs: int, parent: str) -> Run:
        """A run, not yet started; its config is written.

        Args:
            case: the case.
            epochs: its number of epochs.
            parent: folder of the run's folder, relative to the benchmark's.
        """
        names = itertools.chain([case.name], (f"{case.name}-{n}" for n in itertools.count(2)))
        places = (self.folder / parent / name for name in names)  # beside interrupted runs
        folder = next(p for p in places if not p.with_name(f"{p.name}.yaml").exists())
        path, config = folder.with_name(f"{folder.name}.yaml"), self.config(case, epochs)
        words = [str(path.relative_to(self.folder))]
        make: Callable[..., Run] = host_run
        if case.method.student is not None:
            config["output"], make = str(folder), student_run
        elif case.host == "mace":
            words = ["--config", *words]
        path.parent.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100)
        path.write_text(f"# {self.dataset}, {case.name}\n{text}", encoding="utf-8")
        programs = Path(os.path.dirname(self.pythons[NAMES[case.host]]))
        how: dict[str, Any] = {"root": self.folder, "programs": programs, "epochs": epochs}
        return make(case.host, folder.name, words, folder, **how)

    def finish(self, case: Case, run: Run) -> None:
        """Judge a run that has ended, and write its record."""
        tests: dict[str, dict[str, Any]] = {}
        versions: dict[str, str] = {}
        if not run.failed:
            try:
                tests, versions = self.judge(run, case)
            except ValueError as error:
                run.failed = f"{run.label}: {error}"
        cpu, clock, errors = run.times("cpu"), run.times("clock"), run.validation()
        timed = len(clock) > 1
        trained = {
            "epochs": len(clock) - 1 if timed else run.epochs,
            "training_s": clock[-1] - clock[0] if timed else None,
            "training_cpu_s": cpu[-1] - cpu[0] if timed else None,
            "wall_clock_s": run.seconds,
            # imports, and with a student all that comes before it, included
            "cpu_s": run.samples[-1][1] if run.samples else None,
            "validation_energy_rmse_mev": 1e3 * min(errors) if errors else None,
            "command": shlex.join(run.command),
            "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
        }
        self.write(case, run.failed, trained, tests)

    def judge(self, run: Run, case: Case) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
        """Errors on each set of test frames, and versions; measured in the host's environment."""
        settings = EvaluateSettings(probes=0, nve_steps=0, device=self.setup.device)
        job = Job(data=self.tests, labels=DataSettings(energy="REF_energy"), settings=settings)
        host = NAMES[case.host]
        measured = measure_elsewhere(self.pythons[host], host, job, {"model": run.model})
        numbers, found = measured["model"].numbers, {}
        for name, errors in numbers["test_sets"].items():
            energy, forces = errors["energy_mev"], errors["force_mev_per_angstrom"] or {}
            found[name] = {
                "energy_rmse_mev": energy["rmse"],
                "energy_mae_mev": energy["mae"],
                FORCES: forces.get("rmse"),
                "force_mae_mev_per_angstrom": forces.get("mae"),
                "slope": (errors["force_slope"] or {}).get("slope"),
                "test_frames": energy["n"],
            }
        return found, numbers["versions"]

    def write(
        self, case: Case, failed: str, trained: dict[str, Any], tests: dict[str, dict[str, Any]]
    ) -> None:
        """Write a record; ``failed`` says why there is no model, or nothing."""
        method = case.method
        about = {
            "dataset": self.dataset,
            "host": case.host,
            "method": method.name,
            "title": method.title,
            "baseline": method.baseline,
            "train_size": case.size,
            "seed": case.seed,
            "budget_s": case.budget,
            "forces": "all" if method.labels == "all_forces" else self.source.forces,
            "device": self.setup.device,
            "settings": self.settings(case),
            "status": "failed" if failed else "done",
            "reason": failed,
        }
        write_json(self.record(case), about | trained | {"tests": tests})


def split_name(text: str) -> tuple[str, Path]:
    """Name and file of ``NAME=FILE`` or ``FILE``."""
    name, found, file = text.rpartition("=")
    return (name if found else Path(file).stem), Path(file)


def tell(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)
