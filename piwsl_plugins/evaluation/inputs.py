"""What the command line names: labelled frames, files by name, and other environments."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from piwsl_plugins.data.frames import DataError, FrameSet
from piwsl_plugins.data.reading import read
from piwsl_plugins.data.settings import SPELLING as OPTIONS
from piwsl_plugins.data.settings import USUAL_KEYS, DataSettings
from piwsl_plugins.data.targets import check_differences, differences
from piwsl_plugins.models import HOSTS, MODULES

LABELS = ("energy", "forces", "stress")
SPELLING = {name: word for name, word in OPTIONS.items() if not name.startswith("weak")}
"""Option of each setting that says how labels are read."""


def read_sets(files: Mapping[str, Path], settings: DataSettings) -> dict[str, FrameSet]:
    """Read files by name as trainings read them, but for usual names of forces and stress.

    With a cheaper method's energies, labels are the differences from them. A ValueError names a
    file that cannot be read or has no label.
    """
    check_differences(settings, SPELLING)
    keys = {label: USUAL_KEYS[label] for label in ("forces", "stress")}
    sets = {}
    for name, path in files.items():
        found = read(path, settings, spelling=SPELLING, default_keys=keys, needs_energies=False)
        if settings.low_energy:
            found = dataclasses.replace(found, frames=differences(found.frames))
        if not any(found.count(label) for label in LABELS):
            what = "no frame has an energy, forces or a stress"
            there = ", ".join(found.keys) or "geometries alone"
            those = ", ".join(SPELLING[label] for label in LABELS)
            raise DataError(f"{path}: {what}; the file has {there}; name yours by {those}")
        sets[name] = found
    return sets


def named_files(words: Sequence[str], what: str) -> dict[str, Path]:
    """Files by name, from words FILE or NAME=FILE; messages call them ``what``.

    A name that is not given is the file's stem, with its folder where two would be the same. Two
    of the same name and empty names are refused by a ValueError.
    """
    stems = [
        Path(word).stem.removesuffix(".nequip") if "=" not in word or Path(word).exists() else ""
        for word in words
    ]
    files: dict[str, Path] = {}
    for word, stem in zip(words, stems, strict=True):
        name, _, file = word.partition("=")
        if stem:
            folder = f"{Path(word).absolute().parent.name}/" if stems.count(stem) > 1 else ""
            name, file = folder + stem, word
        elif not name or not file:
            raise ValueError(f"{what} '{word}': expected FILE or NAME=FILE")
        if name in files:
            both = f"two {what} are called '{name}': {files[name]} and {file}"
            raise ValueError(f"{both}; give them names, as NAME=FILE")
        files[name] = Path(file)
    return files


def environments(words: Sequence[str]) -> dict[str, str]:
    """Programs of other Pythons by host; of HOST=PATH the path is an environment or a Python."""
    hosts, found = {MODULES[host]: host for host in HOSTS}, {}
    for word in words:
        name, _, path = word.partition("=")
        if name not in hosts or not path:
            expected = "mace=PATH or nequip=PATH, with a virtual environment or its Python"
            raise ValueError(f"--environment {word}: expected {expected}")
        # absolute without following links: a virtual environment's Python is one
        program = Path(path).absolute()
        program = program / "bin" / "python" if program.is_dir() else program
        if not program.exists():
            raise ValueError(f"--environment {word}: there is no {program}")
        found[hosts[name]] = str(program)
    return found
