"""The user's files, read once: checked, split, and written under names that all stages know."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from piwsl_plugins.data.atomic_energies import atomic_energies
from piwsl_plugins.data.duplicates import check_no_overlap
from piwsl_plugins.data.isolated import is_isolated
from piwsl_plugins.data.plausibility import check_units
from piwsl_plugins.data.progress import watched
from piwsl_plugins.data.readers import DataError, Source, open_source
from piwsl_plugins.weak.distil import REFERENCE, REFERENCE_FORCES
from piwsl_plugins.weak.files import bare, read_frames, write_frames, write_json
from piwsl_plugins.weak.sample_tasks import KEPT as STATE
from piwsl_plugins.weak.settings import DataBlock, file_of

TRAIN, VALID, TEST, GEOMETRIES = "train.xyz", "valid.xyz", "test.xyz", "geometries.xyz"
ENERGIES = "atomic_energies.json"
KEPT = (*STATE, "config_type")
"""What a frame keeps of its ``info``."""
REFERENCE_STRESS = "REF_stress"
FEWEST = 4
"""Training frames with an energy below which nothing is trained."""


def prepare(data: DataBlock, folder: Path) -> None:
    """Read the user's files, check them, and write those that the stages read.

    Args:
        data: The user's files.
        folder: Where they are written: train.xyz and valid.xyz with ``REF_energy``, test.xyz, the
            geometries without energies as geometries.xyz, and the energies of the free atoms.

    Raises:
        ValueError: Frames that are in two files, elements without training data, too few frames,
            numbers in other units, or whatever the readers refuse.
    """
    train = open_source(file_of(data.train), data.keys(data.train_on_forces))
    valid = None
    if data.valid is not None:
        valid = open_source(file_of(data.valid), data.keys(data.train_on_forces))
        check_no_overlap([train], [valid], ("training", "validation"))
    test = None
    if data.test is not None:
        test = open_source(file_of(data.test), data.keys(True))
        seen = [train] if valid is None else [train, valid]
        check_no_overlap(seen, [test])
    labelled, geometries = _frames(train)
    for name in data.geometries:
        geometries += [bare(frame, KEPT) for frame in read_frames(file_of(name))]
    held_back = _frames(valid)[0] if valid is not None else []
    if valid is None:
        labelled, held_back = _split(labelled, data)
    test_frames = _frames(test)[0] if test is not None else []
    _check(data, labelled, held_back, test_frames, geometries)
    given = data.atomic_energies
    spec: str | dict[int | str, float] = given if isinstance(given, str) else dict(given.items())
    energies = atomic_energies(spec, train, _elements(labelled))
    for source in filter(None, (train, valid, test)):
        _check_units(source, None if isinstance(given, str) else energies.values)
    write_json(
        folder / ENERGIES,
        {
            "energies": {chemical_symbols[z]: energy for z, energy in energies.values.items()},
            "origin": energies.origin,
            "warnings": list(energies.warnings),
        },
    )
    files = {TRAIN: labelled, VALID: held_back, TEST: test_frames, GEOMETRIES: geometries}
    for name, frames in files.items():
        if frames:
            write_frames(folder / name, frames)


def _frames(source: Source) -> tuple[list[Atoms], list[Atoms]]:
    """Frames with a reference energy, labels under the names of all stages, and the others."""
    labelled: list[Atoms] = []
    others: list[Atoms] = []
    blocks = watched(source.blocks(), f"reading {source.path.name}", len(source))
    for block in blocks:
        for number in np.flatnonzero(~is_isolated(block)):
            atoms = bare(block.atoms(int(number)), KEPT)
            energy = block.scalar("energy", int(number))
            forces = block.array("forces", int(number))
            stress = block.array("stress", int(number))
            if energy is not None:
                atoms.info[REFERENCE] = energy
            if forces is not None:
                atoms.arrays[REFERENCE_FORCES] = forces
            if stress is not None:
                atoms.info[REFERENCE_STRESS] = stress.ravel()
            (others if energy is None else labelled).append(atoms)
    return labelled, others


def _split(frames: list[Atoms], data: DataBlock) -> tuple[list[Atoms], list[Atoms]]:
    """Hold back a random fraction, at least one frame."""
    held_back = max(1, round(data.valid_fraction * len(frames)))
    order = np.random.default_rng(data.seed).permutation(len(frames))
    chosen = set(order[:held_back].tolist())
    return (
        [frame for number, frame in enumerate(frames) if number not in chosen],
        [frames[number] for number in sorted(chosen)],
    )


def _check_units(source: Source, energies: Mapping[int, float] | None) -> None:
    """Refuse numbers that look as if they were in other units, and name the config's keys."""
    try:
        check_units(source, energies)
    except DataError as error:
        keys = "energy_unit|length_unit|forces_unit|allow_unusual_units"
        raise ValueError(re.sub(rf"\bset ({keys})\b", r"set data.\1", str(error))) from error


def _elements(frames: Sequence[Atoms]) -> set[int]:
    return {int(number) for frame in frames for number in set(frame.numbers.tolist())}


def _check(
    data: DataBlock,
    train: Sequence[Atoms],
    valid: Sequence[Atoms],
    test: Sequence[Atoms],
    geometries: Sequence[Atoms],
) -> None:
    """Refuse what no training could mend."""
    if len(train) < FEWEST or not valid:
        raise ValueError(
            f"{data.train}: {len(train)} training and {len(valid)} validation frames have an "
            f"energy under '{data.energy}'; expected at least {FEWEST} and 1"
        )
    known = _elements(train)
    for what, frames in (("validation", valid), ("test", test), ("unlabelled", geometries)):
        strange = sorted(chemical_symbols[z] for z in _elements(frames) - known)
        if strange:
            raise ValueError(
                f"the {what} frames hold {', '.join(strange)}, and no training frame of "
                f"{data.train} does: no model could know it; add such frames, or leave those out"
            )
    if isinstance(data.atomic_energies, str):
        return
    for symbol in data.atomic_energies:
        if atomic_numbers.get(str(symbol), 0) not in known:
            raise ValueError(
                f"data.atomic_energies: {symbol} is in no training frame of {data.train}, so that "
                "no model could know it; leave it out, or add frames with it"
            )
