"""Reference energies of the atoms (E0s), the same for both hosts."""

from __future__ import annotations

import dataclasses
import math
import numbers
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from ase import units
from ase.data import atomic_numbers, chemical_symbols

from piwsl_plugins.data.blocks import Block
from piwsl_plugins.data.composition import CompositionFit, target_energies
from piwsl_plugins.data.isolated import IsolatedAtoms, is_isolated
from piwsl_plugins.data.progress import watched
from piwsl_plugins.data.readers.base import DataError, Source
from piwsl_plugins.fields import unknown_name

ISOLATED, FIT = "isolated", "fit"
TABLES: dict[str, dict[int, float]] = {
    # H, C, N and O at the level of ANI-1ccx, CCSD(T)*/CBS
    "ani1ccx-ccsdt-cbs": {
        number: energy * units.Hartree
        for number, energy in {
            1: -0.5,
            6: -37.780724507998,
            7: -54.515992576387,
            8: -74.976148184192,
        }.items()
    },
}
"""Known energies of atoms by the name of their level, eV."""
_ENTRY = re.compile(r"""\s*(["']?)(?P<element>[A-Za-z]{1,3}|\d{1,3})\1\s*:\s*(?P<energy>.*?)\s*""")
_REMEDY = (
    "give all of them, e.g. '{H: -13.6, O: -2041.8}' (eV), have isolated atoms with an energy in "
    f"the training file, or choose '{FIT}', a least-squares fit to the training energies"
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AtomicEnergies:
    """Reference energies of atoms.

    Attributes:
        values: E0 by atomic number, eV.
        origin: where they come from, for a log line.
        warnings: what a user should know of them, one sentence each.
        left_out: frames that took no part in a fit because they have no energy.
    """

    values: dict[int, float]
    origin: str
    warnings: tuple[str, ...] = ()
    left_out: int = 0


def atomic_energies(
    spec: str | Mapping[int | str, float],
    sources: Source | Sequence[Source] = (),
    elements: Iterable[int] | None = None,
) -> AtomicEnergies:
    """Energies of all elements that a model is to know.

    Args:
        spec: ``isolated``, the energies of the sources' isolated atoms; ``fit``, a least-squares
            fit of their energies to the composition; the name of one of :data:`TABLES`; or the
            energies, by symbol or atomic number, in eV, as a mapping or as the text of one,
            ``{1: -13.6, O: -2041.8}``.
        sources: training data. Where they have a ``low_energy``, it is subtracted from the
            energies, of the isolated atoms as well.
        elements: atomic numbers that need an energy; default, those of the sources.

    Returns:
        The energies, of ``elements`` alone, sorted by atomic number.

    Raises:
        DataError: an element without an energy, isolated atoms without an energy or of one
            element with different energies, a ``spec`` that is none of the above.
    """
    sources = [sources] if isinstance(sources, Source) else list(sources)
    if elements is None:
        elements = {int(number) for source in sources for number in source.elements()}
    needed = sorted({int(number) for number in elements})
    if isinstance(spec, str) and spec.strip() in (ISOLATED, FIT):
        found = (_isolated if spec.strip() == ISOLATED else _fitted)(sources)
    else:
        found = _given(spec, sources)
    missing = [chemical_symbols[number] for number in needed if number not in found.values]
    if missing:
        have = ", ".join(chemical_symbols[number] for number in sorted(found.values)) or "none"
        raise DataError(
            f"no reference energy (E0) of {', '.join(missing)}: {found.origin} gives those of "
            f"{have}; {_REMEDY}"
        )
    return dataclasses.replace(found, values={number: found.values[number] for number in needed})


def parse_energies(text: str) -> dict[int, float]:
    """Read energies of atoms from text.

    Args:
        text: ``{1: -13.6, O: -2041.8}``, in eV; braces and quotes may be left out.

    Returns:
        Energy by atomic number.

    Raises:
        DataError: the text is something else; an unknown or repeated element.
    """
    inside = text.strip().removeprefix("{").removesuffix("}").strip().removesuffix(",")
    pairs: list[tuple[str, float]] = []
    for entry in inside.split(","):
        found = _ENTRY.fullmatch(entry)
        try:
            pairs.append((found["element"], float(found["energy"])) if found else _refuse(entry))
        except ValueError:
            raise DataError(
                f"reference energies of atoms: {entry.strip()!r} in {text!r} is no element and "
                "energy; write them as '{H: -13.6, O: -2041.8}' (eV)"
            ) from None
    return _by_number(pairs)


def _refuse(entry: str) -> tuple[str, float]:
    raise ValueError(entry)


def _by_number(pairs: Iterable[tuple[int | str, Any]]) -> dict[int, float]:
    """Energies by atomic number, each checked."""
    energies: dict[int, float] = {}
    for element, energy in pairs:
        number = _number(element)
        if number in energies:
            raise DataError(
                f"reference energies of atoms: {chemical_symbols[number]} is given more than once"
            )
        real = isinstance(energy, numbers.Real) and not isinstance(energy, bool)
        if not (real and math.isfinite(energy)):
            raise DataError(
                f"reference energies of atoms: that of {chemical_symbols[number]} is {energy!r}, "
                "expected a finite number (eV)"
            )
        energies[number] = float(energy)
    return energies


def _number(element: int | str) -> int:
    """Atomic number of an element by number or symbol."""
    text = str(element).strip()
    number = int(text) if text.isdecimal() else atomic_numbers.get(text.capitalize(), 0)
    if not 0 < number < len(chemical_symbols):
        raise DataError(
            f"reference energies of atoms: {element!r} is no element; write a symbol or an atomic "
            "number"
        )
    return number


def _given(spec: str | Mapping[int | str, float], sources: Sequence[Source]) -> AtomicEnergies:
    """Energies that the user gave or named."""
    if not isinstance(spec, str):
        return AtomicEnergies(values=_by_number(spec.items()), origin="what was given")
    name = spec.strip()
    if ":" in name:
        return AtomicEnergies(values=parse_energies(name), origin="what was given")
    if name not in TABLES:
        raise DataError(
            "reference energies of atoms: "
            + unknown_name(name, (ISOLATED, FIT, *TABLES), "choice")
            + f"; or {_REMEDY}"
        )
    if any(source.settings.low_energy for source in sources):
        raise DataError(
            f"reference energies of atoms: the table {name} holds whole energies, but the model "
            "is to learn the difference to low_energy; give the differences of the atoms, or "
            f"choose '{FIT}'"
        )
    return AtomicEnergies(values=dict(TABLES[name]), origin=f"the table {name}")


def _isolated(sources: Sequence[Source]) -> AtomicEnergies:
    """Energies of isolated atoms."""
    atoms = IsolatedAtoms()
    for block in _blocks(sources, "isolated atoms"):
        if is_isolated(block).any():
            atoms.add(block)
    where = ", ".join(str(source.path) for source in sources) or "no file"
    return AtomicEnergies(values=atoms.energies(), origin=f"the isolated atoms in {where}")


def _fitted(sources: Sequence[Source]) -> AtomicEnergies:
    """A fit to everything but isolated atoms, whose energies hold no bonds.

    An element that stands in no other frame has the energy of its isolated atom.
    """
    fit, atoms = CompositionFit(), IsolatedAtoms()
    left_out = 0
    for block in _blocks(sources, "fit of E0s"):
        isolated = is_isolated(block)
        energies = target_energies(block)
        _check_finite(block, energies)
        left_out += int(np.isnan(energies[~isolated]).sum())
        fit.add(block.numbers, energies[~isolated])
        if isolated.any():
            atoms.add(block)
    if not fit.frames:
        raise DataError(
            "reference energies of atoms: no frame has an energy to fit to, of "
            f"{left_out} in {', '.join(str(source.path) for source in sources) or 'no file'}; "
            "name the key of the energy, or give the energies of the atoms"
        )
    solved = fit.solve()
    alone = {
        number: energy for number, energy in atoms.known().items() if number not in fit.elements
    }
    origin = f"the least-squares fit to {fit.frames} energies of {solved.compositions} " + (
        "composition" if solved.compositions == 1 else "compositions"
    )
    warnings = [_underdetermined(group, solved.compositions) for group in solved.inseparable]
    if left_out:
        warnings.append(f"{left_out} frames without an energy took no part in the fit of the E0s")
    return AtomicEnergies(
        values=solved.values | alone, origin=origin, warnings=tuple(warnings), left_out=left_out
    )


def _underdetermined(group: Sequence[int], compositions: int) -> str:
    names = ", ".join(chemical_symbols[number] for number in group)
    few = "one composition does" if compositions == 1 else f"{compositions} compositions do"
    return (
        f"the fit of the E0s is underdetermined: {few} not tell the E0s of {names} apart. Those of "
        "the smallest norm are taken. They add up rightly for the compositions of the training "
        "data, so that a model of these alone loses nothing by it, but energies of other "
        "compositions (and of atoms that dissociate) are off by an arbitrary amount: for those "
        "give the E0s, or add isolated atoms or molecules of other compositions"
    )


def _check_finite(block: Block, energies: np.ndarray) -> None:
    infinite = np.flatnonzero(np.isinf(energies))
    if len(infinite):
        raise DataError(
            f"{block.name(int(infinite[0]))} (frames counted from 0): the energy is "
            f"{energies[infinite[0]]}; remove the frame, or leave its energy out"
        )


def _blocks(sources: Sequence[Source], what: str) -> Iterator[Block]:
    for source in sources:
        yield from watched(source.blocks(), f"{what}, {source.path.name}", len(source))
