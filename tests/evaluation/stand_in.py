"""ASE's calculators in the place of models, here and in another process; known answers.

As a program, this file is a Python in which a host is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from piwsl_plugins.data.frames import Frame
from piwsl_plugins.evaluation import command, measure
from piwsl_plugins.models import LoadedModel, ModelFile

ELEMENTS = frozenset({"C", "H", "O", "Cu"})


class Harmonic(Calculator):
    """E = k/2 |r - c|^2 in all coordinates, plus forces w x (r - c) that are no gradient.

    The circulation around a triangle of one atom with the edges a and b is w . (a x b). Where it is
    ``single``, energies are rounded to single precision. The stress, if any, is the given number.
    """

    def __init__(
        self,
        stiffness: float = 10.0,
        centre: Any = 0.0,
        swirl: Sequence[float] = (0.0, 0.0, 0.0),
        *,
        single: bool = False,
        stress: float | None = None,
    ) -> None:
        super().__init__()
        self.stiffness, self.centre, self.single = stiffness, centre, single
        self.swirl, self.stress = np.array(swirl), stress
        self.implemented_properties = ["energy", "forces", *(["stress"] if stress else [])]

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        away = self.atoms.positions - self.centre
        energy = 0.5 * self.stiffness * float(np.sum(away**2))
        self.results = {
            "energy": float(np.float32(energy + 1000.0)) if self.single else energy,
            "forces": -self.stiffness * away + np.cross(self.swirl, away),
            "stress": np.full(6, self.stress or 0.0),
        }


def rattled(*names: str, by: float = 0.05) -> list[Atoms]:
    """Molecules with their atoms displaced."""
    made = [molecule(name) for name in names]
    for number, atoms in enumerate(made):
        atoms.rattle(by, seed=number)
    return made


def labelled(structures: Sequence[Atoms], calculator: Calculator) -> list[Frame]:
    """Frames with the labels of a calculator, periodic ones with a stress too."""
    frames = []
    for number, structure in enumerate(structures):
        atoms = structure.copy()
        atoms.calc = calculator
        labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        if atoms.pbc.all() and "stress" in calculator.implemented_properties:
            labels["stress"] = atoms.get_stress(voigt=False)
        atoms.calc = None
        frames.append(Frame(atoms=atoms, labels=labels, source="test.xyz", number=number))
    return frames


def load(model: ModelFile, **_: Any) -> LoadedModel:
    """EMT, or Lennard-Jones for soft.model; absent.model cannot be loaded."""
    if model.path.stem == "absent":
        raise ValueError(f"{model.path}: it is not there")
    calculator = LennardJones() if model.path.stem == "soft" else EMT()
    return LoadedModel(calculator, "float64", ELEMENTS, 5.0)


def install(replace: Callable[[Any, str, Any], None]) -> None:
    """Put the stand-ins where the command looks for hosts; *.ckpt is NequIP's, the rest MACE's."""

    def identify(path: Path) -> ModelFile:
        return ModelFile(path, "NequIP" if path.suffix == ".ckpt" else "MACE", "model")

    for module in (command, measure):
        replace(module, "identify", identify)
        replace(module, "load", load)
    replace(command, "is_importable", lambda host: host == "MACE")
    replace(measure, "DISTRIBUTIONS", {"MACE": "ase", "NequIP": "ase"})


if __name__ == "__main__":
    install(setattr)
    assert sys.argv[1:3] == ["-m", "piwsl_plugins.evaluation.measure"]
    measure.main(Path(sys.argv[3]))
