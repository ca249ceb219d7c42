"""``piwsl weak label``: energies, forces and stress of a cheap method for each frame of a file."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from piwsl_plugins.commands import LAYOUT
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.data.units import ENERGY_UNITS, LENGTH_UNITS
from piwsl_plugins.weak.processes import cores
from piwsl_plugins.weak.xtb import XTB

if TYPE_CHECKING:
    from piwsl_plugins.weak.labelling import Report
    from piwsl_plugins.weak.methods import Method

PROGRAM = "piwsl weak label"
KEYS = "keys"
LABELS = ("energy", "forces", "stress")
LEAST_CORRELATION = 0.5
"""Pearson's r of the energies below which the method is said to tell little about them."""
DESCRIPTION = """\
Label each frame of a file by a cheap method: energy, forces and, in a cell, stress, in eV and
angstrom, written as extended xyz beside everything that the frames have already. What has been
computed is kept in a cache, so that the same command goes on after an interruption."""
EPILOG = """\
examples:
  piwsl weak label train.xyz --method gfn2-xtb -o train_gfn2.xyz
  piwsl weak label oxide.db --method gfn1-xtb --arguments '{"accuracy": 0.1}' -o oxide_gfn1.xyz
  piwsl weak label metal.xyz --method ase.calculators.emt.EMT -o metal_emt.xyz
  piwsl weak label train.xyz --method foundation.model -o train_foundation.xyz
  piwsl weak label ani1x.h5 --energy-key 'ccsd(t)_cbs.energy' --method keys \\
      --low-energy-key wb97x_dz.energy --low-forces-key wb97x_dz.forces -o ani_weak.xyz"""


def add_to(commands: Any) -> None:  # noqa: ANN401  argparse's own type is private
    """Add the command to those of ``piwsl weak``."""
    made = commands.add_parser(
        "label",
        help="energies, forces and stress of a cheap method for each frame of a file",
        description=DESCRIPTION,
        epilog=EPILOG,
        **LAYOUT,
    )
    made.set_defaults(run=run, program=PROGRAM)
    add = made.add_argument
    add("file", type=Path, metavar="FILE", help="frames in any format that this package reads")
    add(
        "--method",
        required=True,
        metavar="METHOD",
        help="gfn1-xtb or gfn2-xtb (needs tblite); the import path of an ASE calculator, as "
        "ase.calculators.emt.EMT; a model file of MACE or NequIP, where its host is installed; or "
        "'keys' for labels that the file has",
    )
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="extended xyz, .xyz")
    add("--force", action="store_true", help="overwrite OUT")
    _add_method(made.add_argument_group("method"))
    _add_file(made.add_argument_group("keys and units"))
    _add_work(made.add_argument_group("work"))


def _add_method(group: Any) -> None:  # noqa: ANN401
    add = group.add_argument
    add(
        "--arguments",
        metavar="JSON",
        help="arguments of the ASE calculator or of tblite's, as '{\"accuracy\": 0.1}'",
    )
    add(
        "--charge",
        type=int,
        metavar="N",
        help="of every frame, for GFN-xTB (default: 'charge' in a frame's info, else 0)",
    )
    add(
        "--multiplicity",
        type=int,
        metavar="N",
        help="2S + 1 of every frame, for GFN-xTB (default: 'multiplicity' or 'spin' in a frame's "
        "info, else 1, where the number of electrons is even)",
    )
    for label in ("energy", "forces", "stress"):
        add(f"--low-{label}-key", metavar="KEY", help=f"for 'keys': the file's {label}")
    add("--device", default="cpu", help="for model files: cpu or cuda (default: %(default)s)")
    add(
        "--dtype",
        choices=["float32", "float64"],
        help="number format of MACE's models (default: a model's own)",
    )


def _add_file(group: Any) -> None:  # noqa: ANN401
    add = group.add_argument
    for label, unit in (("energy", "eV"), ("forces", "eV/angstrom"), ("stress", "eV/angstrom^3")):
        add(
            f"--weak-{label}-key",
            default=f"weak_{label}",
            metavar="KEY",
            help=f"name of the new {label}, {unit} (default: %(default)s)",
        )
    usual = "of the reference, to compare with (default: REF_{0} or {0}, if there)"
    for label in ("energy", "forces"):
        add(f"--{label}-key", metavar="KEY", help=usual.format(label))
    add("--energy-unit", choices=[*ENERGY_UNITS], help="of FILE (default: the format's)")
    add("--length-unit", choices=[*LENGTH_UNITS], help="of FILE (default: the format's)")
    add(
        "--decimals",
        type=int,
        metavar="N",
        help="of the new labels, for a smaller file (default: all there are)",
    )


def _add_work(group: Any) -> None:  # noqa: ANN401
    add = group.add_argument
    add(
        "--processes",
        type=int,
        metavar="N",
        help="side by side, each on one thread (default: all cores; 1 with --device cuda)",
    )
    add(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="of labels that are there (default: piwsl-cache beside OUT); it may be removed",
    )
    add(
        "--strict",
        action="store_true",
        help="write nothing where a frame fails (status 1), instead of leaving it out",
    )


