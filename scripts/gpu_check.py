#!/usr/bin/env python3
"""Check everything that a GPU runs, in under eight minutes: a table, a JSON, a log of each check.

    make test-gpu
    scripts/gpu_check.py --mace-python A/bin/python --nequip-python B/bin/python

In environments that exist (this package, its host, pytest): nothing is installed, and this script
itself needs no library. On each host: the core's and the adapter's tests, the numbers of a step
beside the CPU's among them; a short training by every loss, that is restarted; compiled models
beside their own; what a step costs at sizes that people train. And the teacher's fit. Ends with 1
where anything failed or was not reached, and where there is no GPU.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = "formaldehyde_ccsdt_cbs/"
PROBE = (
    "import sys, torch; cuda = torch.cuda.is_available(); print(sys.version.split()[0], "
    "torch.__version__, torch.cuda.get_device_name().replace(' ', '_') if cuda else '')"
)
TERMS = ("taylor", "conservative", "curvature")
NEQUIP_TERMS: tuple[str, ...] = (*TERMS, "teacher")
MACE_LOSSES = ("piwsl", *(f"piwsl_{name}" for name in (*TERMS, "supervised", "teacher")))
TINY_MACE = [
    *("--model=ScaleShiftMACE", "--hidden_irreps=8x0e", "--max_ell=1", "--r_max=3.5"),
    *("--energy_weight=1000", "--batch_size=20", "--valid_fraction=0.1", "--E0s=average"),
    *("--scaling=std_scaling", "--seed=1", "--default_dtype=float64", "--restart_latest"),
]


class Check(NamedTuple):
    """Commands, one after another, the last of which may print JSON; ``says``, a word it prints."""

    name: str
    commands: list[list[str]]
    says: str = ""


def tests(host: str, python: str, quick: bool) -> list[Check]:
    """The tests with the fixture ``device``: the core's and an adapter's."""
    found = {"core": ["tests/losses"], host: [f"tests/hosts/{host}"]}
    if quick:
        found = {"core": ["tests/losses/test_step.py"]}
    how = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu"]
    return [Check(f"tests, {name} ({host})", [[*how, *paths]]) for name, paths in found.items()]


def mace_trainings(python: str, device: str, losses: tuple[str, ...], folder: Path) -> list[Check]:
    """Trainings by MACE's losses, each restarted, and the first one's compiled model."""
    data = str(ROOT / "piwsl_plugins/datasets" / SHIPPED / "train.xyz")
    train = [python, "-m", "mace.cli.run_train", f"--train_file={data}", f"--device={device}"]
    found = []
    for loss in losses:
        place = folder / loss
        words = [*train, f"--loss={loss}", f"--name={loss}", f"--work_dir={place}", *TINY_MACE]
        runs = [[*words, f"--max_num_epochs={epochs}"] for epochs in (2, 3)]
        found.append(Check(f"mace {loss}, restarted", runs, "Loading checkpoint"))
    models = [str(folder / losses[0] / f"{losses[0]}{end}.model") for end in ("", "_compiled")]
    same = [python, __file__, "same", device, *models]
    return [found[0]._replace(commands=[*found[0].commands, same]), *found[1:]]


def nequip_trainings(python: str, device: str, terms: tuple[str, ...], folder: Path) -> list[Check]:
    """Trainings by NequIP's terms and its teacher, each restarted, and the first model compiled."""
    found = []
    for term in terms:
        place = folder / term
        config = "piwsl_nequip_teacher" if term == "teacher" else "piwsl_nequip"
        words = [python, "-m", "nequip.scripts.train", "-cp", str(ROOT / "configs"), "-cn", config]
        words += ["run=[train]", f"hydra.run.dir={place}", "trainer.enable_progress_bar=false"]
        words += [f"trainer.accelerator={'cpu' if device == 'cpu' else 'gpu'}"]
        words += ["training_module.model.model_dtype=float64"]
        if term not in ("taylor", "teacher"):
            words += [f"training_module.loss.terms=[{term}]"]
            words += ["~training_module.loss.coeffs.piwsl_taylor"]
        again = [*words, "trainer.max_epochs=3", f"++ckpt_path={place}/last.ckpt"]
        runs = [[*words, "trainer.max_epochs=2"], again]
        found.append(Check(f"nequip {term}, restarted", runs, "Restored all states"))
    if len(terms) == 1:  # compiling takes longest
        return found
    models = [str(folder / terms[0] / name) for name in ("best.ckpt", "compiled.nequip.pt2")]
    compiling = [python, "-m", "nequip.scripts.compile", *models]
    compiling += ["--mode", "aotinductor", "--device", device, "--target", "ase"]
    same = [python, __file__, "same", device, *models]
    return [found[0]._replace(commands=[*found[0].commands, compiling, same]), *found[1:]]


