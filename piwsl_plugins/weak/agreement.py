"""How a cheap method agrees with the reference, on frames that have both."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from piwsl_plugins.data.composition import CompositionFit
from piwsl_plugins.weak.tasks import Floats, Labels


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EnergyAgreement:
    """Agreement of energies, once a fit to the composition has been taken from either.

    Attributes:
        frames: those with both energies.
        slope: of the cheap method's energies against the reference's, least squares.
        correlation: Pearson's r.
        rms: root mean square of their difference, eV.
        spread: root mean square of the reference's energies themselves, eV.
    """

    frames: int
    slope: float
    correlation: float
    rms: float
    spread: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ForceAgreement:
    """Agreement of the forces' components.

    Attributes:
        frames: those with both forces.
        slope: of the cheap method's forces against the reference's, least squares through zero.
        rms: root mean square of their difference, eV/angstrom.
        spread: root mean square of the reference's forces, eV/angstrom.
    """

    frames: int
    slope: float
    rms: float
    spread: float


class Agreement:
    """Collects frames with labels of both methods; two numbers a frame are kept."""

    def __init__(self) -> None:
        self._atoms: list[bytes] = []
        self._energies: list[tuple[float, float]] = []
        self._force_frames = 0
        self._forces = np.zeros(4)  # of components: number, xx, xy, yy; x the reference

    def add(
        self, numbers: NDArray[np.int64], energy: float | None, forces: Floats | None, low: Labels
    ) -> None:
        """Add a frame.

        Args:
            numbers: atomic numbers, shape [n_atoms].
            energy: of the reference, eV, or None.
            forces: of the reference, shape [n_atoms, 3], eV/angstrom, or None.
            low: labels of the cheap method.
        """
        if energy is not None:
            self._atoms.append(np.sort(numbers).astype(np.int64).tobytes())
            self._energies.append((energy, low.energy))
        if forces is not None and low.forces is not None:
            self._force_frames += 1
            x, y = forces.ravel(), low.forces.ravel()
            self._forces += np.array([x.size, x @ x, x @ y, y @ y])

    def energies(self) -> EnergyAgreement | None:
        """Agreement of the energies; None where the fit leaves nothing to compare."""
        if len(self._energies) < 2:
            return None
        kinds, kind = np.unique(np.array(self._atoms, dtype=object), return_inverse=True)
        left = []
        for values in np.array(self._energies).T:
            fit = CompositionFit()
            for number, atoms in enumerate(kinds):
                fit.add(np.frombuffer(atoms, dtype=np.int64), values[kind == number])
            fitted = fit.solve()
            sums = [fitted.sum(np.frombuffer(atoms, dtype=np.int64)) for atoms in kinds]
            left.append(values - np.array(sums)[kind])
        x, y = left
        scale = 1e-9 * max(1.0, float(np.abs(self._energies).max()))
        if x.std() < scale or y.std() < scale:  # rounding of the fit, and no more
            return None
        return EnergyAgreement(
            frames=len(x),
            slope=float(x @ y / (x @ x)),
            correlation=float(np.corrcoef(x, y)[0, 1]),
            rms=float(np.sqrt(np.mean((y - x) ** 2))),
            spread=float(np.sqrt(np.mean(x**2))),
        )

    def forces(self) -> ForceAgreement | None:
        """Agreement of the forces, or None where no frame has both."""
        count, xx, xy, yy = self._forces
        if not count or not xx:
            return None
        return ForceAgreement(
            frames=self._force_frames,
            slope=float(xy / xx),
            rms=float(np.sqrt(max(0.0, xx - 2.0 * xy + yy) / count)),
            spread=float(np.sqrt(xx / count)),
        )


def lines(agreement: Agreement) -> list[str]:
    """The agreement in words."""
    said = []
    energies, forces = agreement.energies(), agreement.forces()
    if energies is not None:
        said.append(
            f"energies against the reference, composition fits removed ({energies.frames} frames): "
            f"Pearson r {energies.correlation:.3f}, slope {energies.slope:.3f}, RMS difference "
            f"{1e3 * energies.rms:.1f} meV (the reference spreads by {1e3 * energies.spread:.1f})"
        )
    if forces is not None:
        said.append(
            f"forces against the reference ({forces.frames} frames): slope {forces.slope:.3f}, "
            f"RMS difference {1e3 * forces.rms:.0f} meV/angstrom (their own RMS "
            f"{1e3 * forces.spread:.0f})"
        )
    return said or ["no reference to compare with, or too few frames that have one"]
