"""The physics: pure functions and one small module on tensors; imports torch and nothing else.

Notation (arXiv:2408.05215): a structure has energy E (eV), positions r and displacements d
(angstrom, shape [n_atoms, 3]) and forces F = -dE/dr (eV/angstrom). Several structures are batched
by a graph index, shape [n_atoms]; energies then have shape [n_graphs].
"""

from piwsl_plugins.losses.consistency import consistency_penalties
from piwsl_plugins.losses.curvature import STRETCH_ELEMENTS, curvature_residual, stretch_product
from piwsl_plugins.losses.displacements import draw_displacements, draw_pair, step_generator
from piwsl_plugins.losses.model import Evaluate, from_energy
from piwsl_plugins.losses.penalties import exceed_tolerance, penalise, weak_force_penalties
from piwsl_plugins.losses.residuals import (
    conservative_residual,
    quadratic_term,
    taylor_residual,
    work,
)
from piwsl_plugins.losses.step import ConsistencyLoss, step_penalties
from piwsl_plugins.losses.structures import Pairs, Structures, rows_of, sum_per_graph

__all__ = [
    "STRETCH_ELEMENTS",
    "ConsistencyLoss",
    "Evaluate",
    "Pairs",
    "Structures",
    "conservative_residual",
    "consistency_penalties",
    "curvature_residual",
    "draw_displacements",
    "draw_pair",
    "exceed_tolerance",
    "from_energy",
    "penalise",
    "quadratic_term",
    "rows_of",
    "step_generator",
    "step_penalties",
    "stretch_product",
    "sum_per_graph",
    "taylor_residual",
    "weak_force_penalties",
    "work",
]
