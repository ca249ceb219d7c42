"""Cheap method and models of the difference add up to one potential, and neither passes alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.morse import MorsePotential
from springs import Springs, springs

from piwsl_plugins.hosts.calculators import identify, load
from piwsl_plugins.weak.delta_calculator import (
    DeltaCalculator,
    DeltaModel,
    mark_delta_model,
    opinion_of,
    read_delta,
    refuse_delta_model,
)
from piwsl_plugins.weak.low_level import LowLevel

PATH = Path(__file__).parent


def copper() -> Atoms:
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.1, seed=1)
    return atoms


def test_energy_forces_and_stress_are_those_of_the_sum() -> None:
    parts = [EMT(), LennardJones(sigma=2.0, rc=5.0), LennardJones(sigma=2.2, rc=5.0)]
    atoms = copper()
    expected = {"energy": 0.0, "forces": 0.0, "stress": 0.0}
    for weight, part in zip((1.0, 0.5, 0.5), parts, strict=True):
        atoms.calc = part
        for name in expected:
            expected[name] = expected[name] + weight * part.get_property(name, atoms)
    atoms.calc = DeltaCalculator(parts[0], parts[1:])
    assert atoms.get_potential_energy() == pytest.approx(expected["energy"], abs=1e-10)
    np.testing.assert_allclose(atoms.get_forces(), expected["forces"], atol=1e-10)
    np.testing.assert_allclose(atoms.get_stress(), expected["stress"], atol=1e-10)


def test_forces_are_the_gradient_of_the_energy() -> None:
    atoms = molecule("CH3OH")
    atoms.calc = DeltaCalculator(Springs(), [MorsePotential(rcut1=6.0, rcut2=8.0), Springs()])
    forces, step = atoms.get_forces(), 1e-4
    direction = np.random.default_rng(0).normal(size=forces.shape)
    energies = []
    for sign in (1.0, -1.0):
        moved = atoms.copy()
        moved.calc = atoms.calc
        moved.positions += sign * step * direction
        energies.append(moved.get_potential_energy())
    slope = (energies[0] - energies[1]) / (2.0 * step)
    assert slope == pytest.approx(-float((forces * direction).sum()), rel=1e-6)


def test_molecules_have_no_stress_of_a_method_without_one() -> None:
    assert "stress" not in DeltaCalculator(Springs(), [EMT()]).implemented_properties


def test_the_committee_tells_its_spread_beside_its_mean() -> None:
    atoms = molecule("H2O")
    models = [MorsePotential(r0=r, rcut1=6.0, rcut2=8.0) for r in (1.0, 1.1, 1.3)]
    found, stress = opinion_of(atoms, models)
    forces = []
    for model in models:
        atoms.calc = model
        forces.append(atoms.get_forces())
    np.testing.assert_allclose(found.forces, np.mean(forces, axis=0), atol=1e-12)
    expected = np.std(forces, axis=0, ddof=1)
    assert found.max_forces_std == pytest.approx(np.linalg.norm(expected, axis=1).max())
    assert stress is None
    calculator = DeltaCalculator(Springs(), models)
    np.testing.assert_allclose(calculator.opinion(atoms).forces, found.forces, atol=1e-12)


def test_a_file_of_a_cheap_method_alone_is_evaluated_like_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(PATH))
    file = tmp_path / "low.json"
    low = LowLevel(method="springs.Springs", arguments={"delay": 0.0})
    DeltaModel(low=low, shifts={"H": -1.5, "O": -4.0}, host="NequIP").write(file)
    model = identify(file)
    assert (model.host, model.kind) == ("NequIP", "delta model")
    water = molecule("H2O")
    water.calc = load(model).calculator
    energy, forces = springs(water.positions)
    assert water.get_potential_energy() == pytest.approx(energy - 7.0)
    np.testing.assert_allclose(water.get_forces(), forces)


def test_names_of_models_are_relative_to_their_file_which_may_be_moved(tmp_path: Path) -> None:
    (tmp_path / "work" / "delta-1").mkdir(parents=True)
    model = tmp_path / "work" / "delta-1" / "a.model"
    model.write_text("weights")
    file = tmp_path / "work" / "committee" / "delta.json"
    DeltaModel(low=LowLevel(method="gfn2-xtb"), models=(model,)).write(file)
    assert json.loads(file.read_text())["models"] == ["../delta-1/a.model"]
    (tmp_path / "work").rename(tmp_path / "elsewhere")
    found = read_delta(tmp_path / "elsewhere" / "committee" / "delta.json")
    assert found.models[0].read_text() == "weights"
    (tmp_path / "elsewhere" / "delta-1" / "a.model").unlink()
    with pytest.raises(ValueError, match=r"there is no .*a\.model, which it names"):
        read_delta(tmp_path / "elsewhere" / "committee" / "delta.json")


def test_a_model_of_a_difference_is_refused_alone_with_the_reason_and_the_remedy(
    tmp_path: Path,
) -> None:
    model = tmp_path / "delta.model"
    model.write_text("weights")
    refuse_delta_model(model)  # nothing says that it is one
    mark_delta_model(model, LowLevel(method="gfn2-xtb"))
    with pytest.raises(
        ValueError, match=r"delta\.model: .*gfn2-xtb.*meaningless.*piwsl weak train"
    ):
        refuse_delta_model(model)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "delta model"), ("[]", "format"), ('{"format": 2}', "format")]
)
def test_another_file_is_told(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "some.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_delta(file)


def test_charge_and_spin_of_a_frame_reach_the_cheap_method() -> None:
    calculator = LowLevel(method="gfn2-xtb").calculator()
    ion = Atoms("OH", [[0.0, 0.0, 0.0], [0.0, 0.0, 0.97]])
    ion.calc = calculator
    with pytest.raises(ValueError, match="odd number"):
        ion.get_potential_energy()
    ion.info["charge"] = -1
    charged = ion.get_potential_energy()
    ion.info = {"multiplicity": 2}
    ion.calc = LowLevel(method="gfn2-xtb").calculator()
    assert charged < ion.get_potential_energy() - 1.0  # the electron affinity, by GFN2-xTB
    ion.info = {}
    ion.calc = LowLevel(method="gfn2-xtb", charge=-1).calculator()
    assert ion.get_potential_energy() == pytest.approx(charged, abs=1e-6)
