"""Say what is in files of energies and geometries, and what is wrong or odd.

Which labels and units they were read with; placeholders, contradicting copies, outliers, frames
that two files share. The exit status is 1 where something is wrong.

Example: piwsl inspect train.xyz test.xyz --energy-key dft_energy --energy-unit hartree
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from piwsl_plugins.data import checks, reading
from piwsl_plugins.data.atomic_energies import fitted
from piwsl_plugins.data.frames import DataError, Frame
from piwsl_plugins.data.readers import reader_of
from piwsl_plugins.data.settings import (
    SPELLING,
    USUAL_KEYS,
    DataSettings,
    add_data_options,
    data_settings,
)
from piwsl_plugins.data.slopes import evenly


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="what to read")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    add_data_options(parser)


def run(options: argparse.Namespace) -> int:
    """Inspect; the exit status is 1 where something is wrong."""
    settings = data_settings(options)
    known = [(path, *inspect(path, settings)) for path in options.files]
    shared = []
    for (one, frames, _), (other, others, _) in itertools.combinations(known, 2):
        if pairs := checks.find_overlaps(frames, others):
            example = f"{pairs[0][0].name} is {pairs[0][1].name}"
            shared.append(f"{len(pairs)} frames of {other} are in {one} as well, e.g. {example}")
    entries = [entry for _, _, entry in known]
    failed = any(entry["errors"] for entry in entries)
    if options.json:
        print(json.dumps({"files": entries, "shared_frames": shared}, indent=2))
        return int(failed)
    for entry in entries:
        said = {"error": entry.pop("errors"), "warning": entry.pop("warnings")}
        print(entry.pop("file"), entry.pop("summary", ""), sep="\n")
        print(yaml.safe_dump(entry, sort_keys=False, allow_unicode=True, default_flow_style=None))
        print("".join(f"{kind}: {text}\n" for kind, texts in said.items() for text in texts))
    print("".join(f"warning: {line}\n" for line in shared), end="")
    return int(failed)


def inspect(path: Path, settings: DataSettings) -> tuple[list[Frame], dict[str, Any]]:
    """The frames of a file, as far as they can be read, and what is to be said of them."""
    raw: list[Any] = []
    entry: dict[str, Any] = {"file": str(path)}
    try:
        entry["format"] = reader_of(path).KIND
        opened = reading.open_labelled(path, settings, SPELLING, USUAL_KEYS, False, raw.append)
        frames = list(reading.convert(opened.converter, raw))
    except DataError as error:
        return [], {**entry, "errors": [str(error)], "warnings": []}
    entry["summary"] = opened.converter.summary()
    entry["errors"], remarks = reading.examine(frames, opened.converter)
    entry["warnings"] = [*opened.remarks, *remarks, *_outliers(frames)]
    entry["keys"] = dict(sorted(opened.contents.keys.items()))
    labels, units = Counter(k for frame in frames for k in frame.labels), opened.converter.taken
    entry["labels"] = {k: {"frames": n, "unit": units[k]} for k, n in labels.items()}
    return frames, entry | _contents(frames)


def _contents(frames: list[Frame]) -> dict[str, Any]:
    sizes = [len(frame.atoms) for frame in frames]
    formulas = Counter(frame.atoms.get_chemical_formula() for frame in frames)
    some = [frames[i] for i in evenly(len(frames), 2000)]
    pairs = [(*pair, f.name) for f in some if (pair := checks.closest_pair(f.atoms, 3.0))]
    entry: dict[str, Any] = {
        "frames": len(frames),
        "periodic": sum(bool(frame.atoms.pbc.any()) for frame in frames),
        "isolated_atoms": sum(frame.is_isolated_atom for frame in frames),
        "atoms": f"{min(sizes)} to {max(sizes)} a frame, {sum(sizes)} in all",
        "elements": dict(Counter(symbol for frame in frames for symbol in {*frame.atoms.symbols})),
        "formulas": dict(formulas.most_common(10)),
    }
    if pairs:
        entry["closest_pair"] = f"{min(pairs)[0]:.4f} angstrom, {min(pairs)[-1]}"
    if energies := [f.labels["energy"] / len(f.atoms) for f in frames if "energy" in f.labels]:
        entry["energy_per_atom"] = f"{min(energies):.6g} to {max(energies):.6g} eV"
    if forces := [f.labels["forces"] for f in frames if "forces" in f.labels]:
        entry["forces_rms"] = f"{np.sqrt(np.mean(np.vstack(forces) ** 2)):.4g} eV/angstrom"
    return entry


def _outliers(frames: list[Frame]) -> list[str]:
    """Energies 20 robust standard deviations, and 0.1 eV per atom, from a fit to compositions."""
    known = [f for f in frames if "energy" in f.labels and not f.is_isolated_atom]
    if len(known) < 10:
        return []
    free = fitted(known, tell=lambda text: None)
    sums = [sum(free[z] for z in frame.atoms.numbers) for frame in known]
    pairs = zip(known, sums, strict=True)
    rest = np.array([(f.labels["energy"] - whole) / len(f.atoms) for f, whole in pairs])
    away = np.abs(rest - np.median(rest))
    far = [known[i] for i in np.flatnonzero(away > max(0.1, 20 * 1.4826 * np.median(away)))]
    lines = [f"frame {frame.number}: {frame.labels['energy']:.6g} eV" for frame in far]
    return [f"{len(far)} energies are far from all others:{checks.listed(lines)}"] if far else []
