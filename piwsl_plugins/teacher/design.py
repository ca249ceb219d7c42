"""Optimal design: the geometries whose energies say most, before any of them is computed.

The teacher is linear, and so the posterior covariance of its coefficients depends on which
geometries are labelled and not on their energies; those are chosen that make it small, as Barzdajn
and Race do (Modelling Simul. Mater. Sci. Eng. 33, 025011, 2025). By criterion,

- D: ``log det(K + 1) - log det(K_0 + 1)`` is largest, the information of the energies on the
  coefficients of features: K is the energies' prior covariance in the variance of the noise, and
  K_0 its part of constants of composition and molecule, which say nothing of forces;
- A: the sum of the posterior variances of the coefficients of features is smallest;
- I: the mean posterior variance of forces on the pool is smallest.

One after another is chosen, and then exchanged as long as that helps. Groups of frames, of a
composition and molecule, have a share in proportion to that of the pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import ase
import numpy as np
import torch
from torch import Tensor

from piwsl_plugins.teacher.features import Basis, basis_of
from piwsl_plugins.teacher.fitting import groups_of, scaled
from piwsl_plugins.teacher.model import chunks, count_elements
from piwsl_plugins.teacher.settings import TeacherSettings

Criterion = Literal["D", "A", "I"]
RIDGE = 1e-3
"""Variance of an energy's noise, in the prior's of a coefficient of scaled features."""
FLAT = 100.0  # prior variance of the composition's part of an energy, in that of the features' part
MOST_JUDGED = 1500  # atoms of the pool whose forces are judged by, in frames drawn at random
LEAST_VARIANCE = 1e-6  # of forces along a direction that is judged by, in the largest
SAME = 0.01  # distance of equal geometries, in the typical size of features
LEAST_GAIN = 1e-3  # of an exchange, in information or relative


class Candidates(NamedTuple):
    """The pool: its energies are ``rows @ v`` plus noise of variance 1, v having variance 1.

    Attributes:
        rows: of features and constants, shape [n, n_columns].
        constants: likewise of constants alone, shape [n, n_constants].
        forces: directions, shape [n_columns, n_directions], v's variances along which sum to the
            mean variance of the components of forces, in the prior's of a coefficient.
        coefficients: likewise to the sum of the coefficients' variances.
        group: number of each frame's group, shape [n].
        free: whether a frame is not known yet, shape [n].
    """

    rows: Tensor
    constants: Tensor
    forces: Tensor
    coefficients: Tensor
    group: Tensor
    free: Tensor


class Selection(NamedTuple):
    """Numbers of frames of the pool, the most telling first, and what they are worth.

    ``errors`` are roots of the forces' mean variance with 0, 1, ... of them labelled, and with more
    that would be chosen next, in the prior's standard deviation of a coefficient.
    """

    order: list[int]
    errors: list[float]


def candidates_of(
    pool: Sequence[ase.Atoms], known: Sequence[ase.Atoms] = (), ridge: float = RIDGE
) -> Candidates:
    """The pool, where energies of the known frames, which have its elements, are there."""
    settings, frames, n = TeacherSettings(), [*pool, *known], len(pool)
    cutoffs = {name: getattr(settings, name) for name in ("pair_cutoff", "triple_cutoff")}
    basis = basis_of(frames, body_order=settings.body_order, **cutoffs)
    parts = [basis.edges(frames[part]) for part in chunks(frames, 2e4)]
    counts = torch.cat([count_elements(basis, at) for at in parts])
    x, scale, *_ = scaled(torch.cat([basis.features(at) for at in parts]), counts, basis)
    group = groups_of(frames)[1]
    size = float(x.square().sum(1).mean())
    constants = counts * (FLAT * size / float(counts.square().sum(1).mean())) ** 0.5
    if group.any():
        constants = torch.cat([constants, size**0.5 * torch.nn.functional.one_hot(group)], dim=1)
    rows, constants = torch.cat([x, constants], dim=1) / ridge**0.5, constants / ridge**0.5
    coefficients = torch.eye(rows.shape[1], x.shape[1], dtype=x.dtype)
    forces, free = coefficients @ _forces(pool, basis, scale), torch.full((n,), True)
    if known:  # their energies turn one normal prior into another
        free = torch.cdist(x[:n], x[n:]).amin(1) > SAME * size**0.5
        rows, forces, coefficients = _after(rows[n:], rows, forces, coefficients)
        constants = _after(constants[n:], constants)[0]
    return Candidates(rows[:n], constants[:n], forces, coefficients, group[:n], free)


def _forces(pool: Sequence[ase.Atoms], basis: Basis, scale: Tensor) -> Tensor:
    """Root of the mean product of the features of forces, on some frames of the pool."""
    order = np.random.default_rng(0).permutation(len(pool))
    below = np.cumsum([len(pool[i]) for i in order]) <= MOST_JUDGED
    frames = [pool[i] for i in order[: max(int(below.sum()), 1)]]
    gram, number = torch.zeros(len(scale), len(scale)).to(scale), 3 * sum(map(len, frames))
    for part in chunks(frames, 24 * len(scale)):
        by_atom = basis.gradient_features(basis.edges(frames[part]))[0] / scale[:, None]
        rows = by_atom.movedim(1, -1).reshape(-1, len(scale))
        gram += rows.T @ rows / number
    values, vectors = torch.linalg.eigh(gram)
    some = values > LEAST_VARIANCE * values[-1]
    root: Tensor = vectors[:, some] * values[some].sqrt()
    return root


def _after(measured: Tensor, rows: Tensor, *directions: Tensor) -> list[Tensor]:
    """Rows and directions for a v of variance 1 again, once other rows are measured."""
    factor = torch.linalg.cholesky(measured.T @ measured + torch.eye(measured.shape[1]).to(rows))
    solved = [torch.linalg.solve_triangular(factor, m, upper=False) for m in (rows.T, *directions)]
    return [solved[0].T, *solved[1:]]


def choose(candidates: Candidates, n: int, criterion: Criterion = "I") -> Selection:
    """Choose n of the candidates.

    Raises:
        ValueError: n is below 1, or above the number of candidates that are not known yet.
    """
    free, most = candidates.free, int(candidates.free.sum())
    if not 1 <= n <= most:
        what = f"expected 1 to {most}, as many as the pool has that are not known yet"
        raise ValueError(f"n: {n} geometries are to be selected, {what}")
    chosen = torch.tensor(_Choice(candidates, criterion).fill(free, n))
    for _ in range(4 * n):
        gains = exchange_gains(candidates, chosen, criterion)
        gains[(candidates.group[chosen][:, None] != candidates.group) | ~free] = -torch.inf
        gains[:, chosen] = -torch.inf
        out, new = divmod(int(gains.argmax()), len(free))
        if gains[out, new] < LEAST_GAIN:
            break
        chosen[out] = new
    found = _Choice(candidates, criterion)
    order = [*found.fill(torch.zeros_like(free).index_fill(0, chosen, True), n)]
    found.fill(free, min(4 * n, most))
    return Selection(order, found.errors)


class _Process:
    """Energies ``rows @ v``, one after another of which is measured."""

    def __init__(self, rows: Tensor, directions: Tensor) -> None:
        self.rows, self.variance = rows, 1.0 + rows.square().sum(1)
        self.covariance = rows @ directions
        self.columns = rows.new_zeros(len(rows), 0)

    def take(self, number: int) -> Tensor:
        """Measure one; returns by how much the variance along each direction falls."""
        root = self.variance[number].sqrt()
        column = (self.rows @ self.rows[number] - self.columns @ self.columns[number]) / root
        fallen = self.covariance[number] / root
        self.covariance = self.covariance - column[:, None] * fallen
        self.variance = (self.variance - column.square()).clamp(min=1.0)
        self.columns = torch.cat([self.columns, column[:, None]], dim=1)
        return fallen.square()


class _Choice:
    """Frames that are chosen one after another, and the forces' error after each."""

    def __init__(self, candidates: Candidates, criterion: Criterion) -> None:
        self.group, self.criterion, forces = candidates.group, criterion, candidates.forces
        self.aims = candidates.coefficients if criterion == "A" else forces[:, :0]
        self.energies = _Process(candidates.rows, torch.cat([self.aims, forces], dim=1))
        self.constants = _Process(candidates.constants, candidates.constants.T[:, :0])
        self.order, self.errors = list[int](), [float(forces.norm())]

    def fill(self, allowed: Tensor, n: int) -> list[int]:
        """Choose the best of those that are allowed until there are n."""
        size, allowed, split = torch.bincount(self.group), allowed.clone(), self.aims.shape[1]
        while len(self.order) < n:
            allowed[self.order] = False
            share = -(-size * (len(self.order) + 1) // len(self.group))  # rounded up
            taken = torch.bincount(self.group[self.order], minlength=len(size))
            below = allowed & (taken < share)[self.group]
            gains = self.energies.variance.log() - self.constants.variance.log()
            if self.criterion != "D":
                aims = self.energies.covariance[:, : split or None]
                gains = aims.square().sum(1) / self.energies.variance
            gains[~(below if below.any() else allowed)] = -torch.inf
            best = int(gains.argmax())
            fallen = self.energies.take(best)[split:]
            self.constants.take(best)
            self.order.append(best)
            self.errors.append(max(self.errors[-1] ** 2 - float(fallen.sum()), 0.0) ** 0.5)
        return self.order


def exchange_gains(candidates: Candidates, chosen: Tensor, criterion: Criterion) -> Tensor:
    """What is gained by each exchange of a chosen frame for another, shape [n_chosen, n].

    It is information for D, and the relative fall of the sum of variances for A and I.
    """
    inverse, solved, after = _without_one(candidates.rows, chosen)
    own = inverse.diagonal()[:, None]
    if criterion == "D":
        others, _, constants = _without_one(candidates.constants, chosen)
        return (after * own).log() - (constants * others.diagonal()[:, None]).log()
    directions = candidates.coefficients if criterion == "A" else candidates.forces
    prior = candidates.rows @ directions
    weights = inverse @ prior[chosen]
    left = prior - solved.T @ prior[chosen]  # covariances where all of the chosen are known
    step, lost = solved / own, weights.square().sum(1, keepdim=True)
    square = left.square().sum(1) + 2 * step * (weights @ left.T) + step.square() * lost
    total = directions.square().sum() - (weights * prior[chosen]).sum()
    gains: Tensor = (square / after - lost / own) / total
    return gains


def _without_one(rows: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Inverse covariance of the chosen energies, the same times their covariance with all.

    And the variance of each energy where all of the chosen but one are known, [n_chosen, n].
    """
    covariance = rows[chosen] @ rows.T
    inverse = torch.linalg.inv(covariance[:, chosen] + torch.eye(len(chosen)).to(rows))
    solved = inverse @ covariance
    variance = 1.0 + rows.square().sum(1) - (covariance * solved).sum(0)
    return inverse, solved, variance + solved.square() / inverse.diagonal()[:, None]
