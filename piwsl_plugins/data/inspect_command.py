"""``piwsl data inspect``: what is in a file of frames."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from piwsl_plugins.commands import LAYOUT
from piwsl_plugins.data.options import add_data_options, data_settings, use_usual_names
from piwsl_plugins.data.readers import DataError, Source, open_source
from piwsl_plugins.data.settings import DataSettings

DESCRIPTION = """\
Say what is in files of frames: elements, formulas, labels that are there and missing, energies per
atom, isolated atoms, copies and copies with different energies, outliers, shortest distances."""
EPILOG = """\
examples:
  piwsl data inspect train.xyz test.xyz
  piwsl data inspect ani1x.h5 --energy-key 'ccsd(t)_cbs.energy' --forces-key wb97x_dz.forces
  piwsl data inspect ani1x.h5 --energy-key 'hf_qz.energy + mp2_qz.corr_energy' --json ani1x.json

Frames are counted from 0. The exit status is 1 where something found is an error."""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's options to those of ``piwsl data``."""
    made = commands.add_parser(
        "inspect",
        help="say what is in files of frames, and what is wrong with them",
        description=DESCRIPTION,
        epilog=EPILOG,
        **LAYOUT,
    )
    made.add_argument("files", nargs="+", type=Path, metavar="FILE", help="what to read")
    made.add_argument(
        "--json", metavar="FILE", help="write it as JSON too; '-' prints that and nothing else"
    )
    made.add_argument("--force", action="store_true", help="overwrite the JSON file")
    add_data_options(made)
    made.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Inspect.

    Returns:
        Exit status: 1 where a finding is an error.

    Raises:
        ValueError: a file that cannot be read.
    """
    from rich.console import Console

    from piwsl_plugins.data.findings import ERROR, NOTE, WARNING, Finding, findings
    from piwsl_plugins.data.inspection import inspect, shared_frames
    from piwsl_plugins.data.inspection_tables import entries, show
    from piwsl_plugins.data.outputs import Outputs

    target = Path(chosen.json) if chosen.json not in (None, "-") else None
    console = Console(quiet=chosen.json == "-", soft_wrap=not sys.stdout.isatty())
    settings, inspections, all_entries, worst = data_settings(chosen), [], [], 0
    with Outputs([target] if target else [], force=chosen.force, sources=chosen.files) as outputs:
        for path in chosen.files:
            source, note = _open(path, settings)
            found = inspect(source)
            said = findings(found) + ([Finding(NOTE, note)] if note else [])
            worst |= any(finding.level == ERROR for finding in said)
            show(console, found, source.keys, said)
            console.print()
            inspections.append(found)
            all_entries.append(entries(found, source.keys, said))
        shared = [
            f"{number} frames of {chosen.files[second]} are in {chosen.files[first]} as well, "
            f"e.g. {example}"
            for (first, second), (number, example) in shared_frames(inspections).items()
        ]
        for text in shared:
            console.print(f"[yellow]{WARNING}[/]: {text}", highlight=False)
        text = json.dumps({"files": all_entries, "shared_frames": shared}, indent=2) + "\n"
        if target:
            outputs.temporary(target).write_text(text, encoding="utf-8")
    if chosen.json == "-":
        print(text, end="")
    return int(worst)


def _open(path: Path, settings: DataSettings) -> tuple[Source, str]:
    """Open a file; where several energies are there and none is named, that of most frames.

    Returns:
        The file, and what to say of that choice, or "".
    """
    source = open_source(path, settings)
    use_usual_names(source)
    try:
        next(source.blocks(1), None)
    except DataError:
        keys = {key: n for key, n in source.keys.items() if "energy" in key.lower()}
        if settings.energy is not None or len(keys) < 2:
            raise
        key = max(keys, key=lambda name: keys[name])
        quoted = f"`{key}`"  # a column's name may hold what would be read as a sum
        chosen = dataclasses.replace(source.settings, energy=quoted)
        source = open_source(path, chosen)
        next(source.blocks(1), None)
        return source, (
            f"{len(keys)} energies are in the file and none was named: what is said above is of "
            f"{key}; --energy-key chooses another"
        )
    return source, ""
