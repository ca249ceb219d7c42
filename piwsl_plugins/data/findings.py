"""What somebody should know about a file before training on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from ase.data import chemical_symbols

from piwsl_plugins.data.checks import MAX_NAMED
from piwsl_plugins.data.inspection import Inspection
from piwsl_plugins.data.plausibility import GRADIENT

ERROR, WARNING, NOTE = "error", "warning", "note"
TOO_CLOSE = 0.5
"""Distance, angstrom, below which atoms of any elements are too close."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """A sentence about a file.

    Attributes:
        level: ``error``, ``warning`` or ``note``.
        text: the sentence.
        examples: frames, at most ten.
    """

    level: str
    text: str
    examples: tuple[str, ...] = ()


def findings(found: Inspection) -> list[Finding]:
    """What there is to say about a file, errors first."""
    said = [
        *_units(found),
        *_energies(found),
        *_duplicates(found),
        *_outliers(found),
        *_isolated(found),
        *_distances(found),
    ]
    levels = (ERROR, WARNING, NOTE)
    return sorted(said, key=lambda finding: levels.index(finding.level))


def _units(found: Inspection) -> Iterator[Finding]:
    allowed = found.source.settings.allow_unusual_units
    for unit in found.units:
        if not unit.unusual and unit.likely:
            continue  # as it should be
        text = f"{unit.setting}: {unit.reason}"
        if unit.likely == (GRADIENT,):
            text += ": they look like gradients, which are minus the forces"
        elif unit.unusual and unit.likely:
            text += f": looks like {' or '.join(unit.likely)}"
        yield Finding(ERROR if unit.unusual and not allowed else NOTE, text)


def _energies(found: Inspection) -> Iterator[Finding]:
    frames, energies = found.sizes.frames, found.labels["energy"]
    if energies == 0:
        yield Finding(ERROR, "no frame has an energy that is read; name its key by --energy-key")
    elif energies < frames:
        yield Finding(
            NOTE,
            f"{frames - energies} of {frames} frames have no energy; 'piwsl data convert --with "
            "energy' leaves them out",
        )
    if found.spread is not None:
        for group in found.spread.fit.inseparable:
            names = ", ".join(chemical_symbols[number] for number in group)
            yield Finding(
                NOTE,
                f"the compositions do not tell energies of {names} apart: a least-squares fit of "
                "E0s is underdetermined",
            )


def _duplicates(found: Inspection) -> Iterator[Finding]:
    copies = found.duplicates
    if copies.contradictions:
        yield Finding(
            ERROR,
            f"{copies.contradictions} frames are copies of an earlier one with another energy",
            copies.contradicting,
        )
    if copies.copies:
        yield Finding(
            WARNING, f"{copies.copies} frames are copies of an earlier one", copies.examples
        )


def _outliers(found: Inspection) -> Iterator[Finding]:
    if found.spread is None or not len(found.spread.outliers):
        return
    pairs = zip(found.spread.outliers, found.spread.deviations, strict=True)
    examples = tuple(
        f"{found.places.name(int(frame))}: {deviation:+.3f} eV per atom from the median"
        for (frame, deviation), _ in zip(pairs, range(MAX_NAMED), strict=False)
    )
    yield Finding(
        WARNING,
        f"{len(found.spread.outliers)} energies are outliers, more than 10 robust standard "
        "deviations from the median of their composition",
        examples,
    )


def _isolated(found: Inspection) -> Iterator[Finding]:
    if found.conflict:
        yield Finding(ERROR, found.conflict)
    without = [symbol for symbol, energy in found.isolated.items() if energy is None]
    if without:
        yield Finding(WARNING, f"the isolated atoms of {', '.join(without)} have no energy")
    missing = [
        chemical_symbols[number]
        for number in sorted(found.elements)
        if chemical_symbols[number] not in found.isolated
    ]
    if missing:
        yield Finding(
            NOTE,
            f"no isolated atom of {', '.join(missing)}: a training needs their energies (E0s) "
            "from elsewhere, or a fit",
        )


def _distances(found: Inspection) -> Iterator[Finding]:
    close = [pair for pair in found.pairs if pair.distance < TOO_CLOSE]
    if close:
        yield Finding(
            WARNING,
            f"atoms nearer than {TOO_CLOSE} angstrom",
            tuple(
                f"{found.source.path}, frame {pair.frame}: {pair.elements} atoms {pair.atoms[0]} "
                f"and {pair.atoms[1]}, {pair.distance:.3f} angstrom"
                for pair in close[:MAX_NAMED]
            ),
        )
    if found.looked_at < found.sizes.frames:
        yield Finding(
            NOTE,
            f"distances are those of {found.looked_at} of {found.sizes.frames} frames, evenly "
            "spaced",
        )
