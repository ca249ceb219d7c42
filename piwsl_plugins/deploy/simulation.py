"""LAMMPS with a potential in its ``fix external``."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.io import write

from piwsl_plugins.deploy.cells import box_vectors
from piwsl_plugins.deploy.potential import Answer, FailedError, Potential

#: Names in LAMMPS: of the fix with the forces, of that which stops a run, of the latter's variable.
FIX, STOP, FAILED = "piwsl", "piwsl_stop", "piwsl_failed"
#: eV in LAMMPS's unit of energy, by the name of its units; length is angstrom in these.
ENERGY_UNITS = {"metal": 1.0, "real": units.mol / units.kcal}
#: How far LAMMPS lists neighbours where a model has no cutoff, angstrom.
REACH = 6.0
#: ps in LAMMPS's unit of time.
TIME_UNITS = {"metal": 1.0, "real": 1e-3}


class Simulation:
    """LAMMPS, which asks a model for its forces.

    Attributes:
        lammps: The running instance, a ``lammps.lammps``.
        potential: The model that is asked, None before the first.
        failure: What went wrong in the model, and at which step, or None.
        asked: The geometry that the model was asked about last, in LAMMPS's box, with the time step
            (``step``) and LAMMPS's atom IDs (``id``), or None.
        last_good: The last one with finite numbers, with its energy, eV, and forces, eV/angstrom.
    """

    def __init__(self, lammps: Any, on_step: Callable[[int], object] | None = None) -> None:
        """Args: lammps: the running instance; on_step: called with each time step done."""
        self.lammps = lammps
        self.potential: Potential | None = None
        self.failure: BaseException | None = None
        self.last_good: Atoms | None = None
        self.asked: Atoms | None = None
        self._on_step = on_step
        self._energy_unit = 1.0
        self._masses_checked = False
        self._no_virials: tuple[int, Any] = (-1, None)

    def use(self, potential: Potential) -> None:
        """Make a model the potential of the atoms that LAMMPS has.

        Raises:
            ValueError: LAMMPS has no box yet, other units, other atom types, or runs in parallel.
        """
        lammps = self.lammps
        if not lammps.extract_setting("box_exist"):
            raise ValueError(
                "the potential stands before the box: put it after read_data or create_box"
            )
        if lammps.extract_setting("world_size") > 1:
            raise ValueError("this route runs LAMMPS in one process; start it without mpirun")
        unit_system = lammps.extract_global("units")
        if unit_system not in ENERGY_UNITS:
            raise ValueError(
                f"'units {unit_system}': the model is in eV and angstrom; write 'units metal', "
                "or 'units real', to which it is converted"
            )
        types = lammps.extract_setting("ntypes")
        if types != len(potential.elements):
            raise ValueError(
                f"LAMMPS has {types} atom types, and {len(potential.elements)} elements are given "
                f"({' '.join(potential.elements)}): give one for each type, in their order"
            )
        self._energy_unit = ENERGY_UNITS[unit_system]
        self.potential, self._masses_checked = potential, False
        cutoff = potential.model.cutoff
        reach = cutoff if np.isfinite(cutoff) else REACH
        # no forces, but neighbours for 'compute rdf'; as a hybrid, no coefficients in data files
        lammps.command(f"pair_style hybrid zero {reach} nocoeff")
        lammps.command("pair_coeff * * zero")
        if lammps.has_id("fix", FIX):
            return
        lammps.command(f"fix {FIX} all external pf/callback 1 1")
        lammps.command(f"fix_modify {FIX} energy yes virial yes")
        lammps.set_fix_external_callback(FIX, self._answer)
        # a C++ exception cannot pass through Python, so LAMMPS itself is to stop the run
        lammps.command(f"variable {FAILED} internal 0")
        lammps.command(f"fix {STOP} all halt 1 v_{FAILED} != 0 error hard message no")

    def _answer(
        self, _: object, step: int, n_atoms: int, ids: Any, positions: Any, forces: Any
    ) -> None:
        """What LAMMPS calls; nothing may be raised here, for nobody would hear of it."""
        if self.failure is None:
            try:
                answer = self._ask(step, n_atoms, ids, positions)
                self._hand_over(answer, n_atoms, forces)
                if self._on_step is not None:
                    self._on_step(step)
                return
            except BaseException as error:  # Ctrl-C too
                self.failure = _at_step(error, step)
        if n_atoms:
            forces[:] = np.nan
        self.lammps.fix_external_set_energy_global(FIX, np.nan)
        self.lammps.set_internal_variable(FAILED, 1.0)
        self.lammps.force_timeout()  # a run that has not made a step ends without the other fix

    def _ask(self, step: int, n_atoms: int, ids: Any, positions: Any) -> Answer:
        lammps, potential = self.lammps, self.potential
        assert potential is not None  # there is no fix without one
        if not self._masses_checked:
            self._check_once()
        cell, periodic = box_vectors(lammps.extract_box())
        types = np.array(lammps.numpy.extract_atom("type", nelem=n_atoms)).reshape(n_atoms)
        places = np.array(positions).reshape(n_atoms, 3)
        self.asked = Atoms(
            potential.numbers[types], positions=places, cell=cell, pbc=periodic, info={"step": step}
        )
        self.asked.arrays["id"] = np.array(ids).reshape(n_atoms)
        answer = potential.evaluate(types, places, cell, periodic)
        self.asked.info["energy"] = answer.energy
        self.asked.arrays["forces"] = answer.forces
        self.last_good = self.asked
        return answer

    def _check_once(self) -> None:
        lammps, potential = self.lammps, self.potential
        assert potential is not None
        if lammps.extract_global("respa_levels"):
            raise ValueError("'run_style respa' leaves out what 'fix external' gives; use verlet")
        masses = lammps.extract_atom("mass")
        if masses:  # per type; absent where each atom has its own
            numbers = range(1, len(potential.elements) + 1)
            potential.check_masses([masses[number] for number in numbers])
        self._masses_checked = True

    def _hand_over(self, answer: Answer, n_atoms: int, forces: Any) -> None:
        lammps, unit = self.lammps, self._energy_unit
        if n_atoms:
            forces[:] = unit * answer.forces
        lammps.fix_external_set_energy_global(FIX, unit * answer.energy)
        lammps.fix_external_set_virial_global(FIX, unit * answer.virial)
        lammps.fix_external_set_energy_peratom(FIX, unit * answer.energies)
        # hosts give no virial of an atom: what LAMMPS derives from it shall be NaN and not zero
        if self._no_virials[0] != n_atoms:
            row = (6 * ctypes.c_double)(*[np.nan] * 6)
            pointer = ctypes.POINTER(ctypes.c_double)
            rows = (pointer * max(n_atoms, 1))(*[ctypes.cast(row, pointer)] * n_atoms)
            self._no_virials = (n_atoms, (rows, row))
        lammps.lib.lammps_fix_external_set_virial_peratom(
            lammps.lmp, FIX.encode(), self._no_virials[1][0]
        )

    def save_last_frames(self, stem: Path) -> list[Path]:
        """Write the last good geometry, and the one that the model failed on, as extended XYZ.

        Args:
            stem: Beginning of the files' names; what is there stays, and a number is added.

        Returns:
            The files.
        """
        frames = {"last_good": self.last_good}
        if self.asked is not self.last_good:
            frames["failed"] = self.asked
        written = []
        for name, frame in frames.items():
            if frame is not None and np.isfinite(frame.positions).all():
                written.append(_free(stem, name))
                write(written[-1], frame, format="extxyz")
        return written


def _at_step(error: BaseException, step: int) -> BaseException:
    if isinstance(error, FailedError):
        return FailedError(f"step {step}: {error}")
    return error


def _free(stem: Path, name: str) -> Path:
    """The first file name that nothing has yet."""
    number, path = 1, stem.with_name(f"{stem.name}.{name}.xyz")
    while path.exists():
        number += 1
        path = stem.with_name(f"{stem.name}.{name}.{number}.xyz")
    return path
