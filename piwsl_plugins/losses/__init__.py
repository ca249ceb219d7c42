"""The physics: pure functions and one small module on tensors; imports torch and nothing else.

Notation (arXiv:2408.05215): a structure has energy E (eV), positions r and displacements d
(angstrom, shape [n_atoms, 3]) and forces F = -dE/dr (eV/angstrom). Several structures are batched
by a graph index, shape [n_atoms]; energies then have shape [n_graphs].
"""

from piwsl_plugins.losses.conservative import conservative_residual
from piwsl_plugins.losses.consistency import consistency_penalties
from piwsl_plugins.losses.curvature import curvature_residual, stretch_product
from piwsl_plugins.losses.displacements import draw_displacements, step_generator
from piwsl_plugins.losses.model import Evaluate, from_energy
from piwsl_plugins.losses.reduction import exceed_tolerance, penalise
from piwsl_plugins.losses.step import ConsistencyLoss, draw_pair, step_penalties
from piwsl_plugins.losses.structures import Pairs, Structures
from piwsl_plugins.losses.taylor import quadratic_term, sum_per_graph, taylor_residual, work
from piwsl_plugins.losses.weak_forces import weak_force_penalties

__all__ = [
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
    "step_generator",
    "step_penalties",
    "stretch_product",
    "sum_per_graph",
    "taylor_residual",
    "weak_force_penalties",
    "work",
]
