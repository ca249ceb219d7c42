"""Bayesian linear regression whose strengths are chosen by the exact leave-one-out error.

``y = w.x + b.c + u(group) + noise``: coefficients w of the features x and a constant u for each
group of frames (those of one molecule) have normal priors of mean zero, the coefficients b of the
composition c have none. An error less its group's mean is what counts: forces depend on the
differences of energies within a group, and sums over elements would hide them.
"""

from __future__ import annotations

import dataclasses
import itertools

import torch
from torch import Tensor

MOST_ROWS = 1500
"""Equations that strengths are chosen on, and up to which the dual problem is solved."""
RIDGES = torch.logspace(-12, 1, 53, dtype=torch.float64)
"""Strengths that are tried, relative to the largest eigenvalue of the kernel."""
GROUP_VARIANCES = (0.1, 1.0, 1000.0)
"""Prior variances of a group's constant that are tried, relative to that of the features."""
GRADIENT_WEIGHTS = (0.03, 0.1, 0.3, 1.0)
"""Errors of energies, in those of forces, that are tried, angstrom."""

N_DRAWS = 100
"""Draws that standard deviations are computed of: to 7 %, and to 4 % for an atom's three."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Equations:
    """What is fitted.

    Attributes:
        x: features of the energies, shape [n, n_features].
        y: energies, shape [n], eV.
        composition: shape [n, n_constants].
        group: number of each energy's group, from 0, shape [n].
        gradients: features of components of forces, and of stress times volume, on which strengths
            are chosen, shape [m, n_features].
        targets: these components, shape [m], eV/angstrom and eV.
        normal: of all such components, the features' products with each other and with the
            components, shapes [n_features, n_features] and [n_features]; None where
            ``gradients`` are all.
    """

    x: Tensor
    y: Tensor
    composition: Tensor
    group: Tensor
    gradients: Tensor
    targets: Tensor
    normal: tuple[Tensor, Tensor] | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Coefficients, what they are worth, and how they came about.

    Attributes:
        coefficients: of features and composition, shape [n_features + n_constants].
        draws: deviations from them, drawn from their posterior, shape [.., N_DRAWS].
        groups: constants of the groups, shape [n_groups], eV.
        loo: leave-one-out error of the energies within groups, eV.
        spread: standard deviation of the energies within groups, eV.
        n_contrasts: number of energies, less that of groups, behind the two.
        ridge: variance of the noise, in that of the prior of a coefficient.
        group_variance: prior variance of a group's constant, likewise.
        gradient_weight: weight of forces beside energies, angstrom.
        noise: standard deviation of an energy's noise, eV.
    """

    coefficients: Tensor
    draws: Tensor
    groups: Tensor
    loo: float
    spread: float
    n_contrasts: int
    ridge: float
    group_variance: float
    gradient_weight: float
    noise: float

    @property
    def explains(self) -> bool:
        """Whether the fit is better than none, beyond what chance gives so few energies."""
        chance = (2.0 * max(self.n_contrasts, 1)) ** -0.5
        return self.n_contrasts >= 4 and self.loo < self.spread * (1.0 - chance)


def fit(equations: Equations, seed: int = 0) -> Fit:
    """Choose the strengths, on some equations where there are too many, and solve."""
    generator = torch.Generator().manual_seed(seed)
    found, dual = _choose(equations, generator)
    x, y, composition, group = equations.x, equations.y, equations.composition, equations.group
    n_features, weight = x.shape[1], found["gradient_weight"]
    ratio = found["group_variance"] / found["ridge"]
    count = torch.bincount(group).to(x)
    part = (1.0 - (1.0 + count * ratio) ** -0.5)[group]  # turns noise plus constants into noise

    def white(values: Tensor) -> Tensor:
        by_group = part.reshape(-1, *[1] * (values.ndim - 1))
        return values - by_group * (values - within(values, group))

    rows, targets = white(torch.cat([x, composition], dim=1)), white(y)
    precision, right = rows.T @ rows, rows.T @ targets
    gradients, of_targets = equations.normal or (
        equations.gradients.T @ equations.gradients,
        equations.gradients.T @ equations.targets,
    )
    precision[:n_features, :n_features] += weight**2 * gradients
    right[:n_features] += weight**2 * of_targets
    precision.diagonal()[:n_features] += found["ridge"]
    factor = torch.linalg.cholesky(precision)
    coefficients = torch.cholesky_solve(right[:, None], factor)[:, 0]
    normal = torch.randn(len(right), N_DRAWS, generator=generator, dtype=x.dtype).to(x.device)
    draws = found["noise"] * torch.linalg.solve_triangular(factor.T, normal, upper=True)
    if dual is not None:  # exact where the normal equations lose digits
        features = torch.cat([x, weight * equations.gradients])
        w = features.T @ dual
        b = torch.linalg.lstsq(white(composition), (targets - white(x @ w))[:, None]).solution[:, 0]
        coefficients = torch.cat([w, b])
    left = y - torch.cat([x, composition], dim=1) @ coefficients
    means = left.new_zeros(len(count)).index_add(0, group, left) / count
    groups = means * count * ratio / (1.0 + count * ratio)
    return Fit(coefficients=coefficients, draws=draws, groups=groups, **found)  # type: ignore[arg-type]


