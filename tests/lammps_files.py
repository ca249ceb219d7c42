"""Input files for LAMMPS, and what it writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ase
import ase.io
import numpy as np
from ase.calculators.calculator import Calculator

ELEMENTS = ("H", "C", "O", "Na", "Cl")
BAR = 1.0 / 1602176.634  # in eV/angstrom^3
EVERYTHING = ["step", "pe", "ke", "press", "pxx", "pyy", "pzz", "pyz", "pxz", "pxy", "vol"]
"""What `print_line` prints, in ASE's (Voigt) order of the pressure."""


def data_file(path: Path, atoms: ase.Atoms, elements: Sequence[str] = ELEMENTS) -> Path:
    """Write a structure, with a box around it where it has none."""
    atoms = atoms.copy()
    if not atoms.cell.any():
        atoms.center(vacuum=6.0)
    how = {"specorder": list(elements), "masses": True, "units": "metal"}
    ase.io.write(path, atoms, format="lammps-data", **how)
    return path


def input_file(
    path: Path,
    atoms: ase.Atoms,
    commands: str,
    *,
    potential: str = "pair_style piwsl\n",
    elements: Sequence[str] = ELEMENTS,
    units: str = "metal",
) -> Path:
    """Write an input file that reads a structure, names the potential, dumps, and goes on so."""
    data = data_file(path.with_suffix(".data"), atoms, elements)
    boundary = " ".join("p" if periodic else "f" for periodic in atoms.pbc)
    path.write_text(
        f"units {units}\natom_style atomic\nboundary {boundary}\nread_data {data}\n{potential}"
        f"dump all all custom 1 {path.with_suffix('.dump')} id type x y z vx vy vz fx fy fz\n"
        f"dump_modify all sort id format float %.16g\n{commands}\n",
        encoding="utf-8",
    )
    return path


def print_line(path: Path) -> str:
    """A command that appends `EVERYTHING` to a file."""
    values = " ".join(f"$({name}:%.16g)" for name in EVERYTHING)
    return f'run 0 post no\nprint "{values}" append {path.with_suffix(".thermo")} screen no\n'


@dataclass(frozen=True)
class Outcome:
    """What a run has left: the frames of its dump with forces, and the lines that it printed."""

    frames: list[ase.Atoms]
    lines: list[dict[str, float]]


def outcome(path: Path, elements: Sequence[str] = ELEMENTS) -> Outcome:
    """Read what the run of an input file has left."""
    how = {"format": "lammps-dump-text", "specorder": list(elements), "units": "metal"}
    frames = ase.io.read(path.with_suffix(".dump"), index=":", **how)
    thermo = path.with_suffix(".thermo")
    rows = np.loadtxt(thermo, ndmin=2) if thermo.exists() else []
    return Outcome(frames, [dict(zip(EVERYTHING, map(float, row), strict=True)) for row in rows])


def check_forces(frames: Sequence[ase.Atoms], calculator: Calculator, tolerance: float) -> None:
    """Check that LAMMPS's forces are those of the calculator on the same geometry."""
    for frame in frames:
        asked = frame.copy()
        asked.calc = calculator
        np.testing.assert_allclose(frame.get_forces(), asked.get_forces(), rtol=0.0, atol=tolerance)


def virial_pressure(line: dict[str, float]) -> np.ndarray:
    """The part of the printed pressure that the potential makes, Voigt order, eV/angstrom^3.

    The atoms must be at rest.
    """
    assert line["ke"] == 0.0
    return BAR * np.array([line[name] for name in EVERYTHING[4:10]])
