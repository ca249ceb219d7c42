"""``piwsl weak sample``: new geometries, without labels, for what a cheap method can label."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from piwsl_plugins.commands import LAYOUT
from piwsl_plugins.weak.processes import cores
from piwsl_plugins.weak.sample_options import add_options, settings_of

if TYPE_CHECKING:
    from ase import Atoms

    from piwsl_plugins.weak.potential import Potential

PROGRAM = "piwsl weak sample"
DESCRIPTION = """\
Sample new geometries by Langevin dynamics at constant volume, by random displacements and along
normal modes, from geometries that are known; drop those that have exploded and near-duplicates;
keep those farthest from all others. Each frame says in its info how it was made: sampled_by,
sampled_temperature or sampled_length, sampled_seed, sampled_step, sampled_potential, and
sampled_parent, a digest of the geometry that it started from. Each series is kept, so that the
same command goes on after an interruption."""
EPILOG = """\
examples:
  piwsl weak sample train.xyz --potential gfn2-xtb -o new.xyz --temperatures 300 600 --select 200
  piwsl weak sample train.xyz --potential delta.json -o new.xyz --temperatures 300 --lengths 0.03
  piwsl weak sample train.xyz --potential gfn2-xtb -o new.xyz --mode-temperatures 300"""


def add_to(commands: Any) -> None:  # noqa: ANN401  argparse's own type is private
    """Add the command to those of ``piwsl weak``."""
    made = commands.add_parser(
        "sample",
        help="new geometries without labels, by dynamics, displacements and normal modes",
        description=DESCRIPTION,
        epilog=EPILOG,
        **LAYOUT,
    )
    made.set_defaults(run=run, program=PROGRAM)
    add = made.add_argument
    add("file", type=Path, metavar="FILE", help="known geometries, any file that ASE reads")
    add(
        "--potential",
        required=True,
        metavar="POTENTIAL",
        help="what moves the atoms: a method of 'piwsl weak label', or the file (.json) of a cheap "
        "method with models of the difference",
    )
    add("--arguments", metavar="JSON", help="keyword arguments of the method")
    add("--charge", type=int, metavar="N", help="of every frame, for GFN-xTB")
    add("--multiplicity", type=int, metavar="N", help="2S + 1 of every frame, for GFN-xTB")
    add(
        "--candidates",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="further geometries to choose from, beside those that are sampled",
    )
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="extended xyz, .xyz")
    add("--force", action="store_true", help="overwrite OUT")
    add(
        "--parts",
        type=Path,
        metavar="FOLDER",
        help="of the series that are there (default: OUT.parts); it may be removed",
    )
    add(
        "--processes",
        type=int,
        metavar="N",
        help="series side by side (default: all cores; 1 with --device cuda)",
    )
    add("--device", default="cpu", help="for models: cpu or cuda (default: %(default)s)")
    add_options(made.add_argument_group("what is sampled"))


def run(chosen: argparse.Namespace) -> int:
    """Run the command.

    Args:
        chosen: Its options.

    Returns:
        Exit status 0.

    Raises:
        ValueError: Whatever is wrong with options, files or potential.
    """
    settings = settings_of(chosen)
    out: Path = chosen.output
    if settings.is_empty and not chosen.candidates:
        raise ValueError(
            "nothing to sample: give --temperatures, --lengths, --mode-temperatures or --candidates"
        )
    if chosen.processes is not None and chosen.processes < 1:
        raise ValueError(f"--processes: got {chosen.processes}, expected 1 or above")
    # late, for --help must not wait for ASE
    from piwsl_plugins.data.outputs import Outputs
    from piwsl_plugins.weak.choice import check_libraries, choose
    from piwsl_plugins.weak.files import read_frames, write_frames
    from piwsl_plugins.weak.sampling import Sampler

    check_libraries()
    outputs = Outputs([out], force=chosen.force, sources=[chosen.file, *chosen.candidates])
    parents = read_frames(chosen.file)
    if not parents:
        raise ValueError(f"{chosen.file}: there are no frames to start from")
    given = [frame for path in chosen.candidates for frame in _given(read_frames(path))]
    potential = _potential(chosen)
    if not settings.needs_no_forces:
        _check_parents(chosen.file, parents, potential)
    sampler = Sampler(
        parents,
        potential,
        settings,
        chosen.parts or out.with_name(f"{out.name}.parts"),
        _processes(chosen),
    )
    sampled, refused = sampler.run()
    for line in refused:
        print(f"{PROGRAM}: not taken: {line}", file=sys.stderr)
    choice = choose(parents, [*given, *sampled], settings.select, settings.closest)
    frames = [[*given, *sampled][number] for number in choice.chosen]
    if not frames:
        raise ValueError(
            f"no geometry is left of {len(given) + len(sampled)}: {choice.near_duplicates} are "
            f"near-duplicates of known ones, {len(refused)} were not taken"
        )
    with outputs:
        write_frames(outputs.temporary(out), frames)
    ways = Counter(str(frame.info["sampled_by"]) for frame in frames)
    listed = ", ".join(f"{number} {way}" for way, number in sorted(ways.items()))
    print(
        f"{out}: {len(frames)} of {len(given) + len(sampled)} geometries ({listed}); "
        f"{choice.near_duplicates} near-duplicates, {len(refused)} frames or series refused"
    )
    return 0


def _check_parents(file: Path, parents: list[Atoms], potential: Potential) -> None:
    """Refuse frames that the cheap method cannot treat, before anything is sampled."""
    calculator = potential.low_level.calculator()
    for number, frame in enumerate(parents):
        try:
            calculator.of(frame)
        except ValueError as error:
            raise ValueError(f"{file}: frame {number} (counted from 0): {error}") from error


def _given(frames: list[Atoms]) -> list[Atoms]:
    for frame in frames:
        frame.calc = None
        frame.info = {**frame.info, "sampled_by": "given"}
    return frames


def _processes(chosen: argparse.Namespace) -> int:
    if chosen.processes is not None:
        return int(chosen.processes)
    return 1 if chosen.device != "cpu" else cores()


def _potential(chosen: argparse.Namespace) -> Potential:
    import json

    from piwsl_plugins.weak.delta_calculator import read_delta
    from piwsl_plugins.weak.low_level import LowLevel
    from piwsl_plugins.weak.potential import Potential

    if chosen.potential.endswith(".json"):
        taken = ("arguments", "charge", "multiplicity")
        for option in taken:
            if getattr(chosen, option) is not None:
                raise ValueError(f"--{option}: {chosen.potential} says this itself; leave it out")
        read_delta(Path(chosen.potential))
        return Potential(delta=Path(chosen.potential), device=chosen.device)
    try:
        arguments = json.loads(chosen.arguments or "{}")
    except json.JSONDecodeError as error:
        raise ValueError(f"--arguments: this is no JSON: {error}: {chosen.arguments}") from error
    low = LowLevel(
        method=chosen.potential,
        arguments=arguments,
        charge=chosen.charge,
        multiplicity=chosen.multiplicity,
    )
    low.calculator()  # what is wrong with it is said here, also where nothing asks for forces
    return Potential(low=low, device=chosen.device)
