"""How the cheap method's energies go with the reference's, and what a difference begins with."""

from __future__ import annotations

from pathlib import Path

from ase.data import chemical_symbols

from piwsl_plugins.data.atomic_energies import FIT, atomic_energies
from piwsl_plugins.data.readers import open_source
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.weak.agreement import Agreement
from piwsl_plugins.weak.distil import REFERENCE
from piwsl_plugins.weak.files import read_frames, write_json
from piwsl_plugins.weak.tasks import Labels

SUMMARY = "summary.json"
SMALLEST_SCALE = 1e-3
"""Smallest scale of a difference, beside that of the energies themselves."""


def summarise(file: Path, least_correlation: float, out: Path) -> None:
    """Compare both methods' energies, and write what the trainings of the difference need.

    Args:
        file: Frames with ``REF_energy`` and ``weak_energy``.
        least_correlation: Pearson's r below which nothing is to be trained.
        out: JSON: ``correlation``, ``scale`` (spread of the difference beside that of the
            reference, both less a fit to the composition), ``energies`` of the elements that fit
            the difference, eV, and a ``text`` for people.

    Raises:
        ValueError: The energies do not correlate, or the reference's do not differ.
    """
    agreement = Agreement()
    for frame in read_frames(file):
        low = Labels(energy=float(frame.info["weak_energy"]), forces=None)
        agreement.add(frame.numbers, float(frame.info[REFERENCE]), None, low)
    found = agreement.energies()
    if found is None:
        raise ValueError(
            f"{file}: nothing is left of the energies once a fit to the composition is taken from "
            "them; are they all the same, or is each of another composition?"
        )
    text = (
        f"energies of both methods, less a fit to the composition: Pearson's r "
        f"{found.correlation:.3f}; the reference spreads by {1e3 * found.spread:.1f} meV, the "
        f"difference by {1e3 * found.rms:.1f} meV ({found.frames} frames)"
    )
    if found.correlation < least_correlation:
        raise ValueError(
            f"{text}. That is below {least_correlation:g}: the cheap method tells so little of the "
            "better one that the difference is as hard to learn as the whole. "
            "Choose another method; check keys, units and charges; or lower the floor by "
            "low_level.min_correlation (--min-correlation)"
        )
    keys = DataSettings(energy=REFERENCE, low_energy="weak_energy", allow_unusual_units=True)
    fitted = atomic_energies(FIT, open_source(file, keys))
    write_json(
        out,
        {
            "correlation": found.correlation,
            "scale": max(SMALLEST_SCALE, found.rms / found.spread),
            "energies": {chemical_symbols[z]: energy for z, energy in fitted.values.items()},
            "text": text,
        },
    )
