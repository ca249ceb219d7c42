"""ANI and SPICE HDF5: a group for each formula or molecule, a row for each of its conformers.

ANI-1x and ANI-1ccx (Smith et al., Sci. Data 7, 134 (2020), DOI 10.1038/s41597-020-0473-z):
``coordinates`` in angstrom, energies in hartree, ``wb97x_dz.forces``, ... in hartree/angstrom.
SPICE (Eastman et al., Sci. Data 10, 11 (2023), DOI 10.1038/s41597-022-01882-6): ``conformations``
in bohr, energies in hartree, ``dft_total_gradient`` in hartree/bohr, whose negative is ``forces``.
A missing label is NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ase
import h5py
import numpy as np

from piwsl_plugins.data.frames import DataError, RawFrame
from piwsl_plugins.data.settings import DataSettings

KIND = "ANI or SPICE HDF5"
LAYOUTS = {"coordinates": "angstrom", "conformations": "bohr"}
"""Name of the positions, and the unit of length that goes with it."""


def recognises(path: Path) -> bool:
    """Whether it is an HDF5 file."""
    return path.is_file() and bool(h5py.is_hdf5(path))


def read(path: Path, settings: DataSettings) -> Iterator[RawFrame]:
    """All conformers, group by group; a DataError names what is broken or of another layout."""
    found = False
    try:
        with h5py.File(path, "r") as file:
            for name, group in file.items():
                for positions in LAYOUTS.keys() & group if "atomic_numbers" in group else ():
                    found = True
                    yield from _frames(group, positions, f"{path}, group {name}", name)
    except DataError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:  # h5py's
        raise DataError(f"{path}: a broken HDF5 file: {error}") from error
    if not found:
        what = "groups with 'atomic_numbers' and 'coordinates' (ANI) or 'conformations' (SPICE)"
        raise DataError(f"{path}: neither of ANI's layout nor of SPICE's; expected {what}")


def _frames(group: Any, positions: str, where: str, name: str) -> Iterator[RawFrame]:  # noqa: ANN401
    numbers = group["atomic_numbers"][()].ravel()
    if numbers.dtype.kind not in "iu" or not ((numbers > 0) & (numbers < 119)).all():
        raise DataError(f"{where}: 'atomic_numbers' are {numbers[:10]}, expected 1 to 118")
    geometries = np.asarray(group[positions][()], dtype=np.float64)
    shape = geometries.shape
    if shape[1:] != (len(numbers), 3):
        expected = f"expected (frames, {len(numbers)}, 3)"
        raise DataError(f"{where}: '{positions}' is of shape {shape}, {expected}")
    info = {"group": name}
    columns = {}
    for key, data in group.items():
        if key in ("subset", "smiles"):
            info[key] = str(np.ravel(data.asstr()[()])[0])
        elif data.dtype.kind == "f" and data.shape in (shape, shape[:1]) and key != positions:
            columns[key] = np.asarray(data[()], dtype=np.float64)
        elif "energy" in key or "forces" in key or "gradient" in key:
            expected = f"expected floating-point numbers of shape {shape[:1]} or {shape}"
            raise DataError(f"{where}: '{key}' is {data.dtype} of shape {data.shape}, {expected}")
    if "dft_total_gradient" in columns:
        columns.setdefault("forces", -columns["dft_total_gradient"])
    for row, geometry in enumerate(geometries):
        yield RawFrame(
            ase.Atoms(numbers, geometry, info=info),
            {key: values[row] for key, values in columns.items()},
            energy_unit="hartree",
            length_unit=LAYOUTS[positions],
            where=f"group {name}, row {row}",
        )
