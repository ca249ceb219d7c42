"""SPICE: Eastman et al., Sci. Data 10, 11 (2023), DOI 10.1038/s41597-022-01882-6."""

from __future__ import annotations

from typing import ClassVar

from piwsl_plugins.data.readers.hdf5 import Hdf5Source


class SpiceSource(Hdf5Source):
    """A group a molecule, energies in hartree, positions in bohr, gradients in hartree/bohr.

    Datasets of a group of Nc conformers with Na atoms: ``atomic_numbers`` (Na), ``conformations``
    (Nc, Na, 3), ``dft_total_energy`` and ``formation_energy`` (Nc), ``dft_total_gradient``
    (Nc, Na, 3), and the strings ``subset`` and ``smiles``. The column ``forces`` stands for
    ``-dft_total_gradient``.
    """

    format = "SPICE HDF5"
    positions = "conformations"
    length_unit = "bohr"
    texts = ("subset", "smiles")
    derived: ClassVar = {"forces": ("dft_total_gradient", -1.0)}

    def forces_of(self, energy: str) -> str | None:
        """``forces`` for either energy: they differ by a constant for each atom."""
        same = energy in ("dft_total_energy", "formation_energy")
        return "forces" if same and "forces" in self.vectors else None