def within(values: Tensor, group: Tensor) -> Tensor:
    """Values less the mean of their group, shape [n, ...]."""
    count = torch.bincount(group).to(values)
    sums = values.new_zeros(len(count), *values.shape[1:]).index_add(0, group, values)
    return values - (sums / count.reshape(-1, *[1] * (values.ndim - 1)))[group]


def _choose(
    equations: Equations, generator: torch.Generator
) -> tuple[dict[str, float], Tensor | None]:
    """Strengths and errors, and the dual solution where all equations take part in that."""
    m = len(equations.targets)
    chosen = torch.randperm(len(equations.y), generator=generator)[: MOST_ROWS - m].sort().values
    chosen = chosen.to(equations.y.device)
    x, y = equations.x[chosen], equations.y[chosen]
    group = torch.unique(equations.group[chosen], return_inverse=True)[1]
    n, n_groups = len(y), int(group.max()) + 1
    member = torch.nn.functional.one_hot(group).to(x)
    fixed = equations.composition[chosen]
    fixed = torch.cat([fixed, fixed.new_zeros(m, fixed.shape[1])])
    complement = torch.linalg.qr(fixed, mode="complete")[0][:, fixed.shape[1] :]
    n_contrasts = n - n_groups
    spread = float(within(y, group).norm()) / max(n_contrasts, 1) ** 0.5
    best, best_cost, dual = {}, float("inf"), None
    for weight, variance in itertools.product(
        GRADIENT_WEIGHTS if m else (1.0,), GROUP_VARIANCES if n_groups > 1 else (0.0,)
    ):
        features = torch.cat([x, weight * equations.gradients])
        target = torch.cat([y, weight * equations.targets])
        kernel = features @ features.T
        largest = float(torch.linalg.eigvalsh(complement.T @ kernel @ complement)[-1])
        kernel[:n, :n] += variance * largest / n * member @ member.T
        values, vectors = torch.linalg.eigh(complement.T @ kernel @ complement)
        vectors = complement @ vectors
        ridges = RIDGES.to(x) * largest
        inverse = 1.0 / (values.clamp(min=0.0)[:, None] + ridges)
        solved = vectors @ (inverse * (vectors.T @ target)[:, None])
        diagonal = vectors.square() @ inverse
        errors = solved / diagonal  # exact, for all strengths at once: shape [n + m, n_ridges]
        loo = within(errors[:n], group).norm(dim=0) / max(n_contrasts, 1) ** 0.5
        cost = loo / spread
        if m:
            cost = cost + errors[n:].norm(dim=0) / target[n:].norm()
        k = int(cost.argmin())
        if float(cost[k]) < best_cost:
            best_cost, dual = float(cost[k]), solved[:, k]
            noise = ridges[k] * torch.mean(errors[:, k].square() * diagonal[:, k])
            best = {
                "loo": float(loo[k]),
                "spread": spread,
                "n_contrasts": n_contrasts,
                "ridge": float(ridges[k]),
                "group_variance": variance * largest / n,
                "gradient_weight": weight,
                "noise": float(noise) ** 0.5,
            }
    complete = n == len(equations.y) and equations.normal is None and n + m <= x.shape[1]
    return best, dual if complete else None
