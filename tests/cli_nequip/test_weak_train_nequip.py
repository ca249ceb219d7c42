"""`piwsl weak train` with NequIP: molecules and cells, from energies to an ordinary model."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.morse import MorsePotential
from processes import PYTHON, execute

from piwsl_plugins import datasets
from piwsl_plugins.hosts.calculators import identify, load
from piwsl_plugins.weak.delta_calculator import load_delta
from piwsl_plugins.weak.trainings import merged

SHIPPED = Path(__file__).resolve().parents[2] / "configs" / "piwsl_weak_nequip.yaml"
TINY: dict[str, Any] = {
    "cutoff_radius": 3.5,
    "trainer": {"max_epochs": 1},
    "training_module": {
        "model": {
            "model_dtype": "float64",
            "num_layers": 2,
            "l_max": 1,
            "parity": False,
            "num_features": 4,
            "radial_mlp_depth": 1,
            "radial_mlp_width": 8,
            "num_bessels": 4,
        }
    },
}
COPPER = {"epsilon": 0.3429, "rho0": 3.894, "r0": 2.866, "rcut1": 5.0, "rcut2": 6.0}


def weak_train(folder: Path, content: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run the shipped config, made small, with blocks of its own."""
    common: dict[str, Any] = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    common |= {
        "output": "out",
        "processes": 1,
        "trainings_at_once": 1,
        "plain": False,
        "report": {"nve_steps": 0, "probes": 0},
        "training": merged(common["training"], TINY),
    }
    (folder / "weak.yaml").write_text(yaml.safe_dump(common | content), encoding="utf-8")
    done = execute([PYTHON, "-m", "piwsl_plugins", "weak", "train", "weak.yaml"], folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def frames(path: Path) -> list[ase.Atoms]:
    return ase.io.read(path, index=":")


@pytest.mark.slow
def test_energies_of_a_molecule_become_a_student_of_nequips_own(tmp_path: Path) -> None:
    path = datasets.path("formaldehyde_ccsdt_cbs/train.xyz")
    lines = path.read_text(encoding="utf-8").splitlines(True)
    (tmp_path / "train.xyz").write_text("".join(lines[: 20 * 6]), encoding="utf-8")
    done = weak_train(
        tmp_path,
        {
            "data": {
                "train": "train.xyz",
                "valid_fraction": 0.2,
                "test": "piwsl_dataset:formaldehyde_ccsdt_cbs/test.xyz",
                "forces": "REF_forces",
            },
            "committee": {"members": 2},
            "sample": {"temperatures": [300], "trajectories": 2, "steps": 20, "interval": 5},
        },
    )
    assert "nequip-train out/student/config.yaml" in done.stdout
    for name in ("delta-1", "delta-2", "student"):
        assert f". Train: {name}\n" in done.stdout
    out = tmp_path / "out"
    for frame in frames(out / "weak" / "frames.xyz"):
        assert frame.info["sampled_potential"] == "gfn2-xtb + delta of 2"
        assert frame.info["max_forces_std"] > 0.0
        assert "config_weight" not in frame.info  # NequIP knows none: frames count or are left out
    rows = json.loads((out / "report" / "summary.json").read_text())
    assert rows["low"]["ms_per_force_call"] < rows["delta"]["ms_per_force_call"]
    assert all(row["force_rmse_mev_per_angstrom"] > 0.0 for row in rows.values())
    saved = torch.load(out / "student" / "student" / "best.ckpt", weights_only=False)
    modules = saved["hyper_parameters"]["info_dict"]
    assert modules["training_module"]["_target_"].startswith("nequip.")
    assert modules["data"]["_target_"].startswith("nequip.")
    config = yaml.safe_load((out / "delta-2" / "config.yaml").read_text(encoding="utf-8"))
    assert config["data"]["labels"] == {"energy": "REF_energy", "low_energy": "weak_energy"}
    assert config["training_module"]["model"]["seed"] == 2


@pytest.mark.slow
def test_a_metal_goes_the_same_way_with_stress_and_any_calculators(tmp_path: Path) -> None:
    rng, cells = np.random.default_rng(1), []
    for _ in range(16):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell * (1.0 + 0.02 * rng.normal()), scale_atoms=True)
        atoms.positions += 0.08 * rng.normal(size=atoms.positions.shape)
        atoms.calc = MorsePotential(**COPPER)
        atoms.info["REF_energy"] = atoms.get_potential_energy()
        atoms.calc = None
        cells.append(atoms)
    ase.io.write(tmp_path / "train.xyz", cells, format="extxyz")
    student = {
        "loss": {
            "_target_": "nequip.train.EnergyForceStressLoss",
            "coeffs": {"total_energy": 1.0, "forces": 1.0, "stress": 1.0},
        },
        "val_metrics": {
            "_target_": "nequip.train.EnergyForceStressMetrics",
            "coeffs": {"total_energy_rmse": 1.0, "forces_rmse": 1.0, "stress_rmse": 1.0},
        },
    }
    done = weak_train(
        tmp_path,
        {
            "data": {"train": "train.xyz", "valid_fraction": 0.2},
            "low_level": {"method": "ase.calculators.emt.EMT"},
            "committee": {"members": 1, "allow_single": True},
            "sample": {"lengths": [0.05], "strain": 0.02, "rattled": 8, "closest": 0.0},
            "student": {"training_module": student},
        },
    )
    assert "there is no test file: the models are judged by the validation energies" in done.stdout
    out = tmp_path / "out"
    together = load_delta(out / "committee" / "delta.json")
    weak = frames(out / "weak" / "frames.xyz")
    assert len(weak) == 8
    for frame in weak[:2]:
        bare = frame.copy()
        bare.calc = EMT()
        low = bare.get_stress(voigt=False)
        bare.calc = together
        target = np.reshape(frame.info["target_stress"], (3, 3))
        np.testing.assert_allclose(bare.get_stress(voigt=False), target, atol=1e-6)
        assert not np.allclose(low, target, atol=1e-6)
        np.testing.assert_allclose(bare.get_forces(), frame.arrays["target_forces"], atol=1e-5)
        assert "max_forces_std" not in frame.info
    model = load(identify(out / "student" / "student" / "best.ckpt")).calculator
    cell = frames(out / "data" / "valid.xyz")[0]
    cell.calc = model
    assert np.isfinite(cell.get_stress()).all()
    assert cell.get_potential_energy() == pytest.approx(cell.info["REF_energy"], abs=2.0)