def overheads(host: str, python: str, device: str, quick: bool, folder: Path) -> list[Check]:
    """What a step costs, alone on the GPU."""
    hows = [("molecules", "float32", ""), ("cells", "float32", ""), ("molecules", "float64", "")]
    hows += [("cells", "float64", ""), ("molecules", "float32", "--compile")]
    size = ["--size", "large", "--rounds", "3", "--steps", "3"]
    if quick:
        hows, size = hows[:1], ["--batch-size", "2", "--rounds", "1", "--steps", "1"]
    found = []
    for kind, dtype, compiled in hows if host == "nequip" else hows[:4]:
        table = folder / f"overhead-{host}-{kind}-{dtype}{compiled}.json"
        words = [python, "scripts/benchmarks/overhead.py", host, "--forces-only", *size]
        words += ["--device", device, "--structures", kind, "--dtype", dtype, *compiled.split()]
        name = f"step, {host}, {kind}, {dtype}{compiled and ', compiled'}"
        show = [sys.executable, "-c", f"print(open({str(table)!r}).read().replace(chr(10), ' '))"]
        found.append(Check(name, [[*words, "--json", str(table)], show]))
    return found


def run(check: Check, folder: Path, end: float) -> dict[str, Any]:
    """Run a check until ``end``: how it ended, its seconds, and what its last command printed."""
    start, text = time.monotonic(), ""
    result: dict[str, Any] = {"name": check.name, "status": "ok", "figures": {}}
    for command in check.commands:
        left = end - time.monotonic()
        if left <= 0:
            result["status"] = "not run: no time left"
            break
        try:
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, timeout=left,
                env=os.environ | {"OMP_NUM_THREADS": "2"},
            )  # fmt: skip
        except (subprocess.TimeoutExpired, OSError) as error:
            result["status"] = f"failed: {type(error).__name__}: {error}"[:200]
            break
        text += f"$ {' '.join(command)}\n{done.stdout}{done.stderr}\n"
        if done.returncode != 0:
            last = (done.stdout + done.stderr).strip().splitlines() or [""]
            result["status"] = f"failed ({done.returncode}): {last[-1][:150]}"
            break
        if (last := done.stdout.strip().splitlines()) and last[-1].startswith("{"):
            result["figures"] = json.loads(last[-1])
    if result["status"] == "ok" and check.says not in text:
        result["status"] = f"failed: {check.says!r} was not said"
    log = folder / f"{check.name.replace(', ', '-').replace(' ', '-')}.log"
    log.write_text(text, encoding="utf-8")
    return result | {"seconds": round(time.monotonic() - start, 1), "log": str(log)}


def same(device: str, *models: str) -> int:
    """Print by how much the forces of models of the same weights differ at most; a tenth fails."""
    import ase.io
    import numpy as np

    from piwsl_plugins import datasets
    from piwsl_plugins.models import identify, load

    atoms: Any = ase.io.read(datasets.path(f"{SHIPPED}test.xyz"), index=0)
    forces = []
    for path in models:
        atoms.calc = load(identify(Path(path)), device=device).calculator
        forces.append(atoms.get_forces())
    largest = float(np.abs(forces[0] - forces[-1]).max())
    print(json.dumps({"largest_force_difference": largest}))
    return int(not largest < 1e-6)


