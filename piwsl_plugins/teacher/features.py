"""Features of pairs and triples of atoms, in which the teacher's energy is linear.

All are functions of the edges, the vectors from an atom to its neighbours: forces and stress are
sums over edges of the derivative of the energy, and so are the features of forces and stress, in
which these are linear too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import ase
import torch
from torch import Tensor

from piwsl_plugins.teacher.edges import Edges

CENTRES = torch.linspace(0.1, 1.1, 14, dtype=torch.float64)
"""Of the pairs' Gaussians in 1/r, 1/angstrom; as wide as they are apart."""
TRIPLE_CENTRES = torch.linspace(0.3, 1.0, 5, dtype=torch.float64)
"""Of the triples' Gaussians in 1/r, 1/angstrom."""
TYPICAL_BOND = 1.1
"""Median distance of the nearest neighbour, angstrom, that these centres suit."""
N_PAIR, N_RADIAL, N_DEGREES = len(CENTRES), len(TRIPLE_CENTRES), 3
N_TRIPLE = N_DEGREES * N_RADIAL * (N_RADIAL + 1) // 2
"""Features of a pair, and of a triple, of elements: :data:`N_PAIR`, :data:`N_TRIPLE`."""
_FIRST, _SECOND = torch.triu_indices(N_RADIAL, N_RADIAL)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """Which features there are: those of pairs and triples of elements that occur.

    A pair of elements has Gaussians in 1/r. A triple, the elements of a centre and of two of its
    neighbours, has products of two Gaussians in 1/r, symmetric in the neighbours, times Legendre
    polynomials 0 to 2 of the cosine between them, times a cosine cutoff of both distances.

    Attributes:
        elements: atomic numbers, ascending.
        pairs: indices of two elements, ascending.
        triples: indices of the centre's element and of those of two neighbours, ascending; sorted.
        pair_cutoff: distance at which pair terms end, angstrom; None: they never do, for a molecule
            has finitely many pairs, and a function of 1/r goes flat by itself.
        triple_cutoff: distance of a neighbour at which triples end, angstrom.
        length: unit of the distances in the Gaussians, angstrom.
    """

    elements: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]
    triples: tuple[tuple[int, int, int], ...]
    pair_cutoff: float | None
    triple_cutoff: float
    length: float = 1.0

    @property
    def blocks(self) -> Tensor:
        """Number of each feature's block, pairs before triples, shape [n_features]."""
        sizes = [N_PAIR] * len(self.pairs) + [N_TRIPLE] * len(self.triples)
        return torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))

    def edges(self, frames: Sequence[ase.Atoms], device: torch.device | str = "cpu") -> Edges:
        """Edges of structures, as long as these features need them."""
        cutoff = self.pair_cutoff and max(self.pair_cutoff, self.triple_cutoff)
        return Edges.of(frames, cutoff, device)

    def features(self, at: Edges) -> Tensor:
        """Features of the energy, shape [n_structures, n_features]; differentiable by the edges."""
        n_structures, parts = len(at.volumes), []
        for part in self._of_pairs(at):
            values = self._pair(part.vectors)
            rows = part.structure[part.centre]
            parts.append(values.new_zeros(n_structures, N_PAIR).index_add(0, rows, values))
        for _, atoms, triples, density, own, _ in self._of_centres(at):
            values = _triples(density, own, triples)
            zeros = values.new_zeros(n_structures, values.shape[1])
            parts.append(zeros.index_add(0, at.structure[atoms], values))
        return torch.cat(parts, dim=1)

    def gradient_features(self, at: Edges) -> tuple[Tensor, Tensor]:
        """Features of forces, [n_atoms, n_features, 3], and stress, [n_structures, .., 3, 3].

        Their products with the energy's coefficients are the forces and the stress.
        """
        n_features, periodic = len(self.blocks), bool(torch.isfinite(at.volumes).any())
        forces = at.vectors.new_zeros(len(at.numbers), n_features, 3)
        stress = at.vectors.new_zeros(len(at.volumes), n_features, 3, 3)
        for start, part, gradient in self._gradients(at):
            columns = slice(start, start + gradient.shape[1])
            forces[:, columns] += part.forces(gradient)
            if periodic:
                stress[:, columns] += part.stress(gradient)
        return forces, stress

    def _gradients(self, at: Edges) -> Iterator[tuple[int, Edges, Tensor]]:
        """First feature, edges, and derivatives by them of some features, [n_edges, some, 3]."""
        start, z = 0, self.index(at)
        for part in self._of_pairs(at):
            yield start, part, _jacobian(self._pair, part.vectors)
            start += N_PAIR
        for part, _, pairs, density, _, row in self._of_centres(at):
            by_edge, by_edge_own = self._edge_gradient(part.vectors)
            for first, second in pairs.T.tolist():
                for one, other in {(first, second), (second, first)}:
                    e = torch.nonzero(z[part.neighbour] == one)[:, 0]
                    gradient = _products(by_edge[e].movedim(-1, 1), density[row[e], None, other])
                    if one == other:
                        gradient = gradient - by_edge_own[e].movedim(-1, 1)[:, :, None] / 2
                    yield start, part.take(e), gradient.flatten(2).mT
                start += N_TRIPLE

    def index(self, at: Edges) -> Tensor:
        """Index of each atom's element, shape [n_atoms]."""
        elements = torch.tensor(self.elements, device=at.numbers.device)
        return torch.searchsorted(elements, at.numbers)

    def _of_pairs(self, at: Edges) -> Iterator[Edges]:
        """The edges of each pair of elements."""
        z = self.index(at)
        ends = torch.stack([z[at.centre], z[at.neighbour]]).sort(dim=0).values
        for first, second in self.pairs:
            yield at.take((ends[0] == first) & (ends[1] == second))

    def _of_centres(
        self, at: Edges
    ) -> Iterator[tuple[Edges, Tensor, Tensor, Tensor, Tensor, Tensor]]:
        """Of each centre's element: edges, atoms, and the other arguments of :func:`_triples`.

        The last is, for each edge, the row of its atom in these.
        """
        short = at.take(torch.linalg.vector_norm(at.vectors.detach(), dim=1) < self.triple_cutoff)
        z, n_elements = self.index(at), len(self.elements)
        for centre in sorted({triple[0] for triple in self.triples}):
            pairs = [triple[1:] for triple in self.triples if triple[0] == centre]
            atoms = torch.nonzero(z == centre)[:, 0]
            part = short.take(z[short.centre] == centre)
            row = torch.searchsorted(atoms, part.centre)
            slot = row * n_elements + z[part.neighbour]
            sums = []
            for values in self._edge(part.vectors):
                zeros = values.new_zeros(len(atoms) * n_elements, *values.shape[1:])
                total = zeros.index_add(0, slot, values)
                sums.append(total.reshape(len(atoms), n_elements, *values.shape[1:]))
            yield part, atoms, torch.tensor(pairs, device=z.device).T, sums[0], sums[1], row

    def _pair(self, vectors: Tensor) -> Tensor:
        """Pair features of edges, shape [..., 14]; half, for each pair has two edges."""
        r = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
        values = _gaussians(r / self.length, CENTRES.to(r)) / 2
        return values if self.pair_cutoff is None else values * _cutoff(r, self.pair_cutoff)

    def _edge(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Harmonics times radial functions, [..., 9, 5], and products of these, [..., 15]."""
        radial, harmonics = self._factors(vectors).tensor_split([N_RADIAL], dim=-1)
        own = radial[..., _FIRST] * radial[..., _SECOND]
        return harmonics[..., :, None] * radial[..., None, :], own

    def _edge_gradient(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """The derivatives of both by the vectors, shapes [..., 9, 5, 3] and [..., 15, 3]."""
        factors, change = self._factors(vectors), _jacobian(self._factors, vectors)
        radial, harmonics = factors[..., None].tensor_split([N_RADIAL], dim=-2)
        by_radial, by_harmonics = change.tensor_split([N_RADIAL], dim=-2)
        product = harmonics[:, :, None] * by_radial[:, None]
        product = product + by_harmonics[:, :, None] * radial[:, None]
        own = radial[:, _FIRST] * by_radial[:, _SECOND] + by_radial[:, _FIRST] * radial[:, _SECOND]
        return product, own

    def _factors(self, vectors: Tensor) -> Tensor:
        """Radial functions and harmonics of edges, shape [..., 5 + 9]."""
        r = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
        radial = _gaussians(r / self.length, TRIPLE_CENTRES.to(r)) * _cutoff(r, self.triple_cutoff)
        return torch.cat([radial, _harmonics(vectors / r)], dim=-1)


def _jacobian(function: Callable[[Tensor], Tensor], vectors: Tensor) -> Tensor:
    """Derivatives of each edge's values by its vector, shape [n_edges, ..., 3]."""
    at = vectors.detach().requires_grad_()
    values = function(at)
    sums = values.flatten(1).sum(0)
    rows = [torch.autograd.grad(total, at, retain_graph=True)[0] for total in sums]
    return torch.stack(rows, dim=1).reshape(*values.shape, 3)


def _gaussians(r: Tensor, centres: Tensor) -> Tensor:
    return torch.exp(-0.5 * ((1 / r - centres) / (centres[1] - centres[0])) ** 2)


def _cutoff(r: Tensor, end: float) -> Tensor:
    return torch.where(r < end, 0.5 + 0.5 * torch.cos(torch.pi * r / end), 0.0)


def _harmonics(u: Tensor) -> Tensor:
    """Real spherical harmonics, [..., 9]: products of one degree sum to a Legendre polynomial."""
    x, y, z = u.unbind(-1)
    root = 3**0.5
    first = [torch.ones_like(x), x, y, z, root * x * y, root * y * z, (3 * z * z - 1) / 2]
    return torch.stack([*first, root * x * z, root / 2 * (x * x - y * y)], dim=-1)


def _triples(density: Tensor, own: Tensor, pairs: Tensor) -> Tensor:
    """Triple features of atoms, [n_atoms, n_triples * 45], for pairs of elements [2, n_triples].

    They are products of sums over the neighbours of each element, [n_atoms, n_elements, 9, 5], less
    the neighbours' products with themselves, [n_atoms, n_elements, 15].
    """
    first, second = pairs
    values = _products(density[:, first], density[:, second])
    same = (first == second).to(density)[:, None, None]
    found: Tensor = ((values - same * own[:, first, None]) * (1 - same / 2)).flatten(1)
    return found


def _products(one: Tensor, other: Tensor) -> Tensor:
    """Of [..., 9, 5]: radially symmetric products, summed over each degree, [..., 3, 15]."""
    degrees = (slice(0, 1), slice(1, 4), slice(4, 9))
    parts = [one[..., part, :].mT @ other[..., part, :] for part in degrees]
    products = torch.stack(parts, dim=-3)
    found: Tensor = (products + products.mT)[..., _FIRST, _SECOND] / 2
    return found


def basis_of(
    frames: Sequence[ase.Atoms], *, body_order: int, pair_cutoff: float, triple_cutoff: float | None
) -> Basis:
    """The basis of the pairs and triples of elements that occur; cutoffs in angstrom.

    Pairs end only if one of the structures is periodic. Triples end by default at 3.5 for
    molecules, which have bonds of about 1.1 at least, and in proportion to the shortest bonds.
    """
    end = pair_cutoff if any(atoms.pbc.any() for atoms in frames) else None
    at = Edges.of(frames, end and max(end, triple_cutoff or 0.0))
    r = torch.linalg.vector_norm(at.vectors, dim=1)
    nearest = r.new_full((len(at.numbers),), torch.inf)
    nearest = nearest.scatter_reduce(0, at.centre, r, "amin")
    length = max(1.0, float(nearest[nearest.isfinite()].median()) / TYPICAL_BOND)
    triple_end = triple_cutoff or min(3.5 * length, end or torch.inf)
    elements, z = torch.unique(at.numbers, return_inverse=True)
    ends = torch.stack([z[at.centre], z[at.neighbour]], dim=1)
    first, second = ends[r < (end or torch.inf)].sort(dim=1).values.T
    pairs = torch.unique(first * len(elements) + second).tolist()
    triples: list[tuple[int, int, int]] = []
    if body_order == 3:
        short = at.take(r < triple_end)
        count = torch.zeros(len(z), len(elements), dtype=torch.float64)
        count.index_put_((short.centre, z[short.neighbour]), torch.ones_like(r[:1]), True)
        for centre in range(len(elements)):
            own = count[z == centre]
            both = own.T @ own - torch.diag(own.sum(0))
            triples += [(centre, int(a), int(b)) for a, b in torch.nonzero(both.triu())]
    return Basis(
        elements=tuple(elements.tolist()),
        pairs=tuple(divmod(pair, len(elements)) for pair in pairs),
        triples=tuple(triples),
        pair_cutoff=end,
        triple_cutoff=triple_end,
        length=length,
    )