def run(chosen: argparse.Namespace) -> int:
    """Run the command.

    Args:
        chosen: its options.

    Returns:
        Exit status: 0, or 1 with ``--strict`` where a frame has failed.

    Raises:
        ValueError: whatever is wrong with options, file, frames or method.
    """
    _check_options(chosen)
    # late, for --help must not wait for ASE
    from piwsl_plugins.data.outputs import Outputs
    from piwsl_plugins.weak.frames import Frames
    from piwsl_plugins.weak.labelling import Request, label
    from piwsl_plugins.weak.states import Keys

    names = {name: getattr(chosen, f"weak_{name}_key") for name in LABELS}
    outputs = Outputs([chosen.output], force=chosen.force, sources=[chosen.file])
    request = Request(
        frames=Frames(chosen.file, _reference(chosen), _low(chosen)),
        out=chosen.output,
        outputs=outputs,
        keys=Keys(**names),
        charge=chosen.charge,
        spin=chosen.multiplicity,
        decimals=chosen.decimals,
        strict=chosen.strict,
    )
    with tempfile.TemporaryDirectory(prefix="piwsl-weak-") as scratch:
        report = label(request, _method(chosen, scratch), _cache(chosen), _processes(chosen))
    _tell(chosen, report)
    return 0 if report.written else 1


def _check_options(chosen: argparse.Namespace) -> None:
    """Refuse what contradicts itself."""
    out = chosen.output
    if out.suffix not in (".xyz", ".extxyz"):
        raise ValueError(f"-o {out}: extended xyz is written; expected a name that ends in .xyz")
    low = [f"--low-{name}-key" for name in LABELS if getattr(chosen, f"low_{name}_key")]
    if chosen.method == KEYS and "--low-energy-key" not in low:
        raise ValueError("--method keys: expected --low-energy-key, and perhaps --low-forces-key")
    if chosen.method != KEYS and low:
        raise ValueError(f"{low[0]}: only --method keys takes labels of the file")
    names = [getattr(chosen, f"weak_{name}_key") for name in LABELS]
    if len(set(names)) < len(names):
        raise ValueError(f"--weak-...-key: two labels have one name among {', '.join(names)}")
    for option, least in (("processes", 1), ("multiplicity", 1), ("decimals", 0)):
        value = getattr(chosen, option)
        if value is not None and value < least:
            raise ValueError(f"--{option}: got {value}, expected {least} or above")
    is_xtb = chosen.method.lower() in XTB
    for option in ("charge", "multiplicity"):
        if getattr(chosen, option) is not None and not is_xtb:
            raise ValueError(
                f"--{option} is for GFN-xTB alone; an ASE calculator takes it in --arguments"
            )


def _reference(chosen: argparse.Namespace) -> DataSettings:
    return DataSettings(
        energy=chosen.energy_key,
        forces=chosen.forces_key,
        energy_unit=chosen.energy_unit,
        length_unit=chosen.length_unit,
    )


def _low(chosen: argparse.Namespace) -> DataSettings | None:
    """Keys of labels that the file has, read as if they were the reference's."""
    if chosen.method != KEYS:
        return None
    return DataSettings(
        energy=chosen.low_energy_key,
        forces=chosen.low_forces_key,
        stress=chosen.low_stress_key,
        energy_unit=chosen.energy_unit,
        length_unit=chosen.length_unit,
        allow_unusual_units=True,  # a cheap method may count valence electrons alone
    )


def _method(chosen: argparse.Namespace, scratch: str) -> Method | None:
    from piwsl_plugins.weak.methods import method_of

    if chosen.method == KEYS:
        return None
    return method_of(chosen.method, chosen.arguments, scratch, chosen.device, chosen.dtype)


def _cache(chosen: argparse.Namespace) -> Path:
    folder: Path | None = chosen.cache
    return chosen.output.parent / "piwsl-cache" if folder is None else folder


def _processes(chosen: argparse.Namespace) -> int:
    if chosen.processes is not None:
        return int(chosen.processes)
    return 1 if chosen.device != "cpu" else cores()


def _tell(chosen: argparse.Namespace, report: Report) -> None:
    """Say what was done, and what not."""
    from piwsl_plugins.weak.agreement import lines

    if report.computed:
        print(f"computed {report.computed} frames, {report.seconds:.3g} s each in its process")
    failed = ""
    if report.failures:
        name, why = next(iter(report.failures.items()))
        failed = f"{len(report.failures)} frames have no labels, the first {name}: {why}"
    if not report.written:
        print(f"{PROGRAM}: error: {failed}; {chosen.output} was not written", file=sys.stderr)
        return
    for line in lines(report.agreement):
        print(line)
    energies = report.agreement.energies()
    if energies is not None and energies.correlation < LEAST_CORRELATION:
        print(
            f"{PROGRAM}: warning: the energies correlate by {energies.correlation:.2f} alone; "
            f"{chosen.method} tells little about these frames",
            file=sys.stderr,
        )
    if report.untold:
        print(
            f"{PROGRAM}: warning: {report.untold} frames have a charge or a multiplicity in their "
            f"info, and {chosen.method} is not told of it; --arguments may be the place",
            file=sys.stderr,
        )
    if failed:
        print(f"{PROGRAM}: warning: left out: {failed}", file=sys.stderr)
    print(f"{chosen.output}: {report.labelled} of {report.frames} frames")
