"""Methods by name are what they claim to be: reference programs' numbers, exact gradients."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from piwsl_plugins.teacher.labelling import evaluate
from piwsl_plugins.teacher.methods import HEAVIEST, LANTHANIDES, Method
from piwsl_plugins.teacher.state import state_of

EMT = "ase.calculators.emt.EMT"
PACKAGES = {"gfn2-xtb": "tblite", "so3lr": "so3krates_torch"}


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("gfn2-xtb", 5e-4),
        ("hf/sto-3g", 5e-4),
        ("mp2/sto-3g", 5e-4),
        ("pbe/sto-3g", 5e-3),  # PySCF's gradient leaves out that of the grid
        ("so3lr", 5e-4),
    ],
)
def test_forces_are_the_gradient_of_the_energy(name: str, tolerance: float) -> None:
    pytest.importorskip(PACKAGES.get(name, "pyscf"))
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=1)
    atoms.info["charge"] = -1
    method = Method(method=name)
    forces = evaluate(method, atoms).forces
    assert forces is not None
    step, energies = 1e-3, []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[1, 2] += sign * step
        energies.append(evaluate(method, moved).energy)
    assert forces[1, 2] == pytest.approx((energies[1] - energies[0]) / (2 * step), abs=tolerance)


def test_pyscf_is_told_charge_and_spin() -> None:
    pytest.importorskip("pyscf")
    cation = Atoms("He", info={"charge": 1})  # hydrogen-like: exact to the basis, -2 hartree
    found = evaluate(Method(method="hf/cc-pvtz"), cation)
    assert found.energy == pytest.approx(-2.0 * 27.211386, abs=0.05)
    triplet = molecule("O2")  # whose initial magnetic moments say so
    singlet = Atoms(triplet.numbers, triplet.positions)
    lower, upper = (evaluate(Method(method="hf/sto-3g"), one).energy for one in (triplet, singlet))
    assert lower < upper - 1.0


@pytest.mark.parametrize("name", ["gfn1-xtb", "GFN2-xTB"])
def test_xtb_is_that_of_tblite_whatever_frames_came_before(name: str) -> None:
    tblite = pytest.importorskip("tblite.ase")
    frames = [molecule(key) for key in ("H2O", "NO", "H2O")]
    frames[2].info |= {"total_charge": -1, "uhf": 1}
    frames[2].rattle(0.05, seed=2)
    calculator = Method(method=name).calculator()
    for atoms, state in zip(frames, ((0, 1), (0, 2), (-1, 2)), strict=True):
        other = Atoms(atoms.numbers, atoms.positions)
        spelt = {"gfn1": "GFN1-xTB", "gfn2": "GFN2-xTB"}[name.lower()[:4]]
        other.calc = tblite.TBLite(
            method=spelt, verbosity=0, charge=state[0], multiplicity=state[1]
        )
        atoms.calc = calculator
        assert atoms.get_potential_energy() == pytest.approx(other.get_potential_energy(), abs=1e-7)
        np.testing.assert_allclose(atoms.get_forces(), other.get_forces(), atol=1e-6)


def test_electrons_are_odd_where_tblite_says_so() -> None:
    tblite = pytest.importorskip("tblite.ase")
    method = Method(method="gfn1-xtb")
    for number in [*range(1, 20), *LANTHANIDES, HEAVIEST]:
        atoms = Atoms(numbers=[number])
        spin = method.state(atoms).multiplicity
        atoms.calc = tblite.TBLite(method="GFN1-xTB", multiplicity=2, verbosity=0)
        if spin == 2:
            atoms.get_potential_energy()
        else:
            with pytest.raises(Exception, match="not compatible"):
                atoms.get_potential_energy()


@pytest.mark.parametrize(
    ("atoms", "reason"),
    [
        (Atoms("U2", [[0, 0, 0], [0, 0, 2.0]]), "knows H, .*Rn; found U"),
        (Atoms("H2", [[0, 0, 0], [0, 0, 0.7]], cell=[9] * 3, pbc=[1, 1, 0]), "pbc = 'T T F'"),
    ],
)
def test_frames_that_xtb_cannot_treat_are_refused(atoms: Atoms, reason: str) -> None:
    pytest.importorskip("tblite")
    with pytest.raises(ValueError, match=reason):
        evaluate(Method(method="gfn2-xtb"), atoms)


def test_a_crystal_has_a_stress_and_a_molecule_none() -> None:
    crystal, cluster = bulk("Cu", cubic=True), Atoms("Cu2", [[0, 0, 0], [0, 0, 2.4]])
    crystal.rattle(0.1, seed=1)
    method = pickle.loads(pickle.dumps(Method(method=EMT)))
    found = evaluate(method, crystal)
    crystal.calc = method.calculator()
    np.testing.assert_allclose(found.stress, crystal.get_stress(voigt=False), atol=1e-14)
    assert found.energy == pytest.approx(crystal.get_potential_energy(), abs=1e-12)
    assert evaluate(method, cluster).stress is None


def test_a_calculator_of_ones_own_counts_by_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Method(method=EMT).digest() == Method(method=EMT, arguments={}).digest()
    assert Method(method=EMT).digest() != Method(method=EMT, arguments={"a": 1}).digest()
    digests = []
    for word in ("one", "two"):
        folder = tmp_path / word
        folder.mkdir()
        text = f"# {word}\nfrom ase.calculators.emt import EMT as Mine\n"
        (folder / "my_own_calculator.py").write_text(text)
        monkeypatch.syspath_prepend(folder)
        sys.modules.pop("my_own_calculator", None)
        digests.append(Method(method="my_own_calculator.Mine").digest())
    assert digests[0] != digests[1]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"method": "gfn3-xtb"}, "unknown method 'gfn3-xtb'; did you mean 'gfn"),
        ({"method": "mine.model"}, "mine.model: there is no such file"),
        ({"method": "ase.calculators.emt.MET"}, "ase.calculators.emt.MET.*has no attribute"),
        ({"method": "ase.build.molecule", "arguments": {"name": "H2"}}, "expected an ASE calcul"),
        ({"method": EMT, "charge": 1}, "EMT is not told them"),
        ({"method": "gfn2-xtb", "multiplicity": 0}, "multiplicity: got 0"),
        ({"method": "gfn2-xtb", "arguments": {"acuracy": 1}}, "did you mean 'accuracy'"),
        ({"method": "gfn2-xtb", "arguments": {"charge": 1}}, "unknown argument.*'charge'"),
        ({"method": "pbf/def2-svp"}, "unknown method 'pbf'|pyscf is not installed"),
        ({"method": "a.model", "arguments": {"b": 1}}, "a model file takes none"),
    ],
)
def test_a_method_that_is_none_is_told(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Method(**values).calculator()


# --- charge and spin -----------------------------------------------------------------------------


def frame(symbols: str = "H2", charges: Any = None, magmoms: Any = None, **info: Any) -> Atoms:
    atoms = Atoms(symbols, np.arange(3.0 * len(Atoms(symbols))).reshape(-1, 3), info=info)
    if charges is not None:
        atoms.set_initial_charges(charges)
    if magmoms is not None:
        atoms.set_initial_magnetic_moments(magmoms)
    return atoms


@pytest.mark.parametrize(
    ("atoms", "expected"),
    [
        (frame(), (0, 1)),
        (frame(charge=-2), (-2, 1)),
        (frame(total_charge=np.int64(-2), total_spin=1.0), (-2, 1)),
        (frame(total_spin=3), (0, 3)),  # MACE's is 2S + 1
        (frame(spin=3, multiplicity=3), (0, 3)),
        (frame(uhf=2), (0, 3)),
        (frame(uhf=2, total_spin=3), (0, 3)),
        (frame(charges=[-0.49, -0.5]), (-1, 2)),
        (frame(charges=[-0.5, -0.5], total_charge=-1), (-1, 2)),
        (frame(charges=[0.0, 0.0], charge=2), (2, 1)),  # zeros of every file of ASE say nothing
        (frame(magmoms=[1.0, 1.0]), (0, 3)),
        (frame(magmoms=[1.0, -1.0]), (0, 1)),
        (frame(magmoms=[0.3, 0.3], multiplicity=3), (0, 3)),
        (frame("H3"), (0, 2)),
    ],
)
def test_every_way_of_writing_is_read(atoms: Atoms, expected: tuple[int, int]) -> None:
    assert state_of(atoms)[:2] == expected


@pytest.mark.parametrize(
    ("atoms", "given", "reason"),
    [
        (frame(charge=1, total_charge=-1), {}, "twice: charge is 1 and total_charge is -1"),
        (frame(charge=1), {"charge": 0}, "twice: --charge is 0 and charge is 1"),
        (frame(charges=[0.5, 0.5], charge=0), {}, "charge is 0 and sum of initial_charges is 1"),
        (frame(spin=1, uhf=2), {}, r"spin is 1 and uhf \+ 1 is 3"),
        (frame(magmoms=[1, 1]), {"multiplicity": 1}, "--multiplicity is 1 and sum of initial_mag"),
        (frame(charge=0.5), {}, "charge is 0.5, expected a whole number"),
        (frame(charge="two"), {}, "charge is 'two'"),
        (frame(total_spin=0), {}, r"total_spin is 0, expected 2S \+ 1"),
        (frame(charges=[0.2, 0.2]), {}, "initial_charges sum to 0.4.*give --charge"),
        (frame("H3", total_spin=1), {}, r"3 electrons at charge \+0 .*multiplicity 1 \(total_spin"),
        (molecule("H2O"), {"charge": 1, "multiplicity": 1}, r"9 electrons at charge \+1"),
    ],
)
def test_contradictions_name_the_keys(atoms: Atoms, given: dict[str, int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        state_of(atoms, **given)


def test_what_was_taken_is_said() -> None:
    said = state_of(frame(total_charge=-2, total_spin=1))
    assert said.said == "charge -2 (total_charge), multiplicity 1 (total_spin)"
    assert state_of(molecule("NO")).said.endswith("initial_magmoms + 1)")
