"""The fit of a teacher to frames: what of them goes into which equation."""

from __future__ import annotations

from collections.abc import Sequence

import ase
import numpy as np
import torch
from ase.data import covalent_radii
from torch import Tensor

from piwsl_plugins.data.frames import Frame
from piwsl_plugins.teacher.features import Basis, basis_of
from piwsl_plugins.teacher.linear import MOST_ROWS, Equations, fit
from piwsl_plugins.teacher.model import Teacher, chunks, count_elements, group_of
from piwsl_plugins.teacher.settings import TeacherSettings

WALL_BEGINS = 0.85
"""Where the wall begins, in the shortest distance of the two elements in the frames."""
WALL_UNSEEN = 0.7
"""Where it begins for elements that are never neighbours there, in the sum of covalent radii."""


def fit_teacher(
    frames: Sequence[Frame],
    settings: TeacherSettings,
    *,
    low: bool,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> Teacher:
    """Fit a teacher to the energies of frames, and to forces and stress where they have them.

    All frames have an energy, none is an isolated atom. Where it is ``low``, the differences from
    ``low_energy`` and ``low_forces``, which all have, are fitted. The seed is of :func:`fit`.
    """
    atoms = [frame.atoms for frame in frames]
    basis = basis_of(
        atoms,
        body_order=settings.body_order,
        pair_cutoff=settings.pair_cutoff,
        triple_cutoff=settings.triple_cutoff,
    )
    features, counts, closest = _features(atoms, basis, device)
    x, scale, offset, columns = scaled(features, counts, basis)
    known, group = groups_of(atoms)
    energies = [f.labels["energy"] - (f.labels["low_energy"] if low else 0.0) for f in frames]
    gradients, targets, normal = _gradients(frames, basis, scale, low, seed)
    found = fit(
        Equations(
            x=x,
            y=x.new_tensor(energies),
            composition=counts @ columns,
            group=group.to(x.device),
            gradients=gradients,
            targets=targets,
            normal=normal,
        ),
        seed,
    )
    return Teacher(
        basis=basis,
        scale=scale,
        offset=offset,
        columns=columns,
        fit=found,
        groups=dict(zip(known, found.groups.tolist(), strict=True)),
        closest=WALL_BEGINS * closest,
    )


def scaled(features: Tensor, counts: Tensor, basis: Basis) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features less what the composition explains, in the root of their block's mean square.

    Args:
        features: shape [n, n_features].
        counts: number of atoms of each element, shape [n, n_elements].
        basis: of the features.

    Returns:
        These; ``scale``, ``offset`` and ``columns`` of :class:`Teacher`.
    """
    _, sizes, directions = torch.linalg.svd(counts, full_matrices=False)
    columns = directions[sizes / sizes[0] > 1e-9].T  # that the compositions determine
    offset = columns @ torch.linalg.lstsq(counts @ columns, features).solution
    x = features - counts @ offset
    blocks = basis.blocks.to(x.device)
    size = torch.zeros(int(blocks.max()) + 1).to(x).index_add(0, blocks, x.square().mean(0))
    scale = (size / torch.bincount(blocks)).sqrt()
    scale = scale.clamp(min=1e-3 * float(scale.max()) or 1.0)[blocks]
    return x / scale, scale, offset, columns


def groups_of(frames: Sequence[ase.Atoms]) -> tuple[list[str], Tensor]:
    """Names of the groups, and the number of each frame's; shape [n]."""
    names = [group_of(atoms) for atoms in frames]
    if len({name.split()[0] for name in names}) == 1:  # one molecule, whatever its bonds do
        names = [name.split()[0] for name in names]
    known, group = np.unique(names, return_inverse=True)
    return known.tolist(), torch.as_tensor(group)


def _features(
    atoms: Sequence[ase.Atoms], basis: Basis, device: torch.device | str
) -> tuple[Tensor, Tensor, Tensor]:
    """Features, numbers of atoms of each element, and shortest distance of each two elements."""
    radii = torch.as_tensor(covalent_radii[list(basis.elements)], device=device)
    n, features, counts = len(radii), [], []
    shortest = radii.new_full((n * n,), torch.inf)
    for part in chunks(atoms, 2e4):
        at = basis.edges(atoms[part], device)
        features.append(basis.features(at))
        counts.append(count_elements(basis, at))
        z, r = basis.index(at), torch.linalg.vector_norm(at.vectors, dim=1)
        shortest = shortest.scatter_reduce(0, z[at.centre] * n + z[at.neighbour], r, "amin")
    shortest = shortest.reshape(n, n)
    unseen = WALL_UNSEEN / WALL_BEGINS * (radii[:, None] + radii)
    closest = torch.where(shortest.isfinite(), shortest, unseen)
    return torch.cat(features), torch.cat(counts), closest


def _gradients(
    frames: Sequence[Frame], basis: Basis, scale: Tensor, low: bool, seed: int
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
    """Features and targets of forces and stress: some of them, and the normal equations of all."""
    frames = [f for f in frames if "forces" in f.labels or "stress" in f.labels]
    atoms, n = [f.atoms for f in frames], len(scale)
    gram, right = scale.new_zeros(n, n), scale.new_zeros(n)
    kept = [(scale.new_zeros(0, n), scale.new_zeros(0))]
    generator = torch.Generator().manual_seed(seed)
    share = MOST_ROWS / 2 / max(1, sum(3 * len(each) for each in atoms))
    for part in chunks(atoms, 24 * n):
        rows, values = _gradient_rows(frames[part], basis, scale, low)
        gram += rows.T @ rows
        right += rows.T @ values
        keep = torch.rand(len(values), generator=generator).to(rows) < share
        kept.append((rows[keep], values[keep]))
    gradients, targets = (torch.cat(parts) for parts in zip(*kept, strict=True))
    return gradients, targets, None if share >= 1 else (gram, right)


def _gradient_rows(
    frames: Sequence[Frame], basis: Basis, scale: Tensor, low: bool
) -> tuple[Tensor, Tensor]:
    """Scaled features of forces and of stress times volume, and these, where they are known."""
    at = basis.edges([frame.atoms for frame in frames], scale.device)
    forces, stress = basis.gradient_features(at)
    virials = stress * at.volumes[:, None, None, None]
    rows = torch.cat([part.movedim(1, -1).reshape(-1, len(scale)) for part in (forces, virials)])
    known = []
    for frame in frames:
        force = frame.labels.get("forces", np.nan)
        below = frame.labels.get("low_forces", np.nan) if low else 0.0
        known.append(np.broadcast_to(force - below, (len(frame.atoms), 3)))
    for frame in frames:
        virial = np.nan if low else frame.labels.get("stress", np.nan) * frame.atoms.cell.volume
        known.append(np.broadcast_to(virial, (3, 3)))
    values = torch.as_tensor(np.concatenate([each.ravel() for each in known]), device=rows.device)
    finite = values.isfinite()
    return rows[finite] / scale, values[finite]
