"""ANI and SPICE HDF5 files for ``ase.io.read`` and ``ase gui``: an entry point of ASE.

ASE imports this module whenever it imports ``ase.io``, so that all else is imported when a file is
read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ase.utils.plugins import ExternalIOFormat

if TYPE_CHECKING:
    import ase

    from piwsl_plugins.data.readers.hdf5 import Hdf5Source
    from piwsl_plugins.data.settings import DataSettings

NAME = "piwsl-hdf5"
"""The name of the format in ASE."""

# ASE looks at the first bytes only, which do not tell layouts apart: read_piwsl_hdf5() does. The
# names of MACE's own groups stand there in every file that h5py writes by default.
hdf5_format = ExternalIOFormat(
    desc="ANI or SPICE HDF5 file",
    code="+S",
    module=__name__,
    magic_regex=rb"\x89HDF\r\n\x1a\n(?!.*config_batch_)",
)

WINDOW = 256
"""Frames that are read at once where several are asked for."""


def read_piwsl_hdf5(
    filename: str,
    index: slice = slice(-1, None),
    energy: str | None = None,
    forces: str | None = None,
    energy_unit: str | None = None,
    length_unit: str | None = None,
    forces_unit: str | None = None,
) -> Iterator[ase.Atoms]:
    """Frames of an ANI or SPICE file.

    Args:
        filename: the file.
        index: which frames.
        energy: key of the energy, or a sum of keys; default, the file's only one. Where there are
            several and no key, the frames have no calculator.
        forces: key of the forces; default, those that the layout has for that energy.
        energy_unit: unit of all energies; default, the format's.
        length_unit: unit of the positions; default, the format's.
        forces_unit: unit of all forces; default, energy unit per length unit.

    Yields:
        The frames, angstrom, with a SinglePointCalculator of energy (eV) and forces (eV/angstrom)
        where they are known. All other energies stand in ``info`` in eV, all other forces and
        gradients in ``arrays`` in eV/angstrom, under their names in the file; what is missing is
        left out. ``info["group"]`` is the name of the file's group.

    Raises:
        UnknownFileTypeError: an HDF5 file of another layout.
        DataError: a broken file, or keys that are not there.
    """
    from piwsl_plugins.data.settings import DataSettings

    settings = DataSettings(
        energy_unit=energy_unit, length_unit=length_unit, forces_unit=forces_unit
    )
    source = _open(filename, settings)
    if source is None:
        yield from _by_extension(filename, index)
        return
    try:
        if energy is None and len(source.energies) == 1:
            energy = source.energies[0]
        if forces is None and energy is not None:
            forces = source.forces_of(energy)
        yield from _frames(source, range(len(source))[index], energy, forces)
    finally:
        source.close()


def _open(filename: str, settings: DataSettings) -> Hdf5Source | None:
    from piwsl_plugins.data.readers.ani import AniSource
    from piwsl_plugins.data.readers.spice import SpiceSource

    path = Path(filename)
    for kind in (AniSource, SpiceSource):
        if kind.recognises(path):
            return kind(path, settings)
    return None


def _by_extension(filename: str, index: slice) -> Iterator[ase.Atoms]:
    """What ASE does with the file where this format is not installed."""
    from ase.io.formats import UnknownFileTypeError, extension2format

    extension = Path(filename).suffix.strip(".").lower()
    if extension not in extension2format:
        raise UnknownFileTypeError(
            f"{filename}: an HDF5 file, but neither of ANI's layout (groups with 'coordinates') "
            "nor of SPICE's ('conformations')"
        )
    yield from extension2format[extension].read(filename, index)


def _frames(
    source: Hdf5Source, numbers: range, energy: str | None, forces: str | None
) -> Iterator[ase.Atoms]:
    import numpy as np
    from ase.calculators.singlepoint import SinglePointCalculator

    from piwsl_plugins.data.readers.hdf5_labels import plan

    keys = {"energy": energy, "forces": forces}
    labels = plan(source, {label: key for label, key in keys.items() if key is not None})
    window = WINDOW if len(numbers) > 1 else 1
    first, block, others = -1, None, {}
    for number in numbers:
        if block is None or not first <= number < first + len(block):
            group, place = source.index.find(number)
            start = place - place % window
            stop = min(start + window, group.n_frames)
            opened, first = source.open(group), group.start + start
            block = source.read(opened, start, stop, labels)
            others = source.columns(opened, start, stop, leave_out=(energy, forces))
        atoms = block.atoms(number - first)
        atoms.info = {"group": block.group, **atoms.info}
        for name, values in others.items():
            value = values[number - first]
            if np.isnan(value).any():
                continue  # a missing label
            if value.ndim == 0:
                atoms.info[name] = float(value)
            else:
                atoms.set_array(name, value)
        results = {
            "energy": block.scalar("energy", number - first),
            "forces": block.array("forces", number - first),
        }
        if any(value is not None for value in results.values()):
            atoms.calc = SinglePointCalculator(atoms, **results)
        yield atoms
