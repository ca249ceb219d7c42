"""Reference energies of the atoms (E0s), the same for both hosts."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from piwsl_plugins.data.frames import DataError, Frame
from piwsl_plugins.fields import unknown_name

ISOLATED, FITS = "isolated", ("average", "fit")
SAME = 1e-3  # differences of isolated atoms' energies, eV, that are none
_WRITE = "write them as '{H: -13.6, O: -2041.8}' (eV)"
_log = logging.getLogger(__name__)


def atomic_energies(
    choice: str | Mapping[Any, float],
    frames: Sequence[Frame] = (),
    isolated: Sequence[Frame] = (),
    elements: Iterable[int] | None = None,
    *,
    tell: Callable[[str], object] = _log.warning,
) -> dict[int, float]:
    """Energies of all elements that a model is to know, eV, by atomic number.

    A DataError says that an element has none or several, or that there is no such choice.

    Args:
        choice: ``isolated``; ``average`` or ``fit``, the least-squares fit of the frames' energies
            to their compositions; or the energies by symbol or atomic number, as text or as a
            mapping.
        frames: training frames without isolated atoms, with the energies that the model learns.
        isolated: the isolated atoms.
        elements: atomic numbers that need an energy; default, those of the frames.
        tell: takes the warnings.
    """
    known = isolated_energies(isolated)
    if elements is None:
        elements = {int(number) for frame in [*frames, *isolated] for number in frame.atoms.numbers}
    name = choice.strip() if isinstance(choice, str) else ""
    if name == ISOLATED:
        values, origin = known, "the isolated atoms with an energy"
    elif name in FITS:
        values, origin = {**known, **fitted(frames, tell)}, "the fit to the training energies"
    elif not isinstance(choice, str):
        values, origin = _by_number(choice.items()), "what was given"
    elif ":" in name:
        values, origin = parse_energies(name), "what was given"
    else:
        unknown = unknown_name(name, (ISOLATED, *FITS), "choice")
        raise DataError(f"reference energies of atoms: {unknown}; or {_WRITE}")
    needed = sorted({int(number) for number in elements})
    missing = [chemical_symbols[number] for number in needed if number not in values]
    if missing:
        have = ", ".join(chemical_symbols[number] for number in sorted(values)) or "none"
        raise DataError(
            f"no reference energy (E0) of {', '.join(missing)}: {origin} gives those of {have}; "
            f"{_WRITE}, have isolated atoms in the training file, or choose 'average', a fit"
        )
    return {number: values[number] for number in needed}


def isolated_energies(isolated: Iterable[Frame]) -> dict[int, float]:
    """The energy of each element's isolated atom, eV; two different ones are a DataError."""
    found: dict[int, Frame] = {}
    for frame in isolated:
        if "energy" not in frame.labels or not frame.is_isolated_atom:
            continue
        first = found.setdefault(int(frame.atoms.numbers[0]), frame)
        if abs(first.labels["energy"] - frame.labels["energy"]) > SAME:
            both = " and ".join(f"{f.labels['energy']:.6g} eV ({f.name})" for f in (first, frame))
            what = f"isolated atoms of {frame.atoms.symbols[0]} have different energies"
            raise DataError(f"{what}: {both}; remove all but the neutral ground state")
    return {number: float(frame.labels["energy"]) for number, frame in sorted(found.items())}


def fitted(frames: Iterable[Frame], tell: Callable[[str], object]) -> dict[int, float]:
    """The E0s, eV, that minimise sum over frames of (E - sum over atoms of E0)^2.

    Where compositions do not determine them, those of the smallest norm, and ``tell`` is called.
    """
    labelled = [frame for frame in frames if "energy" in frame.labels]
    if not labelled:
        raise DataError(f"reference energies of atoms: no frame has an energy to fit to; {_WRITE}")
    elements = np.unique(np.concatenate([frame.atoms.numbers for frame in labelled]))
    counts = np.array([[(f.atoms.numbers == z).sum() for z in elements] for f in labelled], float)
    energies = np.array([frame.labels["energy"] for frame in labelled], float)
    values, _, rank, _ = np.linalg.lstsq(counts, energies, rcond=None)
    if rank < len(elements):
        null = np.linalg.svd(np.linalg.qr(counts, mode="r"))[2][rank:]
        mixed = [chemical_symbols[z] for z in elements[(np.abs(null) > 1e-8).any(axis=0)]]
        what = f"reference energies of {', '.join(mixed)}"
        which = f"{what}: other compositions are off by any amount"
        tell(f"the compositions of {len(labelled)} training frames do not tell apart the {which}")
    return {int(z): float(value) for z, value in zip(elements, values, strict=True)}


def parse_energies(text: str) -> dict[int, float]:
    """Energies of atoms, eV, from ``{1: -13.6, O: -2041.8}``; anything else is a DataError."""
    pairs = (entry.partition(":") for entry in text.strip(" {},").split(","))
    return _by_number((element.strip(" '\""), energy) for element, _, energy in pairs)


def _by_number(pairs: Iterable[tuple[Any, Any]]) -> dict[int, float]:
    energies: dict[int, float] = {}
    for element, energy in pairs:
        text, where = str(element), "reference energies of atoms:"
        number = int(text) if text.isdecimal() else atomic_numbers.get(text.capitalize(), 0)
        if not 0 < number < len(chemical_symbols):
            raise DataError(f"{where} {element!r} is no element; {_WRITE}")
        symbol = chemical_symbols[number]
        if number in energies:
            raise DataError(f"{where} {symbol} is given more than once")
        try:
            energies[number] = float(energy)
        except (TypeError, ValueError):
            energies[number] = math.nan
        if not math.isfinite(energies[number]):
            raise DataError(f"{where} that of {symbol} is {energy!r}; {_WRITE}")
    return energies
