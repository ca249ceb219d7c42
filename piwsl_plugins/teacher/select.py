"""Select the geometries whose energies say most about forces, before any of them is computed.

Optimal design on the teacher's features, for which no label is needed. Printed is how far the
expected error of forces falls with the number of energies, so that one knows how many to compute.
Frames that one has already count as known: so the next batch is selected after the first.

  piwsl select pool.xyz -n 50 -o first.xyz --inputs first/
  piwsl select pool.xyz -n 50 --have labelled.xyz --energy-key REF_energy -o second.xyz
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import ase.io

from piwsl_plugins.data.convert import check_sources
from piwsl_plugins.data.frames import Frame
from piwsl_plugins.data.reading import read
from piwsl_plugins.data.settings import (
    SPELLING,
    USUAL_KEYS,
    DataSettings,
    add_data_options,
    data_settings,
)
from piwsl_plugins.data.targets import split_isolated
from piwsl_plugins.teacher.label import new_file, write_frames
from piwsl_plugins.teacher.settings import TeacherSettings

if TYPE_CHECKING:
    from piwsl_plugins.teacher.design import Selection

LEVEL = 0.9
"""Part of the error that twice as many energies leave at least, where it has levelled off."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    add = parser.add_argument
    add("file", type=Path, metavar="POOL", help="geometries, in any format that is read here")
    add("-n", dest="number", type=int, required=True, metavar="N", help="how many are selected")
    add("-o", "--output", dest="out", type=Path, required=True, metavar="OUT", help="a .xyz file")
    add("--overwrite", action="store_true", help="replace OUT where it exists")
    text = "frames that count as known; a fit to their energies says how large the errors are"
    add("--have", type=Path, metavar="FILE", help=text)
    text = "D: information; A: variance of coefficients; I: of forces (default: %(default)s)"
    add("--criterion", choices=("D", "A", "I"), default="I", help=text)
    text = "new folder for an xyz file of each, which ORCA, Psi4, PySCF and CP2K read"
    add("--inputs", type=Path, metavar="FOLDER", help=text)
    add_data_options(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command; a ValueError says what is wrong."""
    from piwsl_plugins.teacher import design  # with torch, slow to import

    settings = data_settings(options)
    check_sources(filter(None, [options.have]), [options.out])
    with new_file(options) as part:
        own = DataSettings(length_unit=settings.length_unit, allow_unusual_units=True)
        pool = split_isolated(read(options.file, own, needs_energies=False).frames)[1]
        if not pool:
            raise ValueError(f"{options.file}: no geometry to select from but isolated atoms")
        known, strength = list[Frame](), None
        if options.have:
            have = read(options.have, settings, spelling=SPELLING, default_keys=USUAL_KEYS,
                        needs_energies=False)  # fmt: skip
            print(have.summary)
            known = split_isolated(have.frames)[1]
            one, other = ({z for f in frames for z in f.atoms.symbols} for frames in (pool, known))
            if one != other:
                expected, got = (", ".join(sorted(names)) for names in (one, other))
                told = f"expected frames of {expected}, as in {options.file}, got {got}"
                raise ValueError(f"{options.have}: {told}; leave out what is not in both")
            strength = _strength(known)
        atoms = [frame.atoms for frame in pool]
        ridge, unit = strength or (design.RIDGE, 0.0)
        candidates = design.candidates_of(atoms, [frame.atoms for frame in known], ridge)
        found = design.choose(candidates, options.number, options.criterion)
        _tell(found, unit)
        for order, number in enumerate(found.order, 1):
            atoms[number].info |= {
                "selected_order": order,
                "selected_criterion": options.criterion,
                "selected_source": options.file.name,
                "selected_frame": pool[number].number,
            }
        write_frames(part, (atoms[number] for number in found.order))
        if options.inputs:
            options.inputs.mkdir(parents=True)
            for order, each in enumerate((atoms[number] for number in found.order), 1):
                bare = ase.Atoms(each.numbers, each.positions, cell=each.cell, pbc=each.pbc)
                ase.io.write(options.inputs / f"{order:04d}.xyz", bare, format="extxyz")
    print(f"{options.out}: {options.number} of {len(pool)} geometries")
    return 0


def _strength(known: Sequence[Frame]) -> tuple[float, float] | None:
    """Ridge of a fit to the known energies, if it explains them, and unit of errors, eV."""
    from piwsl_plugins.teacher.fitting import fit_teacher
    from piwsl_plugins.teacher.teach import describe, unfit

    frames = [
        dataclasses.replace(f, labels={k: v for k, v in f.labels.items() if k.endswith("energy")})
        for f in known
        if "energy" in f.labels
    ]
    if unfit(frames):
        return None
    low = all("low_energy" in f.labels for f in frames)
    teacher = fit_teacher(frames, TeacherSettings(), low=low)
    print(describe(teacher, low))
    fit = teacher.fit
    return (fit.ridge, fit.noise / fit.ridge**0.5) if fit.explains else None


def _tell(found: Selection, unit: float) -> None:
    """Print how the expected error falls, and where it levels off."""
    errors, n = found.errors, len(found.order)
    print("further energies   expected error of the forces, relative to that without them")
    doubled = [5 * 2**k for k in range(20)]
    for size in sorted({0, n, len(errors) - 1, *(m for m in doubled if m < len(errors))}):
        value = f"   {1e3 * unit * errors[size]:.0f} meV/angstrom" if unit else ""
        print(f"{size:16d}   {errors[size] / errors[0]:.2g}{value}")
    level = [m for m in range(5, len(errors) // 2) if errors[2 * m] > LEVEL * errors[m]]
    where = f"levels off at {level[0]}" if level else f"falls on up to {len(errors) - 1}"
    print(f"the error {where}: twice as many take {'less' if level else 'more'} than 10 % off")