def fit(device: str) -> int:
    """Print seconds of the teacher's fit on the CPU and the device, and how its forces differ."""
    from piwsl_plugins import datasets
    from piwsl_plugins.data.reading import read
    from piwsl_plugins.data.settings import DataSettings
    from piwsl_plugins.data.targets import split_isolated
    from piwsl_plugins.teacher.fitting import fit_teacher
    from piwsl_plugins.teacher.settings import TeacherSettings

    keys = DataSettings(energy="REF_energy")
    frames = split_isolated(read(datasets.path(f"{SHIPPED}train.xyz"), keys).frames)[1]
    forces, figures = [], {}
    for where in (device, "cpu", device):  # the first makes ready what is made once
        start = time.monotonic()
        teacher = fit_teacher(frames, TeacherSettings(), low=False, device=where)
        figures[f"seconds_{where}"] = round(time.monotonic() - start, 3)
        forces.append(teacher.predict([frame.atoms for frame in frames]).forces.cpu())
    figures["largest_force_difference"] = float((forces[1] - forces[2]).abs().max())
    print(json.dumps(figures))
    return int(not figures["largest_force_difference"] < 1e-6)


def main(words: list[str]) -> int:
    """Run all checks; the words are the command line's."""
    if words and words[0] in ("same", "fit"):
        return {"same": same, "fit": fit}[words[0]](*words[1:])
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    for host in ("mace", "nequip"):
        text = f"of an environment with {host} (%(default)s)"
        add(f"--{host}-python", default=f".venv/{host}/bin/python", metavar="PYTHON", help=text)
    add("--hosts", nargs="+", choices=("mace", "nequip"), default=["mace", "nequip"])
    add("--device", choices=("cuda", "cpu"), default="cuda")
    add("--quick", action="store_true", help="one loss a host, nothing compiled")
    add("--seconds", type=float, default=450.0, help="after which nothing runs (%(default)g)")
    add("--output", type=Path, default=ROOT / "results" / "gpu", metavar="FOLDER")
    options = parser.parse_args(words)
    device, quick, folder = options.device, options.quick, options.output.resolve()
    folder /= time.strftime("%Y-%m-%d_%H-%M-%S")  # nothing here goes on from an earlier check
    pythons = {host: str(getattr(options, f"{host}_python")) for host in options.hosts}
    versions, end = {}, time.monotonic() + options.seconds
    for host, python in pythons.items():
        try:
            probe = subprocess.run([python, "-c", PROBE], cwd=ROOT, capture_output=True, text=True)
        except OSError as error:
            print(f"gpu_check: {error}: name a Python that has {host} by --{host}-python")
            return 1
        versions[host] = probe.stdout.split()
        if len(versions[host]) != 3 and (device == "cuda" or probe.returncode):
            why = probe.stderr.strip().splitlines()[-1:] or [f"torch {versions[host][-1]}"]
            print(f"gpu_check: no GPU here: {python} sees no CUDA device ({why[0]})")
            return 1
    folder.mkdir(parents=True, exist_ok=True)
    side_by_side, alone = list[Check](), list[Check]()
    for host, python in pythons.items():
        side_by_side += tests(host, python, quick)
        some = slice(0, 1 if quick else None)
        if host == "mace":
            side_by_side += mace_trainings(python, device, MACE_LOSSES[some], folder)
        else:
            side_by_side += nequip_trainings(python, device, NEQUIP_TERMS[some], folder)
        alone += overheads(host, python, device, quick, folder)
    alone.append(Check("teacher's fit", [[python, __file__, "fit", device]]))
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 2) // 2)) as pool:
        rows = list(pool.map(functools.partial(run, folder=folder, end=end), side_by_side))
    rows += [run(check, folder, end) for check in alone]
    found = {"date": str(date.today()), "device": device, "quick": quick, "versions": versions}
    text = json.dumps(found | {"checks": rows}, indent=1)
    (folder / "gpu.json").write_text(text, encoding="utf-8")
    print(f"{found['date']}, {device}, {versions}")
    for row in rows:
        told = ", ".join(f"{key} {_short(value)}" for key, value in row["figures"].items())
        print(f"{row['name']:44} {row['seconds']:6.1f} s  {row['status']}  {told}")
    print(folder / "gpu.json")
    return int(any(row["status"] != "ok" for row in rows))


def _short(value: float | dict[str, float]) -> str:
    """A number, or of a row of step times: milliseconds, ratio to the plain step, memory."""
    if isinstance(value, dict):
        return f"{value['ms']:.1f} ms ({value['time']:.2f}x, {value['MB']:.0f} MB)"
    return f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
