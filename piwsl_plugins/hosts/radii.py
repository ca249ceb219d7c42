"""Covalent radii of a model's elements, for the curvature term."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ase.data import atomic_numbers, covalent_radii
from torch import Tensor

from piwsl_plugins.losses.curvature import STRETCH_ELEMENTS


def covalent_radii_of(symbols: Sequence[str]) -> Tensor:
    """Covalent radii of elements (Cordero et al., as ASE has them), shape [n_symbols], angstrom.

    Raises:
        ValueError: a name that is no element, or one the model of stretches was not tested for.
    """
    bad = [symbol for symbol in symbols if symbol not in STRETCH_ELEMENTS]
    if bad:
        raise ValueError(
            f"the curvature term knows the covalent bonds of {', '.join(STRETCH_ELEMENTS)}, and "
            f"the model has {', '.join(bad)}; use the taylor or the conservative term, which need "
            "to know nothing of the elements"
        )
    radii = [covalent_radii[atomic_numbers[symbol]] for symbol in symbols]
    return torch.tensor(radii, device="cpu")
