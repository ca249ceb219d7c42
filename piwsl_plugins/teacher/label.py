"""Label each frame of a file by a cheap method.

Energy, forces and, in a cell, stress are written, in eV and angstrom, as extended xyz beside
everything that the frames have already: weak_energy, weak_forces and weak_stress. What has been
computed is kept, so that the same command resumes after an interruption.

  piwsl label train.xyz --method gfn2-xtb -o train_gfn2.xyz
  piwsl label oxide.db --method gfn1-xtb --arguments '{"accuracy": 0.1}' -o oxide_gfn1.xyz
  piwsl label metal.xyz --method ase.calculators.emt.EMT -o metal_emt.xyz
  piwsl label ions.xyz --method pbe/def2-svp --charge -1 -o ions_pbe.xyz
  piwsl label train.xyz --method foundation.model --device cuda -o train_foundation.xyz
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import ase
import ase.io
import numpy as np

from piwsl_plugins import fields
from piwsl_plugins.data.convert import appearing
from piwsl_plugins.data.frames import Floats, Frame, FrameSet
from piwsl_plugins.data.reading import read
from piwsl_plugins.data.settings import (
    SPELLING,
    DataSettings,
    EnergyUnit,
    ForceUnit,
    add_data_options,
    dashed,
    data_settings,
)
from piwsl_plugins.data.units import STATEMENT, UNITS_OF
from piwsl_plugins.data.writers import NAMES, RESULTS, writer
from piwsl_plugins.teacher.labelling import Failure, Labels, compute_labels
from piwsl_plugins.teacher.methods import Method
from piwsl_plugins.teacher.state import stated

MOST_NAMED = 10
"""Failed frames that are named, and different charges and multiplicities that are told."""
UNITS = {"weak_energy": "eV", "weak_forces": "eV/angstrom", "weak_stress": "eV/angstrom^3"}
"""The new labels and their units."""
USUAL_KEYS = {"energy": ("REF_energy",), "forces": ("REF_forces", "forces"), "stress": "REF_stress"}
LEAST_CORRELATION = 0.5
"""Pearson's r of the energies below which the method is said to tell little about them."""
LEAST_LEFT = 1e-6  # of energies that the composition does not explain, eV
_EQUAL = 0.05  # a slope as near as this to a conversion factor is no accident


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    add_common_options(parser)
    text = "after which a frame is left out (default: %(default)g)"
    parser.add_argument("--timeout", type=float, default=3600.0, metavar="SECONDS", help=text)
    add_data_options(parser)


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add what labelling and sampling have in common: files, processes and the cheap method."""
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="geometries, in any format that this package reads")
    add("-o", "--output", dest="out", type=Path, required=True, metavar="OUT", help="a .xyz file")
    add("--overwrite", action="store_true", help="replace OUT where it exists")
    text = "side by side, each on one thread (default: all cores; 1 on a GPU)"
    add("--processes", type=int, metavar="N", help=text)
    text = "of a Dask scheduler, as tcp://host:8786, whose workers compute instead"
    add("--dask", metavar="ADDRESS", help=text)
    text = f"{Method.model_fields['arguments'].description}, as '{{\"accuracy\": 0.1}}'"
    add("--arguments", type=json.loads, default={}, metavar="JSON", help=text)
    others = [name for name in Method.model_fields if name != "arguments"]
    fields.add_options(parser, Method, dashed, others)


def method_of(options: argparse.Namespace) -> Method:
    """The method that the options name; a ValueError says what is wrong with them."""
    if options.processes is not None and options.processes < 1:
        raise ValueError(f"--processes: got {options.processes}, expected 1 or above")
    return Method(**{name: getattr(options, name) for name in Method.model_fields})


@contextlib.contextmanager
def new_file(options: argparse.Namespace) -> Iterator[Path]:
    """Check ``--output``, as :func:`appearing`; hand on a name that becomes it at a normal end."""
    if options.out.suffix not in (".xyz", ".extxyz"):
        raise ValueError(f"-o {options.out}: expected a name of extended xyz, that ends in .xyz")
    with appearing([options.out], options) as names:
        yield names[options.out]


def write_frames(path: Path, frames: Iterable[ase.Atoms]) -> None:
    """Write frames with everything in their info and arrays, without loss of digits."""
    with writer(path, {}) as write:
        for atoms in frames:
            write(Frame(atoms=atoms, labels={}, source=str(path), number=0))


def run(options: argparse.Namespace) -> int:
    """Run the command; a ValueError says what is wrong."""
    settings, method = data_settings(options), method_of(options)
    with new_file(options) as part:
        method.calculator()  # what is wrong with it is said before a long file is read
        found = read(
            options.file, settings, spelling=SPELLING, default_keys=USUAL_KEYS, needs_energies=False
        )
        print(found.summary)
        _warn(*found.remarks)
        whole = _with_all_they_had(found, settings)
        for frame, atoms in zip(found.frames, whole, strict=True):
            if there := UNITS.keys() & (atoms.info.keys() | atoms.arrays.keys()):
                raise ValueError(f"{frame.name} has {min(there)} already; remove or rename it")
        _tell_states(found.frames, method)
        frames, cache = [frame.atoms for frame in found.frames], options.out.parent / "piwsl-cache"
        how = {"processes": options.processes, "timeout": options.timeout, "dask": options.dask}
        labels = compute_labels(frames, method, cache, **how)
        pairs, made, failed = list[tuple[Frame, Labels]](), list[ase.Atoms](), list[str]()
        for frame, atoms, one in zip(found.frames, whole, labels, strict=True):
            if isinstance(one, Failure):
                failed.append(f"\n  {frame.name} ({frame.atoms.symbols}): {one}")
                continue
            pairs.append((frame, one))
            made.append(atoms)
            new = {key: value for key, value in zip(UNITS, one, strict=True) if value is not None}
            _put(atoms, new)
            said = [str(atoms.info.get(STATEMENT, "")), *(f"{k}={u}" for k, u in UNITS.items())]
            atoms.info[STATEMENT] = " ".join(said).strip()
        if failed:
            named = "".join(failed[:MOST_NAMED])
            _warn(f"{len(failed)} frames have no labels and are left out, such as:{named}")
        if not made:
            raise ValueError(f"no frame could be labelled; {options.out} was not written")
        write_frames(part, made)
    lines, warnings = agreement(pairs, options.method)
    print("\n".join(lines))
    _warn(*warnings)
    print(f"{options.out}: {len(made)} of {len(labels)} frames")
    return 0


def _with_all_they_had(found: FrameSet, settings: DataSettings) -> list[ase.Atoms]:
    """The frames as they are to be written, before they get new labels."""
    made = [frame.atoms.copy() for frame in found.frames]
    results = [{NAMES[name]: frame.labels[name] for name in RESULTS if name in frame.labels}
               for frame in found.frames]  # fmt: skip
    converted = ("_unit", "_sign", "per_atom_energy")
    is_plain = not any(name.endswith(converted) for name in settings.changed())
    if is_plain and Path(found.path).suffix in (".xyz", ".extxyz"):
        with contextlib.suppress(Exception):  # whatever ASE raises about what our reader forgives
            whole: Any = ase.io.read(found.path, ":", "extxyz", do_not_split_by_at_sign=True)
            made = [whole[frame.number] for frame in found.frames]
            results = [atoms.calc.results if atoms.calc else {} for atoms in made]
    for atoms, values in zip(made, results, strict=True):
        _put(atoms, values)
    return made


def _put(atoms: ase.Atoms, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        (atoms.arrays if name.endswith("forces") else atoms.info)[name] = value


def _tell_states(frames: Sequence[Frame], method: Method) -> None:
    """Say which charges and spins are taken, or that a method is not told them."""
    if not method.takes_state:
        untold = [found for frame in frames if (found := stated(frame.atoms))]
        if untold:
            _warn(
                f"{len(untold)} frames state a charge or spin ({', '.join(untold[0])}); "
                f"{method.method} is given the frames as they are, and may or may not read it"
            )
        return
    said: Counter[str] = Counter()
    for frame in frames:
        with contextlib.suppress(ValueError):  # the frame fails by it
            said[method.state(frame.atoms).said] += 1
    print("".join(f"{w}: {n} frames\n" for w, n in said.most_common(MOST_NAMED)), end="")


def _warn(*texts: str) -> None:
    for text in texts:
        print(f"piwsl label: warning: {text}", file=sys.stderr)


def agreement(pairs: Sequence[tuple[Frame, Labels]], method: str) -> tuple[list[str], list[str]]:
    """Compare a cheap method with the reference: what agrees, and warnings.

    Energies are compared once a least-squares fit to the composition has been taken from either,
    for methods differ in the energies of free atoms. Slopes are those of the cheap method.
    """
    lines, warnings = list[str](), list[str]()
    energies = [(frame, made) for frame, made in pairs if "energy" in frame.labels]
    forces = [np.array([frame.labels["forces"], made.forces]).reshape(2, -1)
              for frame, made in pairs if "forces" in frame.labels]  # fmt: skip
    for label, kind, unit, both in (
        ("energy", EnergyUnit, "meV", _without_composition(energies)),
        ("forces", ForceUnit, "meV/angstrom", np.hstack([np.zeros((2, 0)), *forces])),
    ):
        x, y = both[:, np.isfinite(both[0])]
        if not len(x):
            continue
        what, count = ("forces", len(forces)) if label == "forces" else ("energies", len(energies))
        slope, r = float(x @ y / (x @ x)), float(x @ y / np.sqrt((x @ x) * (y @ y) + 1e-300))
        spread, difference = (1e3 * float(np.sqrt(np.mean(v**2))) for v in (x, y - x))
        lines.append(
            f"{what} against the reference ({count} frames): slope {slope:.3f}, correlation "
            f"{r:.3f}, RMS difference {difference:.1f} {unit} of {spread:.1f}"
        )
        if label == "energy" and r < LEAST_CORRELATION:
            text = "the energies correlate by only"
            warnings.append(f"{text} {r:.2f}; {method} tells little about these frames")
        for other in get_args(kind)[1:]:
            factor = UNITS_OF[label][other]
            if r > 0.9 and min(abs(slope / factor - 1), abs(slope * factor - 1)) < _EQUAL:
                warnings.append(
                    f"the slope of the {what}, {slope:.4g}, is a factor between {other} and eV "
                    f"(with angstrom): was the reference read in a wrong unit? See --{label}-unit"
                )
    return lines or ["no reference to compare with, or too few frames that have one"], warnings


def _without_composition(pairs: Sequence[tuple[Frame, Labels]]) -> Floats:
    """Energies of reference and cheap method less what the composition explains; empty if all."""
    counts = np.array([np.bincount(frame.atoms.numbers, minlength=119) for frame, _ in pairs])
    energies = np.array([[frame.labels["energy"], made.energy] for frame, made in pairs])
    if len(pairs) < 2:
        return np.zeros((2, 0))
    energies -= energies.mean(axis=0)  # large numbers cost digits
    left = energies - counts @ np.linalg.lstsq(counts, energies, rcond=None)[0]
    return left.T if left.std(axis=0).min() > LEAST_LEFT else np.zeros((2, 0))
