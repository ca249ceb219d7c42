"""ANI-1x and ANI-1ccx: Smith et al., Sci. Data 7, 134 (2020), DOI 10.1038/s41597-020-0473-z."""

from __future__ import annotations

from piwsl_plugins.data.readers.hdf5 import Hdf5Source


class AniSource(Hdf5Source):
    """A group a formula, energies in hartree, positions in angstrom, forces in hartree/angstrom.

    Datasets of a group of Nc conformers with Na atoms: ``atomic_numbers`` (Na), ``coordinates``
    (Nc, Na, 3), energies (Nc) such as ``wb97x_dz.energy`` and ``ccsd(t)_cbs.energy``, forces
    (Nc, Na, 3) such as ``wb97x_dz.forces``. A missing label is NaN.
    """

    format = "ANI HDF5"
    positions = "coordinates"

    def forces_of(self, energy: str) -> str | None:
        """``wb97x_dz.forces`` for ``wb97x_dz.energy`` and the like."""
        name = energy.removesuffix("energy") + "forces"
        return name if energy.endswith(".energy") and name in self.vectors else None
