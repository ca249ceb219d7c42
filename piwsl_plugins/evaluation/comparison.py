"""Predictions of one model beside reference labels, the input of every figure of merit here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def _any_of_three(components: Mask) -> Mask:
    return components[:, 0] | components[:, 1] | components[:, 2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Predicted and reference energies and forces of the same frames, in the same order.

    An absent label is NaN: it is left out of every average and never counts as zero. A prediction
    must be finite, so that a model that has diverged cannot hide behind a smaller average.

    Attributes:
        n_atoms: Number of atoms of each frame, shape ``[n_frames]``.
        energies: Predicted total energies, shape ``[n_frames]``, eV.
        reference_energies: Reference total energies, shape ``[n_frames]``, eV; NaN where absent.
        forces: Predicted forces, -dE/dr, shape ``[sum(n_atoms), 3]``, eV/angstrom, the atoms of
            the first frame first.
        reference_forces: Reference forces, same shape and unit; NaN where absent. An atom counts
            as labelled only if all three of its components are there.
        stresses: Predicted stresses, Voigt order xx, yy, zz, yz, xz, xy, shape ``[n_frames, 6]``,
            eV/angstrom^3; NaN where the model gives none, None where none was asked for.
        reference_stresses: Reference stresses, likewise; NaN where absent. A frame counts as
            labelled only if all six components are there.

    Raises:
        ValueError: A shape does not fit, a predicted energy or force is not finite, or a label is
            infinite; the message names the frame.
    """

    n_atoms: NDArray[np.int64]
    energies: Floats
    reference_energies: Floats
    forces: Floats
    reference_forces: Floats
    stresses: Floats | None = None
    reference_stresses: Floats | None = None

    def __post_init__(self) -> None:
        frames, atoms = (len(self.n_atoms),), (int(self.n_atoms.sum()), 3)
        expected = {
            "energies": frames,
            "reference_energies": frames,
            "forces": atoms,
            "reference_forces": atoms,
            "stresses": (*frames, 6),
            "reference_stresses": (*frames, 6),
        }
        for name, shape in expected.items():
            value = getattr(self, name)
            found = shape if value is None else value.shape
            if found != shape:
                raise ValueError(f"{name} has shape {found}, expected {shape}")
        self._refuse("predicted energy", ~np.isfinite(self.energies))
        self._refuse("predicted force", _any_of_three(~np.isfinite(self.forces)))
        self._refuse("reference energy", np.isinf(self.reference_energies))
        self._refuse("reference force", _any_of_three(np.isinf(self.reference_forces)))
        if self.reference_stresses is not None:
            self._refuse("reference stress", np.any(np.isinf(self.reference_stresses), axis=1))

    def _refuse(self, what: str, bad: Mask) -> None:
        if bad.any():
            first = int(np.flatnonzero(bad)[0])
            frame = first if bad.shape == self.energies.shape else int(self.frame_of_atom[first])
            raise ValueError(f"the {what} of frame {frame} (counted from 0) is not a finite number")

    @property
    def frame_of_atom(self) -> NDArray[np.int64]:
        """Index of the frame that each atom belongs to, shape ``[sum(n_atoms)]``."""
        return np.repeat(np.arange(len(self.n_atoms)), self.n_atoms)

    @property
    def has_energy(self) -> Mask:
        """Which frames have a reference energy, shape ``[n_frames]``."""
        return ~np.isnan(self.reference_energies)

    @property
    def has_forces(self) -> Mask:
        """Which atoms have a reference force, shape ``[sum(n_atoms)]``."""
        return ~_any_of_three(np.isnan(self.reference_forces))

    @property
    def has_stress(self) -> Mask:
        """Which frames have a reference and a predicted stress, shape ``[n_frames]``."""
        if self.stresses is None or self.reference_stresses is None:
            return np.zeros(len(self.n_atoms), dtype=np.bool_)
        absent: Mask = np.any(np.isnan(self.stresses + self.reference_stresses), axis=1)
        return ~absent

    @property
    def labelled_forces(self) -> tuple[Floats, Floats]:
        """Predicted and reference forces of the labelled atoms, ``[n, 3]`` each, eV/angstrom."""
        return self.forces[self.has_forces], self.reference_forces[self.has_forces]
