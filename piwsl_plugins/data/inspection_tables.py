"""An inspection as text for the terminal, and as entries of a JSON file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from ase.data import chemical_symbols
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from piwsl_plugins.data.findings import ERROR, WARNING, Finding
from piwsl_plugins.data.inspection import Inspection

_SHOWN = 10  # formulas, kinds and pairs
_STYLES = {ERROR: "bold red", WARNING: "yellow"}


def show(
    console: Console, found: Inspection, keys: dict[str, int], said: Sequence[Finding]
) -> None:
    """Print what a file holds.

    Args:
        console: where to.
        found: what it holds.
        keys: names of its numbers, and the frames that have them.
        said: what there is to say about it.
    """
    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in [*_contents(found), *_labels(found, keys), *_energies(found)]:
        table.add_row(name, escape(value))
    console.print(f"[bold]{escape(str(found.source.path))}[/]")
    console.print(table)
    for finding in said:
        style = _STYLES.get(finding.level, "dim")
        console.print(f"[{style}]{finding.level}[/]: {escape(finding.text)}", highlight=False)
        for example in finding.examples:
            console.print(f"  {escape(example)}", highlight=False)


def _contents(found: Inspection) -> Iterable[tuple[str, str]]:
    sizes, frames = found.sizes, found.sizes.frames
    yield "format", found.source.format
    periodic = "all" if sizes.periodic == frames else sizes.periodic or "none"
    yield "frames", f"{frames}; periodic: {periodic}"
    yield "atoms", f"{sizes.smallest} to {sizes.largest} a frame, {sizes.atoms} in all"
    listed = [f"{chemical_symbols[z]} ({n})" for z, n in sorted(found.elements.items())]
    yield "elements (frames)", ", ".join(listed)
    groups = f"; {found.groups} groups" if found.groups else ""
    yield "formulas (frames)", _top(found.formulas.most_common(), len(found.formulas)) + groups
    if found.config_types:
        yield (
            "config_type (frames)",
            _top(found.config_types.most_common(), len(found.config_types)),
        )


def _labels(found: Inspection, keys: dict[str, int]) -> Iterable[tuple[str, str]]:
    frames = found.sizes.frames
    for key, number in keys.items():
        yield f"in the file: {key}", f"{number} frames, missing in {frames - number}"
    for label, number in found.labels.items():
        key = getattr(found.source.settings, label)
        yield f"read as {label}", f"{number} frames" + (f" ({key})" if key else "")
    for label, sizes in found.vectors.items():
        yield (
            f"{label}, eV/Å",
            f"{sizes.root_mean_square:.3f} (root mean square of the components), longest "
            f"{sizes.longest:.3f} (frame {sizes.frame}, atom {sizes.atom})",
        )


def _energies(found: Inspection) -> Iterable[tuple[str, str]]:
    if found.spread is not None:
        low, mean, high = found.spread.per_atom
        yield "energy per atom, eV", f"{low:.4f} to {high:.4f}, mean {mean:.4f}"
        fit = found.spread.fit
        e0s = ", ".join(f"{chemical_symbols[z]} {e:.4f}" for z, e in fit.values.items())
        yield "fitted E0s, eV", e0s + (" (underdetermined)" if fit.inseparable else "")
        low, mean, high, deviation = found.spread.residual
        yield (
            "  less these, eV",
            f"{low:.4f} to {high:.4f} per atom, standard deviation {deviation:.4f}",
        )
    if found.isolated:
        atoms = (
            f"{symbol} {'no energy' if energy is None else f'{energy:.4f}'}"
            for symbol, energy in found.isolated.items()
        )
        yield "isolated atoms, eV", ", ".join(atoms)
    plausible = [unit for unit in found.units if unit.likely and not unit.unusual]
    if plausible:
        yield "plausible units", ", ".join(f"{u.setting} {u.likely[0]}" for u in plausible)
    pairs = (f"{pair.elements} {pair.distance:.3f} (frame {pair.frame})" for pair in found.pairs)
    shown = list(pairs)[:_SHOWN]
    if shown:
        yield "shortest distances, Å", ", ".join(shown)


def _top(counts: Sequence[tuple[str, int]], number: int) -> str:
    listed = ", ".join(f"{name} ({n})" for name, n in counts[:_SHOWN])
    return listed + (f", and {number - _SHOWN} more" if number > _SHOWN else "")


def entries(found: Inspection, keys: dict[str, int], said: Sequence[Finding]) -> dict[str, Any]:
    """The same for a JSON file; arguments as for :func:`show`."""
    spread = found.spread
    return {
        "file": str(found.source.path),
        "format": found.source.format,
        "settings": dataclasses.asdict(found.source.settings),
        **dataclasses.asdict(found.sizes),
        "elements": {chemical_symbols[z]: n for z, n in sorted(found.elements.items())},
        "formulas": dict(found.formulas.most_common()),
        "groups": found.groups,
        "config_types": dict(found.config_types.most_common()),
        "keys": keys,
        "labels": dict(found.labels),
        "vectors": {
            label: {
                "root_mean_square": sizes.root_mean_square,
                "longest": sizes.longest,
                "frame": sizes.frame,
                "atom": sizes.atom,
            }
            for label, sizes in found.vectors.items()
        },
        "energy_per_atom": spread
        and dict(zip(("least", "mean", "greatest"), spread.per_atom, strict=True)),
        "fitted_E0s": spread and {chemical_symbols[z]: e for z, e in spread.fit.values.items()},
        "residual_per_atom": spread
        and dict(
            zip(("least", "mean", "greatest", "standard_deviation"), spread.residual, strict=True)
        ),
        "outliers": 0 if spread is None else len(spread.outliers),
        "isolated_atoms": found.isolated,
        "units": [dataclasses.asdict(unit) for unit in found.units],
        "copies": found.duplicates.copies,
        "contradictions": found.duplicates.contradictions,
        "shortest_distances": [dataclasses.asdict(pair) for pair in found.pairs],
        "frames_with_distances": found.looked_at,
        "findings": [dataclasses.asdict(finding) for finding in said],
    }
