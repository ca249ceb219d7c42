"""The one reading of a file: its format, labels, units and checks, the same for all who read."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from piwsl_plugins.data import checks, units
from piwsl_plugins.data.atomic_energies import isolated_energies
from piwsl_plugins.data.evidence import judge
from piwsl_plugins.data.frames import LABELS, DataError, Frame, FrameSet, RawFrame
from piwsl_plugins.data.keys import ENERGIES, Contents, choose
from piwsl_plugins.data.labels import Converter
from piwsl_plugins.data.readers import reader_of
from piwsl_plugins.data.settings import DataSettings

NONE: Mapping[str, str] = MappingProxyType({})


def read(
    path: str | Path,
    settings: DataSettings,
    *,
    spelling: Mapping[str, str] = NONE,
    default_keys: Mapping[str, str | Sequence[str]] = NONE,
    needs_energies: bool = True,
    atomic_energies: Mapping[int, float] | None = None,
) -> FrameSet:
    """Read, convert and check a file; a DataError says what is wrong, where, and what to do.

    Args:
        path: the file, of any format that this package knows.
        settings: keys and units.
        spelling: how the user writes a setting, for messages: ``{"energy": "--energy_key", ...}``.
        default_keys: keys by label that the user has not asked for, one or several in order of
            preference, taken where the file has them.
        needs_energies: whether a file without any reference energy is refused.
        atomic_energies: energies of the free atoms by atomic number, eV, for the check of units.
    """
    raw: list[RawFrame] = []
    opened = open_labelled(path, settings, spelling, default_keys, needs_energies, raw.append)
    frames = list(convert(opened.converter, raw))
    wrong, remarks = examine(frames, opened.converter, atomic_energies)
    if wrong:
        raise DataError("\n".join(f"{path}: {what}" for what in wrong))
    said = [f"{Path(path).name}: {remark}" for remark in [*opened.remarks, *remarks]]
    summary, keys = opened.converter.summary(), sorted(opened.contents.keys)
    return FrameSet(frames=frames, path=str(path), summary=summary, remarks=said, keys=keys)


class Opened(NamedTuple):
    """A file whose labels were found, and what is odd about it."""

    converter: Converter
    contents: Contents
    remarks: list[str]


def open_labelled(
    path: str | Path,
    settings: DataSettings,
    spelling: Mapping[str, str] = NONE,
    default_keys: Mapping[str, str | Sequence[str]] = NONE,
    needs_energies: bool = True,
    keep: Callable[[RawFrame], object] = lambda frame: None,
) -> Opened:
    """Go once through a file and find its labels; ``keep`` is called with each raw frame."""
    contents = Contents()
    odd: Counter[str] = Counter()
    for frame in reader_of(Path(path)).read(Path(path), settings):
        contents.add(frame)
        odd.update(frame.remarks)
        keep(frame)
    if not contents.frames:
        raise DataError(f"{path}: no frame was found; expected a whole file that ASE reads")
    found, remarks = choose(path, contents, settings, default_keys, spelling, needs_energies)
    remarks += [f"{text} ({number} frames)" for text, number in odd.items()]
    return Opened(Converter(str(path), settings, found, spelling), contents, remarks)


def convert(converter: Converter, raw: Iterable[RawFrame]) -> Iterator[Frame]:
    """Frames with their labels; a DataError says what is wrong with any, and names ten at most."""
    problems: list[str] = []
    for number, frame in enumerate(raw):
        try:
            yield converter.frame(frame, number)
        except DataError as error:
            problems.append(str(error))
    if problems:
        lines = checks.listed(problems)
        raise DataError(f"frames that cannot be used (counted from 0); correct or remove:{lines}")


def examine(
    frames: list[Frame], converter: Converter, atoms: Mapping[int, float] | None = None
) -> tuple[list[str], list[str]]:
    """Say what is surely wrong with frames of one file, and what is odd or could not be judged.

    Placeholders are left out of the frames where the settings ask for that. ``atoms`` are energies
    of the free atoms by atomic number, eV.
    """
    wrong, remarks = _placeholders(frames, converter)
    try:
        isolated_energies(frames)
        found = checks.count_copies(frames)
        remarks += [f"{found} frames are copies of earlier ones"] if found else []
    except DataError as error:
        wrong.append(str(error))
    unit = converter.taken.get("energy", "eV")
    value = units.ENERGY_UNITS.get(unit, 1.0)
    energies = np.array([f.labels["energy"] for f in frames if "energy" in f.labels]) / value
    single = energies.astype(np.float32)
    step = float(np.spacing(np.abs(single).max(initial=0.0)))
    if step * value > 1e-3 and len(single) > 2 and np.allclose(single, energies, 1e-12, 0.0):
        remarks.append(f"the energies are of single precision, in steps of {step:.2g} {unit}")
    if wrong:  # units would only echo it
        return wrong, remarks
    refused, odd = judge(frames, converter, atoms or {})
    if converter.settings.allow_unusual_units:
        return [], [*remarks, *refused, *odd]
    unless = f"(if it is right all the same, set {converter.option('allow_unusual_units')})"
    return [f"{what} {unless}" for what in refused], remarks + odd


def _placeholders(frames: list[Frame], converter: Converter) -> tuple[list[str], list[str]]:
    """What is wrong with placeholders, or was left out of the frames because it is one."""
    wrong, said = [], []
    option = converter.option("leave_out_placeholders")
    for label in (label for label in LABELS if label != "stress"):
        find = checks.placeholder_energies if label in ENERGIES else checks.placeholder_forces
        if not (found := find(frames, label)):
            continue
        values = {f"{np.ravel(frames[i].labels[label])[0]:g}" for i in found}
        what = (
            f"{label.replace('_', ' ')} {converter.expressions[label].text!r} of exactly "
            f"{' or '.join(sorted(values))} in {len(found)} of {len(frames)} frames stands for none"
        )
        lines = checks.listed([frames[i].name for i in found])
        if not converter.settings.leave_out_placeholders:
            wrong.append(f"{what}; remove these labels, or set {option} to leave them out:{lines}")
            continue
        for i in found:
            left = {name: value for name, value in frames[i].labels.items() if name != label}
            frames[i] = dataclasses.replace(frames[i], labels=left)
        converter.left_out[label] = len(found)
        said.append(f"{what}: left out:{lines}")
    return wrong, said
