"""Masks of missing labels, where MACE would count them as zeros."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

IGNORES_FRAME_WEIGHTS: dict[str, tuple[str, ...]] = {
    "WeightedHuberEnergyForcesStressLoss": ("energy", "forces", "stress"),
    "WeightedEnergyForcesL1L2Loss": ("forces",),
    "WeightedEnergyForcesDipoleLoss": ("dipole",),
}
"""MACE's losses that count a missing label as zero, whatever its weight, and in which terms."""


def without_missing_labels(base: torch.nn.Module, ref: Any, pred: dict[str, Tensor]) -> Any:
    """The batch for a base loss: a missing label is the model's own value, of no error.

    Args:
        base: MACE's loss.
        ref: MACE's batch.
        pred: the model's output for it.

    Returns:
        The batch itself, if the loss reads the frames' weights or nothing is missing.
    """
    labels = IGNORES_FRAME_WEIGHTS.get(type(base).__name__, ())
    complete = ref
    for label in labels:
        known = has_label(ref, label)
        if pred.get(label) is None or bool(known.all()):
            continue
        if complete is ref:
            complete = copy.copy(ref)
        own = pred[label].detach()
        known = known[ref.batch] if label == "forces" else known
        known = known.view(-1, *[1] * (own.dim() - 1))
        setattr(complete, label, torch.where(known, getattr(ref, label), own))
    return complete


def has_label(ref: Any, label: str) -> Tensor:
    """Which structures of MACE's batch have a label that counts, shape [n_graphs], bool."""
    weight: Tensor = getattr(ref, f"{label}_weight")
    return (weight.reshape(ref.num_graphs, -1) > 0).any(dim=-1)
