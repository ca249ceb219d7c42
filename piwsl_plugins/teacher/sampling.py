"""Sample new geometries, without labels, from known ones.

Langevin dynamics at constant volume, random displacements and normal modes; geometries that have
exploded and near-duplicates are dropped, those farthest from all others kept. Each frame says in
its info how it was made. Each series is kept in the folder OUT.parts, which may be
removed, so that the same command resumes after an interruption.

  piwsl sample train.xyz --method gfn2-xtb -o new.xyz --temperatures 300 600 --select 200
  piwsl sample train.xyz --method teacher.json -o new.xyz --temperatures 300 --lengths 0.03
  piwsl sample train.xyz --method gfn2-xtb -o new.xyz --mode-temperatures 300
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ase
import numpy as np
from ase import units
from ase.calculators.calculator import Calculator
from ase.io import jsonio
from ase.md.langevin import Langevin
from ase.optimize import BFGS
from tqdm import tqdm

from piwsl_plugins.data.reading import read
from piwsl_plugins.data.settings import DataSettings, add_data_options, dashed
from piwsl_plugins.data.splits import selectors
from piwsl_plugins.fields import add_options as add_settings
from piwsl_plugins.teacher.geometries import Plausibility, choose, normal_modes
from piwsl_plugins.teacher.label import add_common_options, method_of, new_file, write_frames
from piwsl_plugins.teacher.labelling import Failure, digest_of, side_by_side
from piwsl_plugins.teacher.methods import Method
from piwsl_plugins.teacher.settings import SampleSettings
from piwsl_plugins.teacher.state import stated

MD, RATTLE, MODES = "md", "rattle", "normal-modes"
SOFTEST = 100.0
"""Wavenumber, 1/cm, that softer and unstable modes are displaced with: far along them the harmonic
approximation does not hold."""
WAVENUMBER = units._hbar * 1e10 / np.sqrt(units._e * units._amu) / units.invcm
"""That of a curvature of 1 eV/angstrom^2/amu, 1/cm."""
LARGEST_FORCE, MOST_STEPS = 0.05, 300  # of a relaxation, eV/angstrom

LISTS = {"temperatures": "K", "lengths": "angstrom", "mode_temperatures": "K"}
NAMES = SampleSettings.model_fields


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    add_common_options(parser)
    add_data_options(parser, ["length_unit"])
    group = parser.add_argument_group("what is sampled")
    for name, unit in LISTS.items():
        text = f"{NAMES[name].description} [{unit}]"
        group.add_argument(*dashed(name), type=float, nargs="+", default=[], metavar="X", help=text)
    others = [name for name in NAMES if name not in LISTS]
    add_settings(group, SampleSettings, dashed, others)


def run(options: argparse.Namespace) -> int:
    """Run the command; a ValueError says what is wrong."""
    settings = SampleSettings(**{name: getattr(options, name) for name in NAMES})
    if settings.is_empty:
        raise ValueError("nothing to sample: give --temperatures, --lengths or --mode-temperatures")
    out, method = options.out, method_of(options)
    with new_file(options) as part:
        calculator = method.calculator()
        data = DataSettings(length_unit=options.length_unit, allow_unusual_units=True)
        known = read(options.file, data, needs_energies=False).frames
        for frame in known if settings.temperatures or settings.mode_temperatures else ():
            try:
                calculator.inner(frame.atoms.copy())
            except ValueError as error:
                raise ValueError(f"{frame.name} (counted from 0): {error}") from error
        frames, folder = [frame.atoms for frame in known], out.with_name(f"{out.name}.parts")
        say = functools.partial(print, file=sys.stderr)
        where = {"processes": options.processes, "dask": options.dask}
        found = sample(frames, method, settings, folder, say=say, **where)
        for made in found:
            made.info["sampled_method"] = method.method
        write_frames(part, found)
    ways = Counter(str(made.info["sampled_by"]) for made in found)
    listed = ", ".join(f"{number} {way}" for way, number in sorted(ways.items()))
    print(f"{out}: {len(found)} geometries ({listed})")
    return 0


def sample(
    frames: Sequence[ase.Atoms],
    method: Method,
    settings: SampleSettings,
    folder: Path,
    *,
    processes: int | None,
    say: Callable[[str], object],
    dask: str | None = None,
) -> list[ase.Atoms]:
    """Sample new geometries; what has been sampled is kept, so that a rerun resumes.

    The method moves the atoms, from the known frames; the folder has a file of each series;
    ``say`` is told what was refused, and why. The new geometries' info says how they were made;
    they are in the order of :func:`choose`. A ValueError says that none is left.
    """
    if settings.select is not None or settings.closest > 0:
        selectors()
    folder.mkdir(parents=True, exist_ok=True)
    series = _plan(settings, [_bare(frame) for frame in frames], folder, method.digest())
    missing = [one for one in series if not one.file.exists()]
    make = functools.partial(_make, settings, method, Plausibility(frames))
    where: dict[str, Any] = {"processes": processes, "device": method.runs_on, "dask": dask}
    results = side_by_side(make, missing, **where)
    bar = tqdm(total=sum(one.steps for one in missing), desc="sampling", disable=None)
    with bar, contextlib.closing(results):
        for number, result in results:
            file = missing[number].file
            bar.update(missing[number].steps)
            if isinstance(result, Failure):
                say(f"not taken: {file.stem}: {result}")
            else:
                file.with_suffix(".part").write_text(jsonio.encode(result), encoding="utf-8")
                file.with_suffix(".part").replace(file)
    found: list[ase.Atoms] = []
    for one in (one for one in series if one.file.exists()):
        made, refused = jsonio.decode(one.file.read_text(encoding="utf-8"))
        found += made
        for why in refused:
            say(f"not taken: {one.file.stem}{why}")
    chosen = choose(frames, found, settings.select, settings.closest)
    if not chosen:
        why = "the others are near-duplicates of known ones, or were not taken"
        remedy = "sample more, at higher temperatures or longer lengths"
        raise ValueError(f"no geometry is left of {len(found)} sampled ones: {why}; {remedy}")
    say(f"sampled {len(found)} geometries, kept {len(chosen)}")
    return [found[number] for number in chosen]


class Series(NamedTuple):
    """Some geometries from one parent in one way, at a temperature (K) or length (angstrom)."""

    way: str
    value: float
    parent: ase.Atoms
    steps: int
    seed: int
    file: Path


def dynamics(
    series: Series, settings: SampleSettings, calculator: Calculator, rng: np.random.Generator
) -> Iterator[tuple[int, ase.Atoms]]:
    """Langevin dynamics at constant volume, from Maxwell-Boltzmann velocities: step, geometry."""
    moving = series.parent.copy()
    moving.calc = calculator
    widths = np.sqrt(moving.get_masses() * units.kB * series.value)
    moving.set_momenta(rng.normal(size=(len(moving), 3)) * widths[:, None])
    bath = {"temperature_K": series.value, "friction": settings.friction / units.fs}
    # ASE's other choice of fixcm does not sample the canonical ensemble
    engine = Langevin(moving, settings.timestep * units.fs, fixcm=False, rng=rng, **bath)
    for step in range(settings.interval, series.steps + 1, settings.interval):
        try:
            engine.run(settings.interval)
        except Exception as error:  # whatever a calculator raises far from what it knows
            raise ValueError(f"step {step}: the calculator failed: {error}") from error
        geometry = series.parent.copy()
        geometry.positions = moving.positions
        yield step, geometry


def rattled(
    series: Series, settings: SampleSettings, _: Calculator, rng: np.random.Generator
) -> Iterator[tuple[int, ase.Atoms]]:
    """Random displacements of the atoms and, in a periodic frame, strains of the cell."""
    for number in range(series.steps):
        geometry = series.parent.copy()
        if geometry.pbc.all() and settings.strain > 0.0:
            stretch = rng.normal(scale=settings.strain, size=(3, 3))
            deformed = geometry.cell[:] @ (np.eye(3) + 0.5 * (stretch + stretch.T))
            geometry.set_cell(deformed, scale_atoms=True)
        geometry.rattle(series.value, rng=rng)
        yield number, geometry


def vibrating(
    series: Series, _: SampleSettings, calculator: Calculator, rng: np.random.Generator
) -> Iterator[tuple[int, ase.Atoms]]:
    """The classical canonical ensemble of the harmonic potential about the nearest minimum.

    A mode's amplitude has variance k_B T / curvature: k_B T / 2 of potential energy on average.
    """
    centre = series.parent.copy()
    centre.calc = calculator
    if not BFGS(centre, logfile=None).run(fmax=LARGEST_FORCE, steps=MOST_STEPS):
        raise ValueError(f"no minimum within {MOST_STEPS} steps of relaxation")
    curvatures, patterns = normal_modes(centre)
    widths = np.sqrt(units.kB * series.value / np.maximum(curvatures, (SOFTEST / WAVENUMBER) ** 2))
    for number in range(series.steps):
        geometry = series.parent.copy()
        amplitudes = rng.normal(size=len(widths)) * widths
        geometry.positions = centre.positions + np.tensordot(amplitudes, patterns, 1)
        yield number, geometry


WAYS = {MD: dynamics, RATTLE: rattled, MODES: vibrating}


def _make(
    settings: SampleSettings, method: Method, known: Plausibility, series: Series
) -> tuple[list[ase.Atoms], list[str]]:
    """Geometries of a series, and why others were not taken."""
    frames, refused = [], []
    info: dict[str, Any] = {"sampled_by": series.way, "sampled_seed": series.seed}
    info["sampled_length" if series.way == RATTLE else "sampled_temperature"] = series.value
    info["sampled_parent"] = digest_of("", series.parent)[:16]
    try:
        rng = np.random.default_rng(series.seed)
        for step, geometry in WAYS[series.way](series, settings, method.calculator(), rng):
            if objection := known.objection(geometry, series.parent):
                refused.append(f", step {step}: {objection}")
                if series.way == MD:
                    break  # it does not come back
                continue
            geometry.info |= info | {"sampled_step": step}
            frames.append(geometry)
    except ValueError as error:
        refused.append(f": {error}")
    return frames, refused


def _bare(frame: ase.Atoms) -> ase.Atoms:
    """A geometry without labels, with what it states of charge and spin."""
    made = ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    states = stated(frame)
    made.info = {key: value for key, value in states.items() if key in frame.info}
    made.arrays |= {key: value for key, value in states.items() if key in frame.arrays}
    return made


def _plan(
    settings: SampleSettings, parents: Sequence[ase.Atoms], folder: Path, identity: str
) -> list[Series]:
    """All series; parents take turns, in random order."""
    rng = np.random.default_rng(settings.seed)
    names = {"interval", "timestep", "friction", "strain"}
    told = f"{settings.model_dump(include=names)} {identity}"
    wanted = [(MD, value, settings.trajectories, settings.steps) for value in settings.temperatures]
    wanted += [(RATTLE, length, settings.rattled, 1) for length in settings.lengths]
    wanted += [(MODES, value, 1, settings.displaced) for value in settings.mode_temperatures]
    series = []
    for way, value, number, count in wanted:
        rounds = -(-number // len(parents))
        order = np.concatenate([rng.permutation(len(parents)) for _ in range(rounds)])
        for parent in order[:number]:
            seed = int(rng.integers(2**31))
            digest = digest_of(f"{way} {value} {count} {seed} {told}", parents[parent])[:16]
            name = f"{way}-{value:g}{'A' if way == RATTLE else 'K'}-{parent}-{digest}"
            series.append(Series(way, value, parents[parent], count, seed, folder / f"{name}.json"))
    return series
