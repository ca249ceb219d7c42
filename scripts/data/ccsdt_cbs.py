"""Frozen-core CCSD(T) at the complete-basis-set limit with PySCF: the labels of a data set.

One geometry in, one record out. A calculation that did not converge raises; it is never a number.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

HARTREE = 27.211386245988  # eV, CODATA 2018


class ConvergenceError(RuntimeError):
    """An SCF or CCSD calculation did not converge, so its energy must not be used."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Two basis sets, smaller first, and the convergence of SCF and CCSD.

    Energies and the SCF's orbital gradient are in hartree; ``cc_amplitudes`` is the norm of the
    CCSD amplitudes' change.
    """

    bases: tuple[str, str] = ("cc-pvdz", "cc-pvtz")
    scf_energy: float = 1e-11
    scf_gradient: float = 1e-7
    cc_energy: float = 1e-10
    cc_amplitudes: float = 1e-8


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """One molecule or atom.

    Attributes:
        symbols: chemical symbols.
        positions: one row per atom, angstrom, 8 decimals.
        spin: number of unpaired electrons.
        label: name for messages.
    """

    symbols: tuple[str, ...]
    positions: tuple[tuple[float, float, float], ...]
    spin: int = 0
    label: str = dataclasses.field(default="", compare=False)

    def displaced(self, atom: int, axis: int, shift: float) -> Geometry:
        """Return a copy with one coordinate moved by ``shift`` (angstrom)."""
        rows = [list(row) for row in self.positions]
        rows[atom][axis] += shift
        label = f"{self.label}, atom {atom} axis {axis} {shift:+g}"
        return dataclasses.replace(self, positions=rounded(rows), label=label)


def rounded(rows: Iterable[Iterable[float]]) -> tuple[tuple[float, float, float], ...]:
    """Round positions (angstrom) to the 8 decimals that the files carry."""
    return tuple((round(x, 8), round(y, 8), round(z, 8)) for x, y, z in rows)


def extrapolate_cbs(hartree_fock: tuple[float, float], correlation: tuple[float, float]) -> float:
    """Extrapolate energies in a double- and a triple-zeta basis to the complete-basis-set limit.

    Hartree-Fock: ``E_X = E_CBS + A exp(-4.42 sqrt(X))``; correlation: ``E_X = E_CBS + B X^-2.46``
    (Neese and Valeev, J. Chem. Theory Comput. 7, 33 (2011), cc-pVDZ/cc-pVTZ exponents).

    Args:
        hartree_fock: total Hartree-Fock energies in the smaller and larger basis, any one unit.
        correlation: correlation energies in the same bases and unit.

    Returns:
        The total energy at the limit, in the unit of the arguments.
    """
    decay = math.exp(-4.42 * (math.sqrt(3) - math.sqrt(2)))
    ratio = math.pow(2 / 3, 2.46)
    limit = hartree_fock[1] + (hartree_fock[1] - hartree_fock[0]) * decay / (1.0 - decay)
    return limit + correlation[1] + (correlation[1] - correlation[0]) * ratio / (1.0 - ratio)


def mean_field(mol: Any, level: Level, label: str) -> Any:  # noqa: ANN401 (PySCF has no types)
    """Return the converged mean field; open shells follow internal instabilities downhill.

    Raises:
        ConvergenceError: if the SCF did not converge, or not to a stable solution.
    """
    from pyscf import scf

    field = scf.UHF(mol) if mol.spin else scf.RHF(mol)
    field.conv_tol, field.conv_tol_grad, field.max_cycle = level.scf_energy, level.scf_gradient, 100
    density = None
    for _ in range(5):
        field.kernel(dm0=density)
        if not field.converged:
            raise ConvergenceError(f"{label}: SCF in {mol.basis} did not converge")
        if not mol.spin or mol.nelectron == 1:
            return field
        orbitals, _, stable, _ = field.stability(return_status=True)
        if stable:
            return field
        density = field.make_rdm1(orbitals, field.mo_occ)
    raise ConvergenceError(f"{label}: no stable UHF solution in {mol.basis}")


def single_basis(geometry: Geometry, basis: str, level: Level) -> dict[str, float]:
    """Compute frozen-core CCSD(T) in one basis, one thread.

    Returns:
        ``hf`` (total) and ``correlation`` (CCSD plus triples) in hartree, and ``t1``, the T1
        diagnostic ``|t1| / sqrt(correlated electrons)`` of closed shells (0 for atoms).

    Raises:
        ConvergenceError: if SCF or CCSD did not converge; names the geometry.
    """
    from pyscf import cc, gto, lib

    lib.num_threads(1)
    atoms = list(zip(geometry.symbols, geometry.positions, strict=True))
    mol = gto.M(atom=atoms, basis=basis, spin=geometry.spin, verbose=0, max_memory=4000)
    field = mean_field(mol, level, geometry.label)
    if mol.nelectron == 1:
        return {"hf": float(field.e_tot), "correlation": 0.0, "t1": 0.0}
    core = sum(symbol != "H" for symbol in geometry.symbols)
    cluster = cc.CCSD(field, frozen=core)
    cluster.conv_tol, cluster.conv_tol_normt = level.cc_energy, level.cc_amplitudes
    cluster.max_cycle, cluster.diis_space = 100, 8
    integrals = cluster.ao2mo()
    cluster.kernel(eris=integrals)
    if not cluster.converged:
        raise ConvergenceError(f"{geometry.label}: CCSD in {basis} did not converge")
    correlation = float(cluster.e_corr + cluster.ccsd_t(eris=integrals))
    electrons = mol.nelectron - 2 * core
    t1 = 0.0 if geometry.spin else float(np.linalg.norm(cluster.t1)) / math.sqrt(electrons)
    return {"hf": float(field.e_tot), "correlation": correlation, "t1": t1}


def single_point(geometry: Geometry, level: Level) -> dict[str, Any]:
    """Compute the CCSD(T)/CBS energy (``energy``, eV) with its parts.

    Raises:
        ConvergenceError: if a calculation did not converge.
    """
    start = time.perf_counter()
    small, large = (single_basis(geometry, basis, level) for basis in level.bases)
    parts = ((small[name], large[name]) for name in ("hf", "correlation"))
    energy = HARTREE * extrapolate_cbs(*parts)
    seconds = time.perf_counter() - start
    return {"energy": energy, "small": small, "large": large, "seconds": seconds}
